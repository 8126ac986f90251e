use super::*;
use crate::config::MESSAGE_BYTES_MAX;
use crate::manifest::{NodeId, SegmentId};
use crate::protocol::message::{Lacking, SubtreeReport, SubtreeStage, SubtreeSummary};
use crate::protocol::{Message, Part, codec};
use crate::time::Timestamp;
use crate::verify::Digest;

fn study(segments: u32) -> ScaleStudy {
    ScaleStudy {
        segments,
        segment_bytes: 1 << 20,
        link_bits_per_second: 1e9,
        message_time: Duration::from_micros(1),
        latency: Duration::from_micros(10),
        racks: None,
        vanish: None,
        seed: 3,
    }
}

#[test]
fn drawn_rates_follow_from_the_seed() {
    let rates = Rates::LogNormal(0.5);
    let drawn = rates.draw(1000, 7);
    assert_eq!(drawn, rates.draw(1000, 7));
    assert_ne!(drawn, rates.draw(1000, 8));
    let mut wanting = drawn[FIRST_WANTING..].to_vec();
    wanting.sort_unstable_by(f64::total_cmp);
    assert!((0.9..1.1).contains(&wanting[500]), "{}", wanting[500]);
}

#[test]
fn rank_0_is_told_of_the_start_and_the_end_alone_where_peers_decide() {
    let (peers, segments) = (9, 20);
    let run = study(segments).run(peers, Rates::Equal, Decide::Peers).expect("it ends");
    // From each node `Ready` and `Complete`, to each `Open` and `Stop`.
    let messages = f64::from(4 * (peers + 1));
    assert_eq!(run.tracker_messages_per_segment, messages / f64::from(peers * segments));
}

#[test]
fn control_bytes_are_those_of_all_messages() {
    // As many as a node requests at once.
    let segments = 8;
    let run = study(segments).run(1, Rates::Equal, Decide::Chain).expect("it ends");
    let digests = vec![Digest([7; 32]); segments as usize];
    let bytes = postcard::to_allocvec(&digests).expect("plain data");
    let requested = (0..segments).map(|segment| SegmentId(segment).into());
    let stages = [SubtreeStage::Ready, SubtreeStage::Settled, SubtreeStage::Leaving];
    let report = |stage, ago: u64| {
        let summary = SubtreeSummary { stage, lacking: Lacking::default() };
        let finished = (stage == SubtreeStage::Settled).then_some((NodeId(1), ago));
        let finished = finished.into_iter().collect();
        Message::Subtree(Box::new(SubtreeReport { summary, finished, lost: Vec::new() }))
    };
    let for_both = |ago| {
        let reports = stages.map(|stage| report(stage, ago));
        reports.into_iter().chain([Message::Open, Message::Stop]).collect::<Vec<_>>()
    };
    let once = [
        Message::Describe { index: 0 },
        Message::Described(Part { index: 0, last: true, bytes }),
        Message::Request { segments: requested.collect() },
    ];
    let mut buffer = vec![0; MESSAGE_BYTES_MAX];
    let mut bytes_of = |all: &[Message]| {
        let lengths = all.iter().map(|one| codec::encode(one, &mut buffer).expect("it fits").len());
        lengths.sum::<usize>()
    };
    // How long ago a node finished takes from one byte to ten.
    let [least, most] = [0, u64::MAX].map(|ago| 2 * bytes_of(&for_both(ago)) + bytes_of(&once));
    let control = run.control_bytes_per_byte * f64::from(segments << 20);
    assert!((least as f64..=most as f64).contains(&control), "{control}: {least} to {most}");
}

#[test]
fn finishes_are_compared_with_their_own_bounds() {
    // The tracker, the owner, and five peers; two are slower than the owner.
    let rates = [1.0, 1.0, 1.0, 0.5, 2.0, 0.25, 1.0];
    let ends = [0, 0, 12, 26, 15, 44, 11].map(|end| (end > 0).then(|| Timestamp(end + 100)));
    let mut run = Run::default();
    (run.outcome.opened, run.outcome.finished) = (Some(Timestamp(100)), ends.to_vec());
    let finishes = Finishes::of(&run, &rates, 10e-9);
    assert_eq!(finishes.all, [11e-9, 12e-9, 15e-9, 26e-9, 44e-9]);
    assert_eq!(finishes.last_fast, 15e-9);
    let to_own = [1.1, 1.1, 1.2, 1.3, 1.5];
    assert!(finishes.to_own.iter().zip(to_own).all(|(own, exact)| (own - exact).abs() < 1e-9));
}

