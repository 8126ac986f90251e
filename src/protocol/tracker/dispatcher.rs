//! The dispatcher: enters what peers announce into the index, answers their asks from it, and keeps
//! the asks that it can't answer in the wait queue.
//!
//! This is credit-based flow control, as between a switch and its hosts: an ask grants the tracker a
//! credit of `room` segments, each segment handed out uses one up, and whoever has credit left need
//! not ask again. Without it each segment for a waiting peer would cost a round trip.

use std::sync::Arc;
use std::time::Duration;

use crate::config::Config;
use crate::manifest::{NodeId, SegmentId};
use crate::protocol::roster::Roster;
use crate::protocol::{Ask, Handout, Message, Outbox};
use crate::swarm::{HandoutScratch, Swarm};
use crate::time::Timestamp;

use super::late_digests::LateDigests;
use super::late_reads::Reading;
use super::offload::Offload;
use super::peer_state::{PeerStage, PeerState};
use super::service::{AnswerLimits, Service};
use super::wait_queue::{FAILED_TRIES_MAX, QueuePosition, WaitQueue};

#[derive(Debug)]
pub(super) struct Dispatcher {
    pub(super) config: Config,
    pub(super) service: Arc<Service>,
    /// Asks that other threads answer; none where this one answers all.
    pub(super) offload: Option<Offload>,
    /// What is to be read of the late file, if there is one.
    pub(super) reading: Option<Reading>,
    /// What peers that decide are to be told of that file; none where this tracker hands out.
    pub(super) late_digests: Option<LateDigests>,
    /// The source that asked last, until it is served.
    pub(super) asking_source: Option<NodeId>,
    /// Whether there is more to read than before, so that all sources are served.
    pub(super) readers_wait: bool,
    scratch: HandoutScratch,
    /// Whether nothing was announced or given back since the scratch's last answer.
    pub(super) unchanged: bool,
    pub(super) peers: Vec<PeerState>,
    pub(super) queue: WaitQueue,
    /// The position at which the last walk through the queue stopped.
    pub(super) resume: Option<QueuePosition>,
    /// Handouts that leave when the queue is served: one message a peer.
    pending: Vec<(NodeId, Handout)>,
    pub(super) corrupt_counts: Vec<u32>,
    /// Whether the tracker falls behind; peers are told so.
    busy: bool,
    /// Segments granted and neither announced nor given back.
    pub(super) grants: usize,
    pub(super) grants_max: usize,
    wanted_segments: u64,
    pub(super) verified_segments: u64,
    /// Whether segments may be requested again from holders that sent them corrupt: there is no other way on.
    forgiving: bool,
}

impl Dispatcher {
    pub(super) fn new(
        now: Timestamp,
        roster: Roster,
        nodes: u32,
        config: Config,
        seed: u64,
    ) -> Self {
        let wanted_segments = roster.wanted_segments();
        let late_digests = LateDigests::of(&roster, &config);
        let service = Arc::new(Service::new(roster, nodes as usize, &config));
        Self {
            wanted_segments,
            reading: service.reading(nodes as usize),
            late_digests,
            asking_source: None,
            readers_wait: false,
            service,
            offload: None,
            scratch: HandoutScratch::new(seed),
            unchanged: false,
            peers: (0..nodes).map(|_| PeerState::new(now)).collect(),
            queue: WaitQueue::new(nodes as usize),
            resume: None,
            pending: Vec::new(),
            busy: false,
            corrupt_counts: vec![0; nodes as usize],
            grants: 0,
            grants_max: 0,
            verified_segments: 0,
            forgiving: false,
            config,
        }
    }

    pub(super) fn note_contact(&mut self, now: Timestamp, from: NodeId) {
        self.peers[from.index()].last_contact = now;
    }

    pub(super) fn set_busy(&mut self, busy: bool) {
        self.busy = busy;
    }

    /// The sequence number of a peer's last ask.
    pub(super) fn last_ask(&self, from: NodeId) -> u32 {
        self.peers[from.index()].ask.sequence
    }

