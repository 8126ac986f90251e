//! The dispatcher's part in reading a late file: sources are handed what they are to read, and what they
//! have read is entered into the index.

use arrayvec::ArrayVec;

use super::dispatcher::Dispatcher;
use super::late_digests::LateDigests;
use super::peer_state::{PeerStage, PeerState};
use super::service::Grant;
use crate::config::HANDOUT_MAX;
use crate::manifest::{NodeId, SegmentId};
use crate::protocol::{Ask, FailedFetch, FetchFailure, Handout, HandoutEntry, Message, Outbox};
use crate::time::Timestamp;

impl Dispatcher {
    /// Enters what a source has read. It counts as verified by it if the ask says so: a source also reads
    /// what it has or does not want.
    pub(super) fn settle_reads(&mut self, from: NodeId, ask: &Ask) {
        let Some(reading) = &mut self.reading else { return };
        if let Some(problem) = &ask.problem {
            reading.note_problem(from, problem);
        }
        for read in &ask.read {
            let state = &mut self.peers[from.index()];
            // What was not given to it, or was settled before, is a repetition.
            if !state.account.take_read(read.segment, from) {
                continue;
            }
            reading.settle();
            self.grants -= 1;
            self.unchanged = false;
            let late = self.service.roster.late.as_ref();
            let is_wanted =
                late.is_some_and(|late| reading.is_wanted_beside(late, from, read.segment));
            let is_new = self.service.settle_read(from, (read.segment, read.digest), is_wanted);
            if let Some(late) = self.late_digests.as_mut().filter(|_| is_new) {
                late.add(*read);
            }
            if ask.verified.contains(&read.segment) {
                state.has_some = true;
                state.verified += 1;
                self.verified_segments += 1;
            }
            if reading.is_read_again(read.segment) {
                // What it sends from now on is what it has read.
                self.peers.iter_mut().for_each(|peer| peer.forgive(read.segment, from));
            }
        }
    }

    /// A peer could not read a segment; false if it was not given it to read.
    pub(super) fn take_read_back(&mut self, peer: NodeId, failed: &FailedFetch) -> bool {
        let Some(reading) = &mut self.reading else { return false };
        let account = &mut self.peers[peer.index()].account;
        if failed.holder != peer || !account.take_read(failed.segment, peer) {
            return failed.holder == peer;
        }
        self.grants -= 1;
        reading.give_back(failed.segment);
        if failed.failure == FetchFailure::Unreadable {
            reading.note_unreadable(peer, failed.segment);
        }
        self.readers_wait = true;
        true
    }

    /// Takes back all that a peer was given to read.
    pub(super) fn take_all_reads_back(&mut self, peer: NodeId) {
        let Some(reading) = &mut self.reading else { return };
        let (grants, readers_wait) = (&mut self.grants, &mut self.readers_wait);
        self.peers[peer.index()].account.grants.retain(|grant| {
            let reads = grant.holder == peer;
            if reads {
                *grants -= 1;
                *readers_wait = true;
                reading.give_back(grant.segment);
            }
            !reads
        });
    }

    /// A peer fetches nothing more: what nobody else wants does not count as read ahead.
    pub(super) fn stop_wanting(&mut self, node: NodeId) {
        let Some(reading) = &mut self.reading else { return };
        let Some(late) = &self.service.roster.late else { return };
        let Some(peer) = late.peer(node) else { return };
        let swarm = &self.service.swarm;
        for segment in reading.depart(peer) {
            let reader = swarm.unseeded_reader(segment).filter(|&reader| reader != node);
            // It was counted when it was read, since this peer wanted it.
            if let Some(reader) = reader
                && !reading.is_wanted_beside(late, reader, segment)
            {
                swarm.counters().seed(reader);
            }
        }
    }

    /// A node will read nothing more: what nobody else can read is given up.
    pub(super) fn drop_source(&mut self, node: NodeId) {
        let Some(reading) = self.reading.as_mut().filter(|reading| reading.is_source(node)) else {
            return;
        };
        reading.remove_source(node);
        reading.drop_unobtainable();
    }

    /// A node will send nothing more: what nobody else has is read again.
    pub(super) fn read_again(&mut self) {
        let Some(reading) = &mut self.reading else { return };
        let (roster, swarm) = (&self.service.roster, &self.service.swarm);
        for segment in reading.segments() {
            let is_known = roster.digests[segment.index()].get().is_some();
            if is_known && !swarm.has_holder(segment) {
                reading.add(segment);
                self.readers_wait = true;
            }
        }
    }

