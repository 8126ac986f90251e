//! What a reader must know beside a table: what its verdicts hold for, and what they are relative to.

use super::cells::{ends_of, judgement, part, ratio};
use super::control::Shift;
use super::judge::{JudgedPair, LAUNCHES_LEAST, SIGNIFICANT, Tested, Verdict};
use super::pairing::{Pairing, Rung};
use crate::escape;
use crate::report::units::count;

/// The notes of pairings of one figure, at least one, that share a table.
pub(super) fn all(pairings: &[Pairing]) -> Vec<String> {
    let mut notes = Vec::new();
    let rows: usize = pairings.iter().map(|pairing| pairing.rows.len()).sum();
    if rows == 0 {
        notes.push("The two sides have no result in common.".to_owned());
    }
    notes.extend(pairings.iter().filter_map(|pairing| mean(pairing, pairings.len() > 1)));
    notes.extend(products(pairings));
    let same = tally(pairings, Verdict::Same);
    if same > 0 {
        notes.push(format!(
            "~ no significant difference in {same} of {rows} results: p ≥ {SIGNIFICANT}, or the \
             interval contains 1"
        ));
    }
    let mut all = pairings.iter().flat_map(|pairing| &pairing.rows);
    if all.any(|row| row.ratio.is_none() && row.base.median == 0.0) {
        notes.push(
            "from 0: no ratio; a significant change from 0 is one by more than any factor"
                .to_owned(),
        );
    }
    notes.extend(scope(pairings));
    notes.extend(pairings.iter().filter_map(control));
    notes.extend(pairings.iter().filter_map(uncontrolled));
    notes.extend(family(pairings));
    for pairing in pairings {
        let sides = [(&pairing.base, &pairing.only_base), (&pairing.other, &pairing.only_other)];
        for (name, only) in sides.into_iter().filter(|(_, only)| !only.is_empty()) {
            notes.push(format!("only in {name}: {}", escape::some(only, "; ")));
        }
    }
    notes
}

fn tally(pairings: &[Pairing], verdict: Verdict) -> usize {
    pairings.iter().map(|pairing| pairing.count(verdict)).sum()
}

fn rows(pairings: &[Pairing]) -> impl Iterator<Item = &JudgedPair> {
    pairings.iter().flat_map(|pairing| &pairing.rows)
}

fn mean(pairing: &Pairing, named: bool) -> Option<String> {
    let mean = pairing.mean.as_ref().filter(|mean| mean.rows > 1)?;
    let of = if named { format!("{}, ", pairing.other) } else { String::new() };
    let ends = mean.interval.map(|ends| format!(" {}", ends_of(Some(mean.ratio), ends)));
    let without = pairing.rows.len()
        - mean.rows
        - pairing.count(Verdict::TooFew)
        - pairing.count(Verdict::Control);
    let without = if without > 0 {
        format!(" ({} without a ratio left out)", count(without as u64, "result"))
    } else {
        String::new()
    };
    Some(format!(
        "geometric mean of {of}{} ratios{without}: {}{}, {}",
        mean.rows,
        ratio(mean.ratio),
        ends.unwrap_or_default(),
        judgement(pairing.figure, Some(mean.ratio), mean.verdict).text
    ))
}

/// Of each scenario of a ladder, the product of its steps beside the ratio of its ends. They differ a little:
/// the median of ratios is no ratio of medians.
fn products(pairings: &[Pairing]) -> Vec<String> {
    let of = |rung: Rung| pairings.iter().filter(move |pairing| pairing.rung == Some(rung));
    let product = |whole: &JudgedPair| {
        let steps = of(Rung::Step).map(|step| {
            let row = step.rows.iter().find(|row| row.scenario == whole.scenario)?;
            row.ratio
        });
        let steps: Option<Vec<f64>> = steps.collect();
        let (steps, ends) = (steps?, whole.ratio?);
        Some(format!(
            "{}: the product of {} is {}, the last ÷ the first {}",
            whole.scenario,
            count(steps.len() as u64, "step"),
            ratio(steps.iter().product()),
            ratio(ends)
        ))
    };
    of(Rung::Whole).flat_map(|whole| &whole.rows).filter_map(product).collect()
}

