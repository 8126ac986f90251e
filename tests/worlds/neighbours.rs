//! Broadcasts in which holders choose: any peers own any segments, and any peers vanish.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::num::NonZeroU32;

use mpiswarm::protocol::relay::RelayAlgorithm;

use super::*;

fn choose(mut scenario: WorldConfig) -> Run {
    // Every third seed has racks of four hosts.
    let seed = scenario.seed;
    let rack_hosts = NonZeroU32::new(4).filter(|_| seed.is_multiple_of(3));
    let algorithm = RelayAlgorithm::Neighbours { seed, rack_hosts };
    scenario.keep_contents = true;
    scenario.config.registration_patience = 100 * scenario.segment_time;
    World::broadcast(scenario, algorithm).run()
}

/// One owner of all, three owners of all, and an owner of each part.
fn ownerships(seed: u64) -> [(&'static str, WorldConfig); 3] {
    let peers = pick(seed, 1, 4, 40);
    let one = WorldConfig::broadcast(peers, pick(seed, 2, 1, 100), seed);
    let mut three = one.clone();
    for owner in 1..3 {
        three.registrations[owner] = three.registrations[0].clone();
    }
    let each = WorldConfig::all_to_all(peers, pick(seed, 3, 1, 5), seed);
    [("one owner", one), ("three owners", three), ("all own a part", each)]
}

fn owned(scenario: &WorldConfig, rank: usize) -> usize {
    match &scenario.registrations[rank - 1] {
        Registration::Ready { owned, .. } => owned.iter().map(|entry| entry.digests.len()).sum(),
        Registration::Late(_) | Registration::Refused { .. } => 0,
    }
}

#[test]
fn holders_that_choose_bring_all_from_any_owners_to_all() {
    seeds("chosen by holders", 8, |seed| {
        for (owners, scenario) in ownerships(seed) {
            let run = choose(scenario.clone());
            assert_eq!(run.outcome.errors, [""; 0], "{owners}");
            assert!(run.outcome.lost.is_empty() && run.outcome.unavailable.is_empty(), "{owners}");
            let all = run.held[1].len();
            let peers = 1..=scenario.registrations.len();
            for rank in peers.clone() {
                assert_eq!(run.held[rank].len(), all, "{owners}, rank {rank}");
                assert!(run.outcome.finished[rank].is_some(), "{owners}, rank {rank}");
            }
            let lacked: usize = peers.map(|rank| all - owned(&scenario, rank)).sum();
            assert_eq!(run.served.iter().sum::<u64>(), lacked as u64, "{owners}: none twice");
            let again = choose(scenario);
            assert_eq!((run.fingerprint, run.events), (again.fingerprint, again.events));
        }
    });
}

/// Vanishes a part of the peers at random moments, of which nobody is told.
fn lose(scenario: &mut WorldConfig, percent: u32) {
    let seed = scenario.seed;
    let peers = u32::try_from(scenario.registrations.len()).expect("there are few");
    let until = scenario.registrations.len()
        + scenario.registrations.iter().fold(0, |most, one| {
            let Registration::Ready { owned, .. } = one else { return most };
            most.max(owned.iter().map(|entry| entry.digests.len()).sum())
        });
    let until = 2000 * u32::try_from(until).expect("there are few");
    let lost: BTreeSet<u32> =
        (0..peers * percent / 100).map(|lost| pick(seed, 10 + u64::from(lost), 1, peers)).collect();
    for rank in lost {
        let after = pick(seed, 1000 + u64::from(rank), 0, until);
        let at = Timestamp::default() + Duration::from_micros(after.into());
        scenario.faults.vanish.push((NodeId(rank), at));
    }
}

/// All that are left have the same, and all that any of them owned.
fn assert_survived(owners: &str, scenario: &WorldConfig, run: &Run) {
    let vanished: BTreeSet<_> =
        scenario.faults.vanish.iter().map(|(node, _)| node.index()).collect();
    let living = || (1..=scenario.registrations.len()).filter(|rank| !vanished.contains(rank));
    let first = living().next().expect("few vanish");
    let all: BTreeSet<_> = run.held[first].iter().collect();
    for rank in living() {
        let held: BTreeSet<_> = run.held[rank].iter().collect();
        assert_eq!(held, all, "{owners}, rank {rank}");
        assert!(all.len() >= owned(scenario, rank), "{owners}, rank {rank}");
        let is_whole = run.outcome.unavailable.is_empty();
        assert_eq!(run.outcome.finished[rank].is_some(), is_whole, "{owners}, rank {rank}");
    }
    assert!(run.outcome.lost.iter().all(|node| vanished.contains(&node.index())), "{owners}");
    let names_some = run.outcome.errors.iter().any(|error| error.ends_with("no peer has it"));
    assert_eq!(names_some, !run.outcome.unavailable.is_empty(), "{:?}", run.outcome.errors);
}

#[test]
fn peers_that_vanish_hold_up_nobody_else() {
    for percent in [10, 30] {
        let (lost, missed) = (Cell::new(0), Cell::new(0));
        seeds(&format!("{percent}% vanish"), 20, |seed| {
            for (owners, mut scenario) in ownerships(seed) {
                lose(&mut scenario, percent);
                let run = choose(scenario.clone());
                assert_survived(owners, &scenario, &run);
                lost.set(lost.get() + run.outcome.lost.len());
                missed.set(missed.get() + usize::from(!run.outcome.unavailable.is_empty()));
            }
        });
        println!("{percent}%: {} lost, {} runs without only copies", lost.get(), missed.get());
        assert!(lost.get() > percent as usize && missed.get() > 0, "these worlds lose too little");
    }
}

/// One peer in ten vanishes, and the last of the others has all hardly later: a silent neighbour is found by
/// the times of uploads, not by a fixed patience.
#[test]
fn losses_cost_little_time() {
    seeds("10% vanish", 4, |seed| {
        let whole = WorldConfig::broadcast(40, 200, seed);
        let mut scenario = whole.clone();
        for lost in 0..4 {
            let at = milliseconds(pick(seed, 20 + lost, 5, 200).into());
            scenario.faults.vanish.push((NodeId(pick(seed, lost, 2, 41)), at));
        }
        let [with, without] = [&scenario, &whole].map(|one| choose(one.clone()).makespan);
        println!("seed {seed}: {with:?} with losses, {without:?} without");
        assert!(with <= without.mul_f64(1.25), "{with:?}, {without:?}");
    });
}

#[test]
fn an_only_copy_that_is_gone_is_named() {
    seeds("the owner vanishes", 10, |seed| {
        let mut scenario = WorldConfig::broadcast(pick(seed, 1, 3, 30), 60, seed);
        scenario.faults.vanish = vec![(NodeId(1), milliseconds(pick(seed, 2, 4, 30).into()))];
        let run = choose(scenario.clone());
        assert_survived("one owner", &scenario, &run);
        assert!(run.outcome.unavailable.iter().all(|name| name.contains("segment")));
        assert!(!run.outcome.unavailable.is_empty(), "it had no time to send all");
        assert_eq!(run.outcome.lost, [NodeId(1)]);
    });
}

/// A peer that stops for a while is given up by its neighbours, and goes on where it was.
#[test]
fn a_peer_that_stops_for_a_while_completes() {
    seeds("a pause", 8, |seed| {
        for (owners, mut scenario) in ownerships(seed) {
            let peers = u32::try_from(scenario.registrations.len()).expect("there are few");
            let paused = NodeId(pick(seed, 4, 1, peers));
            let pause = Duration::from_millis(pick(seed, 5, 5, 1000).into());
            let begin = milliseconds(pick(seed, 6, 2, 60).into());
            scenario.faults.pause = vec![(paused, begin, pause)];
            let run = choose(scenario.clone());
            assert_survived(owners, &scenario, &run);
            assert_eq!(run.outcome.errors, [""; 0], "{owners}");
        }
    });
}

/// Rank 0 hears of all others by way of a few.
#[test]
fn rank_0_hears_from_few() {
    for peers in [30, 127, 300] {
        let run = choose(WorldConfig::broadcast(peers, 20, 1));
        let children = (peers + 2).isqrt() + 1;
        let most = u64::from(6 * children.max(8));
        assert!(run.tracker_messages <= most, "{peers} peers: {} messages", run.tracker_messages);
        assert_eq!(run.outcome.finished.iter().flatten().count(), peers as usize + 1);
    }
}
