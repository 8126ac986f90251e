//! Reads `target/criterion`: for each benchmark `<…>/new/benchmark.json` with its name, and
//! `sample.json` with iterations and their times. A saved baseline has its own name in place of `new`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::{ImportError, PassedOver, below, entries, set, text};
use crate::escape;
use crate::report::compare::{Figure, Observation, Scenario, Set};

// Criterion's name for the folder of the latest run.
const LATEST: &str = "new";
const SAMPLES: &str = "sample.json";
const NAMES: &str = "benchmark.json";
const UNREAD: &str = "passed over, for it can't be read";

#[derive(Debug, Deserialize)]
struct Benchmark {
    group_id: String,
    function_id: Option<String>,
    value_str: Option<String>,
    /// These two fields criterion has written since 0.3.
    #[serde(default)]
    full_id: String,
    #[serde(default)]
    title: String,
}

#[derive(Debug, Deserialize)]
struct Sample {
    iters: Vec<f64>,
    /// How long that took in all, ns.
    times: Vec<f64>,
}

/// A benchmark and the seconds of an iteration in each of its samples.
type Measured = (Scenario, String, Vec<f64>);

/// Of each benchmark where it lies, and its times.
type Found = BTreeMap<(Scenario, String), Vec<(String, Vec<f64>)>>;

/// Reads all benchmarks below a folder, the latest of each or its baseline; none if it has none.
pub(crate) fn read(dir: &Path, baseline: Option<&str>) -> Result<Option<Set>, ImportError> {
    let mut passed_over = PassedOver::default();
    let mut known = BTreeSet::new();
    let mut found = Found::new();
    let mut folders = vec![dir.to_owned()];
    while let Some(folder) = folders.pop() {
        if folder.join(SAMPLES).is_file() {
            let name = below(folder.parent().unwrap_or(dir), &folder);
            if name == baseline.unwrap_or(LATEST) {
                let place = below(dir, folder.parent().unwrap_or(dir));
                match benchmark(&folder) {
                    Ok((scenario, contender, times)) => {
                        found.entry((scenario, contender)).or_default().push((place, times));
                    }
                    Err(cause) => passed_over.add(UNREAD, format!("{place}/{name}/{cause}")),
                }
            }
            known.insert(name);
            continue;
        }
        match entries(&folder) {
            Ok(inside) => {
                folders
                    .extend(inside.into_iter().filter(|path| path.is_dir() && !path.is_symlink()));
            }
            Err(cause) if folder == dir => return Err(cause),
            Err(cause) => passed_over.add(UNREAD, cause.to_string()),
        }
    }
    let mut observations = Vec::new();
    for ((scenario, contender), places) in found {
        let apart = places.len() > 1;
        for (place, times) in places {
            let mut scenario = scenario.clone();
            if apart {
                // Such as two crates, each with its own folder of criterion.
                scenario.parameters = with(scenario.parameters, &format!("in {place}"));
            }
            observations.extend(times.into_iter().map(|seconds| Observation {
                scenario: scenario.clone(),
                contender: contender.clone(),
                values: BTreeMap::from([(Figure::Iteration, seconds)]),
                ..Observation::default()
            }));
        }
    }
    if let Some(name) = baseline.filter(|name| !known.contains(*name)) {
        let known: Vec<_> = known.into_iter().collect();
        let known = if known.is_empty() { "none".to_owned() } else { escape::some(&known, ", ") };
        let (path, name) = (dir.to_owned(), name.to_owned());
        return Err(ImportError::NoBaseline { path, name, known });
    }
    set("criterion".to_owned(), dir, observations, &passed_over)
}

/// The benchmark of a folder; or the file that is wrong, the line, and why.
fn benchmark(folder: &Path) -> Result<Measured, String> {
    let named: Benchmark = parse(folder, NAMES)?;
    let Sample { iters, times } = parse(folder, SAMPLES)?;
    let broken = |cause: &str| format!("{SAMPLES}:1: not a file of criterion: {cause}");
    if iters.len() != times.len() || iters.is_empty() {
        return Err(broken("`iters` and `times` are empty or differ in length"));
    }
    let one = |(iterations, ns): (f64, f64)| {
        let seconds = ns / iterations / 1e9;
        let is_time = seconds.is_finite() && seconds >= 0.0;
        is_time.then_some(seconds).ok_or_else(|| broken("a time ÷ its iterations is not a number"))
    };
    let times = iters.into_iter().zip(times).map(one).collect::<Result<_, _>>()?;
    let repeated = repeated(&named);
    let scenario = Scenario {
        workload: named.group_id.clone(),
        parameters: with(named.value_str.unwrap_or_default(), &repeated),
        ..Scenario::default()
    };
    Ok((scenario, named.function_id.unwrap_or(named.group_id), times))
}

/// `#2` for the second benchmark of one id: criterion tells such apart by the titles that it gives them.
fn repeated(named: &Benchmark) -> String {
    let number = named.title.rsplit_once(" #").map(|(_, number)| format!("#{number}"));
    let given = number.filter(|number| {
        let digits = &number[1..];
        let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
        is_number && !named.full_id.ends_with(&format!(" {number}"))
    });
    given.unwrap_or_default()
}

fn with(parameters: String, more: &str) -> String {
    if parameters.is_empty() || more.is_empty() {
        return parameters + more;
    }
    format!("{parameters} {more}")
}

fn parse<T: DeserializeOwned>(folder: &Path, name: &str) -> Result<T, String> {
    let text = text(&folder.join(name)).map_err(|cause| format!("{name}: {cause}"))?;
    serde_json::from_str(&text)
        .map_err(|error| format!("{name}:{}: not a file of criterion: {error}", error.line()))
}
