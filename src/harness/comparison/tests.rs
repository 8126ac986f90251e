//! Figures by hand.

use super::*;
use crate::harness::records::tests::example;

/// A run that delivered 40 MB.
fn run(contender: &str, engine: &str, repetition: u32, makespan_s: f64) -> Record {
    let mut record = example(repetition);
    record.contender = contender.to_owned();
    record.run.engine = engine.to_owned();
    record.run.makespan_s = makespan_s;
    record.run.bytes_delivered = 40_000_000;
    record.run.bytes_per_second = 40e6 / makespan_s;
    record.run.segments_per_second = 1e3 / makespan_s;
    record
}

/// Ten runs of each of two contenders; the lockfree one takes 1, 2, … 10 ms, and once a second more.
fn records() -> Vec<Record> {
    let mut records: Vec<_> = (0..10)
        .flat_map(|number| {
            let ms = f64::from(number + 1) / 1e3;
            [run("slow", "mutex", number, 0.11), run("lockfree", "lockfree", number, ms)]
        })
        .collect();
    records.push(run("lockfree", "lockfree", 10, 1.0));
    records
}

/// A core that copies 40 GB/s and hashes 40 GB/s: 40 MB take two of them 1 ms.
fn limits() -> Vec<LimitsAt> {
    let rate = 40e9;
    let at = example(0).run.segment_bytes;
    vec![LimitsAt {
        segment_bytes: at,
        copy_bytes_per_second: rate,
        hash_bytes_per_second: rate,
        messages_per_second: None,
    }]
}

#[test]
fn rows_have_figures_by_hand() {
    let rows = compare(&records(), &["lockfree", "slow", "absent"], &limits(), 1);
    let [lockfree, slow] = &rows[..] else { panic!("two contenders ran: {rows:?}") };
    assert_eq!((lockfree.contender.as_str(), lockfree.runs), ("lockfree", 11));
    // Of eleven sorted runs the sixth, and the second and the tenth: P(B < 2) = 12 ÷ 2048.
    assert_eq!(lockfree.makespan_s, 0.006);
    assert_eq!(lockfree.makespan_interval_s, Some(Interval { low: 0.002, high: 0.010 }));
    assert!((lockfree.times_baseline.expect("the baseline ran") - 0.11 / 0.006).abs() < 1e-9);
    let interval = lockfree.times_baseline_interval.expect("the baseline ran");
    assert!(interval.low < 0.11 / 0.006 && 0.11 / 0.006 < interval.high, "{interval:?}");
    assert_eq!(slow.times_baseline, Some(1.0));
    assert!((lockfree.ratio_to_bound.expect("limits are known") - 6.0).abs() < 1e-6);
    assert_eq!(lockfree.outliers, [10]);
    assert_eq!(lockfree.invalid, [0; 0]);
    // 11 × 40 MB in 1.055 s.
    let harmonic = lockfree.bytes_per_second_harmonic.expect("rates are positive");
    assert!((harmonic - 440e6 / 1.055).abs() < 1.0, "{harmonic}");
    assert!((lockfree.cpu_s_per_gb.expect("bytes were delivered") - 1.25 / 0.04).abs() < 1e-9);
}

#[test]
fn without_a_baseline_or_limits_there_are_no_ratios() {
    let records: Vec<_> = (0..10).map(|number| run("a", "lockfree", number, 0.01)).collect();
    let rows = compare(&records, &["a"], &[], 1);
    assert_eq!((rows[0].times_baseline, rows[0].ratio_to_bound), (None, None));
    assert_eq!(rows[0].invalid_why, None);
}

#[test]
fn workloads_that_differ_in_size_are_told_apart() {
    let mut larger = run("a", "lockfree", 0, 0.02);
    larger.run.segment_bytes += 1;
    let rows = compare(&[run("a", "lockfree", 0, 0.01), larger], &["a"], &[], 1);
    assert_eq!(rows.iter().map(|row| row.makespan_s).collect::<Vec<_>>(), [0.01, 0.02]);
}

#[test]
fn faster_than_the_machine_is_invalid() {
    // The bound is 1 ms; a twentieth below it is the error of measuring.
    assert_eq!(invalid(&run("a", "lockfree", 0, 0.000_96), &limits()), None);
    let beyond = run("a", "lockfree", 0, 0.000_94);
    assert_eq!(invalid(&beyond, &limits()), Some(Invalid::BeyondBound));
    // Where nobody hashes, half of it is possible.
    let unverified = Record { verification: Verify::Off, ..beyond.clone() };
    assert_eq!(invalid(&unverified, &limits()), None);
    let rows = compare(&[run("a", "lockfree", 0, 0.01), beyond], &["a"], &limits(), 1);
    assert_eq!(rows[0].invalid_why, Some(Invalid::BeyondBound));
    assert_eq!(rows[0].invalid, [0]);
}

#[test]
fn small_segments_are_bounded_by_messages() {
    let mut record = run("a", "lockfree", 0, 0.01);
    record.run.segments = 1000;
    let [at] = limits()[..] else { panic!("one size of segment") };
    let cores = bound_s(&record.run, Verify::Inline, &at).expect("limits are known");
    let rate = record.run.segments as f64 / cores;
    let of = |rate| LimitsAt { messages_per_second: Some(rate), ..at };
    assert_eq!(bound_s(&record.run, Verify::Inline, &of(2.0 * rate)), Some(cores));
    let bound = bound_s(&record.run, Verify::Inline, &of(rate / 2.0)).expect("limits are known");
    assert!((bound - 2.0 * cores).abs() < 1e-12);
    let whole = Summary { engine: "mpi-bcast".to_owned(), ..record.run };
    assert_eq!(bound_s(&whole, Verify::Inline, &of(rate / 2.0)), Some(cores));
}

#[test]
fn less_than_was_wanted_is_invalid() {
    let mut incomplete = run("a", "lockfree", 0, 0.01);
    incomplete.run.verified = false;
    assert_eq!(invalid(&incomplete, &limits()), Some(Invalid::Incomplete));
}
