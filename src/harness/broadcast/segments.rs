//! The file that is broadcast: where its bytes lie on a node, and what they must be.

use rayon::prelude::*;

use super::{BroadcastError, BroadcastJob};
use crate::config::PART_BYTES_MAX;
use crate::manifest::{
    Filler, OwnedFile, Owners, Popularity, SYNTHETIC_HASH_BYTES, Wanted, Workload, payload_bytes,
    synthesize,
};
use crate::protocol::message::Part;
use crate::store::{SealedSegment, Store, VacantSlot};
use crate::verify::Digest;

/// Bytes of a digest.
const DIGEST_BYTES: usize = 32;

/// Digests in one message, at most.
const DIGESTS_IN_PART: usize = PART_BYTES_MAX / DIGEST_BYTES;

/// The bytes of every segment: those of a swarm's only file with this seed and these sizes, whose
/// owner is peer 1.
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

    fn write(&self, place: usize, out: &mut [u8]) {
        let position = u32::try_from(place).expect("segments are numbered in 32 bits");
        self.filler.write_payload(position, self.file.hashes.hash(place), out);
    }
}

/// A node's share of memory, segment by segment.
#[derive(Debug, Default)]
pub(super) struct ReceivedSegments {
    /// The segments that are here.
    pub(super) segments: Vec<Option<SealedSegment>>,
    /// What each of them must hash to.
    pub(super) digests: Vec<Digest>,
    /// Room for those that are not.
    pub(super) slots: Vec<VacantSlot>,
}

impl ReceivedSegments {
    /// All segments, made on all cores.
    pub(super) fn make(job: &BroadcastJob) -> Result<Self, BroadcastError> {
        let source = Source::new(job);
        let bytes = job.payload_bytes();
        let made = slots(job)?.into_par_iter().enumerate().map(|(place, mut slot)| {
            source.write(place, &mut slot.bytes_mut()[..bytes]);
            slot.fill(bytes).hash_and_seal()
        });
        let (digests, segments) = made.map(|(digest, sealed)| (digest, Some(sealed))).unzip();
        Ok(Self { segments, digests, slots: Vec::new() })
    }

    /// Room for all segments.
    pub(super) fn reserve(job: &BroadcastJob) -> Result<Self, BroadcastError> {
        let segments = vec![None; job.segments as usize];
        Ok(Self { segments, digests: Vec::new(), slots: slots(job)? })
    }

    /// How many segments here are not what they must be.
    pub(super) fn count_wrong(&self) -> u64 {
        let pairs = self.segments.iter().zip(&self.digests);
        let wrong = pairs.filter(|(segment, digest)| {
            segment.as_ref().is_none_or(|segment| Digest::of(segment.bytes()) != **digest)
        });
        wrong.count() as u64
    }
}

/// The whole file in one slot, for calls that want it so.
#[derive(Debug)]
#[cfg(feature = "mpi")]
pub(super) struct WholeFile {
    slot: VacantSlot,
    bytes: usize,
    segment_bytes: usize,
    pub(super) digests: Vec<Digest>,
}

#[cfg(feature = "mpi")]
impl WholeFile {
    /// The file, made on all cores.
    pub(super) fn make(job: &BroadcastJob) -> Result<Self, BroadcastError> {
        let source = Source::new(job);
        let mut whole = Self::reserve(job)?;
        let segments = whole.bytes_mut().par_chunks_mut(job.payload_bytes()).enumerate();
        let made = segments.map(|(place, segment)| {
            source.write(place, segment);
            Digest::of(segment)
        });
        whole.digests = made.collect();
        Ok(whole)
    }

    /// Room for it.
    pub(super) fn reserve(job: &BroadcastJob) -> Result<Self, BroadcastError> {
        let segment_bytes = job.payload_bytes();
        let bytes = segment_bytes * job.segments as usize;
        let mut store = Store::new(1, bytes)?;
        let slot = store.take().expect("there is one slot");
        Ok(Self { slot, bytes, segment_bytes, digests: Vec::new() })
    }

    /// All of it.
    pub(super) fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.slot.bytes_mut()[..self.bytes]
    }

    /// One segment after the other, each with its digest.
    pub(super) fn segments_mut(&mut self) -> impl Iterator<Item = (&mut [u8], Digest)> {
        let segments = self.slot.bytes_mut()[..self.bytes].chunks_mut(self.segment_bytes);
        segments.zip(self.digests.iter().copied())
    }

    /// How many segments are not what they must be.
    pub(super) fn count_wrong(&mut self) -> u64 {
        let wrong = self.segments_mut().filter(|(bytes, digest)| Digest::of(bytes) != *digest);
        wrong.count() as u64
    }
}

impl BroadcastJob {
    /// Payload of every segment, bytes.
    pub fn payload_bytes(&self) -> usize {
        payload_bytes(SYNTHETIC_HASH_BYTES, self.segment_bytes)
    }
}

fn slots(job: &BroadcastJob) -> Result<Vec<VacantSlot>, BroadcastError> {
    let mut store = Store::new(job.segments as usize, job.payload_bytes())?;
    Ok(std::iter::from_fn(|| store.take()).collect())
}

/// Part `index` of all digests, for one message.
pub(super) fn part_of(digests: &[Digest], index: u32) -> Part {
    let start = (index as usize).saturating_mul(DIGESTS_IN_PART).min(digests.len());
    let end = (start + DIGESTS_IN_PART).min(digests.len());
    let bytes = digests[start..end].iter().flat_map(|digest| digest.0).collect();
    Part { index, last: end == digests.len(), bytes }
}

/// The digests in a part.
pub(super) fn digests_of(part: &Part) -> impl Iterator<Item = Digest> {
    part.bytes.as_chunks::<DIGEST_BYTES>().0.iter().map(|&bytes| Digest(bytes))
}
