//! Worlds with a late file: its digests are found while the swarm runs.

use std::time::Duration;

use mpiswarm::manifest::{NodeId, SegmentId, SegmentSet};
use mpiswarm::protocol::{LateEntry, Registration};
use mpiswarm::simulation::{Faults, Run, World, WorldConfig};
use mpiswarm::verify::Digest;

use crate::{milliseconds, pick, run, seeds};

/// A world of 3 to 20 peers, of which `sources` can read the file.
pub(crate) fn late(seed: u64, sources: impl Fn(u32) -> u32) -> WorldConfig {
    let peers = pick(seed, 1, 3, 20);
    WorldConfig::late(peers, sources(peers), pick(seed, 2, 1, 120), seed)
}

pub(crate) fn one(_peers: u32) -> u32 {
    1
}

pub(crate) fn all(peers: u32) -> u32 {
    peers
}

pub(crate) fn ranks(scenario: &WorldConfig) -> u32 {
    u32::try_from(scenario.registrations.len()).expect("there are few")
}

pub(crate) fn entry_mut(registration: &mut Registration) -> &mut LateEntry {
    let Registration::Late(entry) = registration else { panic!("all want the late file") };
    entry
}

pub(crate) fn segments(scenario: &WorldConfig) -> u32 {
    let Registration::Late(entry) = &scenario.registrations[0] else { panic!("it is a source") };
    entry.source.expect("it is a source")
}

/// Each of the peers holds a random part of the file from the start.
pub(crate) fn hold_parts(scenario: &mut WorldConfig, seed: u64) {
    let count = segments(scenario);
    for (rank, registration) in (1..).zip(&mut scenario.registrations) {
        let held = &mut entry_mut(registration).held;
        // A tenth of the peers has nothing, and another one everything.
        let share = match pick(seed, 100 + rank, 0, 9) {
            0 => continue,
            1 => 100,
            _ => pick(seed, 200 + rank, 1, 99),
        };
        *held = SegmentSet::none_of(count);
        for position in 0..count {
            if pick(seed, 1000 * rank + u64::from(position), 1, 100) <= share {
                held.insert(SegmentId(position));
            }
        }
    }
}

/// Segments that somebody lacks.
pub(crate) fn lacked(scenario: &WorldConfig) -> u64 {
    let holds = |registration: &Registration, position: u32| match registration {
        Registration::Late(entry) => entry.held.contains(SegmentId(position)),
        Registration::Ready { .. } | Registration::Refused { .. } => false,
    };
    let is_lacked = |&position: &u32| {
        !scenario.registrations.iter().all(|registration| holds(registration, position))
    };
    (0..segments(scenario)).filter(is_lacked).count() as u64
}

/// Every peer but `lost` has the whole file, and the same one.
pub(crate) fn assert_delivered(scenario: &WorldConfig, run: &Run, lost: &[u32]) {
    let mut first: Option<&Vec<Digest>> = None;
    for rank in (1..=ranks(scenario)).filter(|rank| !lost.contains(rank)) {
        let got = run.contents[rank as usize][0].as_ref();
        let got = got.unwrap_or_else(|| panic!("rank {rank} lacks something"));
        assert_eq!(got.len(), segments(scenario) as usize, "rank {rank}");
        assert_eq!(*first.get_or_insert(got), got, "rank {rank}");
        assert!(run.outcome.finished[rank as usize].is_some(), "rank {rank} finished");
    }
}

/// Runs it twice: it ends without errors, all is delivered, and each segment is read once in all.
pub(crate) fn assert_flawless(scenario: &WorldConfig) -> Run {
    let first = run(scenario.clone());
    assert_eq!(first.outcome.errors, [""; 0]);
    assert_eq!(first.outcome.unavailable, [""; 0]);
    assert!(!first.outcome.refused && first.outcome.dropped_out.is_empty());
    assert_delivered(scenario, &first, &[]);
    assert_eq!(first.reads, lacked(scenario), "segments that were read");
    let second = run(scenario.clone());
    assert_eq!((first.fingerprint, first.events), (second.fingerprint, second.events));
    first
}

#[test]
fn one_source_or_all() {
    seeds("late, one source", 25, |seed| {
        assert_flawless(&late(seed, one));
    });
    seeds("late, all are sources", 25, |seed| {
        assert_flawless(&late(seed, all));
    });
    seeds("late, nobody else", 5, |seed| {
        let scenario = WorldConfig::late(1, 1, pick(seed, 2, 1, 120), seed);
        assert_flawless(&scenario);
    });
    seeds("late, some are sources", 20, |seed| {
        assert_flawless(&late(seed, |peers| pick(seed, 3, 1, peers)));
    });
}

