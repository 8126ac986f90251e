//! The file that is broadcast: where its bytes lie on a node, and what they must be.

use rayon::prelude::*;

use super::BroadcastJob;
use crate::manifest::{
    Filler, NodeId, OwnedFile, Owners, Popularity, SYNTHETIC_HASH_BYTES, SegmentSet, Wanted,
    Workload, payload_bytes, synthesize,
};
use crate::protocol::relay::OWNER;
use crate::spawn::{self, ThreadError};
use crate::store::{SealedSegment, Store, StoreError, VacantSlot};
use crate::verify::Digest;

// The bytes of every segment: those of a swarm's only file with this seed and these sizes, whose
// owner is peer 1.
struct Source {
    file: OwnedFile,
    filler: Filler,
}

impl Source {
    fn new(job: &BroadcastJob) -> Self {
        let workload = Workload {
            peers: 1,
            files: 1,
            segments: job.segments,
            owners: Owners::First,
            wanted: Wanted::All,
            popularity: Popularity::Uniform,
            seed: job.seed,
        };
        let inputs = synthesize(&workload).expect("one file of one peer is a workload");
        let mut owned = inputs.into_iter().flat_map(|input| input.owned);
        let file = owned.next().expect("the workload has one file");
        let filler = Filler::new(job.seed, &file.name);
        Self { file, filler }
    }

    fn write(&self, position: usize, out: &mut [u8]) {
        let hash = self.file.hashes.hash(position);
        let position = u32::try_from(position).expect("segments are numbered in 32 bits");
        self.filler.write_payload(position, hash, out);
    }
}

/// Why the file can't be made.
#[derive(Debug, thiserror::Error)]
pub(super) enum MakeError {
    #[error(transparent)]
    Memory(#[from] StoreError),
    #[error(transparent)]
    Thread(#[from] ThreadError),
}

/// A node's memory for the file, segment by segment.
#[derive(Debug, Default)]
pub(super) struct ReceivedSegments {
    pub(super) segments: Vec<Option<SealedSegment>>,
    /// Room for those that are not.
    pub(super) slots: Vec<VacantSlot>,
}

impl ReceivedSegments {
    /// Some segments and their digests, made on all cores.
    pub(super) fn make(
        job: &BroadcastJob,
        owned: &SegmentSet,
    ) -> Result<(Self, Vec<Digest>), MakeError> {
        spawn::common_pool()?;
        let source = Source::new(job);
        let bytes = job.payload_bytes();
        let owned: Vec<_> = owned.iter().collect();
        let slots = slots(job, owned.len())?.into_par_iter();
        let made = slots.zip(&owned).map(|(mut slot, segment)| {
            source.write(segment.index(), &mut slot.bytes_mut()[..bytes]);
            slot.fill(bytes).hash_and_seal()
        });
        let made: Vec<_> = made.collect();
        let mut segments = vec![None; job.segments as usize];
        let mut digests = Vec::with_capacity(owned.len());
        for (segment, (digest, sealed)) in owned.into_iter().zip(made) {
            segments[segment.index()] = Some(sealed);
            digests.push(digest);
        }
        Ok((Self { segments, slots: Vec::new() }, digests))
    }

    /// Makes room for all segments that are not here.
    pub(super) fn reserve(&mut self, job: &BroadcastJob) -> Result<(), StoreError> {
        self.segments.resize(job.segments as usize, None);
        let lacking = self.segments.iter().filter(|segment| segment.is_none()).count();
        self.slots = slots(job, lacking)?;
        Ok(())
    }

    /// Room for one more segment: a new slot where one is expected from two nodes, of which one is silent.
    pub(super) fn take_slot(&mut self, job: &BroadcastJob) -> Option<VacantSlot> {
        self.slots.pop().or_else(|| slots(job, 1).ok()?.pop())
    }

    /// How many segments here differ from what the owner made.
    pub(super) fn count_wrong(&self, digests: &[Digest]) -> u64 {
        let pairs = self.segments.iter().zip(digests);
        let wrong = pairs.filter(|(segment, digest)| {
            segment.as_ref().is_none_or(|segment| Digest::of_segment(segment.bytes()) != **digest)
        });
        wrong.count() as u64
    }
}

/// The whole file in one slot, for calls that want it so.
#[derive(Debug, Default)]
#[cfg(feature = "mpi")]
pub(super) struct WholeFile {
    /// None until there is room.
    slot: Option<VacantSlot>,
    bytes: usize,
    segment_bytes: usize,
}

#[cfg(feature = "mpi")]
impl WholeFile {
    /// The file and its digests, made on all cores.
    pub(super) fn make(job: &BroadcastJob) -> Result<(Self, Vec<Digest>), MakeError> {
        spawn::common_pool()?;
        let source = Source::new(job);
        let mut whole = Self::default();
        whole.reserve(job)?;
        let segments = whole.bytes_mut().par_chunks_mut(job.payload_bytes()).enumerate();
        let made = segments.map(|(position, segment)| {
            source.write(position, segment);
            Digest::of_segment(segment)
        });
        let digests = made.collect();
        Ok((whole, digests))
    }

    /// Makes room for it, unless it is here.
    pub(super) fn reserve(&mut self, job: &BroadcastJob) -> Result<(), StoreError> {
        if self.slot.is_none() {
            self.segment_bytes = job.payload_bytes();
            self.bytes = self.segment_bytes * job.segments as usize;
            self.slot = Store::new(1, self.bytes)?.take();
        }
        Ok(())
    }

    pub(super) fn bytes_mut(&mut self) -> &mut [u8] {
        let slot = self.slot.as_mut().expect("there is room before the run opens");
        &mut slot.bytes_mut()[..self.bytes]
    }

    pub(super) fn segments_mut(&mut self) -> impl Iterator<Item = &mut [u8]> {
        let segment_bytes = self.segment_bytes;
        self.bytes_mut().chunks_mut(segment_bytes)
    }

    /// How many segments differ from what the owner made.
    pub(super) fn count_wrong(&mut self, digests: &[Digest]) -> u64 {
        let wrong = self
            .segments_mut()
            .zip(digests)
            .filter(|(bytes, digest)| Digest::of_segment(bytes) != **digest);
        wrong.count() as u64
    }
}

impl BroadcastJob {
    /// Payload of every segment, bytes.
    pub fn payload_bytes(&self) -> usize {
        payload_bytes(SYNTHETIC_HASH_BYTES, self.segment_bytes)
    }

    /// What a peer has from the start.
    pub(super) fn owned_by(&self, node: NodeId) -> SegmentSet {
        match self.owned.get(node.index().wrapping_sub(1)) {
            Some(owned) => owned.clone(),
            None if self.owned.is_empty() && node == OWNER => SegmentSet::all_of(self.segments),
            None => SegmentSet::none_of(self.segments),
        }
    }
}

fn slots(job: &BroadcastJob, count: usize) -> Result<Vec<VacantSlot>, StoreError> {
    let mut store = Store::new(count, job.payload_bytes())?;
    Ok(std::iter::from_fn(|| store.take()).collect())
}
