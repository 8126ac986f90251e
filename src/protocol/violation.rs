//! What no node may say: a message that its sender may not send, or that names what there is not.
//!
//! A node checks every message before it acts on it. The first that can't be is the end of the run: whoever
//! sent it has lost its memory or is another program, and what else it said can't be trusted either.

use crate::config::{
    FAILED_FILES_MAX, FRAGMENT_LOG2_LEAST, FRAGMENT_LOG2_MOST, MESSAGE_TOTAL_MAX,
    PROBLEM_BYTES_MAX, REQUEST_TAGS,
};
use crate::manifest::{Block, FileId, Geometry, NodeId, SegmentId};

use super::{DoneReport, Message, PostedReceives, ReadSegment, UNREAD};

/// An invalid message, and its sender.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{from} sent an invalid message: {violation}")]
pub struct ProtocolError {
    /// Who sent it.
    pub from: NodeId,
    /// What is wrong with it.
    pub violation: Violation,
}

/// What is wrong with a message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the message of each says what its fields are")]
pub enum Violation {
    #[error("{0}, which it may not send")]
    Kind(Box<str>),
    #[error("segment {segment} of {count}")]
    Segment { segment: u32, count: u32 },
    #[error("block {block} of segments, of which there are {count}, or twice")]
    Block { block: u32, count: u32 },
    #[error("file {file} of {count}")]
    File { file: u32, count: usize },
    #[error("rank {rank} as a holder, of {nodes} ranks")]
    Holder { rank: u32, nodes: u32 },
    #[error("{segments} segments, where {most} are wanted")]
    Count { segments: u32, most: u64 },
    #[error("an answer to ask {answers}, of {asked}")]
    Answer { answers: u32, asked: u32 },
    #[error("a problem of {bytes} bytes, of at most {PROBLEM_BYTES_MAX}")]
    Problem { bytes: usize },
    #[error("a report of {files} files, of at most {most}")]
    Report { files: usize, most: usize },
    #[error("a report of {bytes} bytes")]
    ReportBytes { bytes: i32 },
    #[error("{reads} segments read, of at most {most}")]
    Reads { reads: usize, most: usize },
    #[error("segment {segment} read, with the digest of none")]
    Unread { segment: u32 },
    #[error("{bytes} bytes, of at most {most}")]
    Bytes { bytes: i32, most: usize },
    #[error("a request of {bytes} bytes, which has 4")]
    Request { bytes: usize },
    #[error(
        "a request for fragments of 2^{log2} bytes, of 2^{FRAGMENT_LOG2_LEAST} to 2^{FRAGMENT_LOG2_MOST}"
    )]
    Fragment { log2: u8 },
    #[error("a request with tag {tag} of {REQUEST_TAGS}")]
    Tag { tag: u16 },
    #[error("a refusal of segment {segment}, which it has")]
    Refusal { segment: u32 },
    #[error("segment {segment}, which nobody asked for or has")]
    Unwanted { segment: u32 },
    #[error("a part of {bytes} bytes that is not as long as a part is")]
    Part { bytes: usize },
    #[error("parts of more than {MESSAGE_TOTAL_MAX} bytes in all: use larger segments")]
    TooLong,
    #[error("parts that do not decode together")]
    Malformed,
    #[error("a catalogue that does not fit what was registered")]
    Catalogue,
    #[error("segments {first} to {end} of {count}, or twice")]
    Listing { first: u32, end: u64, count: u32 },
    #[error("digests of {found} segments, of {count}")]
    Digests { found: usize, count: usize },
    #[error("a report of {count} peers, of at most {most}, or of peers that are not below it")]
    Subtree { count: usize, most: usize },
}

impl Violation {
    /// A kind of message that its sender may not send.
    pub(crate) fn kind(message: &impl std::fmt::Debug) -> Self {
        let text = format!("{message:?}");
        let name = text.split(|c: char| !c.is_alphanumeric()).next().unwrap_or_default();
        Self::Kind(name.into())
    }

    /// The same, with its sender.
    pub(crate) fn from(self, from: NodeId) -> ProtocolError {
        ProtocolError { from, violation: self }
    }
}

/// What the numbers of a message must stay below.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    pub(crate) nodes: u32,
    pub(crate) segments: u32,
    pub(crate) files: usize,
}

impl Bounds {
    pub(crate) fn of(geometry: &Geometry, nodes: u32) -> Self {
        Self { nodes, segments: geometry.segment_count(), files: geometry.file_count() }
    }

    pub(crate) fn segment(&self, segment: SegmentId) -> Result<(), Violation> {
        let (segment, count) = (segment.0, self.segments);
        if segment < count { Ok(()) } else { Err(Violation::Segment { segment, count }) }
    }

