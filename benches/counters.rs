//! How the tracker counts requests: a mutex around plain numbers, atomics side by side, atomics on
//! cache lines of their own, and atomics behind crossbeam's sharded lock.
//!
//! One operation reads the counters of one node of 64 and counts a request at another. A figure is
//! the time of one operation with all threads at work.

use std::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Barrier, Mutex};
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use crossbeam::sync::ShardedLock;
use crossbeam::utils::CachePadded;
use mpiswarm::time::Clock;
use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

const NODES: usize = 64;

/// A kind of counters: one small adapter each.
trait CounterKind: Sync {
    fn charge(&self, node: usize);
    fn load(&self, node: usize) -> u64;
}

impl CounterKind for Mutex<Vec<u64>> {
    fn charge(&self, node: usize) {
        self.lock().expect("nobody panics")[node] += 1;
    }

    fn load(&self, node: usize) -> u64 {
        self.lock().expect("nobody panics")[node]
    }
}

impl CounterKind for Vec<AtomicU64> {
    fn charge(&self, node: usize) {
        // ORDERING: Relaxed; a statistic, publishes nothing.
        self[node].fetch_add(1, Ordering::Relaxed);
    }

    fn load(&self, node: usize) -> u64 {
        // ORDERING: Relaxed; a statistic, publishes nothing.
        self[node].load(Ordering::Relaxed)
    }
}

impl CounterKind for Vec<CachePadded<AtomicU64>> {
    fn charge(&self, node: usize) {
        // ORDERING: Relaxed; a statistic, publishes nothing.
        self[node].fetch_add(1, Ordering::Relaxed);
    }

    fn load(&self, node: usize) -> u64 {
        // ORDERING: Relaxed; a statistic, publishes nothing.
        self[node].load(Ordering::Relaxed)
    }
}

impl CounterKind for ShardedLock<Vec<AtomicU64>> {
    fn charge(&self, node: usize) {
        self.read().expect("nobody panics").charge(node);
    }

    fn load(&self, node: usize) -> u64 {
        self.read().expect("nobody panics").load(node)
    }
}

/// Wall time of `operations` in all, shared by some threads.
fn time(counters: &dyn CounterKind, threads: u32, operations: u64) -> Duration {
    let clock = Clock::start();
    let share = operations.div_ceil(threads.into());
    let barrier = Barrier::new(threads as usize + 1);
    std::thread::scope(|scope| {
        let work = |seed: u64| {
            let barrier = &barrier;
            scope.spawn(move || {
                let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
                barrier.wait();
                for _ in 0..share {
                    let [read, charged] = [(); 2].map(|()| rng.random_range(0..NODES));
                    black_box(counters.load(read));
                    counters.charge(charged);
                }
            })
        };
        let threads: Vec<_> = (0..threads.into()).map(work).collect();
        barrier.wait();
        let start = clock.now();
        threads.into_iter().for_each(|thread| thread.join().expect("nobody panics"));
        clock.now().since(start)
    })
}

fn counters(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("counters");
    group.sample_size(10).throughput(Throughput::Elements(1));
    group.warm_up_time(Duration::from_millis(100));
    group.measurement_time(Duration::from_millis(500));
    let atomics = || -> Vec<AtomicU64> { (0..NODES).map(|_| AtomicU64::new(0)).collect() };
    let padded: Vec<CachePadded<AtomicU64>> = (0..NODES).map(|_| CachePadded::default()).collect();
    let kinds: [(&str, Box<dyn CounterKind>); 4] = [
        ("mutex", Box::new(Mutex::new(vec![0_u64; NODES]))),
        ("atomic", Box::new(atomics())),
        ("atomic-padded", Box::new(padded)),
        ("sharded-lock", Box::new(ShardedLock::new(atomics()))),
    ];
    for (kind, counters) in &kinds {
        for threads in [1, 2, 4, 8] {
            group.bench_function(BenchmarkId::new(*kind, threads), |bencher| {
                bencher.iter_custom(|operations| time(counters.as_ref(), threads, operations));
            });
        }
    }
}

criterion_group!(benches, counters);
criterion_main!(benches);
