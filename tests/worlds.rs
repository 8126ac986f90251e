//! Seeded worlds, run by the hundred in virtual time: whatever goes wrong, a run ends, says what
//! went wrong, and every peer that survives has exactly what was registered.

#[path = "worlds/deciding.rs"]
mod deciding;
#[path = "worlds/late.rs"]
mod late;
#[path = "worlds/late_deciding.rs"]
mod late_deciding;
#[path = "worlds/neighbours.rs"]
mod neighbours;
#[path = "worlds/parts.rs"]
mod parts;
#[path = "worlds/patience.rs"]
mod patience;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use mpiswarm::manifest::NodeId;
use mpiswarm::protocol::{OwnedEntry, Registration};
use mpiswarm::simulation::{Faults, Run, World, WorldConfig};
use mpiswarm::time::Timestamp;
use mpiswarm::verify::Digest;

/// Runs a world and what it asserts for many seeds; a failure names world and seed.
fn seeds(world: &str, count: u64, test: impl Fn(u64)) {
    for seed in 1..=count {
        if let Err(cause) = catch_unwind(AssertUnwindSafe(|| test(seed))) {
            let text = cause.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| cause.downcast_ref::<&str>().copied()).unwrap_or("?");
            panic!("world \"{world}\", seed {seed}: {text}");
        }
    }
}

/// A number between `low` and `high` that follows from the seed, another one for each `salt`.
fn pick(seed: u64, salt: u64, low: u32, high: u32) -> u32 {
    let mixed = (seed ^ salt << 32).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    low + u32::try_from((mixed >> 33) % u64::from(high - low + 1)).expect("it is small")
}

fn broadcast(seed: u64) -> WorldConfig {
    WorldConfig::broadcast(pick(seed, 1, 2, 20), pick(seed, 2, 1, 120), seed)
}

/// Peers enough that every segment has a second holder somewhere, nearly always.
fn crowd(seed: u64) -> WorldConfig {
    WorldConfig::broadcast(pick(seed, 1, 8, 20), pick(seed, 2, 1, 60), seed)
}

fn all_to_all(seed: u64) -> WorldConfig {
    WorldConfig::all_to_all(pick(seed, 1, 2, 9), pick(seed, 2, 1, 20), seed)
}

fn entry(name: &str, segments: u32, mark: u8) -> OwnedEntry {
    let digest = |position: u32| {
        let mut digest = [mark; 32];
        digest[..4].copy_from_slice(&position.to_be_bytes());
        Digest(digest)
    };
    OwnedEntry {
        name: name.into(),
        hashes: (0..segments).map(|position| format!("{position:08x}\n")).collect(),
        digests: (0..segments).map(digest).collect(),
    }
}

fn peer(owned: Vec<OwnedEntry>, wanted: &[&str]) -> Registration {
    Registration::Ready { owned, wanted: wanted.iter().map(|&name| name.into()).collect() }
}

fn milliseconds(count: u64) -> Timestamp {
    Timestamp::default() + Duration::from_millis(count)
}

fn run(mut scenario: WorldConfig) -> Run {
    scenario.keep_contents = true;
    // The window, and each request of it made twice at the end.
    let grants_max = 2 * scenario.config.window * scenario.registrations.len();
    let run = World::new(scenario).run();
    assert!(run.grants_max <= grants_max, "{} segments were given at once", run.grants_max);
    run
}

/// What the owners registered for a file.
fn registered(scenario: &WorldConfig, name: &str) -> Option<Vec<Digest>> {
    let owned = scenario.registrations.iter().flat_map(|registration| match registration {
        Registration::Ready { owned, .. } => owned.as_slice(),
        Registration::Late(_) | Registration::Refused { .. } => &[],
    });
    owned.filter(|entry| &*entry.name == name).map(|entry| entry.digests.to_vec()).next()
}

