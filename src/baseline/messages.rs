//! The messages of this engine. A request is a segment's number in four bytes, and a segment is its
//! payload. All others are encoded with `postcard`.

use std::fmt::Debug;

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::config::{CORRUPT_TRIES_MAX, RENEWAL_SEGMENTS};
use crate::manifest::{FileId, NodeId, SegmentId};
use crate::protocol::codec::CodecError;
use crate::protocol::registration::Catalogue;
use crate::protocol::violation::{Bounds, check_count, check_problem};
use crate::protocol::{DoneReport, Registration, Violation};
use crate::transport::TransportError;
use crate::verify::Digest;

/// A message from a peer to the tracker.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum PeerMessage {
    Register(Registration),
    /// There is room here for all that it wants, or it says why not.
    Ready {
        problem: Option<Box<str>>,
    },
    /// What it has got, and what it wants next: send the holders.
    HolderQuery(HolderQuery),
    /// A whole file has its name.
    FileFinished {
        file: FileId,
    },
    /// All files that can be had are here. `got` is what came since the last query.
    AllFinished {
        got: Vec<ReceivedSegment>,
    },
    /// And all of them have their names, or it says here why not.
    Done(Box<DoneReport>),
    /// Both threads have ended: what they measured.
    Report(Vec<u8>),
    /// The peer only has to wait. Where it waits for the tracker, it wants an answer.
    Alive {
        answer: bool,
    },
}

/// A peer's query for a list of holders.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct HolderQuery {
    pub(super) got: Vec<ReceivedSegment>,
    pub(super) next: Vec<WantedSegment>,
    /// The peer has nothing else to do. The answer comes when one of `next` can be had, or none ever
    /// will.
    pub(super) waits: bool,
}

/// A segment that a peer has verified, and from whom it came.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct ReceivedSegment {
    pub(super) segment: SegmentId,
    pub(super) holder: NodeId,
}

/// A segment that a peer wants, and the holders that sent it wrong, once for each time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct WantedSegment {
    pub(super) segment: SegmentId,
    pub(super) tried: Vec<NodeId>,
}

impl WantedSegment {
    pub(super) fn times_tried(&self, holder: NodeId) -> usize {
        self.tried.iter().filter(|&&other| other == holder).count()
    }
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) enum TrackerMessage {
    /// How the files that the peer named are numbered.
    Catalogue(Catalogue),
    Open,
    /// The run ends before it began.
    Refused,
    /// The answer to a query.
    HolderList(HolderList),
    /// All peers are done.
    Stop,
    /// The tracker is there, and the answer follows.
    Alive,
}

/// Holders of at most [`RENEWAL_SEGMENTS`] segments.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct HolderList {
    /// Empty where the peer waits and none will ever be had.
    pub(super) segments: Vec<(SegmentId, Digest)>,
    /// Those with the fewest requests first.
    pub(super) holders: Vec<PeerRequestInfo>,
}

/// A node that has or fetches the file, and how many segments it has sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct PeerRequestInfo {
    pub(super) peer: NodeId,
    /// Segments that it has sent, as far as the tracker has heard.
    pub(super) requests: u32,
    /// Bit `b`: it has said that it has segment `b` of the list, and has not sent it wrong.
    pub(super) has: u16,
}

pub(super) fn encode(message: &impl Serialize) -> Vec<u8> {
    postcard::to_allocvec(message).expect("plain data can be serialized")
}

pub(super) fn decode<T: DeserializeOwned>(from: NodeId, bytes: &[u8]) -> Result<T, TransportError> {
    let decoded = postcard::take_from_bytes(bytes).map_err(CodecError::Malformed);
    match decoded {
        Ok((message, [])) => Ok(message),
        Ok((_, rest)) => Err(CodecError::Trailing(rest.len())),
        Err(cause) => Err(cause),
    }
    .map_err(|cause| TransportError::Garbled { from, cause })
}

/// A message of a kind that does not belong where it came.
pub(super) fn misplaced(from: NodeId, message: &impl Debug) -> TransportError {
    Violation::kind(message).from(from).into()
}

impl PeerMessage {
    /// What it says was received.
    pub(super) fn received(&self) -> &[ReceivedSegment] {
        match self {
            Self::HolderQuery(HolderQuery { got, .. }) | Self::AllFinished { got } => got,
            Self::Register(_)
            | Self::Ready { .. }
            | Self::FileFinished { .. }
            | Self::Done(_)
            | Self::Report(_)
            | Self::Alive { .. } => &[],
        }
    }

    /// Whether the numbers are those of this swarm.
    pub(super) fn check(&self, bounds: &Bounds, wanted: u64) -> Result<(), Violation> {
        let (next, report) = match self {
            Self::HolderQuery(query) => (&query.next[..], None),
            Self::AllFinished { .. } => (&[][..], None),
            Self::Done(report) => (&[][..], Some(report)),
            Self::FileFinished { file } => return bounds.file(*file),
            Self::Ready { problem: Some(problem) } => return check_problem(problem),
            Self::Ready { problem: None }
            | Self::Register(_)
            | Self::Report(_)
            | Self::Alive { .. } => return Ok(()),
        };
        self.received().iter().try_for_each(|got| {
            bounds.segment(got.segment).and_then(|()| bounds.holder(got.holder))
        })?;
        check_count(u32::try_from(next.len()).unwrap_or(u32::MAX), wanted)?;
        next.iter().try_for_each(|next| bounds.segment(next.segment))?;
        report.map_or(Ok(()), |report| bounds.report(report, wanted))
    }
}

impl HolderList {
    /// Whether the numbers are those of this swarm, as a peer knows it.
    pub(super) fn check(&self, bounds: &Bounds) -> Result<(), Violation> {
        if self.segments.len() > RENEWAL_SEGMENTS {
            let segments = u32::try_from(self.segments.len()).unwrap_or(u32::MAX);
            return Err(Violation::Count { segments, most: RENEWAL_SEGMENTS as u64 });
        }
        self.segments.iter().try_for_each(|&(segment, _)| bounds.segment(segment))?;
        self.holders.iter().try_for_each(|info| bounds.holder(info.peer))
    }

    /// Whether it names what was asked for, and, to a peer that waits, who has it: otherwise that would ask
    /// again for ever.
    pub(super) fn check_answers(
        &self,
        next: &[WantedSegment],
        waits: bool,
    ) -> Result<(), Violation> {
        for (place, &(segment, _)) in self.segments.iter().enumerate() {
            let Some(next) = next.iter().find(|next| next.segment == segment) else {
                return Err(Violation::Unwanted { segment: segment.0 });
            };
            let may_send = |info: &PeerRequestInfo| {
                info.has >> place & 1 == 1 && next.times_tried(info.peer) < CORRUPT_TRIES_MAX
            };
            if waits && !self.holders.iter().any(may_send) {
                return Err(Violation::Unwanted { segment: segment.0 });
            }
        }
        Ok(())
    }
}
