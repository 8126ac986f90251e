//! Who has what: a locked map from files to their holders, and a locked map of request counters.
//!
//! The tracker has one thread, so nobody contends for the locks. They are taken all the same: other
//! programs of this design take them, and their cost is part of the comparison.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard};

use super::messages::{HolderList, PeerRequestInfo, ReceivedSegment, WantedSegment};
use crate::config::{CORRUPT_TRIES_MAX, RENEWAL_SEGMENTS};
use crate::manifest::{FileId, NodeId, SegmentId};
use crate::protocol::roster::Roster;

/// A node of a file's swarm: it owns the file, or fetches it.
#[derive(Debug)]
struct Holder {
    peer: NodeId,
    /// By position in the file: whether it has said that it has the segment.
    segments: Vec<bool>,
}

// One mutex around one map, held for a whole answer: the textbook design that the engine is compared
// with.
#[derive(Debug)]
pub(super) struct HolderMap {
    nodes: u32,
    roster: Roster,
    files: Mutex<HashMap<FileId, Vec<Holder>>>,
    /// Segments that each peer has sent, as far as others have said.
    requests: Mutex<HashMap<NodeId, u32>>,
}

impl HolderMap {
    pub(super) fn new(roster: Roster, nodes: u32) -> Self {
        let files = (0..).map(FileId).zip(&roster.files).map(|(id, file)| {
            let segments = vec![true; roster.geometry.segments_of(id).len()];
            let owner = |&peer| Holder { peer, segments: segments.clone() };
            (id, file.owners.iter().map(owner).collect())
        });
        let files = Mutex::new(files.collect());
        Self { nodes, roster, files, requests: Mutex::default() }
    }

    pub(super) fn roster(&self) -> &Roster {
        &self.roster
    }

    /// Records what `peer` has received.
    pub(super) fn record(&self, peer: NodeId, got: &[ReceivedSegment]) {
        let mut files = lock(&self.files);
        for &ReceivedSegment { segment, .. } in got {
            let (file, position) = self.position(segment);
            self.member(&mut files, file, peer).segments[position] = true;
        }
        drop(files);
        let mut requests = lock(&self.requests);
        for got in got {
            *requests.entry(got.holder).or_default() += 1;
        }
    }

    /// Everybody who owns or fetches the files of `next`; from now on the asker is one of them.
    pub(super) fn list(&self, asker: NodeId, next: &[WantedSegment]) -> HolderList {
        let mut files = lock(&self.files);
        for next in next {
            let (file, _) = self.position(next.segment);
            self.member(&mut files, file, asker);
        }
        drop(files);
        self.listed(asker, next, |_| true)
    }

    /// Like [`list`](Self::list), but only of segments that can be had now, and only holders that are
    /// known to have one of them.
    pub(super) fn list_known(&self, asker: NodeId, next: &[WantedSegment]) -> HolderList {
        self.listed(asker, next, |has| has)
    }

    /// A list of the first segments of `next`, as many as it holds, and of the holders that `fit`.
    ///
    /// Holders with equally many requests are listed from the asker's own rank on. Otherwise all
    /// askers would choose the same one.
    fn listed(
        &self,
        asker: NodeId,
        next: &[WantedSegment],
        fits: impl Fn(bool) -> bool,
    ) -> HolderList {
        let mut list = HolderList::default();
        let mut has: Vec<Option<u16>> = vec![None; self.nodes as usize];
        let files = lock(&self.files);
        for next in next {
            if list.segments.len() == RENEWAL_SEGMENTS {
                break;
            }
            let (file, position) = self.position(next.segment);
            let swarm = files.get(&file).into_iter().flatten().filter(|holder| {
                let can = holder.peer != asker && next.times_tried(holder.peer) < CORRUPT_TRIES_MAX;
                can && fits(holder.segments[position])
            });
            let bit = list.segments.len();
            let mut found = false;
            for holder in swarm {
                *has[holder.peer.index()].get_or_insert(0) |=
                    u16::from(holder.segments[position]) << bit;
                found = true;
            }
            if found {
                list.segments.push((next.segment, self.roster.digest(next.segment)));
            }
        }
        drop(files);
        let requests = lock(&self.requests);
        let holders = (0..self.nodes).map(NodeId).zip(has);
        list.holders.extend(holders.filter_map(|(peer, has)| {
            let requests = requests.get(&peer).copied().unwrap_or(0);
            Some(PeerRequestInfo { peer, requests, has: has? })
        }));
        drop(requests);
        let distance = |peer: NodeId| (peer.0 + self.nodes - asker.0) % self.nodes;
        list.holders.sort_unstable_by_key(|info| (info.requests, distance(info.peer)));
        list
    }

