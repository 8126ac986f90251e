//! A gate for continuous integration: did anything get significantly worse, by more than a stated
//! effect?
//!
//! A result fails if its ratio is worse than the effect allows, *and* its 95% interval does not
//! contain 1, *and* its p-value with Holm's correction is below [`ALARM`]. Intervals alone would give
//! more false alarms with every row; the correction keeps them at 1% for the whole table.

use std::io;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::judge::{JudgedPair, RUNS_LEAST};
use super::pairing::{Comparison, Pairing};
use super::{Figure, table};
use crate::escape;
use crate::report::units::count;

// The probability that a gate fails though nothing changed.
// Stricter than a table's 0.05, because a gate runs on every change: one false alarm in a hundred.
const ALARM: f64 = 0.01;

/// What a gate allows, as its TOML file says it.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct GatePlan {
    /// Worse by more than this part fails: 0.05 is 5%.
    pub effect: f64,
    #[serde(default = "makespan")]
    pub figures: Vec<Figure>,
    /// What to do about a result that the base has and the other lacks.
    #[serde(default)]
    pub missing: Missing,
    /// Other effects for some results; the last that matches counts.
    #[serde(default)]
    pub rules: Vec<Rule>,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Rule {
    pub workload: Option<String>,
    pub contender: Option<String>,
    pub figure: Option<Figure>,
    /// Worse by more than this part fails.
    pub effect: f64,
}

/// What to do about a result that is no longer measured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Missing {
    /// What is not measured cannot pass.
    #[default]
    Fail,
    Warn,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct GateResult {
    pub failures: Vec<String>,
    pub remarks: Vec<String>,
    pub judged: usize,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum GateError {
    #[error("{path}: {cause}", path = escape::path(path))]
    Read { path: PathBuf, cause: io::Error },
    #[error("{path}:{line}: {cause}", path = escape::path(path))]
    Syntax { path: PathBuf, line: usize, cause: String },
    #[error("{path}: `effect` must be above 0, such as 0.05 for 5%, not {effect}", path = escape::path(path))]
    Effect { path: PathBuf, effect: f64 },
    #[error("{path}: `figures` must name at least one figure, such as \"makespan\"", path = escape::path(path))]
    NoFigure { path: PathBuf },
}

fn makespan() -> Vec<Figure> {
    vec![Figure::Makespan]
}

impl GatePlan {
    pub(crate) fn read(path: &Path) -> Result<Self, GateError> {
        let text = std::fs::read_to_string(path)
            .map_err(|cause| GateError::Read { path: path.to_owned(), cause })?;
        Self::parse(path, &text)
    }

    pub(super) fn parse(path: &Path, text: &str) -> Result<Self, GateError> {
        let path = path.to_owned();
        let plan: Self = toml::from_str(text).map_err(|error| {
            let start = error.span().map_or(0, |span| span.start.min(text.len()));
            let line = text[..start].matches('\n').count() + 1;
            let cause = error.message().trim_end().to_owned();
            GateError::Syntax { path: path.clone(), line, cause }
        })?;
        let effects = plan.rules.iter().map(|rule| rule.effect);
        let wrong = effects.chain([plan.effect]).find(|&effect| !(effect > 0.0 && effect < 1e9));
        match wrong {
            Some(effect) => Err(GateError::Effect { path, effect }),
            None if plan.figures.is_empty() => Err(GateError::NoFigure { path }),
            None => Ok(plan),
        }
    }

    /// Judges a comparison of the figures of this gate.
    pub(crate) fn judge(&self, comparison: &Comparison) -> GateResult {
        let mut outcome = GateResult::default();
        // Bonferroni over the figures; within one, the p-values have Holm's correction.
        let alarm = ALARM / self.figures.len() as f64;
        for figure in &self.figures {
            let of_figure: Vec<_> =
                comparison.pairings.iter().filter(|pairing| pairing.figure == *figure).collect();
            for pairing in &of_figure {
                for row in &pairing.rows {
                    self.judge_row(pairing, row, alarm, &mut outcome);
                }
                self.judge_missing(pairing, &mut outcome);
            }
            if of_figure.iter().all(|pairing| pairing.rows.is_empty()) {
                outcome.failures.push(format!("{figure}: the folders have no result in common"));
            }
        }
        outcome
    }

    fn judge_row(&self, pairing: &Pairing, row: &JudgedPair, alarm: f64, outcome: &mut GateResult) {
        let what = format!("{}, {} ({})", row.contender, row.scenario, pairing.figure);
        let (Some(ratio_now), Some(interval), Some(p)) =
            (row.ratio, row.ratio_interval, row.p_holm)
        else {
            let runs = row.base.values.len().min(row.other.values.len());
            let why = if runs < RUNS_LEAST {
                format!("{}, at least {RUNS_LEAST} are needed", count(runs as u64, "run"))
            } else {
                "a median is 0".to_owned()
            };
            outcome.remarks.push(format!("{what}: not judged: {why}"));
            return;
        };
        outcome.judged += 1;
        // One scale for all figures: above 1 is worse.
        let more = pairing.figure.more_is_better();
        let worse = if more { ratio_now.recip() } else { ratio_now };
        let is_certain = if more { interval.high < 1.0 } else { interval.low > 1.0 };
        let effect = self.effect_for(pairing.figure, row);
        if worse <= 1.0 + effect {
            return;
        }
        let part = 100.0 * (worse - 1.0);
        let ratio = format!("ratio {} {}", table::ratio(ratio_now), table::interval(row));
        if is_certain && p < alarm {
            let (base, allowed) = (&pairing.base, 100.0 * effect);
            outcome.failures.push(format!(
                "{what}: {part:.1}% worse than {base} (at most {allowed:.1}% allowed); {ratio}, \
                 p = {p:.1e}"
            ));
        } else {
            let remark =
                format!("{what}: {part:.1}% worse, but not significantly: {ratio}, p = {p:.2}");
            outcome.remarks.push(remark);
        }
    }

    fn judge_missing(&self, pairing: &Pairing, outcome: &mut GateResult) {
        let gone = pairing.only_base.iter().map(|what| {
            format!(
                "{what} ({}): measured in {}, missing in {}",
                pairing.figure, pairing.base, pairing.other
            )
        });
        match self.missing {
            Missing::Fail => outcome.failures.extend(gone),
            Missing::Warn => outcome.remarks.extend(gone),
        }
    }

    fn effect_for(&self, figure: Figure, row: &JudgedPair) -> f64 {
        let fits = |rule: &&Rule| {
            let is = |name: &Option<String>, value: &str| {
                name.as_deref().is_none_or(|name| name == value)
            };
            is(&rule.workload, &row.scenario.workload)
                && is(&rule.contender, &row.contender)
                && rule.figure.is_none_or(|of| of == figure)
        };
        self.rules.iter().rev().find(fits).map_or(self.effect, |rule| rule.effect)
    }
}