    pub(super) fn handle_ask(&mut self, now: Timestamp, from: NodeId, ask: &Ask, out: &mut Outbox) {
        if self.peers[from.index()].stage != PeerStage::Fetching {
            return;
        }
        let last = self.peers[from.index()].ask.sequence;
        if ask.sequence < last {
            return;
        }
        self.settle_reads(from, ask);
        for &segment in ask.verified_since(last) {
            self.settle(now, from, segment);
        }
        for failed in ask.failed.iter().filter(|failed| failed.said > last) {
            self.take_back(from, failed);
        }
        self.peers[from.index()].account.hear_after_giving_up(ask);
        self.dequeue(from);
        self.recover(now, from, ask);
        let is_empty = ask.room == 0 || ask.blocks.is_empty();
        let mut waits = !is_empty && !ask.end_game;
        self.peers[from.index()].ask.copy_request(ask);
        let mut is_idle = false;
        if self.is_source(from) && !ask.end_game {
            self.handle_source(now, from);
            // What it reads may have taken all of its room.
            let has_room = self.peers[from.index()].ask.room > 0;
            waits &= has_room;
            is_idle = ask.room > 0 && !waits;
            if has_room && is_idle {
                self.handle_idle_source(from);
            }
        }
        if is_idle {
            // It has something to read, or is told later.
        } else if waits {
            // Peers with fewer segments under way come before it.
            self.enqueue(from);
        } else if !is_empty && self.submit(now, from) {
            // An end game: the reply is its answer.
        } else if self.answer(now, from).is_none() {
            // A source that has no room may have nothing left to wait for.
            let unobtainable = self.late_digests.is_none()
                && self.is_source(from)
                && self.all_is_read()
                && ask.blocks.is_empty();
            self.send_nothing(from, unobtainable, out);
        }
        self.serve_queue(now, out);
    }

    /// Answers a peer's last ask: there is nothing for it now.
    pub(super) fn send_nothing(&self, to: NodeId, unobtainable: bool, out: &mut Outbox) {
        let answers = self.peers[to.index()].ask.sequence;
        let handout = Handout { answers, unobtainable, busy: self.busy, ..Handout::default() };
        out.send(to, Message::Handout(handout));
    }

    /// The peer has verified all that it can get, and with it whatever it was granted last. Its own
    /// count of segments replaces the tracker's: a segment may arrive after its grant was taken back.
    pub(super) fn complete(
        &mut self,
        now: Timestamp,
        from: NodeId,
        segments: u32,
        out: &mut Outbox,
    ) {
        // What it was to read can't be verified without its digest.
        self.take_all_reads_back(from);
        while let Some(grant) = self.peers[from.index()].account.grants.front().copied() {
            self.settle(now, from, grant.segment);
        }
        self.end(now, (from, segments), out);
    }

    /// A peer fetches nothing more: it has verified `segments` segments.
    pub(super) fn end(
        &mut self,
        now: Timestamp,
        (from, segments): (NodeId, u32),
        out: &mut Outbox,
    ) {
        self.dequeue(from);
        let state = &mut self.peers[from.index()];
        self.verified_segments += u64::from(segments);
        self.verified_segments -= std::mem::replace(&mut state.verified, segments.into());
        state.stage = PeerStage::Complete;
        self.serve_queue(now, out);
    }

    /// A peer that still exchanges segments has verified so many.
    pub(super) fn note_progress(&mut self, from: NodeId, segments: u32) {
        let state = &mut self.peers[from.index()];
        if state.stage == PeerStage::Fetching {
            self.verified_segments += u64::from(segments);
            self.verified_segments -= std::mem::replace(&mut state.verified, segments.into());
        }
    }

    /// The peer is gone: nobody is sent to it any more, and its grants end.
    pub(super) fn lose(&mut self, now: Timestamp, node: NodeId, out: &mut Outbox) {
        self.swarm().ban(node);
        self.take_all_reads_back(node);
        for grant in std::mem::take(&mut self.peers[node.index()].account.grants) {
            self.grants -= 1;
            self.unchanged = false;
            self.service.swarm.give_back(grant.segment, grant.holder);
        }
        self.dequeue(node);
        self.stop_wanting(node);
        self.read_again();
        self.drop_source(node);
        self.peers[node.index()].stage = PeerStage::Gone;
        self.serve_queue(now, out);
    }

    pub(super) fn set_stage(&mut self, node: NodeId, stage: PeerStage) {
        self.peers[node.index()].stage = stage;
    }

    pub(super) fn stage(&self, node: NodeId) -> PeerStage {
        self.peers[node.index()].stage
    }

    /// Peers that have reached `stage`.
    pub(super) fn count(&self, stage: PeerStage) -> usize {
        self.peers[1..].iter().filter(|peer| peer.stage >= stage).count()
    }