    /// Nobody goes on, for want of segments that came corrupt from all that have them: a source reads each of them
    /// once more, first of all whoever lacks it. Returns whether there is one to read.
    // Kept files may have other bytes than the source. A holder is excluded for one peer and one segment, so that
    // the index still names it, and `read_again` sees no lack.
    pub(super) fn read_excluded(&mut self, now: Timestamp) -> bool {
        let Some(reading) = &mut self.reading else { return false };
        for peer in &self.peers {
            let lacking = peer.account.excluded().filter(|&segment| peer.ask.shows(segment));
            lacking.for_each(|segment| reading.add_again(segment));
        }
        let lacking = |rank: &NodeId| self.peers[rank.index()].account.excluded().next().is_some();
        let (first, others): (Vec<_>, Vec<_>) = reading.sources().partition(lacking);
        for source in first.into_iter().chain(others) {
            self.serve_source(now, source);
        }
        self.grants > 0
    }

    /// Whether a node that sent corrupt segments is to read nothing: what it reads would be asked of others.
    fn is_avoided_source(&self, node: NodeId) -> bool {
        let is_banned = |node: NodeId| self.service.swarm.is_banned(node);
        let mut sources = self.reading.iter().flat_map(|reading| reading.sources());
        is_banned(node) && sources.any(|source| !is_banned(source))
    }

    /// Whether nothing is left to read of a late file.
    pub(super) fn all_is_read(&self) -> bool {
        self.reading.as_ref().is_some_and(|reading| reading.is_over())
    }

    pub(super) fn is_source(&self, node: NodeId) -> bool {
        self.reading.as_ref().is_some_and(|reading| reading.is_source(node))
    }

    /// A source asks: repeats what it was given to read long ago, in case the handout was lost, and gives
    /// it more, but not the whole of its window: it also fetches what others read.
    // A source that is reading still ignores what is repeated.
    pub(super) fn handle_source(&mut self, now: Timestamp, from: NodeId) {
        let patience = self.config.ask_patience / 2;
        let roster = &self.service.roster;
        let mut repeated: ArrayVec<HandoutEntry, HANDOUT_MAX> = ArrayVec::new();
        for grant in &mut self.peers[from.index()].account.grants {
            let is_old = grant.holder == from && now.since(grant.at) > patience;
            if is_old && !repeated.is_full() {
                grant.at = now;
                let (segment, holders) = (grant.segment, [from].into_iter().collect());
                repeated.push(HandoutEntry { segment, digest: roster.digest(segment), holders });
            }
        }
        self.add_pending(from, repeated);
        self.give_reads(now, from, (self.config.window / 2).max(1));
        self.asking_source = Some(from);
    }

    /// A source lacks nothing: it waits for segments to read, or is told that there are none.
    pub(super) fn handle_idle_source(&mut self, from: NodeId) {
        if let Some(reading) = &mut self.reading {
            reading.idle.push(from);
        }
    }

    /// Gives the source that asked what it has room for; all sources that wait, if there is more to read
    /// than before.
    pub(super) fn serve_sources(&mut self, now: Timestamp) {
        let asking = self.asking_source.take();
        if !self.reading.as_ref().is_some_and(|reading| reading.has_unread()) {
            return;
        }
        let released = self.released();
        if std::mem::take(&mut self.readers_wait) {
            let sources: Vec<_> =
                self.reading.iter().flat_map(|reading| reading.sources()).collect();
            sources.into_iter().for_each(|source| self.serve_source(now, source));
        } else {
            released.into_iter().chain(asking).for_each(|source| self.serve_source(now, source));
        }
    }

    /// Where peers decide: nobody can read what is left if all sources wait for segments, and take none of these.
    // A source that has no room asks as soon as it has some.
    pub(super) fn give_up_unread(&mut self) {
        let Some(reading) = &mut self.reading else { return };
        if !reading.has_unread() || reading.under_way() > 0 {
            return;
        }
        let peers = &self.peers;
        let may_ask = |source: &NodeId| {
            peers[source.index()].stage <= PeerStage::Fetching && !reading.idle.contains(source)
        };
        if !reading.sources().any(|source| may_ask(&source)) {
            reading.give_up();
        }
    }

    /// When peers that decide are to be told digests; none while there are none.
    pub(super) fn digests_due(&self) -> Option<Timestamp> {
        self.late_digests.as_ref().and_then(LateDigests::due)
    }

    /// Tells peers that decide what sources have read, if the time has come.
    pub(super) fn tell_digests(&mut self, now: Timestamp, out: &mut Outbox) {
        let is_over = self.all_is_read();
        let Some(late) = &mut self.late_digests else { return };
        let peers = &self.peers;
        late.tell(now, is_over, |peer| peers[peer.index()].stage != PeerStage::Gone, out);
    }

