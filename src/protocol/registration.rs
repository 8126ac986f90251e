//! What a peer registers, and the catalogue that answers it. Both can be longer than a message, and
//! travel in parts, one after another: stop-and-wait, since they pass once a run.

use std::ops::Range;

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::config::{MESSAGE_TOTAL_MAX, PART_BYTES_MAX};
use crate::manifest::{FileId, NodeId, SegmentSet};
use crate::verify::Digest;

use super::{Part, UNREAD, Violation};

/// What a peer registers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Registration {
    /// What it has and what it wants.
    Ready {
        /// Files that it owns.
        owned: Vec<OwnedEntry>,
        /// Names of files that it wants.
        wanted: Vec<Box<str>>,
    },
    /// It wants one file, whose digests nobody knows beforehand.
    Late(LateEntry),
    /// It can't take part, and the whole run ends.
    Refused {
        /// Why not, naming file and line.
        reason: Box<str>,
    },
}

/// A file that a peer owns.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwnedEntry {
    /// Its name.
    pub name: Box<str>,
    /// The hashes of its segments, each followed by a line feed.
    pub hashes: Box<str>,
    /// The digests of its segments.
    pub digests: Box<[Digest]>,
}

/// A file that a peer wants, and whose digests are found while the swarm runs: a *late* file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LateEntry {
    /// Its name.
    pub name: Box<str>,
    /// How many segments the file has, from a peer that is a source: it can read all of them but those that it
    /// lacks. At most [`crate::config::LATE_SEGMENTS_MAX`].
    pub source: Option<u32>,
    /// Segments that the peer has already, by their positions in the file; a set made for no segment
    /// where it has none.
    pub held: SegmentSet,
    /// Segments that the peer does not want, likewise.
    pub unwanted: SegmentSet,
    /// Segments that a source can't read, since it has not got them, likewise.
    pub lacking: SegmentSet,
    /// Digests that a source knows, by position, ascending.
    pub digests: Vec<(u32, Digest)>,
}

impl LateEntry {
    /// Whether it can be of a file of `count` segments.
    pub(crate) fn fits(&self, count: u32) -> bool {
        let is_of_file = |set: &SegmentSet| {
            set.is_empty() || SegmentSet::from_bytes(count, &set.to_bytes()).is_some()
        };
        let sets = [&self.held, &self.unwanted, &self.lacking].into_iter().all(is_of_file);
        let ascends = self.digests.windows(2).all(|pair| pair[0].0 < pair[1].0);
        let digests = ascends
            && self.digests.last().is_none_or(|&(last, _)| last < count)
            && self.digests.iter().all(|&(_, digest)| digest != UNREAD);
        sets && digests && self.source.is_none_or(|source| source == count)
    }
}

/// How the files that a peer named are numbered.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Catalogue {
    /// How many segments all files have.
    pub segments: u32,
    /// Of its owned files, in the order in which it registered them.
    pub owned: Vec<Listing>,
    /// Of its wanted files likewise; none where nobody owns the file.
    pub wanted: Vec<Option<Listing>>,
}

impl Catalogue {
    /// Checks that it answers a registration of files that have `owned` segments, and of `wanted` names;
    /// `segments_max` bounds what it can make a peer keep.
    pub(crate) fn check(
        &self,
        owned: &[u32],
        wanted: usize,
        segments_max: u32,
    ) -> Result<(), Violation> {
        let fits = |(listing, &count): (&Listing, &u32)| listing.count == count;
        let is_same = self.owned.len() == owned.len() && self.wanted.len() == wanted;
        if !is_same || !self.owned.iter().zip(owned).all(fits) || self.segments > segments_max {
            return Err(Violation::Catalogue);
        }
        let mut listings: Vec<_> = self.owned.iter().chain(self.wanted.iter().flatten()).collect();
        listings.sort_unstable_by_key(|listing| (listing.first, listing.count));
        let mut last = 0;
        for &Listing { first, count, .. } in listings.iter().copied() {
            let end = u64::from(first) + u64::from(count);
            if u64::from(first) < last || end > self.segments.into() {
                return Err(Violation::Listing { first, end, count: self.segments });
            }
            last = end;
        }
        listings.sort_unstable_by_key(|listing| listing.file);
        let is_twice = listings.windows(2).any(|pair| pair[0].file == pair[1].file);
        if is_twice { Err(Violation::Catalogue) } else { Ok(()) }
    }
}

/// What follows the catalogue where peers decide.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NeighbourCatalogue {
    /// Determines the random choices of all peers.
    pub seed: u64,
    /// The digests of the wanted files, in the order of the catalogue.
    pub digests: Vec<Digest>,
    /// Whom the peer exchanges segments with, ascending.
    pub neighbours: Vec<NodeId>,
}

/// Where a file's segments lie in the numbering.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listing {
    /// The file's number.
    pub file: FileId,
    /// Its first segment.
    pub first: u32,
    /// How many segments it has.
    pub count: u32,
}

/// A long message that is sent in parts. Any part can be sent again.
#[derive(Clone, Debug, Default)]
pub(super) struct Outgoing {
    bytes: Vec<u8>,
}

impl Outgoing {
    pub(super) fn new(content: &impl Serialize) -> Self {
        let bytes = postcard::to_allocvec(content).expect("plain data can be serialized");
        Self { bytes }
    }

    /// Part `index`, or the last one if there are fewer.
    pub(super) fn part(&self, index: u32) -> Part {
        part_of(self.bytes.len(), index, |range| self.bytes[range].to_vec())
    }
}

/// Part `index` of `len` bytes, or the last one if there are fewer.
pub(super) fn part_of(len: usize, index: u32, bytes: impl FnOnce(Range<usize>) -> Vec<u8>) -> Part {
    let last = len.saturating_sub(1) / PART_BYTES_MAX;
    let index = (index as usize).min(last);
    let start = index * PART_BYTES_MAX;
    Part {
        index: u32::try_from(index).expect("it came from 32 bits"),
        last: index == last,
        bytes: bytes(start..len.min(start + PART_BYTES_MAX)),
    }
}

/// A long message that arrives in parts.
#[derive(Clone, Debug, Default)]
pub(super) struct Incoming {
    bytes: Vec<u8>,
    next: u32,
    is_whole: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PartProgress {
    /// Nothing: it is a duplicate, or out of order.
    Ignored,
    /// The next part is missing.
    More,
    Whole,
}

impl Incoming {
    pub(super) fn accept(&mut self, part: &Part) -> Result<PartProgress, Violation> {
        let bytes = part.bytes.len();
        // All parts but the last are full, so that their number is bounded with their bytes.
        if bytes > PART_BYTES_MAX || (bytes < PART_BYTES_MAX && !part.last) {
            return Err(Violation::Part { bytes });
        }
        if part.index != self.next || self.is_whole {
            return Ok(PartProgress::Ignored);
        }
        if self.bytes.len() + bytes > MESSAGE_TOTAL_MAX {
            return Err(Violation::TooLong);
        }
        self.bytes.extend_from_slice(&part.bytes);
        self.next += 1;
        self.is_whole = part.last;
        Ok(if part.last { PartProgress::Whole } else { PartProgress::More })
    }

    /// The index of the first part that is missing.
    pub(super) fn next(&self) -> u32 {
        self.next
    }

    /// Decodes the message.
    pub(super) fn open<T: DeserializeOwned>(&self) -> Result<T, Violation> {
        match postcard::take_from_bytes(&self.bytes) {
            Ok((whole, [])) => Ok(whole),
            Ok(_) | Err(_) => Err(Violation::Malformed),
        }
    }
}
