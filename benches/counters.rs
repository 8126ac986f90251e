//! The tracker's request counters, in the two kinds that ship (`counters` in a plan): plain numbers
//! behind one mutex, and atomics.
//!
//! Measured: what one segment costs the counters from handout to announcement, by several threads
//! at once, each of which has its share of the peers. These ask in turn, each for 10 segments, and
//! announce the 10 of their last turn. One *operation* is what that takes for a segment: discharge
//! its holder, and note that its receiver has something to offer; then, for another one, find those
//! of 8 holders that are available, read their loads, and charge the least loaded. Once a turn, ask
//! whether anybody is available at all. The time is that of a turn, the throughput counts
//! operations, both with all threads at work. `many-holders`: 1,024 peers, each segment with other
//! holders. `few-holders`: 128 peers, and the same 8 holders for all, as when a swarm begins.
//!
//! Not measured: the index (`benches/index.rs`), the choice of segments (`benches/selection.rs`),
//! and messages.

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

/// Peers where there are few holders: so many that these are never idle, and so few that they do
/// not reach their limit (128 x 10 of 8 x 256).
const PEERS_OF_FEW: u32 = 128;

type Holders = [NodeId; FRESH_HOLDERS];

/// One of the tracker's threads.
struct ServiceThread<'a> {
    counters: &'a RequestCounters,
    /// The holders of some segments, drawn beforehand: drawing eight takes longer than counting.
    segments: &'a [Holders],
    rng: Xoshiro256PlusPlus,
    /// Its peers, the one whose turn it is in front, and the holders that each was sent to last.
    peers: VecDeque<(NodeId, ArrayVec<NodeId, HANDOUT>)>,
}

impl ServiceThread<'_> {
    /// Hands each peer its first segments: from then on as many are in flight all the time.
    fn begin(mut self, peers: impl Iterator<Item = NodeId>) -> Self {
        for peer in peers {
            let given = self.hand_out();
            self.peers.push_back((peer, given));
        }
        self
    }

    fn turn(&mut self) {
        let (peer, given) = self.peers.pop_front().expect("every thread has peers");
        self.announce(peer, given);
        let given = self.hand_out();
        self.peers.push_back((peer, given));
    }

    fn hand_out(&mut self) -> ArrayVec<NodeId, HANDOUT> {
        black_box(self.counters.anybody_is_available());
        (0..HANDOUT).map(|_| self.charge_one()).collect()
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

    fn announce(&self, peer: NodeId, given: ArrayVec<NodeId, HANDOUT>) {
        for holder in given {
            self.counters.discharge(holder);
            self.counters.offer(peer);
        }
    }
}

/// What one run leaves in flight would charge the holders in the next.
impl Drop for ServiceThread<'_> {
    fn drop(&mut self) {
        for (peer, given) in std::mem::take(&mut self.peers) {
            self.announce(peer, given);
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
    let groups =
        [("counters/many-holders", &many, PEERS), ("counters/few-holders", &few, PEERS_OF_FEW)];
    for (group, segments, peers) in groups {
        let mut group = criterion.benchmark_group(group);
        group.sample_size(20).throughput(Throughput::Elements(HANDOUT as u64));
        group.warm_up_time(Duration::from_millis(300));
        group.measurement_time(Duration::from_millis(1500));
        let kinds = [("mutex", CounterKind::Mutex), ("atomic", CounterKind::Atomic)];
        let kinds = kinds.map(|(name, kind)| {
            let counters = RequestCounters::new(kind, PEERS as usize + 1, load_max);
            (1..=PEERS).for_each(|peer| counters.offer(NodeId(peer)));
            (name, counters)
        });
        // Both kinds with as many threads follow each other: on a virtual machine, how far its
        // processors lie apart changes from minute to minute, and with it what threads cost.
        for threads in [1, 2, 4, 8] {
            for (name, counters) in &kinds {
                group.bench_function(BenchmarkId::new(*name, threads), |bencher| {
                    bencher.iter_custom(|turns| {
                        threads::time(threads, turns, |thread| {
                            let rng = Xoshiro256PlusPlus::seed_from_u64(thread.into());
                            let service =
                                ServiceThread { counters, segments, rng, peers: VecDeque::new() };
                            let peers = (1 + thread..=peers).step_by(threads as usize);
                            let mut service = service.begin(peers.map(NodeId));
                            move || service.turn()
                        })
                    });
                });
            }
        }
    }
}

criterion_group!(benches, counters);
criterion_main!(benches);
