//! Reads a folder of records as the input of a comparison.

mod measurement;
#[cfg(test)]
mod tests;

pub(crate) use measurement::read_launches;

use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};

use super::environment::{ENVIRONMENT, Environment, LimitsAt, none_if_empty};
use super::plan;
use super::records::{
    self, HISTOGRAMS, RECORDS, RECORDS_BYTES_MAX, Record, RecordsError, SUMMARY, word,
};
use super::tracker_load::TrackerCase;
use super::tracker_run::{self, TrackerRecord};
use super::workload::Shape;
use crate::config::{CounterKind, IndexKind, Verify};
use crate::escape;
use crate::manifest::read_bounded;
use crate::metrics::Latency;
use crate::report::compare::{Fact, Figure, Observation, Scenario, Set};
use crate::report::units::{count, size};

// The version of an environment that this program reads.
// `Environment::capture` writes it.
const ENVIRONMENT_SCHEMA: u32 = 1;
// A load average at the start above this part of the cores is warned of.
// Chosen, not tuned: a machine that is idle has a load near 0.
const LOAD_MAX: f64 = 0.5;
// A bound is wrong if a makespan is below it by more than this part.
// Both are measured, and each measurement has an error; 5% was chosen, not tuned.
const TOLERANCE: f64 = 0.05;
// Bytes of a laboratory's `links.txt`, at most: 250 hosts have a line of 60 bytes each.
const LINKS_BYTES_MAX: u64 = 1 << 16;
// Bytes of an environment or a summary, at most.
// Both hold a plan's text, which has a bound, and limits for each size of segment.
const FACTS_BYTES_MAX: u64 = 16 << 20;
// The parameters of a record that belong to the workload; the others are the contender's switches.
const OF_WORKLOAD: [&str; 7] =
    ["shape", "owners", "wanted", "files", "segments_per_file", "bytes", "folder"];

pub(crate) fn has_records(dir: &Path) -> bool {
    dir.join(RECORDS).is_file()
}

/// Reads the records of a folder, their environment and, if there are any, their latencies.
pub(crate) fn read(dir: &Path) -> Result<Set, RecordsError> {
    let mut recovered = records::read(dir)?;
    let loads = tracker_run::read(dir)?;
    if recovered.records.is_empty() && loads.records.is_empty() {
        return Err(RecordsError::Empty(dir.join(RECORDS)));
    }
    let mut environment = environment(&dir.join(ENVIRONMENT))?;
    environment.links = environment.links.or_else(|| links(dir));
    set_bounds(&mut recovered.records, &best_limits(&dir.join(SUMMARY), &environment)?);
    let latencies = latencies(&dir.join(HISTOGRAMS), &recovered.records)?;
    let mut warnings = environment_warnings(&environment);
    if let Some(line) = loads.cut_off {
        warnings.push(format!("line {line} of the tracker's loads is cut off and was left out"));
    }
    if let Some(line) = recovered.cut_off {
        warnings.push(format!("line {line} of the records is cut off: that run was left out"));
    }
    let incomplete = incomplete(&recovered.records);
    warnings.extend(invalid_runs(&recovered.records));
    warnings.extend(unverified(&recovered.records));
    let runs = recovered.records.into_iter().filter(is_complete).map(observation);
    let real = dir.canonicalize().unwrap_or_else(|_| dir.to_owned());
    Ok(Set {
        label: real.file_name().unwrap_or_default().to_string_lossy().into_owned(),
        origin: dir.to_owned(),
        began: environment.began.clone(),
        commit: environment.program.commit.clone().unwrap_or_default(),
        facts: facts(&environment),
        warnings,
        incomplete,
        commands: commands(&environment),
        plan: Some((environment.plan.clone(), environment.plan_text.clone())),
        ladder: plan::ladder(&environment.plan_text),
        interleaved: true,
        observations: runs.chain(loads.records.into_iter().map(load)).collect::<Vec<_>>().into(),
        latencies,
    })
}

/// How `scripts/lab-bench.sh` shaped the links: records before 28 November 2026 have it beside them only.
fn links(dir: &Path) -> Option<String> {
    let text = read_bounded(&dir.parent()?.join("links.txt"), LINKS_BYTES_MAX).ok()?;
    let text = String::from_utf8(text).ok()?;
    Some(text.lines().next()?.strip_prefix("lab: up: ")?.to_owned())
}

