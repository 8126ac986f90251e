//! What the harness measures with, between threads as between ranks: broadcasts bring verified
//! bytes to all, and limits are what they can be.

use std::sync::Arc;

use mpiswarm::harness::broadcast::{
    Algorithm, BroadcastError, BroadcastJob, RankReport, Report, run_threads,
};
use mpiswarm::manifest::{SegmentId, SegmentSet};
use mpiswarm::metrics::usage::Meter;
use mpiswarm::protocol::relay::RelayAlgorithm;
use mpiswarm::time::Clock;

const PLANNED: [Algorithm; 5] = [
    Algorithm::Relay(RelayAlgorithm::Chain { window: 1 }),
    Algorithm::Relay(RelayAlgorithm::Chain { window: 8 }),
    Algorithm::Relay(RelayAlgorithm::Binomial),
    Algorithm::Relay(RelayAlgorithm::Circulant),
    Algorithm::Relay(RelayAlgorithm::Neighbours { seed: 1, rack_hosts: None }),
];

fn job(segments: u32, verify: bool) -> BroadcastJob {
    BroadcastJob {
        segments,
        segment_bytes: 1000,
        seed: 7,
        owned: Arc::default(),
        verify,
        has_own_core: false,
        meter: Meter::default(),
    }
}

/// Every receiver has every byte, and somebody has sent it.
fn check(job: &BroadcastJob, algorithm: Algorithm, report: &Report) {
    let reports = &report.ranks;
    let bytes = u64::from(job.segments) * job.payload_bytes() as u64;
    assert_eq!(reports[0].finished, None, "rank 0 takes no part");
    assert_eq!(reports[0].metrics.received_bytes + reports[0].metrics.served_bytes, 0);
    assert_eq!(reports[1].metrics.received_bytes, 0, "the owner needs nothing");
    for report in &reports[1..] {
        assert!(report.finished.is_some(), "{algorithm}: {report:?}");
        assert_eq!(report.metrics.corrupt_segments, 0);
    }
    for report in &reports[2..] {
        assert_eq!(report.metrics.received_segments, u64::from(job.segments), "{algorithm}");
        assert_eq!(report.metrics.received_bytes, bytes, "{algorithm}");
        assert!(job.segments == 0 || !report.verification.is_zero(), "{algorithm}");
        let shares = report.metrics.spent.shares();
        assert!(job.segments == 0 || shares.moving > 0.0, "{shares:?}");
        assert!(job.segments == 0 || job.verify == (shares.verifying > 0.0), "{shares:?}");
    }
    if !matches!(algorithm, Algorithm::MpiBcast { .. }) {
        let served: u64 = reports.iter().map(|report| report.metrics.served_bytes).sum();
        assert_eq!(served, bytes * (reports.len() as u64 - 2), "{algorithm}: no byte too many");
        let origin: u64 = reports.iter().map(|report| report.metrics.origin_bytes).sum();
        assert_eq!(origin, reports[1].metrics.served_bytes);
    }
}

#[test]
fn threads_bring_every_segment_to_every_node() {
    let clock = Clock::start();
    for algorithm in PLANNED {
        for receivers in 0..=9 {
            for segments in [0, 1, 2, 5, 40] {
                let job = job(segments, receivers % 2 == 1);
                let reports = run_threads(&job, algorithm, receivers + 2, &clock);
                check(&job, algorithm, &reports.expect("nothing stands in the way"));
            }
        }
    }
}

/// Segments dealt in turn to `peers` peers, `owners` owners each.
fn dealt(job: BroadcastJob, peers: u32, owners: u32) -> BroadcastJob {
    let mut owned = vec![SegmentSet::none_of(job.segments); peers as usize];
    for segment in 0..job.segments {
        for owner in 0..owners.min(peers) {
            owned[((segment + owner) % peers) as usize].insert(SegmentId(segment));
        }
    }
    BroadcastJob { owned: owned.into(), ..job }
}

