//! A waterfall: from the first contender of a ladder to the last, what each step takes off or adds.

use super::axis::Scale;
use super::forest;
use super::frame::{DrawnFigure, RIGHT, WIDTH, horizontal, in_units};
use super::svg::{Anchor, Svg};
use crate::escape::{columns, cut};
use crate::report::compare::grid::Grid;
use crate::report::compare::judge::{JudgedPair, Verdict};
use crate::report::compare::pairing::{Pairing, Rung};
use crate::report::compare::{Scenario, cells, table};

// The height of a step: a line of text and a bar.
const ROW: f64 = 36.0;
// How many characters of a label and its verdict fit in a line.
const LABEL_MAX: usize = 44;

/// A drawing for each figure and scenario of a ladder.
pub(super) fn waterfalls(pairings: &[Pairing]) -> Vec<DrawnFigure> {
    let ladders = pairings.chunk_by(|left, right| left.figure == right.figure);
    let ladders = ladders.filter(|ladder| ladder.iter().all(|pairing| pairing.rung.is_some()));
    let mut drawings = Vec::new();
    for ladder in ladders {
        let mut scenarios: Vec<&Scenario> =
            ladder.iter().flat_map(|pairing| &pairing.rows).map(|row| &row.scenario).collect();
        scenarios.sort();
        scenarios.dedup();
        drawings.extend(scenarios.into_iter().map(|scenario| waterfall(ladder, scenario)));
    }
    drawings
}

fn waterfall(ladder: &[Pairing], scenario: &Scenario) -> DrawnFigure {
    let of_scenario = |pairing: &Pairing| Pairing {
        rows: pairing.rows.iter().filter(|row| row.scenario == *scenario).cloned().collect(),
        mean: None,
        ..pairing.clone()
    };
    let own: Vec<Pairing> = ladder.iter().map(of_scenario).collect();
    let steps = own.iter().filter(|pairing| pairing.rung == Some(Rung::Step));
    let rows: Vec<&JudgedPair> = steps.flat_map(|pairing| &pairing.rows).collect();
    let figure = ladder[0].figure;
    let ends = [ladder[0].base.as_str(), ladder[ladder.len() - 1].other.as_str()];
    let mut grid = table::grid(&own);
    grid.notes.clear();
    DrawnFigure {
        name: format!("{}, step by step: {scenario}", figure.title()),
        description: format!(
            "From {} to {}: a bar goes from the median before a step to the one after it.",
            ends[0], ends[1]
        ),
        svg: bars(ladder, &rows),
        legend: forest::legend(),
        table: Grid { title: String::new(), ..grid },
    }
}

fn bars(ladder: &[Pairing], rows: &[&JudgedPair]) -> Svg {
    let figure = ladder[0].figure;
    let bottom = 8.0 + ROW * rows.len() as f64;
    let mut svg = Svg::new(WIDTH, bottom + 40.0);
    let medians = rows.iter().flat_map(|row| [row.base.median, row.other.median]);
    let largest = medians.fold(0.0, f64::max);
    let (unit, one) = figure.axis_unit(largest);
    let scale = Scale::zero_based(largest, one, 14.0, RIGHT);
    let label = format!("{}, {unit}", figure.name());
    horizontal(&mut svg, &scale, &in_units(&scale), [4.0, bottom], &label);
    for (index, row) in rows.iter().enumerate() {
        let class = match row.verdict {
            Verdict::Better => "good",
            Verdict::Worse => "bad",
            Verdict::Same | Verdict::TooFew | Verdict::Void | Verdict::Control => "faint",
        };
        let y = 8.0 + ROW * index as f64;
        let verdict = cells::verdict(figure, row);
        let room = LABEL_MAX.saturating_sub(columns(&verdict.text));
        svg.text("name", Anchor::Start, [14.0, y + 11.0], &cut(&row.contender, room));
        svg.text(&format!("name t-{class}"), Anchor::End, [RIGHT, y + 11.0], &verdict.text);
        let [before, after] = [row.base.median, row.other.median].map(|end| scale.place(end));
        let says = format!(
            "{}: {} → {}",
            row.contender,
            figure.show(row.base.median),
            figure.show(row.other.median)
        );
        // A step without an effect is a line.
        let width = (after - before).abs().max(1.0);
        svg.rect(&format!("mark {class}"), [before.min(after), y + 16.0], [width, 12.0], &says);
    }
    svg
}
