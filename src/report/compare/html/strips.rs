//! Strip plots: every repetition as a point, over a box from the first to the third quartile.

use super::axis::Scale;
use super::frame::{DrawnFigure, LegendEntry, RIGHT, WIDTH, horizontal, in_units};
use super::series::Series;
use super::svg::{Anchor, Svg};
use crate::escape::cut;
use crate::report::compare::grid::{Cell, Column, Grid};
use crate::report::compare::{Figure, Observation, Scenario};
use crate::report::statistics::{median, outliers, quartiles};

// Layout in SVG units; chosen by eye.
const ROW: f64 = 44.0;
const TOP: f64 = 6.0;
// Points are spread over so many rows, so that equal times do not overlap.
// Chosen by eye.
const LANES: usize = 5;

type RepetitionTimes = Vec<(Option<u32>, f64)>;
type Strip<'a> = (&'a Series<'a>, RepetitionTimes);

/// The times of a series: of runs, or of iterations of another tool.
fn times(runs: &[&Observation]) -> RepetitionTimes {
    let time = |run: &&Observation| {
        let figures = [Figure::Makespan, Figure::Iteration, Figure::MessageLatency];
        let value = figures.iter().find_map(|figure| run.values.get(figure))?;
        Some((run.repetition, *value))
    };
    runs.iter().filter_map(time).collect()
}

pub(super) fn strip(scenario: &Scenario, series: &[Series<'_>]) -> Option<DrawnFigure> {
    let rows: Vec<Strip<'_>> = series
        .iter()
        .map(|one| (one, times(&one.runs(scenario))))
        .filter(|(_, times)| !times.is_empty())
        .collect();
    let largest =
        rows.iter().flat_map(|(_, times)| times).map(|(_, time)| *time).fold(0.0, f64::max);
    if rows.is_empty() {
        return None;
    }
    // Each has its own: who does not verify has a shorter one.
    let bounds: Vec<Option<f64>> = rows.iter().map(|(one, _)| bound(&one.runs(scenario))).collect();
    let bottom = TOP + ROW * rows.len() as f64;
    let mut svg = Svg::new(WIDTH, bottom + 40.0);
    let (unit, one) = Figure::Makespan.axis_unit(largest);
    let scale = Scale::zero_based(largest, one, 14.0, RIGHT);
    horizontal(&mut svg, &scale, &in_units(&scale), [TOP, bottom], &format!("time, {unit}"));
    for (index, ((series, times), bound)) in rows.iter().zip(&bounds).enumerate() {
        let y = TOP + ROW * index as f64;
        if let Some(x) = bound.map(|bound| scale.place(bound)) {
            svg.line("bound", [x, y + 16.0], [x, y + ROW - 1.0]);
        }
        draw(&mut svg, &scale, series, times, y);
    }
    Some(DrawnFigure {
        name: format!("Every repetition: {scenario}"),
        description: "A point is a run. The box is the middle half of them, its line the median."
            .to_owned(),
        svg,
        legend: bounds.iter().flatten().take(1).map(|_| LegendEntry::bound()).collect(),
        table: table(&rows, &bounds),
    })
}

/// The shortest time that the machine allows these runs.
fn bound(runs: &[&Observation]) -> Option<f64> {
    median(&runs.iter().filter_map(|one| one.run.as_ref()?.bound_s).collect::<Vec<_>>())
}

fn draw(svg: &mut Svg, scale: &Scale, series: &Series<'_>, times: &[(Option<u32>, f64)], y: f64) {
    let values: Vec<f64> = times.iter().map(|(_, time)| *time).collect();
    let (class, name) = (series.class(), &series.name);
    svg.text("name", Anchor::Start, [14.0, y + 13.0], &cut(name, 60));
    let middle = y + 29.0;
    if let Some(quartiles) = quartiles(&values) {
        let [left, centre, right] = quartiles.map(|value| scale.place(value));
        svg.rect(&format!("box {class}"), [left, middle - 9.0], [right - left, 18.0], "");
        svg.line(&format!("median {class}"), [centre, middle - 11.0], [centre, middle + 11.0]);
    }
    for (index, (repetition, time)) in times.iter().enumerate() {
        let lane = (index * 2 % LANES) as f64 - (LANES as f64 - 1.0) / 2.0;
        let which = repetition.map_or_else(String::new, |number| format!(", repetition {number}"));
        let says = format!("{name}{which}: {}", Figure::Makespan.show(*time));
        let at = [scale.place(*time), middle + 3.0 * lane];
        svg.mark(&format!("mark dot {class}"), series.shape(), at, 2.6, &says);
    }
}

fn table(rows: &[Strip<'_>], bounds: &[Option<f64>]) -> Grid {
    let columns =
        "contender|#runs|#least|#first quartile|#median|#third quartile|#most|#outliers|#bound";
    let row = |((series, times), bound): (&Strip<'_>, &Option<f64>)| {
        let values: Vec<f64> = times.iter().map(|(_, time)| *time).collect();
        let show = |time: f64| Cell::from(Figure::Makespan.show(time));
        let least = values.iter().copied().fold(f64::INFINITY, f64::min);
        let most = values.iter().copied().fold(0.0, f64::max);
        let [first, median, third] = quartiles(&values).unwrap_or_default();
        let outside = outliers(&values).into_iter().filter(|is_outlier| *is_outlier).count();
        let mut cells = vec![series.name.as_str().into(), values.len().to_string().into()];
        cells.extend([least, first, median, third, most].map(show));
        cells.push(outside.to_string().into());
        cells.push(bound.map_or_else(|| "-".into(), show));
        cells
    };
    let rows = rows.iter().zip(bounds).map(row).collect();
    Grid { columns: Column::list(columns), rows, ..Grid::default() }
}
