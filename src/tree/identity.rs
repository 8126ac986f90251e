//! What tells a file from another that took its place, where name, size and time are the same.

use rustix::fd::AsFd;
use rustix::fs::{Stat, fstatfs};

use super::FileTime;

/// The number of FUSE among file systems (`FUSE_SUPER_MAGIC` of Linux).
const FUSE: u64 = 0x6573_5546;

/// The inode of a file, and when that was changed last. No user can set this time: whoever writes to the file,
/// or puts another in its place, changes it, whatever times he gives the file afterwards.
// Up to Linux 6.12 two changes within one tick of the kernel's clock, of 1 to 10 ms, have the same time.
// Hosts that see one file system may count inodes in different ways: it is good on one host, during one run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FileIdentity {
    inode: u64,
    changed: FileTime,
}

impl FileIdentity {
    pub(super) fn of(found: &Stat) -> Self {
        let nanos = u32::try_from(found.st_ctime_nsec).unwrap_or_default();
        Self { inode: found.st_ino, changed: FileTime { seconds: found.st_ctime, nanos } }
    }

    /// Whether an open file, of which this is known now, is the one of which `self` was known before.
    pub(super) fn is_still(&self, now: &Self, file: impl AsFd) -> bool {
        // File systems of FUSE may number a file anew when the kernel has forgotten it, and it is the same file.
        let is_fuse = || fstatfs(file).is_ok_and(|found| u64::try_from(found.f_type) == Ok(FUSE));
        self.changed == now.changed && (self.inode == now.inode || is_fuse())
    }
}
