//! The messages between nodes, and the bounds on each.

use arrayvec::ArrayVec;
use serde::{Deserialize, Serialize};

use crate::config::{
    BLOCKS_MAX, FAILED_FETCHES_MAX, FAILED_FILES_MAX, FRAGMENT_LOG2_MOST, HANDOUT_MAX, HOLDERS_MAX,
    PROBLEM_BYTES_MAX, PROBLEMS_MAX, WINDOW_MAX,
};
use crate::manifest::{Block, FileId, NodeId, SegmentId};
use crate::verify::Digest;

/// Everything that nodes say to each other.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names say what they hold")]
pub enum Message {
    /// Peer to tracker: part of what it has and wants.
    Register(Part),
    /// Tracker to peer: that part has come.
    Registered { index: u32 },
    /// Peer to tracker: send this part of my catalogue.
    Describe { index: u32 },
    /// Tracker to peer: part of the catalogue.
    Described(Part),
    /// Peer to tracker: I have reserved memory for all that I want, or could not.
    Ready {
        /// Why it could not, at most [`crate::config::PROBLEM_BYTES_MAX`] long.
        problem: Option<Box<str>>,
    },
    /// Tracker to peer: all peers are ready; asks are welcome.
    Open,
    /// Peer to tracker: what I have verified, and what I lack.
    Ask(Ask),
    /// Tracker to peer: segments to fetch, and from whom.
    Handout(Handout),
    /// Peer to tracker: I have verified all that I want and can get.
    Complete {
        /// How many segments I verified.
        segments: u32,
    },
    /// Peer to tracker: and I have published the files, or could not.
    Done(Box<DoneReport>),
    /// Tracker to peer: your message arrived; there is no other answer yet.
    Acknowledged {
        /// The last ask that arrived; what it announced is confirmed.
        answers: u32,
        busy: bool,
    },
    /// Tracker to peer: this node is lost, and nothing more will come from it. A peer that is told this of itself was
    /// silent for too long: the others go on without it.
    Lost { node: NodeId },
    /// Tracker to peer: the run is over.
    Stop,
    /// Peer to tracker: this is my last message.
    Bye,
    /// Peer to holder: send me these segments; a slot is ready for each.
    Request { segments: ArrayVec<RequestedSegment, HANDOUT_MAX> },
    /// Holder to peer: I can't send this segment now. This answer and those below name the request.
    Decline { segment: SegmentId, request: u32 },
    /// Holder to peer: I can't send this segment at all.
    Unservable { segment: SegmentId, request: u32 },
    /// Peer to holder: don't send this segment. Between neighbours that choose, with [`UNNUMBERED`]: I wait for it no
    /// more, and take it if it comes.
    Withdraw { segment: SegmentId, request: u32 },
    /// Holder to peer: I will not send it.
    Withdrawn { segment: SegmentId, request: u32 },
    /// Holder to neighbour: I can send you this segment; it answers with a request or a refusal.
    Offer { segment: SegmentId },
    /// Neighbour to holder: don't send it.
    Refuse {
        segment: SegmentId,
        /// Enough is on its way to it; otherwise it has the segment, or another one sends it.
        is_full: bool,
    },
    /// Peer to neighbour: I have this segment, or it is on its way to me.
    Coming { segment: SegmentId },
    /// Peer to neighbour: of these blocks I have these segments, or they are on their way to me, and no others.
    Holds {
        blocks: ArrayVec<Block, BLOCKS_MAX>,
        /// Instead: I neither have these segments nor want them.
        left_out: bool,
    },
    /// Peer to neighbour: answer at once. I wait for something from you.
    Probe,
    /// The answer.
    Alive,
    /// Node to a peer below it in the report tree: tell me how far you and the peers below you are.
    Query,
    /// Peer to a node above it in the report tree: how far it and the peers below it are.
    Subtree(Box<SubtreeReport>),
    /// Peer to tracker, where peers decide: I am there, and have verified so many segments.
    Progress { segments: u32 },
    /// Tracker to peer, where peers decide: digests of segments that sources have read.
    Digests {
        /// At most [`crate::config::DIGESTS_MAX`].
        read: Vec<ReadSegment>,
        /// Nothing is left to read: no other digest comes, unless a source is lost.
        is_over: bool,
    },
}

/// How far all peers of a subtree of the report tree are, and what has changed since its last report.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubtreeReport {
    /// What all its living peers have in common.
    pub summary: SubtreeSummary,
    /// Peers that have everything, at most [`crate::config::SUBTREE_NODES_MAX`], and how many ns ago they had.
    pub finished: Vec<(NodeId, u64)>,
    /// Peers that answer no more, as many at most.
    pub lost: Vec<NodeId>,
}

