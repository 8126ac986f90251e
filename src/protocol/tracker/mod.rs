//! The tracker: collects registrations, opens the swarm, hands out segments, and ends the run
//! when the last peer is done.

mod dispatcher;
mod peer_state;
mod backpressure;
mod wait_queue;
mod outcome;
mod pace;
mod service;

use std::collections::{BTreeMap, BTreeSet};

use crate::config::Config;
use crate::manifest::{NodeId, SegmentId};
use crate::time::Timestamp;
use crate::verify::Digest;

use super::enrolment::{Incoming, Outgoing, PartProgress};
use super::roster::Roster;
use super::{Enrolment, Farewell, Input, Message, Node, Outbox, Output, Part, Wait};
use backpressure::Backpressure;
use dispatcher::Dispatcher;
use peer_state::PeerStage;

pub use outcome::{Outcome, Progress};
pub use service::{Account, AnswerLimits, Service};

/// Where the tracker stands on its way through a run.
#[derive(Debug)]
enum TrackerPhase {
    /// Peers register.
    Enrolling { registrations: Vec<IncomingRegistration> },
    /// They know the catalogue and reserve slots.
    Reserving,
    /// They download from each other.
    Open,
    /// All are told to stop.
    Closing,
    /// All have left.
    Finished,
}

/// One peer's registration on its way in.
#[derive(Debug, Default)]
struct IncomingRegistration {
    incoming: Incoming,
    whole: bool,
}

/// Rank 0.
#[derive(Debug)]
pub struct Tracker {
    config: Config,
    nodes: u32,
    seed: u64,
    phase: TrackerPhase,
    dispatcher: Option<Dispatcher>,
    /// Catalogues that peers are reading.
    catalogues: BTreeMap<NodeId, Outgoing>,
    /// Peers that left or were lost before a swarm was opened.
    left: BTreeSet<NodeId>,
    outcome: Outcome,
    files_finished: u64,
    backpressure: Backpressure,
    started: Timestamp,
    /// When the silent are looked for next.
    watch: Timestamp,
}

impl Tracker {
    /// The tracker of a run with `nodes` nodes, itself included. Its choices follow from `seed`.
    pub fn new(nodes: u32, config: Config, seed: u64) -> Self {
        let registrations = (0..nodes).map(|_| IncomingRegistration::default()).collect();
        Self {
            nodes,
            seed,
            phase: TrackerPhase::Enrolling { registrations },
            dispatcher: None,
            catalogues: BTreeMap::new(),
            left: BTreeSet::new(),
            outcome: Outcome { finished: vec![None; nodes as usize], ..Outcome::default() },
            files_finished: 0,
            backpressure: Backpressure::new(nodes as usize),
            started: Timestamp::default(),
            watch: Timestamp::default(),
            config,
        }
    }

    /// How the run went.
    pub fn outcome(&self) -> &Outcome {
        &self.outcome
    }

    /// How far the run has come.
    pub fn progress(&self) -> Progress {
        let Some(dispatcher) = &self.dispatcher else { return Progress::default() };
        Progress {
            segments_wanted: dispatcher.wanted_segments(),
            segments_verified: dispatcher.verified_segments(),
            files_finished: self.files_finished,
            peers_complete: dispatcher.count(PeerStage::Complete),
        }
    }

    /// What the owners registered for a segment; none before all have registered.
    pub fn digest(&self, segment: SegmentId) -> Option<Digest> {
        self.dispatcher.as_ref().map(|dispatcher| dispatcher.digest(segment))
    }

    /// Bytes of all files that somebody wants, each counted once, at `segment_bytes` a segment.
    pub fn distinct_bytes_wanted(&self, segment_bytes: usize) -> u64 {
        let Some(dispatcher) = &self.dispatcher else { return 0 };
        dispatcher.roster().distinct_bytes_wanted(segment_bytes)
    }

    /// The most segments that peers had been given and not announced at one moment.
    pub fn grants_max(&self) -> usize {
        self.dispatcher.as_ref().map_or(0, Dispatcher::grants_max)
    }

