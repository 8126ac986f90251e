//! Plans: which contenders run which workloads, how often, and when to stop.

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::io::{self, ErrorKind};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use toml::Spanned;

use super::copying::{StageOptions, StageSweeps, Staging};
use super::records::word;
use super::switches::{ContenderKind, SwitchError};
use super::tracker_load::TrackerPlan;
use super::workload::{BenchScenario, ScenarioError, WorkloadPlan};
use crate::config::ranges::{BudgetTime, MockTime, RepetitionCount, Seed, TargetPart, WarmUpRuns};
use crate::config::{COMBINATIONS_MAX, OverrideSweeps, Overrides, TooMany, Verify};
use crate::escape;
use crate::manifest::read_bounded;
use crate::metrics::cores::CoreShare;
use crate::report::units::count;
use crate::verify::Digest;

// Bytes of a plan, at most.
// The longest that comes with the program has 1.3 KB.
const PLAN_BYTES_MAX: u64 = 1 << 20;
// What of a plan says how often its contenders run, and why: it changes no single run.
const NOT_WHAT_RUNS: [&str; 5] = ["purpose", "budget_s", "repetitions", "target", "ladder"];
// Characters of a plan's fingerprint.
// 32 bits tell the few plans of one name apart.
const FINGERPRINT_CHARS: usize = 8;

/// A plan as it is written. An unknown field is an error.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Text {
    /// For readers alone. Every plan must have it.
    #[serde(rename = "purpose")]
    _purpose: String,
    /// Seed of the order in which contenders run.
    #[serde(default)]
    seed: Seed,
    /// Runs of each contender before the first that counts.
    #[serde(default)]
    warm_up: WarmUpRuns,
    #[serde(default = "some_repetitions")]
    repetitions: Spanned<RepetitionsPlan>,
    /// Time for everything: seconds, or with a unit.
    budget_s: BudgetTime,
    /// Stop when each median's interval reaches at most this part of it to either side.
    #[serde(default)]
    target: TargetPart,
    /// Whether each contender is the one before it with one more choice, and is compared with it.
    #[serde(default)]
    ladder: bool,
    #[serde(default)]
    workloads: Vec<Spanned<WorkloadPlan>>,
    #[serde(default)]
    contenders: Vec<Spanned<ContenderPlan>>,
    tracker: Option<Spanned<TrackerPlan>>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RepetitionsPlan {
    least: RepetitionCount,
    most: RepetitionCount,
}

/// How often each contender runs a workload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
    /// What a stage does otherwise than by default.
    stage: Option<StageSweeps>,
    /// Whether its nodes keep a trace. That of the first repetition is written beside the records.
    #[serde(default)]
    trace: bool,
    /// The makespans of a mock: ms, or with a unit, one per repetition in turn.
    #[serde(default)]
    times_ms: Vec<MockTime>,
}

// 6 runs are the fewest for which a 95% interval of a median exists; 10 make it less than the whole
// range. 50 end a contender that never settles.
fn some_repetitions() -> Spanned<RepetitionsPlan> {
    let count = |text: &str| text.parse().expect("a number within its range");
    Spanned::new(0..0, RepetitionsPlan { least: count("10"), most: count("50") })
}

/// A checked plan, with its lists expanded.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// The file's name without its ending.
    pub name: String,
    pub text: String,
    pub seed: u64,
    pub warm_up: u32,
    pub repetitions: Repetitions,
    pub budget: Duration,
    pub target: f64,
    pub scenarios: Vec<BenchScenario>,
    pub contenders: Vec<PlannedContender>,
    pub tracker: Option<TrackerPlan>,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct PlannedContender {
    /// Its name in records; lists of switches give one name each.
    pub name: String,
    pub engine: ContenderKind,
    pub switches: Overrides,
    /// What it changes beside, if it is a stage.
    pub options: StageOptions,
    /// Whether its nodes keep a trace.
    pub trace: bool,
    pub times: Vec<Duration>,
}

impl Plan {
    /// Reads and checks a plan. `ranks` is the number of peers of the MPI job, if there is one.
    pub(crate) fn read(path: &Path, ranks: Option<u32>) -> Result<Self, PlanError> {
        Self::parse(path, Self::read_text(path)?, ranks)
    }

