//! From a peer's input to a peer that can run: makes the payload of its own files, and opens its
//! output.

use std::path::Path;

use crossbeam::sync::Unparker;
use rayon::prelude::*;

use super::Checks;
use super::writer::Writer;

use crate::config::{Buffers, Config};
use crate::manifest::{
    FileName, Filler, HASH_BYTES_MAX, InputError, NodeId, OwnedFile, PeerInput, Quoted,
    payload_bytes,
};
use crate::metrics::trace::{TraceThread, Tracer};
use crate::protocol::{OwnedEntry, Peer, Registration};
use crate::spawn::{self, ThreadError};
use crate::store::{OutputDir, OutputError, SealedSegment, Store, StoreError, VacantSlot};

// The least payload that is made on all cores, bytes.
// Starting the pool takes about as long as making and hashing a megabyte, and a rank that owns hashes alone
// would start threads that only yield to each other.
const PARALLEL_BYTES_LEAST: usize = 1 << 20;

/// A peer's own segments, file by file.
pub type OwnedFiles = Vec<Vec<SealedSegment>>;

/// A peer of the lockfree engine that can run. Its fields are those of [`PeerSetup`].
#[derive(Debug)]
#[expect(missing_docs, reason = "described where they come from")]
pub struct Prepared {
    pub peer: Peer,
    pub store: Store,
    pub owned: OwnedFiles,
    pub wanted: Vec<FileName>,
    pub slot_bytes: usize,
    pub buffers: Buffers,
    /// Threads of its own. A peer that can't have them is refused like one without memory.
    pub(super) writer: Writer,
    pub(super) checks: Checks,
    /// None where no trace is kept.
    pub(super) tracer: Option<Tracer>,
}

impl Prepared {
    /// A peer that can run: a rank, and how many there are. `waker` wakes it when its threads are done.
    ///
    /// # Errors
    ///
    /// When a thread can't be started.
    pub(super) fn ready(
        place: (NodeId, u32),
        setup: PeerSetup,
        config: Config,
        verify_threads: usize,
        waker: &Unparker,
        tracer: Option<Tracer>,
    ) -> Result<Self, PrepareError> {
        let PeerSetup { registration, store, owned, wanted, output, slot_bytes } = setup;
        let refused = |cause| PrepareError::Thread { node: place.0, cause };
        let writes = |tracer: &Tracer| tracer.recorder(TraceThread::Writer);
        let writer =
            Writer::new(output, waker.clone(), tracer.as_ref().map(writes)).map_err(refused)?;
        let checks = Checks::new(config.verify, verify_threads, slot_bytes, waker, tracer.as_ref());
        let checks = checks.map_err(refused)?;
        let buffers = config.buffers;
        let peer = Peer::new(place, &registration, config);
        Ok(Self { peer, store, owned, wanted, slot_bytes, buffers, writer, checks, tracer })
    }

    /// A peer that only registers why it can't take part, so that rank 0 hears of all refusals and
    /// says each once.
    pub(super) fn refused(
        place: (NodeId, u32),
        reason: &PrepareError,
        config: Config,
        tracer: Option<Tracer>,
    ) -> Self {
        let registration = Registration::Refused { reason: reason.to_string().into() };
        Self {
            peer: Peer::new(place, &registration, config),
            store: Store::default(),
            owned: Vec::new(),
            wanted: Vec::new(),
            slot_bytes: 0,
            buffers: Buffers::default(),
            writer: Writer::default(),
            checks: Checks::inline(),
            tracer,
        }
    }
}

/// What a peer starts from, whichever engine runs it.
#[derive(Debug)]
#[expect(missing_docs, reason = "the names say what they hold")]
pub struct PeerSetup {
    /// What it registers.
    pub registration: Registration,
    /// Its spare slots.
    pub store: Store,
    /// Its own segments, in the order in which it registers them.
    pub owned: OwnedFiles,
    /// The files that it wants, in the order in which it registers them.
    pub wanted: Vec<FileName>,
    /// Where finished files go; none where they are not written.
    pub output: Option<OutputDir>,
    pub slot_bytes: usize,
}

/// What a run gives each of its peers to start from.
#[derive(Clone, Debug)]
pub struct PeerOptions<'a> {
    /// Payload of a segment.
    pub segment_bytes: usize,
    /// The seed of all payload.
    pub seed: u64,
    /// Where finished files go; none where they are not written.
    pub out: Option<&'a Path>,
    /// Whether the digests of finished files are written beside them.
    pub digests: bool,
    /// Whether files that this program did not write are replaced.
    pub overwrite: bool,
}

