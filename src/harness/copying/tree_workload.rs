//! A tree as a workload: what it is made of, where it lies, and whether it has room there with its copies.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{statfs, statvfs};

use crate::escape;
use crate::report::units::{count, size};
use crate::store::{available_bytes, probe};
use crate::tree::{ListOptions, SyntheticTree, segment_bytes_of};

// What a file takes beside its bytes, at most.
// The rest of its last block or page, and its name: as `scripts/stage-bench.sh` reckons.
const BYTES_BESIDE: u64 = 8192;
// Where trees lie that nobody gave a folder.
// In memory a disk does not decide, and whatever was written before does not either.
const IN_MEMORY: &str = "/dev/shm";
// The number of a file system whose files are memory: statfs(2).
const TMPFS_MAGIC: u64 = 0x0102_1994;

/// A tree that is brought to every peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TreeWorkload {
    pub tree: SyntheticTree,
    /// Where the tree and its copies lie, as the plan or the command line says.
    pub folder: Option<PathBuf>,
}

/// Why there is no room for a tree and its copies.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TreeRoomError {
    #[error("{dir}: {cause}: name another folder with --folder", dir = escape::path(dir))]
    Folder { dir: PathBuf, cause: io::Error },
    #[error(
        "{dir}: {free} bytes are free, a tree and its {copies} copies need {needed}: use fewer `bytes`, `files` or \
         `peers`, or another folder with --folder",
        dir = escape::path(dir)
    )]
    Room { dir: PathBuf, free: u64, copies: u32, needed: u64 },
    #[error(
        "making it needs {needed} bytes of memory, {available} are available: use fewer `files`"
    )]
    Memory { needed: u64, available: u64 },
}

impl fmt::Display for TreeWorkload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let SyntheticTree { files, bytes, .. } = self.tree;
        write!(f, "{}, {}", count(files.into(), "file"), size(bytes as f64))
    }
}

impl TreeWorkload {
    /// Where the tree and its copies lie.
    pub(crate) fn folder(&self) -> PathBuf {
        let in_memory = Path::new(IN_MEMORY);
        let by_default = || {
            if in_memory.is_dir() { in_memory.to_owned() } else { std::env::temp_dir() }
        };
        self.folder.clone().unwrap_or_else(by_default)
    }

    /// The size of a segment that a stage of it has by default.
    pub(crate) fn segment_bytes(&self) -> usize {
        let bytes = segment_bytes_of(self.tree.bytes, &ListOptions::default());
        usize::try_from(bytes).expect("a segment fits into memory")
    }

    /// Checks that the folder can be written to, and has room for the tree and so many copies.
    ///
    /// # Errors
    ///
    /// It can't, or has not.
    pub(crate) fn check_room(&self, copies: u32) -> Result<(), TreeRoomError> {
        let (needed, available) = (self.tree.memory_bytes(), available_bytes());
        if needed > available {
            return Err(TreeRoomError::Memory { needed, available });
        }
        let dir = self.folder();
        let free = probe(&dir).and_then(|_| free_bytes(&dir));
        let free = free.map_err(|cause| TreeRoomError::Folder { dir: dir.clone(), cause })?;
        let needed = self.needed_bytes(copies);
        if needed > free { Err(TreeRoomError::Room { dir, free, copies, needed }) } else { Ok(()) }
    }

    fn needed_bytes(&self, copies: u32) -> u64 {
        let SyntheticTree { files, bytes, .. } = self.tree;
        let one = bytes.saturating_add(u64::from(files) * BYTES_BESIDE);
        one.saturating_mul(u64::from(copies) + 1)
    }
}

/// Bytes that can be written below a folder. What lies in memory needs memory.
fn free_bytes(dir: &Path) -> io::Result<u64> {
    let found = statvfs(dir)?;
    let free = found.f_bavail.saturating_mul(found.f_frsize);
    let is_memory = u64::try_from(statfs(dir)?.f_type) == Ok(TMPFS_MAGIC);
    Ok(if is_memory { free.min(available_bytes()) } else { free })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn workload(files: u32, bytes: u64, folder: &Path) -> TreeWorkload {
        let tree = SyntheticTree { files, bytes, has_holes: false, seed: 1 };
        TreeWorkload { tree, folder: Some(folder.to_owned()) }
    }

    #[test]
    fn what_has_no_room_is_refused_with_what_it_needs() {
        let dir = tempfile::tempdir().expect("a folder");
        workload(10, 1000, dir.path()).check_room(2).expect("a few kilobytes");
        let large = workload(10, 1_000_000_000_000_000, dir.path());
        let error = large.check_room(2).expect_err("a petabyte").to_string();
        let needed = (1_000_000_000_000_000 + 10 * BYTES_BESIDE) * 3;
        let expected = format!("a tree and its 2 copies need {needed}: use fewer");
        assert!(error.contains(&expected), "{error}");
        let nowhere = workload(1, 1, &dir.path().join("nowhere"));
        let error = nowhere.check_room(1).expect_err("it is not there").to_string();
        assert!(error.contains("nowhere: No such file or directory"), "{error}");
        assert!(std::fs::read_dir(dir.path()).expect("a folder").next().is_none(), "nothing stays");
    }

    #[test]
    fn a_tree_is_told_by_its_files_and_bytes() {
        let told = |files, bytes| workload(files, bytes, Path::new("/")).to_string();
        assert_eq!([told(1, 1 << 30), told(100, 1000)], ["1 file, 1 GiB", "100 files, 1000 B"]);
        assert_eq!(workload(1, 1 << 30, Path::new("/")).segment_bytes(), 1 << 20);
    }
}
