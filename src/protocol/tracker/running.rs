//! The swarm from its catalogue to its end: who is ready, who is done, who is lost.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::time::Duration;

use crate::config::{Config, Decider, WINDOW_MAX};
use crate::manifest::NodeId;
use crate::protocol::relay::neighbours_of_sharers;
use crate::protocol::roster::Roster;
use crate::protocol::violation::{Bounds, check_count, check_problem};
use crate::protocol::{Ask, DoneReport, Message, Outbox, Output, Violation};
use crate::time::Timestamp;

use super::dispatcher::Dispatcher;
use super::outcome::{Outcome, Progress, printable};
use super::outgoing_catalogue::OutgoingCatalogue;
use super::peer_state::PeerStage;

/// How far the swarm has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SwarmStage {
    /// Peers know the catalogue and reserve slots.
    Reserving,
    /// They download from each other.
    Open,
    /// All are told to stop.
    Closing,
    Finished,
}

/// A swarm whose files are numbered.
#[derive(Debug)]
pub(super) struct RunningSwarm {
    pub(super) dispatcher: Dispatcher,
    pub(super) stage: SwarmStage,
    /// Catalogues that peers are reading.
    catalogues: BTreeMap<NodeId, OutgoingCatalogue>,
    /// By rank, where peers decide.
    neighbours: Option<Vec<Vec<NodeId>>>,
    seed: u64,
    bounds: Bounds,
    files_finished: u64,
    /// When silent peers are looked for next.
    pub(super) check_at: Timestamp,
    nodes: u32,
    config: Config,
}

impl RunningSwarm {
    /// Tells every peer how its files are numbered.
    pub(super) fn new(
        now: Timestamp,
        roster: Roster,
        nodes: u32,
        seed: u64,
        config: &Config,
        out: &mut Outbox,
    ) -> Self {
        let peers_decide = config.decide == Decider::Peers;
        let mut this = Self {
            bounds: Bounds::of(&roster.geometry, nodes),
            neighbours: peers_decide.then(|| neighbours_of_sharers(roster.sharers(), nodes, seed)),
            seed,
            dispatcher: Dispatcher::new(now, roster, nodes, config.clone(), seed),
            stage: SwarmStage::Reserving,
            catalogues: BTreeMap::new(),
            files_finished: 0,
            check_at: now + silence_check_interval(config),
            nodes,
            config: config.clone(),
        };
        for peer in (1..nodes).map(NodeId) {
            let catalogue = this.catalogue(peer);
            let part = catalogue.part(0, this.dispatcher.roster());
            if !part.last {
                this.catalogues.insert(peer, catalogue);
            }
            out.send(peer, Message::Described(part));
        }
        this
    }

    /// How the files of a peer are numbered; where peers decide also what it can't learn from its neighbours.
    fn catalogue(&self, peer: NodeId) -> OutgoingCatalogue {
        let catalogue = self.dispatcher.roster().catalogue(peer);
        match &self.neighbours {
            None => OutgoingCatalogue::new(&catalogue),
            Some(neighbours) => {
                let neighbours = &neighbours[peer.index()];
                OutgoingCatalogue::with_neighbours(&catalogue, self.seed, neighbours)
            }
        }
    }

    /// Handles a message of a peer that takes part; breaks with the reason when a peer can't go on
    /// and the swarm is not open yet.
    pub(super) fn handle(
        &mut self,
        now: Timestamp,
        from: NodeId,
        message: &Message,
        outcome: &mut Outcome,
        out: &mut Outbox,
    ) -> ControlFlow<String> {
        match message {
            // It repeats the last part: neither the confirmation nor the catalogue reached it.
            Message::Register(part) if part.last => self.handle_describe(from, 0, out),
            &Message::Describe { index } => self.handle_describe(from, index, out),
            Message::Ready { problem } => {
                return self.handle_ready(now, from, problem.as_deref(), outcome, out);
            }
            Message::Ask(ask) => self.dispatcher.handle_ask(now, from, ask, out),
            &Message::Progress { segments } => self.dispatcher.note_progress(from, segments),
            &Message::Complete { segments } => {
                self.handle_complete(now, from, segments, outcome, out);
            }
            Message::Done(report) => {
                if report.broken.is_some() && self.dispatcher.stage(from) == PeerStage::Fetching {
                    self.dispatcher.drop_out(now, from, report.segments, out);
                } else {
                    self.handle_complete(now, from, report.segments, outcome, out);
                }
                self.handle_done(from, report, outcome, out);
            }
            Message::Bye => {
                self.dispatcher.set_stage(from, PeerStage::Gone);
                self.finish_when_gone(out);
            }
            // What peers say to each other, and what only the tracker says.
            Message::Register(_)
            | Message::Registered { .. }
            | Message::Described(_)
            | Message::Open
            | Message::Handout(_)
            | Message::Acknowledged { .. }
            | Message::Lost { .. }
            | Message::Stop
            | Message::Request { .. }
            | Message::Decline { .. }
            | Message::Unservable { .. }
            | Message::Withdraw { .. }
            | Message::Withdrawn { .. }
            | Message::Offer { .. }
            | Message::Refuse { .. }
            | Message::Coming { .. }
            | Message::Holds { .. }
            | Message::Probe
            | Message::Alive
            | Message::Digests { .. }
            | Message::Query
            | Message::Subtree(_) => {}
        }
        ControlFlow::Continue(())
    }

