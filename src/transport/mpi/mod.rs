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
//!
//! Within a host only a notice of a segment travels, where ranks can read each other's memory
//! (`host_peers`).

mod host_peers;
mod host_ranks;
mod places;
mod roll_call;
mod slab;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use mpi::raw::AsRaw as _;
use mpi::topology::{Communicator as _, SimpleCommunicator};

use super::{Completion, PolledEvents, Transport, TransportError};
use crate::config::MESSAGE_BYTES_MAX;
use crate::manifest::{NodeId, SegmentId};
use crate::protocol::Message;
use crate::protocol::codec::{self, CodecError};
use crate::store::{SealedSegment, SharedMemory, VacantSlot};
use crate::watchdog;
use host_peers::{Copied, HostMessage, HostPeers};
pub use host_ranks::{HostRanks, HostSums, here, sum_here};
pub use places::NodePlaces;
pub use roll_call::{Meeting, RollCall};
use slab::{Buffer, CompletedRequest, Mode, Owner, Slab};

/// Posted receives for messages.
// If more messages come between two polls, the MPI queues the rest: nothing is lost, and they are
// copied once more. 16 receives take 1 MiB, as each has room for the longest message. Chosen, not
// tuned.
const POSTED_RECEIVES: usize = 16;

/// Bytes of the report of one rank, at most.
// Counters, and at most 41 kB of latencies. Reports of 32,000 ranks stay below the 2 GiB that MPI counts.
const REPORT_BYTES_MAX: std::ffi::c_int = 64 << 10;

/// The tag of messages.
// Any one will do: messages have a communicator of their own.
const MESSAGE_TAG: std::ffi::c_int = 0;

/// The tag of notices, which have receives of their own on the communicator of messages.
// Any other one.
const NOTICE_TAG: std::ffi::c_int = 1;