/// Asserts that every peer but `lost` got exactly what was registered of every file but
/// `missing`, and that the tracker saw it.
fn assert_delivered(scenario: &WorldConfig, run: &Run, lost: &[u32], missing: &[&str]) {
    for (rank, registration) in (1..).zip(&scenario.registrations) {
        let Registration::Ready { wanted, .. } = registration else { continue };
        if lost.contains(&rank) {
            continue;
        }
        let got = &run.contents[rank as usize];
        assert_eq!(got.len(), wanted.len(), "rank {rank} knows its files");
        let mut all = true;
        for (name, got) in wanted.iter().zip(got) {
            if missing.contains(&&**name) {
                all = false;
            } else {
                assert_eq!(*got, registered(scenario, name), "rank {rank}, {name}");
            }
        }
        assert_eq!(run.outcome.finished[rank as usize].is_some(), all, "rank {rank} finished");
    }
}

/// Runs it twice: it ends without errors, all is delivered, and both runs are the same.
fn assert_flawless(scenario: &WorldConfig) -> Run {
    let first = run(scenario.clone());
    assert_eq!(first.outcome.errors, [""; 0]);
    assert_eq!(first.outcome.unavailable, [""; 0]);
    assert!(!first.outcome.refused);
    assert_delivered(scenario, &first, &[], &[]);
    let second = run(scenario.clone());
    assert_eq!((first.fingerprint, first.events), (second.fingerprint, second.events));
    first
}

fn assert_lost(run: &Run, rank: u32) {
    let named = format!("rank {rank} is lost");
    let errors = &run.outcome.errors;
    assert!(errors.len() == 1 && errors[0].starts_with(&named), "{errors:?}");
}

#[test]
fn equal_links() {
    seeds("broadcast", 40, |seed| {
        assert_flawless(&broadcast(seed));
    });
    seeds("all to all", 20, |seed| {
        assert_flawless(&all_to_all(seed));
    });
}

#[test]
fn a_peer_without_memory() {
    seeds("no memory", 15, |seed| {
        let mut scenario = all_to_all(seed);
        let peers = u32::try_from(scenario.registrations.len()).expect("there are few");
        let short = pick(seed, 3, 1, peers);
        scenario.faults = Faults { loss: 0.05, short: vec![NodeId(short)], ..Faults::default() };
        let run = run(scenario);
        assert!(run.outcome.refused, "nothing was moved");
        assert_eq!(run.served.iter().sum::<u64>(), 0);
        assert_eq!(run.outcome.errors, [format!("rank {short}: there is no memory")]);
    });
}

#[test]
fn a_peer_that_vanishes_while_memory_is_reserved() {
    seeds("lost while reserving", 15, |seed| {
        let mut scenario = all_to_all(seed);
        scenario.reserve_time = Duration::from_millis(20);
        let peers = u32::try_from(scenario.registrations.len()).expect("there are few");
        let lost = pick(seed, 3, 1, peers);
        let vanish = vec![(NodeId(lost), milliseconds(10))];
        scenario.faults = Faults { vanish, told: true, ..Faults::default() };
        let own = format!("file{lost}");
        let run = run(scenario.clone());
        assert_lost(&run, lost);
        assert!(!run.outcome.refused, "the others go on");
        if peers > 2 {
            assert_eq!(run.outcome.unavailable, [own.as_str()]);
        }
        assert_delivered(&scenario, &run, &[lost], &[&own]);
    });
}

#[test]
fn one_slow_peer() {
    seeds("one slow peer", 15, |seed| {
        let mut scenario = broadcast(seed);
        let slow = pick(seed, 3, 1, u32::try_from(scenario.registrations.len()).unwrap());
        scenario.rates = vec![1.0; scenario.registrations.len() + 1];
        scenario.rates[slow as usize] = 0.1;
        assert_flawless(&scenario);
    });
}

#[test]
fn several_owners() {
    seeds("several owners", 15, |seed| {
        let mut scenario = broadcast(seed);
        let owner = scenario.registrations[0].clone();
        scenario.registrations.push(owner.clone());
        scenario.registrations.push(owner);
        assert_flawless(&scenario);
    });
}

