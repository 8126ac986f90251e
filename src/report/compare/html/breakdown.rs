//! How the peers spent their time.

use super::axis::Scale;
use super::frame::{DrawnFigure, LegendEntry, RIGHT, WIDTH, by_series, horizontal};
use super::series::Series;
use super::svg::{Anchor, Svg};
use crate::escape::cut;
use crate::metrics::TimeShares;
use crate::report::compare::Scenario;
use crate::report::statistics::median;

// Layout in SVG units; chosen by eye.
const ROW: f64 = 40.0;
const TOP: f64 = 6.0;
// A smaller share has no room for its number.
const NAMED_LEAST: f64 = 0.09;
pub(super) type Share = fn(&TimeShares) -> f64;
// In the order of the bars.
pub(super) const ACTIVITIES: [(&str, Share); 7] = [
    ("moves bytes", |shares| shares.moving),
    ("verifies", |shares| shares.verifying),
    ("writes", |shares| shares.writing),
    ("decides", |shares| shares.deciding),
    ("waits for holders", |shares| shares.awaiting_holder),
    ("waits for the tracker", |shares| shares.awaiting_tracker),
    ("idle", |shares| shares.idle),
];

/// The shares of a series, which add up to 1; none where no time was counted.
fn shares(scenario: &Scenario, series: &Series<'_>) -> Option<[f64; 7]> {
    let runs = series.runs(scenario);
    let shares: Vec<&TimeShares> =
        runs.iter().filter_map(|one| Some(&one.run.as_ref()?.time_shares)).collect();
    let medians = ACTIVITIES.map(|(_, of)| {
        median(&shares.iter().map(|shares| of(shares)).collect::<Vec<_>>()).unwrap_or(0.0)
    });
    // Medians of shares need not add up to 1.
    let sum: f64 = medians.iter().sum();
    (sum > 0.0).then(|| medians.map(|share| share / sum))
}

pub(super) fn breakdown(scenario: &Scenario, series: &[Series<'_>]) -> Option<DrawnFigure> {
    let rows: Vec<(&Series<'_>, [f64; 7])> =
        series.iter().filter_map(|one| Some((one, shares(scenario, one)?))).collect();
    if rows.is_empty() {
        return None;
    }
    let bottom = TOP + ROW * rows.len() as f64;
    let mut svg = Svg::new(WIDTH, bottom + 40.0);
    let x = Scale::linear(0.0, 1.0, 14.0, RIGHT);
    let ticks: Vec<_> =
        x.ticks().into_iter().map(|tick| (tick, format!("{:.0}%", 100.0 * tick))).collect();
    horizontal(&mut svg, &x, &ticks, [TOP, bottom], "share of the peers' time");
    for (index, (series, shares)) in rows.iter().enumerate() {
        let y = TOP + ROW * index as f64;
        svg.text("name", Anchor::Start, [14.0, y + 13.0], &cut(&series.name, 60));
        let mut from = 0.0;
        for (activity, (share, (name, _))) in shares.iter().zip(ACTIVITIES).enumerate() {
            let (left, right) = (x.place(from), x.place(from + share));
            let percent = format!("{:.0}%", 100.0 * share);
            let says = format!("{}: {name} {percent}", series.name);
            let class = format!("mark part p{activity}");
            svg.rect(&class, [left, y + 18.0], [right - left, 16.0], &says);
            if *share >= NAMED_LEAST {
                let class = format!("inside on{activity}");
                svg.text(&class, Anchor::Middle, [left.midpoint(right), y + 30.0], &percent);
            }
            from += share;
        }
    }
    let percent = |(_, shares): &(&Series<'_>, [f64; 7]), index: usize| {
        Some(format!("{:.1}%", 100.0 * shares[index]))
    };
    let label = |(series, _): &(&Series<'_>, _)| vec![series.name.as_str().into()];
    let names = ACTIVITIES.map(|(name, _)| name);
    let key = |(activity, (name, _)): (usize, (&str, _))| {
        LegendEntry::new(format!("p{activity}"), None, name)
    };
    Some(DrawnFigure {
        name: format!("Where the time goes: {scenario}"),
        description: "What the peers' threads did while the swarm was open.".to_owned(),
        svg,
        legend: ACTIVITIES.into_iter().enumerate().map(key).collect(),
        table: by_series("contender", names, &rows, label, percent),
    })
}
