//! Rank 0: collects registrations, answers with lists of holders, and stops everyone when the last
//! peer is done.

use std::collections::BTreeMap;
use std::time::Duration;

use super::endpoint::{Endpoint, Tag};
use super::holder_map::HolderMap;
use super::messages::{
    HolderQuery, PeerMessage, TrackerMessage, WantedSegment, decode, encode, misplaced,
};
use super::tracker_client::tick;
use crate::config::Config;
use crate::driver::SHOW_EVERY;
use crate::driver::job::{Job, JobResult};
use crate::driver::stopwatch::Stopwatch;
use crate::escape;
use crate::manifest::NodeId;
use crate::metrics::usage::Meter;
use crate::metrics::{Activity, RankMetrics};
use crate::protocol::roster::Roster;
use crate::protocol::tracker::{Progress, printable};
use crate::protocol::violation::{Bounds, check_count};
use crate::protocol::{Outcome, Registration};
use crate::time::{Clock, Timestamp};
use crate::transport::TransportError;

/// Runs rank 0 to the end: of the run, or until a peer is lost, which the result names. `show` is called
/// with the progress a few times a second.
pub(super) fn run<L: Endpoint>(
    endpoint: &L,
    job: &Job,
    clock: &Clock,
    mut show: impl FnMut(Progress),
) -> Result<JobResult, TransportError> {
    let mut tracker = MutexTracker::new(endpoint, &job.config, (clock, &job.meter));
    let Some(swarm) = tracker.register()? else { return Ok(tracker.result(0)) };
    let distinct_bytes = swarm.roster().distinct_bytes_wanted(job.segment_bytes);
    if tracker.open()? && tracker.serve(&swarm, &mut show)? {
        tracker.stop()?;
    }
    show(tracker.progress);
    Ok(tracker.result(distinct_bytes))
}

/// How far a peer has come, which says what it may send, and how long it may be silent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Contact {
    /// It reads its input, and makes or hashes what it owns.
    Unregistered,
    Registered,
    /// It has memory, and fetches.
    Ready,
    /// It has all that can be had, and writes.
    Fetched,
    Done,
    /// It has sent its last message.
    Gone,
}

struct MutexTracker<'a, L> {
    endpoint: &'a L,
    nodes: u32,
    config: &'a Config,
    clock: &'a Clock,
    stopwatch: Stopwatch,
    outcome: Outcome,
    progress: Progress,
    /// Peers with nothing left to do until one of these segments can be had.
    waiting: BTreeMap<NodeId, Vec<WantedSegment>>,
    /// By rank: how far it is, and how long it has been silent.
    contacts: Vec<(Contact, Duration)>,
    /// By rank: how many segments it has said it received.
    received: Vec<u64>,
    /// Whether peers were told that the run ends: they receive nothing more.
    is_ending: bool,
    /// When silences were last prolonged.
    counted: Timestamp,
    metrics: Vec<RankMetrics>,
}

