//! Reads results of other tools.

pub(crate) mod criterion;
pub(crate) mod osu;

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
    #[error("{path}:{line}: not a file of criterion: {cause}", path = escape::path(path))]
    Criterion { path: PathBuf, line: usize, cause: String },
    #[error("{path}:{line}: not a line of an OSU benchmark: {}", escape::terminal(text), path = escape::path(path))]
    Osu { path: PathBuf, line: usize, text: String },
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
/// folders that are called `launch-1`, `launch-2`, ….
pub(crate) fn read(path: &Path) -> Result<Set, ImportError> {
    let facts =
        std::fs::metadata(path).map_err(|cause| ImportError::Read { path: path.into(), cause })?;
    let label = path.canonicalize().unwrap_or_else(|_| path.into());
    let label = label.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let mut launches = Vec::new();
    for folder in if facts.is_dir() { entries(path)? } else { Vec::new() } {
        let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if name.starts_with(LAUNCH) && folder.is_dir() {
            launches.push((name, one_launch(&folder, true)?));
        }
    }
    if !launches.is_empty() {
        return Ok(Set::of_launches(label, path, launches));
    }
    Ok(Set { label, origin: path.into(), ..one_launch(path, facts.is_dir())? })
}

fn one_launch(path: &Path, is_folder: bool) -> Result<Set, ImportError> {
    let set = if is_folder {
        criterion::read(path)?.map_or_else(|| osu::read_folder(path), |set| Ok(Some(set)))?
    } else {
        osu::read_files(&[path.to_owned()])?
    };
    set.ok_or_else(|| ImportError::Unknown { path: path.into() })
}

/// What a tool measured; none if that is nothing.
fn set(tool: &str, observations: Vec<Observation>) -> Option<Set> {
    let facts = vec![Fact { name: "tool", value: tool.to_owned(), matters: true }];
    (!observations.is_empty()).then(|| Set { facts, observations, ..Set::default() })
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

fn text(path: &Path) -> Result<String, ImportError> {
    let bytes = read_bounded(path, RESULTS_BYTES_MAX)
        .map_err(|cause| ImportError::Read { path: path.to_owned(), cause })?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
