//! Plans: which contenders run which workloads, how often, and when to stop.

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use toml::Spanned;

use super::switches::{ContenderKind, SwitchError};
use super::tracker_plan::TrackerPlan;
use super::workload::{BenchScenario, WorkloadPlan};
use crate::config::{OverrideSweeps, Overrides};
use crate::escape;
use crate::manifest::WorkloadError;

/// A plan as it is written. An unknown field is an error.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Text {
    /// For readers alone. Every plan must have it.
    #[serde(rename = "purpose")]
    _purpose: String,
    /// Seed of the order in which contenders run.
    #[serde(default = "first_seed")]
    seed: u64,
    /// Runs of each contender before the first that counts.
    #[serde(default = "one")]
    warm_up: u32,
    #[serde(default = "some_repetitions")]
    repetitions: Spanned<Repetitions>,
    /// Time for everything, seconds.
    budget_s: Spanned<f64>,
    /// Stop when each median's interval reaches at most this part of it to either side.
    #[serde(default = "five_percent")]
    target: Spanned<f64>,
    #[serde(default)]
    workloads: Vec<Spanned<WorkloadPlan>>,
    #[serde(default)]
    contenders: Vec<Spanned<ContenderPlan>>,
    tracker: Option<Spanned<TrackerPlan>>,
}

/// How often each contender runs a workload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Repetitions {
    /// At least so often, if the budget allows.
    pub least: u32,
    /// At most so often, however wide the interval is.
    pub most: u32,
}

/// A contender of a plan. Its switches may be lists.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ContenderPlan {
    /// Its name in records; by default its engine.
    name: Option<String>,
    engine: ContenderKind,
    #[serde(default)]
    switches: OverrideSweeps,
    /// The makespans of a mock, ms, one per repetition in turn.
    #[serde(default)]
    times_ms: Vec<f64>,
}

fn one() -> u32 {
    1
}

fn first_seed() -> u64 {
    1
}

// 6 runs are the fewest for which a 95% interval of a median exists; 10 make it less than the whole
// range. 50 end a contender that never settles.
fn some_repetitions() -> Spanned<Repetitions> {
    Spanned::new(0..0, Repetitions { least: 10, most: 50 })
}

fn five_percent() -> Spanned<f64> {
    Spanned::new(0..0, 0.05)
}

/// A checked plan, with its lists expanded.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// The file's name without its ending.
    pub name: String,
    /// The whole text, for the record.
    pub text: String,
    /// Seed of the order in which contenders run.
    pub seed: u64,
    /// Runs of each contender before the first that counts.
    pub warm_up: u32,
    /// How often each contender runs a workload.
    pub repetitions: Repetitions,
    pub budget: Duration,
    /// Stop when each median's interval reaches at most this part of it to either side.
    pub target: f64,
    pub scenarios: Vec<BenchScenario>,
    pub contenders: Vec<PlannedContender>,
    /// The load test of the tracker alone.
    pub tracker: Option<TrackerPlan>,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct PlannedContender {
    /// Its name in records; lists of switches give one name each.
    pub name: String,
    /// What moves the bytes.
    pub engine: ContenderKind,
    /// What it overrides of the engine's defaults.
    pub switches: Overrides,
    /// The makespans of a mock, in turn; empty for others.
    pub times: Vec<Duration>,
}

impl Plan {
    /// Reads and checks a plan. `ranks` is the number of peers of the MPI job, if there is one.
    ///
    /// # Errors
    ///
    /// The file cannot be read, or the first thing that is wrong in it.
    pub(crate) fn read(path: &Path, ranks: Option<u32>) -> Result<Self, PlanError> {
        let text = std::fs::read_to_string(path)
            .map_err(|cause| PlanError::Read { path: path.to_owned(), cause })?;
        Self::parse(path, text, ranks)
    }

    /// Checks the text of the plan that is named `path`.
    ///
    /// # Errors
    ///
    /// The first thing that is wrong in it.
    pub(crate) fn parse(path: &Path, text: String, ranks: Option<u32>) -> Result<Self, PlanError> {
        let plan: Text = toml::from_str(&text).map_err(|error| {
            let line = error.span().map_or(1, |span| line_of(&text, &span));
            let quoted = text.lines().nth(line - 1).unwrap_or("").trim().to_owned();
            let cause = error.message().trim_end().to_owned();
            PlanError::Syntax { path: path.to_owned(), line, quoted, cause }
        })?;
        plan.checked(path, ranks)
            .map_err(|(span, refusal)| PlanError::Refused {
                path: path.to_owned(),
                line: line_of(&text, &span),
                refusal,
            })
            .map(|plan| Self { text, ..plan })
    }
}

/// A value, or a refusal and its place in the text.
type Placed<T> = Result<T, (Range<usize>, Refusal)>;

