//! What the records of a measurement say, contender beside contender.

#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

use super::environment::LimitsAt;
use super::records::Record;
use crate::config::Verify;
use crate::report::Summary;
use crate::report::limits::bounds;
use crate::report::statistics::{
    Interval, harmonic_mean, median, median_interval, median_ratio, median_ratio_interval, outliers,
};

/// The name of the file that holds the comparison.
pub(crate) const SUMMARY: &str = "summary.json";

/// The engine that all others are compared with.
const BASELINE: &str = "mutex";
/// The engine that does not move segments one by one.
const WHOLE_FILE: &str = "mpi-bcast";
/// How often the ratio of two medians is drawn anew.
const ROUNDS: usize = 2000;
/// A makespan this much below its bound is impossible; less is the error of measuring both.
pub(super) const TOLERANCE: f64 = 0.05;

/// All runs of one contender on one workload.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct ContenderRow {
    /// The workload's name.
    pub workload: String,
    /// How many peers took part.
    pub peers: usize,
    /// The size of a segment, bytes.
    pub segment_bytes: usize,
    /// The contender's name.
    pub contender: String,
    /// What moved the bytes.
    pub engine: String,
    /// Whether every segment was checked by its digest.
    pub is_verified: bool,
    /// How many runs count.
    pub runs: usize,
    /// The repetitions whose makespans lie beyond Tukey's fences; they count like all others.
    pub outliers: Vec<u32>,
    /// The repetitions that can't be: see [`invalid`].
    pub invalid: Vec<u32>,
    /// Why the first of them can't be.
    pub invalid_why: Option<Invalid>,
    /// The median makespan, seconds.
    pub makespan_s: f64,
    /// Its 95% interval, seconds; none for fewer than 6 runs.
    pub makespan_interval_s: Option<Interval>,
    /// The median makespan of the baseline ÷ that of this contender; none where no baseline ran.
    pub times_baseline: Option<f64>,
    /// Its 95% interval.
    pub times_baseline_interval: Option<Interval>,
    /// The median of the makespans ÷ their bounds: 1.0 is perfect.
    pub ratio_to_bound: Option<f64>,
    /// The median rate, bytes/s.
    pub bytes_per_second: f64,
    /// The harmonic mean of the rates, bytes/s: all bytes ÷ all time.
    pub bytes_per_second_harmonic: Option<f64>,
    /// The median rate, segments/s.
    pub segments_per_second: f64,
    /// The harmonic mean of the rates, segments/s.
    pub segments_per_second_harmonic: Option<f64>,
    /// The median of the most bytes that a peer served ÷ the mean over the peers.
    pub served_max_over_mean: f64,
    /// The median processor time, seconds.
    pub cpu_s: f64,
    /// The median processor time for each delivered GB, seconds.
    pub cpu_s_per_gb: Option<f64>,
    /// The median of the most memory that a process held in RAM, bytes.
    pub peak_rss_bytes: f64,
}

/// Why the figures of a run can't be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Invalid {
    /// Not all that was wanted was delivered.
    Incomplete,
    /// Faster than the machine can be.
    BeyondBound,
}

/// Why the figures of a run can't be, if they can't, on a machine with such `limits`.
pub(crate) fn invalid(record: &Record, limits: &[LimitsAt]) -> Option<Invalid> {
    if !record.run.is_complete() || !record.run.errors.is_empty() {
        return Some(Invalid::Incomplete);
    }
    let is_beyond = ratio_to_bound(record, limits).is_some_and(|ratio| ratio < 1.0 - TOLERANCE);
    is_beyond.then_some(Invalid::BeyondBound)
}

/// The makespan of a run ÷ its bound on a machine with such `limits`; none where these don't know
/// its size of segment, or nothing was delivered.
fn ratio_to_bound(record: &Record, limits: &[LimitsAt]) -> Option<f64> {
    let run = &record.run;
    let at = limits.iter().find(|at| at.segment_bytes == run.segment_bytes)?;
    let bound = bound_s(run, record.verification, at)?;
    Some(run.makespan_s / bound).filter(|ratio| ratio.is_finite())
}

/// The shortest makespan that a machine with such limits allows, seconds: the longer of what its
/// cores and what the messages of its MPI take.
pub(crate) fn bound_s(run: &Summary, verification: Verify, at: &LimitsAt) -> Option<f64> {
    let is_checked = verification != Verify::Off;
    let cores = bounds::one_machine(run.bytes_delivered, run.cores, &at.limits(), is_checked)?;
    // A broadcast of the whole file does not send a message for each segment.
    let rate = at.messages_per_second.filter(|&rate| rate > 0.0 && run.engine != WHOLE_FILE);
    Some(rate.map_or(cores, |rate| cores.max(bounds::messages(run.segments, rate))))
}

