//! A folder of records as a comparison takes it.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::Deserializer;
use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};

use super::comparison::{self, SUMMARY};
use super::environment::{ENVIRONMENT, Environment, LimitsAt};
use super::records::{self, HISTOGRAMS, RECORDS, Record, RecordsError};
use super::tracker_plan::TrackerCase;
use super::tracker_run::{self, TrackerRecord};
use crate::config::{CounterKind, IndexKind, Verify};
use crate::report::compare::{Fact, Figure, Observation, Scenario, Set};
use crate::report::units::size;

/// The version of an environment that this program reads.
const ENVIRONMENT_SCHEMA: u32 = 1;
/// A load average above this part of the cores disturbed the measurement.
const LOAD_MAX: f64 = 0.5;
/// What of a record's parameters tells of the workload; the others are the contender's switches.
const OF_WORKLOAD: [&str; 5] = ["shape", "owners", "wanted", "files", "segments_per_file"];

/// Why a folder is no measurement.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MeasuredError {
    /// The records cannot be read.
    #[error(transparent)]
    Records(#[from] RecordsError),
    /// No run was recorded.
    #[error("{path}: no runs", path = path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// A file is not there.
    #[error("{path}: {cause}", path = path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        cause: io::Error,
    },
    /// A file is not like ours.
    #[error("{path}:{line}: not a file of a measurement: {cause}", path = path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What the parser says.
        cause: serde_json::Error,
    },
    /// The environment is that of another program.
    #[error(
        "{path}: an environment of version {version}; this program reads {ENVIRONMENT_SCHEMA}",
        path = path.display()
    )]
    RecordVersion {
        /// The file.
        path: PathBuf,
        /// Its version.
        version: u32,
    },
    /// A line of the latencies is not like ours.
    #[error("{path}:{line}: not an interval of an HdrHistogram log", path = path.display())]
    Latencies {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
    },
}

/// Whether there are records in the folder.
pub(crate) fn has_records(dir: &Path) -> bool {
    dir.join(RECORDS).is_file()
}

/// Reads the records of a folder, their environment and, where they are there, their latencies.
///
/// # Errors
///
/// When one of them is not what [`records`] writes, with its file and line.
pub(crate) fn read(dir: &Path) -> Result<Set, MeasuredError> {
    let mut recovered = records::read(dir)?;
    let loads = tracker_run::read(dir)?;
    if recovered.records.is_empty() && loads.records.is_empty() {
        return Err(MeasuredError::Empty { path: dir.join(RECORDS) });
    }
    let environment = environment(&dir.join(ENVIRONMENT))?;
    bound(&mut recovered.records, &best_limits(&dir.join(SUMMARY), &environment)?);
    let latencies = latencies(&dir.join(HISTOGRAMS), &recovered.records)?;
    let mut warnings = doubts(&environment);
    if let Some(line) = loads.cut_off {
        warnings.push(format!("line {line} of the tracker's loads was cut off: it is left out"));
    }
    if let Some(line) = recovered.cut_off {
        warnings.push(format!("line {line} of the records was cut off: that run is left out"));
    }
    warnings.extend(left_out(&recovered.records));
    let runs = recovered.records.into_iter().filter(whole).map(observation);
    let real = dir.canonicalize().unwrap_or_else(|_| dir.to_owned());
    Ok(Set {
        label: real.file_name().unwrap_or_default().to_string_lossy().into_owned(),
        origin: dir.to_owned(),
        began: environment.began.clone(),
        commit: environment.program.commit.clone().unwrap_or_default(),
        facts: facts(&environment),
        warnings,
        commands: commands(&environment),
        plan: Some((environment.plan.clone(), environment.plan_text.clone())),
        interleaved: true,
        observations: runs.chain(loads.records.into_iter().map(load)).collect(),
        latencies,
    })
}

/// The limits before and after the measurement, whichever are better; those before it where it was
/// cut off.
fn best_limits(summary: &Path, environment: &Environment) -> Result<Vec<LimitsAt>, MeasuredError> {
    #[derive(serde::Deserialize)]
    struct LimitsText {
        limits: Option<Vec<LimitsAt>>,
    }
    let known = if summary.is_file() { json::<LimitsText>(summary)?.limits } else { None };
    Ok(known.unwrap_or_else(|| environment.limits.clone()))
}

/// Gives every run the bound of these limits.
fn bound(records: &mut [Record], limits: &[LimitsAt]) {
    for Record { verification, run, .. } in records {
        let at = limits.iter().find(|at| at.segment_bytes == run.segment_bytes);
        // None has a bound where the job ran on several machines.
        if let (Some(at), Some(_)) = (at, run.bound_s) {
            run.set_bound(comparison::bound_s(run, *verification, at));
        }
    }
}

/// A run that did not deliver everything has no makespan.
fn whole(record: &Record) -> bool {
    record.run.is_complete() && record.run.errors.is_empty()
}