#[test]
fn lost_and_late_messages() {
    let worse = |mut scenario: WorldConfig, seed| {
        let jitter = Duration::from_micros(u64::from(pick(seed, 4, 0, 2000)));
        scenario.faults = Faults { loss: 0.02, jitter, ..Faults::default() };
        scenario.check_time = Duration::from_micros(u64::from(pick(seed, 5, 0, 1500)));
        scenario
    };
    seeds("loss and jitter, broadcast", 40, |seed| {
        assert_flawless(&worse(broadcast(seed), seed));
    });
    seeds("loss and jitter, all to all", 20, |seed| {
        assert_flawless(&worse(all_to_all(seed), seed));
    });
    seeds("heavy loss", 20, |seed| {
        let mut scenario = worse(broadcast(seed), seed);
        scenario.faults.loss = 0.15;
        assert_flawless(&scenario);
    });
}

#[test]
fn corrupt_segments() {
    let corrupt = std::cell::Cell::new(0);
    seeds("corrupt", 20, |seed| {
        let mut scenario = crowd(seed);
        scenario.faults.corrupt = 0.05;
        corrupt.set(corrupt.get() + assert_flawless(&scenario).corrupt);
    });
    assert!(corrupt.get() > 100, "{} segments were corrupt", corrupt.get());
}

#[test]
fn a_liar_among_the_peers() {
    let corrupt = std::cell::Cell::new(0);
    seeds("corrupt holder", 20, |seed| {
        let mut scenario = crowd(seed);
        scenario.faults.corrupt_holders = vec![NodeId(pick(seed, 3, 2, 8))];
        corrupt.set(corrupt.get() + assert_flawless(&scenario).corrupt);
    });
    assert!(corrupt.get() > 0, "no segment was corrupt");
}

#[test]
fn segments_lost_on_their_way() {
    seeds("drop", 20, |seed| {
        let mut scenario = broadcast(seed);
        scenario.faults.drop = 0.05;
        assert_flawless(&scenario);
    });
}

#[test]
fn everything_at_once() {
    seeds("everything", 40, |seed| {
        let mut scenario = crowd(seed);
        let lost = pick(seed, 3, 2, 8);
        let at = milliseconds(u64::from(pick(seed, 4, 1, 30)));
        scenario.faults = Faults {
            loss: 0.02,
            jitter: Duration::from_millis(1),
            corrupt: 0.02,
            drop: 0.02,
            vanish: vec![(NodeId(lost), at)],
            told: true,
            ..Faults::default()
        };
        let run = run(scenario.clone());
        // Where its registration was lost with it, the swarm never opened.
        assert_eq!(run.outcome.refused, run.outcome.opened.is_none());
        if run.outcome.refused {
            assert_lost(&run, lost);
        } else {
            assert_delivered(&scenario, &run, &[lost], &[]);
        }
    });
}

#[test]
fn a_peer_vanishes() {
    for told in [true, false] {
        seeds(if told { "vanish, told" } else { "vanish, untold" }, 20, |seed| {
            let mut scenario = crowd(seed);
            let segments = registered(&scenario, "file1").unwrap().len();
            let lost = pick(seed, 3, 2, 8);
            let when = pick(seed, 4, 100, 1000 * u32::try_from(segments).unwrap());
            let at = Timestamp::default() + Duration::from_micros(when.into());
            scenario.faults =
                Faults { vanish: vec![(NodeId(lost), at)], told, ..Faults::default() };
            let run = run(scenario.clone());
            assert_lost(&run, lost);
            assert_delivered(&scenario, &run, &[lost], &[]);
        });
    }
}

#[test]
fn a_node_is_stopped_and_goes_on() {
    seeds("a pause", 100, |seed| {
        let mut scenario = if seed % 2 == 0 { all_to_all(seed) } else { crowd(seed) };
        // Longer than the patience with requests and all their withdrawals, shorter than with silence.
        let length = Duration::from_millis(pick(seed, 5, 60, 1500).into());
        let stopped = pick(seed, 3, 0, u32::try_from(scenario.registrations.len()).unwrap());
        let at = milliseconds(u64::from(pick(seed, 4, 1, 40)));
        scenario.faults =
            Faults { pause: vec![(NodeId(stopped), at, length)], ..Faults::default() };
        let run = run(scenario.clone());
        assert_eq!(run.outcome.errors, [""; 0], "rank {stopped} stopped at {at:?} for {length:?}");
        assert_delivered(&scenario, &run, &[], &[]);
    });
}