/// What the verdicts hold for.
pub(super) fn scope(pairings: &[Pairing]) -> Vec<String> {
    let mut notes = Vec::new();
    if rows(pairings).any(|row| row.tested == Tested::Run && row.verdict != Verdict::TooFew) {
        notes.push("one launch: its verdicts hold for this launch only".to_owned());
    }
    let few = |row: &&JudgedPair| row.tested == Tested::Launch && row.units().0 < LAUNCHES_LEAST;
    let few = rows(pairings).filter(few).map(|row| row.units().0).min();
    notes.extend(few.map(|few| {
        let sides = if pairings[0].within { "are needed" } else { "of each side are needed" };
        format!(
            "{}: no verdict beyond them; at least {LAUNCHES_LEAST} {sides}",
            count(few as u64, "launch")
        )
    }));
    notes
}

/// What the control did.
fn control(pairing: &Pairing) -> Option<String> {
    if pairing.within || pairing.rows.is_empty() {
        return None;
    }
    let Some(name) = &pairing.control else {
        return pairing.figure.follows_machine().then(|| {
            "no control: a difference can be the machine's; --control names a contender of both sides \
             that the change can't touch"
                .to_owned()
        });
    };
    let mut shifts: Vec<Shift> = pairing.rows.iter().filter_map(|row| row.control).collect();
    shifts.sort_by(|left, right| left.ratio.total_cmp(&right.ratio));
    shifts.dedup();
    let (first, last) = (shifts.first()?, shifts.last()?);
    let ends = first.interval.filter(|_| shifts.len() == 1);
    let by = match shifts.len() {
        1 => ratio(first.ratio),
        _ => format!("{} to {}", ratio(first.ratio), ratio(last.ratio)),
    };
    let ends = ends.map(|ends| format!(" {}", ends_of(Some(first.ratio), ends)));
    let void = pairing.count(Verdict::Void);
    let void = if void > 0 {
        format!("; {} of no more than that: void", count(void as u64, "difference"))
    } else {
        String::new()
    };
    Some(format!(
        "the control {name} moved by {by} ×{}: ratios are relative to it{void}",
        ends.unwrap_or_default()
    ))
}

/// Which results the control says nothing of: it has no run in each of their launches, or they took no time.
fn uncontrolled(pairing: &Pairing) -> Option<String> {
    let name = pairing.control.as_ref()?;
    let lacks = |row: &&JudgedPair| row.control.is_none() && row.contender != *name;
    let rows = pairing.rows.iter().filter(lacks);
    let results: Vec<_> = rows.map(|row| format!("{}, {}", row.contender, row.scenario)).collect();
    (!results.is_empty()).then(|| {
        format!(
            "the control {name} can't be used for {}, not relative to it: {}",
            count(results.len() as u64, "result"),
            escape::some(&results, "; ")
        )
    })
}

/// How many results p is corrected for, and what could have been seen.
fn family(pairings: &[Pairing]) -> Vec<String> {
    let mut notes = Vec::new();
    let families: Vec<usize> = rows(pairings).map(|row| row.family).filter(|of| *of > 1).collect();
    if let Some(most) = families.iter().max() {
        notes.push(format!(
            "p is corrected for {most} results: all contenders and scenarios, shown or not"
        ));
    }
    let least = rows(pairings).filter_map(|row| row.detectable).reduce(f64::min);
    notes.extend(least.map(|least| {
        format!(
            "detects: the smallest change that such data tell from none 9 times of 10; here {} or more",
            part(least)
        )
    }));
    let blind = rows(pairings).filter(|row| row.is_blind(SIGNIFICANT)).count();
    if blind > 0 {
        notes.push(format!(
            "{} can't get a verdict with so few launches, however large the difference",
            count(blind as u64, "result")
        ));
    }
    notes
}