fn left_out(records: &[Record]) -> Vec<String> {
    let mut sentences = Vec::new();
    let incomplete = records.iter().filter(|record| !whole(record)).count();
    if incomplete > 0 {
        let of = records.len();
        sentences.push(format!("{incomplete} of {of} runs did not deliver all: they are left out"));
    }
    let beyond = records.iter().filter(|record| {
        whole(record)
            && record.run.ratio_to_bound.is_some_and(|ratio| ratio < 1.0 - comparison::TOLERANCE)
    });
    let beyond = beyond.count();
    if beyond > 0 {
        sentences.push(format!("{beyond} runs were faster than their bound: the bound is wrong"));
    }
    if records.iter().any(|record| record.verification == Verify::Off) {
        let mut names: Vec<_> = records
            .iter()
            .filter(|record| record.verification == Verify::Off)
            .map(|record| record.contender.as_str())
            .collect();
        names.sort_unstable();
        names.dedup();
        sentences.push(format!("nobody checked what these delivered: {}", names.join(", ")));
    }
    sentences
}

fn scenario(record: &Record) -> Scenario {
    let parameter = |name: &&str| {
        let value = record.parameters.get(*name)?;
        Some(format!("{name}={}", word(value)))
    };
    Scenario {
        workload: record.workload.clone(),
        peers: Some(record.run.peers),
        segment_bytes: Some(record.run.segment_bytes),
        parameters: OF_WORKLOAD.iter().filter_map(parameter).collect::<Vec<_>>().join(" "),
    }
}

fn word(value: &serde_json::Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), ToOwned::to_owned)
}

fn observation(record: Record) -> Observation {
    let switches =
        record.parameters.iter().filter(|(name, _)| !OF_WORKLOAD.contains(&name.as_str()));
    let switches = switches.map(|(name, value)| (name.clone(), word(value))).collect();
    let run = &record.run;
    let latency = run.segment_latency_ns;
    let seconds = |ns: u64| Some(ns as f64 / 1e9).filter(|_| latency.max > 0);
    let values = [
        (Figure::Makespan, Some(run.makespan_s)),
        (Figure::Rate, Some(run.bytes_per_second).filter(|rate| *rate > 0.0)),
        (Figure::Segments, Some(run.segments_per_second)),
        (Figure::Bound, run.ratio_to_bound),
        (Figure::LatencyP50, seconds(latency.p50)),
        (Figure::LatencyP99, seconds(latency.p99)),
        (Figure::LatencyP999, seconds(latency.p999)),
        (Figure::Balance, Some(run.served_max_over_mean)),
        (Figure::OriginCopies, run.origin_copies),
        (Figure::Cpu, Some(record.cpu_s)),
        (Figure::Memory, Some(record.peak_rss_bytes as f64).filter(|bytes| *bytes > 0.0)),
    ];
    let values = values.into_iter().filter_map(|(figure, value)| Some((figure, value?)));
    Observation {
        scenario: scenario(&record),
        contender: record.contender.clone(),
        switches,
        repetition: Some(record.repetition),
        values: values.collect(),
        run: Some(Box::new(record.run)),
    }
}

/// A load of the tracker alone. The one with locks alone bears the name of the engine with locks.
fn load(record: TrackerRecord) -> Observation {
    let TrackerCase { peers, segments, service_threads, handout, index, counters } = record.case;
    let contender = match (index, counters) {
        (IndexKind::Mutex, CounterKind::Mutex) => "mutex".to_owned(),
        (index, counters) => format!("{index} index, {counters} counters"),
    };
    let threads = if service_threads == 1 { "thread" } else { "threads" };
    Observation {
        scenario: Scenario {
            workload: format!("tracker, {service_threads} {threads}, {segments} segments"),
            peers: usize::try_from(peers).ok(),
            segment_bytes: None,
            parameters: format!("handout={handout} client_threads={}", record.client_threads),
        },
        contender,
        switches: BTreeMap::new(),
        repetition: Some(record.repetition),
        values: BTreeMap::from([
            (Figure::Handouts, record.handouts_per_second),
            (Figure::ServiceP99, record.service_ns.p99 as f64 / 1e9),
        ]),
        run: None,
    }
}

fn environment(path: &Path) -> Result<Environment, MeasuredError> {
    #[derive(serde::Deserialize)]
    struct RecordVersion {
        environment_schema: u32,
    }
    let RecordVersion { environment_schema: version } = json(path)?;
    if version != ENVIRONMENT_SCHEMA {
        return Err(MeasuredError::RecordVersion { path: path.to_owned(), version });
    }
    json(path)
}

fn json<T: serde::de::DeserializeOwned>(path: &Path) -> Result<T, MeasuredError> {
    let text = fs::read_to_string(path)
        .map_err(|cause| MeasuredError::Unreadable { path: path.to_owned(), cause })?;
    serde_json::from_str(&text).map_err(|cause| MeasuredError::Json {
        path: path.to_owned(),
        line: cause.line(),
        cause,
    })
}

