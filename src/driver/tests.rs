use std::collections::VecDeque;

use crossbeam::sync::Parker;

use super::*;
use crate::manifest::SegmentId;
use crate::protocol::{CheckResult, ProtocolError};
use crate::transport::local;
use crate::verify::Digest;

const SEGMENTS: u32 = 40;
const SEGMENT_BYTES: usize = 100 << 10;

/// A node to which all segments come at once.
struct ReceivingPeer(u32);

impl Node for ReceivingPeer {
    fn handle(
        &mut self,
        _now: Timestamp,
        input: Input<'_>,
        out: &mut Outbox,
    ) -> Result<(), ProtocolError> {
        let (from, digest) = (NodeId(1), Digest([0; 32]));
        if matches!(input, Input::Start) {
            let all = (0..SEGMENTS).map(SegmentId);
            all.for_each(|segment| out.push(Output::Check { from, segment, digest }));
        } else if matches!(input, Input::Checked { .. }) {
            self.0 += 1;
            if self.0 == SEGMENTS {
                out.push(Output::Finish);
            }
        }
        Ok(())
    }

    fn deadline(&self) -> Option<Timestamp> {
        None
    }

    fn waits_for(&self) -> Option<Wait> {
        Some(Wait::Holder)
    }
}

/// Counts the bytes that are checked between two polls.
#[derive(Default)]
struct Counting {
    waiting: VecDeque<SegmentId>,
    bytes: usize,
    by_turn: Vec<usize>,
}

impl NodeIo<ReceivingPeer> for Counting {
    fn perform(
        &mut self,
        _now: Timestamp,
        output: Output,
        _node: &ReceivingPeer,
        _transport: &mut impl Transport,
        _inputs: &mut Vec<Input<'_>>,
    ) -> Result<(), TransportError> {
        if let Output::Check { segment, .. } = output {
            self.waiting.push_back(segment);
        }
        Ok(())
    }

    fn has_checks(&self) -> bool {
        !self.waiting.is_empty()
    }

    fn check(&mut self, bytes_max: usize, inputs: &mut Vec<Input<'_>>) -> usize {
        let mut bytes = 0;
        while bytes + SEGMENT_BYTES <= bytes_max
            && let Some(segment) = self.waiting.pop_front()
        {
            bytes += SEGMENT_BYTES;
            let verdict = CheckResult::Valid;
            inputs.push(Input::Checked { from: NodeId(1), segment, verdict });
        }
        self.bytes += bytes;
        bytes
    }

