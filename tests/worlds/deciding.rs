//! Swarms whose peers decide: rank 0 numbers files, names neighbours and hears who is done, and hands nothing out.

use mpiswarm::config::Decider;
use mpiswarm::manifest::{SegmentId, SegmentSet};

use super::*;

pub(crate) fn deciding(mut scenario: WorldConfig) -> WorldConfig {
    scenario.config.decide = Decider::Peers;
    scenario
}

/// Many peers with files of their own, of which each wants a few: most pass on nothing of most files.
fn some_of_many(seed: u64) -> WorldConfig {
    let peers = pick(seed, 1, 18, 40);
    let name = |file: u32| format!("file{file}");
    let register = |rank: u32| {
        let mark = u8::try_from(rank).expect("there are few");
        let owned = vec![entry(&name(rank), pick(seed, 100 + u64::from(rank), 0, 9), mark)];
        let others = (1..=peers).filter(|&file| {
            file != rank && pick(seed, 1000 + u64::from(rank * 100 + file), 0, 9) < 3
        });
        let wanted: Vec<_> = others.map(name).collect();
        peer(owned, &wanted.iter().map(String::as_str).collect::<Vec<_>>())
    };
    WorldConfig::of((1..=peers).map(register).collect(), seed)
}

fn wanted_segments(scenario: &WorldConfig) -> usize {
    let wanted = scenario.registrations.iter().flat_map(|registration| match registration {
        Registration::Ready { wanted, .. } => &wanted[..],
        Registration::Late(_) | Registration::Refused { .. } => &[],
    });
    wanted.map(|name| registered(scenario, name).map_or(0, |digests| digests.len())).sum()
}

#[test]
fn peers_that_decide_bring_each_what_it_wants_once() {
    for (world, scenario) in [
        ("broadcast", broadcast as fn(u64) -> WorldConfig),
        ("all to all", all_to_all),
        ("some of many", some_of_many),
    ] {
        seeds(world, 12, |seed| {
            let scenario = deciding(scenario(seed));
            let run = assert_flawless(&scenario);
            let served = run.served.iter().sum::<u64>();
            assert_eq!(served, wanted_segments(&scenario) as u64, "none is sent twice");
        });
    }
}

/// Most peers are no neighbours of the only holder, and are told by those that are.
#[test]
fn an_only_corrupt_holder_keeps_no_peer_waiting_wherever_it_is() {
    for peers in [40, 120] {
        let mut scenario = deciding(WorldConfig::broadcast(peers, 5, 1));
        scenario.faults.corrupt_holders = vec![NodeId(1)];
        let outcome = run(scenario).outcome;
        assert!(outcome.lost.is_empty() && !outcome.errors.is_empty(), "{outcome:?}");
    }
}

/// One owner's files, which all want.
fn files_for_all(peers: u32, files: u8, segments: u32) -> WorldConfig {
    let names: Vec<_> = (0..files).map(|file| format!("file{file}")).collect();
    let owned = (1..).zip(&names).map(|(mark, name)| entry(name, segments, mark));
    let wanted: Vec<_> = names.iter().map(String::as_str).collect();
    let owner = peer(owned.collect(), &[]);
    let others = (0..peers).map(|_| peer(Vec::new(), &wanted));
    WorldConfig::of(std::iter::once(owner).chain(others).collect(), 7)
}

/// Rank 0 hears what grows neither with the segments nor with the files.
#[test]
fn rank_0_is_asked_for_nothing() {
    let messages = [(1, 100), (1, 400), (40, 10)].map(|(files, segments)| {
        let mut scenario = deciding(files_for_all(12, files, segments));
        // No peer has to say that it is still there.
        scenario.config.ask_patience = Duration::from_secs(10);
        scenario.config.silence_patience = Duration::from_secs(60);
        assert_flawless(&scenario).tracker_messages
    });
    // Register, Registered, Described, Ready, Open, Complete, Done, Stop and Bye of 12 peers and the owner.
    assert_eq!(messages, [9 * 13; 3]);
}

#[test]
fn a_corrupt_copy_is_fetched_from_another_neighbour() {
    seeds("10% are corrupt", 10, |seed| {
        let mut scenario = deciding(crowd(seed));
        scenario.faults.corrupt = 0.1;
        let run = assert_flawless(&scenario);
        assert!(run.corrupt > 0 || wanted_segments(&scenario) < 200);
    });
    seeds("a corrupt holder", 10, |seed| {
        let mut scenario = deciding(crowd(seed));
        scenario.registrations[1] = scenario.registrations[0].clone();
        let corrupt = pick(seed, 9, 1, 2);
        scenario.faults.corrupt_holders = vec![NodeId(corrupt)];
        assert_flawless(&scenario);
    });
}

