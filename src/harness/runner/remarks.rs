//! What a measurement leaves out, and where it ends before its plan is fulfilled: a line for each reason.

use std::collections::{BTreeMap, BTreeSet};

use crate::escape;
use crate::harness::Launch;
use crate::harness::contender::Contender;
use crate::harness::plan::{Plan, PlannedContender, Repetitions};
use crate::harness::records::Record;
use crate::harness::workload::BenchScenario;
use crate::report::statistics::{median, median_interval};
use crate::report::units::count;

/// A scenario with the contenders that can run it, at least one. Both are numbered as in the plan.
pub(super) struct Fitting<'a> {
    pub number: u32,
    pub scenario: &'a BenchScenario,
    pub contenders: Vec<(u32, &'a PlannedContender, Contender)>,
}

/// What can run here, and what is skipped, in words.
pub(super) fn fitting<'a>(plan: &'a Plan, launch: &Launch) -> (Vec<Fitting<'a>>, Vec<String>) {
    let mut fitting = Vec::new();
    let mut skipped: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut other_peers: BTreeMap<u32, BTreeSet<String>> = BTreeMap::new();
    for (number, scenario) in (0..).zip(&plan.scenarios) {
        let workload = format!("{}, {}", scenario.name, scenario.size());
        if let Some(there) = launch.peers().map(|ranks| scenario.peers_of(ranks))
            && there != scenario.workload.peers
        {
            other_peers.entry(there).or_default().insert(workload);
            continue;
        }
        let mut contenders = Vec::new();
        for (place, entry) in (0..).zip(&plan.contenders) {
            match Contender::new(entry, scenario, launch) {
                Ok(contender) => contenders.push((place, entry, contender)),
                Err(unfit) => {
                    let what = format!("{} on {workload}", entry.name);
                    skipped.entry(unfit.to_string()).or_default().insert(what);
                }
            }
        }
        if !contenders.is_empty() {
            fitting.push(Fitting { number, scenario, contenders });
        }
    }
    let mut lines = Vec::new();
    for (there, what) in &other_peers {
        let workloads = count(what.len() as u64, "workload");
        let there = count(u64::from(*there), "peer");
        lines.push(format!("skipped {workloads} for other than {there}: {}", listed(what)));
    }
    for (why, what) in &skipped {
        let results = count(what.len() as u64, "result");
        lines.push(format!("skipped {results}: {why}: {}", listed(what)));
    }
    (fitting, lines)
}

/// A line if results have fewer runs than the plan's `least`, and one if their intervals are wider than its
/// `target`.
pub(crate) fn shortfalls(plan: &Plan, records: &[Record]) -> Vec<String> {
    let Repetitions { least, .. } = plan.repetitions;
    let (mut few, mut wide) = (BTreeSet::new(), BTreeSet::new());
    for scenario in &plan.scenarios {
        for entry in &plan.contenders {
            let runs = records.iter().filter(|record| is_of(record, scenario, entry));
            let makespans: Vec<_> = runs.map(|record| record.run.makespan_s).collect();
            let what = format!("{} on {}, {}", entry.name, scenario.name, scenario.size());
            if makespans.is_empty() {
                continue;
            }
            if makespans.len() < least as usize {
                few.insert(format!("{what} ({})", count(makespans.len() as u64, "run")));
            } else if reach(&makespans).is_none_or(|reach| reach > plan.target) {
                let reach = reach(&makespans);
                let reach = reach.map_or_else(
                    || "no interval".to_owned(),
                    |reach| format!("± {:.0}%", 100.0 * reach),
                );
                wide.insert(format!("{what} ({reach})"));
            }
        }
    }
    let results = |all: &BTreeSet<String>| count(all.len() as u64, "result");
    let mut lines = Vec::new();
    if !few.is_empty() {
        let of = results(&few);
        lines.push(format!("`least` = {least} not reached in {of}: {}", listed(&few)));
    }
    if !wide.is_empty() {
        let (of, target) = (results(&wide), 100.0 * plan.target);
        lines.push(format!("`target` = ± {target}% not reached in {of}: {}", listed(&wide)));
    }
    lines
}

/// How far the interval of the median reaches to the farther side, as a part of it; none where there is no
/// interval.
pub(super) fn reach(makespans: &[f64]) -> Option<f64> {
    let (median, interval) = (median(makespans)?, median_interval(makespans)?);
    let reach = interval.reach(median);
    if reach == 0.0 { Some(0.0) } else { Some(reach / median).filter(|part| part.is_finite()) }
}

pub(super) fn is_of(record: &Record, scenario: &BenchScenario, entry: &PlannedContender) -> bool {
    record.contender == entry.name
        && record.workload == scenario.name
        && record.run.segment_bytes == scenario.segment_bytes
        && record.run.peers == scenario.workload.peers as usize
}

fn listed(what: &BTreeSet<String>) -> String {
    let what: Vec<_> = what.iter().map(|one| escape::terminal(one)).collect();
    escape::some(&what, "; ")
}