    fn take_in(&mut self, _now: Timestamp, _completion: Completion, _inputs: &mut Vec<Input<'_>>) {}

    fn collect(&mut self, _now: Timestamp, _node: &ReceivingPeer, _inputs: &mut Vec<Input<'_>>) {}

    // Called once after each poll.
    fn send_ready(&mut self, _transport: &mut impl Transport) -> Result<(), TransportError> {
        self.by_turn.push(std::mem::take(&mut self.bytes));
        Ok(())
    }
}

#[test]
fn a_rank_that_hashes_hears_others_in_between_and_does_not_rest() {
    let parker = Parker::new();
    let mut end = local::connect(vec![parker.unparker().clone()]).swap_remove(0);
    let idle = Idle::new(parker, end.wakes(), false);
    let (mut node, mut io) = (ReceivingPeer(0), Counting::default());
    let clock = Clock::start();
    run_node(&mut node, &mut io, &mut end, idle, (&clock, &Meter::default())).expect("it ends");
    let checked = io.by_turn.iter().sum::<usize>() + io.bytes;
    assert_eq!(checked, SEGMENTS as usize * SEGMENT_BYTES);
    let most = io.by_turn.iter().max().expect("there was a poll");
    assert!(*most <= CHECK_BYTES_A_TURN, "{:?}", io.by_turn);
    assert!(io.by_turn.iter().all(|&bytes| bytes > 0), "{:?}", io.by_turn);
}

/// A swarm of ranks of a real job.
#[cfg(feature = "mpi")]
mod ranks {
    use std::sync::Arc;

    use mpi::topology::{Communicator as _, SimpleCommunicator};

    use super::*;
    use crate::config::Config;
    use crate::driver::injection::Fault;
    use crate::driver::job::{Inputs, Job};
    use crate::manifest::PeerInput;
    use crate::transport::mpi::{MpiTransport, tests::run_ranks};

    /// More segments than there are tags.
    const SEGMENTS: u32 = 1000;

    /// Two fragments of the shortest kind.
    const SEGMENT_BYTES: usize = 40_000;

    /// Tags, as with an MPI that has no more.
    const TAGS: u16 = 64;

    #[test]
    fn a_swarm_of_more_segments_than_tags_gets_them_in_fragments() {
        run_ranks("driver::tests::ranks::rank_of_a_swarm");
    }

    #[test]
    fn a_swarm_of_short_segments_gets_several_in_a_message() {
        run_ranks("driver::tests::ranks::rank_of_a_swarm_of_short_segments");
    }

    fn inputs() -> Inputs {
        let hashes: String = (0..SEGMENTS).map(|place| format!("{place:08x}\n")).collect();
        let owner = format!("1\nfile {SEGMENTS}\n{hashes}0\n");
        let owner = PeerInput::parse(owner.as_bytes()).expect("it is valid");
        let other = PeerInput::parse(b"0\n1\nfile\n").expect("it is valid");
        Inputs::Made(Arc::new([owner, other.clone(), other]))
    }

    #[test]
    #[ignore = "one rank of a job"]
    fn rank_of_a_swarm() {
        let universe = mpi::initialize().expect("once a process");
        let config = Config { window: 24, ..Config::over_links(SEGMENT_BYTES) };
        let received = run_swarm(&universe.world(), (config, SEGMENT_BYTES, TAGS), true);
        assert!(received.segments == 0 || received.payload_messages > 2 * u64::from(SEGMENTS));
    }

    #[test]
    #[ignore = "one rank of a job"]
    fn rank_of_a_swarm_of_short_segments() {
        let universe = mpi::initialize().expect("once a process");
        for segment_bytes in [64, 1024, 333] {
            // A few upload slots: holders decline parts of requests.
            let base = Config::for_segments_of(segment_bytes);
            let config = Config { uploads: 4, upload_queue: 4, ..base };
            let received = run_swarm(&universe.world(), (config, segment_bytes, 0), false);
            let Received { segments, payload_messages } = received;
            assert!(payload_messages * 3 < segments * 2 || segments == 0, "{received:?}");
        }
    }

    /// What a rank got.
    #[derive(Debug)]
    struct Received {
        segments: u64,
        payload_messages: u64,
    }

    fn run_swarm(
        world: &SimpleCommunicator,
        (config, segment_bytes, tags): (Config, usize, u16),
        is_synchronous: bool,
    ) -> Received {
        let node = NodeId(u32::try_from(world.rank()).expect("it is not negative"));
        let faults = vec![Fault::Corrupt(0.01)];
        let job = Job { config, faults, ..Job::new(inputs(), segment_bytes) };
        let clock = Clock::start();
        let mut transport = MpiTransport::new(world, is_synchronous).expect("MPI works");
        transport.limit(tags, 15);
        let mut received = Received { segments: 0, payload_messages: 0 };
        let parker = Parker::new();
        if node == NodeId::TRACKER {
            let mut tracker = Tracker::new(4, job.config.clone(), job.seed);
            let idle = Idle::new(parker, false, false);
            let measures = (&clock, &job.meter);
            run_tracker(&mut tracker, &mut transport, idle, measures, (None, None, |_| ()))
                .expect("it ends well");
            let outcome = tracker.outcome();
            assert!(outcome.errors.is_empty() && outcome.lost.is_empty(), "{outcome:?}");
        } else {
            let prepared = job.prepare_peer((node, 4), parker.unparker(), &clock);
            let injection = Injection::new(&job.faults, job.seed, node);
            let idle = Idle::new(parker, false, false);
            let measures = (&clock, &job.meter);
            let ended = run_peer(prepared, &mut transport, idle, measures, injection);
            let RankMetrics { received_segments: segments, payload_messages, .. } =
                ended.expect("it ends well").metrics;
            assert_eq!(segments, if node == NodeId(1) { 0 } else { u64::from(SEGMENTS) });
            received = Received { segments, payload_messages };
        }
        transport.end(Duration::from_secs(60)).expect("MPI works");
        received
    }
}
