//! Where the tracker keeps who has what: a mutex around a map, a sharded map, a map that mostly is
//! lock-free, and no map at all.
//!
//! One operation is a look-up that counts a request at one of the file's holders, or, in a part of
//! all operations, an announcement of a new holder. 4,096 files, 64 nodes; `hot` is one file that
//! all threads use, `uniform` any. A figure is the time of one operation with all threads at work.

use std::collections::HashMap;
use std::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Barrier, Mutex};
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use crossbeam::utils::CachePadded;
use dashmap::DashMap;
use mpiswarm::time::Clock;
use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

const FILES: u32 = 4096;
const NODES: u32 = 64;
/// The holders that every file has from the start, as bits.
const OWNERS: u64 = 0xffff;

/// A kind of index: one small adapter each.
trait Index: Sync {
    /// Counts a request at the `choice`-th holder of a file, around in a ring; returns that node.
    fn ask(&self, file: u32, choice: u32) -> u32;
    /// Notes that a node has a file.
    fn announce(&self, file: u32, node: u32);
}

/// Plain data, and the counters with it, behind one mutex.
struct Locked(Mutex<(HashMap<u32, u64>, Vec<u64>)>);

impl Locked {
    fn new() -> Self {
        Self(Mutex::new(((0..FILES).map(|file| (file, OWNERS)).collect(), vec![0; NODES as usize])))
    }
}

impl Index for Locked {
    fn ask(&self, file: u32, choice: u32) -> u32 {
        let (files, requests) = &mut *self.0.lock().expect("nobody panics");
        let node = pick(files[&file], choice);
        requests[node as usize] += 1;
        node
    }

    fn announce(&self, file: u32, node: u32) {
        let (files, _) = &mut *self.0.lock().expect("nobody panics");
        *files.get_mut(&file).expect("every file is there") |= 1 << node;
    }
}

type Counters = Vec<CachePadded<AtomicU64>>;

fn counters() -> Counters {
    (0..NODES).map(|_| CachePadded::default()).collect()
}

fn count(counters: &Counters, holders: &AtomicU64, choice: u32) -> u32 {
    // ORDERING: Relaxed; the bits are the whole message, and the count a statistic.
    let node = pick(holders.load(Ordering::Relaxed), choice);
    // ORDERING: Relaxed; as above.
    counters[node as usize].fetch_add(1, Ordering::Relaxed);
    node
}

fn set(holders: &AtomicU64, node: u32) {
    // ORDERING: Relaxed; the bit is the whole message.
    holders.fetch_or(1 << node, Ordering::Relaxed);
}

/// Atomics in a sharded map.
struct Sharded(DashMap<u32, AtomicU64>, Counters);

impl Sharded {
    fn new() -> Self {
        Self((0..FILES).map(|file| (file, AtomicU64::new(OWNERS))).collect(), counters())
    }
}

impl Index for Sharded {
    fn ask(&self, file: u32, choice: u32) -> u32 {
        count(&self.1, &self.0.get(&file).expect("every file is there"), choice)
    }

    fn announce(&self, file: u32, node: u32) {
        set(&self.0.get(&file).expect("every file is there"), node);
    }
}

/// Atomics in a map most of whose operations are lock-free.
struct Papaya(papaya::HashMap<u32, AtomicU64>, Counters);

impl Papaya {
    fn new() -> Self {
        Self((0..FILES).map(|file| (file, AtomicU64::new(OWNERS))).collect(), counters())
    }
}

impl Index for Papaya {
    fn ask(&self, file: u32, choice: u32) -> u32 {
        count(&self.1, self.0.pin().get(&file).expect("every file is there"), choice)
    }

    fn announce(&self, file: u32, node: u32) {
        set(self.0.pin().get(&file).expect("every file is there"), node);
    }
}

/// One atomic bitset a file, in a slice.
struct Bitsets(Vec<AtomicU64>, Counters);

impl Bitsets {
    fn new() -> Self {
        Self((0..FILES).map(|_| AtomicU64::new(OWNERS)).collect(), counters())
    }
}

impl Index for Bitsets {
    fn ask(&self, file: u32, choice: u32) -> u32 {
        count(&self.1, &self.0[file as usize], choice)
    }

    fn announce(&self, file: u32, node: u32) {
        set(&self.0[file as usize], node);
    }
}

/// The first holder at or after a place, around in a ring.
fn pick(holders: u64, choice: u32) -> u32 {
    let start = choice % NODES;
    (start + holders.rotate_right(start).trailing_zeros()) % NODES
}

/// Wall time of `operations` in all, shared by some threads.
fn time(index: &dyn Index, threads: u32, hot: bool, announce: u32, operations: u64) -> Duration {
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
                    let draw: u64 = rng.random();
                    let [file, choice] = [draw & 0xffff_ffff, draw >> 32]
                        .map(|half| u32::try_from(half).expect("half of 64 bits"));
                    let file = if hot { 0 } else { file % FILES };
                    if choice % 100 < announce {
                        index.announce(file, choice / 100 % NODES);
                    } else {
                        black_box(index.ask(file, choice / 100));
                    }
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

fn index(criterion: &mut Criterion) {
    for (files, hot) in [("hot", true), ("uniform", false)] {
        for (mix, announce) in [("100-0", 0), ("95-5", 5), ("50-50", 50)] {
            let mut group = criterion.benchmark_group(format!("index/{files}/{mix}"));
            group.sample_size(10).throughput(Throughput::Elements(1));
            group.warm_up_time(Duration::from_millis(50));
            group.measurement_time(Duration::from_millis(250));
            let kinds: [(&str, Box<dyn Index>); 4] = [
                ("mutex", Box::new(Locked::new())),
                ("dashmap", Box::new(Sharded::new())),
                ("papaya", Box::new(Papaya::new())),
                ("atomic", Box::new(Bitsets::new())),
            ];
            for (kind, index) in &kinds {
                for threads in [1, 2, 4, 8] {
                    group.bench_function(BenchmarkId::new(*kind, threads), |bencher| {
                        bencher.iter_custom(|operations| {
                            time(index.as_ref(), threads, hot, announce, operations)
                        });
                    });
                }
            }
        }
    }
}

criterion_group!(benches, index);
criterion_main!(benches);
