//! Ranks of a real job: this test program, started again by `mpirun`.

use std::collections::VecDeque;
use std::process::Command;
use std::time::Duration;

use arrayvec::ArrayVec;
use mpi::topology::Communicator as _;

use super::{Meeting, MpiTransport, RollCall};
use crate::manifest::{NodeId, SegmentId};
use crate::protocol::{Message, RequestedSegment};
use crate::store::{Pool, SealedSegment, VacantSlot};
use crate::transport::{Completion, PolledEvents, Transport as _, TransportError};

/// Ranks of a job.
const RANKS: u32 = 4;

/// Segments that each rank gets from each other one. More than there are tags.
const SEGMENTS: u32 = 340;

/// Tags, as with an MPI that has no more.
const TAGS: u16 = 64;

/// Requests of a rank that are pending at a time. So many tags must be enough.
const WINDOW: usize = 40;

/// 12 fragments: more than are posted at a time.
const SLOT_BYTES: usize = 12 << 15;

/// Short segments that one message requests.
const BATCH: usize = 8;

/// Starts a test of this program again, as ranks of a job. It is one of those that are ignored.
pub(crate) fn run_ranks(test: &str) {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/mpi.sh");
    let mpirun = || {
        let mut command = Command::new(script);
        command.args(["any", "mpirun"]);
        command
    };
    if !mpirun().arg("--version").output().is_ok_and(|output| output.status.success()) {
        return;
    }
    let program = std::env::current_exe().expect("it runs");
    let output = mpirun()
        .args(["-n", &RANKS.to_string(), "timeout", "120"])
        .arg(program)
        .args(["--ignored", "--exact", "--nocapture", test])
        .output()
        .expect("mpirun starts");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{output:?}");
    assert_eq!(said.matches("1 passed").count(), RANKS as usize, "{said}");
}

#[test]
#[cfg_attr(miri, ignore)]
fn any_number_of_segments_of_any_length_passes_through_a_few_tags() {
    run_ranks("transport::mpi::tests::rank_that_exchanges_segments");
}

#[test]
#[ignore = "one rank of a job"]
fn rank_that_exchanges_segments() {
    let universe = mpi::initialize().expect("once a process");
    let world = universe.world();
    let rank = u32::try_from(world.rank()).expect("it is not negative");
    for (is_synchronous, fragment_log2) in [(true, 15), (false, 15), (true, 31), (false, 31)] {
        let mut transport = MpiTransport::new(&world, is_synchronous).expect("MPI works");
        transport.limit(TAGS, fragment_log2);
        let mut exchange = RankOfTags::new(NodeId(rank), transport, SLOT_BYTES, 1);
        exchange.run().expect("it ends well");
        exchange.transport.end(Duration::from_secs(60)).expect("MPI works");
    }
}

#[test]
#[cfg_attr(miri, ignore)]
fn short_segments_share_messages_and_need_no_tags() {
    run_ranks("transport::mpi::tests::rank_that_exchanges_short_segments");
}

#[test]
#[ignore = "one rank of a job"]
fn rank_that_exchanges_short_segments() {
    let universe = mpi::initialize().expect("once a process");
    let world = universe.world();
    let rank = u32::try_from(world.rank()).expect("it is not negative");
    for (is_synchronous, slot_bytes) in [(true, 64), (false, 1024), (true, 333), (false, 1)] {
        let mut transport = MpiTransport::new(&world, is_synchronous).expect("MPI works");
        // A receive of its own for any of them would have no tag.
        transport.limit(0, 15);
        let mut exchange = RankOfTags::new(NodeId(rank), transport, slot_bytes, BATCH);
        exchange.run().expect("it ends well");
        // A third of what a message has room for: parts of each batch are declined.
        let (messages, segments) = (exchange.payload_messages, exchange.got as u64);
        assert!(messages * 2 < segments, "{messages} for {segments} of {slot_bytes} bytes");
        exchange.transport.end(Duration::from_secs(60)).expect("MPI works");
    }
}

/// The bytes of a segment, which differ from those of any other one as long as it.
fn bytes_of(holder: NodeId, segment: SegmentId, slot_bytes: usize) -> Vec<u8> {
    let edges = [0, 1, 1 << 15, (1 << 15) + 1, 3 << 15, slot_bytes - 1, slot_bytes];
    // Mostly short ones: the test is about requests.
    let len =
        if segment.0.is_multiple_of(5) { edges[segment.0 as usize / 5 % edges.len()] } else { 700 };
    let len = len.min(slot_bytes);
    let mut bytes = vec![0; len];
    // Each fragment differs too.
    for (place, part) in (0..).zip(bytes.chunks_mut(1 << 15)) {
        let mark = u64::from(holder.0) << 40 | u64::from(segment.0) << 8 | place;
        let mark = mark.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes();
        part.fill(mark[7]);
        part.iter_mut().zip(mark).for_each(|(byte, mark)| *byte = mark);
    }
    bytes
}

/// What one rank gets and sends.
struct RankOfTags {
    node: NodeId,
    transport: MpiTransport,
    pool: Pool,
    slot_bytes: usize,
    /// Segments that a message requests at most.
    batch: usize,
    wanted: VecDeque<(NodeId, SegmentId)>,
    pending: usize,
    got: usize,
    declined: u32,
    complete: u32,
    payload_messages: u64,
}

