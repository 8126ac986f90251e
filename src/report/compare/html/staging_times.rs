//! How long staging took by each way: a chart of bars for each tree, each with a scale of its own.

use super::axis::Scale;
use super::frame::{RIGHT, WIDTH, horizontal, in_units};
use super::scaling::STYLE;
use super::svg::{Anchor, Svg};
use crate::report::units::seconds;

// Layout in SVG units; chosen by eye.
const ROW: f64 = 18.0;
const TOP: f64 = 26.0;
// The longest name of a contender fits left of it.
const START: f64 = 118.0;
// A time fits right of the longest bar.
const TIME_WIDTH: f64 = 50.0;
// Full bars are verified; the others have an outline only.
const BARS: &str = " .hollow { fill: none; stroke: currentColor } \
    .whisker { stroke: #1c2127; stroke-width: 2 } .title { font-weight: bold }";

#[derive(Clone, Debug)]
pub(crate) struct StagingTime {
    pub name: String,
    /// Seconds: the median between the first and the third quartile.
    pub quartiles: [f64; 3],
    pub is_verified: bool,
}

/// An SVG: for each tree its title and its times.
pub(crate) fn bars(trees: &[(String, Vec<StagingTime>)]) -> String {
    let charts: Vec<_> = trees.iter().map(|(title, times)| tree_chart(title, times)).collect();
    Svg::file(&charts, &(STYLE.to_owned() + BARS))
}

fn tree_chart(title: &str, times: &[StagingTime]) -> Svg {
    let bottom = TOP + ROW * times.len() as f64;
    let mut svg = Svg::new(WIDTH, bottom + 42.0);
    svg.rect("paper", [0.0, 0.0], [WIDTH, bottom + 42.0], "");
    svg.text("title", Anchor::Start, [4.0, 16.0], title);
    let longest = times.iter().map(|time| time.quartiles[2]).fold(0.0, f64::max);
    let scale = Scale::zero_based(longest, 1.0, START, RIGHT - TIME_WIDTH);
    horizontal(&mut svg, &scale, &in_units(&scale), [TOP, bottom], "seconds until all have it");
    for (place, time) in times.iter().enumerate() {
        let top = TOP + ROW * place as f64;
        let class = if time.is_verified { "mark c0" } else { "hollow c1" };
        let [first, median, third] = time.quartiles.map(|value| scale.place(value));
        svg.text("name", Anchor::End, [START - 6.0, top + 13.0], &time.name);
        svg.rect(class, [START, top + 3.0], [median - START, ROW - 6.0], "");
        svg.line("whisker", [first, top + ROW / 2.0], [third, top + ROW / 2.0]);
        let said = seconds(time.quartiles[1]);
        svg.text("tick", Anchor::Start, [third.max(median) + 5.0, top + 13.0], &said);
    }
    svg
}
