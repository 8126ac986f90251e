//! Who has it? The index from files to holders, the request counters, and the handout policy.
//!
//! The swarm is shared: everything here takes `&self`, so that several threads may compute
//! handouts at once. It knows no messages and no clock.
//!
//! The index is a [`DashMap`]: sharded read-write locks, not a lock-free map. Once the swarm is
//! open nobody writes to the map itself, only to the atomics in it, so that its locks are taken
//! for reading alone.

pub mod counters;
pub mod handout;
pub mod record;

use dashmap::DashMap;

use crate::config::Config;
use crate::manifest::{FileId, Geometry, NodeId, SegmentId};
use counters::RequestCounters;
use record::SegmentRecord;

pub use handout::{Clerk, Offer, Wish};

/// Who owns a file, and what the index knows of its segments.
#[derive(Debug)]
struct FileSwarm {
    owners: Box<[NodeId]>,
    segments: Box<[SegmentRecord]>,
}

/// The tracker's view of who has what and who is asked for how much.
#[derive(Debug)]
pub struct Swarm {
    geometry: Geometry,
    files: DashMap<FileId, FileSwarm>,
    counters: RequestCounters,
    holder_load: u32,
}

impl Swarm {
    /// A swarm of `nodes` nodes in which nothing is known to be anywhere.
    pub fn new(geometry: Geometry, nodes: usize, config: &Config) -> Self {
        let counters = RequestCounters::new(nodes);
        Self { geometry, files: DashMap::new(), counters, holder_load: config.holder_load }
    }

    /// Enters a file and its owners. `wanted` says whether anybody lacks it: owners are spared
    /// while others need what only they have.
    pub fn register(&self, file: FileId, owners: &[NodeId], wanted: bool) {
        let segments = self.geometry.segments_of(file);
        if wanted {
            let count = segments.end - segments.start;
            owners.iter().for_each(|&owner| self.counters.add_unseeded(owner, count));
        }
        let segments = segments.map(|_| SegmentRecord::default()).collect();
        self.files.insert(file, FileSwarm { owners: owners.into(), segments });
    }

    /// `peer` verified a segment that was handed out with `charged` as the holder to ask.
    pub fn announce(&self, segment: SegmentId, peer: NodeId, charged: NodeId) {
        self.counters.discharge(charged);
        self.with_record(segment, |record, _| record.announce(peer));
    }

    /// A segment that was handed out with `charged` as its holder will not come from there.
    pub fn give_back(&self, segment: SegmentId, charged: NodeId) {
        self.counters.discharge(charged);
        self.with_record(segment, |record, owners| {
            if record.give_back().rarity() == 1 {
                owners.iter().for_each(|&owner| self.counters.add_unseeded(owner, 1));
            }
        });
    }

    /// Nobody is sent to `node` any more: it is gone, or it lied too often.
    pub fn avoid(&self, node: NodeId) {
        self.counters.avoid(node);
    }

    /// Whether nobody is sent to `node` any more.
    pub fn is_avoided(&self, node: NodeId) -> bool {
        self.counters.is_avoided(node)
    }

    /// The numbering of files and segments.
    pub fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    /// The request counters of all nodes.
    pub fn counters(&self) -> &RequestCounters {
        &self.counters
    }

    fn with_record<R>(
        &self,
        segment: SegmentId,
        look: impl FnOnce(&SegmentRecord, &[NodeId]) -> R,
    ) -> R {
        let file = self.geometry.file_of(segment);
        let place = (segment.0 - self.geometry.segments_of(file).start) as usize;
        let entry = self.files.get(&file).expect("every numbered file was registered");
        look(&entry.segments[place], &entry.owners)
    }
}
