//! Latency by percentile, on the axis of HdrHistogram's plots: log of 1 ÷ (1 - quantile).

use hdrhistogram::Histogram;

use super::axis::Scale;
use super::frame::{DrawnFigure, LEFT, RIGHT, WIDTH, by_series, horizontal, number, vertical};
use super::series::Series;
use super::svg::Svg;
use crate::report::compare::grid::Grid;
use crate::report::compare::{Figure, Observation, Scenario};
use crate::report::statistics::median;

// Layout in SVG units; chosen by eye.
const TOP: f64 = 24.0;
const BOTTOM: f64 = 250.0;
// The percentiles on the axis: one in how many lies beyond, and the name.
const NAMED: [(f64, &str); 6] =
    [(1.0, "0%"), (2.0, "50%"), (10.0, "90%"), (100.0, "99%"), (1e3, "99.9%"), (1e4, "99.99%")];
// Points of a curve for each factor of ten.
// Enough to look smooth; chosen by eye.
const STEPS: u32 = 12;

struct Tail<'a> {
    series: &'a Series<'a>,
    /// One in how many is slower, and the latency, seconds.
    points: Vec<(f64, f64)>,
    /// Whether a whole histogram is known, and not just three percentiles: only then a line is drawn.
    is_whole: bool,
}

pub(super) fn drawing(scenario: &Scenario, series: &[Series<'_>]) -> Option<DrawnFigure> {
    let tails: Vec<Tail<'_>> = series.iter().filter_map(|one| tail(scenario, one)).collect();
    let (drawn, hidden): (Vec<_>, Vec<_>) =
        tails.into_iter().partition(|tail| !tail.series.is_variant);
    // Variants of an engine would crowd the curves: they stand in the table.
    let (drawn, hidden) = if drawn.is_empty() { (hidden, drawn) } else { (drawn, hidden) };
    let all = || drawn.iter().flat_map(|tail| &tail.points);
    let low = all().map(|(_, time)| *time).filter(|time| *time > 0.0).fold(f64::INFINITY, f64::min);
    let high = all().map(|(_, time)| *time).fold(0.0, f64::max);
    if !low.is_finite() {
        return None;
    }
    let rarest = all().map(|(rarity, _)| *rarity).fold(100.0, f64::max);
    let x = Scale::log(1.0, rarest, LEFT + 8.0, RIGHT - 8.0);
    let y = Scale::log(low / 1.1, high * 1.1, BOTTOM, TOP);
    let (unit, one) = Figure::LatencyP50.axis_unit(high);
    let mut svg = Svg::new(WIDTH, BOTTOM + 40.0);
    let ticks: Vec<_> = y.ticks().into_iter().map(|tick| (tick, number(tick / one))).collect();
    vertical(&mut svg, &y, &ticks, &format!("latency of a segment, {unit}, log scale"));
    let named: Vec<_> = NAMED
        .iter()
        .filter(|(rarity, _)| *rarity <= rarest * 1.01)
        .map(|(rarity, name)| (*rarity, (*name).to_owned()))
        .collect();
    horizontal(&mut svg, &x, &named, [TOP, BOTTOM], "percentile");
    for Tail { series, points, is_whole } in &drawn {
        let class = series.class();
        let places: Vec<_> =
            points.iter().map(|(rarity, time)| [x.place(*rarity), y.place(*time)]).collect();
        if *is_whole {
            svg.path(&format!("curve {class}"), &places);
        }
        let marked = points.iter().zip(&places).filter(|((rarity, _), _)| {
            NAMED.iter().any(|(named, _)| (named / rarity - 1.0).abs() < 1e-6)
        });
        for ((_, time), at) in marked {
            let says = format!("{}: {}", series.name, Figure::LatencyP50.show(*time));
            svg.mark(&format!("mark {class}"), series.shape(), *at, 3.6, &says);
        }
    }
    Some(DrawnFigure {
        name: format!("Latency of a segment: {scenario}"),
        description: "From the request to the verified segment, over all runs and peers."
            .to_owned(),
        svg,
        legend: drawn.iter().map(|tail| tail.series.key()).collect(),
        table: table(&drawn.into_iter().chain(hidden).collect::<Vec<_>>()),
    })
}

fn tail<'a>(scenario: &Scenario, series: &'a Series<'a>) -> Option<Tail<'a>> {
    let key = (scenario.clone(), series.contender.to_owned());
    if let Some(histogram) = series.set.latencies.get(&key).filter(|all| !all.is_empty()) {
        return Some(Tail { series, points: curve(histogram), is_whole: true });
    }
    let runs = series.runs(scenario);
    let figures =
        [(2.0, Figure::LatencyP50), (100.0, Figure::LatencyP99), (1e3, Figure::LatencyP999)];
    let middle = |figure: Figure| {
        let value = |run: &&Observation| run.values.get(&figure).copied();
        median(&runs.iter().filter_map(value).collect::<Vec<_>>())
    };
    let points: Vec<_> = figures
        .into_iter()
        .filter_map(|(rarity, figure)| Some((rarity, middle(figure)?)))
        .collect();
    (!points.is_empty()).then_some(Tail { series, points, is_whole: false })
}

/// The curve of a histogram, up to the rarest quantile that its number of samples resolves.
fn curve(histogram: &Histogram<u64>) -> Vec<(f64, f64)> {
    let at = |rarity: f64| {
        let ns = histogram.value_at_quantile(1.0 - rarity.recip());
        (rarity, ns as f64 / 1e9)
    };
    let even = (0..STEPS * 6).map(|step| 10.0_f64.powf(f64::from(step) / f64::from(STEPS)));
    // The median is not one of the even steps.
    let mut places: Vec<f64> =
        even.chain([2.0]).filter(|rarity| *rarity <= histogram.len() as f64).collect();
    places.sort_by(f64::total_cmp);
    places.into_iter().map(at).collect()
}

fn table(tails: &[Tail<'_>]) -> Grid {
    let time = |tail: &Tail<'_>, index: usize| {
        let (named, _) = NAMED[index + 1];
        let near = tail.points.iter().find(|(rarity, _)| (named / rarity - 1.0).abs() < 1e-6);
        near.map(|(_, time)| Figure::LatencyP50.show(*time))
    };
    let names = NAMED[1..].iter().map(|(_, name)| *name);
    by_series("contender", names, tails, |tail| vec![tail.series.name.as_str().into()], time)
}