    /// A node's place in the swarm of a file, which it enters now if it was not there.
    fn member<'a>(
        &self,
        files: &'a mut HashMap<FileId, Vec<Holder>>,
        file: FileId,
        peer: NodeId,
    ) -> &'a mut Holder {
        let swarm = files.entry(file).or_default();
        let known = swarm.iter().position(|holder| holder.peer == peer);
        let known = known.unwrap_or_else(|| {
            let segments = vec![false; self.roster.geometry.segments_of(file).len()];
            swarm.push(Holder { peer, segments });
            swarm.len() - 1
        });
        &mut swarm[known]
    }

    fn position(&self, segment: SegmentId) -> (FileId, usize) {
        let file = self.roster.geometry.file_of(segment);
        let first = self.roster.geometry.segments_of(file).start;
        (file, (segment.0 - first) as usize)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("nothing that holds the lock panics")
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::protocol::{OwnedEntry, Registration};
    use crate::verify::Digest;

    /// Ranks 1 and 2 own a file of 12 segments; ranks 3 and 4 want it.
    fn swarm() -> HolderMap {
        let entry = OwnedEntry {
            name: "a".into(),
            hashes: "00112233\n".repeat(12).into(),
            digests: [Digest([7; 32]); 12].into(),
        };
        let owner = |node| {
            (NodeId(node), Registration::Ready { owned: vec![entry.clone()], wanted: Vec::new() })
        };
        let peer = |node| {
            (NodeId(node), Registration::Ready { owned: Vec::new(), wanted: vec!["a".into()] })
        };
        let roster = Roster::new(&[owner(1), owner(2), peer(3), peer(4)]).expect("they agree");
        HolderMap::new(roster, 5)
    }

    fn next(segments: &[u32], tried: &[u32]) -> Vec<WantedSegment> {
        let thrice = tried.iter().flat_map(|&holder| [NodeId(holder); CORRUPT_TRIES_MAX]);
        let tried: Vec<_> = thrice.collect();
        let next = |&segment| WantedSegment { segment: SegmentId(segment), tried: tried.clone() };
        segments.iter().map(next).collect()
    }

    fn got(segment: u32, holder: u32) -> ReceivedSegment {
        ReceivedSegment { segment: SegmentId(segment), holder: NodeId(holder) }
    }

    fn holders(list: &HolderList) -> Vec<(u32, u32, u16)> {
        list.holders.iter().map(|info| (info.peer.0, info.requests, info.has)).collect()
    }

    #[test]
    fn holders_with_fewest_requests_come_first() {
        let swarm = swarm();
        assert_eq!(holders(&swarm.list(NodeId(3), &next(&[0], &[]))), [(1, 0, 1), (2, 0, 1)]);
        swarm.record(NodeId(3), &[got(0, 1), got(2, 1)]);
        let list = swarm.list(NodeId(4), &next(&[0, 1, 2], &[]));
        assert_eq!(holders(&list), [(2, 0, 0b111), (3, 0, 0b101), (1, 2, 0b111)]);
        assert_eq!(list.segments[1], (SegmentId(1), Digest([7; 32])));
    }

    #[test]
    fn equal_holders_are_listed_from_the_askers_rank_on() {
        let swarm = swarm();
        swarm.record(NodeId(4), &[got(0, 1)]);
        let list = swarm.list(NodeId(3), &next(&[0], &[]));
        assert_eq!(holders(&list), [(4, 0, 1), (2, 0, 1), (1, 1, 1)]);
    }

    #[test]
    fn a_list_has_what_can_be_had_and_no_more_than_it_has_room_for() {
        let swarm = swarm();
        let all: Vec<_> = (0..12).collect();
        assert_eq!(swarm.list(NodeId(3), &next(&all, &[])).segments.len(), RENEWAL_SEGMENTS);
        assert_eq!(swarm.list(NodeId(3), &next(&[5], &[1, 2])), HolderList::default());
        swarm.record(NodeId(4), &[got(6, 1)]);
        let list = swarm.list_known(NodeId(3), &next(&[5, 6], &[1, 2]));
        assert_eq!(holders(&list), [(4, 0, 1)]);
        assert_eq!(list.segments, [(SegmentId(6), Digest([7; 32]))]);
    }

    #[test]
    fn who_fetches_a_file_is_of_its_swarm_before_it_has_anything() {
        let swarm = swarm();
        let list = swarm.list(NodeId(3), &next(&[0, 1], &[]));
        assert_eq!(holders(&list), [(1, 0, 0b11), (2, 0, 0b11)], "nobody is told of itself");
        let list = swarm.list(NodeId(4), &next(&[0, 1], &[]));
        assert_eq!(holders(&list), [(1, 0, 0b11), (2, 0, 0b11), (3, 0, 0)]);
    }
}
