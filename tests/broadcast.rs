//! Broadcasts bring verified bytes to all, between threads as between ranks.

#[cfg(feature = "mpi")]
mod launch;

use mpiswarm::harness::broadcast::{
    Algorithm, BroadcastError, BroadcastJob, RankReport, run_threads,
};
use mpiswarm::time::Clock;

const PLANNED: [Algorithm; 4] = [
    Algorithm::Chain { window: 1 },
    Algorithm::Chain { window: 8 },
    Algorithm::Binomial,
    Algorithm::Circulant,
];

fn job(segments: u32, verify: bool) -> BroadcastJob {
    BroadcastJob { segments, segment_bytes: 1000, seed: 7, verify }
}

/// Every receiver has every byte, and somebody has sent it.
fn check(job: &BroadcastJob, algorithm: Algorithm, reports: &[RankReport]) {
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

#[test]
fn digests_of_many_segments_come_in_several_messages() {
    let job = BroadcastJob { segments: 4000, segment_bytes: 0, seed: 1, verify: true };
    for algorithm in PLANNED {
        let reports = run_threads(&job, algorithm, 5, &Clock::start());
        check(&job, algorithm, &reports.expect("nothing stands in the way"));
    }
}

#[test]
fn a_chain_serves_alike_and_its_owner_once() {
    let reports = run_threads(&job(10, true), PLANNED[0], 6, &Clock::start());
    let reports = reports.expect("nothing stands in the way");
    let served: Vec<_> = reports.iter().map(|report| report.metrics.served_segments).collect();
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
    let job = BroadcastJob { segments: 1000, segment_bytes: 1 << 40, seed: 1, verify: true };
    let refused = run_threads(&job, Algorithm::Circulant, 4, &Clock::start());
    let Err(BroadcastError::Failed { trouble, .. }) = refused else {
        panic!("there is no room: {refused:?}");
    };
    assert!(trouble.contains("memory"), "{trouble}");
}

#[cfg(feature = "mpi")]
mod ranks {
    use mpi::Threading;
    use mpi::topology::Communicator as _;
    use mpiswarm::harness::broadcast::run_rank;

    use super::*;

    const OF_THE_LIBRARY: [Algorithm; 2] =
        [Algorithm::MpiBcast { segmented: false }, Algorithm::MpiBcast { segmented: true }];

    #[test]
    fn ranks_bring_every_segment_to_every_node() {
        if !launch::can_start_ranks() {
            return;
        }
        let this = std::env::current_exe().expect("the test runs from a file");
        for ranks in [2, 3, 5, 8] {
            let output = launch::ranks(ranks, &this)
                .args(["--exact", "ranks::as_a_rank", "--ignored", "--nocapture"])
                .output()
                .expect("mpirun starts");
            let text = String::from_utf8_lossy(&output.stdout);
            assert!(output.status.success(), "{ranks} ranks: {output:?}");
            assert_eq!(text.matches("broadcasts: 48").count(), 1, "{ranks} ranks: {text}");
        }
    }

    /// One rank of the job that the test above starts; all broadcasts run in one job, one after
    /// the other.
    #[test]
    #[ignore = "a rank: mpirun starts it"]
    fn as_a_rank() {
        let (universe, _) =
            mpi::initialize_with_threading(Threading::Funneled).expect("MPI starts once");
        let world = universe.world();
        if world.size() < 2 {
            return;
        }
        // A rank that panicked would wait for the others in MPI's end, and they for it.
        std::panic::set_hook(Box::new(|panic| {
            eprintln!("{panic}");
            std::process::abort();
        }));
        let clock = Clock::start();
        let mut done = 0;
        for algorithm in PLANNED.into_iter().chain(OF_THE_LIBRARY) {
            for segments in [0, 1, 7, 40] {
                for verify in [true, false] {
                    let job = job(segments, verify);
                    match run_rank(&job, algorithm, &world, &clock) {
                        Ok(reports) => {
                            let reports = reports.into_iter();
                            reports.for_each(|reports| check(&job, algorithm, &reports));
                            done += 1;
                        }
                        Err(error) => {
                            eprintln!("{algorithm}, {job:?}: {error}");
                            world.abort(1);
                        }
                    }
                }
            }
        }
        if world.rank() == 0 {
            println!("broadcasts: {done}");
        }
    }
}
