//! A gate under noise: it must not cry wolf, and it must see what is there.

use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::{Rng as _, SeedableRng as _};

use super::{Question, plan, run, set};
use crate::report::compare::judge::Verdict;
use crate::report::compare::pairing::compare_resampling;
use crate::report::compare::{Observation, Set};

// Fewer than usual, for speed: they make an interval no wider.
const RESAMPLES: usize = 200;

/// Ten runs around a second, skewed as runs are: a wobble of 3%, and one in eight up to 60% late.
fn noisy(workload: &str, slower: f64, random: &mut Xoshiro256PlusPlus) -> Vec<Observation> {
    let mut part = || (random.next_u64() >> 11) as f64 / (1_u64 << 53) as f64;
    let mut seconds = || {
        let wobble = 0.03 * (part() + part() + part() - 1.5);
        let late = if part() < 0.125 { 0.6 * part() } else { 0.0 };
        slower * (1.0 + wobble + late)
    };
    (0..10).map(|repetition| run("lockfree", workload, repetition, seconds())).collect()
}

fn measured(label: &str, slower: f64, random: &mut Xoshiro256PlusPlus) -> Set {
    let workloads = ["classic", "one-owner", "small"];
    let all = workloads.map(|workload| noisy(workload, slower, random));
    set(label, all.concat())
}

/// How many of `times` comparisons fail the gate, and how many rows are not "~".
fn alarms(times: usize, slower: f64, effect: f64) -> (usize, usize) {
    let gate = plan(&format!("effect = {effect}")).expect("a plan");
    let mut random = Xoshiro256PlusPlus::seed_from_u64(20_260_101);
    let (mut failed, mut told) = (0, 0);
    for _ in 0..times {
        let sets = [measured("a", 1.0, &mut random), measured("bb", slower, &mut random)];
        let comparison =
            compare_resampling(RESAMPLES, &sets, &Question::default()).expect("runs in common");
        failed += usize::from(!gate.judge(&comparison).failures.is_empty());
        told += comparison.pairings[0].rows.len() - comparison.pairings[0].count(Verdict::Same);
    }
    (failed, told)
}

/// The effect is so small that only chance stands between noise and an alarm.
#[test]
fn a_gate_does_not_fail_on_noise() {
    let (failed, told) = alarms(1000, 1.0, 0.000_1);
    println!("1,000 comparisons of equals: {failed} alarms, {told} of 3,000 results not \"~\"");
    assert!(failed <= 10, "{failed} false alarms of 1,000");
    assert!(told <= 90, "{told} of 3,000 results were told from noise that is all there is");
}

#[test]
fn a_gate_sees_what_is_slower() {
    let (failed, _) = alarms(40, 1.15, 0.05);
    assert!(failed >= 38, "{failed} of 40 were seen");
    let (failed, _) = alarms(40, 1.15, 0.5);
    assert_eq!(failed, 0, "less than the effect is allowed");
}
