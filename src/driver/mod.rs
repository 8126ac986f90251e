//! The loop: the one place where node, transport, store, verifier and clock meet. It runs every
//! node alike: the tracker and the peers of a swarm, and the nodes of a broadcast without one.

mod checks;
mod compression;
pub(crate) mod frames;
mod peer_io;
mod segment_cache;
#[cfg(feature = "mpi")]
mod given_up;
#[cfg(feature = "mpi")]
mod shared_rank;
pub mod stage;
pub mod stage_resources;
mod stage_slots;
mod tracker_threads;
mod tree_io;
mod tree_workers;
pub mod idle;
pub mod injection;
pub mod job;
pub mod prepare;
pub(crate) mod stopwatch;
#[cfg(feature = "mpi")]
mod trace_gathering;
mod traced_transport;
#[cfg(all(test, feature = "zstd", not(loom)))]
mod stage_tests;
#[cfg(all(test, not(loom)))]
mod tests;
pub(crate) mod writer;

use std::time::Duration;

use crate::manifest::NodeId;
use crate::metrics::trace::{TraceThread, Tracer};
use crate::metrics::usage::Meter;
use crate::metrics::{Activity, RankMetrics, TimeSpent};
use crate::protocol::{Input, Node, Outbox, Output, Tracker, Wait, tracker::Progress};
use crate::time::{Clock, Timestamp};
use crate::transport::{Completion, PolledEvents, Transport, TransportError};
use checks::CHECK_BYTES_A_TURN;
use peer_io::PeerIo;
use stopwatch::Stopwatch;
use traced_transport::TracedTransport;
use tracker_threads::{TrackerIo, TrackerThreads};

pub use checks::Checks;
pub use idle::Idle;
pub use injection::Injection;
pub use prepare::{PeerOptions, PeerSetup, PrepareError, Prepared, prepare, registration};

/// How often the tracker's progress is shown. A person sees five steps a second as motion; it was
/// not tuned.
pub(crate) const SHOW_EVERY: Duration = Duration::from_millis(200);

/// What a node's outputs do with real bytes. The loop itself sends messages and ends the run.
pub(crate) trait NodeIo<N> {
    /// Does one output. What follows from it at once is added to `inputs`.
    fn perform(
        &mut self,
        now: Timestamp,
        output: Output,
        node: &N,
        transport: &mut impl Transport,
        inputs: &mut Vec<Input<'_>>,
    ) -> Result<(), TransportError>;

