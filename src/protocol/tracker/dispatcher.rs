//! The dispatcher at which peers ask: what they announce goes into the index, what they get comes
//! out of it, and those for whom there is nothing wait in the queue.

use std::time::Duration;

use crate::config::{CORRUPT_SEGMENTS_MAX, Config};
use crate::manifest::{Block, NodeId, SegmentId};
use crate::protocol::roster::Roster;
use crate::protocol::{Ask, Cause, Handout, Message, Outbox, Return};
use crate::swarm::{HandoutScratch, Swarm};
use crate::time::Timestamp;

use super::peer_state::{PeerStage, PeerState};
use super::service::{AnswerLimits, Service};
use super::wait_queue::{QueuePosition, WaitQueue};

/// Waiting peers that are tried in vain before the rest is left to wait for the next occasion.
const VAIN_TRIES_MAX: usize = 2;

/// The open swarm, as the tracker runs it.
#[derive(Debug)]
pub(super) struct Dispatcher {
    config: Config,
    service: Service,
    scratch: HandoutScratch,
    /// Whether nothing was announced or given back since the scratch's last answer.
    unchanged: bool,
    /// By rank.
    peers: Vec<PeerState>,
    /// Peers whose asks wait, those first that have least under way.
    queue: WaitQueue,
    /// Where in the queue the last occasion stopped.
    resume: Option<QueuePosition>,
    /// The handouts of the moment: each peer gets one message with all that it is given.
    drafts: Vec<(NodeId, Handout)>,
    /// Wrong segments by sender.
    corrupt_counts: Vec<u32>,
    /// Whether the tracker falls behind.
    busy: bool,
    /// Segments given and neither announced nor given back.
    grants: usize,
    grants_max: usize,
    wanted_segments: u64,
    verified_segments: u64,
}

impl Dispatcher {
    pub(super) fn new(
        now: Timestamp,
        roster: Roster,
        nodes: u32,
        config: Config,
        seed: u64,
    ) -> Self {
        Self {
            wanted_segments: roster.wanted_segments(),
            service: Service::new(roster, nodes as usize, &config),
            scratch: HandoutScratch::new(seed),
            unchanged: false,
            peers: (0..nodes).map(|_| PeerState::new(now)).collect(),
            queue: WaitQueue::new(nodes as usize),
            resume: None,
            drafts: Vec::new(),
            busy: false,
            corrupt_counts: vec![0; nodes as usize],
            grants: 0,
            grants_max: 0,
            verified_segments: 0,
            config,
        }
    }

    pub(super) fn hear(&mut self, now: Timestamp, from: NodeId) {
        self.peers[from.index()].heard_at = now;
    }

    /// From now on peers are told so.
    pub(super) fn set_busy(&mut self, busy: bool) {
        self.busy = busy;
    }

    /// The last ask that was heard from a peer.
    pub(super) fn heard(&self, from: NodeId) -> u32 {
        self.peers[from.index()].ask.sequence
    }

    pub(super) fn handle_ask(&mut self, now: Timestamp, from: NodeId, ask: &Ask, out: &mut Outbox) {
        if self.peers[from.index()].stage != PeerStage::Fetching {
            return;
        }
        let heard = self.peers[from.index()].ask.sequence;
        if ask.sequence < heard {
            return;
        }
        for &segment in ask.news_after(heard) {
            self.settle(now, from, segment);
        }
        for returned in ask.returned.iter().filter(|returned| returned.said > heard) {
            self.take_back(from, returned);
        }
        self.dequeue(from);
        self.recover(now, from, &ask.blocks, ask.end_game);
        let wish_is_empty = ask.room == 0 || ask.blocks.is_empty();
        let (answers, waits) = (ask.sequence, !wish_is_empty && !ask.end_game);
        self.peers[from.index()].ask.copy_wish(ask);
        if waits {
            // Others may need it more.
            self.enqueue(from);
        } else if self.answer(now, from).is_none() {
            let busy = self.busy;
            out.send(from, Message::Handout(Handout { answers, busy, ..Handout::default() }));
        }
        self.go_on(now, out);
    }

    /// The peer has all that can be had: what it was given last, it has verified. How many segments
    /// that are it knows best: one may come that the tracker had given up.
    pub(super) fn complete(
        &mut self,
        now: Timestamp,
        from: NodeId,
        segments: u32,
        out: &mut Outbox,
    ) {
        while let Some(grant) = self.peers[from.index()].account.grants.front().copied() {
            self.settle(now, from, grant.segment);
        }
        self.dequeue(from);
        let state = &mut self.peers[from.index()];
        self.verified_segments += u64::from(segments);
        self.verified_segments -= std::mem::replace(&mut state.verified, segments.into());
        state.stage = PeerStage::Complete;
        self.go_on(now, out);
    }