/// A row for each contender and workload, in the order in which `contenders` names them and the
/// records first do. All bounds are those of `limits`: of the best that was measured, because what
/// disturbs a measurement of limits only makes them look lower. `seed` decides what the intervals
/// of ratios are drawn from.
pub(crate) fn compare(
    records: &[Record],
    contenders: &[&str],
    limits: &[LimitsAt],
    seed: u64,
) -> Vec<ContenderRow> {
    let mut scenarios: Vec<(&str, usize, usize)> = Vec::new();
    for record in records {
        if !scenarios.contains(&scenario(record)) {
            scenarios.push(scenario(record));
        }
    }
    let mut rows = Vec::new();
    for of in scenarios {
        let runs = |name: &str| -> Vec<&Record> {
            records.iter().filter(|one| scenario(one) == of && one.contender == name).collect()
        };
        let fields: Vec<_> = contenders.iter().map(|name| runs(name)).collect();
        let baseline = fields
            .iter()
            .find(|runs| runs.first().is_some_and(|record| record.run.engine == BASELINE));
        let baseline = baseline.map(|runs| makespans(runs));
        rows.extend(fields.iter().filter_map(|runs| row(runs, baseline.as_deref(), limits, seed)));
    }
    rows
}

fn scenario(record: &Record) -> (&str, usize, usize) {
    (&record.workload, record.run.peers, record.run.segment_bytes)
}

fn makespans(runs: &[&Record]) -> Vec<f64> {
    runs.iter().map(|record| record.run.makespan_s).collect()
}

/// None where there are no runs.
fn row(
    runs: &[&Record],
    baseline: Option<&[f64]>,
    limits: &[LimitsAt],
    seed: u64,
) -> Option<ContenderRow> {
    let first = runs.first()?;
    let all = |of: fn(&Record) -> f64| runs.iter().map(|run| of(run)).collect::<Vec<_>>();
    let middle = |of: fn(&Record) -> f64| median(&all(of));
    let some = |of: fn(&Record) -> Option<f64>| {
        median(&runs.iter().filter_map(|run| of(run)).collect::<Vec<_>>())
    };
    let makespans = makespans(runs);
    let ratios: Vec<_> = runs.iter().filter_map(|run| ratio_to_bound(run, limits)).collect();
    let why: Vec<_> = runs.iter().map(|run| invalid(run, limits)).collect();
    let repetitions = |is_so: Vec<bool>| {
        let marked = runs.iter().zip(is_so).filter(|(_, is_so)| *is_so);
        marked.map(|(run, _)| run.repetition).collect()
    };
    Some(ContenderRow {
        workload: first.workload.clone(),
        peers: first.run.peers,
        segment_bytes: first.run.segment_bytes,
        contender: first.contender.clone(),
        engine: first.run.engine.clone(),
        is_verified: first.verification != Verify::Off,
        runs: runs.len(),
        outliers: repetitions(outliers(&makespans)),
        invalid: repetitions(why.iter().map(Option::is_some).collect()),
        invalid_why: why.iter().flatten().next().copied(),
        makespan_s: median(&makespans)?,
        makespan_interval_s: median_interval(&makespans),
        times_baseline: baseline.and_then(|baseline| median_ratio(baseline, &makespans)),
        times_baseline_interval: baseline
            .and_then(|baseline| median_ratio_interval(baseline, &makespans, ROUNDS, seed)),
        ratio_to_bound: median(&ratios),
        bytes_per_second: middle(|run| run.run.bytes_per_second)?,
        bytes_per_second_harmonic: harmonic_mean(&all(|run| run.run.bytes_per_second)),
        segments_per_second: middle(|run| run.run.segments_per_second)?,
        segments_per_second_harmonic: harmonic_mean(&all(|run| run.run.segments_per_second)),
        served_max_over_mean: middle(|run| run.run.served_max_over_mean)?,
        cpu_s: middle(|run| run.cpu_s)?,
        cpu_s_per_gb: some(|run| {
            let gigabytes = run.run.bytes_delivered as f64 / 1e9;
            Some(run.cpu_s / gigabytes).filter(|seconds| seconds.is_finite())
        }),
        peak_rss_bytes: middle(|run| run.peak_rss_bytes as f64)?,
    })
}