#[test]
fn a_node_is_stopped_for_too_long() {
    seeds("a long pause", 30, |seed| {
        let mut scenario = crowd(seed);
        let stopped = pick(seed, 3, 2, 8);
        let pause = vec![(NodeId(stopped), milliseconds(3), Duration::from_secs(1000))];
        scenario.faults = Faults { pause, ..Faults::default() };
        let run = run(scenario.clone());
        assert_lost(&run, stopped);
        assert_delivered(&scenario, &run, &[stopped], &[]);
    });
}

#[test]
fn the_tracker_vanishes() {
    for told in [true, false] {
        seeds(if told { "no tracker, told" } else { "no tracker, untold" }, 20, |seed| {
            let mut scenario = crowd(seed);
            let at = Timestamp::default() + Duration::from_micros(pick(seed, 4, 0, 9000).into());
            scenario.faults =
                Faults { vanish: vec![(NodeId::TRACKER, at)], told, ..Faults::default() };
            let peers = scenario.registrations.len();
            assert_eq!(run(scenario).orphaned, peers, "each must end by itself");
        });
    }
}

#[test]
fn a_peer_vanishes_while_peers_register() {
    for told in [true, false] {
        seeds("vanish while registering", 5, |seed| {
            let mut scenario = broadcast(seed);
            scenario.config.registration_patience = Duration::from_secs(1);
            let lost = pick(seed, 3, 1, 3);
            let vanish = vec![(NodeId(lost), Timestamp::default())];
            // Its registration must not come through: it is lost with it.
            scenario.faults = Faults { vanish, told, ..Faults::default() };
            scenario.registrations[lost as usize - 1] = peer(vec![entry("long", 5000, 7)], &[]);
            let run = run(scenario);
            assert!(run.outcome.refused && run.outcome.opened.is_none());
            let errors = &run.outcome.errors;
            assert!(
                errors.len() == 1 && errors[0].contains(&format!("rank {lost} ")),
                "{errors:?}"
            );
        });
    }
}

#[test]
fn the_owner_vanishes_before_all_is_seeded() {
    let failed = std::cell::Cell::new(0);
    seeds("owner vanishes", 20, |seed| {
        let mut scenario = broadcast(seed);
        let segments = registered(&scenario, "file1").unwrap().len();
        let at = milliseconds(u64::from(pick(seed, 4, 1, u32::try_from(segments).unwrap())));
        scenario.faults.vanish = vec![(NodeId(1), at)];
        scenario.faults.told = true;
        let run = run(scenario.clone());
        if run.outcome.unavailable.is_empty() {
            assert_delivered(&scenario, &run, &[1], &[]);
        } else {
            failed.set(failed.get() + 1);
            assert_eq!(run.outcome.unavailable, ["file1"]);
            assert_lost(&run, 1);
        }
    });
    assert!(failed.get() >= 10, "the owner vanished too late: {}", failed.get());
}

#[test]
fn an_owner_is_spared_for_those_who_vanished() {
    // Nobody but rank 3 wants the long file. When it vanishes, the owner must not be spared for it.
    seeds("spared for nobody", 10, |seed| {
        let owned = vec![entry("long", 400, 1), entry("short", 4, 2)];
        let wants = |name| peer(Vec::new(), &[name]);
        let mut scenario = WorldConfig::of(
            vec![peer(owned, &[]), wants("short"), wants("long"), wants("short"), wants("short")],
            seed,
        );
        let vanish = vec![(NodeId(3), milliseconds(6)), (NodeId(2), milliseconds(8))];
        scenario.faults = Faults { vanish, told: true, ..Faults::default() };
        let run = run(scenario.clone());
        assert_eq!(run.outcome.unavailable, [""; 0]);
        assert_delivered(&scenario, &run, &[2, 3], &[]);
    });
}