/// The better of the limits before and after the measurement; those before it if it was cut off.
fn best_limits(summary: &Path, environment: &Environment) -> Result<Vec<LimitsAt>, RecordsError> {
    #[derive(serde::Deserialize)]
    struct LimitsText {
        limits: Option<Vec<LimitsAt>>,
    }
    let known = if summary.exists() { json::<LimitsText>(summary)?.limits } else { None };
    Ok(known.unwrap_or_else(|| environment.limits.clone()))
}

fn set_bounds(records: &mut [Record], limits: &[LimitsAt]) {
    for Record { verification, run, .. } in records {
        let at = limits.iter().find(|at| at.segment_bytes == run.segment_bytes);
        // A job on several machines has no bound.
        if let (Some(at), Some(_)) = (at, run.bound_s) {
            run.set_bound(at.bound_s(run, *verification));
        }
    }
}

/// Whether everything was delivered; otherwise a run has no makespan.
fn is_complete(record: &Record) -> bool {
    record.run.is_complete() && record.run.errors.is_empty()
}

fn incomplete(records: &[Record]) -> BTreeMap<(Scenario, String), usize> {
    let mut incomplete = BTreeMap::new();
    for record in records.iter().filter(|record| !is_complete(record)) {
        *incomplete.entry((scenario(record), record.contender.clone())).or_default() += 1;
    }
    incomplete
}

/// A sentence for each scenario and contender with runs that are incomplete, or faster than the machine
/// can be.
fn invalid_runs(records: &[Record]) -> Vec<String> {
    let mut series: BTreeMap<(Scenario, &str), [usize; 3]> = BTreeMap::new();
    for record in records {
        let is_beyond = record.run.ratio_to_bound.is_some_and(|ratio| ratio < 1.0 - TOLERANCE);
        let [runs, incomplete, beyond] =
            series.entry((scenario(record), &record.contender)).or_default();
        *runs += 1;
        *incomplete += usize::from(!is_complete(record));
        *beyond += usize::from(is_complete(record) && is_beyond);
    }
    let mut sentences = Vec::new();
    for ((scenario, contender), [runs, incomplete, beyond]) in series {
        let of = format!("{contender}, {scenario}");
        if incomplete > 0 {
            sentences
                .push(format!("{of}: {incomplete} of {runs} runs were incomplete and left out"));
        }
        if beyond > 0 {
            let runs = count(beyond as u64, "run");
            let why = "the bound was measured too low";
            sentences.push(format!("{of}: {runs} faster than the bound: {why}"));
        }
    }
    sentences
}

fn unverified(records: &[Record]) -> Option<String> {
    let unverified = records.iter().filter(|record| record.verification == Verify::Off);
    let names: BTreeSet<_> = unverified.map(|record| record.contender.as_str()).collect();
    let names: Vec<_> = names.into_iter().collect();
    (!names.is_empty())
        .then(|| format!("contenders that did not verify: {}", escape::some(&names, ", ")))
}

fn scenario(record: &Record) -> Scenario {
    let parameter = |name: &&str| {
        let value = record.parameters.get(*name)?;
        Some(format!("{name}={}", word(value)))
    };
    Scenario {
        workload: record.workload.clone(),
        peers: Some(record.run.peers),
        // Only a stage cuts a tree into segments, each as it chooses.
        segment_bytes: Some(record.run.segment_bytes).filter(|_| !is_of_tree(record)),
        parameters: OF_WORKLOAD.iter().filter_map(parameter).collect::<Vec<_>>().join(" "),
        ..Scenario::default()
    }
}

/// Whether a tree was copied.
fn is_of_tree(record: &Record) -> bool {
    record.parameters.get("shape").is_some_and(|shape| *shape == Shape::Tree.name())
}

