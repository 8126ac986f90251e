//! The tracker: collects registrations, opens the swarm, hands out segments, and ends the run
//! when the last peer is done.

mod adaptive_limits;
mod backpressure;
mod dispatcher;
mod outcome;
mod outgoing_catalogue;
mod peer_state;
mod known_segments;
mod late_digests;
mod late_reads;
mod failed_fetches;
mod offload;
mod offload_dispatch;
mod read_dispatch;
mod registrations;
mod running;
mod service;
mod wait_queue;

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use crate::config::{Config, Decider, LATE_SEGMENTS_MAX};
use crate::manifest::{NodeId, SegmentId};
use crate::time::Timestamp;
use crate::verify::Digest;

use super::late_file::LateFile;
use super::roster::Roster;
use super::violation::Route;
use super::{Input, Message, Node, Outbox, Output, ProtocolError, Violation, Wait};
use backpressure::Backpressure;
use offload::Offload;
use peer_state::PeerStage;
use registrations::Registrations;
use running::{RunningSwarm, SwarmStage};

pub(crate) use offload::requests_max;
pub use offload::{ServiceReply, ServiceRequest, ServiceScratch};
pub(crate) use outcome::printable;
pub use outcome::{Outcome, Progress};
pub use service::{Account, AnswerLimits, Service};

/// Where the tracker stands on its way through a run, with all that belongs to it there.
#[derive(Debug)]
enum TrackerPhase {
    Registering(Registrations),
    /// Files are numbered: peers reserve slots, download, and leave.
    Running(Box<RunningSwarm>),
    /// There is no swarm: the run was refused, or has no peers.
    Cancelled(CancelledRun),
}

/// Peers are told to stop before anything was moved.
#[derive(Debug)]
struct CancelledRun {
    /// Peers that left or were lost.
    departed: BTreeSet<NodeId>,
    /// When the tracker no longer waits for the others; none when it has finished.
    deadline: Option<Timestamp>,
}

/// Rank 0.
#[derive(Debug)]
pub struct Tracker {
    config: Config,
    nodes: u32,
    seed: u64,
    phase: TrackerPhase,
    outcome: Outcome,
    backpressure: Backpressure,
    /// By rank, how often it was told once more of a node that is lost.
    losses_repeated: Vec<usize>,
    /// Threads that answer asks beside the one that calls this; 0 where it answers all.
    service_threads: usize,
}

impl Tracker {
    /// The tracker of a run with `nodes` nodes, itself included. Its choices follow from `seed`.
    pub fn new(nodes: u32, config: Config, seed: u64) -> Self {
        Self {
            nodes,
            seed,
            phase: TrackerPhase::Registering(Registrations::new(
                nodes,
                Timestamp::default() + config.registration_patience,
            )),
            outcome: Outcome { finished: vec![None; nodes as usize], ..Outcome::default() },
            backpressure: Backpressure::new(nodes as usize),
            losses_repeated: vec![0; nodes as usize],
            service_threads: 0,
            config,
        }
    }

    /// The same where so many other threads answer asks: the caller takes these, and brings back the replies.
    #[must_use]
    pub fn with_service_threads(self, threads: usize) -> Self {
        Self { service_threads: threads, ..self }
    }

    /// How the run went.
    pub fn outcome(&self) -> &Outcome {
        &self.outcome
    }

    /// How far the run has come.
    pub fn progress(&self) -> Progress {
        self.swarm().map(RunningSwarm::progress).unwrap_or_default()
    }

    /// What the owners registered for a segment, or a source read; none before.
    pub fn digest(&self, segment: SegmentId) -> Option<Digest> {
        let digests = self.swarm().map(|swarm| &swarm.dispatcher.roster().digests)?;
        digests.get(segment.index())?.get().copied()
    }

    /// Bytes of all files that somebody wants, each counted once, at `segment_bytes` a segment.
    pub fn distinct_bytes_wanted(&self, segment_bytes: usize) -> u64 {
        let bytes =
            |swarm: &RunningSwarm| swarm.dispatcher.roster().distinct_bytes_wanted(segment_bytes);
        self.swarm().map_or(0, bytes)
    }

    /// What service threads share; none before files are numbered.
    pub fn service(&self) -> Option<&Arc<Service>> {
        self.swarm().map(|swarm| &swarm.dispatcher.service)
    }

