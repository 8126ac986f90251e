//! The tracker's index from files to holders: each kind that ships (`index` in a plan), and `papaya`, a
//! concurrent map that does not, behind the same traits.
//!
//! Measured: how the tracker uses the index, by several threads at once. A *turn* answers one peer's
//! ask, and announces what an earlier turn handed out:
//!
//! 1. Open the index. Look at 16 blocks of 64 segments and read how many copies there are of each.
//! 2. For each of 10 segments of these blocks, look at its file: read its tally and its holders,
//!    find those with capacity, charge the least loaded, and count the copy as in flight.
//! 3. For each of 10 segments handed out 16 turns ago: discharge the holder, open the index, look at
//!    the file, announce the copy.
//!
//! One *operation* is one look at a file: 26 for the handout and 10 for the announcements. The time
//! is that of a turn, the throughput counts operations, both with all threads at work. `one-file`:
//! all segments are of one file. `many-files`: a file a block. The request counters are the atomic
//! ones for every kind; `benches/counters.rs` compares these.
//!
//! Not measured: the choice of segments and holders (here chance picks the segments), and messages.
//! `benches/selection.rs` times whole handouts; the tracker's load test (`mpiswarm bench
//! inputs/plans/tracker-threads.toml`) adds messages and peers.

mod threads;

use std::collections::VecDeque;
use std::hint::black_box;
use std::time::Duration;

use arrayvec::ArrayVec;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use mpiswarm::config::{BLOCKS_MAX, Config, CounterKind, FRESH_HOLDERS};
use mpiswarm::manifest::{Block, FileId, NodeId};
use mpiswarm::swarm::counters::{Capacity, RequestCounters};
use mpiswarm::swarm::index::copies::{AtomicCopies, Copies};
use mpiswarm::swarm::index::{
    FileSwarm, LockedIndex, NumberedIndex, OpenIndex, ShardedIndex, SwarmIndex,
};
use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use rustc_hash::FxBuildHasher;

/// Node 1 owns all files, nodes 2 and above are the peers: as many as in the tracker's load test.
const PEERS: u32 = 1024;
const OWNER: NodeId = NodeId(1);

/// 65,536 segments, about as many as in the tracker's load test.
const BLOCKS: u32 = 1024;

/// Segments in a handout: the classic figure, as in the tracker's load test.
const HANDOUT: usize = 10;

/// Handouts of a thread whose segments are in flight. Enough that what is announced was not touched
/// just before, and so few that no holder reaches its limit.
const IN_FLIGHT: usize = 16;

/// Looks at a file in a turn, as the header lists them.
const LOOKS: u64 = (BLOCKS_MAX + 2 * HANDOUT) as u64;

/// How segments are divided into files.
#[derive(Clone, Copy)]
enum Layout {
    OneFile,
    ManyFiles,
}

impl Layout {
    fn files(self) -> u32 {
        match self {
            Self::OneFile => 1,
            Self::ManyFiles => BLOCKS,
        }
    }

    /// Segments of each file.
    fn segments(self) -> usize {
        (BLOCKS / self.files() * Block::SEGMENTS) as usize
    }

    /// The file of a block, and the place there of the block's first segment.
    fn locate(self, block: u32) -> (FileId, usize) {
        match self {
            Self::OneFile => (FileId(0), (block * Block::SEGMENTS) as usize),
            Self::ManyFiles => (FileId(block), 0),
        }
    }
}

/// The contender that does not ship: atomics in a map most of whose operations are lock-free.
#[derive(Default)]
struct PapayaIndex(PapayaMap);

type PapayaMap = papaya::HashMap<FileId, FileSwarm<AtomicCopies>, FxBuildHasher>;

/// The map, pinned: once for a handout, as its documentation advises for several look-ups.
struct PinnedMap<'a>(
    papaya::HashMapRef<'a, FileId, FileSwarm<AtomicCopies>, FxBuildHasher, papaya::LocalGuard<'a>>,
);

impl PapayaIndex {
    fn insert(&mut self, file: FileId, swarm: FileSwarm<AtomicCopies>) {
        self.0.pin().insert(file, swarm);
    }
}

impl SwarmIndex for PapayaIndex {
    type Copies = AtomicCopies;
    type Open<'a> = PinnedMap<'a>;

    fn open(&self) -> PinnedMap<'_> {
        PinnedMap(self.0.pin())
    }
}

impl OpenIndex for PinnedMap<'_> {
    type Copies = AtomicCopies;

    fn look<T>(&self, file: FileId, look: impl FnOnce(&FileSwarm<AtomicCopies>) -> T) -> T {
        look(self.0.get(&file).expect("every file was inserted"))
    }
}

/// A segment that was handed out.
struct Given {
    file: FileId,
    place: usize,
    holder: NodeId,
}

/// One of the tracker's threads.
struct ServiceThread<'a, I: SwarmIndex> {
    layout: Layout,
    index: &'a I,
    counters: &'a RequestCounters,
    rng: Xoshiro256PlusPlus,
    in_flight: VecDeque<(NodeId, ArrayVec<Given, HANDOUT>)>,
}

