//! The result of a measurement as one sentence.

use super::cells::{ratio, ratio_between};
use super::judge::{JudgedPair, Verdict};
use super::main_pairings::{best, main_pairings};
use super::pairing::Pairing;
use super::{Figure, Set};
use crate::report::statistics::Interval;
use crate::report::units::count;

/// How fast the best contender is beside the base: in the workload whose ratio is the median one, and over all.
/// None where no makespans were compared.
pub(super) fn sentence(pairings: &[Pairing], sets: &[Set]) -> Option<String> {
    let pairing = best(&main_pairings(pairings, sets))?;
    let mut rows: Vec<(f64, &JudgedPair)> = pairing
        .rows
        .iter()
        .filter_map(|row| Some((row.ratio.filter(|of| *of > 0.0)?, row)))
        .collect();
    if rows.iter().any(|(_, row)| row.verdict != Verdict::TooFew) {
        rows.retain(|(_, row)| row.verdict != Verdict::TooFew);
    }
    rows.sort_by(|(left, _), (right, _)| left.total_cmp(right));
    // Of two in the middle that closer to 1: a sentence promises no more than the table.
    let last = rows.len().checked_sub(1).filter(|_| pairing.figure == Figure::Makespan)?;
    let (middle, row) = [rows[last / 2], rows[last.div_ceil(2)]]
        .into_iter()
        .min_by(|(left, _), (right, _)| left.ln().abs().total_cmp(&right.ln().abs()))?;
    // A ratio of makespans below 1 says that the other is faster.
    let speed: fn(f64) -> f64 = if middle < 1.0 { f64::recip } else { |ratio| ratio };
    let (fast, slow) = if middle < 1.0 {
        (&pairing.other, &pairing.base)
    } else {
        (&pairing.base, &pairing.other)
    };
    let ends = row.ratio_interval.map(|Interval { low, high }| {
        let (one, other) = (speed(low), speed(high));
        format!("95% {}", ratio_between(speed(middle), one.min(other), one.max(other)))
    });
    let runs = runs(row);
    let beside = ends.into_iter().chain([runs, row.scenario.to_string()]);
    let beside = beside.collect::<Vec<_>>().join("; ");
    let said = match row.verdict {
        Verdict::Better | Verdict::Worse => {
            format!("{fast} is {} times as fast as {slow} ({beside})", ratio(speed(middle)))
        }
        Verdict::TooFew => {
            let (_, least) = row.units();
            format!(
                "too few runs to tell whether {fast} is faster than {slow} ({beside}; {least} needed)"
            )
        }
        Verdict::Same | Verdict::Void | Verdict::Control => {
            format!("no difference between {fast} and {slow} can be told from noise ({beside})")
        }
    };
    // Untested results have no range either.
    let is_tested = row.verdict != Verdict::TooFew;
    Some(if is_tested { said + &over_all(&rows, speed) } else { said })
}

/// `6 runs each`, or `6 or more runs each`.
fn runs(row: &JudgedPair) -> String {
    let (least, _) = row.units();
    let [base, other] = [&row.base, &row.other].map(|side| (side.values.len(), side.launches));
    let runs = count(least as u64, row.tested.name());
    let runs = if base == other { runs } else { runs.replacen(' ', " or more ", 1) };
    format!("{runs} each")
}

/// The range over all workloads, if there are several.
fn over_all(rows: &[(f64, &JudgedPair)], speed: fn(f64) -> f64) -> String {
    let [(first, _), .., (last, _)] = rows else { return String::new() };
    let (low, high) = (speed(*first).min(speed(*last)), speed(*first).max(speed(*last)));
    let same = rows.iter().filter(|(_, row)| row.verdict == Verdict::Same).count();
    let same = if 0 < same && same < rows.len() {
        format!(", and in {same} of them no difference can be told")
    } else {
        String::new()
    };
    let workloads = count(rows.len() as u64, "workload");
    format!("; over {workloads} {} times{same}", ratio_between(high, low, high))
}
