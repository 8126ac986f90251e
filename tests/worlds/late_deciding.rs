//! Worlds with a late file whose peers decide: sources read what rank 0 hands them, and it tells all the digests.

use std::time::Duration;

use mpiswarm::manifest::{NodeId, SegmentSet};
use mpiswarm::simulation::{Faults, Run, World, WorldConfig};

use crate::deciding::deciding;
use crate::late::{
    self, all, assert_delivered, assert_nobody_reads, entry_mut, hold_parts, late, one, ranks,
    segments, vary_rooms,
};
use crate::{milliseconds, pick, run, seeds};

/// As where the tracker decides.
fn assert_flawless(scenario: WorldConfig) -> Run {
    late::assert_flawless(&deciding(scenario))
}

fn some(seed: u64) -> impl Fn(u32) -> u32 {
    move |peers| pick(seed, 3, 1, peers)
}

fn read_slowly(scenario: &mut WorldConfig, seed: u64, micros_max: u32) {
    let time = |rank| Duration::from_micros(pick(seed, 50 + rank, 0, micros_max).into());
    scenario.read_times = (0..=u64::from(ranks(scenario))).map(time).collect();
}

#[test]
fn one_source_or_several_bring_it_to_all_that_decide() {
    seeds("one source", 20, |seed| drop(assert_flawless(late(seed, one))));
    seeds("all are sources", 20, |seed| drop(assert_flawless(late(seed, all))));
    seeds("some are sources", 20, |seed| drop(assert_flawless(late(seed, some(seed)))));
    seeds("nobody else", 5, |seed| {
        assert_flawless(WorldConfig::late(1, 1, pick(seed, 2, 1, 120), seed));
    });
    // Nobody has all others as neighbours.
    seeds("many peers", 5, |seed| {
        let peers = pick(seed, 1, 30, 60);
        assert_flawless(WorldConfig::late(peers, pick(seed, 3, 1, 4), 60, seed));
    });
}

#[test]
fn sources_that_read_slowly_or_little_ahead_keep_nobody_waiting_for_ever() {
    seeds("slow sources", 25, |seed| {
        let mut scenario = late(seed, some(seed));
        read_slowly(&mut scenario, seed, 8000);
        scenario.check_time = Duration::from_micros(u64::from(pick(seed, 5, 0, 1500)));
        assert_flawless(scenario);
    });
    // Longer than any node may be silent.
    seeds("a very slow source", 5, |seed| {
        let mut scenario = late(seed, one);
        scenario.config.silence_patience = Duration::from_millis(400);
        scenario.read_times = vec![Duration::from_millis(600); 2];
        assert_flawless(scenario);
    });
    seeds("little ahead", 25, |seed| {
        let mut scenario = late(seed, some(seed));
        scenario.config.read_ahead = pick(seed, 4, 0, 9) as usize;
        assert_flawless(scenario);
    });
    seeds("late messages", 25, |seed| {
        let mut scenario = late(seed, some(seed));
        read_slowly(&mut scenario, seed, 3000);
        scenario.faults.jitter = Duration::from_micros(u64::from(pick(seed, 4, 0, 2000)));
        assert_flawless(scenario);
    });
}

#[test]
fn a_deciding_peer_is_sent_nothing_that_it_kept() {
    seeds("held", 40, |seed| {
        let mut scenario = late(seed, some(seed));
        hold_parts(&mut scenario, seed);
        if seed % 2 == 0 {
            read_slowly(&mut scenario, seed, 3000);
        }
        assert_flawless(scenario);
    });
    seeds("nothing is lacked", 5, |seed| {
        let mut scenario = late(seed, one);
        let count = segments(&scenario);
        for registration in &mut scenario.registrations {
            entry_mut(registration).held = SegmentSet::all_of(count);
        }
        assert_eq!(assert_flawless(scenario).served.iter().sum::<u64>(), 0);
    });
}

/// What it says of digests grows with the time, not with the segments times the peers.
#[test]
fn rank_0_says_less_than_a_message_for_each_segment_and_peer() {
    let (peers, count) = (40, 600);
    let run = assert_flawless(WorldConfig::late(peers, 1, count, 1));
    let most = u64::from(peers * count);
    assert!(run.tracker_messages < most, "{} messages", run.tracker_messages);
}

#[test]
fn a_corrupt_copy_of_what_was_read_is_fetched_from_another_neighbour() {
    seeds("5% are corrupt", 15, |seed| {
        let mut scenario = late(seed, some(seed));
        scenario.faults.corrupt = 0.05;
        let scenario = deciding(scenario);
        let run = run(scenario.clone());
        // Three times in a row by chance.
        if run.outcome.errors.is_empty() {
            assert_delivered(&scenario, &run, &[]);
        }
    });
    seeds("kept by a corrupt holder", 15, |seed| {
        let mut scenario = late(seed, one);
        let count = segments(&scenario);
        let last = ranks(&scenario);
        entry_mut(&mut scenario.registrations[last as usize - 1]).held = SegmentSet::all_of(count);
        scenario.faults.corrupt_holders = vec![NodeId(last)];
        assert_flawless(scenario);
    });
}

#[test]
fn what_a_source_reads_when_it_is_lost_another_one_reads() {
    for told in [true, false] {
        seeds(&format!("a lost source, told: {told}"), 20, |seed| {
            let mut scenario = late(seed, |peers| pick(seed, 3, 2, peers));
            scenario.read_times = vec![Duration::from_millis(1); 30];
            let at = milliseconds(u64::from(pick(seed, 4, 3, segments(&scenario) + 3)));
            scenario.faults = Faults { vanish: vec![(NodeId(1), at)], told, ..Faults::default() };
            let scenario = deciding(scenario);
            let run = run(scenario.clone());
            assert_eq!(run.outcome.lost, [NodeId(1)]);
            assert_delivered(&scenario, &run, &[1]);
        });
    }
    seeds("the only source is lost", 15, |seed| {
        let mut scenario = late(seed, one);
        scenario.read_times = vec![Duration::from_millis(2); 2];
        let vanish = vec![(NodeId(1), milliseconds(3))];
        scenario.faults = Faults { vanish, told: seed % 2 == 0, ..Faults::default() };
        let run = run(deciding(scenario));
        assert_eq!(run.outcome.lost, [NodeId(1)]);
        assert!(run.outcome.unavailable.len() <= 1);
    });
}