    /// Asks that service threads are to answer.
    pub fn take_requests(&mut self) -> impl Iterator<Item = ServiceRequest> + '_ {
        let offload = match &mut self.phase {
            TrackerPhase::Running(swarm) => swarm.dispatcher.offload.as_mut(),
            TrackerPhase::Registering(_) | TrackerPhase::Cancelled(_) => None,
        };
        offload.into_iter().flat_map(|offload| offload.take_ready())
    }

    /// How many asks have been taken and not been replied to.
    pub fn requests_under_way(&self) -> usize {
        self.swarm().map_or(0, |swarm| swarm.dispatcher.under_way())
    }

    /// Whether an ask of that peer is among them. Its messages must wait for the reply.
    pub fn is_served(&self, peer: NodeId) -> bool {
        self.swarm().is_some_and(|swarm| swarm.dispatcher.is_away(peer))
    }

    /// A service thread has answered an ask.
    pub fn handle_reply(&mut self, now: Timestamp, reply: ServiceReply, out: &mut Outbox) {
        let (before, peer) = (out.len(), reply.peer);
        let TrackerPhase::Running(swarm) = &mut self.phase else { return };
        swarm.dispatcher.take_reply(now, reply, out);
        let waits = swarm.dispatcher.stop_awaiting(peer);
        self.acknowledge(now, (peer, waits), before, out);
    }

    /// The most segments that peers had been given and not announced at one moment.
    pub fn grants_max(&self) -> usize {
        self.swarm().map_or(0, |swarm| swarm.dispatcher.grants_max())
    }

    fn handle_message(
        &mut self,
        now: Timestamp,
        from: NodeId,
        message: &Message,
        out: &mut Outbox,
    ) -> Result<(), Violation> {
        match &mut self.phase {
            TrackerPhase::Registering(registrations) => {
                if let Message::Register(part) = message {
                    if registrations.accept(from, part, out)? {
                        self.number_files(now, out);
                    }
                } else if *message == Message::Bye {
                    registrations.departed.insert(from);
                } else if !matches!(message, Message::Describe { .. }) {
                    // A peer that repeats itself asks for its catalogue; all else comes later.
                    return Err(Violation::kind(message));
                }
            }
            TrackerPhase::Running(swarm) => {
                swarm.dispatcher.note_contact(now, from);
                if self.outcome.lost.contains(&from) {
                    // It was only silent. `Stop` would have it report and wait for the others, which go on.
                    out.send(from, Message::Lost { node: from });
                } else if swarm.dispatcher.stage(from) == PeerStage::Gone
                    && *message != Message::Bye
                {
                    // Stop did not reach it.
                    swarm.check_at = now + self.config.silence_patience;
                    out.send(from, Message::Stop);
                } else if let ControlFlow::Break(error) =
                    swarm.handle(now, from, message, &mut self.outcome, out)
                {
                    self.outcome.errors.push(error);
                    self.refuse(now, out);
                }
            }
            TrackerPhase::Cancelled(run) if *message == Message::Bye => {
                run.departed.insert(from);
                self.finish_when_departed(out);
            }
            TrackerPhase::Cancelled(run) => {
                // The first Stop was lost.
                run.deadline = run.deadline.map(|_| now + self.config.silence_patience);
                out.send(from, Message::Stop);
            }
        }
        Ok(())
    }

    /// Whether a rank of this run may send that to a tracker, and its numbers are those of this run.
    fn check(&self, from: NodeId, message: &Message) -> Result<(), Violation> {
        let is_peer = (1..self.nodes).contains(&from.0);
        if !is_peer || Route::of(message) != Route::ToTracker {
            return Err(Violation::kind(message));
        }
        self.swarm().map_or(Ok(()), |swarm| swarm.check(from, message))
    }

    /// All have registered: tells every peer how its files are numbered, or ends the run.
    fn number_files(&mut self, now: Timestamp, out: &mut Outbox) {
        let TrackerPhase::Registering(registrations) = &self.phase else { return };
        let roster = registrations.roster(&mut self.outcome);
        match roster.filter(|roster| can_decide(&self.config, roster, &mut self.outcome)) {
            Some(roster) => {
                self.outcome.unavailable = roster.unowned.iter().map(ToString::to_string).collect();
                self.outcome.lookalikes = roster.lookalikes();
                let mut swarm =
                    RunningSwarm::new(now, roster, self.nodes, self.seed, &self.config, out);
                swarm.dispatcher.offload = Offload::new(self.service_threads);
                self.phase = TrackerPhase::Running(Box::new(swarm));
            }
            None => self.refuse(now, out),
        }
    }

    /// Ends a run in which nothing was moved.
    fn refuse(&mut self, now: Timestamp, out: &mut Outbox) {
        self.outcome.refused = true;
        self.cancel(now, out);
    }

    fn cancel(&mut self, now: Timestamp, out: &mut Outbox) {
        let peers = (1..self.nodes).map(NodeId);
        let departed: BTreeSet<NodeId> = match &self.phase {
            TrackerPhase::Registering(registrations) => registrations.departed.clone(),
            TrackerPhase::Running(swarm) => peers
                .clone()
                .filter(|&peer| swarm.dispatcher.stage(peer) == PeerStage::Gone)
                .collect(),
            TrackerPhase::Cancelled(_) => return,
        };
        for peer in peers.filter(|peer| !departed.contains(peer)) {
            out.send(peer, Message::Stop);
        }
        let deadline = Some(now + self.config.silence_patience);
        self.phase = TrackerPhase::Cancelled(CancelledRun { departed, deadline });
        self.finish_when_departed(out);
    }

    fn finish_when_departed(&mut self, out: &mut Outbox) {
        if let TrackerPhase::Cancelled(run) = &mut self.phase
            && run.departed.len() == self.nodes as usize - 1
            && run.deadline.take().is_some()
        {
            out.push(Output::Finish);
        }
    }

    fn handle_lost(&mut self, now: Timestamp, node: NodeId, out: &mut Outbox) {
        match &mut self.phase {
            TrackerPhase::Running(swarm) => swarm.handle_lost(now, node, &mut self.outcome, out),
            TrackerPhase::Registering(registrations) => {
                if registrations.departed.insert(node) {
                    self.outcome.lost.push(node);
                    let error = format!("{node} is lost: the swarm was not open yet");
                    self.outcome.errors.push(error);
                    self.refuse(now, out);
                }
            }
            TrackerPhase::Cancelled(run) => {
                if run.departed.insert(node) {
                    self.outcome.lost.push(node);
                    self.finish_when_departed(out);
                }
            }
        }
    }

    fn handle_deadline(&mut self, now: Timestamp, out: &mut Outbox) {
        match &mut self.phase {
            TrackerPhase::Registering(registrations) if now >= registrations.deadline => {
                // They may hang in a file system, and would never join a step that all ranks take together.
                let missing: Vec<NodeId> = registrations.missing().collect();
                let seconds = self.config.registration_patience.as_secs_f64();
                for &node in &missing {
                    let error = format!(
                        "{node} did not register within {seconds} s: stopped or lost, or its input hangs"
                    );
                    self.outcome.errors.push(error);
                    registrations.departed.insert(node);
                }
                self.outcome.lost.extend(missing);
                self.refuse(now, out);
            }
            TrackerPhase::Running(swarm) => swarm.check_silence(now, &mut self.outcome, out),
            // The last messages of leaving peers are lost, or were never sent.
            TrackerPhase::Cancelled(run)
                if run.deadline.is_some_and(|deadline| now >= deadline) =>
            {
                run.deadline = None;
                out.push(Output::Finish);
            }
            TrackerPhase::Registering(_) | TrackerPhase::Cancelled(_) => {}
        }
    }

    // Acknowledges a message that got no other answer, if its sender `waits` for one or was sent
    // nothing for so long that it repeats itself: a peer takes silence for a tracker that is gone.
    fn acknowledge(
        &mut self,
        now: Timestamp,
        (from, waits): (NodeId, bool),
        before: usize,
        out: &mut Outbox,
    ) {
        let mut told = false;
        for to in out.receivers_after(before) {
            self.backpressure.note_sent(now, to);
            told |= to == from;
        }
        if let TrackerPhase::Running(swarm) = &mut self.phase
            && swarm.dispatcher.is_away(from)
        {
            // The reply to its ask is mostly a better answer, and comes soon.
            swarm.dispatcher.await_reply(from, waits && !told);
            return;
        }
        let repeat = self.backpressure.last_sent(from) + self.config.repeat_interval();
        if (waits && !told) || now >= repeat {
            self.backpressure.note_sent(now, from);
            let answers = self.swarm().map_or(0, |swarm| swarm.dispatcher.last_ask(from));
            let busy = self.backpressure.is_busy();
            out.send(from, Message::Acknowledged { answers, busy });
            self.repeat_loss(from, out);
        }
    }

    // It may wait for a node that is lost, and not have heard of that.
    /// Tells a peer once more of one of the lost ones, each time of the next.
    fn repeat_loss(&mut self, to: NodeId, out: &mut Outbox) {
        let (lost, repeated) = (&self.outcome.lost, &mut self.losses_repeated[to.index()]);
        let Some(turn) = repeated.checked_rem(lost.len()) else { return };
        *repeated = repeated.wrapping_add(1);
        if lost[turn] != to {
            out.send(to, Message::Lost { node: lost[turn] });
        }
    }

    fn swarm(&self) -> Option<&RunningSwarm> {
        match &self.phase {
            TrackerPhase::Running(swarm) => Some(swarm),
            TrackerPhase::Registering(_) | TrackerPhase::Cancelled(_) => None,
        }
    }
}

