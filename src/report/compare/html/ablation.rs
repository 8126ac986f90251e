//! An ablation: the makespan with one switch set back, against the engine's default.

use super::axis::Scale;
use super::frame::{DrawnFigure, LegendEntry, RIGHT, WIDTH, horizontal};
use super::series::{plain_of, scenarios};
use super::svg::{Anchor, Svg};
use crate::escape::{columns, cut};
use crate::report::compare::grid::{Cell, Column, Grid, Tone};
use crate::report::compare::judge::{self, Bootstrap, JudgedPair, Verdict};
use crate::report::compare::{Figure, Scenario, Set, table};
use crate::report::statistics::RESAMPLES;

// Layout in SVG units; chosen by eye.
const ROW: f64 = 40.0;
const TOP: f64 = 6.0;

/// A contender with switches, compared with the plain one.
struct Step {
    switched: String,
    count: usize,
    row: JudgedPair,
}

/// A drawing for each set and scenario that has switched contenders.
pub(super) fn ablations(sets: &[Set]) -> Vec<DrawnFigure> {
    let of_set = |set| {
        let all = scenarios(std::slice::from_ref(set));
        all.into_iter().filter_map(move |scenario| ablation(set, scenario, sets.len() > 1))
    };
    sets.iter().flat_map(of_set).collect()
}

fn ablation(set: &Set, scenario: &Scenario, name_set: bool) -> Option<DrawnFigure> {
    let mut steps: Vec<Step> = set
        .contenders()
        .into_iter()
        .filter_map(|contender| step(set, scenario, contender))
        .collect();
    let mut rows: Vec<&mut JudgedPair> = steps.iter_mut().map(|step| &mut step.row).collect();
    judge::decide(Figure::Makespan, &mut rows);
    let plain = plain_of(set, &steps.first()?.row.contender)?.to_owned();
    // Single switches first, the largest effect on top; combined switches last.
    steps.sort_by(|left, right| {
        let ratio = |step: &Step| step.row.ratio.unwrap_or(1.0);
        left.count.cmp(&right.count).then(ratio(right).total_cmp(&ratio(left)))
    });
    let bottom = TOP + ROW * steps.len() as f64;
    let mut svg = Svg::new(WIDTH, bottom + 40.0);
    let scale = changes(&steps);
    let percent = |tick: f64| {
        let name = if tick == 0.0 { "0%".to_owned() } else { format!("{:+.0}%", 100.0 * tick) };
        (tick, name)
    };
    let ticks: Vec<_> = scale.ticks().into_iter().map(percent).collect();
    horizontal(&mut svg, &scale, &ticks, [TOP, bottom], &format!("makespan against {plain}"));
    let one = scale.place(0.0);
    svg.line("one", [one, TOP], [one, bottom]);
    for (index, step) in steps.iter().enumerate() {
        draw(&mut svg, &scale, step, TOP + ROW * index as f64);
    }
    let place = if name_set { format!(" in {}", set.label) } else { String::new() };
    let legend = [
        ("bad", "slower with the switch"),
        ("good", "faster with it"),
        ("faint", "no significant difference"),
    ];
    Some(DrawnFigure {
        name: format!("Effect of each switch: {scenario}{place}"),
        description: format!(
            "Makespan of {plain} with a switch ÷ without it, with its 95% interval."
        ),
        svg,
        legend: legend.map(|(class, name)| LegendEntry::new(class, None, name)).into(),
        table: numbers(&steps),
    })
}

fn step(set: &Set, scenario: &Scenario, contender: &str) -> Option<Step> {
    let plain = plain_of(set, contender)?;
    let (base, other) = (set.series(scenario, plain), set.series(scenario, contender));
    let switches = &other.first()?.switches;
    let named: Vec<_> = switches.iter().map(|(name, value)| format!("{name} {value}")).collect();
    let runs: [&[_]; 2] = [&base, &other];
    let bootstrap = Bootstrap { interleaved: set.interleaved, resamples: RESAMPLES };
    let row = judge::row(Figure::Makespan, scenario, contender, runs, bootstrap)?;
    Some(Step { switched: named.join(", "), count: named.len(), row })
}

/// A scale of changes (ratio - 1) that holds all intervals, and 0.
fn changes(steps: &[Step]) -> Scale {
    let ends = steps.iter().flat_map(|step| {
        let interval = step.row.ratio_interval;
        [step.row.ratio, interval.map(|ends| ends.low), interval.map(|ends| ends.high)]
    });
    // At least from -5% to +5%, so that noise does not fill the plot.
    let (low, high) =
        ends.flatten().fold((0.95_f64, 1.05_f64), |(low, high), end| (low.min(end), high.max(end)));
    let room = 0.03 * (high - low);
    Scale::linear(low - room - 1.0, high + room - 1.0, 14.0, RIGHT)
}

fn class_of(row: &JudgedPair) -> &'static str {
    match row.verdict {
        Verdict::Better => "good",
        Verdict::Worse => "bad",
        Verdict::Same | Verdict::TooFew => "faint",
    }
}

fn draw(svg: &mut Svg, scale: &Scale, step: &Step, y: f64) {
    let Some(ratio) = step.row.ratio else { return };
    let class = class_of(&step.row);
    let verdict = table::verdict(Figure::Makespan, &step.row).text;
    let room = 58_usize.saturating_sub(columns(&verdict));
    svg.text("name", Anchor::Start, [14.0, y + 13.0], &cut(&step.switched, room));
    svg.text(&format!("name t-{class}"), Anchor::End, [RIGHT, y + 13.0], &verdict);
    let (one, end) = (scale.place(0.0), scale.place(ratio - 1.0));
    let says = format!("{}: {}", step.switched, table::ratio(ratio));
    svg.rect(
        &format!("mark bar {class}"),
        [one.min(end), y + 18.0],
        [(end - one).abs(), 15.0],
        &says,
    );
    if let Some(interval) = step.row.ratio_interval {
        let ends = [interval.low, interval.high].map(|end| [scale.place(end - 1.0), y + 25.5]);
        svg.line("interval", ends[0], ends[1]);
    }
}

fn numbers(steps: &[Step]) -> Grid {
    let columns = vec![
        Column::words("switched"),
        Column::numbers("ratio"),
        Column::numbers("95% interval"),
        Column::words("verdict"),
    ];
    let row = |step: &Step| {
        let shown = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), table::ratio);
        let interval = step.row.ratio_interval;
        let ends = [interval.map(|ends| ends.low), interval.map(|ends| ends.high)].map(shown);
        vec![
            Cell::from(step.switched.as_str()),
            shown(step.row.ratio).into(),
            Cell::from(ends.join(" to ")).toned(Tone::Faint),
            table::verdict(Figure::Makespan, &step.row),
        ]
    };
    Grid { columns, rows: steps.iter().map(row).collect(), ..Grid::default() }
}
