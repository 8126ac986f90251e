//! The tracker and the peer as pure state machines ("sans I/O"), and their messages.
//!
//! Invariant: nothing here reads a clock, blocks, starts a thread or touches a payload byte. Events
//! go into a node through [`Node::handle`]; what it wants done comes out through the [`Outbox`]. The
//! driver does that with real bytes, the simulation in virtual time.

pub mod codec;
pub mod late_file;
pub mod registration;
pub mod message;
pub mod peer;
pub mod relay;
pub mod roster;
mod slow_peers;
pub mod tracker;
pub(crate) mod violation;

use std::time::Duration;

use crate::config::REGISTRATION_PATIENCE;
use crate::manifest::{FileId, NodeId, SegmentId};
use crate::time::Timestamp;
use crate::verify::Digest;

pub use message::{
    Ask, CorruptSegment, DoneReport, FailedFetch, FetchFailure, Handout, HandoutEntry, Lacking,
    Message, Part, PostedReceives, ReadSegment, RequestedSegment, SubtreeReport, SubtreeStage,
    SubtreeSummary, UNNUMBERED, UNREAD,
};
pub use peer::{Peer, Wait};
pub use registration::{LateEntry, OwnedEntry, Registration};
pub use tracker::{Outcome, Tracker};
#[cfg(feature = "mpi")]
pub(crate) use violation::Route;
pub use violation::{ProtocolError, Violation};

/// A node of the swarm.
pub trait Node {
    /// Handles an event at `now`, and adds what is to be done to `out`.
    ///
    /// # Errors
    ///
    /// When the event is a message that can't be. The node then knows nothing of it, and the run ends.
    fn handle(
        &mut self,
        now: Timestamp,
        input: Input<'_>,
        out: &mut Outbox,
    ) -> Result<(), ProtocolError>;

    /// When the node wants [`Input::Deadline`] if no other event comes before.
    fn deadline(&self) -> Option<Timestamp>;

    /// What the node waits for while nothing happens; none before the run is open, and at the end.
    fn waits_for(&self) -> Option<Wait>;

    /// How long the node may hear nothing before its run counts as broken. A node with deadlines of its own
    /// has such a limit only when it has `finished` and what it sent must still leave.
    fn quiet_max(&self, _finished: bool) -> Option<Duration> {
        Some(REGISTRATION_PATIENCE)
    }

    /// Whether the node may end although not all that it sent has left: its receiver is lost.
    fn may_leave_unsent(&self) -> bool {
        false
    }
}

/// An event at a node.
#[derive(Clone, Debug, PartialEq)]
#[expect(missing_docs, reason = "the names say what they hold")]
pub enum Input<'a> {
    Start,
    /// The time of [`Node::deadline`] has come.
    Deadline,
    Message {
        from: NodeId,
        message: &'a Message,
    },
    /// An expected segment is in its slot, unchecked.
    Arrived {
        from: NodeId,
        segment: SegmentId,
    },
    /// A served segment has left, or its receiver is gone: its slot is not read for this receiver
    /// any more. Comes once for every [`Output::Serve`].
    Sent {
        to: NodeId,
        segment: SegmentId,
    },
    Checked {
        from: NodeId,
        segment: SegmentId,
        /// Whether it is the registered segment.
        verdict: CheckResult,
    },
    /// A segment was read from the source, hashed and stored, so that it is verified. Comes once for
    /// every [`Output::Read`].
    Read {
        segment: SegmentId,
        /// Its digest, or why it can't be read, for people to read.
        result: Result<Digest, Box<str>>,
    },
    /// How many segments may be in flight from now on; without this input there is no limit but the
    /// window.
    Room {
        slots: usize,
    },
    /// The peer can keep nothing more: it fetches nothing more, and the others go on.
    Broken {
        /// Why, for people to read.
        problem: Box<str>,
    },
    /// In place of [`Input::Sent`]: a segment that was to be served can't be had any more.
    Unservable {
        to: NodeId,
        segment: SegmentId,
    },
    /// Slots are reserved, or could not be.
    Reserved {
        /// Why not, for people to read.
        problem: Option<Box<str>>,
    },
    /// A whole file has its final name, or could not get it.
    Published {
        file: FileId,
        /// Why not, for people to read.
        problem: Option<Box<str>>,
    },
    /// All events have been handled, and no more have come.
    Idle,
    Lost {
        node: NodeId,
    },
}