/// Whether the peers of these files can decide, where they are to; the outcome says why not.
fn can_decide(config: &Config, roster: &Roster, outcome: &mut Outcome) -> bool {
    let segments = roster.geometry.segment_count();
    let why = if config.decide == Decider::Tracker {
        return true;
    } else if roster.late.as_ref().is_some_and(LateFile::has_parts) {
        // A peer does not pass on what it does not want, and the neighbours of a late file are those of all its peers.
        "all ranks must have and take the same: leave --only and --from each out".to_owned()
    } else if segments > LATE_SEGMENTS_MAX {
        format!("{segments} segments, of at most {LATE_SEGMENTS_MAX}: use larger segments")
    } else {
        return true;
    };
    outcome.errors.push(format!("--decide peers: {why}, or --decide tracker"));
    false
}

impl Node for Tracker {
    fn handle(
        &mut self,
        now: Timestamp,
        input: Input<'_>,
        out: &mut Outbox,
    ) -> Result<(), ProtocolError> {
        match input {
            Input::Start if self.nodes == 1 => self.cancel(now, out),
            Input::Start => {
                if let TrackerPhase::Registering(registrations) = &mut self.phase {
                    registrations.deadline = now + self.config.registration_patience;
                }
            }
            Input::Deadline => self.handle_deadline(now, out),
            Input::Message { from, message } => {
                self.check(from, message).map_err(|violation| violation.from(from))?;
                let (before, leaves) = (out.len(), *message == Message::Bye);
                let waits = matches!(message, Message::Ask(ask) if ask.waits)
                    || matches!(message, Message::Progress { .. });
                self.backpressure.note_message();
                if let TrackerPhase::Running(swarm) = &mut self.phase {
                    swarm.dispatcher.set_busy(self.backpressure.is_busy());
                }
                let handled = self.handle_message(now, from, message, out);
                handled.map_err(|violation| violation.from(from))?;
                if !leaves {
                    self.acknowledge(now, (from, waits), before, out);
                }
            }
            Input::Lost { node } => self.handle_lost(now, node, out),
            // While service threads compute, it has not caught up.
            Input::Idle if self.requests_under_way() > 0 => {}
            Input::Idle => self.backpressure.note_idle(),
            // The tracker holds no segments.
            Input::Arrived { .. }
            | Input::Sent { .. }
            | Input::Reserved { .. }
            | Input::Checked { .. }
            | Input::Read { .. }
            | Input::Room { .. }
            | Input::Broken { .. }
            | Input::Unservable { .. }
            | Input::Published { .. } => {}
        }
        if let TrackerPhase::Running(swarm) = &mut self.phase {
            swarm.tell_digests(now, out);
        }
        Ok(())
    }

    fn deadline(&self) -> Option<Timestamp> {
        match &self.phase {
            TrackerPhase::Registering(registrations) => Some(registrations.deadline),
            TrackerPhase::Running(swarm) if swarm.stage == SwarmStage::Finished => None,
            TrackerPhase::Running(swarm) => Some(swarm.deadline()),
            TrackerPhase::Cancelled(run) => run.deadline,
        }
    }

    fn waits_for(&self) -> Option<Wait> {
        self.swarm().is_some_and(|swarm| swarm.stage == SwarmStage::Open).then_some(Wait::Nothing)
    }

    fn quiet_max(&self, finished: bool) -> Option<Duration> {
        finished.then_some(self.config.silence_patience)
    }

    fn may_leave_unsent(&self) -> bool {
        !self.outcome.lost.is_empty()
    }
}
