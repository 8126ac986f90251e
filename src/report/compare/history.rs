//! A figure over commits: measurements in the order in which they were made. A line has measurements under
//! the same conditions only; where they change, a new line begins and says what changed.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::cells::{ratio, shown};
use super::conditions::changes;
use super::grid::{Cell, Column, Grid, Tone};
use super::judge::Group;
use super::table::{csv_group, csv_text, csv_value, keys};
use super::{Fact, Figure, Scenario, Screen, Set};

// What a text leaves out where there is no room, first to last.
// The last median and its ratio to the first say most.
const HISTORY_DROPS: [&str; 4] = ["runs", "best", "first", "over commits"];
// The heights of the bars of a sparkline.
const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct History {
    pub history_schema: u32,
    pub figure: Figure,
    /// Those under the same conditions stand together, the oldest conditions first.
    pub lines: Vec<HistoryLine>,
}

/// One scenario and contender under the same conditions, over time.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct HistoryLine {
    pub conditions: Vec<Fact>,
    pub scenario: Scenario,
    pub contender: String,
    pub points: Vec<Point>,
    /// Why it does not continue an older line of this scenario and contender; none where there is none.
    pub break_reason: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Point {
    pub label: String,
    pub began: String,
    pub commit: String,
    pub group: Group,
}

pub(crate) fn history(sets: &[Set], figure: Figure) -> History {
    let mut sets: Vec<&Set> = sets.iter().collect();
    sets.sort_by(|left, right| (&left.began, &left.label).cmp(&(&right.began, &right.label)));
    // Conditions in the order in which they first occur.
    let mut all_conditions: Vec<Vec<&Fact>> = Vec::new();
    let mut series: BTreeMap<(usize, &Scenario, &str), Vec<Point>> = BTreeMap::new();
    for set in sets {
        let conditions = set.conditions();
        let found = all_conditions.iter().position(|other| *other == conditions);
        let place = found.unwrap_or_else(|| {
            all_conditions.push(conditions);
            all_conditions.len() - 1
        });
        for (scenario, contender) in set.keys() {
            let Some(group) = Group::new(&set.series(scenario, contender), figure) else {
                continue;
            };
            let (label, began, commit) = (set.label.clone(), set.began.clone(), set.commit.clone());
            let point = Point { label, began, commit, group };
            series.entry((place, scenario, contender)).or_default().push(point);
        }
    }
    let line =
        |(&(place, scenario, contender), points): (&(usize, &Scenario, &str), &Vec<Point>)| {
            let is_before = |point: &&Point| point.when() < points[0].when();
            let before = (0..place).filter_map(|older| {
                let others = series.get(&(older, scenario, contender))?;
                Some((older, others.iter().rfind(is_before)?))
            });
            let break_reason = before.max_by_key(|(_, point)| point.when()).map(|(older, last)| {
                let changes = changes(&all_conditions[older], &all_conditions[place]);
                format!("no trend from {} to here: {changes}", last.label)
            });
            let conditions = all_conditions[place].iter().map(|&fact| fact.clone()).collect();
            let (scenario, contender) = (scenario.clone(), contender.to_owned());
            HistoryLine { conditions, scenario, contender, points: points.clone(), break_reason }
        };
    History { history_schema: 2, figure, lines: series.iter().map(line).collect() }
}

impl HistoryLine {
    /// Its conditions as a heading: `node1, 2 cores, ranks 13 on one host`.
    pub(crate) fn conditions(&self) -> String {
        let shown = |fact: &Fact| {
            let Fact { name, value, .. } = fact;
            match *name {
                "host" | "processor" | "kernel" | "transport" => value.clone(),
                "cores" => format!("{value} cores"),
                _ => format!("{name} {value}"),
            }
        };
        let told = self.conditions.iter().filter(|fact| fact.value != "none");
        told.map(shown).collect::<Vec<_>>().join(", ")
    }
}

impl Point {
    fn when(&self) -> (&str, &str) {
        (&self.began, &self.label)
    }

