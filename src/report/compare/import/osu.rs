//! Reads the output of OSU micro-benchmarks: a heading `# OSU MPI Latency Test v7.4`, the names of the
//! columns in a line `# Size   Latency (us)`, and a line of numbers for each size.
//!
//! Each heading begins another repetition of its benchmark. Several runs can be in one file, or in
//! several files of a folder.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::{ImportError, entries, set, text};
use crate::report::compare::{Figure, Observation, Scenario, Set};

// How the output begins, after whatever a launcher printed.
const HEADING: &str = "# OSU ";

// What a column is, and its unit in ours: OSU prints µs, and MB/s of 10^6 bytes. None for a column
// that is not read.
type Read = Option<(Figure, f64)>;

struct OpenBenchmark {
    name: String,
    repetition: u32,
    columns: Option<Vec<Read>>,
}

/// Reads the `.txt`, `.out` and `.log` files of a folder; none if no benchmark is in them.
pub(crate) fn read_folder(dir: &Path) -> Result<Option<Set>, ImportError> {
    let files = entries(dir)?.into_iter().filter(|path| path.is_file());
    let texts = files.filter(|path| {
        path.extension()
            .is_none_or(|ending| ["txt", "out", "log"].iter().any(|known| ending == *known))
    });
    read_files(&texts.collect::<Vec<_>>())
}

/// Reads files; none if no benchmark is in them.
pub(crate) fn read_files(paths: &[PathBuf]) -> Result<Option<Set>, ImportError> {
    let (mut observations, mut seen) = (Vec::new(), BTreeMap::new());
    for path in paths {
        read_text(path, &text(path)?, &mut seen, &mut observations)?;
    }
    Ok(set("OSU micro-benchmarks", observations))
}

fn read_text(
    path: &Path,
    text: &str,
    seen: &mut BTreeMap<String, u32>,
    observations: &mut Vec<Observation>,
) -> Result<(), ImportError> {
    let mut open: Option<OpenBenchmark> = None;
    let mut rows = 0_usize;
    for (line, text) in (1..).zip(text.lines()) {
        let broken =
            |text: &str| ImportError::Osu { path: path.to_owned(), line, text: text.to_owned() };
        if let Some(title) = text.strip_prefix(HEADING) {
            let name = name(title);
            let repetition = seen.entry(name.clone()).and_modify(|count| *count += 1).or_insert(0);
            open = Some(OpenBenchmark { name, repetition: *repetition, columns: None });
            continue;
        }
        let Some(open) = &mut open else { continue };
        if let Some(comment) = text.strip_prefix('#') {
            if comment.trim_start().starts_with("Size") {
                open.columns = Some(columns(comment));
            }
            continue;
        }
        if text.trim().is_empty() {
            continue;
        }
        let columns = open.columns.as_deref().ok_or_else(|| broken("numbers before `# Size …`"))?;
        observations.push(row(open, columns, text).ok_or_else(|| broken(text))?);
        rows += 1;
    }
    if open.is_some() && rows == 0 {
        let line = text.lines().count().max(1);
        let text = "it ends before the first size".to_owned();
        return Err(ImportError::Osu { path: path.to_owned(), line, text });
    }
    Ok(())
}

/// `MPI Latency Test v7.4` without its version.
fn name(title: &str) -> String {
    let words = title.split_whitespace();
    let is_version = |word: &str| {
        word.strip_prefix('v').is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
    };
    words.filter(|word| !is_version(word)).collect::<Vec<_>>().join(" ")
}

/// What the columns after the size are. Two blanks or more stand between their names.
fn columns(heading: &str) -> Vec<Read> {
    let names = heading.split("  ").map(str::trim).filter(|name| !name.is_empty());
    let figure = |name: &str| {
        let name = name.to_lowercase();
        let extremes = ["min", "max", "p50", "p90", "p95", "p99"];
        match name {
            name if extremes.iter().any(|word| name.starts_with(word)) => None,
            name if name.contains("latency") => Some((Figure::MessageLatency, 1e-6)),
            name if name.contains("mb/s") => Some((Figure::Bandwidth, 1e6)),
            name if name.contains("messages/s") => Some((Figure::MessageRate, 1.0)),
            _ => None,
        }
    };
    names.skip(1).map(figure).collect()
}

fn row(open: &OpenBenchmark, columns: &[Read], text: &str) -> Option<Observation> {
    let mut words = text.split_whitespace();
    let bytes: usize = words.next()?.parse().ok()?;
    let mut values = BTreeMap::new();
    for figure in columns {
        let value: f64 = words.next()?.parse().ok()?;
        let Some((figure, unit)) = figure else { continue };
        let scaled = value * unit;
        if !(scaled.is_finite() && scaled >= 0.0) {
            return None;
        }
        values.insert(*figure, scaled);
    }
    let scenario =
        Scenario { workload: open.name.clone(), segment_bytes: Some(bytes), ..Scenario::default() };
    let repetition = Some(open.repetition);
    (!values.is_empty()).then(|| Observation {
        scenario,
        contender: "osu".to_owned(),
        // Each heading is of a program that was started anew.
        launch: open.repetition,
        repetition,
        values,
        ..Observation::default()
    })
}
