//! One run at a time stages into a folder.

use std::fs::{File, TryLockError};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::Path;
use std::thread;
use std::time::Duration;

use rustix::fs::{Mode, OFlags, openat};

use super::DestinationError;
use crate::escape;

/// The name of the lock.
// It stays when the run ends: to remove it would let two runs hold two files of this name.
const NAME: &str = "lock";

/// How often a run that waits tries again.
// Short beside any staging, and ten calls in a second cost nothing.
const REST: Duration = Duration::from_millis(100);

/// The longest name of a holder that is read, bytes.
// A host's name has at most 64 bytes (hostname(7)).
const HOLDER_BYTES: usize = 128;

/// The lock of a destination, held until it is dropped or the process ends.
#[derive(Debug)]
pub(super) struct FolderLock {
    _file: File,
    /// Why the folder has no locks, if so.
    pub(super) unlocked: Option<io::Error>,
}

impl FolderLock {
    /// Takes the lock, and waits for it at most `limit`. `waiting` is told whom it waits for.
    pub(super) fn take(
        control: &OwnedFd,
        dir: &Path,
        limit: Duration,
        waiting: &mut dyn FnMut(&str),
    ) -> Result<Self, DestinationError> {
        let path = dir.join(super::CONTROL).join(NAME);
        let failed = |cause| DestinationError::at(path.clone(), 0, cause);
        let flags =
            OFlags::CREATE | OFlags::RDWR | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = openat(control, NAME, flags, Mode::RUSR | Mode::WUSR);
        let file = File::from(file.map_err(|cause| failed(cause.into()))?);
        let found = file.metadata().map_err(failed)?;
        // Whoever plants a link here, hard or soft, must not have us write to its target.
        if !found.is_file() || found.nlink() > 1 {
            return Err(DestinationError::Foreign { path });
        }
        // Rests are counted instead of a clock read.
        let mut left = limit;
        loop {
            match file.try_lock() {
                Ok(()) => {
                    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
                    let holder = format!("host {host}, process {}\n", std::process::id());
                    let written =
                        file.set_len(0).and_then(|()| file.write_all_at(holder.as_bytes(), 0));
                    written.map_err(failed)?;
                    return Ok(Self { _file: file, unlocked: None });
                }
                Err(TryLockError::WouldBlock) if left.is_zero() => {
                    let (dir, holder) = (dir.to_owned(), holder(&file));
                    return Err(DestinationError::InUse { dir, holder, seconds: limit.as_secs() });
                }
                Err(TryLockError::WouldBlock) => {
                    if left == limit {
                        let (dir, holder) = (escape::path(dir), holder(&file));
                        waiting(&format!("{dir}: waits for another run that stages here{holder}"));
                    }
                    thread::park_timeout(REST);
                    left = left.saturating_sub(REST);
                }
                // ENOTSUP, ENOLCK, ENOSYS: some parallel file systems are mounted without locks.
                Err(TryLockError::Error(cause)) => {
                    return Ok(Self { _file: file, unlocked: Some(cause) });
                }
            }
        }
    }
}

/// Who holds the lock, in brackets; empty where it is not said.
fn holder(file: &File) -> String {
    let mut text = [0; HOLDER_BYTES];
    let read = file.read_at(&mut text, 0).unwrap_or_default();
    let text = String::from_utf8_lossy(&text[..read]);
    match text.lines().next() {
        Some(line) if !line.is_empty() => format!(" ({})", escape::terminal(line)),
        _ => String::new(),
    }
}
