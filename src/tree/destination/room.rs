//! Whether what is missing fits: destinations on one file system share what is free there.

use std::collections::HashMap;
use std::fmt;
use std::hash::Hash;

use serde::{Deserialize, Serialize};

/// Bytes and files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Space {
    pub(super) bytes: u64,
    pub(super) files: u64,
}

impl Space {
    pub(super) fn and(self, other: Self) -> Self {
        let (bytes, files) = (self.bytes, self.files);
        Self { bytes: bytes.saturating_add(other.bytes), files: files.saturating_add(other.files) }
    }
}

/// What a destination needs of its file system, and what is free there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Room {
    /// The number of the file system, as its host counts.
    pub(super) device: u64,
    pub(super) free: Space,
    pub(super) needed: Space,
}

/// What does not fit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shortage {
    what: Resource,
    free: u64,
    needed: u64,
    /// What other destinations on the file system need.
    others: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Resource {
    Bytes,
    Files,
}

impl fmt::Display for Shortage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, free, needed, others } = self;
        match what {
            Resource::Bytes => write!(f, "{free} bytes are free, {needed} are needed")?,
            Resource::Files => write!(f, "{free} more files fit, {needed} are needed")?,
        }
        if *others > 0 {
            write!(f, " beside {others} for other folders of this file system")?;
        }
        match what {
            Resource::Bytes => write!(f, ": make room, or stage less"),
            Resource::Files => write!(f, ": make room, or stage fewer files"),
        }
    }
}

impl Room {
    #[cfg(all(test, not(loom)))]
    pub(super) fn bytes_needed(&self) -> u64 {
        self.needed.bytes
    }

    /// What lacks when `others` are served first.
    fn shortage(&self, others: Space) -> Option<Shortage> {
        let lacks = |what, free, needed: u64, others: u64| {
            (needed.saturating_add(others) > free).then_some(Shortage {
                what,
                free,
                needed,
                others,
            })
        };
        let (free, needed) = (self.free, self.needed);
        lacks(Resource::Bytes, free.bytes, needed.bytes, others.bytes)
            .or_else(|| lacks(Resource::Files, free.files, needed.files, others.files))
    }
}

/// What each destination of a job lacks, each with its host. Those that come first are served first: so
/// that some complete where all together don't fit.
// Numbers of file systems are compared within a host only: two hosts that mount one see other numbers.
pub fn shortages<H: Eq + Hash>(
    rooms: impl IntoIterator<Item = (H, Option<Room>)>,
) -> Vec<Option<Shortage>> {
    let mut taken: HashMap<(H, u64), Space> = HashMap::new();
    let settle = |(host, room): (H, Option<Room>)| {
        let room = room?;
        let others = taken.entry((host, room.device)).or_default();
        let shortage = room.shortage(*others);
        if shortage.is_none() {
            *others = others.and(room.needed);
        }
        shortage
    };
    rooms.into_iter().map(settle).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn destinations_of_one_file_system_share_what_is_free() {
        let room = |device, bytes, files| {
            let (free, needed) = (Space { bytes: 100, files: 10 }, Space { bytes, files });
            Some(Room { device, free, needed })
        };
        let cases = [
            // Host, file system, bytes and files needed, what others took where it does not fit.
            (("a", room(1, 60, 4)), None),
            (("a", room(1, 60, 4)), Some((Resource::Bytes, 60))),
            (("a", room(2, 100, 10)), None),
            (("b", room(1, 60, 4)), None),
            (("a", None), None),
            (("a", room(1, 40, 7)), Some((Resource::Files, 4))),
            (("a", room(1, 40, 6)), None),
            (("b", room(1, u64::MAX, 0)), Some((Resource::Bytes, 60))),
        ];
        let (rooms, expected): (Vec<_>, Vec<_>) = cases.into_iter().unzip();
        let found = shortages(rooms);
        let found: Vec<_> =
            found.iter().map(|one| one.as_ref().map(|one| (one.what, one.others))).collect();
        assert_eq!(found, expected);
        let shortage = room(1, 60, 4).and_then(|room| room.shortage(Space { bytes: 50, files: 0 }));
        assert_eq!(
            shortage.map(|shortage| shortage.to_string()).as_deref(),
            Some(
                "100 bytes are free, 60 are needed beside 50 for other folders of this file system: make \
                 room, or stage less"
            )
        );
    }
}
