//! What can be wrong with a destination.

use std::io;
use std::path::PathBuf;

use super::super::TreePath;
use super::Shortage;
use crate::escape;

/// What went wrong at a destination, and where.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the message of each says what its fields are")]
pub enum DestinationError {
    #[error(
        "{}: no such folder: mount the disk, make the folder, or have it made with --mkdir",
        escape::path(dir)
    )]
    Missing { dir: PathBuf },
    #[error("{}: {cause}", escape::path(path))]
    File { path: PathBuf, cause: io::Error },
    #[error(
        "{}: {cause} after {written} bytes: make room there and run again: what was written is kept",
        escape::path(path)
    )]
    Full { path: PathBuf, written: u64, cause: io::Error },
    #[error("{}: {shortage}", escape::path(dir))]
    NoRoom { dir: PathBuf, shortage: Shortage },
    #[error(
        "{}: this file system takes {first} and {second} for one name: rename one of them, or give a folder on \
         another file system with --to",
        escape::path(dir)
    )]
    SameName { dir: PathBuf, first: TreePath, second: TreePath },
    #[error(
        "{}: another run stages here{holder}, and did not end in {seconds} s: wait until it ends, or \
         give another folder with --to",
        escape::path(dir)
    )]
    InUse { dir: PathBuf, holder: String, seconds: u64 },
    #[error(
        "{}: a link, or another user's: remove it, or give another folder with --to",
        escape::path(path)
    )]
    Foreign { path: PathBuf },
    #[error(
        "{}: keeps what mpiswarm knows of this folder: give a source of this name another one",
        escape::path(path)
    )]
    Reserved { path: PathBuf },
    #[error(
        "{}: --owner: files are not root's here: run as root, or without --owner",
        escape::path(dir)
    )]
    NotRoot { dir: PathBuf },
    #[error(
        "{}: --xattrs: this file system has no extended attributes: leave out --xattrs, or give a folder on \
         another file system with --to",
        escape::path(dir)
    )]
    NoXattrs { dir: PathBuf },
    #[error(
        "{}: read back other bytes than were written: check the disk, and run again with --checksum",
        escape::path(path)
    )]
    Corrupt { path: PathBuf },
    #[error("{}: {count} segments are not there yet", escape::path(dir))]
    Incomplete { dir: PathBuf, count: usize },
    #[error("{}: has come while the run was going on: remove it, or run again", escape::path(path))]
    Appeared { path: PathBuf },
    #[error(
        "{}: segment {segment}: its bytes, digests or buffer have another size",
        escape::path(dir)
    )]
    Size { dir: PathBuf, segment: u32 },
}

impl DestinationError {
    /// A failed call at a file or folder, when `written` bytes had been written to the destination.
    pub(super) fn at(path: PathBuf, written: u64, cause: impl Into<io::Error>) -> Self {
        let cause = cause.into();
        let is_full =
            matches!(cause.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded);
        if is_full { Self::Full { path, written, cause } } else { Self::File { path, cause } }
    }
}
