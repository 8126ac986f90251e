//! The load tests of a plan's `[tracker]`: one line of `tracker.jsonl` each, and a table.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::records::{self, JournalLine, RecordsError, Recovered};
use super::tracker_load::{LoadResult, LoadTest, TrackerCase, TrackerPlan};
use crate::metrics::LatencySummary;
use crate::report::compare::Screen;
use crate::report::compare::grid::{Column, Grid};
use crate::report::statistics::median;
use crate::report::units::seconds;
use crate::spawn::ThreadError;
use crate::time::Clock;

// The file of the records, within their folder.
// Beside `records.jsonl`, because a load is no run of a contender.
const FILE: &str = "tracker.jsonl";
// What the table leaves out where there is no room, first to last.
// Handouts a second are what a load test is made for.
const TABLE_DROPS: [&str; 4] = ["segments/s", "service p50", "answer p99", "service p99"];
// The version of a record. It grows when a field changes its meaning or goes.
const SCHEMA: u32 = 1;

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct TrackerRecord {
    pub tracker_schema: u32,
    #[serde(flatten)]
    pub case: TrackerCase,
    pub client_threads: usize,
    pub repetition: u32,
    /// Answers with at least one segment, per second.
    pub handouts_per_second: f64,
    pub segments_per_second: f64,
    pub empty: u64,
    pub elapsed_s: f64,
    /// From an ask to its answer, ns. All peers ask at once, so that most of it is waiting.
    pub latency_ns: LatencySummary,
    pub service_ns: LatencySummary,
}

/// Why the tracker can't be loaded.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TrackerRunError {
    #[error(transparent)]
    Records(#[from] RecordsError),
    #[error(transparent)]
    Thread(#[from] ThreadError),
}

/// Loads the tracker in every case of a plan, again and again, until the plan's number of loads or the
/// budget is reached, but one load at least. Appends a line each to the records.
pub(crate) fn run(
    plan: &TrackerPlan,
    budget: Duration,
    seed: u64,
    clock: &Clock,
    dir: &Path,
) -> Result<Vec<TrackerRecord>, TrackerRunError> {
    let path = dir.join(FILE);
    let system = RecordsError::at(&path);
    let mut file = OpenOptions::new().create(true).append(true).open(&path).map_err(&system)?;
    let mut records = Vec::new();
    let began = clock.now();
    let budget_each = plan.seconds.get().min(budget);
    let cases = plan.cases().expect("the plan was checked");
    for repetition in 0..plan.loads.get() {
        for &case in &cases {
            if !records.is_empty() && clock.now().since(began) >= budget {
                return Ok(records);
            }
            let seed = seed.wrapping_add(repetition.into());
            let load = LoadTest { case, budget: budget_each, seed };
            let record = record(case, repetition, &load.measure(clock)?);
            let mut line = serde_json::to_vec(&record).expect("a record holds only plain data");
            line.push(b'\n');
            file.write_all(&line).map_err(&system)?;
            records.push(record);
        }
    }
    Ok(records)
}

fn record(case: TrackerCase, repetition: u32, found: &LoadResult) -> TrackerRecord {
    let seconds = found.elapsed.as_secs_f64().max(f64::MIN_POSITIVE);
    TrackerRecord {
        tracker_schema: SCHEMA,
        case,
        client_threads: case.service_threads,
        repetition,
        handouts_per_second: found.handouts_per_second(),
        segments_per_second: found.segments as f64 / seconds,
        empty: found.empty,
        elapsed_s: found.elapsed.as_secs_f64(),
        latency_ns: found.latency.percentiles(),
        service_ns: found.service.percentiles(),
    }
}

impl JournalLine for TrackerRecord {
    // A load has no summary.
    const VERSIONS: &[(&str, u32)] = &[("tracker_schema", SCHEMA)];
}

/// Reads the loads of a folder; none where there was no such test.
pub(crate) fn read(dir: &Path) -> Result<Recovered<TrackerRecord>, RecordsError> {
    let path = dir.join(FILE);
    if path.exists() { records::lines(&path) } else { Ok(Recovered::default()) }
}

/// A table with a row per case: the medians of its loads.
pub(crate) fn render(records: &[TrackerRecord], screen: Screen) -> String {
    let columns = "index|counters|#threads|#peers|#segments|#handouts/s|#segments/s|\
                   #service p50|#service p99|#answer p99";
    let cases = records.iter().filter(|record| record.repetition == 0).map(|record| record.case);
    let row = |case: TrackerCase| {
        let middle = |of: &dyn Fn(&TrackerRecord) -> f64| {
            let of_case = records.iter().filter(|record| record.case == case);
            median(&of_case.map(of).collect::<Vec<_>>()).unwrap_or(0.0)
        };
        let time = |ns: f64| seconds(ns / 1e9);
        let cells = [
            case.index.to_string(),
            case.counters.to_string(),
            case.service_threads.to_string(),
            case.peers.to_string(),
            case.segments.to_string(),
            format!("{:.0}", middle(&|record| record.handouts_per_second)),
            format!("{:.0}", middle(&|record| record.segments_per_second)),
            time(middle(&|record| record.service_ns.p50 as f64)),
            time(middle(&|record| record.service_ns.p99 as f64)),
            time(middle(&|record| record.latency_ns.p99 as f64)),
        ];
        cells.map(Into::into).into()
    };
    let loads = records.iter().map(|record| record.repetition + 1).max().unwrap_or(0);
    let title = format!("the tracker alone, medians of {loads} loads");
    Grid {
        title,
        columns: Column::list(columns),
        rows: cases.map(row).collect(),
        notes: Vec::new(),
        drops: TABLE_DROPS.map(str::to_owned).to_vec(),
    }
    .text(screen)
        + "\n"
}
