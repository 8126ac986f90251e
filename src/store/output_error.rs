//! What can be wrong with an output, or with the folder that it goes to.

use std::io;
use std::path::PathBuf;

use crate::escape;

/// What went wrong with an output, and where.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the message of each says what its fields are")]
pub enum OutputError {
    #[error("{}: {cause}", escape::path(path))]
    File { path: PathBuf, cause: io::Error },
    #[error("{}: {cause}: give another folder with --out", escape::path(path))]
    Folder { path: PathBuf, cause: io::Error },
    #[error(
        "{}: another run writes here{holder}: wait until it ends, or give another folder with --out",
        escape::path(dir)
    )]
    InUse { dir: PathBuf, holder: String },
    #[error(
        "{}: in the way: {names}: not written by mpiswarm, or changed since: replace with \
         --overwrite, or give another folder with --out",
        escape::path(dir)
    )]
    Exists { dir: PathBuf, names: String },
}
