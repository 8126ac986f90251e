//! The balance of the load: bytes served by each rank, and their Lorenz curve.

use std::collections::BTreeSet;

use super::axis::Scale;
use super::frame::{
    DrawnFigure, LEFT, LegendEntry, RIGHT, WIDTH, by_series, horizontal, in_units, vertical,
};
use super::series::{COLOURS, Series};
use super::svg::{Anchor, Svg};
use crate::report::compare::grid::{Cell, Column, Grid};
use crate::report::compare::{Figure, Scenario};
use crate::report::statistics::median;

// Layout in SVG units; chosen by eye.
const TOP: f64 = 24.0;
const BOTTOM: f64 = 220.0;
// With more bars the figure of ranks is left out.
// They would be about one unit wide.
const BARS_MAX: usize = 256;

/// The median bytes that each peer served, by rank from 1.
struct ServedByRank<'a> {
    series: &'a Series<'a>,
    served: Vec<f64>,
}

pub(super) fn balances(scenario: &Scenario, series: &[Series<'_>]) -> Vec<DrawnFigure> {
    let plain = series.iter().filter(|one| !one.is_variant);
    let loads: Vec<ServedByRank<'_>> = plain.filter_map(|one| load(scenario, one)).collect();
    let bars: usize = loads.iter().map(|load| load.served.len()).sum();
    let mut drawings = Vec::new();
    // Bars have a colour only, which two series must not share.
    let colours: BTreeSet<_> = loads.iter().map(|load| load.series.place % COLOURS).collect();
    if bars > 0 && bars <= BARS_MAX && colours.len() == loads.len() {
        drawings.push(ranks(scenario, &loads));
    }
    if bars > 0 {
        drawings.push(lorenz(scenario, &loads));
    }
    drawings
}

fn load<'a>(scenario: &Scenario, series: &'a Series<'a>) -> Option<ServedByRank<'a>> {
    let runs = series.runs(scenario);
    let tables: Vec<&[u64]> = runs
        .iter()
        .filter_map(|one| Some(one.run.as_ref()?.served_bytes.as_slice()))
        .filter(|served| served.iter().any(|bytes| *bytes > 0))
        .collect();
    let ranks = tables.iter().map(|served| served.len()).min()?;
    let middle =
        |rank: usize| median(&tables.iter().map(|served| served[rank] as f64).collect::<Vec<_>>());
    let served = (1..ranks).map(middle).collect::<Option<Vec<_>>>()?;
    Some(ServedByRank { series, served })
}

fn legend(loads: &[ServedByRank<'_>]) -> Vec<LegendEntry> {
    loads.iter().map(|load| LegendEntry { shape: None, ..load.series.key() }).collect()
}

fn ranks(scenario: &Scenario, loads: &[ServedByRank<'_>]) -> DrawnFigure {
    let ranks = loads.iter().map(|load| load.served.len()).max().unwrap_or(1);
    let largest = loads.iter().flat_map(|load| &load.served).copied().fold(0.0, f64::max);
    let (unit, one) = Figure::Memory.axis_unit(largest);
    let y = Scale::zero_based(largest, one, BOTTOM, TOP);
    let mut svg = Svg::new(WIDTH, BOTTOM + 40.0);
    vertical(&mut svg, &y, &in_units(&y), &format!("served, {unit}"));
    svg.line("axis", [LEFT, BOTTOM], [RIGHT, BOTTOM]);
    svg.text("label", Anchor::End, [RIGHT, BOTTOM + 32.0], "rank");
    let slot = (RIGHT - LEFT) / ranks as f64;
    let bar = slot * 0.8 / loads.len() as f64;
    let named_each = ranks.div_ceil(16);
    for rank in 0..ranks {
        let left = LEFT + slot * (rank as f64 + 0.1);
        for (index, load) in loads.iter().enumerate() {
            let Some(bytes) = load.served.get(rank) else { continue };
            let (top, x) = (y.place(*bytes), left + bar * index as f64);
            let says =
                format!("{}, rank {}: {}", load.series.name, rank + 1, Figure::Memory.show(*bytes));
            let class = format!("mark bar {}", load.series.class());
            svg.rect(&class, [x, top], [bar, BOTTOM - top], &says);
        }
        if rank % named_each == 0 {
            let x = LEFT + slot * (rank as f64 + 0.5);
            svg.text("tick", Anchor::Middle, [x, BOTTOM + 15.0], &(rank + 1).to_string());
        }
    }
    DrawnFigure {
        name: format!("Bytes served by each rank: {scenario}"),
        description: "Median over the repetitions. Equal bars mean an even load.".to_owned(),
        svg,
        legend: legend(loads),
        table: ranks_table(ranks, loads),
    }
}

fn ranks_table(ranks: usize, loads: &[ServedByRank<'_>]) -> Grid {
    let bytes = |rank: &usize, index: usize| {
        loads[index].served.get(*rank).map(|bytes| Figure::Memory.show(*bytes))
    };
    let names = loads.iter().map(|load| load.series.name.as_str());
    let ranks: Vec<usize> = (0..ranks).collect();
    by_series("rank", names, &ranks, |rank| vec![(rank + 1).to_string().into()], bytes)
}

/// The Lorenz curve: which share of all bytes the peers that served least sent.
fn lorenz(scenario: &Scenario, loads: &[ServedByRank<'_>]) -> DrawnFigure {
    let mut svg = Svg::new(WIDTH, BOTTOM + 40.0);
    let (x, y) = (Scale::linear(0.0, 1.0, LEFT, RIGHT - 8.0), Scale::linear(0.0, 1.0, BOTTOM, TOP));
    let percent = |scale: &Scale| -> Vec<(f64, String)> {
        scale.ticks().into_iter().map(|tick| (tick, format!("{:.0}%", 100.0 * tick))).collect()
    };
    vertical(&mut svg, &y, &percent(&y), "share of all bytes");
    horizontal(&mut svg, &x, &percent(&x), [TOP, BOTTOM], "share of the peers, least first");
    svg.path("even", &[[x.place(0.0), y.place(0.0)], [x.place(1.0), y.place(1.0)]]);
    for load in loads {
        let points: Vec<_> = shares(&load.served)
            .into_iter()
            .map(|(peers, bytes)| [x.place(peers), y.place(bytes)])
            .collect();
        svg.path(&format!("curve {}", load.series.class()), &points);
        if points.len() <= 24 {
            for at in &points[1..] {
                let class = format!("mark {}", load.series.class());
                svg.mark(&class, load.series.shape(), *at, 3.4, "");
            }
        }
    }
    let columns =
        Column::list("contender|#most served ÷ mean|#Gini index|#served by the lower half");
    let row = |load: &ServedByRank<'_>| {
        let half = shares(&load.served).windows(2).find(|pair| pair[1].0 >= 0.5).map(|pair| {
            let part = (0.5 - pair[0].0) / (pair[1].0 - pair[0].0);
            pair[0].1 + part * (pair[1].1 - pair[0].1)
        });
        let half = half.map_or_else(|| "-".to_owned(), |half| format!("{:.1}%", 100.0 * half));
        vec![
            Cell::from(load.series.name.as_str()),
            format!("{:.2}", most_over_mean(&load.served)).into(),
            format!("{:.3}", gini(&load.served)).into(),
            half.into(),
        ]
    };
    DrawnFigure {
        name: format!("Balance of the load: {scenario}"),
        description: "Lorenz curve: on the dotted diagonal, all peers serve the same.".to_owned(),
        svg,
        legend: loads.iter().map(|load| load.series.key()).collect(),
        table: Grid { columns, rows: loads.iter().map(row).collect(), ..Grid::default() },
    }
}

fn most_over_mean(served: &[f64]) -> f64 {
    let mean = served.iter().sum::<f64>() / served.len() as f64;
    served.iter().copied().fold(0.0, f64::max) / mean
}

/// The points of the Lorenz curve, from (0, 0) to (1, 1).
fn shares(served: &[f64]) -> Vec<(f64, f64)> {
    let mut sorted = served.to_vec();
    sorted.sort_by(f64::total_cmp);
    let total: f64 = sorted.iter().sum();
    let mut sum = 0.0;
    let points = sorted.iter().zip(1_u32..).map(|(bytes, count)| {
        sum += bytes;
        (f64::from(count) / served.len() as f64, sum / total)
    });
    std::iter::once((0.0, 0.0)).chain(points).collect()
}

// The Gini index, twice the area between the diagonal and the Lorenz curve: 0 is even; near 1, one
// peer serves all.
//
// Source: C. Gini, "Variabilità e mutabilità", 1912.
fn gini(served: &[f64]) -> f64 {
    let area: f64 = shares(served)
        .windows(2)
        .map(|pair| (pair[1].0 - pair[0].0) * (pair[0].1 + pair[1].1) / 2.0)
        .sum();
    1.0 - 2.0 * area
}

#[cfg(test)]
mod tests {
    use super::*;

    /// By hand: shares 1/8, 1/4, 1/2 and 1 at quarters enclose 1/64 + 3/64 + 6/64 + 12/64.
    #[test]
    fn lorenz_and_gini_by_hand() {
        let served = [4.0, 1.0, 2.0, 1.0];
        let expected = [(0.0, 0.0), (0.25, 0.125), (0.5, 0.25), (0.75, 0.5), (1.0, 1.0)];
        assert_eq!(shares(&served), expected);
        assert!((gini(&served) - (1.0 - 2.0 * 22.0 / 64.0)).abs() < 1e-12);
        assert_eq!(most_over_mean(&served), 2.0);
        assert!(gini(&[3.0; 5]).abs() < 1e-12);
    }
}
