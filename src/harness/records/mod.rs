//! Records of runs in files: a line for each run, written when the run ends. A killed process leaves
//! whole lines and at most a part of one more.

#[cfg(test)]
pub(super) mod tests;

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use hdrhistogram::serialization::V2DeflateSerializer;
use hdrhistogram::serialization::interval_log::{IntervalLogWriterBuilder, Tag};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::config::Verify;
use crate::escape;
use crate::manifest::read_bounded;
use crate::metrics::Latency;
use crate::report::Summary;
use crate::report::summary::SCHEMA;

// It grows when a field changes its meaning or is removed.
pub(super) const RECORD_SCHEMA: u32 = 1;

// Bytes of a file with a line for each run, at most.
// A run takes 2 to 4 kB, and up to 40 kB of latencies: weeks of measuring.
pub(super) const RECORDS_BYTES_MAX: u64 = 1 << 30;

/// The file of runs, a line each.
pub const RECORDS: &str = "records.jsonl";
/// The file of the better of the limits before and after all runs.
pub(super) const SUMMARY: &str = "summary.json";
/// The file of latencies of each run, in the log format that viewers of HdrHistogram read.
pub const HISTOGRAMS: &str = "histograms.hlog";

/// One run of one contender: the summary of `mpiswarm run --json`, and what was run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names say what they hold")]
pub struct Record {
    pub record_schema: u32,
    pub workload: String,
    /// The name of the contender in the plan, with its switches from lists.
    pub contender: String,
    /// The switches of the contender, and the shape and size of the workload.
    pub parameters: serde_json::Map<String, serde_json::Value>,
    /// Which repetition it is, from 0; warm-up runs leave no record.
    pub repetition: u32,
    /// Seconds since the beginning of the whole measurement when this run ended.
    pub ended_at_s: f64,
    /// Where segments were checked; if nowhere, `bound_s` counts no hashing.
    pub verification: Verify,
    /// How long all cores take to hash the delivered bytes, seconds; none if unknown. Add it to the
    /// makespan of an unverified run.
    pub verification_s: Option<f64>,
    /// Processor time in user mode and in the kernel, over all processes, seconds, since the swarm
    /// opened.
    pub cpu_s: f64,
    /// The same before the swarm opened, to register and to reserve memory, but not to make the payload.
    /// 0 in older records, where `cpu_s` includes it.
    #[serde(default)]
    pub cpu_setup_s: f64,
    /// The part of `cpu_s` in the kernel, seconds.
    pub cpu_system_s: f64,
    /// The peak memory of a process, bytes; 0 if unknown.
    pub peak_rss_bytes: u64,
    pub processes: usize,
    pub voluntary_switches: u64,
    pub involuntary_switches: u64,
    #[serde(flatten)]
    pub run: Summary,
}

/// Why a folder of records cannot be written or read.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say what they mean")]
pub enum RecordsError {
    #[error("{path}: {cause}", path = escape::path(path))]
    System { path: PathBuf, cause: io::Error },
    #[error("{path}: the folder exists: use --resume to continue it, or another --out", path = escape::path(.0))]
    Exists(PathBuf),
    #[error("{path}: no runs", path = escape::path(.0))]
    Empty(PathBuf),
    #[error("{path}:{line}: not {what}: {cause}", path = escape::path(path))]
    Damaged { path: PathBuf, line: usize, what: &'static str, cause: serde_json::Error },
    #[error("{path}:{line}: not an interval of an HdrHistogram log", path = escape::path(path))]
    Latencies { path: PathBuf, line: usize },
    #[error("{place}: {what} of version {version}; this program reads {known}")]
    Version { place: String, what: &'static str, version: u64, known: u32 },
    #[error(
        "{path}: the {what} was another when the measurement began: start a new one with another --out",
        path = escape::path(path)
    )]
    Differs { path: PathBuf, what: &'static str },
}

impl RecordsError {
    /// What the system refused at this path.
    pub(super) fn at(path: &Path) -> impl Fn(io::Error) -> Self {
        move |cause| Self::System { path: path.to_owned(), cause }
    }
}

/// The records that could be read.
#[derive(Clone, Debug, PartialEq)]
pub struct Recovered<T = Record> {
    /// In the order in which they were written.
    pub records: Vec<T>,
    /// The length of all whole lines.
    pub whole_bytes: u64,
    /// The number of the last line, from 1, if it was cut off.
    pub cut_off: Option<usize>,
}

impl<T> Default for Recovered<T> {
    fn default() -> Self {
        Self { records: Vec::new(), whole_bytes: 0, cut_off: None }
    }
}

/// A line of a file to which each run adds one.
pub(super) trait JournalLine: DeserializeOwned {
    /// The fields that state a version, each with the one that this program reads.
    const VERSIONS: &[(&str, u32)];
}

impl JournalLine for Record {
    // Its own version, and that of the summary in it.
    const VERSIONS: &[(&str, u32)] = &[("record_schema", RECORD_SCHEMA), ("schema", SCHEMA)];
}

/// Reads the records of a folder.
///
/// # Errors
///
/// The file cannot be read, or a whole line is no record of this version.
pub fn read(dir: &Path) -> Result<Recovered, RecordsError> {
    lines(&dir.join(RECORDS))
}

/// Reads the lines of a file, as [`read`] does.
pub(super) fn lines<T: JournalLine>(path: &Path) -> Result<Recovered<T>, RecordsError> {
    let bytes = read_bounded(path, RECORDS_BYTES_MAX).map_err(RecordsError::at(path))?;
    let mut recovered = Recovered::default();
    for (number, text) in (1..).zip(bytes.split_inclusive(|&byte| byte == b'\n')) {
        if !text.ends_with(b"\n") {
            recovered.cut_off = Some(number);
            break;
        }
        recovered.records.push(line(path, number, text)?);
        recovered.whole_bytes += u64::try_from(text.len()).unwrap_or(0);
    }
    Ok(recovered)
}

fn line<T: JournalLine>(path: &Path, line: usize, text: &[u8]) -> Result<T, RecordsError> {
    let (path, what) = (path.to_owned(), "a record");
    let place = format!("{}:{line}", escape::path(&path));
    let damaged = |cause| RecordsError::Damaged { path: path.clone(), line, what, cause };
    // Versions first, because a later record may lack fields that this program needs.
    let said: serde_json::Value = serde_json::from_slice(text).map_err(damaged)?;
    for &(name, known) in T::VERSIONS {
        let version = said.get(name).and_then(serde_json::Value::as_u64);
        if let Some(version) = version.filter(|&version| version != u64::from(known)) {
            return Err(RecordsError::Version { place, what, version, known });
        }
    }
    serde_json::from_slice(text).map_err(damaged)
}

/// The open files of a measurement.
#[derive(Debug)]
pub struct Journal {
    dir: PathBuf,
    records: File,
    histograms: File,
}

impl Journal {
    /// Begins records in the folder `dir`, which is created if it is missing.
    ///
    /// # Errors
    ///
    /// The folder has records already, or cannot be written to.
    pub fn begin(dir: &Path) -> Result<Self, RecordsError> {
        std::fs::create_dir_all(dir).map_err(RecordsError::at(dir))?;
        let create = |name| {
            let path = dir.join(name);
            let created = OpenOptions::new().append(true).create_new(true).open(&path);
            let is_there = |cause: &io::Error| cause.kind() == io::ErrorKind::AlreadyExists;
            if created.as_ref().is_err_and(is_there) {
                return Err(RecordsError::Exists(path));
            }
            created.map_err(RecordsError::at(&path))
        };
        let mut this = Self {
            dir: dir.to_owned(),
            records: create(RECORDS)?,
            histograms: create(HISTOGRAMS)?,
        };
        let head = b"#[Histogram log format version 1.3]\n\
              #[ns from the request for a segment until it was verified; one interval a run]\n\
              \"StartTimestamp\",\"Interval_Length\",\"Interval_Max\",\
              \"Interval_Compressed_Histogram\"\n";
        this.histograms.write_all(head).map_err(RecordsError::at(&dir.join(HISTOGRAMS)))?;
        Ok(this)
    }