    /// Tells sources that lack nothing that nothing is left to read.
    pub(super) fn release_idle(&mut self, out: &mut Outbox) {
        if !self.all_is_read() {
            return;
        }
        let Some(reading) = &mut self.reading else { return };
        for source in reading.idle.drain(..) {
            let answers = self.peers[source.index()].ask.sequence;
            let handout = Handout { answers, unobtainable: true, ..Handout::default() };
            out.send(source, Message::Handout(handout));
        }
    }

    /// A peer has dropped out: nobody is to wait for it, but it may still serve. Its grants end.
    pub(super) fn drop_out(
        &mut self,
        now: Timestamp,
        from: NodeId,
        segments: u32,
        out: &mut Outbox,
    ) {
        self.take_all_reads_back(from);
        for grant in std::mem::take(&mut self.peers[from.index()].account.grants) {
            self.grants -= 1;
            self.unchanged = false;
            self.service.swarm.give_back(grant.segment, grant.holder);
        }
        self.stop_wanting(from);
        self.drop_source(from);
        self.end(now, (from, segments), out);
    }

    /// What kept sources from reading, a line each; none without such problems.
    pub(super) fn unreadable(&self) -> Vec<(NodeId, String)> {
        let problems = self.reading.iter().flat_map(|reading| reading.problems());
        problems.map(|(node, problem)| (node, problem.to_owned())).collect()
    }

    fn serve_source(&mut self, now: Timestamp, source: NodeId) {
        let is_idle = self.reading.as_ref().is_some_and(|reading| reading.idle.contains(&source));
        if (!is_idle && !self.queue.has(source)) || self.peers[source.index()].is_away {
            return;
        }
        if self.give_reads(now, source, self.config.window) {
            // It has more under way now, and so another priority.
            self.dequeue(source);
            if !is_idle && self.peers[source.index()].ask.room > 0 {
                self.enqueue(source);
            }
        }
    }

    /// Gives a source segments to read, so that it has at most `most` under way; returns whether there
    /// were any.
    fn give_reads(&mut self, now: Timestamp, to: NodeId, most: usize) -> bool {
        if self.is_avoided_source(to) {
            return false;
        }
        let ahead = self.ahead(to);
        let Some(reading) = &mut self.reading else { return false };
        let PeerState { account, ask, .. } = &mut self.peers[to.index()];
        let under_way = account.grants.iter().filter(|grant| grant.holder == to).count();
        let room = usize::from(ask.room).min(self.config.handout);
        let most = most.saturating_sub(under_way).min(room);
        // Only while others fetch: else nobody would ever be handed what it is ahead with.
        let allowed = self.config.read_ahead.saturating_sub(ahead + under_way);
        let holds_back = self.grants > reading.under_way() && most > allowed;
        if holds_back && !reading.held_back.contains(&to) {
            reading.held_back.push(to);
        }
        let most = if holds_back { allowed } else { most };
        let given =
            reading.take(to, most, |segment| account.grants.iter().any(|g| g.segment == segment));
        ask.room -= u16::try_from(given.len()).expect("no more than there was room for");
        self.grants += given.len();
        self.grants_max = self.grants_max.max(self.grants);
        let roster = &self.service.roster;
        let entry = |segment: SegmentId| {
            account.grants.push_back(Grant { segment, holder: to, at: now });
            let holders = [to].into_iter().collect();
            HandoutEntry { segment, digest: roster.digest(segment), holders }
        };
        let entries: ArrayVec<HandoutEntry, HANDOUT_MAX> = given.into_iter().map(entry).collect();
        let gives = !entries.is_empty();
        self.add_pending(to, entries);
        gives
    }

    /// Segments that a source has read, that others want, and that nobody was handed yet.
    fn ahead(&self, source: NodeId) -> usize {
        self.service.swarm.counters().unseeded(source) as usize
    }

    /// Sources that were held back and may read on.
    // At half of the limit, so that a source is not served for each segment that is sent.
    fn released(&mut self) -> Vec<NodeId> {
        let Some(reading) = &mut self.reading else { return Vec::new() };
        let nobody_fetches = self.grants == reading.under_way();
        let held = std::mem::take(&mut reading.held_back);
        let enough = self.config.read_ahead / 2;
        let may = |&source: &NodeId| nobody_fetches || self.ahead(source) <= enough;
        let (released, held): (Vec<_>, Vec<_>) = held.into_iter().partition(may);
        if let Some(reading) = &mut self.reading {
            reading.held_back = held;
        }
        released
    }

    /// Adds entries to the handout that leaves next.
    fn add_pending(&mut self, to: NodeId, entries: ArrayVec<HandoutEntry, HANDOUT_MAX>) {
        if !entries.is_empty() {
            let answers = self.peers[to.index()].ask.sequence;
            self.push_pending(to, Handout { answers, entries, ..Handout::default() });
        }
    }
}
