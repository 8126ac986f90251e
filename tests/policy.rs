//! How near the handout policy comes to the bound, in deterministic worlds.

use std::num::NonZeroU32;
use std::time::Duration;

use mpiswarm::config::Config;
use mpiswarm::protocol::relay::RelayAlgorithm;
use mpiswarm::protocol::{OwnedEntry, Registration};
use mpiswarm::simulation::{Faults, Fragments, Racks, Run, World, WorldConfig};
use mpiswarm::verify::Digest;

/// M + ⌊log2 N⌋ segment times.
fn bound(peers: u32, segments: u32) -> f64 {
    f64::from(segments + peers.ilog2())
}

fn broadcast(peers: u32, segments: u32, seed: u64) -> Run {
    World::new(WorldConfig::broadcast(peers, segments, seed)).run()
}

fn max_over_mean(served: &[u64]) -> f64 {
    let served = &served[1..];
    let max = *served.iter().max().expect("there are peers") as f64;
    max * served.len() as f64 / served.iter().sum::<u64>() as f64
}

#[test]
fn a_broadcast_over_equal_links_is_near_the_bound() {
    for (peers, segments, limit) in [(31, 256, 1.05), (63, 512, 1.05), (127, 128, 1.08)] {
        for seed in 1..=5 {
            let run = broadcast(peers, segments, seed);
            let ratio = run.makespan.as_secs_f64() * 1e3 / bound(peers, segments);
            let copies = run.served[1] as f64 / f64::from(segments);
            let balance = max_over_mean(&run.served);
            println!(
                "{peers} peers, {segments} segments, seed {seed}: {ratio:.3} of the bound, \
                 {copies:.3} copies by the owner, max/mean {balance:.3}"
            );
            assert!(ratio <= limit, "makespan, seed {seed}");
            assert!(copies <= 1.05, "copies, seed {seed}");
            assert!(balance <= 1.15, "balance, seed {seed}");
        }
    }
}

/// Eight hosts at 200 Mbit/s whose links segments share, and 128 MiB in large segments. A holder sends to few
/// receivers at a time, each of which takes from others too, so that with 2 uploads its own link idles: 1.25 of the
/// bound and more at both sizes, and 1.6 with a single one.
#[test]
fn large_segments_that_share_links_fill_them() {
    for (kib, limit) in [(256, 1.20), (1024, 1.15)] {
        let (bytes, segments) = (kib << 10, 128 * 1024 / kib);
        let segment_time = Duration::from_secs_f64(f64::from(bytes) / 23.9e6);
        let config = Config::over_links(bytes as usize);
        // A fragment is what such a link carries in a millisecond or so.
        let fragments = Some(Fragments { of_segment: kib / 32, under_way: 2 });
        for seed in 1..=2 {
            let scenario = WorldConfig::broadcast(7, segments, seed);
            let latency = Duration::from_micros(500);
            let config = config.clone();
            let scenario = WorldConfig { config, segment_time, latency, fragments, ..scenario };
            let run = World::new(scenario).run();
            assert_eq!(run.outcome.errors, [""; 0]);
            let ratio =
                run.makespan.as_secs_f64() / (segment_time.as_secs_f64() * bound(7, segments));
            println!("{kib} KiB, seed {seed}: {ratio:.3} of the bound");
            assert!(ratio <= limit, "makespan, {kib} KiB, seed {seed}: {ratio:.3}");
        }
    }
}

/// More requests than holders have room for, and messages that take several segment times: if each
/// segment that a waiting peer is given cost it another ask, links would idle meanwhile.
#[test]
fn who_waits_at_the_tracker_is_served_without_asking_again() {
    let (peers, segments) = (8, 128);
    for seed in 1..=5 {
        let scenario = WorldConfig::all_to_all(peers, segments, seed);
        let config = Config { window: 16, holder_load: 8, ..Config::over_links(1 << 15) };
        let latency = 2 * scenario.segment_time;
        let run = World::new(WorldConfig { config, latency, ..scenario }).run();
        let received = f64::from((peers - 1) * segments);
        let ratio = run.makespan.as_secs_f64() * 1e3 / received;
        println!("seed {seed}: {ratio:.3} of the bound");
        assert!(ratio <= 1.5, "makespan, seed {seed}");
    }
}

