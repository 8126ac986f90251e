use super::*;
use crate::config::{Config, CounterKind, IndexKind};
use crate::manifest::{FileId, Geometry};

const OWNER: NodeId = NodeId(1);

fn kinds() -> impl Iterator<Item = Config> {
    let base = Config { holder_load: 2, ..Config::for_segments_of(1 << 20) };
    [IndexKind::Mutex, IndexKind::DashMap, IndexKind::Atomic].into_iter().flat_map(move |index| {
        let base = base.clone();
        [CounterKind::Mutex, CounterKind::Atomic].map(|counters| Config {
            index,
            counters,
            ..base.clone()
        })
    })
}

fn swarm_of(segments: u32, config: &Config) -> Swarm {
    let geometry = Geometry::new([segments]).expect("few segments");
    let mut swarm = Swarm::new(geometry, 8, config);
    swarm.register(FileId(0), &[OWNER], true);
    swarm
}

fn swarm(segments: u32, holder_load: u32) -> Swarm {
    swarm_of(segments, &Config { holder_load, ..Config::for_segments_of(1 << 20) })
}

fn request_of(peer: u32, blocks: &[Block]) -> HandoutRequest<'_> {
    HandoutRequest {
        peer: NodeId(peer),
        room: 1,
        blocks,
        excluded: &[],
        skips_unseeded: false,
        unchanged: false,
    }
}

fn ask(swarm: &Swarm, peer: u32, room: usize, bits: u64) -> Vec<Offer> {
    ask_through(&mut HandoutScratch::new(1), swarm, peer, room, bits)
}

fn ask_through(
    scratch: &mut HandoutScratch,
    swarm: &Swarm,
    peer: u32,
    room: usize,
    bits: u64,
) -> Vec<Offer> {
    let mut offers = ArrayVec::new();
    let blocks = [Block { index: 0, bits }];
    swarm.hand_out(scratch, &HandoutRequest { room, ..request_of(peer, &blocks) }, &mut offers);
    offers.into_iter().collect()
}

/// Peers ask in turn, and what they are given they have at the next turn, until all have all.
fn play(config: &Config) -> Vec<Offer> {
    let (swarm, mut scratch) = (swarm_of(40, config), HandoutScratch::new(7));
    let mut missing = [(1_u64 << 40) - 1; 8];
    let mut given = Vec::new();
    let mut under_way: Vec<(u32, Offer)> = Vec::new();
    while given.len() < 6 * 40 {
        for (peer, offer) in under_way.drain(..) {
            swarm.announce(offer.segment, NodeId(peer), offer.holders[0]);
        }
        for peer in 2..8 {
            let bits = &mut missing[peer as usize];
            for offer in ask_through(&mut scratch, &swarm, peer, 3, *bits) {
                *bits &= !Block::of(offer.segment).bits;
                given.push(offer.clone());
                under_way.push((peer, offer));
            }
        }
        assert!(!under_way.is_empty(), "{config:?}: somebody can always be served");
    }
    given
}

// A request is looked at from anywhere, and of equals those that come first are kept: that must not
// show in how often each of them is chosen. The blocks of the request are not all of one file.
#[test]
fn of_segments_that_are_equally_rare_each_is_handed_out_about_as_often() {
    const SEGMENTS: u32 = 300;
    const TIMES: u32 = 6000;
    let geometry = Geometry::new([150, SEGMENTS - 150]).expect("few segments");
    let config = Config { holder_load: 1000, ..Config::for_segments_of(1) };
    let mut swarm = Swarm::new(geometry, 8, &config);
    (0..2).for_each(|file| swarm.register(FileId(file), &[OWNER], true));
    let blocks: Vec<_> = (0..SEGMENTS.div_ceil(Block::SEGMENTS))
        .map(|index| Block { index, bits: Block::overlap(index, &(0..SEGMENTS)) })
        .collect();
    let (mut scratch, mut times) = (HandoutScratch::new(3), [0_u32; SEGMENTS as usize]);
    for _ in 0..TIMES {
        let mut offers = ArrayVec::new();
        swarm.hand_out(
            &mut scratch,
            &HandoutRequest { room: 4, ..request_of(2, &blocks) },
            &mut offers,
        );
        for Offer { segment, holders } in offers {
            times[segment.0 as usize] += 1;
            swarm.give_back(segment, holders[0]);
        }
    }
    let mean = 4 * TIMES / SEGMENTS;
    assert_eq!(times.iter().sum::<u32>(), 4 * TIMES);
    // It begins in the last block, which is shorter, as often as in any other.
    assert!(times.iter().all(|&n| (mean / 2..=2 * mean).contains(&n)), "of {mean}: {times:?}");
}

