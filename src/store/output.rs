//! Finished files on disk.
//!
//! A file is replaced atomically: it is written under a temporary name in the same folder, synced, and
//! renamed. POSIX makes `rename` atomic, so that a final name never shows half a file. Without the sync
//! a crash could leave the name and not the bytes (Pillai et al., "All File Systems Are Not Created
//! Equal", OSDI 2014).

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;

use crate::escape;
use crate::manifest::{FileName, NodeId, hash_of};
use crate::verify::Digest;

use super::output_list::OutputList;
use super::{OutputError, Verified, temporary};

/// The folder into which a peer writes what it has got.
#[derive(Debug)]
pub struct OutputDir {
    dir: PathBuf,
    peer: NodeId,
    digests: bool,
    overwrite: bool,
    list: OutputList,
}

impl OutputDir {
    /// Makes the folder if need be, and holds this peer's part of it against other runs.
    ///
    /// # Errors
    ///
    /// When the folder can't be made or written to, or another run writes there.
    pub fn open(dir: &Path, peer: NodeId) -> Result<Self, OutputError> {
        let list = OutputList::open(dir, peer)?;
        Ok(Self { dir: dir.to_owned(), peer, digests: false, overwrite: false, list })
    }

    /// Whether to write digests beside each finished file, under `client<R>_<name>.sha256`: the
    /// SHA-256 of each segment, one a line.
    pub fn with_digests(self, digests: bool) -> Self {
        Self { digests, ..self }
    }

    /// Whether to replace files that this program did not write.
    pub fn with_overwrite(self, overwrite: bool) -> Self {
        Self { overwrite, ..self }
    }

    /// Checks that nothing is in the way of the wanted files.
    ///
    /// # Errors
    ///
    /// When a file is there that may not be replaced.
    pub fn check(&self, wanted: &[FileName]) -> Result<(), OutputError> {
        let names = wanted.iter().flat_map(|name| {
            let digests = self.digests.then(|| name.digests_name(self.peer));
            [Some(name.output_name(self.peer)), digests].into_iter().flatten()
        });
        let in_the_way = |name: &String| !self.may_replace(&self.dir.join(name), name);
        let found: Vec<String> = names.filter(in_the_way).collect();
        let (dir, names) = (self.dir.clone(), escape::some(&found, ", "));
        if found.is_empty() { Ok(()) } else { Err(OutputError::Exists { dir, names }) }
    }

    /// Writes the hashes of a whole file, one a line, under `client<R>_<name>`, and its digests
    /// where they are wanted.
    ///
    /// # Errors
    ///
    /// When the disk does not take it. Then the final name is as before, and the temporary file is
    /// removed.
    pub fn publish<'a, S: Verified + 'a>(
        &mut self,
        name: &FileName,
        segments: impl Iterator<Item = &'a S> + Clone,
    ) -> Result<(), OutputError> {
        let hashes = segments.clone();
        self.write(&name.output_name(self.peer), |file| write_hashes(file, hashes))?;
        if self.digests {
            self.write(&name.digests_name(self.peer), |file| write_digests(file, segments))?;
        }
        Ok(())
    }

    fn write(
        &mut self,
        name: &str,
        fill: impl FnOnce(&mut Vec<u8>) -> io::Result<()>,
    ) -> Result<(), OutputError> {
        let path = self.dir.join(name);
        let written = temporary::create(&self.dir).and_then(|(temporary, file)| {
            let written = self.fill(file, name, fill).and_then(|()| self.rename(&temporary, name));
            if written.is_err() {
                // If this fails too, the first error is the one that matters.
                drop(fs::remove_file(&temporary));
            }
            written
        });
        written.map_err(|cause| OutputError::File { path, cause })
    }

    // Write, fsync, rename: after a crash the final name stands for the whole file or for nothing. The text
    // of a file is shorter than its segments, which are in memory: made whole it takes one system call to
    // write, and its digest none to read it back.
    fn fill(
        &mut self,
        mut file: File,
        name: &str,
        fill: impl FnOnce(&mut Vec<u8>) -> io::Result<()>,
    ) -> io::Result<()> {
        let mut text = Vec::new();
        fill(&mut text)?;
        file.write_all(&text)?;
        file.sync_all()?;
        self.list.add(name, Digest::of(&text))
    }

    // Something may have come to the final name since the check: NOREPLACE finds it out in the same call.
    fn rename(&self, temporary: &Path, name: &str) -> io::Result<()> {
        let path = self.dir.join(name);
        match renameat_with(CWD, temporary, CWD, &path, RenameFlags::NOREPLACE) {
            // EINVAL and the like: NFS and others can't refuse to replace (rename(2)).
            Err(Errno::EXIST | Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => {
                if self.may_replace(&path, name) {
                    fs::rename(temporary, &path)
                } else {
                    Err(Errno::EXIST.into())
                }
            }
            renamed => Ok(renamed?),
        }
    }

    // A folder is never replaced: `rename` could not, either.
    fn may_replace(&self, path: &Path, name: &str) -> bool {
        let is_dir = || fs::symlink_metadata(path).is_ok_and(|found| found.is_dir());
        if self.overwrite { !is_dir() } else { self.list.may_replace(path, name) }
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
