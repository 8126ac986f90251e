//! What it costs to choose: one handout of up to 10 segments out of 1,024 that a peer shows, four
//! files, 256 holders, by each rule and from each index.

use std::time::Duration;

use arrayvec::ArrayVec;
use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use mpiswarm::config::{Config, HANDOUT_MAX, IndexKind, Selection};
use mpiswarm::manifest::{Block, FileId, Geometry, NodeId, SegmentId};
use mpiswarm::swarm::{HandoutRequest, HandoutScratch, Offer, Swarm};
use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

const HOLDERS: u32 = 256;
const FILES: u32 = 4;
/// Who asks: the last node, which holds nothing.
const PEER: NodeId = NodeId(FILES + HOLDERS + 1);

/// Four files, an owner each, and between 1 and 4 copies of every segment among 256 holders.
fn swarm(segments: u32, config: &Config) -> Swarm {
    let geometry = Geometry::new([segments; FILES as usize]).expect("few segments");
    let mut swarm = Swarm::new(geometry, PEER.index() + 1, config);
    for file in 0..FILES {
        swarm.register(FileId(file), &[NodeId(1 + file)], true);
    }
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(1);
    let mut scratch = HandoutScratch::new(1);
    for segment in (0..FILES * segments).map(SegmentId) {
        for _ in 0..rng.random_range(1..=4) {
            let holder = NodeId(FILES + rng.random_range(1..=HOLDERS));
            let request = HandoutRequest {
                peer: holder,
                room: 1,
                blocks: &[Block::of(segment)],
                excluded: &[],
                skips_unseeded: false,
                unchanged: false,
            };
            let mut offers: ArrayVec<Offer, HANDOUT_MAX> = ArrayVec::new();
            swarm.hand_out(&mut scratch, &request, &mut offers);
            for offer in offers {
                swarm.announce(segment, holder, offer.holders[0]);
            }
        }
    }
    swarm
}

fn selection(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("selection");
    group.sample_size(20).throughput(Throughput::Elements(1));
    group.warm_up_time(Duration::from_millis(200));
    group.measurement_time(Duration::from_secs(1));
    for segments in [1_000, 100_000] {
        for selection in [Selection::FileOrder, Selection::Random, Selection::Rarest] {
            for index in [IndexKind::Mutex, IndexKind::DashMap, IndexKind::Atomic] {
                let config = Config { selection, index, ..Config::for_segments_of(1 << 10) };
                let swarm = swarm(segments, &config);
                let blocks: ArrayVec<Block, 16> =
                    (0..16).map(|index| Block { index, bits: u64::MAX }).collect();
                let blocks = &blocks[..];
                let mut scratch = HandoutScratch::new(2);
                let name = BenchmarkId::new(format!("{selection}/{index}"), segments * FILES);
                group.bench_function(name, |bencher| {
                    bencher.iter_batched(
                        ArrayVec::<Offer, HANDOUT_MAX>::new,
                        |mut offers| {
                            let request = HandoutRequest {
                                peer: PEER,
                                room: 10,
                                blocks,
                                excluded: &[],
                                skips_unseeded: false,
                                unchanged: false,
                            };
                            swarm.hand_out(&mut scratch, &request, &mut offers);
                            assert_eq!(offers.len(), 10, "all can be had");
                            for offer in &offers {
                                swarm.give_back(offer.segment, offer.holders[0]);
                            }
                            offers
                        },
                        BatchSize::SmallInput,
                    );
                });
            }
        }
    }
}

criterion_group!(benches, selection);
criterion_main!(benches);