/// Whether a segment's digest is the registered one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CheckResult {
    /// It is: the segment may be served and counted.
    Valid,
    /// It is not: the segment was dropped.
    Corrupt,
}

/// What a node wants done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say what they hold")]
pub enum Output {
    Send {
        to: NodeId,
        message: MessageIndex,
    },
    /// The segments are numbered: enter the node's own, and reserve a slot for each wanted one, so
    /// that no transfer waits for memory later.
    Reserve,
    /// Make a slot ready for a segment, before it is asked for.
    Expect {
        from: NodeId,
        segment: SegmentId,
    },
    Serve {
        to: NodeId,
        requested: RequestedSegment,
    },
    /// Drop a segment that was expected or has arrived; also one that was read, and is another one than
    /// other sources have read.
    Forget {
        /// Who was to send it: the node itself, where it was read.
        from: NodeId,
        segment: SegmentId,
    },
    /// Check a segment that has arrived.
    Check {
        from: NodeId,
        segment: SegmentId,
        /// What its digest must be.
        digest: Digest,
    },
    /// Read a segment from the source into a slot. It may be one that the peer holds: nobody knows its
    /// digest yet.
    Read {
        segment: SegmentId,
    },
    /// Give a whole file its final name.
    Publish {
        file: FileId,
    },
    /// The node wants nothing more.
    Finish,
}

/// Which message of an [`Outbox`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MessageIndex(usize);

// Outputs are collected and performed later, not called back: the node stays free of I/O, and no borrow
// of it is alive while bytes move (the sans-I/O pattern).
/// What a node wants done, in order. The memory is used again by every call.
// Messages have a list of their own: outputs are copied often, and stay small without them.
#[derive(Debug, Default)]
pub struct Outbox {
    outputs: Vec<Output>,
    messages: Vec<Message>,
    /// How many outputs were taken out.
    taken: usize,
}

impl Outbox {
    /// Adds something to be done.
    pub fn push(&mut self, output: Output) {
        self.outputs.push(output);
    }

    /// Adds a message to be sent.
    pub fn send(&mut self, to: NodeId, message: Message) {
        self.push(Output::Send { to, message: MessageIndex(self.messages.len()) });
        self.messages.push(message);
    }

    /// Adds one message to be sent to several nodes, one after the other.
    pub fn send_all(&mut self, to: impl IntoIterator<Item = NodeId>, message: Message) {
        let index = MessageIndex(self.messages.len());
        self.messages.push(message);
        let outputs = to.into_iter().map(|to| Output::Send { to, message: index });
        self.outputs.extend(outputs);
    }

    /// How many outputs there are; to be called while none is taken out.
    pub fn len(&self) -> usize {
        self.outputs.len()
    }

    /// The receivers of messages behind the first `count` outputs, in order.
    pub fn receivers_after(&self, count: usize) -> impl Iterator<Item = NodeId> + '_ {
        let sent = |output: &Output| {
            if let Output::Send { to, .. } = output { Some(*to) } else { None }
        };
        self.outputs[count..].iter().filter_map(sent)
    }

    /// Takes out the next output; none, and the outbox is empty again, if there is no more.
    pub fn take(&mut self) -> Option<Output> {
        let output = self.outputs.get(self.taken).copied();
        self.taken += 1;
        if output.is_none() {
            self.outputs.clear();
            self.messages.clear();
            self.taken = 0;
        }
        output
    }

    /// Takes out the other receivers of the message of the output that was taken out last.
    pub fn take_receivers(&mut self, message: MessageIndex) -> impl Iterator<Item = NodeId> + '_ {
        std::iter::from_fn(move || match self.outputs.get(self.taken) {
            Some(&Output::Send { to, message: next }) if next == message => {
                self.taken += 1;
                Some(to)
            }
            _ => None,
        })
    }

    /// The message of the output that was taken out last.
    pub fn read(&self, message: MessageIndex) -> &Message {
        &self.messages[message.0]
    }

    /// Whether all outputs were taken out.
    pub fn is_empty(&self) -> bool {
        self.taken == self.outputs.len()
    }
}