impl<'a, L: Endpoint> MutexTracker<'a, L> {
    fn new(endpoint: &'a L, config: &'a Config, (clock, meter): (&'a Clock, &Meter)) -> Self {
        let nodes = endpoint.nodes();
        Self {
            endpoint,
            nodes,
            config,
            clock,
            stopwatch: Stopwatch::start(clock, meter),
            outcome: Outcome { finished: vec![None; nodes as usize], ..Outcome::default() },
            progress: Progress::default(),
            waiting: BTreeMap::new(),
            contacts: vec![(Contact::Unregistered, Duration::ZERO); nodes as usize],
            received: vec![0; nodes as usize],
            is_ending: false,
            counted: clock.now(),
            metrics: vec![RankMetrics::default(); nodes as usize],
        }
    }

    // Collects all registrations, and tells every peer how its files are numbered; no swarm where
    // one can't take part or owners disagree.
    fn register(&mut self) -> Result<Option<HolderMap>, TransportError> {
        let (mut registrations, mut refusals) = (BTreeMap::new(), Vec::new());
        for _ in self.peers() {
            let Some((from, message)) = self.receive()? else { return Ok(None) };
            self.advance(from, &message, Contact::Unregistered, Contact::Registered)?;
            let PeerMessage::Register(registration) = message else {
                return Err(misplaced(from, &message));
            };
            registrations.insert(from, registration);
        }
        for (&node, registration) in &registrations {
            if let Registration::Refused { reason } = registration {
                refusals.push((node, reason.clone()));
            }
        }
        self.outcome.take_refusals(&refusals);
        if refusals.is_empty() {
            let registrations: Vec<_> = registrations.into_iter().collect();
            match Roster::new(&registrations) {
                Ok(roster) => {
                    self.describe(&roster)?;
                    return Ok(Some(HolderMap::new(roster, self.nodes)));
                }
                Err(error) => self.outcome.errors.push(error.to_string()),
            }
        }
        self.refuse()?;
        Ok(None)
    }

    fn describe(&mut self, roster: &Roster) -> Result<(), TransportError> {
        self.outcome.unavailable = roster.unowned.iter().map(ToString::to_string).collect();
        self.outcome.lookalikes = roster.lookalikes();
        self.progress.segments_wanted = roster.wanted_segments();
        self.peers().try_for_each(|peer| {
            self.answer(peer, &TrackerMessage::Catalogue(roster.catalogue(peer)))
        })
    }

    /// Opens the swarm if all have memory for what they want. Returns whether they have.
    fn open(&mut self) -> Result<bool, TransportError> {
        let mut problems = Vec::new();
        for _ in self.peers() {
            let Some((from, message)) = self.receive()? else { return Ok(false) };
            self.advance(from, &message, Contact::Registered, Contact::Ready)?;
            let PeerMessage::Ready { problem } = message else {
                return Err(misplaced(from, &message));
            };
            if let Some(problem) = problem {
                problems.push((from.0, printable(&problem)));
            }
        }
        self.outcome.errors.extend(escape::by_reason(problems));
        if !self.outcome.errors.is_empty() {
            self.refuse()?;
            return Ok(false);
        }
        self.stopwatch.lap(Activity::Idle);
        self.stopwatch.count(true);
        self.outcome.opened = Some(self.clock.now());
        self.peers().try_for_each(|peer| self.answer(peer, &TrackerMessage::Open))?;
        Ok(true)
    }

    /// Ends a run in which nothing was moved.
    fn refuse(&mut self) -> Result<(), TransportError> {
        self.outcome.refused = true;
        self.end(&TrackerMessage::Refused)
    }

    /// Answers peers until all are done. Returns whether none was lost.
    fn serve(
        &mut self,
        swarm: &HolderMap,
        show: &mut impl FnMut(Progress),
    ) -> Result<bool, TransportError> {
        let bounds = Bounds::of(&swarm.roster().geometry, self.nodes);
        let (mut done, mut shown) = (0, Timestamp::default());
        while done < self.nodes - 1 {
            // One message after the other: the tracker is the classic program's only serial part.
            let Some((from, message)) = self.receive()? else { return Ok(false) };
            self.metrics[0].messages += 1;
            self.check(from, &message, &bounds, swarm.roster().wanted_by(from))?;
            let now = self.stopwatch.lap(Activity::Idle);
            match message {
                PeerMessage::HolderQuery(query) => self.handle_query(swarm, from, query)?,
                PeerMessage::FileFinished { .. } => self.progress.files_finished += 1,
                PeerMessage::AllFinished { got } => {
                    self.contacts[from.index()].0 = Contact::Fetched;
                    self.progress.peers_complete += 1;
                    self.progress.segments_verified += got.len() as u64;
                    self.outcome.finished[from.index()] = Some(now);
                    swarm.record(from, &got);
                    self.answer_waiting(swarm)?;
                }
                PeerMessage::Done(report) => {
                    self.contacts[from.index()].0 = Contact::Done;
                    self.outcome.take_report(from, &report, swarm.roster(), &[]);
                    done += 1;
                }
                // These come before a swarm opens, or after it ends, or are answered.
                PeerMessage::Register(_)
                | PeerMessage::Ready { .. }
                | PeerMessage::Report(_)
                | PeerMessage::Alive { .. } => {
                    return Err(misplaced(from, &message));
                }
            }
            if now.since(shown) >= SHOW_EVERY {
                shown = now;
                show(self.progress);
            }
            self.stopwatch.lap(Activity::Deciding);
        }
        Ok(true)
    }

    /// A message that each peer sends once, in its turn.
    fn advance(
        &mut self,
        from: NodeId,
        message: &PeerMessage,
        before: Contact,
        after: Contact,
    ) -> Result<(), TransportError> {
        let contact = &mut self.contacts[from.index()].0;
        if *contact != before {
            return Err(misplaced(from, message));
        }
        *contact = after;
        Ok(())
    }

    /// Checks the numbers of a message, and whether its peer may send it now.
    fn check(
        &mut self,
        from: NodeId,
        message: &PeerMessage,
        bounds: &Bounds,
        wanted: u64,
    ) -> Result<(), TransportError> {
        message.check(bounds, wanted).map_err(|violation| violation.from(from))?;
        let contact = self.contacts[from.index()].0;
        let fits = match message {
            // One that waits has nothing to say before it is answered.
            PeerMessage::HolderQuery(_) | PeerMessage::AllFinished { .. } => {
                contact == Contact::Ready && !self.waiting.contains_key(&from)
            }
            PeerMessage::FileFinished { .. } => contact != Contact::Done,
            PeerMessage::Done(_) => contact == Contact::Fetched,
            PeerMessage::Register(_)
            | PeerMessage::Ready { .. }
            | PeerMessage::Report(_)
            | PeerMessage::Alive { .. } => false,
        };
        if !fits {
            return Err(misplaced(from, message));
        }
        // A segment counts once.
        let received = &mut self.received[from.index()];
        *received = received.saturating_add(message.received().len() as u64);
        check_count(u32::try_from(*received).unwrap_or(u32::MAX), wanted)
            .map_err(|violation| violation.from(from).into())
    }

    fn handle_query(
        &mut self,
        swarm: &HolderMap,
        from: NodeId,
        query: HolderQuery,
    ) -> Result<(), TransportError> {
        self.progress.segments_verified += query.got.len() as u64;
        swarm.record(from, &query.got);
        if query.waits {
            self.waiting.insert(from, query.next);
        } else {
            self.answer(from, &TrackerMessage::HolderList(swarm.list(from, &query.next)))?;
            if query.got.is_empty() {
                return Ok(());
            }
        }
        self.answer_waiting(swarm)
    }

    // Answers those who wait for what can be had now; when nobody else fetches any more, nothing
    // new will come, and the answer to all who wait is empty.
    fn answer_waiting(&mut self, swarm: &HolderMap) -> Result<(), TransportError> {
        let mut answered = Vec::new();
        for (&peer, next) in &self.waiting {
            let list = swarm.list_known(peer, next);
            if !list.segments.is_empty() {
                answered.push((peer, list));
            }
        }
        let fetching = self.nodes as usize - 1 - self.progress.peers_complete;
        if answered.is_empty() && self.waiting.len() == fetching {
            answered.extend(self.waiting.keys().map(|&peer| (peer, Default::default())));
        }
        for (peer, list) in answered {
            self.waiting.remove(&peer);
            self.answer(peer, &TrackerMessage::HolderList(list))?;
        }
        Ok(())
    }

    /// Stops the peers, and collects what each measured.
    fn stop(&mut self) -> Result<(), TransportError> {
        self.stopwatch.lap(Activity::Deciding);
        self.metrics[0].spent = self.stopwatch.spent();
        self.end(&TrackerMessage::Stop)
    }

    /// Tells the peers that the run ends, and takes the last message of each.
    // What nobody receives is an error of the program (MPI 4.1, section 11.2.2); MPICH 5 ends the job for it.
    // Each peer says last that it is gone, so that all that it said before is received; and who only asks
    // whether the tracker is there will be told the end instead.
    fn end(&mut self, how: &TrackerMessage) -> Result<(), TransportError> {
        self.is_ending = true;
        self.peers().try_for_each(|peer| self.answer(peer, how))?;
        for _ in self.peers() {
            let Some((from, message)) = self.receive()? else { return Ok(()) };
            let contact = &mut self.contacts[from.index()].0;
            let PeerMessage::Report(bytes) = &message else {
                return Err(misplaced(from, &message));
            };
            if std::mem::replace(contact, Contact::Gone) == Contact::Gone {
                return Err(misplaced(from, &message));
            }
            match RankMetrics::decode(bytes) {
                Ok(metrics) => self.metrics[from.index()] = metrics,
                Err(error) => {
                    self.outcome.errors.push(format!("{from}: its report is lost: {error}"));
                }
            }
        }
        Ok(())
    }

    /// The next message that says more than that a peer lives; none where a peer is lost.
    fn receive(&mut self) -> Result<Option<(NodeId, PeerMessage)>, TransportError> {
        let tick = tick(self.config.silence_patience);
        while self.outcome.lost.is_empty() {
            let received = self.endpoint.receive(None, Tag::ToTracker, tick)?;
            // The ticks are counted: a tracker that was itself stopped prolongs each silence by one.
            let now = self.clock.now();
            if now.since(self.counted) >= tick {
                self.counted = now;
                self.prolong_silences(tick);
            }
            let Some((from, bytes)) = received else { continue };
            self.contacts[from.index()].1 = Duration::ZERO;
            let message = decode(from, &bytes)?;
            if from == NodeId::TRACKER {
                return Err(misplaced(from, &message));
            }
            let PeerMessage::Alive { answer } = message else { return Ok(Some((from, message))) };
            if answer && !self.is_ending {
                self.answer(from, &TrackerMessage::Alive)?;
            }
        }
        Ok(None)
    }

    /// Names those that have been silent for too long.
    fn prolong_silences(&mut self, tick: Duration) {
        let Config { registration_patience, silence_patience, .. } = *self.config;
        for (node, (contact, silence)) in (0..).map(NodeId).zip(&mut self.contacts).skip(1) {
            *silence += tick;
            let error = match contact {
                Contact::Unregistered if *silence >= registration_patience => {
                    let seconds = registration_patience.as_secs_f64();
                    format!(
                        "{node} did not register within {seconds} s: stopped or lost, or its input hangs"
                    )
                }
                Contact::Registered | Contact::Ready | Contact::Fetched | Contact::Done
                    if *silence >= silence_patience =>
                {
                    let seconds = silence_patience.as_secs_f64();
                    format!("{node} is lost: it said nothing for {seconds} s")
                }
                Contact::Unregistered
                | Contact::Registered
                | Contact::Ready
                | Contact::Fetched
                | Contact::Done
                | Contact::Gone => continue,
            };
            self.outcome.lost.push(node);
            self.outcome.errors.push(error);
        }
        self.outcome.refused =
            self.outcome.refused || !self.outcome.lost.is_empty() && self.outcome.opened.is_none();
    }

    fn answer(&self, peer: NodeId, answer: &TrackerMessage) -> Result<(), TransportError> {
        self.endpoint.send(peer, Tag::FromTracker, &encode(answer))
    }

    fn peers(&self) -> impl Iterator<Item = NodeId> + use<L> {
        (1..self.nodes).map(NodeId)
    }

    fn result(self, distinct_bytes: u64) -> JobResult {
        let Self { outcome, progress, metrics, .. } = self;
        JobResult { outcome, progress, metrics, distinct_bytes }
    }
}