    /// The first seven characters of the commit, or the name of the folder.
    pub(crate) fn name(&self) -> &str {
        self.commit.get(..7).unwrap_or(&self.label)
    }
}

impl History {
    /// A table for the same conditions: a sparkline, and the first, the best and the last median.
    pub(crate) fn grids(&self) -> Vec<Grid> {
        let together = self.lines.chunk_by(|left, right| left.conditions == right.conditions);
        together.map(|lines| self.grid(lines)).collect()
    }

    fn grid(&self, lines: &[HistoryLine]) -> Grid {
        let reasons: BTreeSet<_> =
            lines.iter().filter_map(|line| line.break_reason.clone()).collect();
        Grid {
            title: format!("{} on {}", self.figure.title(), lines[0].conditions()),
            columns: Column::list(
                "workload|#peers|#segment|contender|=over commits|#runs|#first|#best|#last|\
                 #last ÷ first",
            ),
            rows: lines.iter().map(|line| self.row(line)).collect(),
            notes: reasons.into_iter().collect(),
            drops: HISTORY_DROPS.map(str::to_owned).to_vec(),
        }
    }

    fn row(&self, line: &HistoryLine) -> Vec<Cell> {
        let medians: Vec<f64> = line.points.iter().map(|point| point.group.median).collect();
        let worst = |left: &f64, right: &f64| left.total_cmp(right);
        let all = medians.iter().copied();
        let best = if self.figure.more_is_better() { all.max_by(worst) } else { all.min_by(worst) };
        let median = |at| Cell::from(shown(at, |at| self.figure.show(at)));
        let (first, last) = (medians.first().copied(), medians.last().copied());
        let change = match (first, last) {
            (Some(first), Some(last)) if medians.len() > 1 && first != 0.0 => ratio(last / first),
            _ => "-".to_owned(),
        };
        let runs: Vec<String> =
            line.points.iter().map(|point| point.group.values.len().to_string()).collect();
        let mut cells = keys(&line.scenario);
        cells.extend([
            line.contender.as_str().into(),
            bars(&medians).into(),
            Cell::from(runs.join("+")).toned(Tone::Faint),
            median(first),
            median(best),
            median(last),
            change.into(),
        ]);
        cells
    }

    pub(crate) fn text(&self, screen: Screen) -> String {
        let grids = self.grids();
        grids.iter().map(|grid| grid.text(screen)).collect::<Vec<_>>().join("\n")
    }

    pub(crate) fn markdown(&self) -> String {
        self.grids().iter().map(Grid::markdown).collect::<Vec<_>>().join("\n")
    }

    /// CSV: a line a measurement, with raw numbers in the unit of the figure.
    pub(crate) fn csv(&self) -> String {
        let head = "figure,unit,conditions,workload,peers,segment_bytes,parameters,contender,began,\
                    commit,folder,runs,median,low,high,cv";
        let csv_line = |(line, point): (&HistoryLine, &Point)| {
            let scenario = &line.scenario;
            let mut cells = vec![
                self.figure.name().to_owned(),
                self.figure.unit().to_owned(),
                line.conditions(),
                scenario.workload.clone(),
                csv_value(scenario.peers),
                csv_value(scenario.segment_bytes),
                scenario.details(),
                line.contender.clone(),
                point.began.clone(),
                point.commit.clone(),
                point.label.clone(),
            ];
            cells.extend(csv_group(&point.group));
            cells
        };
        let points =
            self.lines.iter().flat_map(|line| line.points.iter().map(move |point| (line, point)));
        csv_text(head, points.map(csv_line))
    }
}

/// A sparkline from zero to the largest value.
fn bars(values: &[f64]) -> String {
    let largest = values.iter().copied().fold(0.0, f64::max);
    let bar = |value: &f64| {
        let steps =
            (1..BARS.len()).filter(|&step| *value * BARS.len() as f64 > step as f64 * largest);
        BARS[steps.count()]
    };
    values.iter().map(bar).collect()
}
