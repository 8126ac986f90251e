//! Ranks of an MPI job. One thread of a rank calls MPI, and only non-blocking functions, until the run
//! is over: `MPI_THREAD_FUNNELED` is enough.
//!
//! Messages and segments have communicators of their own. A segment's number is its tag: a receive is
//! posted into the segment's slot before the holder is asked, so that it matches exactly one send.
//!
//! Messages land in several posted receives (double buffering, with more than two buffers): while some
//! are read, others can be filled. MPI matches the messages of one rank with receives in the order in
//! which these were posted, but may report their ends in another order; they are read in the order of
//! posting, so that the messages of one rank stay in order.

mod roll_call;
mod slab;

use std::fmt;
use std::time::Duration;

use mpi::collective::{CommunicatorCollectives as _, SystemOperation};
use mpi::raw::AsRaw as _;
use mpi::topology::{Communicator as _, Rank, SimpleCommunicator};

use super::{Completion, PolledEvents, Transport, TransportError};
use crate::config::MESSAGE_BYTES_MAX;
use crate::manifest::{NodeId, SegmentId};
use crate::metrics::cores::Cores;
use crate::protocol::{Message, Route, codec};
use crate::store::{SealedSegment, VacantSlot};
use crate::watchdog;
pub use roll_call::{Meeting, RollCall};
use slab::{Buffer, CompletedRequest, Mode, Owner, Slab};

/// Posted receives for messages.
// If more messages come between two polls, the MPI queues the rest: nothing is lost, and they are
// copied once more. 16 receives take 1 MiB, as each has room for the longest message. Chosen, not
// tuned.
const POSTED_RECEIVES: usize = 16;

/// Bytes of the report of one rank, at most.
// Counters, and at most 41 kB of latencies. Reports of 32,000 ranks stay below the 2 GiB that MPI counts.
pub(crate) const REPORT_BYTES_MAX: std::ffi::c_int = 64 << 10;

/// The tag of messages.
// Any one will do: messages have a communicator of their own.
const MESSAGE_TAG: std::ffi::c_int = 0;

/// What of a job is on one machine.
#[derive(Clone, Debug)]
pub struct HostRanks {
    /// Ranks, this one among them.
    pub ranks: Rank,
    /// Cores that any of them may use: launchers may bind each rank to its own.
    pub cores: Cores,
}

/// What of the job is on this machine. Collective: all ranks must call it.
// All ranks that can share memory (`MPI_Comm_split_type`). Launchers have environment variables for
// that, but each has other ones, and Slurm has none.
pub fn here(world: &SimpleCommunicator) -> HostRanks {
    let machine = world.split_shared(world.rank());
    let mine = Cores::mine();
    let mut words = mine.words().to_vec();
    machine.all_reduce_into(mine.words(), &mut words[..], SystemOperation::bitwise_or());
    HostRanks { ranks: machine.size(), cores: mine.with_words(words) }
}

/// Sums over the ranks of one machine.
#[derive(Clone, Debug)]
pub struct HostSums {
    /// Each number, summed.
    pub sums: Vec<u64>,
    /// How many ranks were summed.
    pub ranks: Rank,
    /// Whether this is the lowest of them.
    pub is_lowest: bool,
    /// Whether they all gave the same `group`.
    pub is_one_group: bool,
}

/// Sums numbers over the ranks of this machine. Collective: all ranks must call it, with as many numbers.
pub fn sum_here(world: &SimpleCommunicator, numbers: &[u64], group: u64) -> HostSums {
    let machine = world.split_shared(world.rank());
    let mut sums = vec![0; numbers.len()];
    // Open MPI refuses the address of an empty buffer.
    if !numbers.is_empty() {
        machine.all_reduce_into(numbers, &mut sums[..], SystemOperation::sum());
    }
    let (mut any, mut all) = (0_u64, 0_u64);
    machine.all_reduce_into(&group, &mut any, SystemOperation::bitwise_or());
    machine.all_reduce_into(&group, &mut all, SystemOperation::bitwise_and());
    let (ranks, is_lowest) = (machine.size(), machine.rank() == 0);
    HostSums { sums, ranks, is_lowest, is_one_group: any == all }
}

impl fmt::Debug for MpiTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MpiTransport").field("active", &self.active).finish_non_exhaustive()
    }
}

