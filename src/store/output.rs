//! Finished files on disk.
//!
//! A file is replaced atomically: it is written under a temporary name in the same folder, synced, and
//! renamed. POSIX makes `rename` atomic, so that a final name never shows half a file. Without the sync
//! a crash could leave the name and not the bytes (Pillai et al., "All File Systems Are Not Created
//! Equal", OSDI 2014).

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use crate::escape;
use crate::manifest::{FileName, NodeId, hash_of};

use super::Verified;
use crate::verify::Digest;

/// The folder into which a peer writes what it has got.
#[derive(Clone, Debug)]
pub struct OutputDir {
    dir: PathBuf,
    peer: NodeId,
    digests: bool,
}

/// What went wrong with an output, and where.
#[derive(Debug, thiserror::Error)]
#[error("{}: {cause}", escape::path(path))]
pub struct OutputError {
    path: PathBuf,
    cause: io::Error,
}

impl OutputDir {
    /// Makes the folder if need be.
    ///
    /// # Errors
    ///
    /// When the folder can't be made or written to.
    pub fn open(dir: &Path, peer: NodeId) -> Result<Self, OutputError> {
        let this = Self { dir: dir.to_owned(), peer, digests: false };
        let at = |path: &Path| {
            let path = path.to_owned();
            move |cause| OutputError { path, cause }
        };
        fs::create_dir_all(dir).map_err(at(dir))?;
        // A trial now, so that a folder without write permission is named before anything moves. The
        // process's number is in the name: another run may try the same folder at the same time.
        let probe = this.temporary(&format!("probe-{}", std::process::id()));
        File::create(&probe).and_then(|_| fs::remove_file(&probe)).map_err(at(dir))?;
        Ok(this)
    }

    /// Whether to write digests beside each finished file, under `client<R>_<name>.sha256`: the
    /// SHA-256 of each segment, one a line.
    pub fn with_digests(self, digests: bool) -> Self {
        Self { digests, ..self }
    }

    /// Writes the hashes of a whole file, one a line, under `client<R>_<name>`, and its digests
    /// where they are wanted. `number` tells the temporary files of one peer apart.
    ///
    /// # Errors
    ///
    /// When the disk does not take it. Then the final name is as before, and the temporary file is
    /// removed.
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
            // Write, fsync, rename: after a crash the final name stands for the whole file or for nothing
            // (Pillai et al., "All File Systems Are Not Created Equal", OSDI 2014).
            file.into_inner()?.sync_all()?;
            fs::rename(&temporary, &path)
        };
        write().map_err(|cause| {
            // If this fails too, the first error is the one that matters.
            drop(fs::remove_file(&temporary));
            OutputError { path, cause }
        })
    }

    // Finished files begin with `client`, so that none has this name. The rank is in it because ranks
    // of one machine may share the folder.
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

// Hashed anew from the store, not copied from the manifest: the file says what the bytes are now,
// whatever their check said when they came.
fn write_digests<'a, S: Verified + 'a>(
    file: &mut impl Write,
    mut segments: impl Iterator<Item = &'a S>,
) -> io::Result<()> {
    segments.try_for_each(|segment| writeln!(file, "{}", Digest::of(segment.bytes())))
}