/// What the living peers of a subtree have in common.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubtreeSummary {
    /// How far the least of them is.
    pub stage: SubtreeStage,
    /// What they lack, where they are settled.
    pub lacking: Lacking,
}

/// How far a peer of a broadcast is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum SubtreeStage {
    /// It learns what there is, and reserves memory.
    #[default]
    Preparing,
    /// It is ready, or exchanges segments.
    Ready,
    /// It has everything, or nobody offers it what it lacks.
    Settled,
    /// It has heard of the end.
    Leaving,
}

/// The segments that peers lack.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lacking {
    /// How many the peer lacks that lacks most.
    pub count: u32,
    /// The sum of a hash of each: equal where the segments are.
    pub hash: u64,
    /// Whether some peers lack others.
    pub differs: bool,
    /// The first of them.
    pub first: ArrayVec<SegmentId, PROBLEMS_MAX>,
}

/// A segment that is requested, and where its receiver waits for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestedSegment {
    /// Which segment.
    pub segment: SegmentId,
    /// Counts the requests of this peer from 1, or is [`UNNUMBERED`]. An answer to an earlier request for the segment
    /// is thus not taken for one to this: the holder may be sending it.
    pub request: u32,
    /// Added by the transport.
    pub posted: PostedReceives,
}

/// In place of the number of a request, where peers need none to tell their requests apart.
pub const UNNUMBERED: u32 = 0;

impl From<SegmentId> for RequestedSegment {
    fn from(segment: SegmentId) -> Self {
        Self { segment, request: UNNUMBERED, posted: PostedReceives::default() }
    }
}

/// The receives that are posted for a requested segment. The transport of the receiver adds them to the
/// request, and that of the holder sends by them. None is posted for a slot of up to
/// [`crate::config::PACKED_SLOT_MAX`] bytes: its segment comes with others in one message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PostedReceives {
    /// Their tag, below [`crate::config::REQUEST_TAGS`]; of a short slot its own one.
    pub tag: u16,
    /// Each takes 2 to this power of bytes, and the last one what is left of the slot.
    // The exponent: no number of the wire is then anything but a power of two.
    pub fragment_log2: u8,
    /// How long the slot is. A segment may be shorter.
    pub slot_bytes: u32,
}

/// Those of a transport that needs none: a segment comes as one.
impl Default for PostedReceives {
    fn default() -> Self {
        Self { tag: 0, fragment_log2: FRAGMENT_LOG2_MOST, slot_bytes: u32::MAX }
    }
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
/// An ask can be lost or sent twice: it carries everything that is not confirmed, and a newer one
/// replaces an older one, so that nothing counts twice.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Ask {
    /// Counts the asks of this peer.
    pub sequence: u32,
    /// Its credit: how many segments it may be handed.
    pub room: u16,
    /// The tracker was busy, or the peer has more to tell than fits: it sends no more before this is
    /// acknowledged.
    pub waits: bool,
    /// The blocks name segments that were requested and are late: it wants other holders for them.
    pub end_game: bool,
    /// Segments that it lacks and was not handed, as far as they fit.
    pub blocks: ArrayVec<Block, BLOCKS_MAX>,
    /// Segments that it verified and the tracker has not confirmed.
    pub verified: ArrayVec<SegmentId, WINDOW_MAX>,
    /// How many of them, the first ones, were in the ask before this one too.
    pub known: u16,
    /// Segments that it was handed and could not get.
    pub failed: ArrayVec<FailedFetch, FAILED_FETCHES_MAX>,
    // Not inline: a message would be half as large again, and few asks have any.
    /// Segments that it read from a source, and the tracker has not confirmed; at most [`WINDOW_MAX`].
    pub read: Vec<ReadSegment>,
    /// Why it could not read one, at most [`PROBLEM_BYTES_MAX`] long, until the tracker has confirmed it.
    pub problem: Option<Box<str>>,
}

/// A segment that was read from a source, and its digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names say what they hold")]
pub struct ReadSegment {
    pub segment: SegmentId,
    pub digest: Digest,
}

impl Ask {
    /// The verified segments that are new to a tracker whose last ask of this peer was `last`: all
    /// of them, unless that was the one just before this.
    pub(crate) fn verified_since(&self, last: u32) -> &[SegmentId] {
        let is_next = last.checked_add(1) == Some(self.sequence);
        let known = if is_next { usize::from(self.known) } else { 0 };
        &self.verified[known.min(self.verified.len())..]
    }

    /// Whether a segment is among those that it lacks.
    pub(crate) fn shows(&self, segment: SegmentId) -> bool {
        let Block { index, bits } = Block::of(segment);
        self.blocks.iter().any(|block| block.index == index && block.bits & bits != 0)
    }

