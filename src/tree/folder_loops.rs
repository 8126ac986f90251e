//! Links to folders that are followed: none may lead back to a folder that it lies in.

use rustc_hash::FxHashMap;

use super::TreePath;

/// How many links to folders are followed, at most.
// 30 folders with two links each to the next one have 2^30 paths. A real tree has a few links to folders.
const LINKS_MAX: usize = 1 << 16;

/// A folder that was found.
#[derive(Clone, Copy, Debug)]
pub(super) struct FolderFound {
    /// Device and inode.
    pub(super) inode: (u64, u64),
    /// Whether a link led to it.
    pub(super) is_link: bool,
}

/// The folders on the way, by path.
#[derive(Debug, Default)]
pub(super) struct FolderLoops {
    inodes: FxHashMap<Box<[u8]>, (u64, u64)>,
    links: usize,
}

impl FolderLoops {
    /// Enters a folder; those that it lies in were entered before. Says why it is not to be read, if so.
    pub(super) fn enter(&mut self, path: &TreePath, folder: FolderFound) -> Option<String> {
        let mut above = path.parent();
        while let Some(path) = above {
            // A path that never ends comes to a folder again that it lies in.
            if self.inodes.get(path) == Some(&folder.inode) {
                return Some("a link to a folder that it lies in".to_owned());
            }
            above = memchr::memrchr(b'/', path).map(|end| &path[..end]);
        }
        self.links += usize::from(folder.is_link);
        if folder.is_link && self.links > LINKS_MAX {
            return Some(format!("the tree has more than {LINKS_MAX} links to folders"));
        }
        self.inodes.insert(path.as_bytes().into(), folder.inode);
        None
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_path_that_comes_back_and_too_many_links_are_refused() {
        let mut loops = FolderLoops::default();
        let mut enter = |path: String, inode: u64, is_link| {
            let path = TreePath::new(path.into_bytes()).expect("a path");
            loops.enter(&path, FolderFound { inode: (1, inode), is_link })
        };
        assert_eq!(enter("t".into(), 0, true), None);
        assert_eq!(enter("t/a".into(), 1, false), None);
        assert_eq!(enter("t/b".into(), 1, true), None, "beside it is no loop");
        let refused = enter("t/b/c".into(), 1, true).expect("a loop");
        assert_eq!(refused, "a link to a folder that it lies in");
        for number in 2..LINKS_MAX {
            assert_eq!(enter(format!("t/{number}"), number as u64 + 2, true), None);
        }
        assert_eq!(enter("t/c".into(), 3, false), None, "a folder is no link");
        assert!(
            enter("t/d".into(), 2, true).is_some_and(|cause| cause.contains("more than 65536"))
        );
    }
}
