//! The tree that is brought to every peer: made once for a workload, and removed after it with all that is left of
//! its copies.

use std::fs::{self, DirBuilder, Permissions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::tree_workload::TreeWorkload;
use crate::escape;
use crate::spawn::{self, ThreadError};
use crate::tree::{
    Layout, ListError, ListOptions, Listed, ManifestError, SourceError, StoredManifest, TreeSource,
    list, roots_of_files,
};

/// The name of the tree, at its source and in each folder that it is brought to.
pub(super) const TREE: &str = "tree";
/// The folder in which the folders of the peers lie, beside the tree.
const COPIES: &str = "copies";

/// A tree with its list, in a folder of its own.
#[derive(Debug)]
pub(crate) struct SourceTree {
    base: PathBuf,
    stored: StoredManifest,
}

/// Why there is no tree to copy.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SourceTreeError {
    #[error("{path}: {cause}", path = escape::path(path))]
    Io { path: PathBuf, cause: io::Error },
    #[error(transparent)]
    List(#[from] ListError),
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    #[error(transparent)]
    Read(#[from] SourceError),
    #[error(transparent)]
    Threads(#[from] ThreadError),
}

impl SourceTree {
    /// Makes the tree of a workload, and hashes it.
    ///
    /// # Errors
    ///
    /// It can't be written or read.
    pub(crate) fn make(workload: &TreeWorkload) -> Result<Self, SourceTreeError> {
        spawn::common_pool()?;
        let name = format!("mpiswarm-bench-{:032x}", rand::random::<u128>());
        let base = workload.folder().join(name);
        let failed = |path: &Path| {
            let path = path.to_owned();
            |cause| SourceTreeError::Io { path, cause }
        };
        DirBuilder::new().mode(0o700).create(&base).map_err(failed(&base))?;
        // From here on it is removed, whatever happens.
        let mut this = Self { base, stored: StoredManifest::default() };
        let path = this.path();
        let made = fs::create_dir(&path).and_then(|()| workload.tree.write(&path));
        made.map_err(failed(&path))?;
        this.stored = hashed(path)?;
        Ok(this)
    }

    /// The folder of the tree and its copies.
    pub(crate) fn base(&self) -> &Path {
        &self.base
    }

    /// Where the tree lies.
    pub(crate) fn path(&self) -> PathBuf {
        self.base.join(TREE)
    }

    /// What it has, with the roots of its files.
    pub(crate) fn stored(&self) -> &StoredManifest {
        &self.stored
    }
}

impl Drop for SourceTree {
    fn drop(&mut self) {
        // Nobody waits for it; what can't be removed stays under a name that says whose it was.
        remove_all(&self.base).unwrap_or_default();
    }
}

fn hashed(path: PathBuf) -> Result<StoredManifest, SourceTreeError> {
    let sources = [path];
    let Listed { manifest, .. } = list(&sources, &ListOptions::default())?;
    let (layout, manifest) = (Arc::new(Layout::new(&manifest)?), Arc::new(manifest));
    let source = TreeSource::open(&sources, Arc::clone(&manifest), Arc::clone(&layout))?;
    let hashed = roots_of_files(&source, &manifest, &layout, |_| ());
    drop(source);
    match hashed.errors.into_iter().next() {
        Some(error) => Err(error.into()),
        None => {
            Ok(StoredManifest { manifest: Arc::unwrap_or_clone(manifest), roots: hashed.roots })
        }
    }
}

/// New folders of peers, which go with this.
#[derive(Debug)]
pub(super) struct CopyFolders {
    above: PathBuf,
    dirs: Vec<PathBuf>,
}

impl CopyFolders {
    /// Makes the folders of these peers beside the tree, which other hosts need not have.
    ///
    /// # Errors
    ///
    /// One can't be made, or is there already.
    pub(super) fn make(base: &Path, peers: impl IntoIterator<Item = u32>) -> io::Result<Self> {
        let above = base.join(COPIES);
        fs::create_dir_all(&above)?;
        let mut this = Self { above, dirs: Vec::new() };
        for peer in peers {
            let dir = this.above.join(peer.to_string());
            fs::create_dir(&dir)?;
            this.dirs.push(dir);
        }
        Ok(this)
    }

    /// The folders, in the order of the peers.
    pub(super) fn dirs(&self) -> &[PathBuf] {
        &self.dirs
    }
}

impl Drop for CopyFolders {
    fn drop(&mut self) {
        for dir in &self.dirs {
            // One that stays is in the way of the next run, which names it.
            remove_all(dir).unwrap_or_default();
        }
        // The last that leaves. Where the tree lies the folder around it is not empty, and stays.
        for dir in [Some(&*self.above), self.above.parent()].into_iter().flatten() {
            fs::remove_dir(dir).unwrap_or_default();
        }
    }
}

/// Removes a folder with all that is in it, also what nobody may write to.
fn remove_all(dir: &Path) -> io::Result<()> {
    match fs::remove_dir_all(dir) {
        Err(cause) if cause.kind() == ErrorKind::PermissionDenied => {
            allow(dir)?;
            fs::remove_dir_all(dir)
        }
        removed => removed,
    }
}

/// Lets the owner change all folders in a folder.
fn allow(dir: &Path) -> io::Result<()> {
    fs::set_permissions(dir, Permissions::from_mode(0o700))?;
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        // That of a link is a link.
        if entry.file_type()?.is_dir() {
            allow(&entry.path())?;
        }
    }
    Ok(())
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::tree::SyntheticTree;

    #[test]
    fn nothing_is_left_of_a_tree_and_its_copies() {
        let dir = tempfile::tempdir().expect("a folder");
        let tree = SyntheticTree { files: 200, bytes: 100_000, has_holes: false, seed: 7 };
        let workload = TreeWorkload { tree, folder: Some(dir.path().to_owned()) };
        let source = SourceTree::make(&workload).expect("there is room");
        assert_eq!(source.stored().manifest.bytes(), 100_000);
        let copies = CopyFolders::make(source.base(), [1, 2]).expect("they are new");
        assert!(copies.dirs().iter().all(|dir| dir.is_dir()), "{copies:?}");
        let again = CopyFolders::make(source.base(), [2]).expect_err("it is there");
        assert_eq!(again.kind(), ErrorKind::AlreadyExists);
        let closed = copies.dirs()[0].join("closed");
        fs::create_dir_all(closed.join("inner")).expect("a folder");
        fs::set_permissions(&closed, Permissions::from_mode(0o555)).expect("it is ours");
        drop(copies);
        assert!(source.path().is_dir() && !source.base().join(COPIES).exists());
        drop(source);
        assert!(fs::read_dir(dir.path()).expect("a folder").next().is_none());
    }
}