    fn hear(&mut self, now: Timestamp, from: NodeId, message: &Message, out: &mut Outbox) {
        if let Some(dispatcher) = &mut self.dispatcher {
            dispatcher.hear(now, from);
        }
        if *message != Message::Bye && self.is_left_over(from) {
            // It did not hear that the run is over, or is not lost as it seemed.
            self.watch = now + self.config.silence_patience;
            out.send(from, Message::Stop);
            return;
        }
        match message {
            Message::Register(part) => self.handle_register(now, from, part, out),
            &Message::Describe { index } => self.handle_describe(from, index, out),
            Message::Ready { trouble } => self.handle_ready(now, from, trouble.as_deref(), out),
            Message::Ask(ask) => {
                if let Some(dispatcher) = &mut self.dispatcher {
                    dispatcher.handle_ask(now, from, ask, out);
                }
            }
            Message::Finished { .. } => self.files_finished += 1,
            &Message::Complete { segments } => self.handle_complete(now, from, segments, out),
            Message::Done(farewell) => {
                self.handle_complete(now, from, farewell.segments, out);
                self.handle_done(from, farewell, out);
            }
            Message::Bye => self.handle_bye(from, out),
            // What peers say to each other, and what only the tracker says.
            Message::Registered { .. }
            | Message::Described(_)
            | Message::Open
            | Message::Handout(_)
            | Message::Heard { .. }
            | Message::Stop
            | Message::Request { .. }
            | Message::Decline { .. }
            | Message::Withdraw { .. }
            | Message::Withdrawn { .. } => {}
        }
    }

    /// Whoever says the same again learns that it was heard, where nothing else is said to it: it
    /// would take this for the silence of a tracker that is gone. Likewise who `waits` for that.
    fn reassure(
        &mut self,
        now: Timestamp,
        (from, waits): (NodeId, bool),
        before: usize,
        out: &mut Outbox,
    ) {
        let mut told = false;
        for to in out.receivers_after(before) {
            self.backpressure.note_spoken(now, to);
            told |= to == from;
        }
        if (waits && !told) || now >= self.backpressure.spoken(from) + self.config.ask_patience {
            self.backpressure.note_spoken(now, from);
            let answers = self.dispatcher.as_ref().map_or(0, |dispatcher| dispatcher.heard(from));
            let busy = self.backpressure.is_busy();
            out.send(from, Message::Heard { answers, busy });
        }
    }

    fn handle_register(&mut self, now: Timestamp, from: NodeId, part: &Part, out: &mut Outbox) {
        let TrackerPhase::Enrolling { registrations } = &mut self.phase else {
            if part.last {
                // Neither the confirmation nor the catalogue reached it.
                self.handle_describe(from, 0, out);
            }
            return;
        };
        let registration = &mut registrations[from.index()];
        if registration.incoming.accept(part) == PartProgress::Whole {
            registration.whole = true;
        }
        // A part that had come before is confirmed again: the first answer may be lost.
        if part.index < registration.incoming.next() {
            out.send(from, Message::Registered { index: part.index });
        }
        if registrations[1..].iter().all(|registration| registration.whole) {
            self.number(now, out);
        }
    }

    /// All have registered: numbers the files, and tells every peer how.
    fn number(&mut self, now: Timestamp, out: &mut Outbox) {
        let TrackerPhase::Enrolling { registrations } =
            std::mem::replace(&mut self.phase, TrackerPhase::Reserving)
        else {
            return;
        };
        let (mut enrolments, mut refusals) = (Vec::new(), Vec::new());
        for (node, registration) in (1..self.nodes).map(NodeId).zip(&registrations[1..]) {
            let enrolment = registration.incoming.open().unwrap_or_else(|| Enrolment::Refused {
                reason: format!("{node}: its registration can't be read").into(),
            });
            if let Enrolment::Refused { reason } = &enrolment {
                refusals.push((node, reason.clone()));
            }
            enrolments.push((node, enrolment));
        }
        drop(registrations);
        self.outcome.take_refusals(&refusals);
        if self.outcome.errors.is_empty() {
            let roster = Roster::new(&enrolments);
            match roster.and_then(|roster| roster.within(self.config.segments_max)) {
                Ok(roster) => return self.describe(now, roster, out),
                Err(error) => self.outcome.errors.push(error.to_string()),
            }
        }
        self.refuse(now, out);
    }

    /// ListEnds a run in which nothing was moved.
    fn refuse(&mut self, now: Timestamp, out: &mut Outbox) {
        self.outcome.refused = true;
        if let Some(dispatcher) = self.dispatcher.take() {
            let peers = (1..self.nodes).map(NodeId);
            self.left = peers.filter(|&peer| dispatcher.stage(peer) == PeerStage::Gone).collect();
        }
        self.watch = now + self.config.silence_patience;
        self.close(out);
    }

    /// Whether a peer has no part in the run any more, and should be told so.
    fn is_left_over(&self, peer: NodeId) -> bool {
        match &self.dispatcher {
            Some(dispatcher) => dispatcher.stage(peer) == PeerStage::Gone,
            None => matches!(self.phase, TrackerPhase::Closing | TrackerPhase::Finished),
        }
    }

    fn describe(&mut self, now: Timestamp, roster: Roster, out: &mut Outbox) {
        self.outcome.unavailable = roster.unowned.iter().map(ToString::to_string).collect();
        for peer in (1..self.nodes).map(NodeId) {
            let catalogue = Outgoing::new(&roster.catalogue(peer));
            let part = catalogue.part(0);
            if !part.last {
                self.catalogues.insert(peer, catalogue);
            }
            out.send(peer, Message::Described(part));
        }
        self.watch = now + self.config.silence_patience / 4;
        self.dispatcher =
            Some(Dispatcher::new(now, roster, self.nodes, self.config.clone(), self.seed));
    }

