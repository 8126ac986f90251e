//! The load tests of a plan's `[tracker]`: one line of `tracker.jsonl` each, and a table.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::Path;
use std::time::Duration;

use comfy_table::presets::UTF8_HORIZONTAL_ONLY;
use comfy_table::{CellAlignment, Table};
use serde::{Deserialize, Serialize};

use super::records::{self, JournalLine, RecordsError, Recovered};
use super::tracker_load::{LoadResult, LoadTest};
use super::tracker_plan::{TrackerCase, TrackerPlan};
use crate::metrics::LatencySummary;
use crate::report::statistics::median;
use crate::report::units::seconds;
use crate::time::Clock;

// The file of the records, within their folder.
// Beside `records.jsonl`, because a load is no run of a contender.
const FILE: &str = "tracker.jsonl";
// The version of a record. It grows when a field changes its meaning or goes.
const SCHEMA: u32 = 1;

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct TrackerRecord {
    /// The version of this record: 1.
    pub tracker_schema: u32,
    #[serde(flatten)]
    pub case: TrackerCase,
    pub client_threads: usize,
    pub repetition: u32,
    /// Answers with at least one segment, per second.
    pub handouts_per_second: f64,
    pub segments_per_second: f64,
    pub empty: u64,
    /// How long it was measured, seconds.
    pub elapsed_s: f64,
    /// From an ask to its answer, ns. All peers ask at once, so that most of it is waiting.
    pub latency_ns: LatencySummary,
    /// The part that a service thread takes, ns.
    pub service_ns: LatencySummary,
}

/// Loads the tracker in every case of a plan, again and again, until the plan's number of loads or the
/// budget is reached, but one load at least. Appends a line each to the records.
///
/// # Errors
///
/// When the records can't be written.
pub(crate) fn run(
    plan: &TrackerPlan,
    budget: Duration,
    seed: u64,
    clock: &Clock,
    dir: &Path,
) -> Result<Vec<TrackerRecord>, RecordsError> {
    let path = dir.join(FILE);
    let system = |cause| RecordsError::System { path: path.clone(), cause };
    let mut file = OpenOptions::new().create(true).append(true).open(&path).map_err(system)?;
    let mut records = Vec::new();
    let began = clock.now();
    let budget_each = Duration::from_secs_f64(plan.seconds.get()).min(budget);
    let cases = plan.cases().expect("the plan was checked");
    for repetition in 0..plan.loads.get() {
        for &case in &cases {
            if !records.is_empty() && clock.now().since(began) >= budget {
                return Ok(records);
            }
            let load = LoadTest::of(&case, budget_each, seed + u64::from(repetition));
            let record = record(case, &load, repetition, &load.measure(clock));
            let mut line = serde_json::to_vec(&record).expect("a record holds only plain data");
            line.push(b'\n');
            file.write_all(&line).map_err(system)?;
            records.push(record);
        }
    }
    Ok(records)
}

fn record(
    case: TrackerCase,
    load: &LoadTest,
    repetition: u32,
    found: &LoadResult,
) -> TrackerRecord {
    let seconds = found.elapsed.as_secs_f64().max(f64::MIN_POSITIVE);
    TrackerRecord {
        tracker_schema: SCHEMA,
        case,
        client_threads: load.client_threads,
        repetition,
        handouts_per_second: found.handouts_per_second(),
        segments_per_second: found.segments as f64 / seconds,
        empty: found.empty,
        elapsed_s: found.elapsed.as_secs_f64(),
        latency_ns: found.latency.percentiles(),
        service_ns: found.service.percentiles(),
    }
}

/// What every version of a record has.
#[derive(Deserialize)]
pub(super) struct LoadVersion {
    tracker_schema: u32,
}

impl JournalLine for TrackerRecord {
    type Versions = LoadVersion;

    fn versions(said: &LoadVersion) -> impl Iterator<Item = (u32, u32)> {
        std::iter::once((said.tracker_schema, SCHEMA))
    }
}

/// Reads the loads of a folder; none where there was no such test.
///
/// # Errors
///
/// The file cannot be read, or a line that has its end is no record of this version.
pub(crate) fn read(dir: &Path) -> Result<Recovered<TrackerRecord>, RecordsError> {
    let path = dir.join(FILE);
    if path.is_file() { records::lines(&path) } else { Ok(Recovered::default()) }
}

/// A table with a row per case: the medians of its loads.
pub(crate) fn render(records: &[TrackerRecord]) -> String {
    let mut table = Table::new();
    table.load_style(UTF8_HORIZONTAL_ONLY).set_header([
        "index",
        "counters",
        "threads",
        "peers",
        "segments",
        "handouts/s",
        "segments/s",
        "service p50",
        "service p99",
        "answer p99",
    ]);
    let cases = records.iter().filter(|record| record.repetition == 0).map(|record| record.case);
    for case in cases {
        let of_case: Vec<_> = records.iter().filter(|record| record.case == case).collect();
        let middle = |of: &dyn Fn(&TrackerRecord) -> f64| {
            median(&of_case.iter().map(|record| of(record)).collect::<Vec<_>>()).unwrap_or(0.0)
        };
        let time = |ns: f64| seconds(ns / 1e9);
        table.add_row([
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
        ]);
    }
    for column in table.column_iter_mut().skip(2) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    let loads = records.iter().map(|record| record.repetition + 1).max().unwrap_or(0);
    format!("the tracker alone, medians of {loads} loads\n{table}\n")
}
