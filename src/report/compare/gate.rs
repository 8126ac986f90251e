//! A gate: did anything get worse, by more than a stated effect and beyond doubt?
//!
//! A result fails when its ratio is worse than the effect allows, *and* its 95% interval leaves out
//! 1, *and* its Holm-corrected probability is below [`ALARM`]. The last keeps false alarms of a
//! whole table at 1%, however many rows it has: intervals alone would cry wolf with the number of
//! rows.

use std::io;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::judge::{JudgedPair, RUNS_LEAST};
use super::pairing::{Comparison, Pairing};
use super::{Figure, table};

/// How often a gate may fail when nothing changed.
pub(crate) const ALARM: f64 = 0.01;

/// What a gate allows.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct GatePlan {
    /// Worse by more than this part fails: 0.05 is 5%.
    pub effect: f64,
    /// The figures that are looked at.
    #[serde(default = "makespan")]
    pub figures: Vec<Figure>,
    /// What a result is that the base has and the other has not.
    #[serde(default)]
    pub missing: Missing,
    /// Other effects for some results; the last that fits counts.
    #[serde(default)]
    pub rules: Vec<Rule>,
}

/// An effect for some results: those that have all that it names.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Rule {
    /// The workload.
    pub workload: Option<String>,
    /// The contender.
    pub contender: Option<String>,
    /// The figure.
    pub figure: Option<Figure>,
    /// Worse by more than this part fails.
    pub effect: f64,
}

/// What a result is that is no longer measured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Missing {
    /// A failure: what is not measured cannot pass.
    #[default]
    Fail,
    /// Said, and no more.
    Warn,
}

/// What a gate says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct GateResult {
    /// What fails, a sentence each.
    pub failures: Vec<String>,
    /// What a reader must know though nothing fails by it, a sentence each.
    pub remarks: Vec<String>,
    /// How many results were judged.
    pub judged: usize,
}

/// Why there is no gate.
#[derive(Debug, thiserror::Error)]
pub(crate) enum GateError {
    /// The file cannot be read.
    #[error("{path}: {cause}", path = path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        cause: io::Error,
    },
    /// The text is no plan.
    #[error("{path}:{line}: {cause}", path = path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What the parser says.
        cause: String,
    },
    /// An effect that is no part.
    #[error("{path}: an effect is a part above 0, such as 0.05, and not {effect}", path = path.display())]
    Effect {
        /// The file.
        path: PathBuf,
        /// The effect.
        effect: f64,
    },
    /// Nothing to look at.
    #[error("{path}: `figures` names at least one", path = path.display())]
    NoFigure {
        /// The file.
        path: PathBuf,
    },
}

fn makespan() -> Vec<Figure> {
    vec![Figure::Makespan]
}

impl GatePlan {
    /// Reads a plan.
    ///
    /// # Errors
    ///
    /// The file cannot be read, or the first thing that is wrong in it.
    pub(crate) fn read(path: &Path) -> Result<Self, GateError> {
        let text = std::fs::read_to_string(path)
            .map_err(|cause| GateError::Read { path: path.to_owned(), cause })?;
        Self::parse(path, &text)
    }

    /// Reads the text of a plan that is named `path`.
    ///
    /// # Errors
    ///
    /// The first thing that is wrong in it.
    pub(crate) fn parse(path: &Path, text: &str) -> Result<Self, GateError> {
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

    /// Judges a comparison, which should hold the figures of this plan and no others: the alarms
    /// are shared among all of its results.
    pub(crate) fn judge(&self, comparison: &Comparison) -> GateResult {
        let mut outcome = GateResult::default();
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
                outcome.failures.push(format!("{figure}: no result in common"));
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
            outcome.remarks.push(format!(
                "{what}: not judged: {runs} runs of at least {RUNS_LEAST}, or a median of 0"
            ));
            return;
        };
        outcome.judged += 1;
        // The same scale for all figures: above 1 is worse.
        let more = pairing.figure.more_is_better();
        let worse = if more { ratio_now.recip() } else { ratio_now };
        let surely = if more { interval.high < 1.0 } else { interval.low > 1.0 };
        let effect = self.effect_for(pairing.figure, row);
        if worse > 1.0 + effect && surely && p < alarm {
            let part = 100.0 * (worse - 1.0);
            outcome.failures.push(format!(
                "{what}: {part:.1}% worse than {} (allowed: {:.1}%); ratio {} {}, p = {p:.1e}",
                pairing.base,
                100.0 * effect,
                table::ratio(ratio_now),
                table::interval(row)
            ));
        } else if worse > 1.0 + effect {
            outcome.remarks.push(format!(
                "{what}: {:.1}% worse, but not told from noise: ratio {} {}, p = {p:.2}",
                100.0 * (worse - 1.0),
                table::ratio(ratio_now),
                table::interval(row)
            ));
        }
    }

    fn judge_missing(&self, pairing: &Pairing, outcome: &mut GateResult) {
        let gone = pairing.only_base.iter().map(|what| {
            format!(
                "{what} ({}): {} has it, {} has not",
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