    fn handle_describe(&mut self, peer: NodeId, index: u32, out: &mut Outbox) {
        let Some(dispatcher) = &self.dispatcher else { return };
        let catalogue = self
            .catalogues
            .entry(peer)
            .or_insert_with(|| Outgoing::new(&dispatcher.roster().catalogue(peer)));
        out.send(peer, Message::Described(catalogue.part(index)));
    }

    fn handle_ready(
        &mut self,
        now: Timestamp,
        from: NodeId,
        trouble: Option<&str>,
        out: &mut Outbox,
    ) {
        let Some(dispatcher) = &mut self.dispatcher else { return };
        self.catalogues.remove(&from);
        match (&self.phase, trouble) {
            (TrackerPhase::Reserving, Some(trouble)) => {
                self.outcome.errors.push(format!("{from}: {trouble}"));
                self.refuse(now, out);
            }
            (TrackerPhase::Reserving, None) => {
                dispatcher.set_stage(from, PeerStage::Fetching);
                self.open_when_ready(now, out);
            }
            // It did not hear that the swarm is open.
            (TrackerPhase::Open, _) => out.send(from, Message::Open),
            (
                TrackerPhase::Enrolling { .. } | TrackerPhase::Closing | TrackerPhase::Finished,
                _,
            ) => {}
        }
    }

    /// Opens the swarm when every peer that is left has room for what it wants.
    fn open_when_ready(&mut self, now: Timestamp, out: &mut Outbox) {
        let Some(dispatcher) = &mut self.dispatcher else { return };
        let ready = dispatcher.count(PeerStage::Fetching) == self.nodes as usize - 1;
        if !ready || !matches!(self.phase, TrackerPhase::Reserving) {
            return;
        }
        self.phase = TrackerPhase::Open;
        self.outcome.opened = Some(now);
        self.watch = now + self.config.silence_patience / 4;
        for peer in (1..self.nodes).map(NodeId) {
            if dispatcher.stage(peer) != PeerStage::Gone {
                dispatcher.hear(now, peer);
                out.send(peer, Message::Open);
            }
        }
        self.close_when_done(out);
    }

    fn handle_complete(&mut self, now: Timestamp, from: NodeId, segments: u32, out: &mut Outbox) {
        let Some(dispatcher) = &mut self.dispatcher else { return };
        if dispatcher.stage(from) == PeerStage::Fetching {
            dispatcher.complete(now, from, segments, out);
            self.outcome.finished[from.index()] = Some(now);
        }
    }

    fn handle_done(&mut self, from: NodeId, farewell: &Farewell, out: &mut Outbox) {
        let Some(dispatcher) = &mut self.dispatcher else { return };
        match dispatcher.stage(from) {
            PeerStage::Fetching | PeerStage::Complete => {
                dispatcher.set_stage(from, PeerStage::Done);
                self.outcome.take_farewell(from, farewell, dispatcher.roster());
            }
            PeerStage::Done => {
                // Said again: if all were told to stop, this one did not hear it.
                if matches!(self.phase, TrackerPhase::Closing) {
                    out.send(from, Message::Stop);
                }
            }
            PeerStage::Reserving | PeerStage::Gone => {}
        }
        self.close_when_done(out);
    }

    fn close_when_done(&mut self, out: &mut Outbox) {
        let done = self
            .dispatcher
            .as_ref()
            .is_some_and(|dispatcher| dispatcher.count(PeerStage::Done) == self.nodes as usize - 1);
        if done && matches!(self.phase, TrackerPhase::Open) {
            self.close(out);
        }
    }

    fn close(&mut self, out: &mut Outbox) {
        self.phase = TrackerPhase::Closing;
        for peer in (1..self.nodes).map(NodeId) {
            let gone = match &self.dispatcher {
                Some(dispatcher) => dispatcher.stage(peer) == PeerStage::Gone,
                None => self.left.contains(&peer),
            };
            if !gone {
                out.send(peer, Message::Stop);
            }
        }
        self.finish_when_gone(out);
    }

    fn handle_bye(&mut self, from: NodeId, out: &mut Outbox) {
        match &mut self.dispatcher {
            Some(dispatcher) => dispatcher.set_stage(from, PeerStage::Gone),
            None => drop(self.left.insert(from)),
        }
        self.finish_when_gone(out);
    }

    fn finish_when_gone(&mut self, out: &mut Outbox) {
        let gone = match &self.dispatcher {
            Some(dispatcher) => dispatcher.count(PeerStage::Gone),
            None => self.left.len(),
        };
        if matches!(self.phase, TrackerPhase::Closing) && gone == self.nodes as usize - 1 {
            self.phase = TrackerPhase::Finished;
            out.push(Output::Finish);
        }
    }

