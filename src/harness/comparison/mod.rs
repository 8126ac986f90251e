//! Compares the contenders of one measurement: a row for each contender and workload.

#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

use super::environment::LimitsAt;
use super::records::Record;
use crate::config::Verify;
use crate::report::Summary;
use crate::report::limits::bounds;
use crate::report::statistics::{
    Interval, RESAMPLES, harmonic_mean, median, median_interval, median_ratio,
    median_ratio_interval, outliers,
};

/// The file that holds the comparison.
pub(crate) const SUMMARY: &str = "summary.json";

// The engine that all others are compared with.
const BASELINE: &str = "mutex";
// The engine that broadcasts a whole file and does not send segments one by one.
const WHOLE_FILE: &str = "mpi-bcast";
// A run is invalid if its makespan is below its bound by more than this part.
// Both are measured, and each measurement has an error; 5% was chosen, not tuned.
const TOLERANCE: f64 = 0.05;

/// All runs of one contender on one workload.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct ContenderRow {
    pub workload: String,
    pub peers: usize,
    pub segment_bytes: usize,
    pub contender: String,
    pub engine: String,
    /// Whether every segment was checked against its digest.
    pub is_verified: bool,
    pub runs: usize,
    /// Repetitions whose makespans lie outside of Tukey's fences; they count like all others.
    pub outliers: Vec<u32>,
    pub invalid: Vec<u32>,
    /// Why the first of them is.
    pub invalid_why: Option<Invalid>,
    /// The median makespan, seconds.
    pub makespan_s: f64,
    /// Its interval, seconds; none for fewer than 6 runs.
    pub makespan_interval_s: Option<Interval>,
    /// The median makespan of the baseline ÷ that of this contender; none if no baseline ran.
    pub times_baseline: Option<f64>,
    pub times_baseline_interval: Option<Interval>,
    /// The median of makespan ÷ bound: 1.0 is perfect.
    pub ratio_to_bound: Option<f64>,
    pub bytes_per_second: f64,
    /// The harmonic mean of the rates: all bytes ÷ all time.
    pub bytes_per_second_harmonic: Option<f64>,
    pub segments_per_second: f64,
    /// The harmonic mean of the rates.
    pub segments_per_second_harmonic: Option<f64>,
    /// The median of the most bytes that a peer served ÷ the mean over all peers.
    pub served_max_over_mean: f64,
    /// The median processor time, seconds.
    pub cpu_s: f64,
    /// The median processor time for each delivered GB (10^9 bytes), seconds.
    pub cpu_s_per_gb: Option<f64>,
    /// The median of the peak memory of a process, bytes.
    pub peak_rss_bytes: f64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Invalid {
    Incomplete,
    /// It was faster than the machine can be.
    BeyondBound,
}

/// Why a run on a machine with these `limits` is invalid; none if it is valid.
pub(crate) fn invalid(record: &Record, limits: &[LimitsAt]) -> Option<Invalid> {
    if !record.run.is_complete() || !record.run.errors.is_empty() {
        return Some(Invalid::Incomplete);
    }
    let is_beyond = is_beyond_bound(ratio_to_bound(record, limits));
    is_beyond.then_some(Invalid::BeyondBound)
}

/// Whether makespan ÷ bound is too small to be possible.
pub(super) fn is_beyond_bound(ratio: Option<f64>) -> bool {
    ratio.is_some_and(|ratio| ratio < 1.0 - TOLERANCE)
}

// The makespan of a run ÷ its bound on a machine with these `limits`; none if they were not measured
// for its segment size, or nothing was delivered.
fn ratio_to_bound(record: &Record, limits: &[LimitsAt]) -> Option<f64> {
    let run = &record.run;
    let at = limits.iter().find(|at| at.segment_bytes == run.segment_bytes)?;
    let bound = bound_s(run, record.verification, at)?;
    Some(run.makespan_s / bound).filter(|ratio| ratio.is_finite())
}

/// The bound of a run on a machine with these limits, seconds: the longer of the time for its cores
/// and the time for the messages of its MPI.
pub(crate) fn bound_s(run: &Summary, verification: Verify, at: &LimitsAt) -> Option<f64> {
    let is_checked = verification != Verify::Off;
    let cores = bounds::one_machine(run.bytes_delivered, run.cores, &at.limits(), is_checked)?;
    // A broadcast of the whole file does not send a message for each segment.
    let rate = at.messages_per_second.filter(|&rate| rate > 0.0 && run.engine != WHOLE_FILE);
    Some(rate.map_or(cores, |rate| cores.max(bounds::messages(run.segments, rate))))
}

/// A row for each contender and workload: workloads in the order of the records, contenders in that of
/// `contenders`. `limits` are the best that were measured, because noise only lowers them. `seed` is
/// that of the bootstrap intervals.
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

/// None if there are no runs.
fn row(
    runs: &[&Record],
    baseline: Option<&[f64]>,
    limits: &[LimitsAt],
    seed: u64,
) -> Option<ContenderRow> {
    let first = runs.first()?;
    let all = |of: fn(&Record) -> f64| runs.iter().map(|run| of(run)).collect::<Vec<_>>();
    let median_of = |of: fn(&Record) -> f64| median(&all(of));
    let median_of_some = |of: fn(&Record) -> Option<f64>| {
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
            .and_then(|baseline| median_ratio_interval(baseline, &makespans, RESAMPLES, seed)),
        ratio_to_bound: median(&ratios),
        bytes_per_second: median_of(|run| run.run.bytes_per_second)?,
        bytes_per_second_harmonic: harmonic_mean(&all(|run| run.run.bytes_per_second)),
        segments_per_second: median_of(|run| run.run.segments_per_second)?,
        segments_per_second_harmonic: harmonic_mean(&all(|run| run.run.segments_per_second)),
        served_max_over_mean: median_of(|run| run.run.served_max_over_mean)?,
        cpu_s: median_of(|run| run.cpu_s)?,
        cpu_s_per_gb: median_of_some(|run| {
            let gigabytes = run.run.bytes_delivered as f64 / 1e9;
            Some(run.cpu_s / gigabytes).filter(|seconds| seconds.is_finite())
        }),
        peak_rss_bytes: median_of(|run| run.peak_rss_bytes as f64)?,
    })
}