impl fmt::Debug for MpiTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MpiTransport").field("active", &self.active).finish_non_exhaustive()
    }
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
    /// None where segments travel in messages only.
    host_peers: Option<Box<HostPeers>>,
    /// Segments that were served, of which the next poll tells.
    sent: Vec<(NodeId, SegmentId)>,
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
            host_peers: None,
            sent: Vec::new(),
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

    /// From now on ranks of one host copy segments out of each other's memory, where they can. All ranks must
    /// come here.
    pub fn share_within_hosts(&mut self, world: &SimpleCommunicator) -> Result<(), TransportError> {
        self.host_peers = HostPeers::connect(world, &self.places).map(Box::new);
        self.follow_notices().map(|_| ())
    }

    /// Where slots must lie for that; none where nobody can read them.
    pub fn shared_memory(&self) -> Option<Arc<SharedMemory>> {
        self.host_peers.as_ref()?.memory().cloned()
    }

    /// Bytes that this rank has copied out of the memory of others.
    pub fn shared_bytes(&self) -> u64 {
        self.host_peers.as_ref().map_or(0, |peers| peers.copied_bytes())
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
            let _: bool = self.active.cancel(receives)?;
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

    fn cancel_receive(&mut self, from: NodeId, segment: SegmentId) -> Result<bool, TransportError> {
        self.active.cancel(|owner| {
            matches!(owner, Owner::Receive { from: f, segment: s, .. } if (*f, *s) == (from, segment))
        })
    }

    fn send_buffer(&mut self) -> Box<[u8]> {
        self.buffers.pop().unwrap_or_else(|| vec![0; MESSAGE_BYTES_MAX].into())
    }

    fn send_bytes(
        &mut self,
        to: NodeId,
        tag: std::ffi::c_int,
        buffer: Box<[u8]>,
        len: usize,
    ) -> Result<(), TransportError> {
        self.sending += 1;
        let owner = Owner::Message { buffer: Buffer::new(buffer), len };
        let rank = self.places.rank_of(to).ok_or(TransportError::NoSuchNode(to))?;
        self.active.send(self.messages.as_raw(), rank, tag, Mode::Standard, owner)
    }

    fn notify(&mut self, to: NodeId, notice: &HostMessage) -> Result<(), TransportError> {
        let mut buffer = self.send_buffer();
        let written = postcard::to_slice(notice, &mut buffer).map_err(|_| CodecError::TooLong)?;
        let len = written.len();
        self.send_bytes(to, NOTICE_TAG, buffer, len)
    }

    /// Takes what has ended out of the active requests.
    fn test(&mut self, done: &mut Vec<Completion>) -> Result<(), TransportError> {
        let Self { active, sending, buffers, free, early, spares, places, host_peers, .. } = self;
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
            Owner::Receive { from, segment, slot } if cancelled => {
                let slot = match host_peers {
                    Some(peers) => peers.take_slot(from, segment, slot).err(),
                    None => Some(slot),
                };
                done.extend(slot.map(|slot| Completion::Forgotten { slot }));
            }
            Owner::HostInbox { buffer } => {
                let buffer = buffer.into_box();
                let unplaced = NodeId(u32::try_from(source).unwrap_or_default());
                let from = places.peer_at(source).unwrap_or(unplaced);
                if let Some(peers) = host_peers {
                    let heard = peers.hear(from, &buffer[..count.min(buffer.len())]);
                    bad = bad.take().or(heard.err());
                    peers.free.push(buffer);
                }
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
        bad.map_or(Ok(()), Err)
    }

    /// Does what the notices say that came. Returns whether a receive is being cancelled for one.
    fn follow_notices(&mut self) -> Result<bool, TransportError> {
        let Some(mut peers) = self.host_peers.take() else { return Ok(false) };
        let followed = self.follow(&mut peers);
        self.host_peers = Some(peers);
        followed
    }

    fn follow(&mut self, peers: &mut HostPeers) -> Result<bool, TransportError> {
        let mut cancels = false;
        while let Some(buffer) = peers.free.pop() {
            let owner = Owner::HostInbox { buffer: Buffer::new(buffer) };
            self.active.receive(self.messages.as_raw(), any_source(), NOTICE_TAG, owner)?;
        }
        for (from, notice) in std::mem::take(&mut peers.heard) {
            match notice {
                HostMessage::Ready { segment, offset, bytes } => {
                    if self.cancel_receive(from, segment)? {
                        peers.await_slot(from, (segment, offset, bytes));
                        cancels = true;
                    } else {
                        // The request ended when its holder was lost, which is only late.
                        self.notify(from, &HostMessage::Copied { segment })?;
                    }
                }
                HostMessage::Copied { segment } => {
                    if peers.take_served(from, segment).is_some() {
                        self.sending -= 1;
                        self.sent.push((from, segment));
                    }
                }
                HostMessage::Unreadable { segment } => {
                    if let Some(payload) = peers.take_served(from, segment) {
                        self.sending -= 1;
                        // In a message, as `peers` is not in its place meanwhile.
                        self.serve(from, segment, payload)?;
                    }
                }
            }
        }
        Ok(cancels)
    }

    fn copy_segments(&mut self, done: &mut Vec<Completion>) -> Result<(), TransportError> {
        let Some(peers) = &mut self.host_peers else { return Ok(()) };
        let mut copied = Vec::new();
        peers.copy(&mut copied)?;
        for copied in copied {
            match copied {
                Copied::Arrived { from, segment, slot } => {
                    self.notify(from, &HostMessage::Copied { segment })?;
                    done.push(Completion::Arrived { from, segment, slot });
                }
                Copied::Unreadable { from, segment, slot } => {
                    self.expect(from, segment, slot)?;
                    self.notify(from, &HostMessage::Unreadable { segment })?;
                }
            }
        }
        Ok(())
    }
}

impl Transport for MpiTransport {
    fn send(&mut self, to: NodeId, message: &Message) -> Result<(), TransportError> {
        let mut buffer = self.send_buffer();
        let mut len = codec::encode(message, &mut buffer)?.len();
        if let Some(bytes) = self.replace.as_mut().and_then(|with| with(message, &buffer[..len])) {
            // Buffers are used again: none is shorter than a message can be.
            len = bytes.len();
            buffer = bytes.into_iter().chain([0; MESSAGE_BYTES_MAX]).collect();
        }
        self.send_bytes(to, MESSAGE_TAG, buffer, len)
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
        self.cancel_receive(from, segment).map(|_| ())
    }

    fn serve(
        &mut self,
        to: NodeId,
        segment: SegmentId,
        payload: SealedSegment,
    ) -> Result<(), TransportError> {
        let payload = match &mut self.host_peers {
            Some(peers) => match peers.serve(to, segment, payload) {
                // It counts as sent when the receiver has copied it.
                Ok(notice) => {
                    self.sending += 1;
                    return self.notify(to, &notice);
                }
                Err(payload) => payload,
            },
            None => payload,
        };
        self.sending += 1;
        let owner = Owner::Serve { to, segment, payload };
        // A standard send of a short segment is eager: MPI buffers it and reports it as sent while it
        // still waits for the link. A synchronous send ends when the receiver has matched it.
        let mode = if self.synchronous { Mode::Synchronous } else { Mode::Standard };
        let rank = self.places.rank_of(to).ok_or(TransportError::NoSuchNode(to))?;
        self.active.send(self.segments.as_raw(), rank, tag(segment), mode, owner)
    }

    fn lose(&mut self, node: NodeId) {
        let Some(peers) = &mut self.host_peers else { return };
        let ended = peers.stop_serving(node);
        self.sending -= ended.len();
        self.sent.extend(ended.into_iter().map(|segment| (node, segment)));
    }

    fn poll(&mut self, events: &mut PolledEvents) -> Result<(), TransportError> {
        self.spares.extend(events.messages.drain(..).map(|(_, message)| message));
        events.completions.clear();
        self.test(&mut events.completions)?;
        if self.host_peers.as_ref().is_some_and(|peers| peers.has_work()) {
            if self.follow_notices()? {
                // A cancelled receive ends with the next test: its segment need not wait for another poll.
                self.test(&mut events.completions)?;
            }
            self.copy_segments(&mut events.completions)?;
        }
        let sent = self.sent.drain(..);
        events.completions.extend(sent.map(|(to, segment)| Completion::Sent { to, segment }));
        self.pass_messages_on(events)
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
