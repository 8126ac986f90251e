//! Where a file has holes.

use std::ops::Range;

use rustix::fd::BorrowedFd;
use rustix::fs::{Mode, OFlags, SeekFrom, openat, seek};
use rustix::io::Errno;

/// How many ranges of data a file has, at most.
// A file of a terabyte could have 10^8. What lies behind the last counts as data.
const RANGES_MAX: usize = 1 << 16;

/// Where a file has data; none where it has no hole, or the file system does not tell.
pub(super) fn data_of(
    folder: BorrowedFd<'_>,
    name: &[u8],
    bytes: u64,
    follows: bool,
) -> Option<Box<[Range<u64>]>> {
    let follow = if follows { OFlags::empty() } else { OFlags::NOFOLLOW };
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC | follow;
    let file = openat(folder, name, flags, Mode::empty()).ok()?;
    let mut data: Vec<Range<u64>> = Vec::new();
    let mut end = 0;
    while end < bytes {
        let start = match seek(&file, SeekFrom::Data(end)) {
            Ok(start) if start < bytes => start,
            // All that is left is a hole.
            Ok(_) | Err(Errno::NXIO) => break,
            Err(_) => return None,
        };
        end = seek(&file, SeekFrom::Hole(start)).ok()?.min(bytes);
        // A file that shrinks meanwhile must not make this go on for ever.
        if end <= start || start < data.last().map_or(0, |last| last.end) {
            return None;
        }
        if data.len() + 1 == RANGES_MAX {
            end = bytes;
        }
        data.push(start..end);
    }
    let is_whole = matches!(&*data, [all] if *all == (0..bytes));
    (!is_whole).then(|| data.into())
}