    fn handle_lost(&mut self, now: Timestamp, node: NodeId, out: &mut Outbox) {
        let Some(dispatcher) = &mut self.dispatcher else { return self.lose_early(now, node, out) };
        if dispatcher.stage(node) == PeerStage::Gone {
            return;
        }
        self.outcome.lost.push(node);
        if dispatcher.stage(node) != PeerStage::Done {
            self.outcome.errors.push(format!("{node} is lost: it did not finish"));
        } else if matches!(self.phase, TrackerPhase::Open) {
            self.outcome.errors.push(format!("{node} is lost: others may have needed it"));
        }
        // At the end it may have left unheard: what it had to do, it has said to be done.
        dispatcher.lose(now, node, out);
        self.open_when_ready(now, out);
        self.close_when_done(out);
        self.finish_when_gone(out);
    }

    /// A peer is lost while there is no swarm: what it has and wants nobody will know.
    fn lose_early(&mut self, now: Timestamp, node: NodeId, out: &mut Outbox) {
        if !self.left.insert(node) {
            return;
        }
        self.outcome.lost.push(node);
        if matches!(self.phase, TrackerPhase::Enrolling { .. }) {
            self.outcome.errors.push(format!("{node} is lost: the swarm was not open yet"));
            return self.refuse(now, out);
        }
        self.finish_when_gone(out);
    }

    fn handle_deadline(&mut self, now: Timestamp, out: &mut Outbox) {
        match &self.phase {
            TrackerPhase::Enrolling { registrations } => {
                if now < self.started + self.config.enrolment_patience {
                    return;
                }
                let silent = (1..self.nodes).map(NodeId).zip(&registrations[1..]);
                for (node, _) in silent.filter(|(_, registration)| !registration.whole) {
                    self.outcome.errors.push(format!("{node} did not register in time"));
                }
                self.refuse(now, out);
            }
            // The last farewells are lost, or never were said.
            TrackerPhase::Closing if self.dispatcher.is_none() && now >= self.watch => {
                self.phase = TrackerPhase::Finished;
                out.push(Output::Finish);
            }
            TrackerPhase::Reserving | TrackerPhase::Open | TrackerPhase::Closing
                if now >= self.watch =>
            {
                self.watch = now + self.config.silence_patience / 4;
                // Who touches much memory for the first time has no time to talk.
                let patience = if matches!(self.phase, TrackerPhase::Reserving) {
                    self.config.enrolment_patience
                } else {
                    self.config.silence_patience
                };
                let silent = self.dispatcher.as_ref().map(|c| c.silent(now, patience));
                for node in silent.unwrap_or_default() {
                    self.handle_lost(now, node, out);
                }
            }
            TrackerPhase::Reserving
            | TrackerPhase::Open
            | TrackerPhase::Closing
            | TrackerPhase::Finished => {}
        }
    }
}

impl Node for Tracker {
    fn handle(&mut self, now: Timestamp, input: Input<'_>, out: &mut Outbox) {
        match input {
            Input::Start => {
                self.started = now;
                if self.nodes == 1 {
                    self.close(out);
                }
            }
            Input::Deadline => self.handle_deadline(now, out),
            Input::Message { from, message } => {
                let (before, leaves) = (out.len(), *message == Message::Bye);
                let waits = matches!(message, Message::Ask(ask) if ask.waits);
                self.backpressure.note_message();
                let busy = self.backpressure.is_busy();
                if let Some(dispatcher) = &mut self.dispatcher {
                    dispatcher.set_busy(busy);
                }
                self.hear(now, from, message, out);
                if !leaves {
                    self.reassure(now, (from, waits), before, out);
                }
            }
            Input::Lost { node } => self.handle_lost(now, node, out),
            Input::Idle => self.backpressure.rest(),
            // The tracker holds no segments.
            Input::Arrived { .. }
            | Input::Sent { .. }
            | Input::Reserved { .. }
            | Input::Checked { .. }
            | Input::Published { .. } => {}
        }
    }

    fn deadline(&self) -> Option<Timestamp> {
        match &self.phase {
            TrackerPhase::Enrolling { .. } => Some(self.started + self.config.enrolment_patience),
            TrackerPhase::Reserving | TrackerPhase::Open | TrackerPhase::Closing => {
                Some(self.watch)
            }
            TrackerPhase::Finished => None,
        }
    }

    fn waits_for(&self) -> Option<Wait> {
        matches!(self.phase, TrackerPhase::Open).then_some(Wait::Nothing)
    }

    fn may_leave_unsent(&self) -> bool {
        !self.outcome.lost.is_empty()
    }
}
