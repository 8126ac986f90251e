//! Worlds with a late file of which each peer wants, and each source has, a part.

use std::time::Duration;

use mpiswarm::manifest::{NodeId, SegmentId, SegmentSet};
use mpiswarm::protocol::{LateEntry, Registration};
use mpiswarm::simulation::{Faults, Run, WorldConfig};

use crate::{pick, run, seeds};

fn set(count: u32, has: impl Fn(u32) -> bool) -> SegmentSet {
    let mut set = SegmentSet::none_of(count);
    (0..count).filter(|&position| has(position)).for_each(|position| {
        set.insert(SegmentId(position));
    });
    set
}

/// Runs of segments, as groups of files have them.
fn group(position: u32) -> u64 {
    u64::from(position / 5)
}

/// Peers that want, have and can read random parts; of each group at least one source has all.
fn world(seed: u64) -> WorldConfig {
    let (peers, count) = (pick(seed, 1, 2, 12), pick(seed, 2, 1, 120));
    let sources = pick(seed, 3, 1, peers);
    let mut world = WorldConfig::late(peers, sources, count, seed);
    for (rank, registration) in (1_u32..).zip(&mut world.registrations) {
        let Registration::Late(entry) = registration else { panic!("all want the late file") };
        let salt = |what: u64, group: u64| (what << 40) + (u64::from(rank) << 20) + group;
        let wants = pick(seed, salt(1, 0), 0, 4);
        entry.unwanted = set(count, |at| pick(seed, salt(2, group(at)), 1, 4) > wants);
        if seed.is_multiple_of(3) {
            entry.held = set(count, |at| pick(seed, salt(3, u64::from(at)), 1, 4) == 1);
        }
        let owner = |at| 1 + u32::try_from(group(at)).expect("few") % sources;
        if entry.source.is_some() {
            entry.lacking =
                set(count, |at| owner(at) != rank && pick(seed, salt(4, group(at)), 1, 3) > 1);
        }
    }
    world
}

fn entries(world: &WorldConfig) -> impl Iterator<Item = &LateEntry> {
    world.registrations.iter().filter_map(|one| match one {
        Registration::Late(entry) => Some(entry),
        Registration::Ready { .. } | Registration::Refused { .. } => None,
    })
}

fn count(world: &WorldConfig) -> u32 {
    entries(world).find_map(|entry| entry.source).expect("rank 1 is a source")
}

fn wants(entry: &LateEntry, position: u32) -> bool {
    let position = SegmentId(position);
    !entry.unwanted.contains(position) && !entry.held.contains(position)
}

fn assert_all_have_theirs(world: &WorldConfig, run: &Run) {
    assert_eq!(run.outcome.errors, [""; 0]);
    assert!(run.outcome.unavailable.is_empty() && !run.outcome.refused);
    assert!(run.outcome.finished[1..].iter().all(Option::is_some), "all have finished");
    let lacked = |&position: &u32| entries(world).any(|entry| wants(entry, position));
    let lacked: Vec<u32> = (0..count(world)).filter(lacked).collect();
    assert_eq!(
        run.reads,
        lacked.len() as u64,
        "what somebody lacks is read once, and nothing else"
    );
    // What a peer wants it has read itself, or was sent once.
    let wanted = entries(world).map(|entry| lacked.iter().filter(|&&at| wants(entry, at)).count());
    let (wanted, sent) = (wanted.sum::<usize>() as u64, run.served.iter().sum::<u64>());
    assert!(sent <= wanted && sent + run.reads >= wanted, "{sent} sent, {wanted} wanted");
}

#[test]
fn each_peer_gets_its_part_from_whoever_has_it() {
    seeds("parts", 120, |seed| {
        let world = world(seed);
        let first = run(world.clone());
        assert_all_have_theirs(&world, &first);
        let second = run(world);
        assert_eq!((first.fingerprint, first.events), (second.fingerprint, second.events));
    });
}

#[test]
fn parts_over_slow_disks_and_lossy_links() {
    seeds("parts, loss", 60, |seed| {
        let mut world = world(seed);
        world.faults = Faults { loss: 0.03, ..Faults::default() };
        let time = |rank: u64| Duration::from_micros(pick(seed, 50 + rank, 0, 3000).into());
        world.read_times = (0..20).map(time).collect();
        let run = run(world.clone());
        assert_eq!(run.outcome.errors, [""; 0]);
        assert!(run.outcome.finished[1..].iter().all(Option::is_some), "all have finished");
    });
}

/// Who does not want what nobody can read gets all the same what it wants.
#[test]
fn what_can_not_be_read_fails_only_who_wants_it() {
    seeds("parts, unreadable", 60, |seed| {
        let mut world = world(seed);
        let position = pick(seed, 4, 0, count(&world) - 1);
        let ranks = u32::try_from(world.registrations.len()).expect("few");
        world.faults.unreadable = (1..=ranks).map(|rank| (NodeId(rank), position)).collect();
        // Nobody has it from the start.
        for registration in &mut world.registrations {
            let Registration::Late(entry) = registration else { continue };
            entry.held = SegmentSet::default();
        }
        let run = run(world.clone());
        for (rank, entry) in (1_usize..).zip(entries(&world)) {
            let has = run.outcome.finished[rank].is_some();
            assert_eq!(has, !wants(entry, position), "rank {rank}");
        }
    });
}
