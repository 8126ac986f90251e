//! Messages between ranks of an MPI job, by several threads at once (`MPI_THREAD_MULTIPLE`).

use std::time::Duration;

use mpi::Tag as MpiTag;
use mpi::datatype::Equivalence as _;
use mpi::point_to_point::{Destination as _, Source, Status};
use mpi::topology::{Communicator as _, SimpleCommunicator};

use super::{Endpoint, Received, Tag};
use crate::driver::idle::sleep;
use crate::manifest::NodeId;
use crate::time::Clock;
use crate::transport::TransportError;
use crate::watchdog;

// Spin-then-block (Karlin et al., SOSP 1991), as in `driver::idle`. A probe that finds nothing makes progress
// once and, where ranks share cores, yields. With 20 of them a message that is on its way is seen at once;
// with 1,000, or without end, the threads that wait took the cores from those that work: 1.3 to 2.9 times
// slower with 12 peers on 2 cores. With 3 the sleep's latency is paid each time: 2.7 times slower.
const PROBES: u32 = 20;

// The kernel's timer slack is 50 µs (prctl(2), PR_SET_TIMERSLACK): a shorter sleep would take as long.
const REST: Duration = Duration::from_micros(50);

// Messages up to this size have no limit of their own: MPI sends them at once (eagerly) and buffers them,
// and watching each would slow the engine down. The usual eager limits are 4 KiB to 64 KiB.
const EAGER_BYTES: usize = 2048;

/// This rank's end. It uses the world communicator: the binding's handle of any other one is not `Sync`.
/// Tags tell its messages from all others there.
#[derive(Clone, Copy, Debug)]
pub(in crate::baseline) struct MpiEndpoint {
    clock: Clock,
    /// How long another rank may take to receive a message, or to send the rest of one.
    limit: Duration,
}

impl MpiEndpoint {
    pub(in crate::baseline) fn new(clock: &Clock, limit: Duration) -> Self {
        Self { clock: *clock, limit }
    }

    // No thread blocks in a receive: that has no time-out, and polls without a rest. Of two threads of a rank
    // that do, Open MPI lets one poll for both, and wakes the other through a futex. One of 12 peers then made
    // 176,000 `sched_yield` and 7,300 futex calls in a run in which it now makes 4,400 and 600. How fast the
    // run was depended on which rank had the cores.
    /// Probes until a message is there, or `limit` has passed.
    fn probe(&self, source: &impl Source, tag: Tag, limit: Duration) -> Option<Status> {
        for _ in 0..PROBES {
            let found = source.immediate_probe_with_tag(number(tag));
            if found.is_some() {
                return found;
            }
        }
        let began = self.clock.now();
        while self.clock.now().since(began) < limit {
            sleep(REST);
            let found = source.immediate_probe_with_tag(number(tag));
            if found.is_some() {
                return found;
            }
        }
        None
    }
}

impl Endpoint for MpiEndpoint {
    fn nodes(&self) -> u32 {
        u32::try_from(SimpleCommunicator::world().size()).expect("a job has ranks")
    }

    fn send(&self, to: NodeId, tag: Tag, bytes: &[u8]) -> Result<(), TransportError> {
        // A long message is sent when its receiver takes it.
        let limit = || watchdog::limit(format!("{to} to take a message"), self.limit);
        let _limited = (bytes.len() > EAGER_BYTES).then(limit);
        SimpleCommunicator::world().process_at_rank(rank(to)).send_with_tag(bytes, number(tag));
        Ok(())
    }

    fn receive(
        &self,
        from: Option<NodeId>,
        tag: Tag,
        limit: Duration,
    ) -> Result<Option<Received>, TransportError> {
        let world = SimpleCommunicator::world();
        let found = match from {
            None => self.probe(&world.any_process(), tag, limit),
            Some(from) => self.probe(&world.process_at_rank(rank(from)), tag, limit),
        };
        let Some(found) = found else { return Ok(None) };
        let count = found.count(u8::equivalent_datatype());
        let mut bytes = vec![0; usize::try_from(count).expect("counts are not negative")];
        let sender = world.process_at_rank(found.source_rank());
        let from = NodeId(u32::try_from(found.source_rank()).expect("senders are ranks"));
        let limit = || watchdog::limit(format!("{from} to send the rest of a message"), self.limit);
        let _limited = (bytes.len() > EAGER_BYTES).then(limit);
        // The message that was found: only this thread receives this tag.
        sender.receive_into_with_tag(&mut bytes[..], number(tag));
        Ok(Some((from, bytes)))
    }
}

fn rank(node: NodeId) -> std::ffi::c_int {
    std::ffi::c_int::try_from(node.0).expect("ranks are numbered as MPI does")
}

/// The tags begin above 300, away from 0, which most programs use.
fn number(tag: Tag) -> MpiTag {
    match tag {
        Tag::ToTracker => 301,
        Tag::FromTracker => 302,
        Tag::Request => 303,
        Tag::Segment => 304,
    }
}