#[test]
fn a_source_that_reads_at_once_is_as_good_as_an_owner() {
    for (peers, count) in [(15, 128), (31, 128)] {
        for seed in 1..=3 {
            let known = World::new(WorldConfig::broadcast(peers, count, seed)).run();
            let mut late = WorldConfig::late(peers + 1, 1, count, seed);
            late.config.read_ahead = 32;
            let late = World::new(late).run();
            let ratio = late.makespan.as_secs_f64() / known.makespan.as_secs_f64();
            println!("{peers} peers, {count} segments, seed {seed}: {ratio:.4} of the makespan");
            assert!(ratio <= 1.02, "seed {seed}: {ratio}");
            let copies = late.served[1] as f64 / f64::from(count);
            assert!(copies <= 1.05, "seed {seed}: {copies} copies by the source");
        }
    }
}

#[test]
fn sources_that_read_slowly() {
    seeds("slow sources", 30, |seed| {
        let mut scenario = late(seed, |peers| pick(seed, 3, 1, peers));
        let time = |rank| Duration::from_micros(pick(seed, 50 + rank, 0, 8000).into());
        scenario.read_times = (0..=u64::from(ranks(&scenario))).map(time).collect();
        assert_flawless(&scenario);
    });
    // Longer than requests and asks are waited for.
    seeds("a very slow source", 10, |seed| {
        let mut scenario = late(seed, one);
        scenario.read_times = vec![Duration::from_millis(130); 2];
        assert_flawless(&scenario);
    });
}

/// However little it may read ahead: nothing stands still, also where nobody wants what it is ahead with.
#[test]
fn sources_that_read_little_ahead() {
    seeds("late, little ahead", 60, |seed| {
        let mut scenario = late(seed, |peers| pick(seed, 3, 1, peers));
        scenario.config.read_ahead = pick(seed, 4, 0, 9) as usize;
        if seed % 2 == 0 {
            hold_parts(&mut scenario, seed);
        }
        assert_flawless(&scenario);
    });
    seeds("late, little ahead, lost messages", 30, |seed| {
        let mut scenario = late(seed, |peers| pick(seed, 3, 1, peers));
        scenario.config.read_ahead = pick(seed, 4, 0, 9) as usize;
        scenario.faults = worse(seed);
        assert_undamaged(&scenario);
    });
}

#[test]
fn parts_that_are_there_already() {
    seeds("late, held", 60, |seed| {
        let mut scenario = late(seed, |peers| pick(seed, 3, 1, peers));
        hold_parts(&mut scenario, seed);
        assert_flawless(&scenario);
    });
    seeds("late, held, lost messages", 30, |seed| {
        let mut scenario = late(seed, |peers| pick(seed, 3, 1, peers));
        hold_parts(&mut scenario, seed);
        scenario.faults = worse(seed);
        assert_undamaged(&scenario);
    });
    seeds("late, nothing is lacked", 5, |seed| {
        let mut scenario = late(seed, one);
        let count = segments(&scenario);
        for registration in &mut scenario.registrations {
            entry_mut(registration).held = SegmentSet::all_of(count);
        }
        let run = assert_flawless(&scenario);
        assert_eq!(run.served.iter().sum::<u64>(), 0);
    });
}

/// Peers that kept other bytes send every segment corrupt. The only one without them is a source too: it reads
/// what nobody sends right, also where too few came corrupt for a holder to be avoided.
#[test]
fn what_all_holders_send_corrupt_is_read_once_more() {
    seeds("late, held by corrupt holders", 60, |seed| {
        let (peers, count) = (pick(seed, 1, 2, 6), pick(seed, 2, 1, 120));
        let mut scenario = WorldConfig::late(peers, peers, count, seed);
        for registration in scenario.registrations.iter_mut().skip(1) {
            entry_mut(registration).held = SegmentSet::all_of(count);
        }
        scenario.faults.corrupt_holders = (2..=peers).map(NodeId).collect();
        // The others read most of it.
        scenario.read_times = vec![Duration::ZERO, Duration::from_millis(20)];
        let run = World::new(scenario).run();
        assert_eq!(run.outcome.errors, [""; 0]);
        assert!(run.outcome.finished[1].is_some(), "rank 1 has all");
    });
}