/// On which rank each node is. A rank has at most one peer; the rank of the tracker may have one too.
#[derive(Clone, Debug)]
pub struct NodePlaces {
    /// By node.
    ranks: Vec<Rank>,
    /// By rank: its peer, or the tracker where that is alone.
    nodes: Vec<Option<NodeId>>,
}

impl NodePlaces {
    /// Node and rank have the same number.
    pub fn same(ranks: Rank) -> Self {
        Self::with_peers_at(ranks, 1..ranks)
    }

    /// The tracker is on rank 0, and the peers are on `peers`, in their order.
    ///
    /// # Panics
    ///
    /// When there is no such rank.
    pub fn with_peers_at(ranks: Rank, peers: impl IntoIterator<Item = Rank>) -> Self {
        let mut places = Self { ranks: vec![0], nodes: vec![None; index(ranks)] };
        for rank in peers {
            let node = u32::try_from(places.ranks.len()).expect("there are fewer peers than ranks");
            places.nodes[index(rank)] = Some(NodeId(node));
            places.ranks.push(rank);
        }
        places.nodes[0].get_or_insert(NodeId::TRACKER);
        places
    }

    /// How many nodes there are, the tracker included.
    pub fn node_count(&self) -> u32 {
        u32::try_from(self.ranks.len()).expect("there are no more nodes than ranks and a tracker")
    }

    /// The peer of a rank; none where it has none.
    pub fn peer_at(&self, rank: Rank) -> Option<NodeId> {
        self.nodes[index(rank)].filter(|&node| node != NodeId::TRACKER)
    }

    /// The rank of a node; none where there is no such node.
    pub fn rank_of(&self, node: NodeId) -> Option<Rank> {
        self.ranks.get(node.index()).copied()
    }

    // A message has no address: its kind says whether it comes from a tracker.
    fn sender(&self, rank: Rank, message: &Message) -> Option<NodeId> {
        let node = (*self.nodes.get(index(rank))?)?;
        let tracks = rank == self.ranks[0] && Route::of(message) == Route::FromTracker;
        Some(if tracks { NodeId::TRACKER } else { node })
    }
}

fn index(rank: Rank) -> usize {
    usize::try_from(rank).expect("ranks are not negative")
}

/// One rank's end of a job.
pub struct MpiTransport {
    messages: SimpleCommunicator,
    places: NodePlaces,
    segments: SimpleCommunicator,
    segments_max: u32,
    synchronous: bool,
    // One list for both communicators, and so one test a poll: with `mpi_yield_when_idle` each test that
    // finds nothing gives the core away.
    active: Slab,
    /// Sends among the active requests.
    sending: usize,
    /// Messages that came while a receive that was posted earlier had not ended.
    early: Vec<(u64, NodeId, Box<Message>)>,
    /// Messages that were read, to be written over.
    #[expect(clippy::vec_box, reason = "the boxes are what is used again: events hold boxes")]
    spares: Vec<Box<Message>>,
    /// How many receives were posted, and how many of their messages were read.
    posted: u64,
    read: u64,
    /// Buffers for the next posted receives.
    free: Vec<Box<[u8]>>,
    /// Buffers for the next sends.
    // None is freed: a rank has as many as it ever had messages in flight, and then allocates no more.
    buffers: Vec<Box<[u8]>>,
    /// What is sent in place of a message, to show that its receiver does not believe it.
    replace: Option<Replace>,
}

/// From a message and its bytes to other bytes.
type Replace = Box<dyn FnMut(&Message, &[u8]) -> Option<Vec<u8>>>;

impl MpiTransport {
    /// This rank's end of a job. If it is `synchronous`, a segment counts as sent only when its receiver
    /// takes it; else when its slot may be read no more, which for short segments is at once.
    ///
    /// # Errors
    ///
    /// When an MPI function fails.
    pub fn new(world: &SimpleCommunicator, synchronous: bool) -> Result<Self, TransportError> {
        Self::among(world, NodePlaces::same(world.size()), synchronous)
    }