/// A tracker that is busy for four times as long as the links take, if each peer says each segment in
/// a message of its own: those that it has not heard yet gather what they have to say. And one that
/// is busy now and then: nobody waits for it longer than it is.
#[test]
fn a_tracker_that_falls_behind_hears_more_at_once() {
    let segments = 200;
    for (peers, part, limit) in [(100, 25, 2.6), (30, 30, 1.4), (30, 33, 1.3)] {
        for seed in 1..=3 {
            let scenario = WorldConfig::broadcast(peers, segments, seed);
            let tracker_time = scenario.segment_time / part;
            let config = Config { announcement: 1, ..Config::over_links(1 << 23) };
            let run = World::new(WorldConfig { config, tracker_time, ..scenario }).run();
            let ratio = run.makespan.as_secs_f64() * 1e3 / bound(peers, segments);
            println!("{peers} peers, tracker time 1/{part}, seed {seed}: {ratio:.3} of the bound");
            assert!(ratio <= limit, "makespan, seed {seed}");
        }
    }
}

/// Small files: of each a peer says that it is whole, which keeps a tracker busy now and then. Who
/// waited for an answer that the tracker does not know of would say nothing until its patience ends.
#[test]
fn nobody_waits_for_a_tracker_that_is_busy_no_more() {
    let entry = |file: u32| OwnedEntry {
        name: format!("file{file}").into(),
        hashes: "1\n".into(),
        digests: [Digest([file.to_le_bytes()[0]; 32])].into(),
    };
    let owned: Vec<_> = (0..2000).map(entry).collect();
    let wanted: Vec<Box<str>> = owned.iter().map(|entry| entry.name.clone()).collect();
    let owner = Registration::Ready { owned, wanted: Vec::new() };
    let other = Registration::Ready { owned: Vec::new(), wanted };
    for seed in 1..=20 {
        let scenario = WorldConfig::of(vec![owner.clone(), other.clone(), other.clone()], seed);
        let config = Config::for_segments_of(0);
        let patience = config.ask_patience;
        let (segment_time, latency) = (Duration::from_micros(1), Duration::from_micros(20));
        let tracker_time = Duration::from_nanos(500 * seed);
        let run =
            World::new(WorldConfig { config, segment_time, latency, tracker_time, ..scenario })
                .run();
        assert!(run.makespan < patience, "{:?}, seed {seed}", run.makespan);
    }
}

#[test]
fn the_same_scenario_gives_the_same_run_event_for_event() {
    let (once, again) = (broadcast(9, 40, 3), broadcast(9, 40, 3));
    assert_eq!((once.fingerprint, once.events), (again.fingerprint, again.events));
    assert_ne!(once.fingerprint, broadcast(9, 40, 4).fingerprint);
}