    /// Where peers decide: tells them what sources have read.
    pub(super) fn tell_digests(&mut self, now: Timestamp, out: &mut Outbox) {
        if self.stage == SwarmStage::Open {
            self.dispatcher.tell_digests(now, out);
        }
    }

    /// When silent peers are looked for next, or others are to be told what was read.
    pub(super) fn deadline(&self) -> Timestamp {
        let due = self.dispatcher.digests_due().filter(|_| self.stage == SwarmStage::Open);
        due.map_or(self.check_at, |due| due.min(self.check_at))
    }

    /// Whether the numbers of a message are those of this swarm.
    pub(super) fn check(&self, from: NodeId, message: &Message) -> Result<(), Violation> {
        let peers_decide = self.neighbours.is_some();
        if let Message::Ask(ask) = message
            && (!peers_decide || self.asks_to_read(from, ask))
        {
            self.check_ask(ask)
        } else if let &Message::Progress { segments } = message
            && peers_decide
        {
            check_count(segments, self.dispatcher.roster().wanted_by(from))
        } else if let Message::Ready { problem: Some(problem) } = message {
            check_problem(problem)
        } else if let &Message::Complete { segments } = message {
            check_count(segments, self.dispatcher.roster().wanted_by(from))
        } else if let Message::Done(report) = message {
            self.bounds.report(report, self.dispatcher.roster().wanted_by(from))
        } else if let Message::Subtree(_) | Message::Ask(_) | Message::Progress { .. } = message {
            // Peers report up a tree only in a broadcast. They ask only where a tracker hands out, or for what they are
            // to read, and tell their progress only where it does not.
            Err(Violation::kind(message))
        } else {
            Ok(())
        }
    }

    /// Whether a source asks for what it is to read, and for nothing that others have.
    // Also one that reads nothing more: it may have asked before it heard so.
    fn asks_to_read(&self, from: NodeId, ask: &Ask) -> bool {
        let late = self.dispatcher.roster().late.as_ref();
        let is_source = late.is_some_and(|late| late.sources.contains(&from));
        is_source && ask.blocks.is_empty() && !ask.end_game
    }

    fn check_ask(&self, ask: &Ask) -> Result<(), Violation> {
        self.bounds.blocks(&ask.blocks)?;
        self.bounds.reads(&ask.read, WINDOW_MAX)?;
        ask.problem.iter().try_for_each(|problem| check_problem(problem))?;
        ask.verified.iter().try_for_each(|&segment| self.bounds.segment(segment))?;
        ask.failed.iter().try_for_each(|failed| {
            self.bounds.segment(failed.segment).and(self.bounds.holder(failed.holder))
        })
    }

    pub(super) fn handle_lost(
        &mut self,
        now: Timestamp,
        node: NodeId,
        outcome: &mut Outcome,
        out: &mut Outbox,
    ) {
        if self.dispatcher.stage(node) == PeerStage::Gone {
            return;
        }
        outcome.lost.push(node);
        // Not an error while the swarm closes: the peer was done, and its last message was lost.
        if self.dispatcher.stage(node) != PeerStage::Done {
            outcome.errors.push(format!("{node} is lost: it did not finish"));
        } else if self.stage == SwarmStage::Open {
            outcome.errors.push(format!("{node} is lost: others may have needed it"));
        }
        self.dispatcher.lose(now, node, out);
        // Receives from it never complete: peers make their slots vacant.
        for peer in self.peers() {
            out.send(peer, Message::Lost { node });
        }
        self.open_when_ready(now, outcome, out);
        self.close_when_done(out);
        self.finish_when_gone(out);
    }

    /// Takes peers that said nothing for too long for lost.
    pub(super) fn check_silence(
        &mut self,
        now: Timestamp,
        outcome: &mut Outcome,
        out: &mut Outbox,
    ) {
        if now < self.check_at {
            return;
        }
        let patience = match self.stage {
            // A peer that touches its memory for the first time sends nothing meanwhile.
            SwarmStage::Reserving => self.config.registration_patience,
            SwarmStage::Open | SwarmStage::Closing => self.config.silence_patience,
            SwarmStage::Finished => return,
        };
        let interval = silence_check_interval(&self.config);
        // A tracker that was stopped itself has not listened: what peers said meanwhile is still to be
        // read, and their silence begins now.
        let was_stopped = now.since(self.check_at) > interval / 2;
        self.check_at = now + interval;
        if was_stopped {
            for peer in self.peers() {
                self.dispatcher.note_contact(now, peer);
            }
            return;
        }
        for node in self.dispatcher.silent(now, patience) {
            self.handle_lost(now, node, outcome, out);
        }
    }