    /// Peers that sent nothing for longer than `patience`.
    pub(super) fn silent(&self, now: Timestamp, patience: Duration) -> Vec<NodeId> {
        let peers = (1..).map(NodeId).zip(&self.peers[1..]);
        peers
            .filter(|(_, peer)| {
                peer.stage != PeerStage::Gone && now.since(peer.last_contact) > patience
            })
            .map(|(node, _)| node)
            .collect()
    }

    pub(super) fn roster(&self) -> &Roster {
        &self.service.roster
    }

    pub(super) fn wanted_segments(&self) -> u64 {
        self.wanted_segments
    }

    /// The peers that still fetch and have verified least.
    pub(super) fn slowest<const COUNT: usize>(&self) -> [Option<(NodeId, u64)>; COUNT] {
        let mut slowest = [None; COUNT];
        for (node, peer) in (1..).map(NodeId).zip(&self.peers[1..]) {
            if peer.stage != PeerStage::Fetching {
                continue;
            }
            let after = slowest.iter().position(|one: &Option<(NodeId, u64)>| {
                one.is_none_or(|(_, verified)| peer.verified < verified)
            });
            if let Some(place) = after {
                slowest[place..].rotate_right(1);
                slowest[place] = Some((node, peer.verified));
            }
        }
        slowest
    }

    pub(super) fn verified_segments(&self) -> u64 {
        self.verified_segments
    }

    pub(super) fn grants_max(&self) -> usize {
        self.grants_max
    }

    /// After every change: serves waiting peers, and sends the pending handouts.
    fn serve_queue(&mut self, now: Timestamp, out: &mut Outbox) {
        match &mut self.offload {
            None => self.serve_waiting(now, FAILED_TRIES_MAX),
            Some(offload) => {
                offload.begin_walk();
                self.submit_waiting(now);
            }
        }
        self.finish_serving(now, out);
    }

    /// Serves sources, sees whether anybody still can be served, and sends the pending handouts.
    pub(super) fn finish_serving(&mut self, now: Timestamp, out: &mut Outbox) {
        self.serve_sources(now);
        if self.late_digests.is_some() {
            self.give_up_unread();
        } else {
            self.give_up_when_stuck(now, out);
            self.release_idle(out);
        }
        let busy = self.busy;
        let mut pending = std::mem::take(&mut self.pending);
        let mut kept = 0;
        pending.retain_mut(|(peer, handout)| {
            let state = &mut self.peers[peer.index()];
            // What is being added to it leaves with it: one message a peer.
            if state.is_away && handout.entries.len() < self.config.handout {
                state.pending_index = Some(kept);
                kept += 1;
                return true;
            }
            state.pending_index = None;
            let open = self.queue.has(*peer);
            out.send(*peer, Message::Handout(Handout { open, busy, ..std::mem::take(handout) }));
            false
        });
        self.pending = pending;
    }

    // Adds what can be had now of a peer's ask to its pending handout; returns whether it lacks
    // more, or none if there was nothing.
    fn answer(&mut self, now: Timestamp, to: NodeId) -> Option<bool> {
        let most = self.most_for(to);
        let PeerState { account, ask, .. } = &mut self.peers[to.index()];
        // Other threads may have been told of a change that this one's scratch has not seen.
        let unchanged = self.offload.is_none() && std::mem::replace(&mut self.unchanged, true);
        let forgiving = self.forgiving;
        let limits = AnswerLimits { now, peer: to, most, unchanged, forgiving };
        let handout = self.service.answer(&mut self.scratch, account, limits, ask);
        self.enter(to, handout)
    }

    /// The most segments in an answer.
    pub(super) fn most_for(&self, to: NodeId) -> usize {
        // Others wait too, so capacity is scarce: one segment each, as in round-robin scheduling.
        let others = self.queue.len() - usize::from(self.queue.has(to));
        if others == 0 { self.config.handout } else { 1 }
    }

    /// Counts what a peer was given, and adds it to its pending handout; returns whether it lacks more, or
    /// none if there was nothing.
    pub(super) fn enter(&mut self, to: NodeId, handout: Handout) -> Option<bool> {
        if handout.entries.is_empty() {
            return None;
        }
        let (open, count) = (handout.open, handout.entries.len());
        let room = &mut self.peers[to.index()].ask.room;
        *room -= u16::try_from(count).expect("no more than there was room for");
        self.grants += count;
        self.grants_max = self.grants_max.max(self.grants);
        self.push_pending(to, handout);
        Some(open)
    }