/// On what the figures depend.
fn facts(environment: &Environment) -> Vec<Fact> {
    let Environment { host, machine, program, mpi, tuning, .. } = environment;
    let unknown = |value: &Option<String>| value.clone().unwrap_or_else(|| "unknown".to_owned());
    let tuning: Vec<_> = tuning.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let mpi_named = mpi.as_ref().map_or_else(
        || "none: threads of one process".to_owned(),
        |mpi| {
            let library = mpi.library.split(',').next().unwrap_or_default();
            format!("{library}, {} ranks, threads {}", mpi.ranks, mpi.threading)
        },
    );
    let load = environment.load_at_start.map_or_else(
        || "unknown".to_owned(),
        |load| load.map(|average| format!("{average:.2}")).join(" "),
    );
    let none = |text: &str| if text.is_empty() { "none".to_owned() } else { text.to_owned() };
    [
        ("host", host.clone(), true),
        ("processor", machine.cpu.clone(), true),
        ("cores", machine.cores.to_string(), true),
        ("memory", size(machine.memory_bytes as f64), true),
        ("kernel", machine.kernel.clone(), true),
        ("large pages", unknown(&machine.transparent_hugepages), true),
        ("frequency governor", unknown(&machine.frequency_governor), true),
        ("MPI", mpi_named, true),
        ("MPI tuning", none(&tuning.join(" ")), true),
        ("compiler", program.compiler.clone(), true),
        ("flags", none(&program.flags), true),
        ("profile", program.profile.clone(), true),
        ("plan", environment.plan.clone(), false),
        ("commit", unknown(&program.commit), false),
        ("version", program.version.clone(), false),
        ("load at start", load, false),
        ("began", environment.began.clone(), false),
    ]
    .map(|(name, value, matters)| Fact { name, value, matters })
    .into()
}

/// What is wrong with the place of the measurement.
fn doubts(environment: &Environment) -> Vec<String> {
    let Environment { machine, program, load_at_start, .. } = environment;
    let mut doubts = Vec::new();
    if program.profile != "release" {
        doubts.push(format!("the program was built with the profile {}", program.profile));
    }
    if program.dirty == Some(true) {
        doubts.push("the tree differed from its commit".to_owned());
    }
    if program.older_than_source == Some(true) {
        doubts.push("the program was older than its source".to_owned());
    }
    if let Some([load, ..]) = load_at_start
        && *load > LOAD_MAX * machine.cores as f64
    {
        let cores = machine.cores;
        doubts.push(format!(
            "others were at work: a load of {load:.2} on {cores} cores at the start"
        ));
    }
    doubts
}

/// How to measure it again.
fn commands(environment: &Environment) -> Vec<String> {
    let commit = environment.program.commit.as_deref().unwrap_or("<the commit>");
    let plan = format!("{}.toml", environment.plan);
    let launcher = environment.mpi.as_ref().map_or_else(String::new, |mpi| {
        let names = ["OMPI_MCA_", "FI_", "MPICH_", "MPIR_CVAR_", "UCX_"];
        let passed = environment
            .tuning
            .iter()
            .filter(|(name, _)| names.iter().any(|prefix| name.starts_with(prefix)));
        let exported = passed.map(|(name, value)| format!("{name}='{value}' ")).collect::<String>();
        format!("{exported}mpirun -n {} ", mpi.ranks)
    });
    let flags = match environment.program.flags.as_str() {
        "" => String::new(),
        flags => format!("RUSTFLAGS='{flags}' "),
    };
    vec![
        format!("git checkout {commit}"),
        format!("{flags}cargo build --release"),
        format!("# {plan}: its text stands below, inputs/plans may have it"),
        format!("{launcher}target/release/mpiswarm bench {plan}"),
    ]
}

/// The latencies of all runs of a series; nothing where no file is there.
fn latencies(
    path: &Path,
    records: &[Record],
) -> Result<BTreeMap<(Scenario, String), Histogram<u64>>, MeasuredError> {
    let mut all = BTreeMap::new();
    let Ok(bytes) = fs::read(path) else { return Ok(all) };
    let series: BTreeMap<String, &Record> =
        records.iter().map(|record| (records::tag(record), record)).collect();
    for (line, text) in (1..).zip(bytes.split_inclusive(|&byte| byte == b'\n')) {
        if text.starts_with(b"#") || text.starts_with(b"\"") || !text.ends_with(b"\n") {
            continue;
        }
        let broken = || MeasuredError::Latencies { path: path.to_owned(), line };
        let (tag, interval) = interval(text).ok_or_else(broken)?;
        let Some(record) = series.get(&tag) else { continue };
        let key = (scenario(record), record.contender.clone());
        match all.entry(key) {
            Entry::Vacant(place) => {
                place.insert(interval);
            }
            Entry::Occupied(mut sum) => sum.get_mut().add(&interval).map_err(|_| broken())?,
        }
    }
    Ok(all)
}

fn interval(line: &[u8]) -> Option<(String, Histogram<u64>)> {
    let Some(Ok(LogEntry::Interval(interval))) = IntervalLogIterator::new(line).next() else {
        return None;
    };
    let bytes = STANDARD.decode(interval.encoded_histogram()).ok()?;
    let histogram = Deserializer::new().deserialize(&mut bytes.as_slice()).ok()?;
    Some((interval.tag()?.as_str().to_owned(), histogram))
}
