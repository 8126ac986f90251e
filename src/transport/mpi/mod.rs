//! Ranks of an MPI job. One thread of a rank calls MPI, and only non-blocking functions, until the run
//! is over: `MPI_THREAD_FUNNELED` is enough.
//!
//! Messages and segments have communicators of their own. A segment is received with a tag of its request:
//! receives for its fragments are posted into its slot before the holder is asked, the request says their
//! tag and length, and the holder sends by them. A tag is free again when all of its receives have ended.
//! Short segments come several in a message instead (`packed`), beside other messages.
//!
//! Messages land in several posted receives (double buffering, with more than two buffers): while some
//! are read, others can be filled. MPI matches the messages of one rank with receives in the order in
//! which these were posted, but may report their ends in another order; they are read in the order of
//! posting, so that the messages of one rank stay in order.

mod awaited_ranks;
mod fragments;
mod hosts;
mod packed;
mod place_table;
mod places;
mod receiving;
mod roll_call;
mod sending;
mod signs_of_life;
mod slab;
#[cfg(all(test, not(loom)))]
pub(crate) mod tests;

use std::fmt;
use std::time::Duration;

use mpi::raw::AsRaw as _;
use mpi::topology::{Communicator as _, Rank, SimpleCommunicator};

use super::{Completion, HeldBack, PolledEvents, Transport, TransportError};
use crate::config::MESSAGE_BYTES_MAX;
use crate::manifest::{NodeId, SegmentId};
use crate::protocol::{Message, RequestedSegment, codec};
use crate::store::{SealedSegment, VacantSlot};
use crate::time::Timestamp;
use crate::watchdog;
pub use hosts::{HostRanks, HostSums, here, sum_here};
use packed::{PackedMessage, Packing, Unpacking, is_packed, packed_in};
pub use places::NodePlaces;
use receiving::{EndedReceive, Receiving};
pub(crate) use roll_call::trace_bytes_max;
pub use roll_call::{Meeting, RollCall};
use sending::Sending;
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

impl fmt::Debug for MpiTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MpiTransport").field("active", &self.active).finish_non_exhaustive()
    }
}

