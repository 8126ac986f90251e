//! Reads `target/criterion`: for each benchmark `<…>/new/benchmark.json` with its name, and
//! `sample.json` with iterations and their times.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::{ImportError, entries, set, text};
use crate::report::compare::{Figure, Observation, Scenario, Set};

// Criterion's name for the folder of the latest run.
const LATEST: &str = "new";

#[derive(Debug, Deserialize)]
struct Benchmark {
    group_id: String,
    function_id: Option<String>,
    value_str: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Sample {
    iters: Vec<f64>,
    /// How long that took in all, ns.
    times: Vec<f64>,
}

/// Reads all benchmarks below a folder; none if it has none.
pub(crate) fn read(dir: &Path) -> Result<Option<Set>, ImportError> {
    let mut observations = Vec::new();
    let mut folders = vec![dir.to_owned()];
    while let Some(folder) = folders.pop() {
        let samples = folder.join("sample.json");
        if folder.ends_with(LATEST) && samples.is_file() {
            observations.append(&mut benchmark(&folder, &samples)?);
            continue;
        }
        let inside = entries(&folder)?;
        folders.extend(inside.into_iter().filter(|path| path.is_dir() && !path.is_symlink()));
    }
    Ok(set("criterion", observations))
}

fn benchmark(folder: &Path, samples: &Path) -> Result<Vec<Observation>, ImportError> {
    let named: Benchmark = parse(&folder.join("benchmark.json"))?;
    let Sample { iters, times } = parse(samples)?;
    let broken = |cause: &str| ImportError::Criterion {
        path: samples.to_owned(),
        line: 1,
        cause: cause.to_owned(),
    };
    if iters.len() != times.len() {
        return Err(broken("`iters` and `times` differ in length"));
    }
    let scenario = Scenario {
        workload: named.group_id.clone(),
        parameters: named.value_str.unwrap_or_default(),
        ..Scenario::default()
    };
    let one = |(iterations, ns): (f64, f64)| {
        let seconds = ns / iterations / 1e9;
        if !(seconds.is_finite() && seconds >= 0.0) {
            return Err(broken("a time ÷ its iterations is not a number"));
        }
        Ok(Observation {
            scenario: scenario.clone(),
            contender: named.function_id.clone().unwrap_or_else(|| named.group_id.clone()),
            values: BTreeMap::from([(Figure::Iteration, seconds)]),
            ..Observation::default()
        })
    };
    iters.into_iter().zip(times).map(one).collect()
}

fn parse<T: DeserializeOwned>(path: &Path) -> Result<T, ImportError> {
    serde_json::from_str(&text(path)?).map_err(|error| ImportError::Criterion {
        path: path.to_owned(),
        line: error.line(),
        cause: error.to_string(),
    })
}