#[test]
fn an_only_copy_that_is_corrupt_is_named_with_its_holder() {
    seeds("the owner is corrupt", 10, |seed| {
        let mut scenario = deciding(all_to_all(seed));
        scenario.faults.corrupt_holders = vec![NodeId(1)];
        let run = run(scenario.clone());
        assert_delivered(&scenario, &run, &[], &["file1"]);
        let errors = &run.outcome.errors;
        assert_eq!(errors.len(), scenario.registrations.len() - 1, "{errors:?}");
        let named = "of file1 from rank 1 does not match its digest, 3 times";
        assert!(errors.iter().all(|error| error.ends_with(named)), "{errors:?}");
    });
}

/// Vanishes a peer that owns nothing, or only what others own too.
#[test]
fn a_peer_that_vanishes_is_named_and_the_others_complete() {
    for told in [true, false] {
        seeds(&format!("a peer vanishes, told: {told}"), 10, |seed| {
            let mut scenario = deciding(crowd(seed));
            scenario.registrations[1] = scenario.registrations[0].clone();
            let last = u32::try_from(scenario.registrations.len()).expect("there are few");
            let lost = pick(seed, 7, 2, last);
            let at = milliseconds(pick(seed, 8, 2, 60).into());
            scenario.faults.vanish = vec![(NodeId(lost), at)];
            scenario.faults.told = told;
            let run = run(scenario.clone());
            assert_eq!(run.outcome.lost, [NodeId(lost)]);
            // It may have finished before.
            let finished = run.outcome.finished[lost as usize].is_some();
            assert!(finished || lost == 2 || run.outcome.errors.len() == 1);
            let others = |rank: &u32| *rank != lost;
            for rank in (1..=last).filter(others) {
                let got = &run.contents[rank as usize];
                let whole = got.iter().all(|file| *file == registered(&scenario, "file1"));
                assert!(whole && run.outcome.finished[rank as usize].is_some(), "rank {rank}");
            }
        });
    }
}

#[test]
fn files_whose_only_copy_vanished_are_given_up() {
    seeds("the owner vanishes", 10, |seed| {
        let mut scenario = deciding(WorldConfig::all_to_all(pick(seed, 1, 4, 24), 30, seed));
        scenario.faults.vanish = vec![(NodeId(1), milliseconds(pick(seed, 2, 4, 20).into()))];
        let run = run(scenario.clone());
        assert_lost(&run, 1);
        assert_eq!(run.outcome.unavailable, ["file1"], "it had no time to send all");
        for rank in 2..=scenario.registrations.len() {
            let others = run.contents[rank].iter().skip(1);
            assert!(others.clone().all(Option::is_some), "rank {rank} has the others' files");
        }
    });
}

/// The owner takes twice as long for a segment as a peer may be silent, and serves some peers before others. One that
/// has nothing to do with that is lost.
#[test]
fn what_a_neighbour_has_is_waited_for_after_a_loss() {
    seeds("a slow owner", 10, |seed| {
        let mut scenario = deciding(WorldConfig::broadcast(pick(seed, 1, 6, 15), 5, seed));
        let last = u32::try_from(scenario.registrations.len()).expect("there are few");
        let segment_times =
            2.0 * scenario.config.silence_patience.div_duration_f64(scenario.segment_time);
        scenario.rates = vec![1.0, 1.0 / segment_times];
        scenario.faults.vanish_once_open = vec![(NodeId(last), scenario.segment_time / 10)];
        scenario.faults.told = true;
        let run = run(scenario.clone());
        assert_lost(&run, last);
        assert_delivered(&scenario, &run, &[last], &[]);
    });
}

/// A peer that stops for a while is given up by its neighbours, and goes on where it was.
#[test]
fn a_deciding_peer_that_stops_for_a_while_completes() {
    seeds("a pause", 10, |seed| {
        let mut scenario = deciding(crowd(seed));
        let last = u32::try_from(scenario.registrations.len()).expect("there are few");
        let at = milliseconds(pick(seed, 5, 2, 40).into());
        let length = Duration::from_millis(pick(seed, 6, 100, 900).into());
        scenario.faults.pause = vec![(NodeId(pick(seed, 7, 1, last)), at, length)];
        let run = run(scenario.clone());
        assert_eq!(run.outcome.errors, [""; 0]);
        assert_delivered(&scenario, &run, &[], &[]);
    });
}

#[test]
fn what_peers_cannot_decide_is_refused() {
    let mut scenario = deciding(WorldConfig::late(3, 1, 10, 1));
    let Registration::Late(entry) = &mut scenario.registrations[2] else { panic!("it is late") };
    entry.unwanted = SegmentSet::none_of(10);
    entry.unwanted.insert(SegmentId(3));
    let run = run(scenario);
    let why = "all ranks must have and take the same: leave --only and --from each out, or --decide tracker";
    assert_eq!(run.outcome.errors, [format!("--decide peers: {why}")]);
    assert!(run.outcome.refused);
}