#[test]
fn deciding_peers_that_drop_out_or_stop_for_a_while() {
    seeds("drop outs", 30, |seed| {
        let mut scenario = late(seed, some(seed));
        if seed % 3 == 0 {
            hold_parts(&mut scenario, seed);
        }
        let out = pick(seed, 5, 1, ranks(&scenario));
        let at = milliseconds(u64::from(pick(seed, 4, 0, segments(&scenario) + 5)));
        scenario.faults.broken = vec![(NodeId(out), at)];
        scenario.read_times = vec![Duration::from_micros(300); 30];
        let scenario = deciding(scenario);
        let run = run(scenario.clone());
        assert_delivered(&scenario, &run, &[out]);
        // It may have been done before.
        if !run.outcome.errors.is_empty() {
            assert_eq!(run.outcome.errors, [format!("rank {out} dropped out: no space left")]);
            assert_eq!(run.outcome.finished[out as usize], None);
        }
        assert_eq!(run.outcome.unavailable, [""; 0]);
    });
    seeds("a pause", 15, |seed| {
        let mut scenario = late(seed, some(seed));
        let at = milliseconds(u64::from(pick(seed, 6, 2, 40)));
        let length = Duration::from_millis(pick(seed, 7, 100, 900).into());
        scenario.faults.pause = vec![(NodeId(pick(seed, 8, 1, ranks(&scenario))), at, length)];
        let scenario = deciding(scenario);
        let run = run(scenario.clone());
        assert_eq!(run.outcome.errors, [""; 0]);
        assert_delivered(&scenario, &run, &[]);
    });
}

#[test]
fn what_no_source_can_read_is_named_and_the_rest_is_delivered() {
    seeds("unreadable by one", 15, |seed| {
        let mut scenario = late(seed, |peers| pick(seed, 3, 2, peers));
        let position = pick(seed, 4, 0, segments(&scenario) - 1);
        scenario.faults.unreadable =
            (0..pick(seed, 5, 1, 30)).map(|n| (NodeId(1), position + n)).collect();
        assert_flawless(scenario);
    });
    seeds("unreadable by all", 15, |seed| {
        let mut scenario = late(seed, |peers| pick(seed, 3, 1, peers.min(3)));
        let position = pick(seed, 4, 0, segments(&scenario) - 1);
        scenario.faults.unreadable = (1..4).map(|rank| (NodeId(rank), position)).collect();
        let run = run(deciding(scenario.clone()));
        assert_eq!(run.outcome.unavailable, [""; 0], "somebody has it");
        assert_nobody_reads(position, &scenario, &run);
    });
}

#[test]
fn what_a_deciding_peer_reads_and_receives_shares_its_slots() {
    seeds("rooms", 25, |seed| {
        let mut scenario = late(seed, some(seed));
        vary_rooms(&mut scenario, seed);
        assert_flawless(scenario);
    });
}

#[test]
fn what_a_holder_has_lost_comes_from_another_neighbour() {
    seeds("unservable", 20, |seed| {
        let mut scenario = late(seed, all);
        scenario.faults.unservable = 0.03;
        let scenario = deciding(scenario);
        let run = run(scenario.clone());
        // Three times in a row from the only holder, by chance.
        if run.outcome.unavailable.is_empty() {
            assert_delivered(&scenario, &run, &[]);
        }
    });
    // Nobody ever sends anything: the run still ends.
    seeds("nothing is servable", 3, |seed| {
        let mut scenario = deciding(late(seed, one));
        scenario.faults.unservable = 1.0;
        let run = run(scenario);
        assert_eq!(run.outcome.unavailable, ["tree"]);
        assert!(run.outcome.finished[1].is_some(), "it has read all");
    });
}

#[test]
fn deciding_is_as_fast_as_handing_out_where_the_source_reads_at_once() {
    for (peers, count) in [(15, 128), (31, 128)] {
        let [decided, handed] = [true, false].map(|decides| {
            let mut scenario = WorldConfig::late(peers, 1, count, 1);
            scenario.config.read_ahead = 32;
            World::new(if decides { deciding(scenario) } else { scenario }).run().makespan
        });
        let ratio = decided.as_secs_f64() / handed.as_secs_f64();
        println!("{peers} peers, {count} segments: {ratio:.4} of the makespan");
        assert!(ratio <= 1.1, "{peers} peers: {ratio}");
    }
}

/// One source with the fastest link, which joins in only for peers that get nothing from others.
#[test]
fn a_source_sends_each_segment_about_once() {
    seeds("a fast source", 5, |seed| {
        let (peers, segments) = (pick(seed, 1, 8, 40), 200);
        let mut scenario = WorldConfig::late(peers, 1, segments, seed);
        let rate = |rank: u64| if rank < 2 { 1.0 } else { 1.0 / f64::from(pick(seed, rank, 1, 3)) };
        scenario.rates = (0..=u64::from(peers)).map(rate).collect();
        let copies = assert_flawless(scenario).served[1] as f64 / f64::from(segments);
        println!("seed {seed}, {peers} peers: {copies:.3} copies");
        assert!(copies <= 1.1, "{copies:.3} copies");
    });
}
