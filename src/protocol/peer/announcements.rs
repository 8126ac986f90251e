//! What a peer has to tell the tracker, until the tracker has confirmed it.
//!
//! News is delivered at least once: each ask repeats what the tracker has not confirmed. Confirmations
//! are cumulative, as in TCP: one number confirms all asks up to it.

use crate::config::{FAILED_FETCHES_MAX, WINDOW_MAX};
use crate::manifest::SegmentId;
use crate::protocol::{Ask, FailedFetch, ReadSegment};
use crate::verify::Digest;

/// Something the tracker should know, and the first ask that told it: 0 while none has.
#[derive(Clone, Copy, Debug)]
struct Announcement<T> {
    what: T,
    said: u32,
}

#[derive(Clone, Copy, Debug)]
struct VerifiedSegment {
    segment: SegmentId,
    /// Its digest, where it was read from a source.
    read: Option<Digest>,
    /// Whether the peer lacked it: a source also reads for others what it has or does not want.
    is_new: bool,
}

/// News in the order in which it came.
#[derive(Debug)]
pub(super) struct Announcements {
    verified: Vec<Announcement<VerifiedSegment>>,
    failed: Vec<Announcement<FailedFetch>>,
    /// Why a segment could not be read: the first time, since a source fails often in the same way.
    problem: Option<Announcement<Box<str>>>,
    /// How many verified and failed ones no ask has told yet: the last ones of each.
    unsaid: usize,
    /// Whether some of these were read.
    has_unsaid_reads: bool,
}

impl Announcements {
    pub(super) fn new() -> Self {
        Self {
            // Both may grow past a window while the tracker is busy; an ask tells a window of them.
            verified: Vec::with_capacity(WINDOW_MAX),
            failed: Vec::with_capacity(WINDOW_MAX),
            problem: None,
            unsaid: 0,
            has_unsaid_reads: false,
        }
    }

    pub(super) fn add_verified(&mut self, segment: SegmentId) {
        self.push_verified(VerifiedSegment { segment, read: None, is_new: true });
    }

    pub(super) fn add_read(&mut self, segment: SegmentId, digest: Digest, is_new: bool) {
        self.push_verified(VerifiedSegment { segment, read: Some(digest), is_new });
        self.has_unsaid_reads = true;
    }

    pub(super) fn add_failed(&mut self, failed: FailedFetch) {
        self.failed.push(Announcement { what: failed, said: 0 });
        self.unsaid += 1;
    }

    pub(super) fn add_problem(&mut self, problem: &str) {
        self.problem.get_or_insert_with(|| Announcement { what: problem.into(), said: 0 });
    }

    /// The tracker has had all asks up to `answers`.
    pub(super) fn confirm(&mut self, answers: u32) {
        let told = |said: u32| said != 0 && said <= answers;
        self.verified.retain(|announcement| !told(announcement.said));
        self.failed.retain(|announcement| !told(announcement.said));
    }

    /// Adds what the tracker has not confirmed, the oldest first, as far as it fits; `heard` is the last
    /// ask that it confirmed. Returns whether the next ask should wait for the confirmation of this one.
    pub(super) fn tell(&mut self, ask: &mut Ask, heard: u32) -> bool {
        let sequence = ask.sequence;
        let said_in = |said: u32| if said == 0 { sequence } else { said };
        for Announcement { what, said } in self.verified.iter_mut().take(WINDOW_MAX) {
            let &mut VerifiedSegment { segment, read, is_new } = what;
            if is_new {
                ask.verified.push(segment);
                ask.known += u16::from(*said != 0);
            }
            ask.read.extend(read.map(|digest| ReadSegment { segment, digest }));
            *said = said_in(*said);
        }
        for Announcement { what, said } in self.failed.iter_mut().take(FAILED_FETCHES_MAX) {
            *said = said_in(*said);
            ask.failed.push(FailedFetch { said: *said, ..*what });
        }
        if let Some(problem) = self.problem.as_mut().filter(|p| p.said == 0 || p.said > heard) {
            problem.said = said_in(problem.said);
            ask.problem = Some(problem.what.clone());
        }
        self.unsaid = self.verified.len().saturating_sub(WINDOW_MAX)
            + self.failed.len().saturating_sub(FAILED_FETCHES_MAX);
        self.has_unsaid_reads = false;
        // The rest can be told once the tracker has confirmed this; it may have nothing else to answer.
        // What was read is told as soon as the tracker listens: nobody else can have it before.
        self.unsaid > 0 || !ask.read.is_empty() || ask.problem.is_some()
    }

    pub(super) fn unsaid(&self) -> usize {
        self.unsaid
    }

    pub(super) fn has_unsaid_reads(&self) -> bool {
        self.has_unsaid_reads
    }

    /// Whether a segment was read, and the tracker has not confirmed it.
    pub(super) fn has_read(&self, segment: SegmentId) -> bool {
        let read = |what: &VerifiedSegment| what.segment == segment && what.read.is_some();
        self.verified.iter().any(|announcement| read(&announcement.what))
    }

    fn push_verified(&mut self, what: VerifiedSegment) {
        self.verified.push(Announcement { what, said: 0 });
        self.unsaid += 1;
    }
}
