//! Finished files on disk: written beside their final name, synced, renamed.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use crate::manifest::{FileName, NodeId, token_of};

use super::SealedSegment;

/// The folder into which a peer writes what it has got.
#[derive(Clone, Debug)]
pub struct OutputDir {
    dir: PathBuf,
    peer: NodeId,
}

/// What went wrong with an output, and where.
#[derive(Debug, thiserror::Error)]
#[error("{}: {cause}", path.display())]
pub struct OutputError {
    /// The file or folder.
    pub path: PathBuf,
    /// What the system said.
    pub cause: io::Error,
}

impl OutputDir {
    /// Makes the folder if need be, and checks that it can be written to.
    ///
    /// # Errors
    ///
    /// When it can't be.
    pub fn open(dir: &Path, peer: NodeId) -> Result<Self, OutputError> {
        let this = Self { dir: dir.to_owned(), peer };
        let at = |path: &Path| {
            let path = path.to_owned();
            move |cause| OutputError { path, cause }
        };
        fs::create_dir_all(dir).map_err(at(dir))?;
        let probe = this.temporary("probe");
        File::create(&probe).and_then(|_| fs::remove_file(&probe)).map_err(at(dir))?;
        Ok(this)
    }

    /// Writes the hashes of a whole file, one a line, under `client<R>_<name>`.
    ///
    /// # Errors
    ///
    /// When the disk does not take it; then nothing bears the final name, and nothing
    /// half-written stays.
    pub fn publish<'a>(
        &self,
        name: &FileName,
        number: u32,
        segments: impl Iterator<Item = &'a SealedSegment>,
    ) -> Result<(), OutputError> {
        let path = self.dir.join(name.output_name(self.peer));
        let temporary = self.temporary(&number.to_string());
        let written =
            write_hashes(&temporary, segments).and_then(|()| fs::rename(&temporary, &path));
        written.map_err(|cause| {
            // The error that matters is the one that came first.
            drop(fs::remove_file(&temporary));
            OutputError { path, cause }
        })
    }

    /// A name that no finished file has, and no other rank's temporary file.
    fn temporary(&self, what: &str) -> PathBuf {
        self.dir.join(format!(".client{}_{what}.part", self.peer.0))
    }
}

fn write_hashes<'a>(
    path: &Path,
    segments: impl Iterator<Item = &'a SealedSegment>,
) -> io::Result<()> {
    let mut file = BufWriter::new(File::create(path)?);
    for segment in segments {
        let token = token_of(segment.bytes()).ok_or(io::ErrorKind::InvalidData)?;
        file.write_all(token.as_bytes())?;
        file.write_all(b"\n")?;
    }
    file.into_inner()?.sync_all()
}
