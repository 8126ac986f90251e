//! Who has what: the index from files to holders, the request counters, and the handout policy.
//!
//! The swarm is shared: everything here takes `&self`, so that several threads may compute
//! handouts at once. It knows no messages and no clock.
//!
//! **What is lock-free.** Two structures: the atomic counters (`CounterKind::Atomic`) and the
//! numbered index, a slice of atomics (`IndexKind::Atomic`). No thread waits for another there, and
//! most operations are one or two atomic instructions; the compare-and-swap loop in `limit` and the
//! loop that corrects a bit are lock-free, not wait-free. `DashMap` (`IndexKind::DashMap`, the default) is
//! not lock-free: it is sharded read-write locks around atomics, held for one look-up. The mutex
//! variants lock everything: the index for a whole handout, the counters for one operation. All of it
//! is contended only where several service threads compute handouts at once: the mutexes always, a
//! shard's lock by look-ups of files in that shard, an atomic by handouts that choose the same holder
//! or segment. With one tracker thread, as in a run without `--tracker-threads`, nothing is contended.

mod holder_ranking;
pub mod counters;
pub mod handout;
pub mod index;
mod readiness;
mod selection;

use crate::config::{Admission, Balance, Config, Selection};
use crate::manifest::{FileId, Geometry, NodeId, SegmentId};
use counters::RequestCounters;
use index::copies::Copies as _;
use index::{AnyFile, FileSwarm, Files, OpenIndex, SwarmIndex};

pub use handout::{HandoutRequest, HandoutScratch, Offer};

/// The tracker's view of who has which segment, and how much each node has to send.
#[derive(Debug)]
pub struct Swarm {
    geometry: Geometry,
    files: Files,
    counters: RequestCounters,
    rules: Rules,
}

#[derive(Clone, Copy, Debug)]
struct Rules {
    selection: Selection,
    balance: Balance,
    /// Segments that may wait at one holder.
    holder_load: u32,
    // Whether owners also send segments that others have, when none of these has capacity: with
    // links of unequal rates the last segments would wait for slow holders.
    paced: bool,
}

impl Swarm {
    /// A swarm of `nodes` nodes without files.
    pub fn new(geometry: Geometry, nodes: usize, config: &Config) -> Self {
        let &Config { selection, balance, .. } = config;
        let holder_load = match config.admission {
            Admission::Queue => counters::UNLIMITED,
            Admission::Slots => config.holder_load,
        };
        let counters = RequestCounters::new(config.counters, nodes, holder_load);
        let rules = Rules { selection, balance, holder_load, paced: config.paced };
        Self { geometry, files: Files::new(config.index), counters, rules }
    }

    /// Enters a file and its owners; files come in the order of their numbers. `wanted` says
    /// whether anybody lacks it: if so, its owners are super-seeding until each segment was handed
    /// out once.
    pub fn register(&mut self, file: FileId, owners: &[NodeId], wanted: bool) {
        let segments = self.geometry.segments_of(file);
        owners.iter().for_each(|&owner| self.counters.offer(owner));
        if wanted {
            let count = segments.end - segments.start;
            owners.iter().for_each(|&owner| self.counters.add_unseeded(owner, count));
        }
        self.files.register(file, owners, segments.len());
    }

    /// Enters a file that nobody has until `sources` have read it; files come in the order of their
    /// numbers.
    pub fn register_late(&mut self, file: FileId, sources: &[NodeId]) {
        let segments = self.geometry.segments_of(file);
        self.files.register_late(file, sources, segments.len());
    }

    /// `peer` has a segment from the start.
    pub fn hold(&self, segment: SegmentId, peer: NodeId) {
        self.counters.offer(peer);
        self.look(segment, &mut |place, file| file.hold(place, peer));
    }

    /// `source` has read a segment of a late file. It is super-seeding until each that it has read, and that
    /// `is_wanted` by others, was handed out once.
    pub fn read(&self, segment: SegmentId, source: NodeId, is_wanted: bool) {
        self.counters.offer(source);
        self.look(segment, &mut |place, file| {
            if file.read(place, source) && is_wanted {
                self.counters.add_unseeded(source, 1);
            }
        });
    }

    /// Whether any holder of a segment that the index remembers is not banned.
    pub fn has_holder(&self, segment: SegmentId) -> bool {
        let mut found = false;
        self.look(segment, &mut |place, file| {
            found = file.any_holder(place, &|node| !self.is_banned(node));
        });
        found
    }

    /// Who has read a segment of a late file that is handed out to nobody; none where somebody else has it.
    pub fn unseeded_reader(&self, segment: SegmentId) -> Option<NodeId> {
        let mut found = None;
        self.look(segment, &mut |place, file| found = file.unseeded_reader(place));
        found
    }

    /// How many peers have a segment, not counting its owners.
    pub fn copies_of(&self, segment: SegmentId) -> u32 {
        let mut found = 0;
        self.look(segment, &mut |place, file| found = file.copies(place));
        found
    }

    /// `peer` verified a segment that was handed out with `charged` as the holder to ask.
    pub fn announce(&self, segment: SegmentId, peer: NodeId, charged: NodeId) {
        self.counters.discharge(charged);
        self.counters.offer(peer);
        match &self.files {
            Files::Locked(index) => self.announce_in(index, segment, peer),
            Files::Sharded(index) => self.announce_in(index, segment, peer),
            Files::Numbered(index) => self.announce_in(index, segment, peer),
        }
    }

    /// A segment that was handed out with `charged` as the holder to ask will not come from there.
    pub fn give_back(&self, segment: SegmentId, charged: NodeId) {
        self.counters.discharge(charged);
        match &self.files {
            Files::Locked(index) => self.give_back_in(index, segment),
            Files::Sharded(index) => self.give_back_in(index, segment),
            Files::Numbered(index) => self.give_back_in(index, segment),
        }
    }

    /// Names `node` as a holder no more: it is gone, or it sent too many corrupt segments.
    pub fn ban(&self, node: NodeId) {
        self.counters.ban(node);
    }

    /// Whether `node` is banned.
    pub fn is_banned(&self, node: NodeId) -> bool {
        self.counters.is_banned(node)
    }

    /// The numbering of files and segments.
    pub fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    /// The request counters of all nodes.
    pub fn counters(&self) -> &RequestCounters {
        &self.counters
    }

    fn look(&self, segment: SegmentId, look: &mut dyn FnMut(usize, &dyn AnyFile)) {
        let (file, place) = self.place_of(segment);
        match &self.files {
            Files::Locked(index) => index.open().look(file, |file| look(place, file)),
            Files::Sharded(index) => index.open().look(file, |file| look(place, file)),
            Files::Numbered(index) => index.open().look(file, |file| look(place, file)),
        }
    }

    fn announce_in(&self, index: &impl SwarmIndex, segment: SegmentId, peer: NodeId) {
        let (file, place) = self.place_of(segment);
        index.open().look(file, |file| file.copies.announce(place, peer));
    }

    fn give_back_in(&self, index: &impl SwarmIndex, segment: SegmentId) {
        let (file, place) = self.place_of(segment);
        index.open().look(file, |file| {
            if file.copies.give_back(place).rarity() == 1 {
                let owners = file.owners_of(place).iter();
                owners.for_each(|&owner| self.counters.add_unseeded(owner, 1));
            }
        });
    }

    fn place_of(&self, segment: SegmentId) -> (FileId, usize) {
        let file = self.geometry.file_of(segment);
        (file, (segment.0 - self.geometry.segments_of(file).start) as usize)
    }
}
