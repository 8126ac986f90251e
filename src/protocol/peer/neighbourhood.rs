//! A peer that chooses itself what it exchanges with its neighbours (`decide = peers`).
//!
//! Rank 0 numbers the files, names the neighbours and passes on the digests that owners registered. From then on
//! it hears how far each peer is and when it is done, and tells who is lost. It hands nothing out. What a neighbour
//! sends counts only if it matches the owner's digest. Those of a late file come later (`told_digests.rs`).

use super::fetch::Fetch;
use super::ledger::SegmentState;
use super::{Peer, PeerPhase};
use crate::config::LATE_SEGMENTS_MAX;
use crate::manifest::{Block, FileId, NodeId, SegmentId};
use crate::protocol::registration::{Catalogue, Listing, NeighbourCatalogue};
use crate::protocol::relay::{HolderChoice, RelayPatience};
use crate::protocol::{CheckResult, Message, Outbox, Output, UNREAD, Violation};
use crate::time::Timestamp;
use crate::verify::Digest;

// How many times `silence_patience` nothing has to come before a neighbour that has a segment counts for nothing. It
// brings that sooner or later, and no wait may last for ever. Chosen, not tuned.
const HOPELESS: u32 = 10;

/// What a peer exchanges with its neighbours.
#[derive(Debug)]
pub(super) struct Neighbourhood {
    pub(super) choice: HolderChoice,
    /// The first segment of each wanted file, ascending, and where its digests begin.
    files: Vec<(u32, usize)>,
    digests: Vec<Digest>,
    /// Whether nothing is left to read: rank 0 tells no more digests.
    pub(super) reading_is_over: bool,
    /// Segments that are missing here, and that nobody can read.
    pub(super) unread: Vec<SegmentId>,
    /// Segments that have come and are being checked, or wait for their digest, and who sent them.
    pub(super) checking: Vec<(NodeId, SegmentId)>,
    /// When to look again what is to be given up.
    give_up_at: Timestamp,
}

impl Neighbourhood {
    /// The digest of a segment of a wanted file, once it is known.
    pub(super) fn digest(&self, segment: SegmentId) -> Option<Digest> {
        let digest = self.digests.get(self.place(segment)?).copied();
        digest.filter(|&digest| digest != UNREAD)
    }

    /// Rank 0 tells the digest of a segment of a wanted file; false where it is known already.
    pub(super) fn learn(&mut self, segment: SegmentId, digest: Digest) -> bool {
        let place = self.place(segment);
        let known = place.and_then(|place| self.digests.get_mut(place));
        // The first one stands: it may have been checked by.
        let unknown = known.filter(|known| **known == UNREAD);
        unknown.map(|unknown| *unknown = digest).is_some()
    }

    fn place(&self, segment: SegmentId) -> Option<usize> {
        let after = self.files.partition_point(|&(first, _)| first <= segment.0);
        let (first, place) = *self.files.get(after.checked_sub(1)?)?;
        Some(place + (segment.0 - first) as usize)
    }
}

impl Peer {
    /// Takes in what rank 0 says of the neighbours, once the peer knows its catalogue; `is_late` says whether sources
    /// read while it fetches.
    pub(super) fn enter_neighbourhood(
        &mut self,
        described: NeighbourCatalogue,
        is_late: bool,
    ) -> Result<(), Violation> {
        let NeighbourCatalogue { seed, digests, neighbours } = described;
        let Catalogue { segments, wanted, .. } = &self.listings;
        let wanted: Vec<Listing> = wanted.iter().flatten().copied().collect();
        let (mut files, mut count) = (Vec::with_capacity(wanted.len()), 0);
        for listing in wanted.iter().filter(|listing| listing.count > 0) {
            files.push((listing.first, count));
            count += listing.count as usize;
        }
        files.sort_unstable();
        if digests.len() != count {
            return Err(Violation::Digests { found: digests.len(), count });
        }
        neighbours.iter().try_for_each(|&neighbour| self.bounds.holder(neighbour))?;
        let ascends = neighbours.windows(2).all(|pair| pair[0] < pair[1]);
        if !ascends || neighbours.contains(&self.node) || *segments > LATE_SEGMENTS_MAX {
            return Err(Violation::Catalogue);
        }
        let patience = RelayPatience {
            initial: self.config.request_patience,
            // Far above what an answer takes, so that a thread that waits for a core is not taken for silent: the
            // least timeout of RFC 6298 by default.
            least: self.config.request_patience / 2,
            registration: self.config.registration_patience,
            silence: self.config.silence_patience,
        };
        let is_left = |neighbour: &NodeId| !self.lost.contains(neighbour);
        let neighbours: Vec<NodeId> = neighbours.into_iter().filter(is_left).collect();
        let mut neighbourhood = Neighbourhood {
            choice: HolderChoice::new(self.node, &neighbours, *segments, seed, patience),
            files,
            digests,
            reading_is_over: !is_late,
            unread: Vec::new(),
            checking: Vec::new(),
            give_up_at: Timestamp::default(),
        };
        let wants = &self.fetch.wants;
        let in_state = |state| {
            let all = (0..*segments).map(SegmentId);
            all.filter(move |&segment| wants.state(segment) == state)
        };
        // What it kept of a wanted file is offered once its digest is known.
        let is_known = |&segment: &SegmentId| {
            !wants.is_wanted(segment) || neighbourhood.digest(segment).is_some()
        };
        let (known, others): (Vec<_>, Vec<_>) =
            in_state(SegmentState::Verified).partition(is_known);
        let choice = &mut neighbourhood.choice;
        choice.own(known.into_iter());
        others.into_iter().for_each(|segment| choice.cover(segment));
        choice.leave_out(in_state(SegmentState::Unwanted));
        self.neighbourhood = Some(Box::new(neighbourhood));
        Ok(())
    }

