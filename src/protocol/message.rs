//! The messages between nodes, and the bounds on each.

use arrayvec::ArrayVec;
use serde::{Deserialize, Serialize};

use crate::config::{
    BLOCKS_MAX, FAILED_FETCHES_MAX, FAILED_FILES_MAX, HANDOUT_MAX, HOLDERS_MAX, PROBLEM_BYTES_MAX,
    PROBLEMS_MAX, WINDOW_MAX,
};
use crate::manifest::{Block, FileId, NodeId, SegmentId};
use crate::verify::Digest;

/// Everything that nodes say to each other.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Message {
    /// Peer to tracker: part of what it has and wants.
    Register(Part),
    /// Tracker to peer: that part has come, send the next.
    Registered {
        /// Which part.
        index: u32,
    },
    /// Peer to tracker: tell me how the files I named are numbered, from this part on.
    Describe {
        /// Which part.
        index: u32,
    },
    /// Tracker to peer: part of the catalogue.
    Described(Part),
    /// Peer to tracker: there is room here for all that I want, or I say why not.
    Ready {
        /// What stands in the way, at most [`crate::config::PROBLEM_BYTES_MAX`] long.
        problem: Option<Box<str>>,
    },
    /// Tracker to peer: all are ready, ask.
    Open,
    /// Peer to tracker: what I have verified since, and what I lack.
    Ask(Ask),
    /// Tracker to peer: segments to fetch, and from whom.
    Handout(Handout),
    /// Peer to tracker: a whole file has its name.
    Finished {
        /// Which file.
        file: FileId,
    },
    /// Peer to tracker: all that I want and that can be had is verified.
    Complete {
        /// How many segments that are.
        segments: u32,
    },
    /// Peer to tracker: and all of it has its name, or I say here why not.
    Done(Box<DoneReport>),
    /// Tracker to peer: I heard that, and there is nothing to say to it yet.
    Acknowledged {
        /// The last ask that was heard; what it announced is confirmed.
        answers: u32,
        /// As in [`Handout::busy`].
        busy: bool,
    },
    /// Tracker to peer: the run is over.
    Stop,
    /// Peer to tracker: nothing more will come from me.
    Bye,
    /// Peer to holder: send me these segments; a slot is ready for each.
    Request {
        /// Which segments.
        segments: ArrayVec<SegmentId, HANDOUT_MAX>,
    },
    /// Holder to peer: not from me, not now.
    Decline {
        /// Which segment.
        segment: SegmentId,
    },
    /// Peer to holder: I don't need this segment from you any more.
    Withdraw {
        /// Which segment.
        segment: SegmentId,
    },
    /// Holder to peer: it will not come from me.
    Withdrawn {
        /// Which segment.
        segment: SegmentId,
    },
}

/// A part of something too long for one message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// Which part, from 0.
    pub index: u32,
    /// Whether it is the last one.
    pub last: bool,
    /// Its bytes, at most [`crate::config::PART_BYTES_MAX`].
    pub bytes: Vec<u8>,
}

/// What a peer tells the tracker while it downloads.
///
/// An ask may be said again, and a newer one replaces an older one: nothing in it counts twice.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Ask {
    /// Counts the asks of this peer.
    pub sequence: u32,
    /// How many segments it can take on.
    pub room: u16,
    /// It says no more before it hears that this was heard: the tracker was busy.
    pub waits: bool,
    /// The blocks show segments that were asked for and have not come: another holder, please.
    pub end_game: bool,
    /// Segments that it lacks and was not given, as far as they fit.
    pub blocks: ArrayVec<Block, BLOCKS_MAX>,
    /// Segments that it verified and the tracker has not confirmed.
    pub verified: ArrayVec<SegmentId, WINDOW_MAX>,
    /// How many of them, the first ones, the ask before this one has named too.
    pub known: u16,
    /// Segments that it was given and could not get.
    pub failed: ArrayVec<FailedFetch, FAILED_FETCHES_MAX>,
}

impl Ask {
    /// The verified segments that a tracker may not know of whose last ask was `heard`: whoever heard
    /// the one just before this need not look at the rest again.
    pub(crate) fn verified_since(&self, heard: u32) -> &[SegmentId] {
        let is_next = heard.checked_add(1) == Some(self.sequence);
        let known = if is_next { usize::from(self.known) } else { 0 };
        &self.verified[known.min(self.verified.len())..]
    }

    /// Takes over what another one asks for, but not what it tells.
    pub(crate) fn copy_request(&mut self, other: &Self) {
        let Self { sequence, room, waits, end_game, ref blocks, .. } = *other;
        (self.sequence, self.room, self.waits, self.end_game) = (sequence, room, waits, end_game);
        self.blocks.clone_from(blocks);
    }
}

/// A segment that could not be had as the tracker meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailedFetch {
    /// Which segment.
    pub segment: SegmentId,
    /// The holder that was asked last.
    pub holder: NodeId,
    /// What went wrong there.
    pub failure: FetchFailure,
    /// The ask that said so first: what was heard once does not count again.
    pub said: u32,
}

/// Why a segment did not come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FetchFailure {
    /// Every holder named was busy.
    Busy,
    /// The holder did not send it in time.
    TimedOut,
    /// The holder sent something else.
    Corrupt,
    /// The holder is gone.
    Gone,
}

/// What the tracker answers to an ask.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Handout {
    /// The ask that this answers; what it announced is confirmed.
    pub answers: u32,
    /// Nobody has, and nobody will have, the segments that the ask showed interest in.
    pub unobtainable: bool,
    /// More will come in answer to the same ask: it waits until there is something.
    pub open: bool,
    /// The tracker falls behind: who has more to say should wait until it was heard.
    pub busy: bool,
    /// What to fetch.
    pub entries: ArrayVec<HandoutEntry, HANDOUT_MAX>,
}

/// One segment to fetch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HandoutEntry {
    /// Which segment.
    pub segment: SegmentId,
    /// Its registered SHA-256.
    pub digest: Digest,
    /// Whom to ask, best first.
    pub holders: ArrayVec<NodeId, HOLDERS_MAX>,
}

/// What a peer says when it is done.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DoneReport {
    /// How many segments it verified.
    pub segments: u32,
    /// What went wrong here, a line each, at most [`crate::config::PROBLEM_BYTES_MAX`] long.
    pub problems: ArrayVec<Box<str>, PROBLEMS_MAX>,
    /// How much more went wrong.
    pub more_problems: u32,
    /// Wanted files that could not be had although somebody owns them, at most
    /// [`crate::config::FAILED_FILES_MAX`].
    pub failed_files: Vec<FileId>,
    /// How many more could not be had.
    pub more_failed_files: u32,
}

impl DoneReport {
    /// Something went wrong: a line for people, shortened to what a message has room for.
    pub(crate) fn add_problem(&mut self, problem: &str) {
        if self.problems.is_full() {
            self.more_problems += 1;
        } else {
            self.problems.push(shortened(problem).into());
        }
    }

    /// A wanted file could not be had.
    pub(crate) fn add_failed(&mut self, file: FileId) {
        if self.failed_files.len() < FAILED_FILES_MAX {
            self.failed_files.push(file);
        } else {
            self.more_failed_files += 1;
        }
    }
}

/// A line for people, no longer than a message has room for.
pub(crate) fn shortened(problem: &str) -> &str {
    let mut ends = (0..=PROBLEM_BYTES_MAX.min(problem.len())).rev();
    let end = ends.find(|&end| problem.is_char_boundary(end)).unwrap_or(0);
    &problem[..end]
}
