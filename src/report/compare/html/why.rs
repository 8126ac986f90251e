//! Why is one side faster? The difference of two makespans, split by what a peer's time went to.
//!
//! A makespan times the shares of its peers' time gives the seconds of a peer by activity. They add up to the
//! makespan, and so do their means, which medians would not. The interval of a part is Welch's, over launches or
//! over the runs of one.

use std::collections::BTreeMap;

use super::breakdown::ACTIVITIES;
use super::frame::DrawnFigure;
use super::waterfall::{Bar, bars};
use crate::report::compare::grid::{Column, Grid};
use crate::report::compare::judge::JudgedPair;
use crate::report::compare::main_pairings::plain_of;
use crate::report::compare::pairing::Pairing;
use crate::report::compare::{Figure, Observation, Set};
use crate::report::statistics::{Contrast, Estimate, Interval};

/// What a result's difference consists of.
pub(super) struct Split {
    /// The mean makespans, seconds.
    ends: [f64; 2],
    /// By activity: seconds of a peer more than in the base, and their interval.
    parts: Vec<(&'static str, f64, Option<Interval>)>,
}

/// The seconds of a peer by activity; none where no time was counted.
fn seconds(run: &Observation) -> Option<Vec<f64>> {
    let makespan = *run.values.get(&Figure::Makespan)?;
    let shares = &run.run.as_ref()?.time_shares;
    let shares = ACTIVITIES.map(|(_, of)| of(shares));
    let sum: f64 = shares.iter().sum();
    (sum > 0.0).then(|| shares.map(|share| share / sum * makespan).to_vec())
}

/// The means of independent units: launches where there are several, else runs.
fn units(runs: &[&Observation], by_launch: bool) -> Vec<Vec<f64>> {
    let mut units: BTreeMap<u32, Vec<Vec<f64>>> = BTreeMap::new();
    for (place, run) in (0..).zip(runs) {
        let unit = if by_launch { run.launch } else { place };
        seconds(run).into_iter().for_each(|one| units.entry(unit).or_default().push(one));
    }
    let mean = |runs: &Vec<Vec<f64>>| {
        let sum = |at: usize| runs.iter().map(|run| run[at]).sum::<f64>();
        (0..ACTIVITIES.len()).map(|at| sum(at) / runs.len() as f64).collect()
    };
    units.values().map(mean).collect()
}

/// None where a side has no run whose time was counted.
pub(super) fn split(runs: [&[&Observation]; 2]) -> Option<Split> {
    let by_launch =
        runs.iter().any(|side| side.windows(2).any(|two| two[0].launch != two[1].launch));
    let [base, other] = runs.map(|side| units(side, by_launch));
    if base.is_empty() || other.is_empty() {
        return None;
    }
    let part = |(at, (name, _)): (usize, (&'static str, _))| {
        let [base, other] =
            [&base, &other].map(|units| (0..).zip(units.iter().map(|unit| unit[at])).collect());
        let estimate = Estimate::of(&[&Contrast::apart(other, base, false)])?;
        Some((name, estimate.log_ratio, estimate.difference_interval()))
    };
    let parts = ACTIVITIES.into_iter().enumerate().map(part).collect::<Option<Vec<_>>>()?;
    let mean = |units: &[Vec<f64>]| units.iter().flatten().sum::<f64>() / units.len() as f64;
    Some(Split { ends: [mean(&base), mean(&other)], parts })
}

/// The rows of a pairing with the parts of their differences; none for a figure other than the makespan.
fn splits<'a>(pairing: &'a Pairing, sets: &[Set]) -> Vec<(&'a JudgedPair, Split)> {
    let [Some(base), Some(other)] = [0, 1].map(|at| sets.get(if pairing.within { 0 } else { at }))
    else {
        return Vec::new();
    };
    let of = |row: &'a JudgedPair| {
        let name = if pairing.within { &pairing.base } else { &row.contender };
        let runs = [base.series(&row.scenario, name), other.series(&row.scenario, &row.contender)];
        let is_variant = !pairing.within && plain_of(base, &row.contender).is_some();
        let split = (!is_variant).then(|| split([&runs[0], &runs[1]]))?;
        Some((row, split?))
    };
    let rows = pairing.rows.iter().filter(|_| pairing.figure == Figure::Makespan);
    rows.filter_map(of).collect()
}

/// A drawing for each result of a pairing.
pub(super) fn waterfalls(pairing: &Pairing, sets: &[Set]) -> Vec<DrawnFigure> {
    splits(pairing, sets).iter().map(|(row, split)| waterfall(pairing, row, split)).collect()
}

