//! The sources as the user wrote them: which name each has in destinations.

use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use rustix::fd::OwnedFd;
use rustix::fs::{CWD, Mode, OFlags, openat};

use super::{ManifestError, TreePath};
use crate::escape;

/// Why sources can't be listed or opened.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the message of each says what its fields are")]
pub enum ListError {
    #[error("{0}: it has no name: name the files and folders in it")]
    NoName(String),
    #[error("{first} and {second} have one name, {name}: copy one of them by itself")]
    SameName { first: String, second: String, name: String },
    #[error("{path} is {kind}: name a file or a folder")]
    Special { path: String, kind: &'static str },
    #[error("{path}: {cause}")]
    Io { path: String, cause: io::Error },
    #[error("no source is called {0}: name the same sources on each rank")]
    Lacking(String),
    #[error("{0}")]
    Manifest(#[from] ManifestError),
}

/// A source, with its name in destinations.
#[derive(Debug)]
pub(super) struct SourceRoot {
    pub(super) name: TreePath,
    /// As it was written.
    pub(super) path: PathBuf,
    /// Open where it is a folder; a file otherwise.
    pub(super) folder: Option<OwnedFd>,
    /// Device and inode.
    file: (u64, u64),
}

impl SourceRoot {
    /// The sources, ascending by name. One that is named twice is taken once.
    pub(super) fn all(sources: &[PathBuf]) -> Result<Vec<Self>, ListError> {
        let mut roots =
            sources.iter().map(|path| Self::new(path)).collect::<Result<Vec<_>, _>>()?;
        roots.sort_by(|left, right| left.name.cmp(&right.name));
        roots.dedup_by(|later, earlier| (&later.name, later.file) == (&earlier.name, earlier.file));
        if let Some(twins) = roots.windows(2).find(|pair| pair[0].name == pair[1].name) {
            return Err(ListError::SameName {
                first: escape::path(&twins[0].path),
                second: escape::path(&twins[1].path),
                name: twins[0].name.to_string(),
            });
        }
        Ok(roots)
    }

    /// A link is followed, and keeps its own name: whoever writes it means what it leads to. (`cp` does
    /// the same on a command line with `-H`.)
    fn new(path: &Path) -> Result<Self, ListError> {
        let failed = |cause| ListError::Io { path: escape::path(path), cause };
        let found = fs::metadata(path).map_err(failed)?;
        // `.`, `..` and what ends with `..` have their name elsewhere.
        let real = match path.file_name() {
            Some(_) => path.to_owned(),
            None => fs::canonicalize(path).map_err(failed)?,
        };
        let name = real.file_name().ok_or_else(|| ListError::NoName(escape::path(path)))?;
        let kind = found.file_type();
        if !kind.is_dir() && !kind.is_file() {
            let kind = match () {
                () if kind.is_fifo() => "a pipe",
                () if kind.is_socket() => "a socket",
                () => "a device",
            };
            return Err(ListError::Special { path: escape::path(path), kind });
        }
        let open = |flags| openat(CWD, path, flags | OFlags::CLOEXEC, Mode::empty());
        // A file is opened too: one that can't be read is refused at once.
        let opened = if kind.is_dir() {
            open(OFlags::RDONLY | OFlags::DIRECTORY)
        } else {
            open(OFlags::RDONLY | OFlags::NONBLOCK)
        };
        let opened = opened.map_err(|cause| failed(cause.into()))?;
        Ok(Self {
            name: TreePath::new(name.as_bytes())?,
            path: path.to_owned(),
            folder: kind.is_dir().then_some(opened),
            file: (found.dev(), found.ino()),
        })
    }
}
