//! A figure over commits: measurements in the order in which they were made. A line has measurements
//! of one machine only.

use std::collections::BTreeMap;

use serde::Serialize;

use super::cells::{ratio, shown};
use super::grid::{Cell, Column, Grid, Tone};
use super::judge::Group;
use super::table::{csv_group, csv_text, csv_value, keys};
use super::{Figure, Scenario, Set};

// The facts that identify a machine.
const MACHINE: [&str; 5] = ["host", "processor", "cores", "MPI", "profile"];
// The heights of the bars of a sparkline.
const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct History {
    pub history_schema: u32,
    pub figure: Figure,
    pub lines: Vec<HistoryLine>,
}

/// One scenario and contender on one machine, over time.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct HistoryLine {
    pub machine: String,
    pub scenario: Scenario,
    pub contender: String,
    pub points: Vec<Point>,
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
    let mut series: BTreeMap<(String, Scenario, String), Vec<Point>> = BTreeMap::new();
    for set in sets {
        for (scenario, contender) in set.keys() {
            let Some(group) = Group::new(&set.series(scenario, contender), figure) else {
                continue;
            };
            let (label, began, commit) = (set.label.clone(), set.began.clone(), set.commit.clone());
            let key = (machine(set), scenario.clone(), contender.to_owned());
            series.entry(key).or_default().push(Point { label, began, commit, group });
        }
    }
    let lines = series.into_iter().map(|((machine, scenario, contender), points)| HistoryLine {
        machine,
        scenario,
        contender,
        points,
    });
    History { history_schema: 1, figure, lines: lines.collect() }
}

fn machine(set: &Set) -> String {
    let value = |name: &&str| {
        let fact = set.facts.iter().find(|fact| fact.name == *name)?;
        Some(if *name == "cores" { format!("{} cores", fact.value) } else { fact.value.clone() })
    };
    MACHINE.iter().filter_map(value).collect::<Vec<_>>().join(", ")
}

impl Point {
    /// The first seven characters of the commit, or the name of the folder.
    pub(crate) fn name(&self) -> &str {
        self.commit.get(..7).unwrap_or(&self.label)
    }
}

impl History {
    /// A table for each machine: a sparkline, and the first, the best and the last median.
    pub(crate) fn grids(&self) -> Vec<Grid> {
        let mut machines: Vec<&str> = self.lines.iter().map(|line| line.machine.as_str()).collect();
        machines.dedup();
        machines.into_iter().map(|machine| self.grid(machine)).collect()
    }

    fn grid(&self, machine: &str) -> Grid {
        let lines = self.lines.iter().filter(|line| line.machine == machine);
        Grid {
            title: format!("{} on {machine}", self.figure.title()),
            columns: Column::list(
                "workload|#peers|#segment|contender|over commits|#runs|#first|#best|#last|\
                 #last ÷ first",
            ),
            rows: lines.map(|line| self.row(line)).collect(),
            notes: Vec::new(),
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

    pub(crate) fn text(&self, colour: bool) -> String {
        let grids = self.grids();
        grids.iter().map(|grid| grid.text(colour)).collect::<Vec<_>>().join("\n")
    }

    pub(crate) fn markdown(&self) -> String {
        self.grids().iter().map(Grid::markdown).collect::<Vec<_>>().join("\n")
    }

    /// CSV: a line a measurement, with raw numbers in the unit of the figure.
    pub(crate) fn csv(&self) -> String {
        let head = "figure,unit,machine,workload,peers,segment_bytes,parameters,contender,began,\
                    commit,folder,runs,median,low,high,cv";
        let csv_line = |(line, point): (&HistoryLine, &Point)| {
            let scenario = &line.scenario;
            let mut cells = vec![
                self.figure.name().to_owned(),
                self.figure.unit().to_owned(),
                line.machine.clone(),
                scenario.workload.clone(),
                csv_value(scenario.peers),
                csv_value(scenario.segment_bytes),
                scenario.parameters.clone(),
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
