//! The tracker's request counters, in the two kinds that ship (`counters` in a plan): plain numbers behind
//! one mutex, and atomics.
//!
//! Measured: what one segment costs the counters from handout to announcement, by several threads at
//! once. One *operation*: find those of 8 holders that are available, read their loads, charge the
//! least loaded; discharge the holder of a segment handed out 160 operations ago, and note that its
//! receiver has something to offer. Once in 10 operations, a handout, also ask whether anybody is
//! available at all. The time is that of 10 operations, the throughput counts operations, both with
//! all threads at work. `many-holders`: 8 of 1,024 nodes, others for each segment. `few-holders`: the
//! same 8 for all, as when a swarm begins.
//!
//! Not measured: the index (`benches/index.rs`), the choice of segments (`benches/selection.rs`), and
//! messages.

mod threads;

use std::collections::VecDeque;
use std::hint::black_box;
use std::time::Duration;

use arrayvec::ArrayVec;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use mpiswarm::config::{Config, CounterKind, FRESH_HOLDERS};
use mpiswarm::manifest::NodeId;
use mpiswarm::swarm::counters::{Capacity, RequestCounters};
use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

/// Ranks 1 and above, as many as in the tracker's load test.
const PEERS: u32 = 1024;

/// Segments in a handout: the classic figure, as in the tracker's load test.
const HANDOUT: usize = 10;

/// Handouts of a thread whose segments are in flight: so few that even eight holders, with eight
/// threads, do not reach their limit (8 x 16 x 10 of 8 x 256).
const IN_FLIGHT: usize = 16;

type Holders = [NodeId; FRESH_HOLDERS];

/// One of the tracker's threads.
struct ServiceThread<'a> {
    counters: &'a RequestCounters,
    /// The holders of some segments, drawn beforehand: drawing eight takes longer than counting.
    segments: &'a [Holders],
    rng: Xoshiro256PlusPlus,
    in_flight: VecDeque<ArrayVec<NodeId, HANDOUT>>,
}

impl ServiceThread<'_> {
    fn turn(&mut self) {
        if self.in_flight.len() == IN_FLIGHT {
            self.announce_oldest();
        }
        black_box(self.counters.anybody_is_available());
        let given = (0..HANDOUT).map(|_| self.charge_one()).collect();
        self.in_flight.push_back(given);
    }

    fn charge_one(&mut self) -> NodeId {
        let counters = self.counters;
        let holders = self.segments[self.rng.random_range(0..self.segments.len())];
        let available = counters.with_capacity(Capacity::Available, holders.into_iter());
        let holder = available.into_iter().min_by_key(|&node| counters.load(node));
        let holder = holder.expect("no holder reaches its limit");
        counters.charge(holder);
        holder
    }

    fn announce_oldest(&mut self) {
        let given = self.in_flight.pop_front().expect("something is in flight");
        let receiver = NodeId(self.rng.random_range(1..=PEERS));
        for holder in given {
            self.counters.discharge(holder);
            self.counters.offer(receiver);
        }
    }
}

/// What one run leaves in flight would charge the holders in the next.
impl Drop for ServiceThread<'_> {
    fn drop(&mut self) {
        while !self.in_flight.is_empty() {
            self.announce_oldest();
        }
    }
}

fn counters(criterion: &mut Criterion) {
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(1);
    let mut any = || [(); FRESH_HOLDERS].map(|()| NodeId(rng.random_range(1..=PEERS)));
    // 128 KiB: it stays in the second-level cache.
    let many: Vec<Holders> = (0..4096).map(|_| any()).collect();
    let few = vec![[1, 2, 3, 4, 5, 6, 7, 8].map(NodeId)];
    // The limit of small segments, with which the tracker seeks no idle holders: where segments are
    // large, the tracker is not what limits.
    let load_max = Config::for_segments_of(1 << 10).holder_load;
    for (group, segments) in [("counters/many-holders", &many), ("counters/few-holders", &few)] {
        let mut group = criterion.benchmark_group(group);
        group.sample_size(20).throughput(Throughput::Elements(HANDOUT as u64));
        group.warm_up_time(Duration::from_millis(300));
        group.measurement_time(Duration::from_millis(1500));
        for (name, kind) in [("mutex", CounterKind::Mutex), ("atomic", CounterKind::Atomic)] {
            let counters = RequestCounters::new(kind, PEERS as usize + 1, load_max);
            (1..=PEERS).for_each(|peer| counters.offer(NodeId(peer)));
            for threads in [1, 2, 4, 8] {
                group.bench_function(BenchmarkId::new(name, threads), |bencher| {
                    bencher.iter_custom(|turns| {
                        threads::time(threads, turns, |thread| {
                            let mut thread = ServiceThread {
                                counters: &counters,
                                segments,
                                rng: Xoshiro256PlusPlus::seed_from_u64(thread.into()),
                                in_flight: VecDeque::with_capacity(IN_FLIGHT),
                            };
                            move || thread.turn()
                        })
                    });
                });
            }
        }
    }
}

criterion_group!(benches, counters);
criterion_main!(benches);
