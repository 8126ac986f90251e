//! Verdicts under noise: they must not come of it, and must come of what is there.
//!
//! Launches are simulated: a launch slows all its contenders alike by a factor with a spread of 10 to
//! 25%, each contender in each scenario by one of its own with a spread of 2%, and each run by one with a
//! spread of 5%.

use std::collections::BTreeMap;

use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::{Rng as _, SeedableRng as _};

use super::{Question, plan, run, set};
use crate::report::compare::judge::Verdict;
use crate::report::compare::pairing::compare_resampling;
use crate::report::compare::{Comparison, Figure, Observation, Scenario, Set};

// Fewer than usual, for speed: they make an interval no wider.
const RESAMPLES: usize = 200;
// What a launch does to all its contenders, in logarithms: the least and the most, evenly.
const LAUNCH: [f64; 2] = [0.10, 0.25];
// What a launch does to one result.
const OWN: f64 = 0.02;
// What a run does.
const RUN: f64 = 0.05;
// As many as the plan for many launches makes of a noisy contender.
const RUNS: u32 = 8;
// The effect that a gate allows: so small that only chance stands between noise and an alarm.
const NOTHING: &str = "effect = 0.000_1";

struct Noise(Xoshiro256PlusPlus);

impl Noise {
    fn new() -> Self {
        Self(Xoshiro256PlusPlus::seed_from_u64(20_260_101))
    }