/// Another queue or another table of the simulator must not change a run. A change of the protocol does.
#[test]
fn a_faster_simulator_gives_the_same_runs() {
    let faults = Faults {
        loss: 0.02,
        jitter: Duration::from_millis(1),
        corrupt: 0.02,
        drop: 0.02,
        ..Faults::default()
    };
    let small =
        |seed| WorldConfig { weighs_messages: true, ..WorldConfig::broadcast(30, 100, seed) };
    let rates: Vec<f64> = (0..32).map(|rank| 1.0 / f64::from(1 + rank % 3)).collect();
    let slow = WorldConfig { rates, tracker_time: Duration::from_micros(20), ..small(2) };
    let swarms = [small(1), slow.clone(), WorldConfig { faults, ..slow.clone() }];
    let algorithms = [
        RelayAlgorithm::Neighbours { seed: 5, rack_hosts: None },
        RelayAlgorithm::Chain { window: 4 },
        RelayAlgorithm::Binomial,
        RelayAlgorithm::Circulant,
    ];
    let swarms = swarms.into_iter().map(World::new);
    let worlds = swarms.chain(algorithms.map(|one| World::broadcast(slow.clone(), one)));
    let runs: Vec<_> = worlds
        .map(World::run)
        .map(|run| (run.fingerprint, run.message_bytes, run.makespan.as_nanos()))
        .collect();
    let before = [
        (8_152_464_270_145_834_007, 246_992, 108_540_000),
        (16_475_667_423_125_671_113, 248_993, 312_280_000),
        (3_991_132_155_107_018_122, 271_988, 650_281_300),
        (4_874_710_190_812_833_198, 175_355, 316_190_000),
        (9_918_304_613_201_385_936, 127_048, 377_350_000),
        (18_221_699_789_842_660_475, 130_048, 1_203_130_000),
        (17_804_732_667_227_494_779, 130_106, 311_210_000),
    ];
    assert_eq!(runs, before);
}

/// A chain of N holders passes M segments on in M + N - 2 segment times, a binomial tree sends every
/// segment ceil(log2 N) times from its root, and the circulant schedule needs M - 1 + ceil(log2 N)
/// rounds. The nodes come within a tenth of that, plus two segment times for requests, which cross
/// the network too.
#[test]
fn rivals_come_near_their_textbook_makespans() {
    for (receivers, segments) in [(1, 5), (3, 40), (7, 100), (12, 60), (31, 200)] {
        let holders: u32 = receivers + 1;
        let depth = holders.next_power_of_two().ilog2();
        let textbook = [
            (RelayAlgorithm::Chain { window: 4 }, segments + holders - 2),
            (RelayAlgorithm::Binomial, segments * depth),
            (RelayAlgorithm::Circulant, segments - 1 + depth),
        ];
        for (algorithm, rounds) in textbook {
            let mut scenario = WorldConfig::broadcast(receivers, segments, 1);
            scenario.config.window = 8;
            let bound = scenario.segment_time * rounds;
            let slack = 2 * scenario.segment_time;
            let run = World::broadcast(scenario, algorithm).run();
            let context = format!("{algorithm}, {receivers} receivers, {segments} segments");
            assert_eq!(run.outcome.errors, [""; 0], "{context}");
            assert_eq!(
                run.served.iter().sum::<u64>(),
                u64::from(receivers * segments),
                "{context}"
            );
            let makespan = run.makespan;
            assert!(makespan >= bound, "{context}: {makespan:?} < {bound:?}");
            assert!(makespan <= bound.mul_f64(1.1) + slack, "{context}: {makespan:?}, {bound:?}");
        }
    }
}

#[test]
fn a_wrong_segment_ends_a_broadcast() {
    for algorithm in [
        RelayAlgorithm::Chain { window: 4 },
        RelayAlgorithm::Neighbours { seed: 1, rack_hosts: None },
    ] {
        let mut scenario = WorldConfig::broadcast(5, 20, 1);
        scenario.faults.corrupt = 0.05;
        let errors = World::broadcast(scenario, algorithm).run().outcome.errors;
        assert!(errors.len() == 1 && errors[0].contains("wrong digest"), "{algorithm}: {errors:?}");
    }
}