fn observation(record: Record) -> Observation {
    let switches =
        record.parameters.iter().filter(|(name, _)| !OF_WORKLOAD.contains(&name.as_str()));
    let switches = switches.map(|(name, value)| (name.clone(), word(value))).collect();
    let run = &record.run;
    let latency = run.segment_latency_ns;
    let seconds = |ns: u64| Some(ns as f64 / 1e9).filter(|_| latency.max > 0);
    let is_of_tree = is_of_tree(&record);
    let files = Some(run.files as f64 / run.makespan_s).filter(|rate| rate.is_finite());
    // Programs serve nobody.
    let serves = !is_of_tree || run.served_bytes.iter().any(|bytes| *bytes > 0);
    let values = [
        (Figure::Makespan, Some(run.makespan_s)),
        (Figure::Rate, Some(run.bytes_per_second).filter(|rate| *rate > 0.0)),
        (Figure::Segments, Some(run.segments_per_second).filter(|_| !is_of_tree)),
        (Figure::Files, files.filter(|_| is_of_tree)),
        (Figure::Bound, run.ratio_to_bound),
        (Figure::LatencyP50, seconds(latency.p50)),
        (Figure::LatencyP99, seconds(latency.p99)),
        (Figure::LatencyP999, seconds(latency.p999)),
        (Figure::Balance, Some(run.served_max_over_mean).filter(|_| serves)),
        (Figure::OriginCopies, run.origin_copies),
        (Figure::Cpu, Some(record.cpu_s)),
        (Figure::CpuSetup, Some(record.cpu_setup_s).filter(|seconds| *seconds > 0.0)),
        (Figure::Memory, Some(record.peak_rss_bytes as f64).filter(|bytes| *bytes > 0.0)),
    ];
    let values = values.into_iter().filter_map(|(figure, value)| Some((figure, value?)));
    Observation {
        scenario: scenario(&record),
        contender: record.contender.clone(),
        switches,
        launch: 0,
        repetition: Some(record.repetition),
        values: values.collect(),
        run: Some(Box::new(record.run)),
    }
}

/// A load test of the tracker alone. The one with locks only is called as the engine with locks.
fn load(record: TrackerRecord) -> Observation {
    let TrackerCase { peers, segments, service_threads, handout, index, counters } = record.case;
    let contender = match (index, counters) {
        (IndexKind::Mutex, CounterKind::Mutex) => "mutex".to_owned(),
        (index, counters) => format!("{index} index, {counters} counters"),
    };
    let threads = count(service_threads as u64, "thread");
    Observation {
        scenario: Scenario {
            workload: format!("tracker, {threads}, {segments} segments"),
            peers: usize::try_from(peers).ok(),
            segment_bytes: None,
            parameters: format!("handout={handout} client_threads={}", record.client_threads),
            ..Scenario::default()
        },
        contender,
        switches: BTreeMap::new(),
        launch: 0,
        repetition: Some(record.repetition),
        values: BTreeMap::from([
            (Figure::Handouts, record.handouts_per_second),
            (Figure::ServiceP99, record.service_ns.p99 as f64 / 1e9),
        ]),
        run: None,
    }
}

pub(super) fn environment(path: &Path) -> Result<Environment, RecordsError> {
    #[derive(serde::Deserialize)]
    struct AnyVersion {
        environment_schema: u64,
    }
    let AnyVersion { environment_schema: version } = json(path)?;
    if version != u64::from(ENVIRONMENT_SCHEMA) {
        let place = escape::path(path);
        return Err(RecordsError::Version {
            place,
            what: "an environment",
            version,
            known: ENVIRONMENT_SCHEMA,
        });
    }
    json(path)
}

fn json<T: serde::de::DeserializeOwned>(path: &Path) -> Result<T, RecordsError> {
    let text = read_bounded(path, FACTS_BYTES_MAX).map_err(RecordsError::at(path))?;
    serde_json::from_slice(&text).map_err(|cause| {
        let (path, line) = (path.to_owned(), cause.line());
        RecordsError::Damaged { path, line, what: "a file of a measurement", cause }
    })
}

fn facts(environment: &Environment) -> Vec<Fact> {
    let Environment { machine, program, .. } = environment;
    let unknown = |value: &Option<String>| value.clone().unwrap_or_else(|| "unknown".to_owned());
    let load = environment.load_at_start.map_or_else(
        || "unknown".to_owned(),
        |load| load.map(|average| format!("{average:.2}")).join(" "),
    );
    let conditions = environment.conditions().map(|(name, value)| (name, value, true));
    let others = [
        ("memory", size(machine.memory_bytes as f64), true),
        ("large pages", unknown(&machine.transparent_hugepages), true),
        ("frequency governor", unknown(&machine.frequency_governor), true),
        ("compiler", program.compiler.clone(), true),
        ("flags", none_if_empty(&program.flags), true),
        ("commit", unknown(&program.commit), false),
        ("version", program.version.clone(), false),
        ("load at start", load, false),
        ("began", environment.began.clone(), false),
    ];
    let facts = conditions.into_iter().chain(others);
    facts.map(|(name, value, matters)| Fact { name, value, matters }).collect()
}

