//! The loop: the one place where node, transport, store, verifier and clock meet.

mod checks;
mod peer_io;
pub mod idle;
pub mod injection;
pub mod job;
pub mod prepare;
pub(crate) mod stopwatch;
pub(crate) mod writer;

use std::time::Duration;

use crossbeam::sync::Parker;

use crate::manifest::NodeId;
use crate::metrics::usage::Meter;
use crate::metrics::{Activity, RankMetrics};
use crate::protocol::{Input, Node, Outbox, Output, Peer, Tracker, Wait, tracker::Progress};
use crate::time::{Clock, Timestamp};
use crate::transport::{PolledEvents, Transport, TransportError};
use peer_io::PeerIo;
use stopwatch::Stopwatch;
use writer::Writer;

pub use checks::Checks;
pub use idle::Idle;
pub use injection::Injection;
pub use prepare::{PeerOptions, PeerSetup, PrepareError, Prepared, enrolment, prepare};

/// How often the tracker's progress is shown.
pub(crate) const SHOW_EVERY: Duration = Duration::from_millis(200);

/// Runs rank 0 to the end, and returns what it measured. `show` is told of its progress now and
/// then.
///
/// # Errors
///
/// When the transport fails.
pub fn run_tracker(
    tracker: &mut Tracker,
    transport: &mut impl Transport,
    parker: Parker,
    (clock, meter): (&Clock, &Meter),
    mut show: impl FnMut(Progress),
) -> Result<RankMetrics, TransportError> {
    let mut turn = LoopState::new(transport, parker);
    let mut watch = Stopwatch::start(clock, meter);
    let mut messages = 0;
    tracker.handle(clock.now(), Input::Start, &mut turn.outbox);
    let mut shown = clock.now();
    loop {
        watch.lap(Activity::Idle);
        watch.count(tracker.is_open());
        while let Some(output) = turn.outbox.take() {
            match output {
                Output::Send { to, message } => transport.send(to, turn.outbox.read(message))?,
                Output::Finish => turn.finished = true,
                // The tracker holds no segments and wants none.
                Output::Reserve
                | Output::Expect { .. }
                | Output::Serve { .. }
                | Output::Forget { .. }
                | Output::Check { .. }
                | Output::Publish { .. } => {}
            }
        }
        // What was sent to a lost rank may never leave, and nobody waits for it.
        let is_flushed = transport.is_flushed() || !tracker.outcome().lost.is_empty();
        if turn.finished && is_flushed {
            show(tracker.progress());
            return Ok(RankMetrics { messages, spent: watch.spent(), ..RankMetrics::default() });
        }
        transport.poll(&mut turn.events)?;
        // A poll in vain is waiting: MPI may well have given the core away in it.
        let mut worked = !turn.events.is_empty();
        let now = watch.lap(if worked { Activity::Moving } else { Activity::Idle });
        for &(from, ref message) in &turn.events.messages {
            messages += 1;
            tracker.handle(now, Input::Message { from, message }, &mut turn.outbox);
        }
        worked |= turn.fire_deadline(now, tracker);
        if !worked {
            tracker.handle(now, Input::Idle, &mut turn.outbox);
        }
        if now.since(shown) >= SHOW_EVERY {
            shown = now;
            show(tracker.progress());
        }
        watch.lap(Activity::Deciding);
        turn.rest(worked, now, tracker.deadline(), transport);
    }
}

