//! What one rank has written to a folder: a list that is kept there, and that one run at a time holds.
//!
//! The list is `.mpiswarm-<R>.outputs`: a line for this run, then a line a file, digest and name as
//! `sha256sum` writes them. It tells a later run which files it may replace: those that are as they
//! were written.
//!
//! The list is the lock, too, one a rank and not one a folder. Names of outputs begin with their rank, so
//! that runs can meet only in files of the same rank. The ranks of one job then need no common lock and
//! no word about whose it is, be their folders one or many, on one host or many. The kernel (over NFS
//! the server) lets go of a dead holder's lock. Before the others begin, rank 0 takes its own list,
//! which stays empty: of two jobs that start at once in one folder one goes on.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read as _};
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use super::OutputError;
use super::temporary::{self, NO_LINK};
use crate::manifest::NodeId;
use crate::verify::Digest;

/// How a list begins.
// Another file that has come to this name is not written to.
const MAGIC: &str = "# mpiswarm: ";

/// The length of the first line.
// It is fixed, so that each run can write over it. A host's name has at most 64 bytes (hostname(7)).
const HEADER_BYTES: usize = 128;

/// The longest list that is read.
// Half a million files. It grows only when inputs change: a file that is written again as it was adds
// nothing.
const LIST_BYTES_MAX: u64 = 64 << 20;

/// How often a list that was removed meanwhile is made again.
// Each time another run has ended in the microseconds between two calls of ours.
const ATTEMPTS_MAX: u32 = 100;

/// The list of one rank's outputs in one folder, held by this run.
#[derive(Debug)]
pub struct OutputList {
    path: PathBuf,
    file: File,
    /// Digests of what was written under each name, the latest last.
    digests: HashMap<Box<str>, Vec<Box<str>>>,
    end: u64,
    /// Why the folder has no locks, if so.
    pub unlocked: Option<io::Error>,
}

impl OutputList {
    /// Takes the list of rank `node` in `dir`, and makes the folder and the list if need be.
    ///
    /// # Errors
    ///
    /// When the folder can't be made or written to, or another run holds the list.
    pub fn open(dir: &Path, node: NodeId) -> Result<Self, OutputError> {
        // A trial now, so that a folder without write permission is named before anything moves.
        temporary::probe_folder(dir)
            .map_err(|cause| OutputError::Folder { path: dir.to_owned(), cause })?;
        let path = dir.join(format!(".mpiswarm-{}.outputs", node.0));
        let (file, unlocked) = lock(dir, &path)?;
        let mut list = Self { path, file, digests: HashMap::new(), end: 0, unlocked };
        match list.read() {
            Ok(()) => Ok(list),
            Err(cause) => Err(OutputError::Folder { path: list.path.clone(), cause }),
        }
    }

    fn read(&mut self) -> io::Result<()> {
        let mut text = Vec::new();
        // A list that has grown too long begins anew.
        if self.file.metadata()?.len() <= LIST_BYTES_MAX {
            (&self.file).take(LIST_BYTES_MAX).read_to_end(&mut text)?;
        }
        // The last line may have been cut off with its process, and is written over.
        let end = text.iter().rposition(|&byte| byte == b'\n').map_or(0, |last| last + 1);
        for line in String::from_utf8_lossy(&text[..end]).lines().skip(1) {
            if let Some((digest, name)) = line.split_once("  ") {
                self.digests.entry(name.into()).or_default().push(digest.into());
            }
        }
        self.end = end.max(HEADER_BYTES) as u64;
        let host = temporary::host().replace(|character: char| !character.is_ascii_graphic(), "?");
        let holder = format!("{MAGIC}host {host}, process {}", std::process::id());
        let width = HEADER_BYTES - 1;
        self.file.write_all_at(format!("{holder:width$.width$}\n").as_bytes(), 0)?;
        self.file.set_len(self.end)
    }

    // Before the file gets its name: were the process killed between the two, the next run could not tell
    // that the file is ours. Not synced: after a crash of the host a run may ask for --overwrite.
    /// Adds a file that is about to get its name.
    pub(super) fn add(&mut self, name: &str, digest: Digest) -> io::Result<()> {
        let digest = digest.to_string();
        let digests = self.digests.entry(name.into()).or_default();
        if !digests.iter().any(|known| **known == *digest) {
            let line = format!("{digest}  {name}\n");
            self.file.write_all_at(line.as_bytes(), self.end)?;
            self.end += line.len() as u64;
            digests.push(digest.into());
        }
        Ok(())
    }

    /// Whether nothing is lost when `name`, which lies at `path`, is replaced: there is nothing, or what
    /// this program wrote there.
    pub(super) fn may_replace(&self, path: &Path, name: &str) -> bool {
        let Ok(found) = fs::symlink_metadata(path) else { return true };
        let wrote = || {
            // What has a name that was never written is not read, however large it is.
            let digests = self.digests.get(name)?;
            let file = OpenOptions::new().read(true).custom_flags(NO_LINK).open(path).ok()?;
            let digest = Digest::of_file(file.take(found.len() + 1)).ok()?.to_string();
            Some(digests.iter().any(|known| **known == *digest))
        };
        found.is_file() && wrote() == Some(true)
    }
}