fn environment_warnings(environment: &Environment) -> Vec<String> {
    let Environment { machine, program, load_at_start, .. } = environment;
    let mut warnings = Vec::new();
    if program.profile != "release" {
        warnings.push(format!("the program was built with the profile {}", program.profile));
    }
    if program.dirty == Some(true) {
        warnings.push("the source had uncommitted changes".to_owned());
    }
    if program.older_than_source == Some(true) {
        warnings.push("the program was not rebuilt after the source had changed".to_owned());
    }
    if let Some([load, ..]) = load_at_start
        && *load > LOAD_MAX * machine.cores as f64
    {
        // Without the number, which stands among the facts: launches with the same warning share a line.
        let cores = count(machine.cores as u64, "core");
        warnings.push(format!("the machine was busy when it began: a load above half of {cores}"));
    }
    warnings
}

fn commands(environment: &Environment) -> Vec<String> {
    let shell = |word: &str| escape::shell(word.as_ref());
    // Records may come from anybody: no commit is an option of git, and no name is shell code.
    let is_hash = |commit: &&str| commit.bytes().all(|byte| byte.is_ascii_hexdigit());
    let commit = environment.program.commit.as_deref().filter(is_hash).unwrap_or("<the commit>");
    let plan = shell(&format!("{}.toml", environment.plan));
    let launcher = environment.mpi.as_ref().map_or_else(String::new, |mpi| {
        let names = ["OMPI_MCA_", "FI_", "I_MPI_", "MPICH_", "MPIR_CVAR_", "UCX_"];
        let passed = environment
            .tuning
            .iter()
            .filter(|(name, _)| names.iter().any(|prefix| name.starts_with(prefix)))
            .filter(|(name, _)| name.chars().all(|c| c == '_' || c.is_ascii_alphanumeric()));
        let exported = passed.map(|(name, value)| format!("{name}={} ", shell(value)));
        let exported = exported.collect::<String>();
        format!("{exported}mpirun -n {} ", mpi.ranks)
    });
    let flags = match environment.program.flags.as_str() {
        "" => String::new(),
        flags => format!("RUSTFLAGS={} ", shell(flags)),
    };
    vec![
        format!("git checkout {commit}"),
        format!("{flags}cargo build --release"),
        format!("# {plan} may be in inputs/plans; a page shows its text"),
        format!("{launcher}target/release/mpiswarm bench {plan}"),
    ]
}

/// The latencies of all runs of a scenario and contender; empty if there is no file.
fn latencies(
    path: &Path,
    records: &[Record],
) -> Result<BTreeMap<(Scenario, String), Histogram<u64>>, RecordsError> {
    let mut all = BTreeMap::new();
    let bytes = match read_bounded(path, RECORDS_BYTES_MAX) {
        Err(cause) if cause.kind() == ErrorKind::NotFound => return Ok(all),
        read => read.map_err(RecordsError::at(path))?,
    };
    let series: BTreeMap<String, &Record> =
        records.iter().map(|record| (records::tag(record), record)).collect();
    for (line, text) in (1..).zip(bytes.split_inclusive(|&byte| byte == b'\n')) {
        if text.starts_with(b"#") || text.starts_with(b"\"") || !text.ends_with(b"\n") {
            continue;
        }
        let broken = || RecordsError::Latencies { path: path.to_owned(), line };
        let (tag, interval) = interval(text).ok_or_else(broken)?;
        let Some(record) = series.get(&tag) else { continue };
        let key = (scenario(record), record.contender.clone());
        if let Some(sum) = all.get_mut(&key) {
            Histogram::add(sum, &interval).map_err(|_| broken())?;
        } else {
            all.insert(key, interval);
        }
    }
    Ok(all)
}

fn interval(line: &[u8]) -> Option<(String, Histogram<u64>)> {
    let Some(Ok(LogEntry::Interval(interval))) = IntervalLogIterator::new(line).next() else {
        return None;
    };
    let bytes = STANDARD.decode(interval.encoded_histogram()).ok()?;
    let latency = Latency::decode_compressed(&bytes)?;
    Some((interval.tag()?.as_str().to_owned(), latency.histogram().clone()))
}
