//! The folder of one measurement: `environment.json`, the records, and `summary.json`.

use std::fs;
use std::path::{Path, PathBuf};

use super::environment::{ENVIRONMENT, Environment, LimitsAt};
use super::measured;
use super::records::{Journal, Record, RecordsError, SUMMARY};
use super::runner::BenchOutcome;

/// Where folders go whose name nobody chose.
pub(crate) const RESULTS: &str = "results";

/// Begins a measurement, in `results/<plan>-<UTC date>-<commit>` unless a folder is named.
pub(crate) fn begin(
    dir: Option<PathBuf>,
    plan: &Path,
    environment: &Environment,
) -> Result<Journal, RecordsError> {
    let dir = dir.unwrap_or_else(|| unused(plan, environment));
    let journal = Journal::begin(&dir)?;
    write(&dir.join(ENVIRONMENT), environment)?;
    Ok(journal)
}

/// Continues the measurement in a folder, if the environment is the same in all that matters.
pub(crate) fn resume(
    dir: &Path,
    environment: &Environment,
    tell: &mut dyn FnMut(&str),
) -> Result<(Journal, Vec<Record>), RecordsError> {
    let path = dir.join(ENVIRONMENT);
    let earlier = measured::environment(&path)?;
    if let Some(what) = environment.differs_from(&earlier) {
        return Err(RecordsError::Differs { path, what });
    }
    let (journal, recovered) = Journal::resume(dir)?;
    if let Some(line) = recovered.cut_off {
        tell(&format!("line {line} of the records was cut off: that run is repeated"));
    }
    tell(&format!("{} runs are recorded already", recovered.records.len()));
    Ok((journal, recovered.records))
}

/// Writes the limits beside the records.
pub(crate) fn conclude(
    dir: &Path,
    measured: &BenchOutcome,
    limits: &[LimitsAt],
) -> Result<(), RecordsError> {
    let conclusion = serde_json::json!({
        "summary_schema": 2,
        "runs": measured.records.len(),
        "warm_up_runs_discarded": measured.warm_up_runs,
        "limits": limits,
    });
    write(&dir.join(SUMMARY), &conclusion)
}

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
    fs::write(path, text + "\n").map_err(RecordsError::at(path))
}