    /// The same where nodes and ranks have different numbers. All ranks must come here.
    ///
    /// # Errors
    ///
    /// When an MPI function fails.
    pub fn among(
        world: &SimpleCommunicator,
        places: NodePlaces,
        synchronous: bool,
    ) -> Result<Self, TransportError> {
        let mut this = Self {
            places,
            // Communicators keep apart what would match by accident: segment numbers are tags, and so are
            // the tags of the mutex engine and of the harness.
            messages: world.duplicate(),
            segments: world.duplicate(),
            segments_max: slab::tag_max(world),
            synchronous,
            active: Slab::new(),
            sending: 0,
            early: Vec::new(),
            spares: Vec::new(),
            posted: 0,
            read: 0,
            free: Vec::with_capacity(POSTED_RECEIVES),
            buffers: Vec::new(),
            replace: None,
        };
        slab::return_errors(&this.messages)?;
        slab::return_errors(&this.segments)?;
        for _ in 0..POSTED_RECEIVES {
            this.post_inbox(vec![0; MESSAGE_BYTES_MAX].into())?;
        }
        Ok(this)
    }

    /// Sends something else in place of messages from now on, where `replace` gives it.
    pub(crate) fn replace_sent(&mut self, replace: Replace) {
        self.replace = Some(replace);
    }

    /// Segments that tags can tell apart: one tag each, from 0 on.
    pub fn segments_max(&self) -> u32 {
        self.segments_max
    }

    /// Ends the exchange and collects what each rank measured: on rank 0, by rank, none of a rank that did
    /// not report within `limit`; none on the others. All ranks must come here.
    ///
    /// # Errors
    ///
    /// When MPI fails.
    // Point to point, not `MPI_Gather`: a rank that is stopped or lost is named.
    pub fn gather(
        mut self,
        mine: &[u8],
        limit: Duration,
    ) -> Result<Option<Vec<Option<Vec<u8>>>>, TransportError> {
        self.cancel_receives(limit)?;
        RollCall::new(&self.messages, limit).collect(Meeting::Reports, mine)
    }

    /// Ends the exchange.
    ///
    /// # Errors
    ///
    /// When MPI fails.
    pub fn end(mut self, limit: Duration) -> Result<(), TransportError> {
        self.cancel_receives(limit)
    }

    fn cancel_receives(&mut self, limit: Duration) -> Result<(), TransportError> {
        // What is left is receives that nobody will match: MPI must not be finalized over them.
        let _limited = watchdog::limit("MPI to cancel the receives of this rank", limit);
        while self.active.len() > 0 {
            let receives =
                |owner: &Owner| !matches!(owner, Owner::Serve { .. } | Owner::Message { .. });
            self.active.cancel(receives)?;
            self.active.poll(|_| ())?;
        }
        Ok(())
    }

    fn post_inbox(&mut self, buffer: Box<[u8]>) -> Result<(), TransportError> {
        let turn = self.posted;
        self.posted += 1;
        let comm = self.messages.as_raw();
        self.active.receive(
            comm,
            any_source(),
            MESSAGE_TAG,
            Owner::Inbox { turn, buffer: Buffer::new(buffer) },
        )
    }

    /// Posts receives again, and passes on the messages that are next in order.
    fn pass_messages_on(&mut self, events: &mut PolledEvents) -> Result<(), TransportError> {
        while let Some(buffer) = self.free.pop() {
            self.post_inbox(buffer)?;
        }
        // `MPI_Testsome` reports completed receives in any order. Sorting by the order of posting restores
        // the order of each sender's messages, because receives match in the order of posting.
        self.early.sort_unstable_by_key(|&(turn, _, _)| turn);
        let in_turn = self.early.iter().zip(self.read..).take_while(|(m, turn)| m.0 == *turn);
        let count = in_turn.count();
        self.read += count as u64;
        let next = self.early.drain(..count);
        events.messages.extend(next.map(|(_, from, message)| (from, message)));
        Ok(())
    }
}