#[test]
fn a_file_that_nobody_owns() {
    seeds("unowned", 10, |seed| {
        let mut scenario = broadcast(seed);
        scenario.registrations[1] = peer(Vec::new(), &["nowhere", "file1"]);
        let run = run(scenario.clone());
        assert_eq!(run.outcome.unavailable, ["nowhere"]);
        assert_eq!(run.outcome.errors, [""; 0]);
        assert_delivered(&scenario, &run, &[], &["nowhere"]);
    });
}

#[test]
fn the_only_owner_lies() {
    seeds("the only owner sends corrupt segments", 10, |seed| {
        let mut registrations = vec![
            peer(vec![entry("good", pick(seed, 1, 1, 40), 1)], &[]),
            peer(vec![entry("bad", pick(seed, 2, 1, 40), 2)], &["good"]),
        ];
        for _ in 0..pick(seed, 3, 1, 8) {
            registrations.push(peer(Vec::new(), &["good", "bad"]));
        }
        let mut scenario = WorldConfig::of(registrations, seed);
        scenario.faults.corrupt_holders = vec![NodeId(2)];
        let run = run(scenario.clone());
        // Each that wants it says so, and names whose copy is wrong.
        assert_eq!(run.outcome.unavailable, [""; 0]);
        assert_eq!(run.outcome.errors.len(), scenario.registrations.len() - 2);
        let ends =
            |line: &String| line.ends_with("of bad from rank 2 does not match its digest, 3 times");
        assert!(run.outcome.errors.iter().all(ends), "{:?}", run.outcome.errors);
        assert_delivered(&scenario, &run, &[], &["bad"]);
    });
}

#[test]
fn more_files_fail_than_a_report_names() {
    let owned = (0..5000).map(|file| entry(&format!("file{file:04}"), 1, 3)).collect();
    let names: Vec<String> = (0..5000).map(|file| format!("file{file:04}")).collect();
    let wanted: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut scenario = WorldConfig::of(vec![peer(owned, &[]), peer(Vec::new(), &wanted)], 1);
    scenario.faults.corrupt_holders = vec![NodeId(1)];
    let run = run(scenario);
    let (errors, most) = (run.outcome.errors, mpiswarm::config::PROBLEMS_MAX);
    assert_eq!(errors.len(), most + 1);
    assert!(errors[0].contains("from rank 1 does not match its digest, "), "{errors:?}");
    assert_eq!(errors[most], "rank 2: and 4984 more such files");
}

#[test]
fn a_segment_that_came_wrong_from_its_only_holder_is_sent_again() {
    let corrupt = std::cell::Cell::new(0);
    seeds("one holder", 40, |seed| {
        let mut scenario = WorldConfig::broadcast(2, 60, seed);
        scenario.faults.corrupt = 0.05;
        let run = run(scenario.clone());
        corrupt.set(corrupt.get() + run.corrupt);
        // Three times in a row by chance: once in 8,000 segments.
        if run.outcome.errors.is_empty() {
            assert_delivered(&scenario, &run, &[], &[]);
        }
    });
    assert!(corrupt.get() > 20, "{} segments were corrupt", corrupt.get());
}

#[test]
fn refused_registrations() {
    for loss in [0.0, 0.2] {
        seeds("refused", 10, |seed| {
            let mut scenario = broadcast(seed);
            scenario.registrations[1] =
                Registration::Refused { reason: "in2.txt:3: no number".into() };
            scenario.faults.loss = loss;
            let run = run(scenario);
            assert_eq!(run.outcome.errors, ["in2.txt:3: no number"]);
            assert!(run.outcome.refused && run.outcome.opened.is_none());
            assert_eq!(run.served.iter().sum::<u64>(), 0);
        });
    }
}

#[test]
fn owners_that_disagree() {
    seeds("disagree", 10, |seed| {
        let mut scenario = broadcast(seed);
        scenario.registrations.push(peer(vec![entry("file1", 130, 9)], &[]));
        let run = run(scenario);
        assert!(run.outcome.refused);
        assert!(run.outcome.errors[0].starts_with("file1: rank 1 has"), "{:?}", run.outcome.errors);
        assert_eq!(run.served.iter().sum::<u64>(), 0);
    });
}