    pub(crate) fn file(&self, file: FileId) -> Result<(), Violation> {
        let count = self.files;
        if file.index() < count { Ok(()) } else { Err(Violation::File { file: file.0, count }) }
    }

    /// The tracker holds nothing.
    pub(crate) fn holder(&self, node: NodeId) -> Result<(), Violation> {
        let fits = (1..self.nodes).contains(&node.0);
        if fits { Ok(()) } else { Err(Violation::Holder { rank: node.0, nodes: self.nodes }) }
    }

    /// What sources have read, `most` segments at most.
    pub(crate) fn reads(&self, reads: &[ReadSegment], most: usize) -> Result<(), Violation> {
        if reads.len() > most {
            return Err(Violation::Reads { reads: reads.len(), most });
        }
        reads.iter().try_for_each(|read| match read.digest {
            UNREAD => Err(Violation::Unread { segment: read.segment.0 }),
            _ => self.segment(read.segment),
        })
    }

    /// The report of a peer that wants `wanted` segments.
    pub(crate) fn report(&self, report: &DoneReport, wanted: u64) -> Result<(), Violation> {
        check_count(report.segments, wanted)?;
        let (files, most) = (report.files as usize, self.files);
        if files > most {
            return Err(Violation::Report { files, most });
        }
        let problems = report.problems.iter().chain(&report.broken);
        problems.map(AsRef::as_ref).try_for_each(check_problem)?;
        report.corrupt.iter().try_for_each(|corrupt| {
            self.segment(corrupt.segment).and_then(|()| self.holder(corrupt.holder))
        })?;
        let (files, most) = (report.failed_files.len(), FAILED_FILES_MAX);
        if files > most {
            return Err(Violation::Report { files, most });
        }
        report.failed_files.iter().try_for_each(|&file| self.file(file))
    }

    /// Each block at most once: a segment that was shown twice would be handed out twice.
    pub(crate) fn blocks(&self, blocks: &[Block]) -> Result<(), Violation> {
        let count = self.segments.div_ceil(Block::SEGMENTS);
        // A filter of one word, since this runs for every ask: only where two blocks share a bit are
        // all of them compared.
        let mut seen = 0_u64;
        for (place, &Block { index, bits }) in blocks.iter().enumerate() {
            let bit = 1 << (index % u64::BITS);
            let twice = seen & bit != 0 && blocks[..place].iter().any(|other| other.index == index);
            seen |= bit;
            if index >= count || twice || bits & !Block::overlap(index, &(0..self.segments)) != 0 {
                return Err(Violation::Block { block: index, count });
            }
        }
        Ok(())
    }
}

/// What a holder would send by.
pub(crate) fn check_posted(posted: PostedReceives) -> Result<(), Violation> {
    let PostedReceives { tag, fragment_log2: log2, .. } = posted;
    if !(FRAGMENT_LOG2_LEAST..=FRAGMENT_LOG2_MOST).contains(&log2) {
        return Err(Violation::Fragment { log2 });
    }
    if tag < REQUEST_TAGS { Ok(()) } else { Err(Violation::Tag { tag }) }
}

pub(crate) fn check_count(segments: u32, most: u64) -> Result<(), Violation> {
    if u64::from(segments) <= most { Ok(()) } else { Err(Violation::Count { segments, most }) }
}

/// Texts of peers are printed, and have a bound.
pub(crate) fn check_problem(problem: &str) -> Result<(), Violation> {
    let bytes = problem.len();
    if bytes <= PROBLEM_BYTES_MAX { Ok(()) } else { Err(Violation::Problem { bytes }) }
}

/// Between whom a message travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Route {
    ToTracker,
    FromTracker,
    BetweenPeers,
}

impl Route {
    // One list with all kinds: a new one can't be forgotten.
    pub(crate) fn of(message: &Message) -> Self {
        match message {
            Message::Register(_)
            | Message::Describe { .. }
            | Message::Ready { .. }
            | Message::Ask(_)
            | Message::Progress { .. }
            | Message::Complete { .. }
            | Message::Done(_)
            | Message::Subtree(_)
            | Message::Bye => Self::ToTracker,
            Message::Registered { .. }
            | Message::Described(_)
            | Message::Open
            | Message::Handout(_)
            | Message::Acknowledged { .. }
            | Message::Lost { .. }
            | Message::Digests { .. }
            | Message::Query
            | Message::Stop => Self::FromTracker,
            Message::Request { .. }
            | Message::Decline { .. }
            | Message::Unservable { .. }
            | Message::Withdraw { .. }
            | Message::Withdrawn { .. }
            | Message::Offer { .. }
            | Message::Refuse { .. }
            | Message::Coming { .. }
            | Message::Holds { .. }
            | Message::Probe
            | Message::Alive => Self::BetweenPeers,
        }
    }
}
