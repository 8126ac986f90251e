//! A waterfall: from the first contender of a ladder to the last, what each step takes off or adds.

use super::axis::Scale;
use super::forest;
use super::frame::{DrawnFigure, RIGHT, WIDTH, horizontal, in_units};
#[cfg(test)]
use super::scaling::STYLE;
use super::svg::{Anchor, Svg};
use crate::report::compare::grid::Grid;
use crate::report::compare::judge::{JudgedPair, Verdict};
use crate::report::compare::pairing::{Pairing, Rung};
use crate::report::compare::{Figure, Scenario, cells, table};

// The height of a bar, below the lines of its label; chosen by eye.
const BAR: f64 = 21.0;

/// A file of SVG: a drawing for each scenario of a ladder, on white paper.
#[cfg(test)]
pub(crate) fn picture(pairings: &[Pairing]) -> String {
    const COLOURS: &str = " .good { color: #0067a6 } .bad { color: #b84300 } .faint { color: #70757c } \
        .t-good { fill: #0067a6; font-weight: 600 } .t-bad { fill: #b84300; font-weight: 600 } \
        .title { font-weight: bold }";
    let drawings: Vec<Svg> =
        waterfalls(pairings).into_iter().map(|drawn| drawn.svg.titled(&drawn.name)).collect();
    Svg::file(&drawings, &(STYLE.to_owned() + COLOURS))
}

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
    let figure = ladder[0].figure;
    let rows: Vec<Bar> =
        steps.flat_map(|pairing| &pairing.rows).map(|row| step(figure, row)).collect();
    let ends = [ladder[0].base.as_str(), ladder[ladder.len() - 1].other.as_str()];
    let mut grid = table::grid(&own);
    grid.notes.clear();
    DrawnFigure {
        name: format!("{}, step by step: {scenario}", figure.title()),
        description: format!(
            "From {} to {}: a bar goes from the median before a step to the one after it.",
            ends[0], ends[1]
        ),
        svg: bars(figure, &rows),
        legend: forest::legend(),
        table: Grid { title: String::new(), ..grid },
    }
}

/// A bar of a waterfall, from one value to the next, with its label and what is said of it.
pub(super) struct Bar {
    pub(super) label: String,
    pub(super) verdict: String,
    pub(super) class: &'static str,
    pub(super) ends: [f64; 2],
}

/// A step of a ladder as a bar.
fn step(figure: Figure, row: &JudgedPair) -> Bar {
    let class = match row.verdict {
        Verdict::Better => "good",
        Verdict::Worse => "bad",
        Verdict::Same | Verdict::TooFew | Verdict::Void | Verdict::Control => "faint",
    };
    let (label, verdict) = (row.contender.clone(), cells::verdict(figure, row).text);
    Bar { label, verdict, class, ends: [row.base.median, row.other.median] }
}

pub(super) fn bars(figure: Figure, bars: &[Bar]) -> Svg {
    let lines: Vec<_> = bars.iter().map(|bar| forest::lines(&bar.label, &bar.verdict)).collect();
    let texts: usize = lines.iter().map(Vec::len).sum();
    let bottom = 8.0 + forest::LINE * texts as f64 + BAR * bars.len() as f64;
    let mut svg = Svg::new(WIDTH, bottom + 40.0);
    let largest = bars.iter().flat_map(|bar| bar.ends).fold(0.0, f64::max);
    let (unit, one) = figure.axis_unit(largest);
    let scale = Scale::zero_based(largest, one, 14.0, RIGHT);
    let label = format!("{}, {unit}", figure.name());
    horizontal(&mut svg, &scale, &in_units(&scale), [4.0, bottom], &label);
    let mut y = 4.0;
    for (Bar { label, verdict, class, ends }, lines) in bars.iter().zip(&lines) {
        for line in lines {
            y += forest::LINE;
            svg.text("name", Anchor::Start, [14.0, y], line);
        }
        svg.text(&format!("name t-{class}"), Anchor::End, [RIGHT, y], verdict);
        let [before, after] = ends.map(|end| scale.place(end));
        let says = format!("{label}: {} → {}", figure.show(ends[0]), figure.show(ends[1]));
        // A step without an effect is a line.
        let width = (after - before).abs().max(1.0);
        svg.rect(&format!("mark {class}"), [before.min(after), y + 5.0], [width, 12.0], &says);
        y += BAR;
    }
    svg
}
