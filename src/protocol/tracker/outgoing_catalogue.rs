//! The catalogue of a peer on its way, and where peers decide what follows it. Digests are read from the roster part by
//! part: all peers together may want many times as many as there are.

use std::ops::Range;

use serde::Serialize;

use crate::manifest::{NodeId, SegmentId};
use crate::protocol::Part;
use crate::protocol::registration::{Catalogue, part_of};
use crate::protocol::roster::Roster;
use crate::verify::Digest;

// Encoded it is its bytes.
const DIGEST_BYTES: usize = size_of::<Digest>();

/// A long message that is sent in parts. Any part can be sent again.
#[derive(Debug)]
pub(super) struct OutgoingCatalogue {
    /// What comes before the digests, encoded.
    before: Vec<u8>,
    /// The segments of each file whose digests follow, behind the number of digests before them.
    files: Vec<(usize, Range<u32>)>,
    digests: usize,
    /// What comes after the digests, encoded.
    after: Vec<u8>,
}

fn encoded(content: &impl Serialize) -> Vec<u8> {
    postcard::to_allocvec(content).expect("plain data can be serialized")
}

impl OutgoingCatalogue {
    pub(super) fn new(catalogue: &Catalogue) -> Self {
        let (files, after) = (Vec::new(), Vec::new());
        Self { before: encoded(catalogue), files, digests: 0, after }
    }

    /// With a [`NeighbourCatalogue`](crate::protocol::registration::NeighbourCatalogue) behind it.
    // In this encoding the fields of both follow each other, and a list its length.
    pub(super) fn with_neighbours(catalogue: &Catalogue, seed: u64, neighbours: &[NodeId]) -> Self {
        let (mut files, mut digests) = (Vec::new(), 0);
        for one in catalogue.wanted.iter().flatten().filter(|one| one.count > 0) {
            files.push((digests, one.first..one.first + one.count));
            digests += one.count as usize;
        }
        let before = encoded(&(catalogue, seed, digests as u64));
        Self { before, files, digests, after: encoded(&neighbours) }
    }

    /// Part `index`, or the last one if there are fewer.
    pub(super) fn part(&self, index: u32, roster: &Roster) -> Part {
        let len = self.before.len() + self.digests * DIGEST_BYTES + self.after.len();
        part_of(len, index, |range| self.bytes(&range, roster))
    }

    fn bytes(&self, range: &Range<usize>, roster: &Roster) -> Vec<u8> {
        let (before, digests) = (self.before.len(), self.digests * DIGEST_BYTES);
        let within = |start: usize, len: usize| {
            let at = |end: usize| end.clamp(start, start + len) - start;
            at(range.start)..at(range.end)
        };
        let mut bytes = self.before[within(0, before)].to_vec();
        let wanted = within(before, digests);
        // A digest may be cut in two.
        let first = wanted.start / DIGEST_BYTES;
        let count = wanted.end.div_ceil(DIGEST_BYTES) - first;
        let segments = self.segments_from(first).take(count);
        let found: Vec<u8> = segments.flat_map(|segment| roster.digest(segment).0).collect();
        let skipped = first * DIGEST_BYTES;
        bytes.extend_from_slice(&found[wanted.start - skipped..wanted.end - skipped]);
        bytes.extend_from_slice(&self.after[within(before + digests, self.after.len())]);
        bytes
    }

    /// Segments in the order of their digests, from that of digest `first` on.
    fn segments_from(&self, first: usize) -> impl Iterator<Item = SegmentId> + '_ {
        let file = self.files.partition_point(|(before, _)| *before <= first).saturating_sub(1);
        let files = self.files.get(file..).unwrap_or_default();
        let passed = files.first().map_or(0, |(before, _)| first - before);
        files.iter().flat_map(|(_, segments)| segments.clone()).skip(passed).map(SegmentId)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::protocol::registration::{NeighbourCatalogue, Outgoing};
    use crate::protocol::{OwnedEntry, Registration};

    fn owned(name: &str, segments: u32) -> OwnedEntry {
        let hashes = (0..segments).map(|position| format!("{name}{position:06}\n")).collect();
        let digest = |position: u32| Digest::of(format!("{name} {position}").as_bytes());
        OwnedEntry { name: name.into(), hashes, digests: (0..segments).map(digest).collect() }
    }

    #[test]
    fn what_is_sent_part_by_part_is_the_encoded_whole() {
        let files = [("a", 1), ("b", 4000), ("c", 3), ("d", 2000)];
        let owner = files.map(|(name, segments)| owned(name, segments)).to_vec();
        let owner = Registration::Ready { owned: owner, wanted: Vec::new() };
        let wants = |names: &[&str]| Registration::Ready {
            owned: Vec::new(),
            wanted: names.iter().map(|&name| name.into()).collect(),
        };
        let all = [owner, wants(&["d", "nobody", "c", "b", "a"]), wants(&["c"])];
        let all: Vec<_> = (1..).map(NodeId).zip(all).collect();
        let roster = Roster::new(&all).expect("they fit together");
        let neighbours = vec![NodeId(1), NodeId(300)];
        for (node, count) in [(1, 0), (2, 6004), (3, 3)] {
            let catalogue = roster.catalogue(NodeId(node));
            let wanted = catalogue.wanted.iter().flatten();
            let segments = wanted.flat_map(|one| one.first..one.first + one.count);
            let digests: Vec<_> =
                segments.map(|segment| roster.digest(SegmentId(segment))).collect();
            assert_eq!(digests.len(), count);
            let neighbours = neighbours.clone();
            let described = NeighbourCatalogue { seed: 1 << 40, digests, neighbours };
            let whole = Outgoing::new(&(&catalogue, &described));
            let NeighbourCatalogue { seed, neighbours, .. } = &described;
            let parts = OutgoingCatalogue::with_neighbours(&catalogue, *seed, neighbours);
            for index in 0..6 {
                assert_eq!(parts.part(index, &roster), whole.part(index), "part {index}");
            }
            let alone = OutgoingCatalogue::new(&catalogue);
            assert_eq!(alone.part(0, &roster), Outgoing::new(&catalogue).part(0));
        }
    }
}
