//! Throughput by segment size and by peers, with the bound.

use std::collections::BTreeMap;

use super::axis::Scale;
use super::frame::{
    DrawnFigure, LEFT, LegendEntry, RIGHT, WIDTH, by_series, horizontal, in_units, vertical,
};
use super::series::{Series, look, scenarios};
use super::svg::Svg;
use crate::report::compare::grid::Grid;
use crate::report::compare::judge::Group;
use crate::report::compare::{Figure, Observation, Scenario, Set};
use crate::report::statistics::median;
use crate::report::units;

// Layout in SVG units; chosen by eye.
const TOP: f64 = 24.0;
const BOTTOM: f64 = 250.0;

// The class of the line, and the name, of the bound of runs that verify, and of those that do not.
const BOUNDS: [(&str, &str); 2] = [
    ("bound", "bound: the best that the machine allows"),
    ("bound unchecked", "bound of those that do not verify"),
];

/// The swept parameter; all others of a scenario are fixed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SweptBy {
    SegmentBytes,
    Peers,
}

impl SweptBy {
    fn value(self, scenario: &Scenario) -> Option<usize> {
        match self {
            // A segment of no payload has no throughput in bytes.
            Self::SegmentBytes => scenario.segment_bytes.filter(|bytes| *bytes > 0),
            Self::Peers => scenario.peers,
        }
    }

    // The scenario without the swept parameter, and without the others by name: files may have fewer
    // segments where these are large.
    fn fixed(self, scenario: &Scenario) -> Scenario {
        let mut fixed = Scenario { parameters: String::new(), ..scenario.clone() };
        match self {
            Self::SegmentBytes => fixed.segment_bytes = None,
            Self::Peers => fixed.peers = None,
        }
        fixed
    }

    /// The head of a table, the label of the axis, and the words of a title.
    fn words(self) -> [&'static str; 3] {
        match self {
            Self::SegmentBytes => ["segment", "segment size, log scale", "segment size"],
            Self::Peers => ["peers", "peers", "number of peers"],
        }
    }

    fn show(self, value: usize) -> String {
        match self {
            Self::SegmentBytes => units::size(value as f64),
            Self::Peers => value.to_string(),
        }
    }
}