/// Every peer gets once what it did not own.
fn check_dealt(job: &BroadcastJob, report: &Report) {
    for (rank, owned) in report.ranks[1..].iter().zip(&*job.owned) {
        assert!(rank.finished.is_some(), "{report:?}");
        let lacked = u64::from(job.segments) - owned.len() as u64;
        assert_eq!(rank.metrics.received_segments, lacked);
        assert_eq!(rank.metrics.corrupt_segments, 0);
    }
    let sum = |of: fn(&RankReport) -> u64| report.ranks.iter().map(of).sum::<u64>();
    assert_eq!(
        sum(|rank| rank.metrics.served_segments),
        sum(|rank| rank.metrics.received_segments),
        "no segment too many"
    );
    assert!(sum(|rank| rank.metrics.origin_bytes) <= sum(|rank| rank.metrics.served_bytes));
}

#[test]
fn holders_that_choose_bring_the_segments_of_several_owners_to_all() {
    let algorithm = Algorithm::Relay(RelayAlgorithm::Neighbours { seed: 1, rack_hosts: None });
    for peers in [1, 2, 5, 9] {
        for owners in [1, 3, peers] {
            for (segments, verify) in [(0, true), (1, true), (30, false), (30, true)] {
                let job = dealt(job(segments, verify), peers, owners);
                let report = run_threads(&job, algorithm, peers + 1, &Clock::start());
                check_dealt(&job, &report.expect("nothing stands in the way"));
            }
        }
    }
}

#[test]
fn plans_refuse_several_owners() {
    let job = dealt(job(4, true), 2, 1);
    for algorithm in &PLANNED[..4] {
        let refused = run_threads(&job, *algorithm, 3, &Clock::start());
        assert!(matches!(refused, Err(BroadcastError::OneOwner(_))), "{refused:?}");
    }
}

#[test]
fn digests_of_many_segments_come_in_several_messages() {
    let job = BroadcastJob { segment_bytes: 0, ..job(4000, true) };
    for algorithm in PLANNED {
        let reports = run_threads(&job, algorithm, 5, &Clock::start());
        check(&job, algorithm, &reports.expect("nothing stands in the way"));
    }
}

#[test]
fn a_chain_serves_alike_and_its_owner_once() {
    let report = run_threads(&job(10, true), PLANNED[0], 6, &Clock::start());
    let ranks = report.expect("nothing stands in the way").ranks;
    let served: Vec<_> = ranks.iter().map(|rank| rank.metrics.served_segments).collect();
    assert_eq!(served, [0, 10, 10, 10, 10, 0]);
}

#[test]
fn what_cannot_run_is_refused() {
    let clock = Clock::start();
    let refused = run_threads(&job(1, true), PLANNED[0], 1, &clock);
    assert!(matches!(refused, Err(BroadcastError::NoOwner)));
    let algorithm = Algorithm::MpiBcast { segmented: false };
    let refused = run_threads(&job(1, true), algorithm, 3, &clock);
    assert!(matches!(refused, Err(BroadcastError::NeedsRanks)));
}

#[test]
fn a_file_that_no_memory_holds_stops_all_nodes() {
    let job = BroadcastJob { segment_bytes: 1 << 40, ..job(1000, true) };
    let refused = run_threads(&job, PLANNED[3], 4, &Clock::start());
    let Err(BroadcastError::Failed { problem, .. }) = refused else {
        panic!("there is no room: {refused:?}");
    };
    assert!(problem.contains("memory"), "{problem}");
}

#[cfg(feature = "mpi")]
mod ranks {
    use std::process::Command;
    use std::time::Duration;

    use mpi::Threading;
    use mpi::environment::Universe;
    use mpi::topology::Communicator as _;
    use mpiswarm::harness::broadcast::run_rank;
    use mpiswarm::report::MpiLimits;

    use super::*;

    const OF_THE_LIBRARY: [Algorithm; 2] =
        [Algorithm::MpiBcast { segmented: false }, Algorithm::MpiBcast { segmented: true }];