/// Why a peer can't take part.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the message of each says what its fields are")]
pub enum PrepareError {
    #[error(transparent)]
    Input(#[from] InputError),
    #[error(
        "{node}: {} and {} would be written to one file: rename one of them in its input",
        Quoted::new(first.as_str()),
        Quoted::new(second.as_str())
    )]
    OutputClash { node: NodeId, first: FileName, second: FileName },
    #[error("{node}: own files: {cause}: use a smaller --segment-bytes")]
    Memory { node: NodeId, cause: StoreError },
    #[error("{node}: {cause}")]
    Output { node: NodeId, cause: OutputError },
    #[error("{node}: {cause}")]
    Thread { node: NodeId, cause: ThreadError },
}

/// Bytes of every slot.
// Slots have one size, so that any fits any segment: that of the longest hash that an input may have.
pub(crate) fn slot_bytes(segment_bytes: usize) -> usize {
    payload_bytes(HASH_BYTES_MAX, segment_bytes)
}

/// Makes the payload of a peer's own files, with `spare` slots beyond it, and opens its output.
///
/// # Errors
///
/// When two of its files would be written to one, or memory, threads or the output folder can't be had.
pub fn prepare(
    node: NodeId,
    input: PeerInput,
    options: &PeerOptions<'_>,
    spare: usize,
) -> Result<PeerSetup, PrepareError> {
    let &PeerOptions { segment_bytes, seed, out, digests, overwrite } = options;
    if let Some((first, second)) = input.clash(node, digests).filter(|_| out.is_some()) {
        let (first, second) = (first.clone(), second.clone());
        return Err(PrepareError::OutputClash { node, first, second });
    }
    let open = |dir| {
        let output = OutputDir::open(dir, node)?;
        let output = output.with_digests(digests).with_overwrite(overwrite);
        output.check(&input.wanted).map(|()| output)
    };
    let output = out.map(open).transpose();
    let output = output.map_err(|cause| PrepareError::Output { node, cause })?;
    // A peer that wants nothing receives nothing.
    let spare = if input.wanted.is_empty() { 0 } else { spare };
    let (slots, slot_bytes) = (owned_segments(&input) + spare, slot_bytes(segment_bytes));
    let mut store =
        Store::new(slots, slot_bytes).map_err(|cause| PrepareError::Memory { node, cause })?;
    let in_parallel = owned_segments(&input).saturating_mul(slot_bytes) >= PARALLEL_BYTES_LEAST;
    if in_parallel {
        spawn::common_pool().map_err(|cause| PrepareError::Thread { node, cause })?;
    }
    let (registration, owned) = register(&input, (segment_bytes, seed), &mut store, in_parallel);
    Ok(PeerSetup { registration, store, owned, wanted: input.wanted, output, slot_bytes })
}

/// What a peer with this input registers, for a simulation, which runs nodes without their payload.
///
/// # Errors
///
/// When there is no memory for the payload of its own files, which exists while it is hashed, or no thread.
pub fn registration(
    node: NodeId,
    input: PeerInput,
    segment_bytes: usize,
    seed: u64,
) -> Result<Registration, PrepareError> {
    let options = PeerOptions { segment_bytes, seed, out: None, digests: false, overwrite: false };
    prepare(node, input, &options, 0).map(|setup| setup.registration)
}

fn owned_segments(input: &PeerInput) -> usize {
    input.owned.iter().map(|file| file.hashes.len()).sum()
}

fn register(
    input: &PeerInput,
    payload: (usize, u64),
    store: &mut Store,
    in_parallel: bool,
) -> (Registration, OwnedFiles) {
    let made = input.owned.iter().map(|file| make(file, payload, store, in_parallel));
    let (owned, segments) = made.unzip();
    let wanted = input.wanted.iter().map(|name| name.as_str().into()).collect();
    (Registration::Ready { owned, wanted }, segments)
}

/// Makes the payload of one file and its digests, on this thread or on all cores of this process.
fn make(
    file: &OwnedFile,
    (segment_bytes, seed): (usize, u64),
    store: &mut Store,
    in_parallel: bool,
) -> (OwnedEntry, Vec<SealedSegment>) {
    let filler = Filler::new(seed, &file.name);
    let take = |_| store.take().expect("a slot was reserved for every owned segment");
    let slots: Vec<VacantSlot> = (0..file.hashes.len()).map(take).collect();
    let make = |(position, mut slot): (usize, VacantSlot)| {
        let hash = file.hashes.hash(position);
        let bytes = payload_bytes(hash.len(), segment_bytes);
        let position = u32::try_from(position).expect("segments are numbered in 32 bits");
        filler.write_payload(position, hash, &mut slot.bytes_mut()[..bytes]);
        slot.fill(bytes).hash_and_seal()
    };
    let made: Vec<_> = if in_parallel {
        slots.into_par_iter().enumerate().map(make).collect()
    } else {
        slots.into_iter().enumerate().map(make).collect()
    };
    let (digests, segments): (Vec<_>, Vec<_>) = made.into_iter().unzip();
    let hashes: String = file.hashes.iter().flat_map(|hash| [hash, "\n"]).collect();
    let name = file.name.as_str().into();
    (OwnedEntry { name, hashes: hashes.into(), digests: digests.into() }, segments)
}