/// A figure for each workload and number of peers, or segment size; other tools stand `beside`.
pub(super) fn sweeps(
    by: SweptBy,
    sets: &[Set],
    series: &[Series<'_>],
    beside: &[Set],
) -> Vec<DrawnFigure> {
    let mut of: BTreeMap<Scenario, Vec<(usize, &Scenario)>> = BTreeMap::new();
    for scenario in scenarios(sets) {
        let value = by.value(scenario).into_iter();
        value.for_each(|value| of.entry(by.fixed(scenario)).or_default().push((value, scenario)));
    }
    of.values_mut().for_each(|points| points.sort());
    of.iter()
        .filter(|(_, points)| points.windows(2).any(|pair| pair[0].0 != pair[1].0))
        .filter_map(|(fixed, points)| sweep(by, fixed, points, series, beside))
        .collect()
}

/// A line of a figure: a group of rates at each value.
struct Curve {
    key: LegendEntry,
    points: Vec<(usize, Group)>,
}

fn sweep(
    by: SweptBy,
    fixed: &Scenario,
    points: &[(usize, &Scenario)],
    series: &[Series<'_>],
    beside: &[Set],
) -> Option<DrawnFigure> {
    let curve = |one: &Series<'_>| {
        let rate = |(value, scenario): &(usize, &Scenario)| {
            Some((*value, Group::new(&one.runs(scenario), Figure::Rate)?))
        };
        let points: Vec<_> = points.iter().filter_map(rate).collect();
        (!points.is_empty()).then(|| Curve { key: one.key(), points })
    };
    let mut curves: Vec<Curve> =
        series.iter().filter(|one| !one.is_variant).filter_map(curve).collect();
    let ends = [points.first()?.0, points.last()?.0];
    curves.extend(
        beside
            .iter()
            .enumerate()
            .filter_map(|(index, set)| other_tool(set, index + series.len(), ends)),
    );
    let bounds = [true, false].map(|checked| {
        let bound = |(value, scenario): &(usize, &Scenario)| {
            Some((*value, bound(series, scenario, checked)?))
        };
        points.iter().filter_map(bound).collect::<Vec<_>>()
    });
    let largest = curves
        .iter()
        .flat_map(|curve| &curve.points)
        .map(|(_, group)| group.interval.map_or(group.median, |interval| interval.high))
        .chain(bounds.iter().flatten().map(|(_, rate)| *rate))
        .fold(0.0, f64::max);
    let (unit, one) = Figure::Rate.axis_unit(largest);
    let scale = if by == SweptBy::SegmentBytes { Scale::log } else { Scale::linear };
    let x = scale(ends[0] as f64, ends[1] as f64, LEFT + 14.0, RIGHT - 14.0);
    let y = Scale::zero_based(largest, one, BOTTOM, TOP);
    let mut svg = Svg::new(WIDTH, BOTTOM + 40.0);
    vertical(&mut svg, &y, &in_units(&y), &format!("delivered, {unit}"));
    let mut values: Vec<usize> = points.iter().map(|(value, _)| *value).collect();
    values.dedup();
    let ticks: Vec<_> = values.iter().map(|value| (*value as f64, by.show(*value))).collect();
    let [_, label, what] = by.words();
    horizontal(&mut svg, &x, &ticks, [TOP, BOTTOM], label);
    for (class, bounds) in BOUNDS.iter().zip(&bounds).filter(|(_, bounds)| !bounds.is_empty()) {
        let place = |(value, rate): &(usize, f64)| [x.place(*value as f64), y.place(*rate)];
        svg.path(class.0, &bounds.iter().map(place).collect::<Vec<_>>());
    }
    curves.iter().for_each(|curve| draw(&mut svg, curve, by, &x, &y));
    let mut legend: Vec<LegendEntry> = curves.iter().map(|curve| curve.key.clone()).collect();
    let named = BOUNDS.iter().zip(&bounds).filter(|(_, bounds)| !bounds.is_empty());
    legend.extend(named.map(|((class, name), _)| LegendEntry::new(*class, None, *name)));
    Some(DrawnFigure {
        name: format!("Throughput by {what}: {fixed}"),
        description: "Median of the repetitions with its 95% interval, over all peers together."
            .to_owned(),
        svg,
        legend,
        table: table(by, &values, &curves, &bounds),
    })
}

fn draw(svg: &mut Svg, curve: &Curve, by: SweptBy, x: &Scale, y: &Scale) {
    let LegendEntry { class, shape, name } = &curve.key;
    let place = |value: usize, rate: f64| [x.place(value as f64), y.place(rate)];
    let line: Vec<_> =
        curve.points.iter().map(|(value, group)| place(*value, group.median)).collect();
    svg.path(&format!("curve {class}"), &line);
    for (value, group) in &curve.points {
        if let Some(interval) = group.interval {
            let class = format!("whisker {class}");
            svg.line(&class, place(*value, interval.low), place(*value, interval.high));
        }
        let says = format!("{name}, {}: {}", by.show(*value), Figure::Rate.show(group.median));
        let at = place(*value, group.median);
        svg.mark(&format!("mark {class}"), shape.unwrap_or(0), at, 4.5, &says);
    }
}

/// The bandwidth that another tool measured for messages of these sizes.
fn other_tool(set: &Set, place: usize, [least, most]: [usize; 2]) -> Option<Curve> {
    let fits = |one: &&Observation| {
        one.values.contains_key(&Figure::Bandwidth)
            && one.scenario.segment_bytes.is_some_and(|bytes| (least..=most).contains(&bytes))
    };
    let mut sizes: Vec<&Scenario> =
        set.observations.iter().filter(fits).map(|one| &one.scenario).collect();
    sizes.sort();
    sizes.dedup();
    // Only one benchmark of a set: points of several would not be one line.
    let first = sizes.first()?.workload.clone();
    let of_first = sizes.into_iter().filter(|scenario| scenario.workload == first);
    let point = |scenario: &Scenario| {
        let runs: Vec<&Observation> =
            set.observations.iter().filter(|one| one.scenario == *scenario).collect();
        Some((scenario.segment_bytes?, Group::new(&runs, Figure::Bandwidth)?))
    };
    let points = of_first.filter_map(point).collect();
    let (class, shape) = look(place);
    let name = format!("{first} ({})", set.label);
    Some(Curve { key: LegendEntry::new(class, Some(shape), name), points })
}

/// The rate at the bound of those runs that verify, or do not, bytes/s: the median over all with a bound.
fn bound(series: &[Series<'_>], scenario: &Scenario, checked: bool) -> Option<f64> {
    let rates: Vec<f64> = series
        .iter()
        .flat_map(|one| one.runs(scenario))
        .filter_map(|one| one.run.as_ref())
        .filter(|run| run.checked == checked)
        .filter_map(|run| Some(run.bytes_delivered as f64 / run.bound_s?))
        .filter(|rate| rate.is_finite() && *rate > 0.0)
        .collect();
    median(&rates)
}

fn table(by: SweptBy, values: &[usize], curves: &[Curve], bounds: &[Vec<(usize, f64)>; 2]) -> Grid {
    let names = curves
        .iter()
        .map(|curve| curve.key.name.as_str())
        .chain(["bound, verified", "bound, not verified"]);
    let rate = |value: &usize, index: usize| match curves.get(index) {
        Some(curve) => curve.points.iter().find(|(at, _)| at == value).map(|(_, of)| of.median),
        None => {
            let mut bounds = bounds[index - curves.len()].iter();
            bounds.find(|(at, _)| at == value).map(|(_, rate)| *rate)
        }
    };
    let shown = |value: &usize, index| rate(value, index).map(|rate| Figure::Rate.show(rate));
    by_series(by.words()[0], names, values, |value| vec![by.show(*value).into()], shown)
}