    /// Goes on after the whole lines of the records in the folder `dir`.
    ///
    /// # Errors
    ///
    /// There are none, they are damaged, or cannot be written to.
    pub fn resume(dir: &Path) -> Result<(Self, Recovered), RecordsError> {
        let recovered = read(dir)?;
        let open = |name| {
            let path = dir.join(name);
            let opened = OpenOptions::new().read(true).append(true).open(&path);
            opened.map_err(RecordsError::at(&path))
        };
        let this =
            Self { dir: dir.to_owned(), records: open(RECORDS)?, histograms: open(HISTOGRAMS)? };
        let cut = this.records.set_len(recovered.whole_bytes);
        cut.map_err(RecordsError::at(&dir.join(RECORDS)))?;
        let log = dir.join(HISTOGRAMS);
        let bytes = read_bounded(&log, RECORDS_BYTES_MAX).map_err(RecordsError::at(&log))?;
        let whole = bytes.iter().rposition(|&byte| byte == b'\n').map_or(0, |last| last + 1);
        let cut = this.histograms.set_len(u64::try_from(whole).unwrap_or(0));
        cut.map_err(RecordsError::at(&log))?;
        Ok((this, recovered))
    }

    /// The folder of the records.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Adds a run. When this returns, the operating system has it: a crash of this process loses none.
    ///
    /// # Errors
    ///
    /// When the system refuses.
    pub fn add(&mut self, record: &Record, latency: &Latency) -> Result<(), RecordsError> {
        let mut line = serde_json::to_vec(record).expect("a record holds only plain data");
        line.push(b'\n');
        self.records.write_all(&line).map_err(RecordsError::at(&self.dir.join(RECORDS)))?;
        self.log(record, latency).map_err(RecordsError::at(&self.dir.join(HISTOGRAMS)))
    }

    /// Adds one interval, in a single write, so that a crash cuts at most one line.
    fn log(&mut self, record: &Record, latency: &Latency) -> io::Result<()> {
        let seconds = |seconds| Duration::try_from_secs_f64(seconds).unwrap_or_default();
        let length = seconds(record.run.makespan_s);
        let start = seconds(record.ended_at_s).saturating_sub(length);
        let tag = tag(record);
        let (mut line, mut serializer) = (Vec::new(), V2DeflateSerializer::new());
        IntervalLogWriterBuilder::new()
            .begin_log_with(&mut line, &mut serializer)?
            .write_histogram(latency.histogram(), start, length, Tag::new(&tag))
            .map_err(|error| io::Error::other(format!("{error:?}")))?;
        self.histograms.write_all(&line)
    }
}

/// A parameter as a name or a table shows it.
pub(super) fn word(value: &serde_json::Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), ToOwned::to_owned)
}

/// `<workload>/<segment bytes>/<peers>/<contender>`, without commas and blanks, which end a tag.
pub(super) fn tag(record: &Record) -> String {
    let Record { workload, contender, run, .. } = record;
    let tag = format!("{workload}/{}/{}/{contender}", run.segment_bytes, run.peers);
    tag.chars().map(|c| if c == ',' || c.is_whitespace() { ';' } else { c }).collect()
}