    /// Reads the text of a plan.
    ///
    /// # Errors
    ///
    /// The file cannot be read.
    pub(crate) fn read_text(path: &Path) -> Result<String, PlanError> {
        let text = read_bounded(path, PLAN_BYTES_MAX).and_then(|bytes| {
            String::from_utf8(bytes).map_err(|cause| io::Error::new(ErrorKind::InvalidData, cause))
        });
        text.map_err(|cause| PlanError::Read { path: path.to_owned(), cause })
    }

    /// Checks the text of the plan that is named `path`.
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

impl Plan {
    /// How much there is to run, in words.
    pub(crate) fn extent(&self) -> String {
        let Repetitions { least, most } = self.repetitions;
        let each = self.scenarios.len() * self.contenders.len();
        let runs =
            |repetitions: u32| each as u64 * (u64::from(self.warm_up) + u64::from(repetitions));
        let loads = self.tracker.as_ref().map_or(0, |load| {
            let cases = load.cases().map_or(0, |cases| cases.len());
            cases as u64 * u64::from(load.loads.get())
        });
        let loads =
            if loads == 0 { String::new() } else { format!("{loads} loads of the tracker; ") };
        format!(
            "{loads}{} for {}: {} to {} runs with warm-up, or {} s",
            count(self.scenarios.len() as u64, "workload"),
            count(self.contenders.len() as u64, "contender"),
            runs(least),
            runs(most),
            self.budget.as_secs_f64()
        )
    }
}

/// A value, or a refusal and its place in the text.
type Placed<T> = Result<T, (Range<usize>, Refusal)>;

impl Text {
    fn checked(self, path: &Path, ranks: Option<u32>) -> Placed<Plan> {
        let RepetitionsPlan { least, most } = *self.repetitions.as_ref();
        let repetitions = Repetitions { least: least.get(), most: most.get() };
        if repetitions.most < repetitions.least {
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
            let refused = |cause| placed(Refusal::Workload { name: plan.name.clone(), cause });
            scenarios.extend(plan.scenarios(ranks).map_err(refused)?);
            if scenarios.len() > COMBINATIONS_MAX {
                return Err(refused(TooMany(scenarios.len()).into()));
            }
        }
        if let Some(load) = &self.tracker {
            let refused = |cause| (load.span(), Refusal::Tracker(cause));
            load.as_ref().cases().map_err(refused)?;
        }
        let mut contenders: Vec<PlannedContender> = Vec::new();
        for contender in &self.contenders {
            for entry in contender.as_ref().entries().map_err(|error| (contender.span(), error))? {
                if contenders.iter().any(|other| other.name == entry.name) {
                    return Err((contender.span(), Refusal::TwoContenders { name: entry.name }));
                }
                contenders.push(entry);
            }
            let runs = contenders.len().saturating_mul(scenarios.len().max(1));
            if runs > COMBINATIONS_MAX {
                return Err((contender.span(), Refusal::Runs(runs)));
            }
        }
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        Ok(Plan {
            name,
            text: String::new(),
            seed: self.seed.get(),
            warm_up: self.warm_up.get(),
            repetitions,
            budget: self.budget_s.get(),
            target: self.target.get(),
            scenarios,
            contenders,
            tracker: self.tracker.map(Spanned::into_inner),
        })
    }
}

impl ContenderPlan {
    fn entries(&self) -> Result<Vec<PlannedContender>, Refusal> {
        let base = self.name.clone().unwrap_or_else(|| self.engine.name().to_owned());
        let refused = |cause| Refusal::Switch { name: base.clone(), cause };
        let is_mock = self.engine == ContenderKind::Mock;
        let times: Vec<_> = self.times_ms.iter().map(|time| time.get()).collect();
        if times.is_empty() == is_mock {
            return Err(Refusal::Times { name: base });
        }
        if self.trace && self.engine != ContenderKind::Lockfree {
            return Err(Refusal::Trace { name: base });
        }
        if self.stage.is_some() && self.engine != ContenderKind::Stage {
            return Err(Refusal::Stage { name: base });
        }
        let too_many = |cause| Refusal::TooMany { name: base.clone(), cause };
        let switches = self.switches.product().map_err(too_many)?;
        let options = self.stage.clone().unwrap_or_default().product().map_err(too_many)?;
        let combinations = switches.len().saturating_mul(options.len());
        if combinations > COMBINATIONS_MAX {
            return Err(too_many(TooMany(combinations)));
        }
        let many = combinations > 1 || self.name.is_none();
        let pairs = switches.iter().flat_map(|one| options.iter().map(move |other| (one, *other)));
        let entry = |(switches, options): (&Overrides, StageOptions)| {
            self.engine.check(switches).map_err(refused)?;
            let switches = switches.clone();
            let (engine, trace, times) = (self.engine, self.trace, times.clone());
            let mut one =
                PlannedContender { name: base.clone(), engine, switches, options, trace, times };
            if many {
                let named = one.named();
                let named = named.iter().map(|(name, value)| format!(" {name}={}", word(value)));
                one.name.extend(named);
            }
            if self.trace && self.name.is_none() {
                one.name += " trace";
            }
            if engine.program().is_some() {
                // Nothing compares what it has written, as records then say.
                one.switches.verify = Some(Verify::Off);
            }
            Ok(one)
        };
        pairs.map(entry).collect()
    }
}

impl PlannedContender {
    /// What it changes of the defaults, by name, as plans and records have it.
    pub(crate) fn named(&self) -> serde_json::Map<String, serde_json::Value> {
        let mut named = self.switches.named();
        named.extend(self.options.named());
        named
    }