/// One rank's end of a job.
pub struct MpiTransport {
    messages: SimpleCommunicator,
    places: NodePlaces,
    /// Keeps the communicator of segments open.
    _segments: SimpleCommunicator,
    receiving: Receiving,
    sending_segments: Sending,
    packing: Packing,
    /// Packed segments that count as sent.
    sent_packed: Vec<(NodeId, SegmentId)>,
    unpacking: Unpacking,
    /// By rank: whether it is on this machine.
    near: Vec<bool>,
    synchronous: bool,
    // One list for both communicators, and so one test a poll: with `mpi_yield_when_idle` each test that
    // finds nothing gives the core away.
    active: Slab,
    /// Messages among the active requests that are sent.
    sending: usize,
    /// Requests of segments that have ended, until the next fragments are on their way.
    ended: Vec<EndedFragment>,
    /// Messages that came, until the end of a poll.
    unread: Vec<UnreadMessage>,
    /// Messages that came while a receive that was posted earlier had not ended.
    early: Vec<(u64, EarlyMessage)>,
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

/// A message that came.
struct UnreadMessage {
    turn: u64,
    source: Rank,
    buffer: Box<[u8]>,
    len: usize,
}

/// A request of one fragment that has ended.
enum EndedFragment {
    Receive(EndedReceive),
    Send { place: usize },
}

/// What a posted receive brought: none where it brought segments.
type EarlyMessage = Option<(NodeId, Box<Message>)>;

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
        // Communicators keep apart what would match by accident: the mutex engine and the harness have tags too.
        let (messages, segments) = (world.duplicate(), world.duplicate());
        slab::return_errors(&messages)?;
        slab::return_errors(&segments)?;
        let mut this = Self {
            places,
            messages,
            receiving: Receiving::new(segments.as_raw()),
            sending_segments: Sending::new(segments.as_raw()),
            packing: Packing::default(),
            sent_packed: Vec::new(),
            unpacking: Unpacking::new(),
            _segments: segments,
            near: hosts::near(world),
            synchronous,
            active: Slab::new(),
            sending: 0,
            ended: Vec::new(),
            unread: Vec::new(),
            early: Vec::new(),
            spares: Vec::new(),
            posted: 0,
            read: 0,
            free: Vec::with_capacity(POSTED_RECEIVES),
            buffers: Vec::new(),
            replace: None,
        };
        for _ in 0..POSTED_RECEIVES {
            this.post_inbox(vec![0; MESSAGE_BYTES_MAX].into())?;
        }
        Ok(this)
    }

    /// Whether a node is on this host.
    pub fn is_near(&self, node: NodeId) -> bool {
        self.places.rank_of(node).is_some_and(|rank| self.near[index(rank)])
    }

    /// Sends something else in place of messages from now on, where `replace` gives it.
    pub(crate) fn replace_sent(&mut self, replace: Replace) {
        self.replace = Some(replace);
    }

    /// Has this rank ask for fragments of 2 to the power of `fragment_log2` bytes, with so many tags at most.
    /// For tests: otherwise fragments follow the links.
    #[doc(hidden)]
    pub fn limit(&mut self, tags: u16, fragment_log2: u8) {
        self.receiving.limit(tags, fragment_log2);
    }

    /// A request that says which receives are posted here for its segments; none of another message.
    fn completed(&mut self, to: NodeId, message: &Message) -> Option<Message> {
        let Message::Request { segments } = message else { return None };
        let with_posted = |requested: &RequestedSegment| {
            let segment = requested.segment;
            let posted = self.unpacking.name(to, segment);
            let posted = posted.unwrap_or_else(|| self.receiving.name(to, segment));
            RequestedSegment { posted, ..*requested }
        };
        Some(Message::Request { segments: segments.iter().map(with_posted).collect() })
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
                |owner: &Owner| matches!(owner, Owner::Receive { .. } | Owner::Inbox { .. });
            self.active.cancel_all(receives)?;
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

    /// Has the next fragments follow those that have ended.
    fn move_on(&mut self, events: &mut PolledEvents) -> Result<(), TransportError> {
        for fragment in self.ended.drain(..) {
            let done = match fragment {
                EndedFragment::Receive(ended) => self.receiving.note(&mut self.active, ended)?,
                EndedFragment::Send { place } => {
                    self.sending_segments.note(&mut self.active, place)?
                }
            };
            events.completions.extend(done);
        }
        Ok(())
    }

    /// Reads the messages that came, those with segments at once.
    fn read_messages(&mut self, events: &mut PolledEvents) -> Result<(), TransportError> {
        let Self { unread, unpacking, places, spares, early, free, .. } = self;
        spares.extend(events.messages.drain(..).map(|(_, message)| message));
        for UnreadMessage { turn, source, buffer, len } in unread.drain(..) {
            let unplaced = NodeId(u32::try_from(source).unwrap_or_default());
            let bytes = &buffer[..len.min(buffer.len())];
            let message = if let Some(packed) = packed_in(bytes) {
                let sender = (places.peer_at(source).unwrap_or(unplaced), source);
                unpacking.take_in(sender, packed, &mut events.completions)?;
                events.payload_messages += 1;
                None
            } else {
                let garbled = |cause| TransportError::Garbled { from: unplaced, cause };
                let message = codec::decode(bytes).map_err(garbled)?;
                // A rank without a node is told apart by no number of a node: the check of its
                // first message names it.
                let from = places.sender(source, &message).unwrap_or(unplaced);
                let mut spare = spares.pop().unwrap_or_else(|| Message::Stop.into());
                *spare = message;
                Some((from, spare))
            };
            early.push((turn, message));
            free.push(buffer);
        }
        Ok(())
    }

    /// Posts receives again, and passes on the messages that are next in order.
    fn pass_messages_on(&mut self, events: &mut PolledEvents) -> Result<(), TransportError> {
        while let Some(buffer) = self.free.pop() {
            self.post_inbox(buffer)?;
        }
        // `MPI_Testsome` reports completed receives in any order. Sorting by the order of posting restores
        // the order of each sender's messages, because receives match in the order of posting.
        self.early.sort_unstable_by_key(|&(turn, _)| turn);
        let in_turn = self.early.iter().zip(self.read..).take_while(|(m, turn)| m.0 == *turn);
        let count = in_turn.count();
        self.read += count as u64;
        let next = self.early.drain(..count);
        events.messages.extend(next.filter_map(|(_, message)| message));
        Ok(())
    }

    fn mode(&self) -> Mode {
        // A standard send of a short segment is eager: MPI buffers it and reports it as sent while it
        // still waits for the link. A synchronous send ends when the receiver has matched it.
        if self.synchronous { Mode::Synchronous } else { Mode::Standard }
    }

    fn send_packed(&mut self, message: PackedMessage) -> Result<(), TransportError> {
        let PackedMessage { to, rank, buffer, len } = message;
        self.sending += 1;
        let owner = Owner::Packed { to, buffer: Buffer::new(buffer), len };
        self.active.send(self.messages.as_raw(), rank, MESSAGE_TAG, self.mode(), owner)
    }
}