impl Transport for MpiTransport {
    fn send(&mut self, to: NodeId, message: &Message) -> Result<(), TransportError> {
        let mut buffer = self.buffers.pop().unwrap_or_else(|| vec![0; MESSAGE_BYTES_MAX].into());
        let mut len = codec::encode(message, &mut buffer)?.len();
        if let Some(bytes) = self.replace.as_mut().and_then(|with| with(message, &buffer[..len])) {
            // Buffers are used again: none is shorter than a message can be.
            len = bytes.len();
            buffer = bytes.into_iter().chain([0; MESSAGE_BYTES_MAX]).collect();
        }
        self.sending += 1;
        let owner = Owner::Message { buffer: Buffer::new(buffer), len };
        let rank = self.places.rank_of(to).ok_or(TransportError::NoSuchNode(to))?;
        self.active.send(self.messages.as_raw(), rank, MESSAGE_TAG, Mode::Standard, owner)
    }

    fn expect(
        &mut self,
        from: NodeId,
        segment: SegmentId,
        slot: VacantSlot,
    ) -> Result<(), TransportError> {
        // The holder is named, not any source: another rank's segment of the same number must not land
        // here, as its request has a slot of its own.
        let owner = Owner::Receive { from, segment, slot };
        let rank = self.places.rank_of(from).ok_or(TransportError::NoSuchNode(from))?;
        self.active.receive(self.segments.as_raw(), rank, tag(segment), owner)
    }

    fn forget(&mut self, from: NodeId, segment: SegmentId) -> Result<(), TransportError> {
        self.active.cancel(|owner| {
            matches!(owner, Owner::Receive { from: f, segment: s, .. } if (*f, *s) == (from, segment))
        })
    }

    fn serve(
        &mut self,
        to: NodeId,
        segment: SegmentId,
        payload: SealedSegment,
    ) -> Result<(), TransportError> {
        self.sending += 1;
        let owner = Owner::Serve { to, segment, payload };
        // A standard send of a short segment is eager: MPI buffers it and reports it as sent while it
        // still waits for the link. A synchronous send ends when the receiver has matched it.
        let mode = if self.synchronous { Mode::Synchronous } else { Mode::Standard };
        let rank = self.places.rank_of(to).ok_or(TransportError::NoSuchNode(to))?;
        self.active.send(self.segments.as_raw(), rank, tag(segment), mode, owner)
    }

    fn poll(&mut self, events: &mut PolledEvents) -> Result<(), TransportError> {
        let Self { active, sending, buffers, free, early, spares, places, .. } = self;
        spares.extend(events.messages.drain(..).map(|(_, message)| message));
        events.completions.clear();
        let done = &mut events.completions;
        let mut bad = None;
        active.poll(|CompletedRequest { owner, source, count, cancelled }| match owner {
            Owner::Inbox { turn, buffer } => {
                let buffer = buffer.into_box();
                let unplaced = NodeId(u32::try_from(source).unwrap_or_default());
                match codec::decode(&buffer[..count.min(buffer.len())]) {
                    Ok(message) => {
                        // A rank without a node is told apart by no number of a node: the check of its
                        // first message names it.
                        let from = places.sender(source, &message).unwrap_or(unplaced);
                        let mut spare = spares.pop().unwrap_or_else(|| Message::Stop.into());
                        *spare = message;
                        early.push((turn, from, spare));
                    }
                    Err(cause) => {
                        let from = unplaced;
                        bad = bad.take().or(Some(TransportError::Garbled { from, cause }))
                    }
                }
                free.push(buffer);
            }
            // A cancelled receive either was cancelled or got its message: MPI decides, and both are handled.
            Owner::Receive { slot, .. } if cancelled => {
                done.push(Completion::Forgotten { slot });
            }
            Owner::Receive { from, segment, slot } => {
                done.push(Completion::Arrived { from, segment, slot: slot.fill(count) });
            }
            Owner::Serve { to, segment, payload } => {
                *sending -= 1;
                drop(payload);
                done.push(Completion::Sent { to, segment });
            }
            Owner::Message { buffer, .. } => {
                *sending -= 1;
                buffers.push(buffer.into_box());
            }
        })?;
        match bad {
            Some(error) => Err(error),
            None => self.pass_messages_on(events),
        }
    }

    fn is_flushed(&self) -> bool {
        self.sending == 0
    }

    fn wakes(&self) -> bool {
        false
    }
}

// The tracker refuses a swarm with more than `segments_max` segments.
fn tag(segment: SegmentId) -> std::ffi::c_int {
    std::ffi::c_int::try_from(segment.0).expect("segments are no more than tags")
}

fn any_source() -> std::ffi::c_int {
    slab::any_source()
}