// Peers try in turn while nothing changes, then some of what is under way arrives: what a scratch that
// remembers does not find, one that looks anew does not find either.
#[test]
fn a_scratch_that_remembers_finds_what_a_new_one_finds() {
    for config in kinds() {
        let swarm = swarm_of(60, &Config { holder_load: 1, ..config });
        let mut scratch = HandoutScratch::new(7);
        let mut missing = [(1_u64 << 60) - 1; 8];
        let mut under_way: Vec<(u32, Offer)> = Vec::new();
        let (mut given, mut failed) = (0, 0);
        while given < 6 * 60 {
            for (peer, offer) in under_way.drain(..under_way.len().div_ceil(2)) {
                swarm.announce(offer.segment, NodeId(peer), offer.holders[0]);
            }
            for peer in 2..8 {
                let bits = &mut missing[peer as usize];
                let blocks = [Block { index: 0, bits: *bits }];
                let unchanged = peer > 2;
                let request = HandoutRequest { room: 2, unchanged, ..request_of(peer, &blocks) };
                let mut offers = ArrayVec::new();
                swarm.hand_out(&mut scratch, &request, &mut offers);
                if offers.is_empty() {
                    failed += 1;
                    assert_eq!(ask(&swarm, peer, 2, *bits), []);
                }
                for offer in offers {
                    *bits &= !Block::of(offer.segment).bits;
                    given += 1;
                    under_way.push((peer, offer));
                }
            }
            assert!(!under_way.is_empty(), "somebody can always be served");
        }
        assert!(failed > 100, "{failed} failed tries");
    }
}

#[test]
fn every_kind_of_index_and_counters_gives_the_same_handouts() {
    for selection in [Selection::FileOrder, Selection::Random, Selection::Rarest] {
        for balance in
            [Balance::RequestCount, Balance::Random, Balance::TwoChoices, Balance::InFlight]
        {
            let handouts: Vec<_> =
                kinds().map(|config| play(&Config { selection, balance, ..config })).collect();
            assert!(handouts.iter().all(|handout| *handout == handouts[0]));
        }
    }
}

#[test]
fn file_order_takes_the_first_segments_that_can_be_had() {
    for config in kinds() {
        let config = Config { selection: Selection::FileOrder, ..config };
        let swarm = swarm_of(8, &config);
        let segments = |bits| -> Vec<_> {
            ask(&swarm, 2, 3, bits).iter().map(|offer| offer.segment.0).collect()
        };
        assert_eq!(segments(0b1111_1010), [1, 3], "the owner has time for two");
    }
}

#[test]
fn random_selection_does_not_heed_rarity() {
    let config = Config {
        selection: Selection::Random,
        balance: Balance::RequestCount,
        ..Config::for_segments_of(1 << 20)
    };
    let mut firsts = [0; 2];
    for seed in 0..64 {
        let swarm = swarm_of(2, &config);
        ask(&swarm, 2, 2, 0b11);
        swarm.announce(SegmentId(0), NodeId(2), OWNER);
        let offer = ask_through(&mut HandoutScratch::new(seed), &swarm, 4, 1, 0b11).remove(0);
        firsts[offer.segment.index()] += 1;
    }
    assert!(firsts.iter().all(|&first| first >= 16), "{firsts:?}: one as likely as the other");
}

