//! Reads results of other tools. What can't be read is passed over with a note: it takes nothing else of its
//! folder with it.

pub(crate) mod criterion;
pub(crate) mod osu;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use super::{Fact, Observation, Set};
use crate::escape;
use crate::manifest::read_bounded;

// Bytes of a file of another tool, at most.
// A million lines of OSU, or of criterion's samples: far beyond what either writes.
const RESULTS_BYTES_MAX: u64 = 64 << 20;

#[derive(Debug, thiserror::Error)]
pub(crate) enum ImportError {
    #[error("{path}: {cause}", path = escape::path(path))]
    Read { path: PathBuf, cause: io::Error },
    #[error("{path}: no result that can be read; {notes}", path = escape::path(path))]
    Nothing { path: PathBuf, notes: String },
    #[error(
        "{path}: no baseline \"{}\" of criterion; it has {}",
        escape::terminal(name),
        escape::terminal(known),
        path = escape::path(path)
    )]
    NoBaseline { path: PathBuf, name: String, known: String },
    #[error(
        "{path}: neither a folder of records (records.jsonl), nor criterion's (sample.json), nor \
         the text of an OSU benchmark (\"# OSU …\")",
        path = escape::path(path)
    )]
    Unknown { path: PathBuf },
}

// How the folder of a launch of another tool is called.
// The same as our own; no group of benchmarks is called so.
const LAUNCH: &str = "launch-";

/// Reads criterion's folder, a file or folder with output of OSU micro-benchmarks, or a folder of such
/// folders that are called `launch-1`, `launch-2`, …. `DIR@NAME` is the baseline of this name in
/// criterion's folder.
pub(crate) fn read(path: &Path) -> Result<Set, ImportError> {
    let named = || {
        let (name, baseline) = path.file_name()?.to_str()?.rsplit_once('@')?;
        Some((path.with_file_name(name), baseline))
    };
    let (dir, baseline) = match named().filter(|_| !path.exists()) {
        Some((dir, baseline)) => (dir, Some(baseline)),
        None => (path.to_owned(), None),
    };
    let facts =
        std::fs::metadata(&dir).map_err(|cause| ImportError::Read { path: dir.clone(), cause })?;
    let label = dir.canonicalize().unwrap_or_else(|_| dir.clone());
    let mut label = label.file_name().unwrap_or_default().to_string_lossy().into_owned();
    label.extend(baseline.map(|baseline| format!("@{baseline}")));
    let mut launches = Vec::new();
    for folder in if facts.is_dir() { entries(&dir)? } else { Vec::new() } {
        let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if name.starts_with(LAUNCH) && folder.is_dir() {
            launches.push((name, one_launch(&folder, true, baseline)?));
        }
    }
    if !launches.is_empty() {
        return Ok(Set::of_launches(label, path, launches));
    }
    Ok(Set { label, origin: path.into(), ..one_launch(&dir, facts.is_dir(), baseline)? })
}

fn one_launch(path: &Path, is_folder: bool, baseline: Option<&str>) -> Result<Set, ImportError> {
    let set = match (is_folder, baseline) {
        (true, Some(_)) => criterion::read(path, baseline)?,
        (true, None) => criterion::read(path, None)?
            .map_or_else(|| osu::read_folder(path), |set| Ok(Some(set)))?,
        (false, _) => osu::read_files(path, &[path.to_owned()])?,
    };
    set.ok_or_else(|| ImportError::Unknown { path: path.into() })
}

/// What was passed over, by reason.
#[derive(Debug, Default)]
struct PassedOver(BTreeMap<&'static str, Vec<String>>);

impl PassedOver {
    fn add(&mut self, reason: &'static str, what: String) {
        self.0.entry(reason).or_default().push(what);
    }

    /// A line for each reason.
    fn lines(&self) -> Vec<String> {
        let line =
            |(reason, all): (&&str, &Vec<String>)| format!("{reason}: {}", escape::some(all, ", "));
        self.0.iter().map(line).collect()
    }
}

/// What a tool measured below a path; none if there is nothing of it.
fn set(
    tool: String,
    path: &Path,
    observations: Vec<Observation>,
    passed_over: &PassedOver,
) -> Result<Option<Set>, ImportError> {
    let warnings = passed_over.lines();
    if observations.is_empty() {
        return match warnings.as_slice() {
            [] => Ok(None),
            notes => {
                let notes = escape::terminal(&notes.join("; "));
                Err(ImportError::Nothing { path: path.to_owned(), notes })
            }
        };
    }
    let facts = vec![Fact { name: "tool", value: tool, matters: true }];
    Ok(Some(Set { facts, observations: observations.into(), warnings, ..Set::default() }))
}

fn entries(dir: &Path) -> Result<Vec<PathBuf>, ImportError> {
    let refused = |cause| ImportError::Read { path: dir.to_owned(), cause };
    let listed = std::fs::read_dir(dir).map_err(refused)?;
    let mut paths = listed
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<Vec<_>, _>>()
        .map_err(refused)?;
    paths.sort();
    Ok(paths)
}

fn text(path: &Path) -> io::Result<String> {
    Ok(String::from_utf8_lossy(&read_bounded(path, RESULTS_BYTES_MAX)?).into_owned())
}

/// A path below a folder, as a name.
fn below(dir: &Path, path: &Path) -> String {
    let inside = path.strip_prefix(dir).ok().filter(|inside| inside.file_name().is_some());
    let name = inside.or_else(|| path.file_name().map(Path::new)).unwrap_or(path);
    name.to_string_lossy().into_owned()
}
