//! A forest plot: the ratio of every result with its interval, around the line at 1.

use std::collections::BTreeSet;

use super::axis::Scale;
use super::frame::{DrawnFigure, LegendEntry, RIGHT, WIDTH, horizontal, number};
use super::svg::{Anchor, Svg};
use crate::escape::{columns, fitting, terminal};
use crate::report::compare::grid::Grid;
use crate::report::compare::judge::{JudgedPair, Verdict};
use crate::report::compare::pairing::{Pairing, Rung};
use crate::report::compare::{Figure, cells, table};

// The height of a line of a label, and of an interval below it.
// The larger letters of a phone fit; chosen by eye.
pub(super) const LINE: f64 = 15.0;
const INTERVAL: f64 = 21.0;
// A figure with more rows is split by workload, and if need be by scenario; all parts have one scale.
// More do not fit on a screen; chosen by eye.
const ROWS_MAX: usize = 20;
// How many characters of a label or of the axis fit in a line.
// In the largest letters, of 8.3 units a character at most, beside the margins.
const LABEL_MAX: usize = 44;

type Row<'a> = (&'a Pairing, &'a JudgedPair);

/// All results of each figure against one base: one drawing, or one for each scenario if there are many.
pub(super) fn forests(pairings: &[Pairing]) -> Vec<DrawnFigure> {
    let mut drawings = Vec::new();
    let same = |left: &Pairing, right: &Pairing| {
        (left.figure, &left.base, left.within) == (right.figure, &right.base, right.within)
            && (left.within || left.other == right.other)
    };
    for together in pairings.chunk_by(same) {
        let mut rows: Vec<Row<'_>> = Vec::new();
        for pairing in together.iter().filter(|pairing| pairing.rung != Some(Rung::Step)) {
            rows.extend(pairing.rows.iter().map(|row| (pairing, row)));
        }
        rows.sort_by(|(_, left), (_, right)| left.scenario.cmp(&right.scenario));
        let range = range(rows.iter().map(|(_, row)| *row));
        let workload = |row: &Row<'_>| row.1.scenario.workload.clone();
        let whole = rows.len() <= ROWS_MAX;
        for rows in rows.chunk_by(|left, right| whole || workload(left) == workload(right)) {
            let whole = rows.len() <= ROWS_MAX;
            let parts = rows.chunk_by(|left, right| whole || left.1.scenario == right.1.scenario);
            drawings.extend(parts.map(|rows| forest(together, rows, range)));
        }
    }
    drawings
}

fn forest(pairings: &[Pairing], rows: &[Row<'_>], range: [f64; 2]) -> DrawnFigure {
    let Pairing { figure, base, other, within, .. } = &pairings[0];
    let first = &rows[0].1.scenario;
    let is_one =
        |of: for<'a> fn(&'a Row<'a>) -> &'a str| rows.iter().all(|row| of(row) == of(&rows[0]));
    let one_scenario = rows.iter().all(|(_, row)| row.scenario == *first);
    let one_workload = is_one(|(_, row)| &row.scenario.workload);
    let one_contender =
        is_one(|(pairing, row)| if pairing.within { &pairing.other } else { &row.contender });
    let label = |(_, row): &Row<'_>| {
        let scenario = row.scenario.to_string();
        let size = scenario.strip_prefix(&row.scenario.workload).filter(|_| one_workload);
        let size = size.unwrap_or(&scenario).trim_start_matches(", ");
        let contender = (!(*within && one_contender)).then_some(row.contender.as_str());
        let size = (!(one_scenario || size.is_empty())).then_some(size);
        let label = contender.into_iter().chain(size).collect::<Vec<_>>().join(", ");
        if label.is_empty() { row.scenario.to_string() } else { label }
    };
    let mut labels: Vec<_> = rows.iter().map(label).collect();
    let distinct: BTreeSet<_> = labels.iter().cloned().collect();
    if distinct.len() < labels.len() {
        for (label, (_, row)) in labels.iter_mut().zip(rows) {
            *label += &format!(", {}", row.scenario.parameters);
        }
    }
    let labelled: Vec<_> = labels.into_iter().zip(rows.iter().map(|(_, row)| *row)).collect();
    let own = |pairing: &Pairing| Pairing {
        rows: rows
            .iter()
            .filter(|(of, _)| of.other == pairing.other)
            .map(|(_, row)| (*row).clone())
            .collect(),
        mean: None,
        rung: None,
        only_base: Vec::new(),
        only_other: Vec::new(),
        ..pairing.clone()
    };
    let shown: Vec<_> =
        pairings.iter().filter(|one| one.rung != Some(Rung::Step)).map(own).collect();
    let mut table = table::grid(&shown);
    table.notes.clear();
    let of = match (one_scenario, one_workload) {
        (true, _) => format!(", {first}"),
        (_, true) => format!(", {}", first.workload),
        _ => String::new(),
    };
    let against = if *within && !one_contender { "each contender" } else { other };
    DrawnFigure {
        name: format!("{}{of}: {against} ÷ {base}", figure.title()),
        description: "Ratio of medians with its 95% interval. 1 is no change.".to_owned(),
        svg: ratios(*figure, &labelled, base, range),
        legend: legend(),
        table: Grid { title: String::new(), ..table },
    }
}