fn worse(seed: u64) -> Faults {
    let jitter = Duration::from_micros(u64::from(pick(seed, 4, 0, 2000)));
    Faults { loss: 0.03, jitter, ..Faults::default() }
}

/// As `assert_flawless`, where a handout may be lost and a segment be read again.
fn assert_undamaged(scenario: &WorldConfig) -> Run {
    let run = run(scenario.clone());
    assert_eq!(run.outcome.errors, [""; 0]);
    assert_delivered(scenario, &run, &[]);
    assert_eq!(run.reads, lacked(scenario), "segments that were read");
    run
}

#[test]
fn lost_and_late_messages() {
    seeds("late, loss and jitter", 40, |seed| {
        let mut scenario = late(seed, |peers| pick(seed, 3, 1, peers));
        scenario.faults = worse(seed);
        scenario.check_time = Duration::from_micros(u64::from(pick(seed, 5, 0, 1500)));
        let time = |rank| Duration::from_micros(pick(seed, 50 + rank, 0, 3000).into());
        scenario.read_times = (0..=u64::from(ranks(&scenario))).map(time).collect();
        assert_undamaged(&scenario);
    });
    seeds("late, heavy loss", 20, |seed| {
        let mut scenario = late(seed, |peers| pick(seed, 3, 1, peers));
        scenario.faults = Faults { loss: 0.15, ..Faults::default() };
        assert_undamaged(&scenario);
    });
    seeds("late, corrupt and dropped", 20, |seed| {
        let mut scenario = late(seed, all);
        scenario.faults = Faults { corrupt: 0.03, drop: 0.03, ..Faults::default() };
        let run = run(scenario.clone());
        // Three times in a row by chance.
        if run.outcome.errors.is_empty() {
            assert_delivered(&scenario, &run, &[]);
        }
    });
}

#[test]
fn a_source_is_lost_half_way() {
    for told in [true, false] {
        seeds("a lost source", 30, |seed| {
            let mut scenario = late(seed, |peers| pick(seed, 3, 2, peers));
            scenario.read_times = vec![Duration::from_millis(1); 30];
            let at = milliseconds(u64::from(pick(seed, 4, 3, segments(&scenario) + 3)));
            scenario.faults = Faults { vanish: vec![(NodeId(1), at)], told, ..Faults::default() };
            let run = run(scenario.clone());
            assert_eq!(run.outcome.lost, [NodeId(1)]);
            assert_delivered(&scenario, &run, &[1]);
        });
    }
    seeds("the only source is lost", 20, |seed| {
        let mut scenario = late(seed, one);
        scenario.read_times = vec![Duration::from_millis(2); 2];
        scenario.faults =
            Faults { vanish: vec![(NodeId(1), milliseconds(3))], told: true, ..Faults::default() };
        let run = run(scenario.clone());
        assert_eq!(run.outcome.lost, [NodeId(1)]);
        assert!(run.outcome.unavailable.len() <= 1);
    });
}

#[test]
fn peers_that_drop_out() {
    seeds("drop outs", 40, |seed| {
        let mut scenario = late(seed, |peers| pick(seed, 3, 1, peers));
        if seed % 3 == 0 {
            hold_parts(&mut scenario, seed);
        }
        let out = pick(seed, 5, 1, ranks(&scenario));
        let at = milliseconds(u64::from(pick(seed, 4, 0, segments(&scenario) + 5)));
        scenario.faults = if seed % 2 == 0 { worse(seed) } else { Faults::default() };
        scenario.faults.broken = vec![(NodeId(out), at)];
        scenario.read_times = vec![Duration::from_micros(300); 30];
        let run = run(scenario.clone());
        assert_delivered(&scenario, &run, &[out]);
        // It may have been done before.
        if run.outcome.errors.is_empty() {
            assert_delivered(&scenario, &run, &[]);
        } else {
            assert_eq!(run.outcome.errors, [format!("rank {out} dropped out: no space left")]);
            assert_eq!(run.outcome.dropped_out, [(NodeId(out), "no space left".to_owned())]);
            assert_eq!(run.outcome.finished[out as usize], None);
        }
        assert_eq!(run.outcome.unavailable, [""; 0]);
    });
}