#[test]
fn ratios_follow_from_the_times_of_the_run() {
    let (peers, study, rates) = (10, study(30), Rates::Slow(0.3, 4.0));
    let scaled = study.run(peers, rates, Decide::Peers).expect("it ends");
    let drawn = rates.draw(peers, study.seed);
    let run = study.world(peers, &drawn, Decide::Peers).run();
    let opened = run.outcome.opened.expect("it opened");
    let finish = |rank: usize| {
        let finished = run.outcome.finished[rank].expect("all have the file");
        finished.since(opened).as_secs_f64()
    };
    let ranks: Vec<usize> = (2..=11).collect();
    let mut all: Vec<f64> = ranks.iter().map(|&rank| finish(rank)).collect();
    all.sort_unstable_by(f64::total_cmp);
    // Linear interpolation: of ten values the median lies between the fifth and the sixth, and 99.9% at
    // 8.991 places above the first.
    let middle = f64::midpoint(all[4], all[5]);
    let late = all[8] + 0.991 * (all[9] - all[8]);
    assert!((scaled.finish_p999_over_p50 - late / middle).abs() < 1e-9, "{scaled:?}");
    let fast: Vec<usize> = ranks.into_iter().filter(|&rank| drawn[rank] == 1.0).collect();
    assert!((2..10).contains(&fast.len()), "{drawn:?}");
    let last = fast.iter().map(|&rank| finish(rank)).fold(0.0, f64::max);
    let bound = f64::from(30 + fast.len().ilog2()) * study.segment_time().as_secs_f64();
    assert!((scaled.last_fast_to_bound - last / bound).abs() < 1e-9, "{scaled:?}");
}

#[test]
fn who_vanishes_is_counted_and_costs_the_others_nothing() {
    let study = ScaleStudy { vanish: Some(0.1), ..study(100) };
    for decide in [Decide::Peers, Decide::Tracker] {
        let run = study.run(40, Rates::Equal, decide).expect("it ends");
        assert_eq!((run.vanished, run.missing_of_rest), (4, 0), "{run:?}");
        assert!(run.ratio_to_bound >= 1.0, "{run:?}");
        assert_eq!(decide == Decide::Peers, run.ratio_to_bound < 1.25, "{run:?}");
    }
    let drawn = Rates::Equal.draw(40, study.seed);
    let lost = study.lost(40, &drawn);
    assert!(lost.keys().all(|node| (2..42).contains(&node.0)), "{lost:?}");
    assert!(lost.values().all(|&at| at < 106 * study.segment_time()), "{lost:?}");
    assert_ne!(lost, ScaleStudy { seed: 4, ..study }.lost(40, &drawn));
}

#[test]
fn who_can_lose_nobody_is_refused() {
    let study = ScaleStudy { vanish: Some(0.1), ..study(20) };
    assert_eq!(study.check(5, Decide::Peers), Ok(()));
    let refused = |peers, decide| study.check(peers, decide).map_err(|error| error.to_string());
    assert!(refused(4, Decide::Peers).is_err_and(|said| said.contains("4 peers that is nobody")));
    for plan in [Decide::Chain, Decide::Binomial, Decide::Circulant] {
        assert!(
            refused(40, plan).is_err_and(|said| said.contains("a plan needs each of its nodes"))
        );
    }
    assert_eq!([1, 2, 9, 10].map(|peers| losses::count(0.9, peers)), [0, 1, 8, 9]);
}

#[test]
fn racks_take_what_they_must_and_no_more_with_a_chain() {
    let racks = Some(Racks { hosts: 4, oversubscription: 2.0 });
    let study = ScaleStudy { racks, ..study(20) };
    // 12 hosts in three racks: a chain goes from rack to rack twice.
    let run = study.run(11, Rates::Equal, Decide::Chain).expect("it ends");
    assert_eq!(run.uplink_bytes_to_least, Some(1.0));
    let run = study.run(3, Rates::Equal, Decide::Chain).expect("it ends");
    assert_eq!(run.uplink_bytes_to_least, None);
    // A binomial tree of 12 places: 0 sends to 4 and 8, and those stay in their racks.
    let run = study.run(11, Rates::Equal, Decide::Binomial).expect("it ends");
    assert_eq!(run.uplink_bytes_to_least, Some(1.0));
    // A link of a rack that carries half of what a host does is the bound.
    let racks = Some(Racks { hosts: 4, oversubscription: 8.0 });
    let slow = ScaleStudy { racks, ..study }.run(11, Rates::Equal, Decide::Chain);
    let slow = slow.expect("it ends");
    let file_s = 20.0 * study.segment_time().as_secs_f64();
    assert!((slow.bound_s - 2.0 * file_s).abs() < 1e-9 && slow.ratio_to_bound >= 1.0, "{slow:?}");
}

#[test]
fn racks_are_read_or_refused() {
    assert_eq!(racks("32:4"), Ok(Racks { hosts: 32, oversubscription: 4.0 }));
    for text in ["", "32", "0:4", "32:0.5", "32:nan", "-1:4", "32:4:1", "32:1001", "100001:2"] {
        assert!(racks(text).is_err_and(|said| said.contains("HOSTS:OVERSUBSCRIPTION")), "{text}");
    }
}