    /// Runs one of the tests below as ranks; none where that can't be done.
    #[expect(clippy::print_stdout, reason = "a test that is skipped says why")]
    fn as_ranks(ranks: &str, test: &str) -> Option<String> {
        let scripts = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/mpi.sh");
        let mpirun = || {
            let mut command = Command::new(scripts);
            command.args(["any", "mpirun"]);
            command
        };
        if !mpirun().arg("--version").output().is_ok_and(|output| output.status.success()) {
            println!("skipped: no mpirun here");
            return None;
        }
        let this = std::env::current_exe().expect("the test runs from a file");
        let mut command = mpirun();
        command.args(["-n", ranks]).arg(&this).args(["--exact", test, "--ignored", "--nocapture"]);
        let output = command.output().expect("mpirun starts");
        assert!(output.status.success(), "{ranks} ranks: {output:?}");
        Some(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Starts MPI for one of many ranks; none when nobody started others.
    #[expect(clippy::print_stderr, reason = "a rank that fails says why")]
    fn start() -> Option<Universe> {
        // A rank that panicked would wait for the others in MPI's end, and they for it.
        std::panic::set_hook(Box::new(|panic| {
            eprintln!("{panic}");
            std::process::abort();
        }));
        let (universe, _) = mpi::initialize_with_threading(Threading::Funneled)?;
        (universe.world().size() > 1).then_some(universe)
    }

    #[test]
    fn ranks_bring_every_segment_to_every_node() {
        for ranks in ["2", "3", "6"] {
            let Some(text) = as_ranks(ranks, "ranks::broadcasts_of_a_rank") else { return };
            assert_eq!(text.matches("broadcasts: 38").count(), 1, "{ranks} ranks: {text}");
        }
    }

    #[test]
    fn what_an_mpi_carries_is_measured_with_any_number_of_ranks() {
        for ranks in ["2", "3", "4"] {
            let Some(text) = as_ranks(ranks, "ranks::limits_of_a_rank") else { return };
            assert_eq!(text.matches("usable").count(), 2, "{ranks} ranks: {text}");
        }
    }

    #[test]
    #[ignore = "a rank: mpirun starts it"]
    fn limits_of_a_rank() {
        let Some(universe) = start() else { return };
        let (world, clock) = (universe.world(), Clock::start());
        for budget in [Duration::ZERO, Duration::from_millis(100)] {
            let limits = MpiLimits::measure(&world, budget, &clock);
            assert_eq!(limits.is_some(), world.rank() == 0, "rank 0 gets the result");
            let Some(limits) = limits else { continue };
            let rates = [
                limits.latency_ns,
                limits.bytes_per_second,
                limits.messages_per_second,
                limits.all_pairs_messages_per_second,
            ];
            assert!(rates.iter().all(|rate| rate.is_finite() && *rate > 0.0), "{limits:?}");
            assert_eq!(i64::from(limits.pairs), i64::from(world.size()) / 2);
            println!("usable: {limits:?}");
        }
    }

    /// All broadcasts in one job, one after the other.
    #[test]
    #[ignore = "a rank: mpirun starts it"]
    fn broadcasts_of_a_rank() {
        let Some(universe) = start() else { return };
        let world = universe.world();
        let clock = Clock::start();
        let mut done = 0;
        for algorithm in PLANNED.into_iter().chain(OF_THE_LIBRARY) {
            for (segments, verify) in [(0, true), (1, true), (1, false), (20, true), (20, false)] {
                let job = job(segments, verify);
                let report = run_rank(&job, algorithm, &world, &clock);
                let report = report.unwrap_or_else(|error| panic!("{algorithm}, {job:?}: {error}"));
                report.iter().for_each(|report| check(&job, algorithm, report));
                done += 1;
            }
        }
        let peers = u32::try_from(world.size() - 1).expect("a job has ranks");
        let algorithm = Algorithm::Relay(RelayAlgorithm::Neighbours { seed: 1, rack_hosts: None });
        for owners in [1, 2, peers] {
            let job = dealt(job(21, true), peers, owners);
            let report = run_rank(&job, algorithm, &world, &clock);
            let report = report.unwrap_or_else(|error| panic!("{owners} owners: {error}"));
            report.iter().for_each(|report| check_dealt(&job, report));
            done += 1;
        }
        if world.rank() == 0 {
            println!("broadcasts: {done}");
        }
    }
}