    /// The peer is gone: nobody is sent to it, and what it was given others may have.
    pub(super) fn lose(&mut self, now: Timestamp, node: NodeId, out: &mut Outbox) {
        self.swarm().avoid(node);
        for grant in std::mem::take(&mut self.peers[node.index()].account.grants) {
            self.grants -= 1;
            self.unchanged = false;
            self.service.swarm.give_back(grant.segment, grant.holder);
        }
        self.dequeue(node);
        self.peers[node.index()].stage = PeerStage::Gone;
        self.go_on(now, out);
    }

    pub(super) fn set_stage(&mut self, node: NodeId, stage: PeerStage) {
        self.peers[node.index()].stage = stage;
    }

    pub(super) fn stage(&self, node: NodeId) -> PeerStage {
        self.peers[node.index()].stage
    }

    /// Peers that have come as far as `stage`.
    pub(super) fn count(&self, stage: PeerStage) -> usize {
        self.peers[1..].iter().filter(|peer| peer.stage >= stage).count()
    }

    /// Peers that have said nothing for longer than `patience`.
    pub(super) fn silent(&self, now: Timestamp, patience: Duration) -> Vec<NodeId> {
        let peers = (1..).map(NodeId).zip(&self.peers[1..]);
        peers
            .filter(|(_, peer)| {
                peer.stage != PeerStage::Gone && now.since(peer.heard_at) > patience
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

    pub(super) fn verified_segments(&self) -> u64 {
        self.verified_segments
    }

    pub(super) fn grants_max(&self) -> usize {
        self.grants_max
    }

    /// Something has changed: gives those who wait what there is now.
    fn go_on(&mut self, now: Timestamp, out: &mut Outbox) {
        self.serve_waiting(now, VAIN_TRIES_MAX);
        self.give_up_when_stuck(now, out);
        let busy = self.busy;
        let mut drafts = std::mem::take(&mut self.drafts);
        for (peer, handout) in drafts.drain(..) {
            self.peers[peer.index()].draft = None;
            let open = self.queue.has(peer);
            out.send(peer, Message::Handout(Handout { open, busy, ..handout }));
        }
        self.drafts = drafts;
    }

    /// Gives a peer what there is of what it asked for; returns whether it lacks more, or none when
    /// there is nothing.
    fn answer(&mut self, now: Timestamp, to: NodeId) -> Option<bool> {
        // While others wait, there is too little: everybody gets one at a time.
        let others = self.queue.len() - usize::from(self.queue.has(to));
        let most = if others == 0 { self.config.handout } else { 1 };
        let PeerState { account, ask, draft, .. } = &mut self.peers[to.index()];
        let unchanged = std::mem::replace(&mut self.unchanged, true);
        let limits = AnswerLimits { now, peer: to, most, unchanged };
        let handout = self.service.answer(&mut self.scratch, account, limits, ask);
        if handout.entries.is_empty() {
            return None;
        }
        let (open, count) = (handout.open, handout.entries.len());
        ask.room -= u16::try_from(count).expect("no more than there was room for");
        self.grants += count;
        self.grants_max = self.grants_max.max(self.grants);
        let drafted = draft.map(|place| &mut self.drafts[place].1);
        match drafted.filter(|drafted| drafted.entries.len() + count <= self.config.handout) {
            Some(drafted) => drafted.entries.extend(handout.entries),
            None => {
                *draft = Some(self.drafts.len());
                self.drafts.push((to, handout));
            }
        }
        Some(open)
    }

    /// Gives those who wait what there is now: first from the front of the queue, then from where
    /// the last occasion stopped. Otherwise a few at the front whose segments nobody can send now
    /// would keep all others from what is there for them.
    fn serve_waiting(&mut self, now: Timestamp, vain_tries: usize) {
        let front = self.serve_waiting_after(now, None, vain_tries);
        self.resume = match front {
            Some(_) => self.serve_waiting_after(now, front.max(self.resume), vain_tries),
            None => None,
        };
    }

    /// Serves the queue behind a place, or from its front; returns the last place that was tried,
    /// or none at the end of the queue.
    fn serve_waiting_after(
        &mut self,
        now: Timestamp,
        mut place: Option<QueuePosition>,
        mut vain_tries: usize,
    ) -> Option<QueuePosition> {
        while vain_tries > 0 && self.swarm().counters().anybody_is_available() {
            let position = self.queue.after(place)?;
            match self.answer(now, position.peer) {
                Some(lacks_more) => {
                    place = self.dequeue(position.peer);
                    if lacks_more {
                        // It waits on, as one that has more under way.
                        self.enqueue(position.peer);
                    }
                }
                None => {
                    place = Some(position);
                    vain_tries -= 1;
                }
            }
        }
        place
    }

    /// When nothing is under way and all who still fetch wait, nothing will ever come: what they
    /// wait for nobody will have.
    fn give_up_when_stuck(&mut self, now: Timestamp, out: &mut Outbox) {
        // This is asked at every message, and peers are counted only where nothing is under way.
        let fetching =
            |dispatcher: &Self| dispatcher.peers.len() - 1 - dispatcher.count(PeerStage::Complete);
        let stuck = |dispatcher: &Self| {
            dispatcher.grants == 0
                && dispatcher.queue.len() > 0
                && dispatcher.queue.len() == fetching(dispatcher)
        };
        if !stuck(self) {
            return;
        }
        // An owner may still be spared for segments that those who wanted them will never ask for.
        self.swarm().counters().spare_owners(false);
        self.unchanged = false;
        self.serve_waiting(now, usize::MAX);
        self.swarm().counters().spare_owners(true);
        if !stuck(self) {
            return;
        }
        while let Some(QueuePosition { peer, .. }) = self.queue.after(None) {
            self.dequeue(peer);
            let answers = self.peers[peer.index()].ask.sequence;
            let handout = Handout { answers, unobtainable: true, ..Handout::default() };
            out.send(peer, Message::Handout(handout));
        }
    }

    /// A peer verified a segment.
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

    /// A peer could not get a segment as it was told to.
    fn take_back(&mut self, peer: NodeId, returned: &Return) {
        let &Return { segment, holder, cause, .. } = returned;
        let account = &mut self.peers[peer.index()].account;
        if let Some(grant) = account.take_grant(segment, Some(holder)) {
            self.grants -= 1;
            self.unchanged = false;
            self.service.swarm.give_back(segment, grant.holder);
        }
        match cause {
            Cause::Corrupt => {
                account.excluded.push((segment, holder));
                let corrupt_counts = &mut self.corrupt_counts[holder.index()];
                *corrupt_counts += 1;
                let requests = self.service.swarm.counters().load(holder).requests;
                let often = u64::from(*corrupt_counts) * 4 >= requests;
                if *corrupt_counts >= CORRUPT_SEGMENTS_MAX && often && self.others_can_serve(holder)
                {
                    self.swarm().avoid(holder);
                }
            }
            Cause::Busy | Cause::Lapsed | Cause::Gone => {}
        }
    }

    /// Whether a liar can be spared: an owner that alone has a file is asked all the same.
    fn others_can_serve(&self, liar: NodeId) -> bool {
        self.roster().files.iter().all(|file| !file.wanted || file.owners != [liar])
    }

    /// A peer lacks what it was given long ago: the answer was lost, so that it is free again.
    fn recover(&mut self, now: Timestamp, peer: NodeId, blocks: &[Block], end_game: bool) {
        if end_game {
            return;
        }
        let patience = self.config.ask_patience / 2;
        let lacks = |segment: SegmentId| {
            let Block { index, bits } = Block::of(segment);
            blocks.iter().any(|block| block.index == index && block.bits & bits != 0)
        };
        let account = &mut self.peers[peer.index()].account;
        account.grants.retain(|grant| {
            let lost = now.since(grant.at) > patience && lacks(grant.segment);
            if lost {
                self.grants -= 1;
                self.unchanged = false;
                self.service.swarm.give_back(grant.segment, grant.holder);
            }
            !lost
        });
    }

    /// Has a peer wait in the queue, behind those that need as much.
    fn enqueue(&mut self, peer: NodeId) {
        let state = &self.peers[peer.index()];
        self.queue.join(peer, state.account.grants.len(), state.has_some);
    }

    /// Takes a peer out of the queue; returns the place just before its own.
    fn dequeue(&mut self, peer: NodeId) -> Option<QueuePosition> {
        let (position, before) = self.queue.leave(peer)?;
        if self.resume == Some(position) {
            self.resume = Some(before);
        }
        Some(before)
    }

    fn swarm(&self) -> &Swarm {
        &self.service.swarm
    }
}
