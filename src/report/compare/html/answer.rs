//! The answer on the first screen: which is faster, by how much, why, and is that to be believed?

use super::why;
use crate::escape::html;
use crate::report::compare::judge::{JudgedPair, Verdict};
use crate::report::compare::main_pairings::{best, main_pairings};
use crate::report::compare::pairing::Pairing;
use crate::report::compare::{Set, cells, notes};
use crate::report::units::count;

pub(super) fn answer(pairings: &[Pairing], sets: &[Set], warnings: usize) -> String {
    let mains = main_pairings(pairings, sets);
    let Some(pairing) = best(&mains) else { return String::new() };
    let mut items = vec![("Which is better?", which(pairing)), ("By how much?", how_much(pairing))];
    items.extend(why::reason(pairing, sets).map(|reason| ("Why?", reason)));
    items.push(("Is that to be believed?", belief(pairing, sets, warnings)));
    let item = |(question, said): (&str, String)| {
        format!("<div><dt>{question}</dt><dd>{}</dd></div>\n", html(&said))
    };
    let items: String = items.into_iter().map(item).collect();
    format!("<dl class=\"answer\">\n{items}</dl>\n")
}

fn which(pairing: &Pairing) -> String {
    let Pairing { base, other, figure, .. } = pairing;
    let what = figure.title().to_lowercase();
    let Some(mean) = &pairing.mean else {
        return format!("Not known: {other} and {base} have too few runs or launches.");
    };
    match mean.verdict {
        Verdict::Better | Verdict::Worse => {
            let words = cells::judgement(*figure, Some(mean.ratio), mean.verdict).text;
            format!("{other} is {words} than {base} ({what}).")
        }
        Verdict::Same => {
            format!("Neither: {other} and {base} do not differ significantly ({what}).")
        }
        Verdict::Void => format!("Not known: the control moved as much as {other} did ({what})."),
        Verdict::TooFew | Verdict::Control => {
            format!("Not known: too few runs or launches ({what}).")
        }
    }
}

fn how_much(pairing: &Pairing) -> String {
    let ratios = pairing.rows.iter().filter_map(|row| row.ratio);
    let (low, high) =
        ratios.fold((f64::INFINITY, 0.0_f64), |(low, high), one| (low.min(one), high.max(one)));
    let spread = if low < high {
        format!("; ratios of single results from {} to {}", cells::ratio(low), cells::ratio(high))
    } else {
        String::new()
    };
    match &pairing.mean {
        Some(mean) => {
            let ends = mean.interval.map(|ends| cells::ends_of(Some(mean.ratio), ends));
            let ends = ends.map_or_else(
                || "without an interval".to_owned(),
                |ends| format!("95% interval {ends}"),
            );
            let ratio = cells::ratio(mean.ratio);
            format!("Mean ratio {ratio} of {}, {ends}{spread}.", count(mean.rows as u64, "result"))
        }
        None if low <= high => format!("No verdict{spread}."),
        None => "No ratio.".to_owned(),
    }
}

fn belief(pairing: &Pairing, sets: &[Set], warnings: usize) -> String {
    let rows = &pairing.rows;
    let told = pairing.count(Verdict::Better) + pairing.count(Verdict::Worse);
    let mut said = vec![format!("{told} of {} significant", count(rows.len() as u64, "result"))];
    said.extend(notes::scope(std::slice::from_ref(pairing)));
    said.extend(rows.first().and_then(|row| unchecked(pairing, row, sets)));
    if warnings > 0 {
        said.push(format!("{}, see above", count(warnings as u64, "warning")));
    }
    said.join("; ") + "."
}

/// Which side alone does not verify what it delivers.
fn unchecked(pairing: &Pairing, row: &JudgedPair, sets: &[Set]) -> Option<String> {
    let base = sets.first().filter(|_| pairing.within)?;
    let checks = |contender: &str| {
        let runs = base.series(&row.scenario, contender);
        runs.first().and_then(|one| Some(one.run.as_ref()?.checked))
    };
    match (checks(&pairing.base)?, checks(&pairing.other)?) {
        (true, false) => Some(format!("{} does not verify what it delivers", pairing.other)),
        (false, true) => Some(format!("{} does not verify what it delivers", pairing.base)),
        _ => None,
    }
}