impl RankOfTags {
    fn new(node: NodeId, transport: MpiTransport, slot_bytes: usize, batch: usize) -> Self {
        let others = move || (0..RANKS).filter(move |&other| other != node.0);
        let each = (0..SEGMENTS).flat_map(|one| others().map(move |other| (other, one)));
        let mut wanted: Vec<_> = each.map(|(other, one)| (NodeId(other), SegmentId(one))).collect();
        if batch > 1 {
            wanted.sort();
        }
        let pool = Pool::new(2 * WINDOW, slot_bytes).expect("a little memory");
        Self {
            node,
            transport,
            pool,
            slot_bytes,
            batch,
            wanted: wanted.into(),
            pending: 0,
            got: 0,
            declined: 0,
            complete: 0,
            payload_messages: 0,
        }
    }

    fn run(&mut self) -> Result<(), TransportError> {
        let mut events = PolledEvents::default();
        let all = (RANKS - 1) as usize * SEGMENTS as usize;
        let mut has_said = false;
        while self.complete < RANKS - 1 || !has_said || !self.transport.is_flushed() {
            while self.pending + self.batch <= WINDOW
                && let Some(&(from, _)) = self.wanted.front()
            {
                self.request(from)?;
            }
            self.transport.poll(&mut events)?;
            self.payload_messages += events.payload_messages;
            for (from, message) in &events.messages {
                self.hear(*from, message)?;
            }
            for completion in events.completions.drain(..) {
                self.take_in(completion);
            }
            if self.got == all && !std::mem::replace(&mut has_said, true) {
                let others = (0..RANKS).map(NodeId).filter(|&other| other != self.node);
                others
                    .map(|to| self.transport.send(to, &Message::Stop))
                    .collect::<Result<Vec<_>, _>>()?;
            }
            std::thread::yield_now();
        }
        Ok(())
    }

    fn request(&mut self, from: NodeId) -> Result<(), TransportError> {
        let mut segments = ArrayVec::new();
        while segments.len() < self.batch
            && let Some((_, segment)) = self.wanted.pop_front_if(|&mut (holder, _)| holder == from)
        {
            self.pending += 1;
            self.transport.expect(from, segment, self.slot())?;
            segments.push(segment.into());
        }
        self.transport.send(from, &Message::Request { segments })
    }

    fn slot(&self) -> VacantSlot {
        self.pool.take().unwrap_or_else(|| self.pool.allocate_one())
    }

    fn hear(&mut self, from: NodeId, message: &Message) -> Result<(), TransportError> {
        if let Message::Request { segments } = message {
            for &requested in segments {
                self.serve(from, requested)?;
            }
        } else if let &Message::Decline { segment, .. } = message {
            self.transport.forget(from, segment)?;
            self.wanted.push_back((from, segment));
        } else {
            self.complete += 1;
        }
        Ok(())
    }

    fn serve(&mut self, to: NodeId, requested: RequestedSegment) -> Result<(), TransportError> {
        let segment = requested.segment;
        // Some come only when they are requested again, with another tag.
        self.declined += 1;
        if self.declined.is_multiple_of(7) {
            return self.transport.send(to, &Message::Decline { segment, request: 0 });
        }
        self.transport.serve(to, requested, self.sealed(segment))
    }

    fn sealed(&self, segment: SegmentId) -> SealedSegment {
        let (mut slot, bytes) = (self.slot(), bytes_of(self.node, segment, self.slot_bytes));
        slot.bytes_mut()[..bytes.len()].copy_from_slice(&bytes);
        slot.fill(bytes.len()).seal_unchecked()
    }

    fn take_in(&mut self, completion: Completion) {
        match completion {
            Completion::Arrived { from, segment, slot } => {
                let expected = bytes_of(from, segment, self.slot_bytes);
                assert!(slot.bytes() == expected, "{segment:?} from {from}");
                self.pending -= 1;
                self.got += 1;
            }
            Completion::Forgotten { .. } => self.pending -= 1,
            Completion::Sent { .. } => {}
        }
    }
}

#[test]
#[cfg_attr(miri, ignore)]
fn who_works_for_longer_than_others_wait_is_waited_for() {
    run_ranks("transport::mpi::tests::rank_that_meets_who_works");
}

/// Rank 0 works for several times as long as others wait for a silent one, then rank 1, then rank 2 before it spreads
/// what comes of it. At last rank 1 is silent as long, and rank 0 names it.
#[test]
#[ignore = "one rank of a job"]
fn rank_that_meets_who_works() {
    // Long for a thread that waits for a core.
    const LIMIT: Duration = Duration::from_secs(1);
    let universe = mpi::initialize().expect("once a process");
    let world = universe.world();
    let (rank, roll_call) = (world.rank(), RollCall::new(&world, LIMIT));
    let rest = || assert!(crossbeam::channel::after(4 * LIMIT).recv().is_ok());
    for working in [0, 1] {
        if rank == working {
            roll_call.work_before_meeting(rest);
        }
        let count = |all: Vec<Vec<u8>>| vec![u8::try_from(all.len()).expect("there are few")];
        // MPI sends none so long before its receiver looks.
        let met = roll_call.meet(Meeting::Parts, &[1; 1 << 20], count);
        assert_eq!(met.expect("all come"), [4]);
    }
    let bytes = if rank == 2 {
        roll_call.work_before_spreading(rest);
        vec![7]
    } else {
        Vec::new()
    };
    let spread = roll_call.spread(Meeting::Manifest, 2, bytes);
    assert_eq!(spread.expect("it comes"), [7]);
    if rank == 1 {
        rest();
    }
    let met = roll_call.meet(Meeting::Missing, &[], |_| Vec::new());
    let error = met.expect_err("rank 1 is silent").to_string();
    if rank == 0 {
        assert!(error.starts_with("rank 1 did not compare the list"), "{error}");
    }
}