impl<I: SwarmIndex> ServiceThread<'_, I> {
    fn turn(&mut self) {
        if self.in_flight.len() == IN_FLIGHT {
            self.announce_oldest();
        }
        let peer = any_peer(&mut self.rng);
        let given = self.hand_out(peer);
        self.in_flight.push_back((peer, given));
    }

    fn hand_out(&mut self, peer: NodeId) -> ArrayVec<Given, HANDOUT> {
        let Self { layout, counters, rng, .. } = self;
        let shown = u32::try_from(BLOCKS_MAX).expect("an ask shows few blocks");
        let first = rng.random_range(0..=BLOCKS - shown);
        let index = self.index.open();
        for block in first..first + shown {
            let (file, start) = layout.locate(block);
            let places = start..start + Block::SEGMENTS as usize;
            let rarest = |file: &FileSwarm<I::Copies>| {
                places.map(|place| file.copies.tally(place).rarity()).min()
            };
            black_box(index.look(file, rarest));
        }
        let mut given = ArrayVec::new();
        for _ in 0..HANDOUT {
            let (file, start) = layout.locate(first + rng.random_range(0..shown));
            let place = start + rng.random_range(0..Block::SEGMENTS as usize);
            let holder = index.look(file, |file| {
                let holders = file.copies.holders(place).filter(|&node| node != peer);
                black_box(file.copies.tally(place));
                let available = counters.with_capacity(Capacity::Available, holders);
                let holder = available.into_iter().min_by_key(|&node| counters.load(node))?;
                counters.charge(holder);
                file.copies.hand_out(place);
                Some(holder)
            });
            let holder = holder.expect("no holder reaches its limit");
            given.push(Given { file, place, holder });
        }
        given
    }

    /// Every announcement opens the index anew, as [`Swarm::announce`](mpiswarm::swarm::Swarm) does.
    fn announce_oldest(&mut self) {
        let (peer, given) = self.in_flight.pop_front().expect("something is in flight");
        for Given { file, place, holder } in given {
            self.counters.discharge(holder);
            self.counters.offer(peer);
            self.index.open().look(file, |file| file.copies.announce(place, peer));
        }
    }
}

/// What one run leaves in flight would charge the holders in the next.
impl<I: SwarmIndex> Drop for ServiceThread<'_, I> {
    fn drop(&mut self) {
        while !self.in_flight.is_empty() {
            self.announce_oldest();
        }
    }
}

fn any_peer(rng: &mut Xoshiro256PlusPlus) -> NodeId {
    NodeId(OWNER.0 + rng.random_range(1..=PEERS))
}

/// An index of files all of whose segments have as many holders as it remembers.
fn filled<I: SwarmIndex + Default>(
    layout: Layout,
    insert: impl Fn(&mut I, FileId, FileSwarm<I::Copies>),
) -> I {
    let (mut index, mut rng) = (I::default(), Xoshiro256PlusPlus::seed_from_u64(1));
    for file in (0..layout.files()).map(FileId) {
        let swarm: FileSwarm<I::Copies> = FileSwarm::new(&[OWNER], layout.segments());
        for place in 0..layout.segments() {
            for _ in 0..FRESH_HOLDERS {
                swarm.copies.hand_out(place);
                swarm.copies.announce(place, any_peer(&mut rng));
            }
        }
        insert(&mut index, file, swarm);
    }
    index
}

/// Measures one kind of index, with both layouts.
fn kind<I: SwarmIndex + Default + Sync>(
    criterion: &mut Criterion,
    name: &str,
    insert: impl Fn(&mut I, FileId, FileSwarm<I::Copies>),
) {
    for (group, layout) in
        [("index/one-file", Layout::OneFile), ("index/many-files", Layout::ManyFiles)]
    {
        let mut group = criterion.benchmark_group(group);
        group.sample_size(20).throughput(Throughput::Elements(LOOKS));
        group.warm_up_time(Duration::from_millis(300));
        group.measurement_time(Duration::from_millis(1200));
        let index = filled(layout, &insert);
        let nodes = (OWNER.0 + PEERS + 1) as usize;
        // The limit of small segments, with which the tracker seeks no idle holders: where segments
        // are large, the tracker is not what limits.
        let load_max = Config::for_segments_of(1 << 10).holder_load;
        let counters = RequestCounters::new(CounterKind::Atomic, nodes, load_max);
        (1..=PEERS).for_each(|peer| counters.offer(NodeId(OWNER.0 + peer)));
        for threads in [1, 2, 4, 8] {
            group.bench_function(BenchmarkId::new(name, threads), |bencher| {
                bencher.iter_custom(|turns| {
                    threads::time(threads, turns, |thread| {
                        let mut thread = ServiceThread {
                            layout,
                            index: &index,
                            counters: &counters,
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

fn index(criterion: &mut Criterion) {
    kind(criterion, "mutex", LockedIndex::insert);
    kind(criterion, "dashmap", ShardedIndex::insert);
    kind(criterion, "papaya", PapayaIndex::insert);
    kind(criterion, "atomic", NumberedIndex::insert);
}

criterion_group!(benches, index);
criterion_main!(benches);