    /// Copies what another ask requests, without what it announces.
    pub(crate) fn copy_request(&mut self, other: &Self) {
        let Self { sequence, room, waits, end_game, ref blocks, .. } = *other;
        (self.sequence, self.room, self.waits, self.end_game) = (sequence, room, waits, end_game);
        self.blocks.clone_from(blocks);
    }
}

/// A segment that did not come from the holders that the tracker named.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailedFetch {
    /// Which segment.
    pub segment: SegmentId,
    /// The holder that was asked last.
    pub holder: NodeId,
    /// What went wrong.
    pub failure: FetchFailure,
    /// The first ask that reported it. A tracker that has had this ask ignores the report.
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
    /// The holder has lost it.
    Unservable,
    /// It was to be read, and the source does not give it.
    Unreadable,
}

/// What the tracker answers to an ask.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Handout {
    /// The ask that this answers; what it announced is confirmed.
    pub answers: u32,
    /// Nobody will ever have the segments of the ask.
    pub unobtainable: bool,
    /// The ask waits at the tracker, and more handouts will answer it.
    pub open: bool,
    /// The tracker falls behind: the next ask should wait for an acknowledgement.
    pub busy: bool,
    /// What to fetch.
    pub entries: ArrayVec<HandoutEntry, HANDOUT_MAX>,
}

// No SHA-256 that anybody knows how to produce. An `Option` would cost every handout a byte an entry.
/// The digest of a segment that nobody has read.
pub const UNREAD: Digest = Digest([0; 32]);

/// One segment to fetch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HandoutEntry {
    /// Which segment.
    pub segment: SegmentId,
    /// Its digest; [`UNREAD`] where nobody has read it.
    pub digest: Digest,
    /// Whom to ask, best first. The peer itself, alone: it is to read the segment from its source.
    pub holders: ArrayVec<NodeId, HOLDERS_MAX>,
}

/// A peer's report when it is done.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DoneReport {
    /// How many segments it verified.
    pub segments: u32,
    /// How many files have their final names.
    pub files: u32,
    /// Problems, one line each, at most [`crate::config::PROBLEM_BYTES_MAX`] long.
    pub problems: ArrayVec<Box<str>, PROBLEMS_MAX>,
    /// How many more problems there were.
    pub more_problems: u32,
    /// Wanted files of which a segment stayed corrupt, a segment each.
    pub corrupt: ArrayVec<CorruptSegment, PROBLEMS_MAX>,
    /// How many more there were.
    pub more_corrupt: u32,
    /// Wanted files that it did not get although somebody owns them, at most
    /// [`crate::config::FAILED_FILES_MAX`].
    pub failed_files: Vec<FileId>,
    /// How many more it did not get.
    pub more_failed_files: u32,
    /// Why it dropped out, if it did, at most [`crate::config::PROBLEM_BYTES_MAX`] long.
    pub broken: Option<Box<str>>,
}

/// A segment that came from a holder and did not match its digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names say what they hold")]
pub struct CorruptSegment {
    pub segment: SegmentId,
    pub holder: NodeId,
    pub times: u32,
}

impl Lacking {
    /// Adds a segment to the hash and, as far as there is room, to the names.
    pub(crate) fn add(&mut self, segment: SegmentId) {
        // SplitMix64's finalizer: sums of mixed numbers collide as rarely as random ones.
        let mut mixed = (u64::from(segment.0) + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        self.hash = self.hash.wrapping_add(mixed ^ (mixed >> 31));
        if !self.first.is_full() {
            self.first.push(segment);
        }
    }
}

impl DoneReport {
    /// Adds a problem, shortened to what a message has room for.
    pub(crate) fn add_problem(&mut self, problem: &str) {
        if self.problems.is_full() {
            self.more_problems += 1;
        } else {
            self.problems.push(shortened(problem).into());
        }
    }

    /// Adds a file that it did not get, and a segment of it that stayed corrupt, if one did.
    pub(crate) fn add_failed(&mut self, file: FileId, corrupt: Option<CorruptSegment>) {
        if let Some(corrupt) = corrupt {
            self.more_corrupt += u32::from(self.corrupt.try_push(corrupt).is_err());
        } else if self.failed_files.len() < FAILED_FILES_MAX {
            self.failed_files.push(file);
        } else {
            self.more_failed_files += 1;
        }
    }
}

/// The first [`PROBLEM_BYTES_MAX`] bytes of a text, in whole characters.
pub(crate) fn shortened(problem: &str) -> &str {
    let mut ends = (0..=PROBLEM_BYTES_MAX.min(problem.len())).rev();
    let end = ends.find(|&end| problem.is_char_boundary(end)).unwrap_or(0);
    &problem[..end]
}