impl Transport for MpiTransport {
    fn send(&mut self, to: NodeId, message: &Message) -> Result<(), TransportError> {
        let mut buffer = self.buffers.pop().unwrap_or_else(message_buffer);
        let completed = self.completed(to, message);
        let message = completed.as_ref().unwrap_or(message);
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
        mut slot: VacantSlot,
    ) -> Result<(), TransportError> {
        let rank = self.places.rank_of(from).ok_or(TransportError::NoSuchNode(from))?;
        if is_packed(slot.bytes_mut().len()) {
            return self.unpacking.expect((from, rank), segment, slot);
        }
        let from = (from, rank, self.near[index(rank)]);
        self.receiving.expect(&mut self.active, from, segment, slot)
    }

    fn forget(&mut self, from: NodeId, segment: SegmentId) -> Result<(), TransportError> {
        if self.unpacking.forget(from, segment) {
            return Ok(());
        }
        self.receiving.forget(&mut self.active, from, segment)
    }

    fn serve(
        &mut self,
        to: NodeId,
        requested: RequestedSegment,
        payload: SealedSegment,
    ) -> Result<(), TransportError> {
        let rank = self.places.rank_of(to).ok_or(TransportError::NoSuchNode(to))?;
        if is_packed(requested.posted.slot_bytes as usize) {
            let Self { packing, buffers, sent_packed, synchronous, .. } = self;
            // The slot is read no more. MPI reports the end of a message of more than 256 bytes late, also if it
            // has copied it, and the holder would send others one by one meanwhile.
            sent_packed.extend((!*synchronous).then_some((to, requested.segment)));
            let buffer = || buffers.pop().unwrap_or_else(message_buffer);
            let full = packing.add((to, rank), requested, payload.bytes(), buffer)?;
            return full.map_or(Ok(()), |full| self.send_packed(full));
        }
        let to = (to, rank, self.mode());
        self.sending_segments.begin(&mut self.active, to, requested, payload)
    }

    fn flush(&mut self) -> Result<(), TransportError> {
        while let Some(message) = self.packing.take() {
            self.send_packed(message)?;
        }
        Ok(())
    }

    fn poll(&mut self, events: &mut PolledEvents) -> Result<(), TransportError> {
        self.flush()?;
        events.completions.clear();
        events.payload_messages = 0;
        let Self { active, sending, buffers, unread, ended, sent_packed, synchronous, .. } = self;
        active.poll(|CompletedRequest { owner, source, count, cancelled }| match owner {
            Owner::Inbox { turn, buffer } => {
                let buffer = buffer.into_box();
                unread.push(UnreadMessage { turn, source, buffer, len: count });
            }
            // A cancelled receive either was cancelled or got its message: MPI decides, and both are handled.
            Owner::Receive { tag, index, .. } => {
                events.payload_messages += u64::from(!cancelled);
                ended.push(EndedFragment::Receive(EndedReceive {
                    tag,
                    index,
                    bytes: count,
                    is_cancelled: cancelled,
                }));
            }
            Owner::Serve { place, .. } => ended.push(EndedFragment::Send { place }),
            Owner::Message { buffer, .. } => {
                *sending -= 1;
                buffers.push(buffer.into_box());
            }
            Owner::Packed { to, buffer, len } => {
                *sending -= 1;
                let buffer = buffer.into_box();
                if *synchronous {
                    let sent = packed_in(&buffer[..len]).into_iter().flatten().flatten();
                    sent_packed.extend(sent.map(|packed| (to, packed.segment)));
                }
                buffers.push(buffer);
            }
        })?;
        let sent = sent_packed.drain(..).map(|(to, segment)| Completion::Sent { to, segment });
        events.completions.extend(sent);
        events.completions.extend(self.unpacking.forgotten());
        self.read_messages(events)?;
        self.move_on(events)?;
        self.pass_messages_on(events)
    }

    fn is_flushed(&self) -> bool {
        self.sending == 0 && self.sending_segments.is_empty() && self.packing.is_empty()
    }

    fn wakes(&self) -> bool {
        false
    }

    fn deadline(&self) -> Option<Timestamp> {
        None
    }

    fn held_back(&self) -> HeldBack {
        HeldBack::default()
    }
}

fn message_buffer() -> Box<[u8]> {
    vec![0; MESSAGE_BYTES_MAX].into()
}

fn index(rank: Rank) -> usize {
    usize::try_from(rank).expect("ranks are not negative")
}

fn any_source() -> std::ffi::c_int {
    slab::any_source()
}
