//! Messages between ranks of an MPI job, by several threads at once (`MPI_THREAD_MULTIPLE`).

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use mpi::Tag as MpiTag;
use mpi::datatype::Equivalence as _;
use mpi::point_to_point::{Destination as _, Message as MatchedMessage, Source, Status};
use mpi::request::{Request, Scope, scope};
use mpi::topology::{Communicator as _, SimpleCommunicator};

use super::{Endpoint, Received, Tag};
use crate::baseline::messages::{HolderList, PeerMessage, TrackerMessage, encode};
use crate::config::{MESSAGE_BYTES_MAX, MESSAGE_TOTAL_MAX};
use crate::driver::idle::sleep;
use crate::driver::injection::MessageFaults;
use crate::driver::job::Job;
use crate::driver::prepare::slot_bytes;
use crate::manifest::{FileId, NodeId, SegmentId};
use crate::protocol::Violation;
use crate::time::Clock;
use crate::transport::TransportError;
use crate::verify::Digest;
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
#[derive(Debug)]
pub(in crate::baseline) struct MpiEndpoint {
    clock: Clock,
    /// How long another rank may take to receive a message, or to send the rest of one.
    limit: Duration,
    /// The longest payload of a segment.
    segment_bytes: usize,
    /// What is sent in place of messages, to show that no receiver believes it.
    faults: Option<Mutex<MessageFaults>>,
}

impl MpiEndpoint {
    pub(in crate::baseline) fn new(clock: &Clock, job: &Job, node: NodeId) -> Self {
        Self {
            clock: *clock,
            limit: job.config.silence_patience * 2,
            segment_bytes: slot_bytes(job.segment_bytes),
            faults: MessageFaults::new(&job.faults, job.seed, node).map(Mutex::new),
        }
    }

    /// The longest message of a tag.
    fn bytes_max(&self, tag: Tag) -> usize {
        match tag {
            Tag::ToTracker | Tag::FromTracker => MESSAGE_TOTAL_MAX,
            Tag::Request => size_of::<u32>(),
            Tag::Segment => self.segment_bytes,
        }
    }

    /// Other bytes in place of a message, if there is a fault.
    fn faulty(&self, tag: Tag, bytes: &[u8]) -> Option<Vec<u8>> {
        let faults = self.faults.as_ref().filter(|_| tag != Tag::Segment && !bytes.is_empty())?;
        let invalid = || match tag {
            Tag::ToTracker => encode(&PeerMessage::FileFinished { file: FileId(u32::MAX) }),
            Tag::FromTracker => encode(&TrackerMessage::HolderList(HolderList {
                segments: vec![(SegmentId(u32::MAX), Digest([0; 32]))],
                holders: Vec::new(),
            })),
            Tag::Request | Tag::Segment => u32::MAX.to_le_bytes().to_vec(),
        };
        // A message as long as none may be takes a gigabyte: one without an end does as well.
        let longest = self.bytes_max(tag).min(MESSAGE_BYTES_MAX);
        faults.lock().unwrap_or_else(PoisonError::into_inner).replace(bytes, longest, invalid)
    }

    /// Probes until a message is there, or `limit` has passed.
    // A matched probe: what it found is received, and nothing else, whatever else comes meanwhile.
    fn probe(
        &self,
        source: &impl Source,
        tag: Tag,
        limit: Duration,
    ) -> Option<(MatchedMessage, Status)> {
        for _ in 0..PROBES {
            let found = source.immediate_matched_probe_with_tag(number(tag));
            if found.is_some() {
                return found;
            }
        }
        let began = self.clock.now();
        while self.clock.now().since(began) < limit {
            sleep(REST);
            let found = source.immediate_matched_probe_with_tag(number(tag));
            if found.is_some() {
                return found;
            }
        }
        None
    }
}

// No thread blocks in MPI: such a call has no time-out, and polls without a rest. Of two threads of a rank that
// do, Open MPI lets one poll for both, and wakes the other through a futex. One of 12 peers then made 176,000
// `sched_yield` and 7,300 futex calls in a run in which it now makes 4,400 and 600. How fast the run was depended
// on which rank had the cores; and where one thread blocked in a long send and the other in a long receive, about
// one run in a hundred stood still.
/// Tests until a message has left its buffer, or fills it.
fn complete<'a, D: ?Sized, S: Scope<'a>>(mut request: Request<'a, D, S>) {
    for test in 0_u32.. {
        match request.test() {
            Ok(_) => return,
            Err(pending) => request = pending,
        }
        if test >= PROBES {
            sleep(REST);
        }
    }
}

impl Endpoint for MpiEndpoint {
    fn nodes(&self) -> u32 {
        u32::try_from(SimpleCommunicator::world().size()).expect("a job has ranks")
    }

    fn send(&self, to: NodeId, tag: Tag, bytes: &[u8]) -> Result<(), TransportError> {
        let most = self.bytes_max(tag);
        if bytes.len() > most {
            return Err(TransportError::Oversize { bytes: bytes.len(), most });
        }
        let faulty = self.faulty(tag, bytes);
        let bytes = faulty.as_deref().unwrap_or(bytes);
        // A long message is sent when its receiver takes it.
        let limit = || watchdog::limit(format!("{to} to take a message"), self.limit);
        let _limited = (bytes.len() > EAGER_BYTES).then(limit);
        let world = SimpleCommunicator::world();
        let receiver = world.process_at_rank(rank(to));
        scope(|scope| complete(receiver.immediate_send_with_tag(scope, bytes, number(tag))));
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
        let Some((message, status)) = found else { return Ok(None) };
        let from = NodeId(u32::try_from(status.source_rank()).expect("senders are ranks"));
        let (bytes, most) = (status.count(u8::equivalent_datatype()), self.bytes_max(tag));
        let Some(length) = usize::try_from(bytes).ok().filter(|&length| length <= most) else {
            // It stays matched and is never received: the run ends here.
            std::mem::forget(message);
            return Err(Violation::Bytes { bytes, most }.from(from).into());
        };
        let limit = || watchdog::limit(format!("{from} to send the rest of a message"), self.limit);
        let _limited = (length > EAGER_BYTES).then(limit);
        let mut bytes = vec![0; length];
        scope(|scope| {
            complete(message.immediate_matched_receive_into(scope, bytes.as_mut_slice()));
        });
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