    /// A neighbour speaks.
    pub(super) fn hear_neighbour(
        &mut self,
        now: Timestamp,
        from: NodeId,
        message: &Message,
        out: &mut Outbox,
    ) -> Result<(), Violation> {
        if self.phase == PeerPhase::Waiting {
            // It has heard that the run is open.
            self.begin(now, out);
        }
        // Before it has read its catalogue it knows nobody.
        let Some(neighbourhood) = &mut self.neighbourhood else { return Ok(()) };
        // One that was only stopped and is taken for lost is told to end. A peer that others take for lost may still
        // reserve its memory.
        let is_over = matches!(self.phase, PeerPhase::Reserving | PeerPhase::Gone);
        if is_over || self.lost.contains(&from) {
            return Ok(());
        }
        if let &Message::Unservable { segment, .. } = message
            && neighbourhood.choice.expected_since(from, segment).is_some()
            && !neighbourhood.checking.contains(&(from, segment))
        {
            // It was to send this one, and has lost it.
            self.drop_bad_copy(now, from, segment, out);
            out.push(Output::Forget { from, segment });
            return Ok(());
        }
        neighbourhood.choice.handle(now, from, message, out)
    }

    pub(super) fn handle_arrived(&mut self, from: NodeId, segment: SegmentId, out: &mut Outbox) {
        let Some(neighbourhood) = &mut self.neighbourhood else {
            self.fetch.handle_arrived(from, segment, out);
            return;
        };
        let is_checked = neighbourhood.checking.iter().any(|&(_, checked)| checked == segment);
        // A neighbour may have been lost meanwhile: its slots were forgotten.
        let is_expected = neighbourhood.choice.expected_since(from, segment).is_some();
        let state = self.fetch.wants.state(segment);
        let is_lacked = matches!(state, SegmentState::Missing | SegmentState::Taken);
        match neighbourhood.digest(segment) {
            Some(digest) if is_expected && !is_checked && is_lacked => {
                neighbourhood.checking.push((from, segment));
                out.push(Output::Check { from, segment, digest });
            }
            // Its holder was told the digest, and this peer is about to be.
            None if is_expected && !is_checked && is_lacked && !neighbourhood.reading_is_over => {
                neighbourhood.checking.push((from, segment));
            }
            // It has come from another neighbour or was read meanwhile, or this peer has given it up.
            _ => {
                neighbourhood.choice.drop_copy(from, segment);
                out.push(Output::Forget { from, segment });
            }
        }
    }

    pub(super) fn note_sent(&mut self, now: Timestamp, to: NodeId, segment: SegmentId) {
        match &mut self.neighbourhood {
            None => self.uploads.sent(now, to, segment),
            Some(neighbourhood) => neighbourhood.choice.sent(now, to, segment),
        }
    }

    /// Whether nothing is on its way to it.
    pub(super) fn is_idle(&self) -> bool {
        let neighbourhood = self.neighbourhood.as_ref();
        self.fetch.is_idle() && neighbourhood.is_none_or(|one| one.choice.is_idle())
    }

    /// Takes the result of a check; returns the file if the segment made it whole.
    pub(super) fn handle_checked(
        &mut self,
        now: Timestamp,
        (from, segment): (NodeId, SegmentId),
        verdict: CheckResult,
        out: &mut Outbox,
    ) -> Option<FileId> {
        let Some(neighbourhood) = &mut self.neighbourhood else {
            return self.fetch.handle_checked(now, from, segment, verdict, out);
        };
        neighbourhood.checking.retain(|&checked| checked != (from, segment));
        if verdict == CheckResult::Corrupt {
            self.fetch.failures.corrupt += 1;
            self.fetch.corrupt.note(segment, from);
            self.drop_bad_copy(now, from, segment, out);
            return None;
        }
        if self.fetch.wants.holds(segment) {
            // It was read meanwhile.
            neighbourhood.choice.drop_copy(from, segment);
            return None;
        }
        neighbourhood.choice.gain(now, from, segment);
        self.fetch.keep_exchanged(segment)
    }