    /// Evenly from 0 to 1.
    fn part(&mut self) -> f64 {
        (self.0.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Normal with this spread, by the method of Box and Muller.
    fn normal(&mut self, spread: f64) -> f64 {
        let radius = (-2.0 * (1.0 - self.part()).ln()).sqrt();
        spread * radius * (std::f64::consts::TAU * self.part()).cos()
    }

    /// Launches of two engines and the control, on a day that slows all by a factor with this logarithm;
    /// `loss` is that of the first engine.
    fn measured(&mut self, label: &str, [spread, day, loss]: [f64; 3]) -> Set {
        let mut observations = Vec::new();
        for launch in 0..8 {
            let common = day + self.normal(spread);
            for workload in ["classic", "one-owner", "small"] {
                for contender in ["lockfree", "mutex", "mpi-bcast"] {
                    let own = if contender == "lockfree" { loss } else { 0.0 };
                    let level = common + own + self.normal(OWN);
                    observations.extend((0..RUNS).map(|repetition| Observation {
                        scenario: Scenario { workload: workload.to_owned(), ..Scenario::default() },
                        contender: contender.to_owned(),
                        launch,
                        repetition: Some(repetition),
                        values: BTreeMap::from([(
                            Figure::Makespan,
                            (level + self.normal(RUN)).exp(),
                        )]),
                        ..Observation::default()
                    }));
                }
            }
        }
        set(label, observations)
    }

    /// Runs of one launch around a second, skewed as runs are: a wobble of 3%, and one in eight up to
    /// 60% late.
    fn skewed(&mut self, contender: &str, slower: f64) -> Vec<Observation> {
        let mut seconds = || {
            let wobble = 0.03 * (self.part() + self.part() + self.part() - 1.5);
            let late = if self.part() < 0.125 { 0.6 * self.part() } else { 0.0 };
            slower * (1.0 + wobble + late)
        };
        let mut runs = Vec::new();
        for workload in ["classic", "one-owner", "small"] {
            runs.extend((0..10).map(|repetition| run(contender, workload, repetition, seconds())));
        }
        runs
    }
}

/// What came of many comparisons.
#[derive(Debug, Default)]
struct JudgedComparisons {
    comparisons: usize,
    /// Comparisons in which the gate failed.
    failed: usize,
    /// Comparisons with a verdict that is better or worse.
    told: usize,
    /// Results that have a verdict, whichever.
    results: usize,
    void: usize,
    /// Of the first engine, in one scenario.
    worse: usize,
    /// The sum of what could be told in that result.
    detectable: f64,
    /// Means of several results that have a colour.
    means: usize,
}

impl JudgedComparisons {
    fn add(&mut self, gate: &str, comparison: &Comparison) {
        let gate = plan(gate).expect("a plan");
        self.comparisons += 1;
        self.failed += usize::from(!gate.judge(comparison).failures.is_empty());
        let rows = || comparison.pairings.iter().flat_map(|pairing| &pairing.rows);
        let count = |verdict| rows().filter(|row| row.verdict == verdict).count();
        self.told += usize::from(count(Verdict::Better) + count(Verdict::Worse) > 0);
        self.void += count(Verdict::Void);
        self.results += rows().filter(|row| row.verdict != Verdict::Control).count();
        self.worse += usize::from(rows().next().is_some_and(|row| row.verdict == Verdict::Worse));
        self.detectable += rows().next().and_then(|row| row.detectable).unwrap_or_default();
        let coloured = comparison.pairings.iter().filter(|pairing| {
            let mean = pairing.mean.as_ref().expect("ratios");
            matches!(mean.verdict, Verdict::Better | Verdict::Worse)
        });
        self.means += coloured.count();
    }
}

/// Sets of eight launches, of which the other has a loss; `days`: the spread between their days.
fn sets(times: usize, days: f64, loss: f64, control: &str) -> JudgedComparisons {
    let (mut noise, mut tally) = (Noise::new(), JudgedComparisons::default());
    let gate = if loss > 0.0 { "effect = 0.05" } else { NOTHING };
    let control = Some(control.to_owned());
    let question = Question { control, ..Question::default() };
    for _ in 0..times {
        let spread = LAUNCH[0] + (LAUNCH[1] - LAUNCH[0]) * noise.part();
        let base = noise.measured("a", [spread, 0.0, 0.0]);
        let day = noise.normal(days);
        let sets = [base, noise.measured("bb", [spread, day, loss.ln_1p()])];
        tally.add(gate, &compare_resampling(RESAMPLES, &sets, &question).expect("runs in common"));
    }
    println!(
        "days {days}, loss {loss}, control {control:?}: {tally:?}",
        control = question.control
    );
    tally
}

#[test]
fn launches_of_one_build_are_not_different() {
    let tally = sets(1000, 0.0, 0.0, "mpi-bcast");
    assert!(tally.failed <= 10, "{} false alarms of 1,000", tally.failed);
    assert!(tally.told <= 10, "{} of 1,000 tables with a false verdict", tally.told);
    assert!(tally.void * 5 <= tally.results, "{tally:?}");
    // A mean is one test at 1%: 10 are expected, and 20 are three standard deviations more.
    assert!(tally.means <= 20, "{} of 1,000 means of noise have a colour", tally.means);
}

/// Only the control knows that the machine was another one.
#[test]
fn days_are_not_different_builds() {
    let tally = sets(300, 0.15, 0.0, "mpi-bcast");
    assert!(tally.told <= 3, "{} of 300 tables with a false verdict", tally.told);
    assert!(tally.void * 5 <= tally.results, "{tally:?}");
    let without = sets(300, 0.15, 0.0, "none");
    assert!(without.told >= 15, "without a control days look like builds: {without:?}");
}

#[test]
fn a_loss_of_a_tenth_is_found_with_eight_launches() {
    let tally = sets(200, 0.0, 0.1, "mpi-bcast");
    assert!(tally.failed >= 180, "{} of 200 were found", tally.failed);
    // In a certain result it is found as often as the table says: 9 times of 10 if it is the loss that
    // can be told.
    assert!(tally.worse >= 160, "{} of 200 in a certain result", tally.worse);
    let told = tally.detectable / 200.0;
    assert!((1.08..1.12).contains(&told), "a factor of {told} could be told");
    assert!(tally.void * 5 <= tally.results, "{tally:?}");
    let without = sets(100, 0.0, 0.1, "none");
    assert!(without.failed <= 10, "without a control it is lost in the noise: {without:?}");
}

/// The contenders of one set, launch by launch.
#[test]
fn contenders_of_several_launches_are_compared_launch_by_launch() {
    for (loss, times) in [(0.0, 1000), (0.1, 200)] {
        let (mut noise, mut tally) = (Noise::new(), JudgedComparisons::default());
        let gate = if loss > 0.0 { "effect = 0.05" } else { NOTHING };
        for _ in 0..times {
            let set = noise.measured("a", [0.25, 0.0, f64::ln_1p(loss)]);
            let question = Question {
                contender: Some("mutex".to_owned()),
                against: vec!["lockfree".to_owned()],
                ..Question::default()
            };
            let comparison = compare_resampling(RESAMPLES, &[set], &question).expect("contenders");
            tally.add(gate, &comparison);
        }
        println!("contenders of 8 launches, loss {loss}: {tally:?}");
        let is_right = if loss > 0.0 { tally.failed >= 180 } else { tally.failed <= 10 };
        assert!(is_right, "{tally:?}");
    }
}

/// How many of `times` comparisons of contenders of one launch fail the gate.
fn one_launch(times: usize, slower: f64, gate: &str) -> usize {
    let (mut noise, mut tally) = (Noise::new(), JudgedComparisons::default());
    for _ in 0..times {
        let runs = [noise.skewed("mutex", 1.0), noise.skewed("lockfree", slower)].concat();
        let sets = [set("a", runs)];
        let question = Question::default();
        tally.add(gate, &compare_resampling(RESAMPLES, &sets, &question).expect("contenders"));
    }
    println!("one launch, {slower} × slower: {tally:?}");
    tally.failed
}

#[test]
fn runs_of_one_launch_are_not_different() {
    let failed = one_launch(1000, 1.0, NOTHING);
    assert!(failed <= 10, "{failed} false alarms of 1,000");
}

#[test]
fn a_gate_sees_what_is_slower_in_one_launch() {
    let failed = one_launch(100, 1.15, "effect = 0.05");
    assert!(failed >= 95, "{failed} of 100 were seen");
    let failed = one_launch(100, 1.15, "effect = 0.5");
    assert_eq!(failed, 0, "less than the effect is allowed");
}
