//! The folder of one measurement: `environment.json`, the records, and `summary.json`.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::comparison::{ContenderRow, SUMMARY};
use super::environment::{ENVIRONMENT, Environment, LimitsAt};
use super::records::{Journal, Record, RecordsError};
use super::runner::BenchOutcome;
use crate::escape;

/// Where folders go whose name nobody chose.
pub(crate) const RESULTS: &str = "results";

/// Why a folder cannot take a measurement.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ResultsError {
    #[error("{path}: the folder exists: use --resume to continue it, or another --out", path = escape::path(.0))]
    Exists(PathBuf),
    #[error("{path}: no environment of a measurement: {cause}", path = escape::path(path))]
    Environment { path: PathBuf, cause: serde_json::Error },
    #[error(
        "{path}: {what} was another when the measurement began: start a new one with another --out",
        path = escape::path(path)
    )]
    Differs { path: PathBuf, what: &'static str },
    #[error(transparent)]
    Records(#[from] RecordsError),
}

/// Begins a measurement, in `results/<plan>-<UTC date>-<commit>` unless a folder is named.
pub(crate) fn begin(
    dir: Option<PathBuf>,
    plan: &Path,
    environment: &Environment,
) -> Result<Journal, ResultsError> {
    let dir = dir.unwrap_or_else(|| unused(plan, environment));
    let journal = Journal::begin(&dir).map_err(|error| match error {
        RecordsError::System { path, cause } if cause.kind() == ErrorKind::AlreadyExists => {
            ResultsError::Exists(path)
        }
        error @ (RecordsError::System { .. }
        | RecordsError::Damaged { .. }
        | RecordsError::Version { .. }) => error.into(),
    })?;
    write(&dir.join(ENVIRONMENT), environment)?;
    Ok(journal)
}

/// Continues the measurement in a folder, if the environment is the same in all that matters.
pub(crate) fn resume(
    dir: &Path,
    environment: &Environment,
    tell: &mut dyn FnMut(&str),
) -> Result<(Journal, Vec<Record>), ResultsError> {
    let path = dir.join(ENVIRONMENT);
    let system = |cause| RecordsError::System { path: path.clone(), cause };
    let text = fs::read_to_string(&path).map_err(system)?;
    let earlier: Environment = serde_json::from_str(&text)
        .map_err(|cause| ResultsError::Environment { path: path.clone(), cause })?;
    if let Some(what) = environment.differs_from(&earlier) {
        return Err(ResultsError::Differs { path, what });
    }
    let (journal, recovered) = Journal::resume(dir)?;
    if let Some(line) = recovered.cut_off {
        tell(&format!("line {line} of the records was cut off: that run is repeated"));
    }
    tell(&format!("{} runs are recorded already", recovered.records.len()));
    Ok((journal, recovered.records))
}

/// Writes what the records say beside them.
pub(crate) fn conclude(
    dir: &Path,
    measured: &BenchOutcome,
    limits: &[LimitsAt],
    rows: &[ContenderRow],
) -> Result<(), RecordsError> {
    let conclusion = serde_json::json!({
        "summary_schema": 1,
        "runs": measured.records.len(),
        "warm_up_runs_discarded": measured.warm_up_runs,
        "limits": limits,
        "rows": rows,
    });
    write(&dir.join(SUMMARY), &conclusion)
}

/// A folder under `results` that nobody used yet.
fn unused(plan: &Path, environment: &Environment) -> PathBuf {
    let base = Path::new(RESULTS).join(environment.folder(plan));
    let later = (2..).map(|number| PathBuf::from(format!("{}-{number}", base.display())));
    std::iter::once(base.clone())
        .chain(later)
        .find(|dir| !dir.exists())
        .expect("there are more numbers than folders")
}

fn write(path: &Path, what: &impl serde::Serialize) -> Result<(), RecordsError> {
    let text = serde_json::to_string_pretty(what).expect("it holds only plain data");
    fs::write(path, text + "\n")
        .map_err(|cause| RecordsError::System { path: path.to_owned(), cause })
}