fn waterfall(pairing: &Pairing, row: &JudgedPair, split: &Split) -> DrawnFigure {
    let show = |seconds: f64| Figure::Makespan.show(seconds);
    let signed =
        |seconds: f64| format!("{}{}", if seconds < 0.0 { "−" } else { "+" }, show(seconds.abs()));
    let whole = |name: &str, to: f64| Bar {
        label: name.to_owned(),
        verdict: show(to),
        class: "whole",
        ends: [0.0, to],
    };
    let mut all = vec![whole(&pairing.base, split.ends[0])];
    let mut rows = Vec::new();
    let mut at = split.ends[0];
    for (name, change, interval) in &split.parts {
        let ends = interval.map(|ends| format!("[{}, {}]", signed(ends.low), signed(ends.high)));
        let ends = ends.unwrap_or_else(|| "-".to_owned());
        let class = match interval {
            Some(ends) if ends.high < 0.0 => "good",
            Some(ends) if ends.low > 0.0 => "bad",
            Some(_) | None => "faint",
        };
        let (label, verdict) = ((*name).to_owned(), format!("{} {ends}", signed(*change)));
        all.push(Bar { label, verdict, class, ends: [at, at + change] });
        at += change;
        rows.push(vec![(*name).into(), signed(*change).into(), ends.into()]);
    }
    all.push(whole(&pairing.other, split.ends[1]));
    let of = if pairing.within { String::new() } else { format!("{}, ", row.contender) };
    DrawnFigure {
        name: format!("Why: {of}{}, {} → {}", row.scenario, pairing.base, pairing.other),
        description: "Seconds of a peer by what it did: means with 95% intervals.".to_owned(),
        svg: bars(Figure::Makespan, &all),
        legend: Vec::new(),
        table: Grid {
            columns: Column::list("activity|#change|#95% interval"),
            rows,
            ..Grid::default()
        },
    }
}

/// The largest parts of the largest difference, in a sentence.
pub(super) fn reason(pairing: &Pairing, sets: &[Set]) -> Option<String> {
    let splits = splits(pairing, sets);
    let size = |(_, split): &&(_, Split)| (split.ends[1] / split.ends[0]).ln().abs();
    let (row, split) = splits.iter().max_by(|left, right| size(left).total_cmp(&size(right)))?;
    let mut parts = split.parts.clone();
    parts.sort_by(|left, right| right.1.abs().total_cmp(&left.1.abs()));
    let show = |seconds: f64| Figure::Makespan.show(seconds.abs());
    let part = |(name, change, _): &(&str, f64, _)| {
        format!("{name} {}{}", if *change < 0.0 { "−" } else { "+" }, show(*change))
    };
    let told: Vec<_> = parts.iter().take(2).map(part).collect();
    let [base, other] = split.ends.map(show);
    Some(format!("In {}, {base} → {other}, by what a peer did: {}.", row.scenario, told.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::TimeShares;
    use crate::report::example;

    fn run(makespan: f64, moving: f64) -> Observation {
        let mut run = example::summary();
        let idle = 1.0 - moving;
        run.time_shares = TimeShares { moving, idle, ..TimeShares::default() };
        let values = BTreeMap::from([(Figure::Makespan, makespan)]);
        Observation { values, run: Some(Box::new(run)), ..Observation::default() }
    }

    /// By hand: moving takes 5 s and 1 s, idling 5 s and 3 s.
    #[test]
    fn parts_add_up_to_the_difference() {
        let base = [run(10.0, 0.5), run(10.0, 0.4), run(10.0, 0.6)];
        let other = [run(4.0, 0.25), run(4.0, 0.25)];
        let sides = [base.iter().collect::<Vec<_>>(), other.iter().collect()];
        let split = split([&sides[0], &sides[1]]).expect("time was counted");
        assert!((split.ends[0] - 10.0).abs() < 1e-9 && (split.ends[1] - 4.0).abs() < 1e-9);
        let change = |name: &str| split.parts.iter().find(|part| part.0 == name).expect("a part");
        assert!((change("moves bytes").1 + 4.0).abs() < 1e-9);
        assert!((change("idle").1 + 2.0).abs() < 1e-9);
        assert!((split.parts.iter().map(|part| part.1).sum::<f64>() + 6.0).abs() < 1e-9);
        let ends = change("idle").2.expect("three runs against two");
        // Welch: the standard error is that of 4, 5 and 6 alone, 1 ÷ √3, with 2 degrees of freedom.
        assert!((ends.high + 2.0 - 4.302_652_7 / 3.0_f64.sqrt()).abs() < 1e-4, "{ends:?}");
    }
}