#[test]
fn segments_that_can_not_be_read() {
    seeds("unreadable by one", 20, |seed| {
        let mut scenario = late(seed, |peers| pick(seed, 3, 2, peers));
        let position = pick(seed, 4, 0, segments(&scenario) - 1);
        scenario.faults.unreadable =
            (0..pick(seed, 5, 1, 30)).map(|n| (NodeId(1), position + n)).collect();
        assert_flawless(&scenario);
    });
    seeds("unreadable by all", 20, |seed| {
        let mut scenario = late(seed, |peers| pick(seed, 3, 1, peers.min(3)));
        let position = pick(seed, 4, 0, segments(&scenario) - 1);
        scenario.faults.unreadable = (1..4).map(|rank| (NodeId(rank), position)).collect();
        let run = run(scenario.clone());
        assert_eq!(run.outcome.unavailable, [""; 0], "somebody has it");
        assert_nobody_reads(position, &scenario, &run);
    });
}

/// Each source names a segment that it can't read, and nobody has the file.
pub(crate) fn assert_nobody_reads(position: u32, scenario: &WorldConfig, run: &Run) {
    let line = |rank| format!("rank {rank}: segment {position} of the source: input/output error");
    let sources = scenario.registrations.iter().filter(|registration| {
        matches!(registration, Registration::Late(LateEntry { source: Some(_), .. }))
    });
    let expected: Vec<String> = (1..=sources.count()).map(line).collect();
    assert_eq!(run.outcome.errors, expected);
    assert!(run.outcome.finished.iter().all(Option::is_none), "nobody has the file");
}

/// Peers have 0 to 7 slots, which change; in the end there is room again.
pub(crate) fn vary_rooms(scenario: &mut WorldConfig, seed: u64) {
    for rank in 1..=ranks(scenario) {
        for step in 0..10 {
            let slots = if step == 9 { 4 } else { pick(seed, u64::from(100 * rank + step), 0, 8) };
            let at = milliseconds(u64::from(step * 7));
            scenario.rooms.push((NodeId(rank), at, slots as usize));
        }
    }
}

#[test]
fn slots_are_credit() {
    seeds("rooms", 40, |seed| {
        let mut scenario = late(seed, |peers| pick(seed, 3, 1, peers));
        scenario.config.window = 8;
        scenario.config.window_least = 8;
        scenario.config.holder_load = 8;
        vary_rooms(&mut scenario, seed);
        if seed % 2 == 0 {
            scenario.faults = worse(seed);
        }
        assert_undamaged(&scenario);
    });
}

#[test]
fn segments_that_holders_have_lost() {
    seeds("unservable", 30, |seed| {
        let mut scenario = late(seed, all);
        scenario.faults.unservable = 0.03;
        let run = run(scenario.clone());
        // Three times in a row from the only holder, by chance.
        if run.outcome.unavailable.is_empty() {
            assert_delivered(&scenario, &run, &[]);
        }
    });
    // Nobody ever sends anything: the run still ends.
    seeds("nothing is servable", 3, |seed| {
        let mut scenario = late(seed, one);
        scenario.faults.unservable = 1.0;
        let run = run(scenario.clone());
        assert_eq!(run.outcome.unavailable, ["tree"]);
        assert!(run.outcome.finished[1].is_some(), "it has read all");
    });
}

#[test]
fn everything_at_once() {
    seeds("late, everything", 30, |seed| {
        let mut scenario = late(seed, |peers| pick(seed, 3, 2, peers));
        hold_parts(&mut scenario, seed);
        let (lost, out) = (pick(seed, 6, 1, 2), 3);
        let at = |salt| milliseconds(u64::from(pick(seed, salt, 3, 60)));
        scenario.read_times = vec![Duration::from_micros(500); 30];
        scenario.faults = Faults {
            vanish: vec![(NodeId(lost), at(8))],
            broken: vec![(NodeId(out), at(9))],
            told: seed % 2 == 0,
            ..worse(seed)
        };
        let run = run(scenario.clone());
        assert_eq!(run.outcome.refused, run.outcome.opened.is_none());
        if !run.outcome.refused && run.outcome.unavailable.is_empty() {
            assert_delivered(&scenario, &run, &[lost, out]);
        }
    });
}

#[test]
fn sources_that_count_differently() {
    let mut scenario = WorldConfig::late(3, 2, 10, 1);
    entry_mut(&mut scenario.registrations[1]).source = Some(11);
    let run = run(scenario);
    assert!(run.outcome.refused);
    assert_eq!(
        run.outcome.errors,
        ["tree: rank 1 reads 10 segments, rank 2 reads 11; give both the same source"]
    );
}