impl Text {
    fn checked(self, path: &Path, ranks: Option<u32>) -> Placed<Plan> {
        let budget = Duration::try_from_secs_f64(*self.budget_s.as_ref()).ok();
        let Some(budget) = budget.filter(|budget| !budget.is_zero()) else {
            return Err((self.budget_s.span(), Refusal::Budget));
        };
        if self.target.as_ref().is_nan() || *self.target.as_ref() <= 0.0 {
            return Err((self.target.span(), Refusal::Target));
        }
        let repetitions = *self.repetitions.as_ref();
        if repetitions.least == 0 || repetitions.most < repetitions.least {
            return Err((self.repetitions.span(), Refusal::Repetitions(repetitions)));
        }
        let has_runs = !self.workloads.is_empty() && !self.contenders.is_empty();
        if !has_runs && self.tracker.is_none() {
            return Err((0..0, Refusal::Nothing));
        }
        let mut scenarios = Vec::new();
        let mut names = BTreeSet::new();
        for workload in &self.workloads {
            let placed = |refusal| (workload.span(), refusal);
            let plan = workload.as_ref();
            if !names.insert(&plan.name) {
                return Err(placed(Refusal::TwoWorkloads { name: plan.name.clone() }));
            }
            scenarios.extend(
                plan.scenarios(ranks).map_err(|cause| {
                    placed(Refusal::Workload { name: plan.name.clone(), cause })
                })?,
            );
        }
        let mut contenders: Vec<PlannedContender> = Vec::new();
        for contender in &self.contenders {
            for entry in contender.as_ref().entries().map_err(|error| (contender.span(), error))? {
                if contenders.iter().any(|other| other.name == entry.name) {
                    return Err((contender.span(), Refusal::TwoContenders { name: entry.name }));
                }
                contenders.push(entry);
            }
        }
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        Ok(Plan {
            name,
            text: String::new(),
            seed: self.seed,
            warm_up: self.warm_up,
            repetitions,
            budget,
            target: self.target.into_inner(),
            scenarios,
            contenders,
            tracker: self.tracker.map(Spanned::into_inner),
        })
    }
}

impl ContenderPlan {
    /// Every contender of the lists, each with its own name.
    fn entries(&self) -> Result<Vec<PlannedContender>, Refusal> {
        let base = self.name.clone().unwrap_or_else(|| self.engine.name().to_owned());
        let refused = |cause| Refusal::Switch { name: base.clone(), cause };
        let is_mock = self.engine == ContenderKind::Mock;
        let times: Result<Vec<_>, _> =
            self.times_ms.iter().map(|ms| Duration::try_from_secs_f64(ms / 1e3)).collect();
        let times = times.map_err(|_| Refusal::Times { name: base.clone() })?;
        if times.is_empty() == is_mock || times.iter().any(Duration::is_zero) {
            return Err(Refusal::Times { name: base });
        }
        let product = self.switches.product();
        let many = product.len() > 1 || self.name.is_none();
        product
            .into_iter()
            .map(|switches| {
                self.engine.check(&switches).map_err(refused)?;
                let name = if many { with_switches(&base, &switches) } else { base.clone() };
                Ok(PlannedContender { name, engine: self.engine, switches, times: times.clone() })
            })
            .collect()
    }
}

fn with_switches(base: &str, switches: &Overrides) -> String {
    let named = switches.named();
    let switched = named.iter().map(|(name, value)| match value.as_str() {
        Some(word) => format!("{name}={word}"),
        None => format!("{name}={value}"),
    });
    std::iter::once(base.to_owned()).chain(switched).collect::<Vec<_>>().join(" ")
}

/// The number of the line on which a part of the text begins, from 1.
fn line_of(text: &str, span: &Range<usize>) -> usize {
    text.as_bytes()[..span.start.min(text.len())].iter().filter(|&&byte| byte == b'\n').count() + 1
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum PlanError {
    #[error("{path}: {cause}", path = escape::path(path))]
    Read { path: PathBuf, cause: io::Error },
    #[error("{path}:{line}: `{quoted}`: {cause}", quoted = escape::terminal(quoted), path = escape::path(path))]
    Syntax { path: PathBuf, line: usize, quoted: String, cause: String },
    /// A value that makes no sense.
    #[error("{path}:{line}: {refusal}", path = escape::path(path))]
    Refused {
        path: PathBuf,
        /// The line on which it, or what it is part of, begins.
        line: usize,
        refusal: Refusal,
    },
}

/// What makes no sense in a plan.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("`budget_s` must be a number of seconds above 0")]
    Budget,
    #[error("`target` must be a part of the median above 0, such as 0.05")]
    Target,
    /// Fewer at most than at least, or none.
    #[error("`repetitions` must have 1 <= least <= most, not least = {}, most = {}", .0.least, .0.most)]
    Repetitions(Repetitions),
    #[error("nothing to run: add [[workloads]] and [[contenders]], or a [tracker]")]
    Nothing,
    /// Records could not tell them apart.
    #[error("two workloads are called \"{}\": rename one", escape::terminal(name))]
    TwoWorkloads { name: String },
    /// Records could not tell them apart.
    #[error("two contenders are called \"{}\": add a `name` to one", escape::terminal(name))]
    TwoContenders { name: String },
    /// The numbers of a workload don't fit each other.
    #[error("workload \"{}\": {cause}", escape::terminal(name))]
    Workload { name: String, cause: WorkloadError },
    /// An engine cannot do what is switched.
    #[error("contender \"{}\": {cause}", escape::terminal(name))]
    Switch { name: String, cause: SwitchError },
    /// Times where there are none, or none where there are.
    #[error(
        "contender \"{}\": a mock needs `times_ms`, all above 0, and no other engine takes it",
        escape::terminal(name)
    )]
    Times { name: String },
}