impl Drop for OutputList {
    fn drop(&mut self) {
        // An empty list is of no use to a later run. Without a lock another run may hold it, too.
        let is_empty = self.digests.is_empty() && self.unlocked.is_none();
        if is_empty && is_at(&self.file, &self.path) {
            drop(fs::remove_file(&self.path));
        }
    }
}

/// Opens and locks a list; with the reason where the file system has no locks.
fn lock(dir: &Path, path: &Path) -> Result<(File, Option<io::Error>), OutputError> {
    let failed = |cause| OutputError::Folder { path: path.to_owned(), cause };
    let in_use = |holder| OutputError::InUse { dir: dir.to_owned(), holder };
    for _ in 0..ATTEMPTS_MAX {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).custom_flags(NO_LINK);
        let file = options.open(path).map_err(failed)?;
        let found = file.metadata().map_err(failed)?;
        // Whoever plants a link here, hard or soft, must not have us write to its target.
        if !found.is_file() || found.nlink() > 1 || (found.len() > 0 && first_line(&file).is_none())
        {
            return Err(failed(io::Error::other("a link, or not written by mpiswarm: remove it")));
        }
        let unlocked = match file.try_lock() {
            Ok(()) => None,
            Err(TryLockError::WouldBlock) => {
                let holder = first_line(&file).map(|holder| format!(" ({holder})"));
                return Err(in_use(holder.unwrap_or_default()));
            }
            // ENOTSUP, ENOLCK, ENOSYS: some parallel file systems are mounted without locks.
            Err(TryLockError::Error(cause)) => Some(cause),
        };
        // The run that held it may have removed it meanwhile.
        if is_at(&file, path) {
            return Ok((file, unlocked));
        }
    }
    Err(in_use(String::new()))
}

/// Who wrote the first line; none where it is not one of ours.
fn first_line(file: &File) -> Option<String> {
    let mut line = [0; HEADER_BYTES];
    file.read_exact_at(&mut line, 0).ok()?;
    let holder = str::from_utf8(&line).ok()?.strip_prefix(MAGIC)?.trim();
    holder.chars().all(|character| !character.is_control()).then(|| holder.to_owned())
}

/// Whether the open file is the one at `path`.
fn is_at(file: &File, path: &Path) -> bool {
    let id = |found: fs::Metadata| (found.dev(), found.ino());
    let there = fs::symlink_metadata(path).map(id).ok();
    there.is_some() && there == file.metadata().map(id).ok()
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn open(dir: &Path) -> OutputList {
        OutputList::open(dir, NodeId(1)).expect("the folder is free")
    }

    #[test]
    fn a_line_that_was_cut_off_or_is_none_does_no_harm() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = |name: &str| dir.path().join(name);
        for name in ["client1_a", "client1_b  c"] {
            fs::write(path(name), name).expect("a small file");
            let mut list = open(dir.path());
            assert!(!list.may_replace(&path(name), name));
            list.add(name, Digest::of(b"earlier")).expect("there is room");
            list.add(name, Digest::of(name.as_bytes())).expect("there is room");
            assert!(list.may_replace(&path(name), name));
            drop(list);
            let mut text = fs::read(path(".mpiswarm-1.outputs")).expect("the list is kept");
            text.extend(b"\n\xff  \xff\n   \nd  client1_d\n0123  client1_c");
            fs::write(path(".mpiswarm-1.outputs"), text).expect("it is writable");
        }
        let list = open(dir.path());
        assert!(list.may_replace(&path("client1_a"), "client1_a"));
        assert!(list.may_replace(&path("client1_b  c"), "client1_b  c"));
        assert!(!list.digests.contains_key("client1_c") && list.digests.contains_key("client1_d"));
    }

    #[test]
    fn a_list_is_held_once_says_by_whom_and_goes_when_it_is_empty() {
        let dir = tempfile::tempdir().expect("a folder");
        let first = open(dir.path());
        if first.unlocked.is_some() {
            return;
        }
        let error = OutputList::open(dir.path(), NodeId(1)).expect_err("it is held").to_string();
        assert!(error.contains(&format!(", process {})", std::process::id())), "{error}");
        drop(OutputList::open(dir.path(), NodeId(2)).expect("each rank has its own"));
        drop(first);
        assert_eq!(fs::read_dir(dir.path()).expect("it is readable").count(), 0);
        let large = File::create(dir.path().join(".mpiswarm-1.outputs")).expect("a file");
        large.write_all_at(format!("{MAGIC:127}\na  client1_a\n").as_bytes(), 0).expect("room");
        large.set_len(LIST_BYTES_MAX + 1).expect("it has a hole");
        assert!(open(dir.path()).digests.is_empty(), "too long: it begins anew");
    }
}