    /// Takes in what the transport finished.
    fn take_in(&mut self, now: Timestamp, completion: Completion, inputs: &mut Vec<Input<'_>>);

    /// Whether a segment waits to be checked by this thread.
    fn has_checks(&self) -> bool {
        false
    }

    /// Goes on with checks for at most `bytes_max` bytes; returns how many were hashed, 0 where the next part of
    /// a segment has more.
    fn check(&mut self, _bytes_max: usize, _inputs: &mut Vec<Input<'_>>) -> usize {
        0
    }

    /// Collects what other threads have finished, and what has become due.
    fn collect(&mut self, now: Timestamp, node: &N, inputs: &mut Vec<Input<'_>>);

    /// Sends what has become ready since the request for it was handled.
    fn send_ready(&mut self, _transport: &mut impl Transport) -> Result<(), TransportError> {
        Ok(())
    }

    /// Exchanges requests and replies with threads that work for the node; waits for those that must come
    /// before the node's next input.
    fn exchange(
        &mut self,
        _now: Timestamp,
        _awaited: Await,
        _node: &mut N,
        _outbox: &mut Outbox,
    ) -> Result<(), TransportError> {
        Ok(())
    }

    /// When [`NodeIo::collect`] has something due.
    fn deadline(&self) -> Option<Timestamp> {
        None
    }

    /// The run has opened: what blocks the whole rank can be done here, and counted in `stopwatch`.
    fn open(&mut self, _node: &N, _stopwatch: &mut Stopwatch, _inputs: &mut Vec<Input<'_>>) {}
}

/// Which replies of a node's threads must come before it goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Await {
    Nothing,
    /// Those about a peer, of which a message is to be handled.
    Of(NodeId),
    All,
}

#[derive(Debug)]
pub(crate) struct LoopMetrics {
    messages: u64,
    payload_messages: u64,
    /// Time by activity, while the run was open.
    pub(crate) spent: TimeSpent,
}

/// Runs a node to its end.
///
/// # Errors
///
/// When the transport or `io` fails, or another node sends what can't be.
pub(crate) fn run_node<N: Node, I: NodeIo<N>>(
    node: &mut N,
    io: &mut I,
    transport: &mut impl Transport,
    idle: Idle,
    (clock, meter): (&Clock, &Meter),
) -> Result<LoopMetrics, TransportError> {
    let mut state = LoopState {
        outbox: Outbox::default(),
        inputs: Vec::new(),
        events: PolledEvents::default(),
        idle,
        stopwatch: Stopwatch::start(clock, meter),
        finished: false,
        quiet: Quiet { since: clock.now(), time: Duration::ZERO },
    };
    let (mut messages, mut payload_messages) = (0, 0);
    node.handle(clock.now(), Input::Start, &mut state.outbox)?;
    loop {
        // An event loop in four steps: perform what the node wants, poll, feed what came to the node, rest.
        // Time is read once a step and passed on, so that a node sees one time for one input.
        let now = state.stopwatch.lap(activity_of(node.waits_for()));
        if state.stopwatch.count(node.waits_for().is_some()) {
            io.open(node, &mut state.stopwatch, &mut state.inputs);
        }
        let mut worked = state.perform_all(now, node, io, transport)?;
        if state.finished && (transport.is_flushed() || node.may_leave_unsent()) {
            let spent = state.stopwatch.spent();
            return Ok(LoopMetrics { messages, payload_messages, spent });
        }
        if worked {
            state.stopwatch.lap(Activity::Deciding);
        }
        transport.poll(&mut state.events)?;
        payload_messages += state.events.payload_messages;
        state.stopwatch.hold_back(|| transport.held_back());
        let mut has_news = !state.events.is_empty();
        // A poll that finds nothing counts as waiting: MPI may have given the core away in it.
        let resting = activity_of(node.waits_for());
        let now = state.stopwatch.lap(if has_news { Activity::Moving } else { resting });
        for &(from, ref message) in &state.events.messages {
            messages += 1;
            io.exchange(now, Await::Of(from), node, &mut state.outbox)?;
            node.handle(now, Input::Message { from, message }, &mut state.outbox)?;
        }
        // Messages before segments: a withdrawal that came with the segment it is about is then old news.
        for completion in state.events.completions.drain(..) {
            io.take_in(now, completion, &mut state.inputs);
        }
        io.collect(now, node, &mut state.inputs);
        io.send_ready(transport)?;
        has_news |= !state.inputs.is_empty();
        if node.deadline().is_some_and(|deadline| deadline <= now) {
            has_news = true;
            io.exchange(now, Await::All, node, &mut state.outbox)?;
            node.handle(now, Input::Deadline, &mut state.outbox)?;
        }
        io.exchange(now, Await::Nothing, node, &mut state.outbox)?;
        // The tracker learns from this that it has caught up; see `tracker/backpressure.rs`.
        if !has_news {
            node.handle(now, Input::Idle, &mut state.outbox)?;
        }
        if let Some(limit) = state.quiet.passed(has_news, now, node.quiet_max(state.finished)) {
            return Err(TransportError::Quiet(limit));
        }
        worked |= has_news;
        if worked {
            state.stopwatch.lap(Activity::Deciding);
        }
        let others = io.deadline().into_iter().chain(transport.deadline());
        let deadline = others.chain(node.deadline()).min();
        state.rest(worked, (now, deadline), transport);
    }
}

/// What a node's time goes to while it waits.
fn activity_of(wait: Option<Wait>) -> Activity {
    match wait {
        Some(Wait::Tracker) => Activity::AwaitingTracker,
        Some(Wait::Holder) => Activity::AwaitingHolder,
        Some(Wait::Disk) => Activity::Writing,
        Some(Wait::Nothing) | None => Activity::Idle,
    }
}

/// What the loop keeps from one iteration to the next.
struct LoopState {
    outbox: Outbox,
    inputs: Vec<Input<'static>>,
    events: PolledEvents,
    idle: Idle,
    stopwatch: Stopwatch,
    finished: bool,
    quiet: Quiet,
}

/// How long nothing has come to a node.
struct Quiet {
    since: Timestamp,
    time: Duration,
}

impl Quiet {
    // What one iteration counts at most: far above the longest rest. A process that was stopped for an hour has
    // not waited for others meanwhile.
    const ITERATION_MAX: Duration = Duration::from_secs(1);

    /// The limit, if it has passed.
    fn passed(
        &mut self,
        has_news: bool,
        now: Timestamp,
        limit: Option<Duration>,
    ) -> Option<Duration> {
        let iteration = now.since(self.since).min(Self::ITERATION_MAX);
        self.since = now;
        self.time = if has_news { Duration::ZERO } else { self.time + iteration };
        limit.filter(|&limit| self.time > limit)
    }
}

impl LoopState {
    // Performs all outputs, feeds what follows from them back to the node, and so on until nothing
    // is left. Returns whether there was anything.
    fn perform_all<N: Node, I: NodeIo<N>>(
        &mut self,
        now: Timestamp,
        node: &mut N,
        io: &mut I,
        transport: &mut impl Transport,
    ) -> Result<bool, TransportError> {
        let mut worked = false;
        // Hashing is the one thing here that takes long: what is left waits until others were heard.
        let mut bytes_left = CHECK_BYTES_A_TURN;
        loop {
            let mut has_news = !self.outbox.is_empty() || !self.inputs.is_empty();
            while let Some(output) = self.outbox.take() {
                if let Output::Send { to, message } = output {
                    transport.send(to, self.outbox.read(message))?;
                } else {
                    self.finished |= output == Output::Finish;
                    io.perform(now, output, node, transport, &mut self.inputs)?;
                }
            }
            // Before segments are hashed, for which others would wait.
            transport.flush()?;
            if bytes_left > 0 && io.has_checks() {
                has_news = true;
                // Checks come in rows, and reading the clock costs a third of a small one.
                self.stopwatch.lap(Activity::Deciding);
                bytes_left = match io.check(bytes_left, &mut self.inputs) {
                    0 => 0,
                    hashed => bytes_left.saturating_sub(hashed),
                };
                self.stopwatch.lap(Activity::Verifying);
            }
            if !has_news {
                return Ok(worked);
            }
            worked = true;
            io.collect(now, node, &mut self.inputs);
            for input in self.inputs.drain(..) {
                node.handle(now, input, &mut self.outbox)?;
            }
        }
    }

    fn rest(
        &mut self,
        worked: bool,
        (now, deadline): (Timestamp, Option<Timestamp>),
        transport: &impl Transport,
    ) {
        if worked || !self.outbox.is_empty() {
            self.idle.reset();
        } else if transport.wakes() && !transport.is_flushed() && transport.deadline().is_none() {
            // A receiver's mailbox is full, and nothing wakes this node when it has room again.
            std::thread::yield_now();
        } else {
            self.idle.wait(now, deadline);
        }
    }
}

/// A node that moves no bytes: rank 0. `show` is told of its progress now and then.
pub(crate) struct MessagesOnly<F> {
    show: F,
    shown: Timestamp,
}

impl<F> MessagesOnly<F> {
    pub(crate) fn new(show: F, clock: &Clock) -> Self {
        Self { show, shown: clock.now() }
    }
}

impl<N, F: FnMut(&N)> NodeIo<N> for MessagesOnly<F> {
    fn perform(
        &mut self,
        _now: Timestamp,
        _output: Output,
        _node: &N,
        _transport: &mut impl Transport,
        _inputs: &mut Vec<Input<'_>>,
    ) -> Result<(), TransportError> {
        Ok(())
    }

    fn take_in(&mut self, _now: Timestamp, _completion: Completion, _inputs: &mut Vec<Input<'_>>) {}

    fn collect(&mut self, now: Timestamp, node: &N, _inputs: &mut Vec<Input<'_>>) {
        if now.since(self.shown) >= SHOW_EVERY {
            self.shown = now;
            (self.show)(node);
        }
    }
}

/// Runs rank 0 to the end, and returns what it measured.
fn run_tracker(
    tracker: &mut Tracker,
    transport: &mut impl Transport,
    idle: Idle,
    (clock, meter): (&Clock, &Meter),
    (threads, tracer, mut show): (Option<TrackerThreads>, Option<Tracer>, impl FnMut(Progress)),
) -> Result<RankMetrics, TransportError> {
    let messages_only = MessagesOnly::new(|tracker: &Tracker| show(tracker.progress()), clock);
    let waits = tracer.as_ref().map(|tracer| tracer.recorder(TraceThread::Communicating));
    let mut io = TrackerIo::new(messages_only, threads, waits);
    let LoopMetrics { messages, spent, .. } =
        run_node(tracker, &mut io, transport, idle, (clock, meter))?;
    drop(io);
    if let Some(tracer) = tracer {
        tracer.finish();
    }
    show(tracker.progress());
    Ok(RankMetrics { messages, spent, ..RankMetrics::default() })
}

/// Runs a node to its end, and records what its transport moves where a trace is kept.
fn run_traced<N: Node, I: NodeIo<N>>(
    node: &mut N,
    io: &mut I,
    transport: &mut impl Transport,
    idle: Idle,
    (measures, tracer): ((&Clock, &Meter), Option<&Tracer>),
) -> Result<LoopMetrics, TransportError> {
    match tracer {
        None => run_node(node, io, transport, idle, measures),
        Some(tracer) => {
            let mut transport = TracedTransport::new(transport, tracer);
            run_node(node, io, &mut transport, idle, measures)
        }
    }
}

/// How a peer ended.
struct EndedPeer {
    metrics: RankMetrics,
    /// Whether it was silent for so long that the others went on without it.
    #[cfg_attr(
        not(feature = "mpi"),
        expect(dead_code, reason = "a thread that was silent may end; a rank may not")
    )]
    is_given_up: bool,
}

/// Runs a peer to the end.
fn run_peer(
    prepared: Prepared,
    transport: &mut impl Transport,
    idle: Idle,
    measures: (&Clock, &Meter),
    injection: Injection,
) -> Result<EndedPeer, TransportError> {
    let Prepared { mut peer, store, owned, wanted, slot_bytes, buffers, writer, checks, tracer } =
        prepared;
    let mut io =
        PeerIo::new(store, (owned, wanted), writer, (slot_bytes, buffers), checks, injection);
    io.waits = tracer.as_ref().map(|tracer| tracer.recorder(TraceThread::Communicating));
    let LoopMetrics { messages, payload_messages, spent } =
        run_traced(&mut peer, &mut io, transport, idle, (measures, tracer.as_ref()))?;
    if peer.is_orphaned() {
        return Err(TransportError::Silent(NodeId::TRACKER));
    }
    let metrics = RankMetrics { messages, payload_messages, spent, ..io.metrics(&peer) };
    // The threads of the peer have ended with its `io`.
    if let Some(tracer) = tracer {
        tracer.finish();
    }
    Ok(EndedPeer { metrics, is_given_up: peer.is_given_up() })
}