    /// A neighbour has sent a segment corrupt, or has lost it: it is missing again, unless it is here or being read.
    fn drop_bad_copy(
        &mut self,
        now: Timestamp,
        from: NodeId,
        segment: SegmentId,
        out: &mut Outbox,
    ) {
        let Some(neighbourhood) = &mut self.neighbourhood else { return };
        if self.fetch.wants.state(segment) == SegmentState::Missing {
            neighbourhood.choice.reject(now, from, segment, out);
        } else {
            neighbourhood.choice.drop_copy(from, segment);
        }
    }

    /// Does what has become due among the neighbours.
    pub(super) fn exchange(&mut self, now: Timestamp, out: &mut Outbox) {
        let Some(neighbourhood) = &mut self.neighbourhood else { return };
        let phases = [PeerPhase::Fetching, PeerPhase::Publishing, PeerPhase::Serving];
        if !phases.contains(&self.phase) {
            return;
        }
        let choice = &mut neighbourhood.choice;
        choice.check_silent(now, out);
        choice.offer(now, out);
        let is_stuck = self.phase == PeerPhase::Fetching
            && !self.fetch.wants.is_settled()
            && neighbourhood.reading_is_over
            && choice.is_settled(now);
        // A holder that is only stopped or slow has as long as any node may be silent. What nobody can read is left out.
        let is_over =
            choice.is_complete() || choice.is_quiet_for(now, self.config.silence_patience);
        if is_stuck && !choice.retry(now, out) && is_over && now >= neighbourhood.give_up_at {
            // It looks at every segment, so that it does not for every message.
            neighbourhood.give_up_at = now + self.config.repeat_interval();
            self.give_up_files(now, out);
        }
    }

    // Without a lost rank all that is missing comes, however late: only its holders know. With one, what no neighbour
    // has or gets may be gone.
    /// Nothing comes any more. Gives up what was lost with other ranks, what stayed corrupt, and what nobody can read.
    fn give_up_files(&mut self, now: Timestamp, out: &mut Outbox) {
        let Some(neighbourhood) = &mut self.neighbourhood else { return };
        let Neighbourhood { choice, unread, .. } = &mut **neighbourhood;
        let all = (0..self.bounds.segments).map(SegmentId);
        let is_hopeless = choice.is_quiet_for(now, HOPELESS * self.config.silence_patience);
        let may_be_gone = |segment: &SegmentId| {
            self.fetch.wants.state(*segment) == SegmentState::Missing
                && (is_hopeless || !choice.may_come(*segment))
        };
        let lost = all.clone().filter(|segment| !self.lost.is_empty() && may_be_gone(segment));
        let corrupt = choice.corrupt_segments().into_iter();
        let over = corrupt.chain(unread.iter().copied()).chain(lost);
        let failed = self.fetch.wants.fail(&over.map(Block::of).collect::<Vec<_>>());
        let failed = self.fetch.corrupt.of_files(failed, &self.fetch.wants);
        if failed.is_empty() {
            return;
        }
        choice.tell_given_up(out);
        for (file, corrupt) in failed {
            self.report.add_failed(file, corrupt);
        }
        let is_over = |segment: &SegmentId| {
            self.fetch.wants.state(*segment) != SegmentState::Missing && !choice.holds(*segment)
        };
        let over: Vec<_> = all.filter(is_over).collect();
        choice.leave_out(over.into_iter());
        choice.tell_left_out(out);
    }

    /// A node is lost: what was expected from it comes from others, if any has it.
    pub(super) fn lose_neighbour(&mut self, now: Timestamp, node: NodeId, out: &mut Outbox) {
        let Some(neighbourhood) = &mut self.neighbourhood else { return };
        for segment in neighbourhood.choice.lose(now, node, out) {
            // What has arrived is still checked.
            if !neighbourhood.checking.contains(&(node, segment)) {
                out.push(Output::Forget { from: node, segment });
            }
        }
    }
}

impl Fetch {
    /// A neighbour has sent a segment; returns its file if that is whole now.
    fn keep_exchanged(&mut self, segment: SegmentId) -> Option<FileId> {
        self.verified_count += 1;
        self.corrupt.forget(segment);
        self.wants.keep(segment)
    }
}