/// Runs a peer to the end, and returns what it measured.
///
/// # Errors
///
/// When the transport fails.
pub fn run_peer(
    prepared: Prepared,
    transport: &mut impl Transport,
    parker: Parker,
    (clock, meter): (&Clock, &Meter),
    checks: Checks,
    injection: Injection,
) -> Result<RankMetrics, TransportError> {
    let Prepared { mut peer, store, owned, wanted, output, slot_bytes, buffers } = prepared;
    let writer = Writer::new(output, parker.unparker().clone());
    let mut io =
        PeerIo::new(store, (owned, wanted), writer, (slot_bytes, buffers), checks, injection);
    let mut turn = LoopState::new(transport, parker);
    let mut watch = Stopwatch::start(clock, meter);
    peer.handle(clock.now(), Input::Start, &mut turn.outbox);
    let mut inputs = Vec::new();
    let mut messages = 0;
    loop {
        let now = watch.lap(resting(&peer));
        watch.count(peer.waits_for().is_some());
        let mut worked = false;
        while !turn.outbox.is_empty() || !inputs.is_empty() {
            worked = true;
            let mut checks = false;
            while let Some(output) = turn.outbox.take() {
                // Checks come in rows, and a look at the clock costs a third of a small one.
                let is_check = matches!(output, Output::Check { .. });
                if is_check != checks {
                    watch.lap(if checks { Activity::Verifying } else { Activity::Deciding });
                    checks = is_check;
                }
                if let Output::Send { to, message } = output {
                    transport.send(to, turn.outbox.read(message))?;
                } else {
                    turn.finished |= output == Output::Finish;
                    io.perform(now, output, &peer, transport, &mut inputs)?;
                }
            }
            if checks {
                watch.lap(Activity::Verifying);
            }
            io.collect(now, &mut inputs);
            for input in inputs.drain(..) {
                peer.handle(now, input, &mut turn.outbox);
            }
        }
        if peer.is_orphaned() {
            return Err(TransportError::Silent(NodeId::TRACKER));
        }
        if turn.finished && transport.is_flushed() {
            return Ok(RankMetrics { messages, spent: watch.spent(), ..io.metrics(&peer) });
        }
        if worked {
            watch.lap(Activity::Deciding);
        }
        transport.poll(&mut turn.events)?;
        watch.lap(if turn.events.is_empty() { resting(&peer) } else { Activity::Moving });
        worked |= !turn.events.is_empty();
        for &(from, ref message) in &turn.events.messages {
            messages += 1;
            peer.handle(now, Input::Message { from, message }, &mut turn.outbox);
        }
        for completion in turn.events.completions.drain(..) {
            io.take_in(now, completion, &mut inputs);
        }
        io.collect(now, &mut inputs);
        worked |= !inputs.is_empty() | turn.fire_deadline(now, &mut peer);
        let deadline = peer.deadline().into_iter().chain(io.deadline()).min();
        if worked {
            watch.lap(Activity::Deciding);
        }
        turn.rest(worked, now, deadline, transport);
    }
}

/// What a peer that rests is resting for.
fn resting(peer: &Peer) -> Activity {
    match peer.waits_for() {
        Some(Wait::Tracker) => Activity::AwaitingTracker,
        Some(Wait::Holder) => Activity::AwaitingHolder,
        Some(Wait::Disk) => Activity::Writing,
        Some(Wait::Nothing) | None => Activity::Idle,
    }
}

/// What one turn of the loop needs and keeps.
struct LoopState {
    outbox: Outbox,
    events: PolledEvents,
    idle: Idle,
    finished: bool,
}

impl LoopState {
    fn new(transport: &impl Transport, parker: Parker) -> Self {
        Self {
            outbox: Outbox::default(),
            events: PolledEvents::default(),
            idle: Idle::new(parker, transport.wakes()),
            finished: false,
        }
    }

    /// Tells a node that its time has come, if it has.
    fn fire_deadline(&mut self, now: Timestamp, node: &mut impl Node) -> bool {
        let due = node.deadline().is_some_and(|deadline| deadline <= now);
        if due {
            node.handle(now, Input::Deadline, &mut self.outbox);
        }
        due
    }

    fn rest(
        &mut self,
        worked: bool,
        now: Timestamp,
        deadline: Option<Timestamp>,
        transport: &impl Transport,
    ) {
        if worked || !self.outbox.is_empty() {
            self.idle.reset();
        } else if transport.wakes() && !transport.is_flushed() {
            // Somebody's mailbox is full: nothing will wake us when it is not any more.
            std::thread::yield_now();
        } else {
            self.idle.wait(deadline.map(|deadline| deadline.since(now)));
        }
    }
}