    /// Adds a handout to the one that leaves next, if both fit into one.
    pub(super) fn push_pending(&mut self, to: NodeId, handout: Handout) {
        let pending_index = &mut self.peers[to.index()].pending_index;
        let count = handout.entries.len();
        let earlier = pending_index.map(|place| &mut self.pending[place].1);
        match earlier.filter(|earlier| earlier.entries.len() + count <= self.config.handout) {
            Some(earlier) => earlier.entries.extend(handout.entries),
            None => {
                *pending_index = Some(self.pending.len());
                self.pending.push((to, handout));
            }
        }
    }

    /// Serves waiting peers from the front of the queue, then from where the last walk stopped.
    // The second walk prevents head-of-line blocking: a few peers at the front whose segments nobody
    // can send now must not keep the others waiting.
    fn serve_waiting(&mut self, now: Timestamp, tries_left: usize) {
        let front = self.serve_waiting_after(now, None, tries_left);
        self.resume = match front {
            Some(_) => self.serve_waiting_after(now, front.max(self.resume), tries_left),
            None => None,
        };
    }

    // Serves the queue behind a position, or from its front; returns the last position tried, or
    // none at the end of the queue.
    fn serve_waiting_after(
        &mut self,
        now: Timestamp,
        mut place: Option<QueuePosition>,
        mut tries_left: usize,
    ) -> Option<QueuePosition> {
        while tries_left > 0 && self.swarm().counters().anybody_is_available() {
            let position = self.queue.after(place)?;
            match self.answer(now, position.peer) {
                Some(lacks_more) => {
                    place = self.dequeue(position.peer);
                    if lacks_more {
                        // It has more under way now, and so another priority.
                        self.enqueue(position.peer);
                    }
                }
                None => {
                    place = Some(position);
                    tries_left -= 1;
                }
            }
        }
        place
    }

    // Detects a deadlock: nothing is under way and every peer that still fetches waits. Nobody will
    // ever have what they wait for, and they are told so.
    fn give_up_when_stuck(&mut self, now: Timestamp, out: &mut Outbox) {
        // Evaluated at every message. Peers are counted last: that looks at all of them.
        let fetching =
            |dispatcher: &Self| dispatcher.peers.len() - 1 - dispatcher.count(PeerStage::Complete);
        let stuck = |dispatcher: &Self| {
            let idle = dispatcher.reading.as_ref().map_or(0, |reading| reading.idle.len());
            dispatcher.grants == 0
                && dispatcher.under_way() == 0
                && dispatcher.queue.len() + idle > 0
                && dispatcher.queue.len() + idle == fetching(dispatcher)
        };
        if !stuck(self) {
            return;
        }
        // Owners may still keep their capacity for segments that nobody will ask for any more,
        // because the peers that wanted them are gone. And a segment that came corrupt from its only
        // holder may come right when it is sent again.
        self.swarm().counters().set_super_seeding(false);
        self.unchanged = false;
        self.forgiving = true;
        self.serve_waiting(now, usize::MAX);
        self.forgiving = false;
        self.swarm().counters().set_super_seeding(true);
        if !stuck(self) || self.read_excluded(now) {
            return;
        }
        if let Some(reading) = &mut self.reading {
            reading.give_up();
        }
        while let Some(QueuePosition { peer, .. }) = self.queue.after(None) {
            self.dequeue(peer);
            let state = &mut self.peers[peer.index()];
            state.account.gives_up = true;
            let answers = state.ask.sequence;
            let handout = Handout { answers, unobtainable: true, ..Handout::default() };
            out.send(peer, Message::Handout(handout));
        }
    }

    fn settle(&mut self, now: Timestamp, peer: NodeId, segment: SegmentId) {
        let state = &mut self.peers[peer.index()];
        let settled = self.service.settle(now, &mut state.account, peer, segment);
        if settled > 0 {
            state.has_some = true;
            self.unchanged = false;
            self.grants -= settled;
            state.verified += 1;
            self.verified_segments += 1;
        }
    }

    pub(super) fn enqueue(&mut self, peer: NodeId) {
        let state = &self.peers[peer.index()];
        self.queue.join(peer, state.account.grants.len(), state.has_some);
    }

    /// Takes a peer out of the queue; returns the position just before its own.
    pub(super) fn dequeue(&mut self, peer: NodeId) -> Option<QueuePosition> {
        if let Some(reading) = &mut self.reading {
            reading.idle.retain(|&idle| idle != peer);
        }
        let (position, before) = self.queue.leave(peer)?;
        if self.resume == Some(position) {
            self.resume = Some(before);
        }
        Some(before)
    }

    pub(super) fn swarm(&self) -> &Swarm {
        &self.service.swarm
    }
}
