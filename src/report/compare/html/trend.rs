//! A figure over commits. Points are not joined, because commits are not evenly spaced in time.

use super::axis::Scale;
use super::frame::{DrawnFigure, LEFT, LegendEntry, RIGHT, WIDTH, by_series, in_units, vertical};
use super::series::look;
use super::svg::{Anchor, Svg};
use crate::report::compare::Figure;
use crate::report::compare::grid::Grid;
use crate::report::compare::history::{History, HistoryLine, Point};

// Layout in SVG units; chosen by eye.
const TOP: f64 = 24.0;
const BOTTOM: f64 = 220.0;
// How many names of commits fit below the axis.
const NAMED_MAX: usize = 6;

pub(super) fn trends(history: &History) -> Vec<DrawnFigure> {
    let is_one = |left: &HistoryLine, right: &HistoryLine| {
        left.conditions == right.conditions && left.scenario == right.scenario
    };
    history.lines.chunk_by(is_one).map(|lines| trend(history.figure, lines)).collect()
}

fn trend(figure: Figure, lines: &[HistoryLine]) -> DrawnFigure {
    let first = &lines[0];
    let mut measured: Vec<&Point> = lines.iter().flat_map(|line| &line.points).collect();
    measured.sort_by(|left, right| (&left.began, &left.label).cmp(&(&right.began, &right.label)));
    measured.dedup_by(|left, right| left.label == right.label);
    let top = |point: &Point| point.group.interval.map_or(point.group.median, |ends| ends.high);
    let largest = lines.iter().flat_map(|line| &line.points).map(top).fold(0.0, f64::max);
    let (name, one) = figure.axis_unit(largest);
    let y = Scale::zero_based(largest, one, BOTTOM, TOP);
    let mut svg = Svg::new(WIDTH, BOTTOM + 40.0);
    vertical(&mut svg, &y, &in_units(&y), &format!("{}, {name}", figure.title()));
    svg.line("axis", [LEFT, BOTTOM], [RIGHT, BOTTOM]);
    svg.text("label", Anchor::End, [RIGHT, BOTTOM + 32.0], "commit, oldest first");
    let slot = (RIGHT - LEFT) / measured.len().max(1) as f64;
    let each = measured.len().div_ceil(NAMED_MAX).max(1);
    for (index, point) in measured.iter().enumerate().step_by(each) {
        let x = LEFT + slot * (index as f64 + 0.5);
        svg.text("tick", Anchor::Middle, [x, BOTTOM + 15.0], point.name());
    }
    let key = |(place, line): (usize, &HistoryLine)| {
        let (class, shape) = look(place);
        LegendEntry::new(class, Some(shape), &line.contender)
    };
    let keys: Vec<LegendEntry> = lines.iter().enumerate().map(key).collect();
    for (place, (line, key)) in lines.iter().zip(&keys).enumerate() {
        let shift = (place as f64 + 1.0) / (lines.len() as f64 + 1.0);
        for point in &line.points {
            let found = measured.iter().position(|one| one.label == point.label);
            let Some(index) = found else { continue };
            let x = LEFT + slot * (index as f64 + shift);
            if let Some(ends) = point.group.interval {
                let ends = [ends.low, ends.high].map(|end| [x, y.place(end)]);
                svg.line(&format!("whisker {}", key.class), ends[0], ends[1]);
            }
            let says = format!(
                "{}, {}: {}",
                line.contender,
                point.name(),
                figure.show(point.group.median)
            );
            let at = [x, y.place(point.group.median)];
            svg.mark(&format!("mark {}", key.class), key.shape.unwrap_or(0), at, 4.0, &says);
        }
    }
    DrawnFigure {
        name: format!("{}: {}", figure.title(), first.scenario),
        description: format!(
            "Median of each measurement with its 95% interval, on {}.",
            first.conditions()
        ),
        svg,
        legend: keys,
        table: table(figure, &measured, lines),
    }
}

fn table(figure: Figure, measured: &[&Point], lines: &[HistoryLine]) -> Grid {
    let median = |point: &&Point, index: usize| {
        let found = lines[index].points.iter().find(|other| other.label == point.label);
        found.map(|found| figure.show(found.group.median))
    };
    let label = |point: &&Point| vec![point.name().into(), point.began.as_str().into()];
    let names = lines.iter().map(|line| line.contender.as_str());
    by_series("commit|began", names, measured, label, median)
}
