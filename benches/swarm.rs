//! Whole runs, all nodes as threads: one owner and three who want its file, and four who own one
//! each and want all. Set-up is part of the figure: threads, payload, memory, and the end.

use std::num::NonZeroU32;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use mpiswarm::baseline;
use mpiswarm::config::{Config, IndexKind, Selection};
use mpiswarm::driver::job::{Inputs, Job, JobError, JobResult, run_threads};
use mpiswarm::manifest::{Owners, Popularity, Wanted, Workload, synthesize};
use mpiswarm::time::Clock;

const PEERS: u32 = 4;

fn job(owners: Owners, files: u32, segments: u32, segment_bytes: usize) -> Job {
    let workload = Workload {
        peers: PEERS,
        files,
        segments,
        owners,
        wanted: Wanted::All,
        popularity: Popularity::Uniform,
        seed: 1,
    };
    let inputs = synthesize(&workload).expect("the numbers fit");
    Job::new(Inputs::Made(inputs.into()), segment_bytes)
}

fn swarm(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("swarm");
    group.sample_size(10);
    group.warm_up_time(Duration::from_millis(500));
    group.measurement_time(Duration::from_secs(2));
    let each = Owners::Each(NonZeroU32::MIN);
    let workloads = [
        ("broadcast/1KiB", job(Owners::First, 1, 1000, 1 << 10)),
        ("broadcast/64KiB", job(Owners::First, 1, 256, 64 << 10)),
        ("all-to-all/1KiB", job(each, PEERS, 250, 1 << 10)),
    ];
    for (workload, job) in workloads {
        let lockfree = job.config.clone();
        let contenders = [
            ("lockfree", lockfree.clone()),
            ("mutex-index", Config { index: IndexKind::Mutex, ..lockfree.clone() }),
            ("atomic-index", Config { index: IndexKind::Atomic, ..lockfree.clone() }),
            ("file-order", Config { selection: Selection::FileOrder, ..lockfree.clone() }),
            ("window-1", Config { window: 1, ..lockfree }),
        ];
        for (contender, config) in contenders {
            let job = Job { config, ..job.clone() };
            group.throughput(Throughput::Elements(lockfree_engine(&job)));
            group.bench_function(BenchmarkId::new(contender, workload), |bencher| {
                bencher.iter(|| lockfree_engine(&job));
            });
        }
        group.bench_function(BenchmarkId::new("mutex-engine", workload), |bencher| {
            bencher.iter(|| mutex_engine(&job));
        });
    }
}

/// Runs a job to its end; returns the segments that were delivered and verified.
fn lockfree_engine(job: &Job) -> u64 {
    delivered(run_threads(job, PEERS + 1, &Clock::start(), |_| {}))
}

/// The same job by the classic design.
fn mutex_engine(job: &Job) -> u64 {
    delivered(baseline::run_threads(job, PEERS + 1, &Clock::start(), |_| {}))
}

fn delivered(ended: Result<JobResult, JobError>) -> u64 {
    let progress = ended.expect("the local transport does not break").progress;
    assert_eq!(progress.segments_verified, progress.segments_wanted, "all is delivered");
    progress.segments_verified
}

criterion_group!(benches, swarm);
criterion_main!(benches);