    /// Tells all peers to stop.
    pub(super) fn close(&mut self, out: &mut Outbox) {
        self.stage = SwarmStage::Closing;
        for peer in self.peers() {
            out.send(peer, Message::Stop);
        }
        self.finish_when_gone(out);
    }

    /// Peers that have not left.
    pub(super) fn peers(&self) -> Vec<NodeId> {
        let peers = (1..self.nodes).map(NodeId);
        peers.filter(|&peer| self.dispatcher.stage(peer) != PeerStage::Gone).collect()
    }

    pub(super) fn progress(&self) -> Progress {
        Progress {
            segments_wanted: self.dispatcher.wanted_segments(),
            segments_verified: self.dispatcher.verified_segments(),
            files_finished: self.files_finished,
            peers_complete: self.dispatcher.count(PeerStage::Complete),
            slowest: self.dispatcher.slowest(),
        }
    }

    fn handle_describe(&mut self, peer: NodeId, index: u32, out: &mut Outbox) {
        let known = self.catalogues.remove(&peer);
        let catalogue = known.unwrap_or_else(|| self.catalogue(peer));
        let part = catalogue.part(index, self.dispatcher.roster());
        out.send(peer, Message::Described(part));
        self.catalogues.insert(peer, catalogue);
    }

    fn handle_ready(
        &mut self,
        now: Timestamp,
        from: NodeId,
        problem: Option<&str>,
        outcome: &mut Outcome,
        out: &mut Outbox,
    ) -> ControlFlow<String> {
        self.catalogues.remove(&from);
        match (self.stage, problem) {
            (SwarmStage::Reserving, Some(problem)) => {
                return ControlFlow::Break(format!("{from}: {}", printable(problem)));
            }
            (SwarmStage::Reserving, None) => {
                self.dispatcher.set_stage(from, PeerStage::Fetching);
                self.open_when_ready(now, outcome, out);
            }
            // The message that the swarm is open was lost.
            (SwarmStage::Open, _) => out.send(from, Message::Open),
            (SwarmStage::Closing | SwarmStage::Finished, _) => {}
        }
        ControlFlow::Continue(())
    }

    /// Opens the swarm when every peer that is left has room for what it wants.
    fn open_when_ready(&mut self, now: Timestamp, outcome: &mut Outcome, out: &mut Outbox) {
        if self.stage != SwarmStage::Reserving || !self.all_are(PeerStage::Fetching) {
            return;
        }
        self.stage = SwarmStage::Open;
        outcome.opened = Some(now);
        self.check_at = now + silence_check_interval(&self.config);
        for peer in self.peers() {
            self.dispatcher.note_contact(now, peer);
            out.send(peer, Message::Open);
        }
        self.close_when_done(out);
    }

    fn handle_complete(
        &mut self,
        now: Timestamp,
        from: NodeId,
        segments: u32,
        outcome: &mut Outcome,
        out: &mut Outbox,
    ) {
        if self.dispatcher.stage(from) == PeerStage::Fetching {
            self.dispatcher.complete(now, from, segments, out);
            outcome.finished[from.index()] = Some(now);
        }
    }

    fn handle_done(
        &mut self,
        from: NodeId,
        report: &DoneReport,
        outcome: &mut Outcome,
        out: &mut Outbox,
    ) {
        match self.dispatcher.stage(from) {
            PeerStage::Fetching | PeerStage::Complete => {
                self.dispatcher.set_stage(from, PeerStage::Done);
                self.files_finished += u64::from(report.files);
                let unreadable = self.dispatcher.unreadable();
                outcome.take_report(from, report, self.dispatcher.roster(), &unreadable);
            }
            // It repeats itself: its Stop was lost.
            PeerStage::Done if self.stage == SwarmStage::Closing => out.send(from, Message::Stop),
            PeerStage::Done | PeerStage::Reserving | PeerStage::Gone => {}
        }
        self.close_when_done(out);
    }

    fn close_when_done(&mut self, out: &mut Outbox) {
        if self.stage == SwarmStage::Open && self.all_are(PeerStage::Done) {
            self.close(out);
        }
    }

    fn finish_when_gone(&mut self, out: &mut Outbox) {
        if self.stage == SwarmStage::Closing && self.all_are(PeerStage::Gone) {
            self.stage = SwarmStage::Finished;
            out.push(Output::Finish);
        }
    }

    /// Whether every peer has come as far as `stage`, or further.
    fn all_are(&self, stage: PeerStage) -> bool {
        self.dispatcher.count(stage) == self.nodes as usize - 1
    }
}

/// The time between two looks for silent peers.
// A quarter: a peer counts as lost after at most 1.25 x `silence_patience`, and to look at every peer
// stays rare. Chosen, not tuned.
fn silence_check_interval(config: &Config) -> Duration {
    config.silence_patience / 4
}
