//! The tracker's index from files to holders: each kind that ships (`index` in a plan), and
//! `papaya`, a concurrent map that does not, behind the same traits.
//!
//! Measured: how the tracker uses the index, by several threads at once, each of which has its
//! share of 1,024 peers. These ask in turn. A *turn* takes a peer's announcements and answers its
//! ask:
//!
//! 1. For each of the 10 segments that the peer was handed in its last turn: discharge the holder,
//!    open the index, look at the file, announce the copy.
//! 2. Open the index for the whole handout. Look at 16 blocks of 64 segments, and read how many
//!    copies there are of each segment.
//! 3. For each of 10 segments of these blocks: look at its file, read its tally and its holders,
//!    find those with capacity, charge the least loaded, and count the copy as in flight.
//!
//! One *operation* is one look at a file: 10 for the announcements and 26 for the handout. The time
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
use criterion::measurement::WallTime;
use criterion::{
    BenchmarkGroup, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main,
};
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
    /// Its peers, the one whose turn it is in front, and what each was handed last.
    peers: VecDeque<(NodeId, ArrayVec<Given, HANDOUT>)>,
}

impl<I: SwarmIndex> ServiceThread<'_, I> {
    /// Hands each peer its first segments: from then on as many are in flight all the time.
    fn begin(mut self, peers: impl Iterator<Item = NodeId>) -> Self {
        for peer in peers {
            let given = self.hand_out(peer);
            self.peers.push_back((peer, given));
        }
        self
    }

    fn turn(&mut self) {
        let (peer, given) = self.peers.pop_front().expect("every thread has peers");
        self.announce(peer, given);
        let given = self.hand_out(peer);
        self.peers.push_back((peer, given));
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

    /// Every announcement opens the index anew, as [`Swarm::announce`](mpiswarm::swarm::Swarm)
    /// does.
    fn announce(&self, peer: NodeId, given: ArrayVec<Given, HANDOUT>) {
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
        for (peer, given) in std::mem::take(&mut self.peers) {
            self.announce(peer, given);
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

/// A kind of index, filled, with counters of its own.
struct Contender<I> {
    name: &'static str,
    layout: Layout,
    index: I,
    counters: RequestCounters,
    /// How often it was measured: no run repeats another. If the same peers announced the same
    /// segments again and again, they would become these segments' only holders.
    runs: u64,
}

impl<I: SwarmIndex + Default + Sync> Contender<I> {
    fn new(
        name: &'static str,
        layout: Layout,
        insert: impl Fn(&mut I, FileId, FileSwarm<I::Copies>),
    ) -> Self {
        let nodes = (OWNER.0 + PEERS + 1) as usize;
        // The limit of small segments, with which the tracker seeks no idle holders: where segments
        // are large, the tracker is not what limits.
        let load_max = Config::for_segments_of(1 << 10).holder_load;
        let counters = RequestCounters::new(CounterKind::Atomic, nodes, load_max);
        (1..=PEERS).for_each(|peer| counters.offer(NodeId(OWNER.0 + peer)));
        Self { name, layout, index: filled(layout, insert), counters, runs: 0 }
    }

    fn measure(&mut self, group: &mut BenchmarkGroup<'_, WallTime>, threads: u32) {
        let Self { name, layout, ref index, ref counters, ref mut runs } = *self;
        group.bench_function(BenchmarkId::new(name, threads), |bencher| {
            bencher.iter_custom(|turns| {
                *runs += 1;
                let seed = *runs << 8;
                threads::time(threads, turns, |thread| {
                    let peers = (1 + thread..=PEERS).step_by(threads as usize);
                    let rng = Xoshiro256PlusPlus::seed_from_u64(seed | u64::from(thread));
                    let service =
                        ServiceThread { layout, index, counters, rng, peers: VecDeque::new() };
                    let mut service = service.begin(peers.map(|peer| NodeId(OWNER.0 + peer)));
                    move || service.turn()
                })
            });
        });
    }
}

fn index(criterion: &mut Criterion) {
    let layouts = [("index/one-file", Layout::OneFile), ("index/many-files", Layout::ManyFiles)];
    for (name, layout) in layouts {
        let mut group = criterion.benchmark_group(name);
        group.sample_size(20).throughput(Throughput::Elements(LOOKS));
        group.warm_up_time(Duration::from_millis(300));
        group.measurement_time(Duration::from_millis(1200));
        let mut mutex = Contender::new("mutex", layout, LockedIndex::insert);
        let mut dashmap = Contender::new("dashmap", layout, ShardedIndex::insert);
        let mut papaya = Contender::new("papaya", layout, PapayaIndex::insert);
        let mut atomic = Contender::new("atomic", layout, NumberedIndex::insert);
        // All kinds with as many threads follow each other: on a virtual machine, how far its
        // processors lie apart changes from minute to minute, and with it what threads cost.
        for threads in [1, 2, 4, 8] {
            mutex.measure(&mut group, threads);
            dashmap.measure(&mut group, threads);
            papaya.measure(&mut group, threads);
            atomic.measure(&mut group, threads);
        }
    }
}

criterion_group!(benches, index);
criterion_main!(benches);