    /// What it chooses, if it is a stage.
    pub(crate) fn staging(&self) -> Staging {
        Staging { switches: self.switches.clone(), options: self.options }
    }

    /// Threads of a peer beside the one that communicates, where such a share of the cores falls to it.
    pub(crate) fn threads_of_peer(&self, share: CoreShare) -> usize {
        if self.engine == ContenderKind::Stage {
            return self.staging().workers(share);
        }
        self.switches.verify.unwrap_or_default().threads(share.workers())
    }
}

/// Equal for texts that run the same: comments, layout, and how often contenders run do not count.
pub(crate) fn fingerprint(text: &str) -> String {
    let table: Option<toml::Table> = toml::from_str(text).ok();
    let told = table.map_or_else(
        || text.to_owned(),
        |mut table| {
            NOT_WHAT_RUNS.iter().for_each(|name| drop(table.remove(*name)));
            serde_json::to_string(&table).expect("a table of TOML has names and plain values")
        },
    );
    let mut digest = Digest::of(told.as_bytes()).to_string();
    digest.truncate(FINGERPRINT_CHARS);
    digest
}

/// The contenders of a plan that is a ladder, in their order; none of any other text.
pub(crate) fn ladder(text: &str) -> Vec<String> {
    let plan = toml::from_str::<Text>(text).ok().filter(|plan| plan.ladder);
    let contenders = plan.into_iter().flat_map(|plan| plan.contenders);
    let entries = contenders.flat_map(|one| one.into_inner().entries().unwrap_or_default());
    entries.map(|entry| entry.name).collect()
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
    #[error("{path}:{line}: {refusal}", path = escape::path(path))]
    Refused { path: PathBuf, line: usize, refusal: Refusal },
}

#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub(crate) enum Refusal {
    /// Fewer at most than at least.
    #[error("`repetitions` must have 1 <= least <= most, not least = {}, most = {}", .0.least, .0.most)]
    Repetitions(Repetitions),
    #[error("nothing to run: add [[workloads]] and [[contenders]], or a [tracker]")]
    Nothing,
    #[error("two workloads are called \"{}\": rename one", escape::terminal(name))]
    TwoWorkloads { name: String },
    #[error("two contenders are called \"{}\": add a `name` to one", escape::terminal(name))]
    TwoContenders { name: String },
    #[error("workload \"{}\": {cause}", escape::terminal(name))]
    Workload { name: String, cause: ScenarioError },
    #[error("`[tracker]`: {0}")]
    Tracker(TooMany),
    #[error(
        "contender \"{}\": only the engine `stage` has a `stage`: leave it out",
        escape::terminal(name)
    )]
    Stage { name: String },
    #[error("contender \"{}\": {cause}", escape::terminal(name))]
    TooMany { name: String, cause: TooMany },
    #[error(
        "workloads and contenders give {0} runs in one repetition: use 1 to {COMBINATIONS_MAX}"
    )]
    Runs(usize),
    /// An engine cannot do what is switched.
    #[error("contender \"{}\": {cause}", escape::terminal(name))]
    Switch { name: String, cause: SwitchError },
    #[error(
        "contender \"{}\": only the engine `lockfree` keeps a `trace`: leave it out",
        escape::terminal(name)
    )]
    Trace { name: String },
    /// Times where there are none, or none where there are.
    #[error(
        "contender \"{}\": a mock needs `times_ms`, and no other engine takes it",
        escape::terminal(name)
    )]
    Times { name: String },
}