/// Holders that choose among their neighbours keep all links busy: the last peer has all within 3% of the
/// bound M + log2 N, and no segment crosses a link twice. One slow peer in twenty holds up nobody else.
#[test]
fn holders_that_choose_come_near_the_bound() {
    for (receivers, segments) in [(1, 5), (3, 40), (7, 400), (40, 1000), (127, 400)] {
        for slow in [false, receivers > 3] {
            let mut scenario = WorldConfig::broadcast(receivers, segments, 1);
            let nodes = receivers as usize + 2;
            let is_slow = |rank: usize| slow && rank > 2 && rank % 20 == 3;
            scenario.rates = (0..nodes).map(|rank| if is_slow(rank) { 0.1 } else { 1.0 }).collect();
            let bound = scenario.segment_time * (segments + (receivers + 1).ilog2());
            let slack = if slow { 25 } else { 6 } * scenario.segment_time;
            let run = World::broadcast(
                scenario,
                RelayAlgorithm::Neighbours { seed: 1, rack_hosts: None },
            )
            .run();
            let context = format!("{receivers} receivers, {segments} segments, slow: {slow}");
            assert_eq!(run.outcome.errors, [""; 0], "{context}");
            let served = run.served.iter().sum::<u64>();
            assert_eq!(served, u64::from(receivers * segments), "{context}");
            let opened = run.outcome.opened.expect("it ran");
            let finished = run.outcome.finished.iter().enumerate();
            let others = finished.filter(|&(rank, _)| !is_slow(rank));
            let last = others.filter_map(|(_, at)| *at).max().expect("all have it").since(opened);
            assert!(last <= bound.mul_f64(1.03) + slack, "{context}: {last:?}, bound {bound:?}");
        }
    }
}

/// Whatever the links of the others, the owner sends each segment about once, and each peer has all hardly later than
/// its own link allows.
#[test]
fn an_owner_sends_each_segment_once_over_unequal_links() {
    for receivers in [3, 31, 127] {
        let mut scenario = WorldConfig::broadcast(receivers, 400, 1);
        // From half the rate of the owner to twice that, in an order that mixes them.
        let rate = |rank: u32| (f64::from(rank * 7 % 16) / 8.0 - 1.0).exp2();
        scenario.rates = (0..receivers + 2).map(rate).collect();
        scenario.rates[1] = 1.0;
        let (rates, file_time) = (scenario.rates.clone(), scenario.segment_time * 400);
        let algorithm = RelayAlgorithm::Neighbours { seed: 1, rack_hosts: None };
        let run = World::broadcast(scenario, algorithm).run();
        assert_eq!(run.outcome.errors, [""; 0], "{receivers} receivers");
        let copies = run.served[1] as f64 / 400.0;
        let opened = run.outcome.opened.expect("it ran");
        let finished = run.outcome.finished.iter().zip(&rates).skip(2);
        let to_own = finished.map(|(at, rate)| {
            let took = at.expect("it has all").since(opened);
            took.as_secs_f64() * rate.min(1.0) / file_time.as_secs_f64()
        });
        let worst = to_own.fold(0.0, f64::max);
        let context =
            format!("{receivers} receivers: {copies:.3} copies, {worst:.3} of the own bound");
        println!("{context}");
        assert!(copies <= 1.02 && worst <= 1.1, "{context}");
    }
}

/// Racks whose links carry a quarter of what their hosts do: each segment enters a rack once, the owner sends it
/// once, and the last peer has all hardly later than without racks.
#[test]
fn racks_take_each_segment_once_and_the_last_peer_is_near_the_bound() {
    for receivers in [63, 127] {
        let (segments, hosts) = (300, 32);
        let mut scenario = WorldConfig::broadcast(receivers, segments, 1);
        scenario.racks = Some(Racks { hosts, oversubscription: 4.0 });
        let bound = scenario.segment_time * (segments + receivers.ilog2());
        let rack_hosts = NonZeroU32::new(hosts);
        let run =
            World::broadcast(scenario, RelayAlgorithm::Neighbours { seed: 1, rack_hosts }).run();
        assert_eq!(run.outcome.errors, [""; 0], "{receivers} receivers");
        let ratio = run.makespan.as_secs_f64() / bound.as_secs_f64();
        let least = f64::from(receivers / hosts * segments);
        let (entered, copies) =
            (run.crossed as f64 / least, run.served[1] as f64 / f64::from(segments));
        let context = format!("{receivers}: {ratio:.3}, {entered:.3}, {copies:.3}");
        println!("{context}");
        assert!(ratio <= 1.15 && entered <= 1.02 && copies <= 1.1, "{context}");
    }
}
