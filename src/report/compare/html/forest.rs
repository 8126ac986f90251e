//! A forest plot: the ratio of every result with its interval, around the line at 1.

use super::axis::Scale;
use super::frame::{DrawnFigure, LegendEntry, RIGHT, WIDTH, horizontal, number};
use super::svg::{Anchor, Svg};
use crate::escape::{columns, cut};
use crate::report::compare::grid::Grid;
use crate::report::compare::judge::{JudgedPair, Verdict};
use crate::report::compare::pairing::Pairing;
use crate::report::compare::{Figure, cells, table};

// The height of a row: a line of text and an interval.
const ROW: f64 = 36.0;
// A figure with more rows is split by workload.
// More do not fit on a screen; chosen by eye.
const ROWS_MAX: usize = 20;
// How many characters of a label and its verdict fit in a line.
const LABEL_MAX: usize = 44;

/// One figure, or one for each workload if there are many rows.
pub(super) fn forests(pairing: &Pairing) -> Vec<DrawnFigure> {
    let rows: Vec<&JudgedPair> = pairing.rows.iter().collect();
    if rows.is_empty() {
        return Vec::new();
    }
    if rows.len() <= ROWS_MAX {
        return vec![forest(pairing, &rows)];
    }
    let same =
        |left: &&JudgedPair, right: &&JudgedPair| left.scenario.workload == right.scenario.workload;
    let of_workload = rows.chunk_by(same).flat_map(|rows| rows.chunks(ROWS_MAX));
    of_workload.map(|rows| forest(pairing, rows)).collect()
}

fn forest(pairing: &Pairing, rows: &[&JudgedPair]) -> DrawnFigure {
    let workload = &rows[0].scenario.workload;
    let is_one = rows.iter().all(|row| row.scenario.workload == *workload);
    let of = if is_one { format!(" of {workload}") } else { String::new() };
    let label = |row: &JudgedPair| {
        let scenario = row.scenario.to_string();
        let size = scenario.strip_prefix(&row.scenario.workload).filter(|_| is_one);
        let size = size.unwrap_or(&scenario).trim_start_matches(", ");
        let contender = (!pairing.within).then_some(row.contender.as_str());
        let parts = contender.into_iter().chain((!size.is_empty()).then_some(size));
        let label = parts.collect::<Vec<_>>().join(", ");
        if label.is_empty() { row.scenario.parameters.clone() } else { label }
    };
    let labelled: Vec<_> = rows.iter().map(|row| (label(row), *row)).collect();
    let mut rows_only = table::grid(&[Pairing {
        rows: rows.iter().map(|row| (*row).clone()).collect(),
        mean: None,
        rung: None,
        only_base: Vec::new(),
        only_other: Vec::new(),
        ..pairing.clone()
    }]);
    rows_only.notes.clear();
    let axis = format!("ratio {} ÷ {}, log scale", pairing.other, pairing.base);
    DrawnFigure {
        name: format!("{}{of}: {} → {}", pairing.figure.title(), pairing.base, pairing.other),
        description: "Ratio of medians with its 95% interval. 1 is no change.".to_owned(),
        svg: ratios(pairing.figure, &labelled, &axis),
        legend: legend(),
        table: Grid { title: String::new(), ..rows_only },
    }
}

/// What the marks of [`ratios`] say.
pub(super) fn legend() -> Vec<LegendEntry> {
    [("good", 0, "better"), ("bad", 1, "worse"), ("faint", 3, "no verdict")]
        .map(|(class, shape, name)| LegendEntry::new(class, Some(shape), name))
        .into()
}

/// A line for each labelled ratio: its verdict, and its interval on a log scale.
pub(super) fn ratios(figure: Figure, rows: &[(String, &JudgedPair)], axis: &str) -> Svg {
    let bottom = 8.0 + ROW * rows.len() as f64;
    let mut svg = Svg::new(WIDTH, bottom + 40.0);
    let ends = rows.iter().flat_map(|(_, row)| {
        let interval = row.ratio_interval;
        [row.ratio, interval.map(|ends| ends.low), interval.map(|ends| ends.high)]
    });
    let (low, high) = ends
        .flatten()
        .filter(|end| *end > 0.0)
        .fold((1.0_f64, 1.0_f64), |(low, high), end| (low.min(end), high.max(end)));
    // Room for the marks, and at least ±10%, so that noise does not fill the plot.
    let scale = Scale::log((low / 1.05).min(0.9), (high * 1.05).max(1.1), 14.0, RIGHT);
    let ticks: Vec<_> = scale.ticks().into_iter().map(|tick| (tick, number(tick))).collect();
    horizontal(&mut svg, &scale, &ticks, [4.0, bottom], &cut(axis, 68));
    let one = scale.place(1.0);
    svg.line("one", [one, 4.0], [one, bottom]);
    for (index, (label, row)) in rows.iter().enumerate() {
        draw(&mut svg, &scale, figure, (label, row), 8.0 + ROW * index as f64);
    }
    svg
}

fn draw(svg: &mut Svg, scale: &Scale, figure: Figure, (label, row): (&str, &JudgedPair), y: f64) {
    let (class, shape) = match row.verdict {
        Verdict::Better => ("good", 0),
        Verdict::Worse => ("bad", 1),
        Verdict::Same | Verdict::TooFew | Verdict::Void | Verdict::Control => ("faint", 3),
    };
    let verdict = cells::verdict(figure, row);
    let room = LABEL_MAX.saturating_sub(columns(&verdict.text));
    svg.text("name", Anchor::Start, [14.0, y + 11.0], &cut(label, room));
    svg.text(&format!("name t-{class}"), Anchor::End, [RIGHT, y + 11.0], &verdict.text);
    let middle = y + 23.0;
    let Some(ratio) = row.ratio else { return };
    if let Some(interval) = row.ratio_interval {
        let ends = [interval.low, interval.high].map(|end| [scale.place(end), middle]);
        svg.line(&format!("whisker {class}"), ends[0], ends[1]);
    }
    let says = format!("{label}: {}", cells::ratio(ratio));
    svg.mark(&format!("mark {class}"), shape, [scale.place(ratio), middle], 5.0, &says);
}
