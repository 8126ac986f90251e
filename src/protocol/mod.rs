//! What is said? The tracker and the peer as pure state machines, and their messages.
//!
//! Invariant: nothing here reads a clock, blocks, starts a thread or touches a payload byte. What
//! happens to a node comes in through [`Node::handle`]; what it wants done goes out through the
//! [`Outbox`]. The driver does it with real bytes, the simulation in virtual time.

pub mod codec;
pub mod enrolment;
pub mod message;
pub mod peer;
pub mod relay;
pub mod roster;
pub mod tracker;

use crate::manifest::{FileId, NodeId, SegmentId};
use crate::time::Timestamp;
use crate::verify::Digest;

pub use enrolment::{Enrolment, OwnedEntry};
pub use message::{Ask, Cause, Farewell, Handout, HandoutEntry, Message, Part, Return};
pub use peer::{Peer, Wait};
pub use tracker::{Outcome, Tracker};

/// A node of the swarm: pure. It never blocks, reads no clock, touches no payload.
pub trait Node {
    /// Takes in what happened at `now`, and adds what is to be done to `out`.
    fn handle(&mut self, now: Timestamp, input: Input<'_>, out: &mut Outbox);

    /// When the node wants [`Input::Deadline`] if nothing else happens before.
    fn deadline(&self) -> Option<Timestamp>;

    /// What the node waits for while nothing happens; none before the run is open, and at the end.
    fn waits_for(&self) -> Option<Wait>;

    /// Whether the node may end although not all that it sent has left: its receiver is lost.
    fn may_leave_unsent(&self) -> bool {
        false
    }
}

/// What can happen to a node.
#[derive(Clone, Debug, PartialEq)]
pub enum Input<'a> {
    /// The run begins.
    Start,
    /// The time that [`Node::deadline`] named has come.
    Deadline,
    /// A message came in.
    Message {
        /// Who sent it.
        from: NodeId,
        /// What it says.
        message: &'a Message,
    },
    /// A segment that was expected lies in its slot, unchecked.
    Arrived {
        /// Who sent it.
        from: NodeId,
        /// Which segment.
        segment: SegmentId,
    },
    /// A segment that was served has left, or its receiver is gone: its slot is no longer read for
    /// this receiver. Comes once for every [`Output::Serve`].
    Sent {
        /// Who gets it.
        to: NodeId,
        /// Which segment.
        segment: SegmentId,
    },
    /// A check has ended.
    Checked {
        /// Who sent the segment.
        from: NodeId,
        /// Which segment.
        segment: SegmentId,
        /// Whether it is what its owner registered.
        verdict: CheckResult,
    },
    /// Slots are reserved, or could not be.
    Reserved {
        /// What stood in the way, for people to read.
        trouble: Option<Box<str>>,
    },
    /// A whole file has got its name, or could not get it.
    Published {
        /// Which file.
        file: FileId,
        /// What stood in the way, for people to read.
        trouble: Option<Box<str>>,
    },
    /// All that came has been handled, and nothing else has come.
    Idle,
    /// A node is gone.
    Lost {
        /// Which node.
        node: NodeId,
    },
}

/// Whether a segment's SHA-256 is the registered one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CheckResult {
    /// It is: the segment may be served and counted.
    Valid,
    /// It is not: the segment was dropped.
    Corrupt,
}

/// What a node can want done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// Send a message.
    Send {
        /// To whom.
        to: NodeId,
        /// Which.
        message: MessageIndex,
    },
    /// The segments have numbers: enter the own ones, and reserve a slot for each wanted one, so
    /// that no transfer waits for memory later.
    Reserve,
    /// Make a slot ready for a segment, before it is asked for.
    Expect {
        /// Who will send it.
        from: NodeId,
        /// Which segment.
        segment: SegmentId,
    },
    /// Send a segment that was verified.
    Serve {
        /// To whom.
        to: NodeId,
        /// Which segment.
        segment: SegmentId,
    },
    /// Drop what was expected or has arrived: it will not be used.
    Forget {
        /// Who was to send it.
        from: NodeId,
        /// Which segment.
        segment: SegmentId,
    },
    /// Check a segment that has arrived.
    Check {
        /// Who sent it.
        from: NodeId,
        /// Which segment.
        segment: SegmentId,
        /// What its SHA-256 must be.
        digest: Digest,
    },
    /// Give a whole file its name.
    Publish {
        /// Which file.
        file: FileId,
    },
    /// Nothing more will come from this node.
    Finish,
}

/// Which message of an [`Outbox`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MessageIndex(usize);

/// What a node wants done, in order. The same memory serves every call. Messages lie apart: the rest
/// is small and moves often.
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

    /// How many things are to be done, when none of them is taken out.
    pub fn len(&self) -> usize {
        self.outputs.len()
    }

    /// To whom there are messages behind the first `count` things, in order.
    pub fn receivers_after(&self, count: usize) -> impl Iterator<Item = NodeId> + '_ {
        let sent = |output: &Output| {
            if let Output::Send { to, .. } = output { Some(*to) } else { None }
        };
        self.outputs[count..].iter().filter_map(sent)
    }

    /// Takes out what is to be done next. With the last thing gone, so are the messages.
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

    /// A message that is to be sent: one that an output named which was taken out last.
    pub fn read(&self, message: MessageIndex) -> &Message {
        &self.messages[message.0]
    }

    /// Whether there is nothing to be done.
    pub fn is_empty(&self) -> bool {
        self.taken == self.outputs.len()
    }
}