/// What the marks of [`ratios`] say.
pub(super) fn legend() -> Vec<LegendEntry> {
    [("good", 0, "better"), ("bad", 1, "worse"), ("faint", 3, "no verdict")]
        .map(|(class, shape, name)| LegendEntry::new(class, Some(shape), name))
        .into()
}

/// The ends of the ratios and of their intervals, with 1 between them.
pub(super) fn range<'a>(rows: impl Iterator<Item = &'a JudgedPair>) -> [f64; 2] {
    let ends = rows.flat_map(|row| {
        let interval = row.ratio_interval;
        [row.ratio, interval.map(|ends| ends.low), interval.map(|ends| ends.high)]
    });
    let ends = ends.flatten().filter(|end| *end > 0.0);
    ends.fold([1.0, 1.0], |[low, high], end| [low.min(end), high.max(end)])
}

/// Labelled ratios, each with its verdict, and its interval on a log scale.
pub(super) fn ratios(
    figure: Figure,
    rows: &[(String, &JudgedPair)],
    base: &str,
    [low, high]: [f64; 2],
) -> Svg {
    let lines: Vec<_> =
        rows.iter().map(|(label, row)| lines(label, &verdict(figure, row))).collect();
    let heights = lines.iter().map(|lines| LINE * lines.len() as f64 + INTERVAL);
    let bottom = 8.0 + heights.clone().sum::<f64>();
    let mut svg = Svg::new(WIDTH, bottom + 40.0);
    // Room for the marks, and at least ±10%, so that noise does not fill the plot.
    let scale = Scale::log((low / 1.05).min(0.9), (high * 1.05).max(1.1), 14.0, RIGHT);
    let ticks: Vec<_> = scale.ticks().into_iter().map(|tick| (tick, number(tick))).collect();
    let whole = format!("ratio to {base}, log scale");
    let axis = if columns(&whole) > LABEL_MAX { "ratio to the base, log scale" } else { &whole };
    horizontal(&mut svg, &scale, &ticks, [4.0, bottom], axis);
    let one = scale.place(1.0);
    svg.line("one", [one, 4.0], [one, bottom]);
    let mut y = 8.0;
    for (((label, row), lines), height) in rows.iter().zip(&lines).zip(heights) {
        draw(&mut svg, &scale, figure, (label, row), lines, y);
        y += height;
    }
    svg
}

/// A label in as many lines as it needs; the last of them leaves room for the verdict.
pub(super) fn lines(label: &str, verdict: &str) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in label.split(' ') {
        let mut rest = word;
        loop {
            let line = lines.last_mut().expect("there is a first line");
            let blank = usize::from(!line.is_empty());
            if columns(line) + blank + columns(&terminal(rest)) <= LABEL_MAX {
                *line += &" ".repeat(blank);
                *line += rest;
                break;
            }
            // A word that is longer than a line is broken.
            let part = if line.is_empty() { fitting(rest, LABEL_MAX) } else { "" };
            *line += part;
            rest = &rest[part.len()..];
            lines.push(String::new());
        }
    }
    let verdict = columns(verdict) + 1;
    if lines.last().is_some_and(|last| columns(last) + verdict > LABEL_MAX) {
        lines.push(String::new());
    }
    lines
}

/// Without the number of units that are too few: the table says it.
fn verdict(figure: Figure, row: &JudgedPair) -> String {
    cells::judgement(figure, row.ratio, row.verdict).text
}

fn draw(
    svg: &mut Svg,
    scale: &Scale,
    figure: Figure,
    (label, row): (&str, &JudgedPair),
    lines: &[String],
    y: f64,
) {
    let (class, shape) = match row.verdict {
        Verdict::Better => ("good", 0),
        Verdict::Worse => ("bad", 1),
        Verdict::Same | Verdict::TooFew | Verdict::Void | Verdict::Control => ("faint", 3),
    };
    let mut base = y - 4.0;
    for line in lines {
        base += LINE;
        svg.text("name", Anchor::Start, [14.0, base], line);
    }
    svg.text(&format!("name t-{class}"), Anchor::End, [RIGHT, base], &verdict(figure, row));
    let middle = base + 12.0;
    let Some(ratio) = row.ratio else { return };
    if let Some(interval) = row.ratio_interval {
        let ends = [interval.low, interval.high].map(|end| [scale.place(end), middle]);
        svg.line(&format!("whisker {class}"), ends[0], ends[1]);
    }
    let says = format!("{label}: {}", cells::ratio(ratio));
    svg.mark(&format!("mark {class}"), shape, [scale.place(ratio), middle], 5.0, &says);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_whole() {
        let long = format!("lockfree balance=request-count, 12 peers, 64 KiB {}", "x".repeat(100));
        let lines = lines(&long, "3.00× faster");
        let joined = lines.join(" ");
        assert_eq!(joined.replace(' ', ""), long.replace(' ', ""));
        assert!(lines.iter().all(|line| columns(line) <= LABEL_MAX), "{lines:?}");
        assert_eq!(
            lines.first().map(String::as_str),
            Some("lockfree balance=request-count, 12 peers, 64")
        );
    }
}
