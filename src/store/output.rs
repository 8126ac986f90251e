//! Finished files on disk: written beside their final name, synced, renamed.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use crate::manifest::{FileName, NodeId, hash_of};

use super::Verified;
use crate::verify::Digest;

/// The folder into which a peer writes what it has got.
#[derive(Clone, Debug)]
pub struct OutputDir {
    dir: PathBuf,
    peer: NodeId,
    /// Whether the digests of each finished file are written beside it.
    digests: bool,
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
        let this = Self { dir: dir.to_owned(), peer, digests: false };
        let at = |path: &Path| {
            let path = path.to_owned();
            move |cause| OutputError { path, cause }
        };
        fs::create_dir_all(dir).map_err(at(dir))?;
        // Of a name of its own: another run may look at the same folder now.
        let probe = this.temporary(&format!("probe-{}", std::process::id()));
        File::create(&probe).and_then(|_| fs::remove_file(&probe)).map_err(at(dir))?;
        Ok(this)
    }

    /// The same folder, into which digests are written too if `digests` says so: beside each
    /// finished file the SHA-256 of each of its segments as it lies in the store, one a line, under
    /// `client<R>_<name>.sha256`.
    pub fn with_digests(self, digests: bool) -> Self {
        Self { digests, ..self }
    }

    /// Writes the hashes of a whole file, one a line, under `client<R>_<name>`, and its digests
    /// where they are wanted.
    ///
    /// # Errors
    ///
    /// When the disk does not take it; then nothing bears the final name, and nothing
    /// half-written stays.
    pub fn publish<'a, S: Verified + 'a>(
        &self,
        name: &FileName,
        number: u32,
        segments: impl Iterator<Item = &'a S> + Clone,
    ) -> Result<(), OutputError> {
        let hashes = segments.clone();
        self.write(&name.output_name(self.peer), number, |file| write_hashes(file, hashes))?;
        if self.digests {
            let digests_name = name.digests_name(self.peer);
            self.write(&digests_name, number, |file| write_digests(file, segments))?;
        }
        Ok(())
    }

    /// Has `fill` write a file, which gets its name when it is whole.
    fn write(
        &self,
        name: &str,
        number: u32,
        fill: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>,
    ) -> Result<(), OutputError> {
        let path = self.dir.join(name);
        let temporary = self.temporary(&number.to_string());
        let write = || {
            let mut file = BufWriter::new(File::create(&temporary)?);
            fill(&mut file)?;
            file.into_inner()?.sync_all()?;
            fs::rename(&temporary, &path)
        };
        write().map_err(|cause| {
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

fn write_hashes<'a, S: Verified + 'a>(
    file: &mut impl Write,
    segments: impl Iterator<Item = &'a S>,
) -> io::Result<()> {
    for segment in segments {
        let hash = hash_of(segment.bytes()).ok_or(io::ErrorKind::InvalidData)?;
        file.write_all(hash.as_bytes())?;
        file.write_all(b"\n")?;
    }
    Ok(())
}

/// What the segments are now, whatever their check said when they came.
fn write_digests<'a, S: Verified + 'a>(
    file: &mut impl Write,
    mut segments: impl Iterator<Item = &'a S>,
) -> io::Result<()> {
    segments.try_for_each(|segment| writeln!(file, "{}", Digest::of(segment.bytes())))
}