#[test]
fn threads_that_hand_out_at_once_give_no_holder_more_than_one_each_beyond_its_load() {
    for config in kinds() {
        let config = Config { holder_load: 16, ..config };
        let swarm = swarm_of(64, &config);
        let given: usize = std::thread::scope(|scope| {
            let threads: Vec<_> = (2..6)
                .map(|peer| {
                    let swarm = &swarm;
                    scope.spawn(move || ask(swarm, peer, 16, u64::MAX).len())
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().expect("it ends")).sum()
        });
        assert!((16..16 + 4).contains(&given), "{given} for a load of 16");
        assert_eq!(swarm.counters().load(OWNER).requests, given as u64);
    }
}

#[test]
fn a_holder_is_not_charged_with_more_than_its_load() {
    let swarm = swarm(8, 3);
    assert_eq!(ask(&swarm, 2, 5, 0xff).len(), 3);
    assert_eq!(ask(&swarm, 3, 5, 0xff).len(), 0);
}

#[test]
fn an_owner_that_seeds_is_asked_only_for_what_it_never_gave() {
    let swarm = swarm(2, 8);
    let first = ask(&swarm, 2, 1, 0b11).remove(0).segment;
    let second = ask(&swarm, 3, 2, 0b11);
    assert_eq!(second.len(), 1, "the other segment alone");
    assert_ne!(second[0].segment, first);
    assert_eq!(ask(&swarm, 4, 2, 0b11).len(), 2, "all were seeded: the owner is like others");
}

#[test]
fn an_owner_that_has_seeded_sends_again_what_only_a_slow_peer_has() {
    for config in kinds() {
        let config = Config { holder_load: 8, paced: true, ..config };
        let first = |limit| {
            let swarm = swarm_of(1, &config);
            let given = ask(&swarm, 2, 1, 1);
            swarm.announce(given[0].segment, NodeId(2), OWNER);
            swarm.counters().limit(NodeId(2), limit);
            ask(&swarm, 3, 1, 1)[0].holders[0]
        };
        assert_eq!((first(8), first(2)), (NodeId(2), OWNER));
    }
}

#[test]
fn the_rarest_segment_comes_first_and_copies_in_flight_count() {
    let swarm = swarm(2, 8);
    ask(&swarm, 2, 2, 0b11);
    swarm.announce(SegmentId(0), NodeId(2), OWNER);
    ask(&swarm, 3, 1, 0b01);
    for _ in 0..16 {
        let offer = ask(&swarm, 4, 1, 0b11).remove(0);
        assert_eq!(offer.segment, SegmentId(1));
        swarm.give_back(SegmentId(1), offer.holders[0]);
    }
}

#[test]
fn the_least_charged_holder_is_asked_and_excluded_ones_are_not() {
    let swarm = swarm(1, 8);
    ask(&swarm, 2, 1, 1);
    swarm.announce(SegmentId(0), NodeId(2), OWNER);
    let offer = ask(&swarm, 3, 1, 1).remove(0);
    assert_eq!(offer.holders[0], NodeId(2), "it was asked less often than the owner");
    let mut offers = ArrayVec::new();
    let blocks = [Block { index: 0, bits: 1 }];
    let excluded = [(SegmentId(0), NodeId(2)), (SegmentId(0), OWNER)];
    let request = HandoutRequest { excluded: &excluded, ..request_of(4, &blocks) };
    swarm.hand_out(&mut HandoutScratch::new(1), &request, &mut offers);
    assert!(offers.is_empty());
}

#[test]
fn nobody_is_sent_to_itself_or_to_a_banned_holder() {
    let swarm = swarm(1, 8);
    assert!(ask(&swarm, OWNER.0, 1, 1).is_empty());
    swarm.ban(OWNER);
    assert!(ask(&swarm, 2, 1, 1).is_empty());
}
