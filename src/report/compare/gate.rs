//! A gate for continuous integration: did anything get significantly worse, by more than a stated
//! effect?
//!
//! A result fails if its verdict is that it is worse ([`super::judge`]), *and* by more than the effect
//! allows, *and* its p-value with Holm's correction is below [`ALARM`] ÷ the number of figures and
//! of sets that are compared with the base. So the
//! whole gate gives a false alarm in at most 1% of its runs. What has no ratio, as from 0 to 5 ns, is
//! worse by more than any effect. A gate that judged nothing fails: it has not shown that nothing is
//! worse. It fails, too, where the other has more runs that did not deliver everything than the base: they
//! are left out, so that no figure shows them. Whatever a gate fails for stands among the warnings of the comparison, too.
//!
//! Simulated launches (`tests/noise.rs`): with 8 on each side and a control a loss of 10% of one engine is
//! found at least 9 times of 10. The gate says which loss the launches at hand would show.

use std::io;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::judge::{JudgedPair, SIGNIFICANT, Tested, Verdict};
use super::pairing::{Comparison, Pairing};
use super::{Figure, cells};
use crate::escape;
use crate::manifest::read_bounded;
use crate::report::units::count;

// The probability that a gate fails though nothing changed: that of a table with a false verdict.
const ALARM: f64 = SIGNIFICANT;

// Bytes of a gate, at most.
// Ten thousand rules: more than any table has rows.
const GATE_BYTES_MAX: u64 = 1 << 20;

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
        let text = read_bounded(path, GATE_BYTES_MAX)
            .and_then(|bytes| String::from_utf8(bytes).map_err(io::Error::other))
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
        let (mut outcome, mut unjudged) = (GateResult::default(), Vec::new());
        for figure in &self.figures {
            let of_figure: Vec<_> =
                comparison.pairings.iter().filter(|pairing| pairing.figure == *figure).collect();
            // Bonferroni over figures and sets; within both, the p-values have Holm's correction.
            let sets =
                if of_figure.iter().any(|one| one.within) { 1 } else { of_figure.len().max(1) };
            let alarm = ALARM / (self.figures.len() * sets) as f64;
            for pairing in &of_figure {
                for row in pairing.rows.iter().filter(|row| row.verdict != Verdict::Control) {
                    unjudged.extend(self.judge_row(pairing, row, alarm, &mut outcome));
                }
                self.judge_missing(pairing, &mut outcome);
                for undelivered in &pairing.undelivered {
                    // It is the same of each figure.
                    if !outcome.failures.contains(undelivered) {
                        outcome.failures.push(undelivered.clone());
                    }
                }
                outcome.remarks.extend(self.power(pairing));
            }
            if of_figure.iter().all(|pairing| pairing.rows.is_empty()) {
                outcome.failures.push(format!("{figure}: the folders have no result in common"));
            }
        }
        if outcome.judged == 0 {
            let why = if unjudged.is_empty() { "" } else { ": " };
            let failure =
                format!("no result could be judged{why}{}", escape::some(&unjudged, "; "));
            outcome.failures.push(failure);
        }
        outcome
    }

    /// Judges one result; returns it with the reason where it can't be judged.
    fn judge_row(
        &self,
        pairing: &Pairing,
        row: &JudgedPair,
        alarm: f64,
        outcome: &mut GateResult,
    ) -> Option<String> {
        let what = format!("{}, {} ({})", row.contender, row.scenario, pairing.figure);
        let Some(p) = row.p_holm.filter(|_| row.verdict != Verdict::Void && !row.is_blind(alarm))
        else {
            let (units, least) = row.units();
            let units = count(units as u64, row.tested.name());
            let why = match row.verdict {
                Verdict::Void => "the control moved by as much".to_owned(),
                Verdict::TooFew => format!("{units}, at least {least} are needed"),
                Verdict::Better | Verdict::Worse | Verdict::Same | Verdict::Control => {
                    format!("{units} are too few for {} results", row.family)
                }
            };
            let ends = ends_without_ratio(pairing.figure, row).map(|ends| format!("{ends}; "));
            let why = format!("{}{why}", ends.unwrap_or_default());
            outcome.remarks.push(format!("{what}: not judged: {why}"));
            return Some(format!("{what}: {why}"));
        };
        outcome.judged += 1;
        let effect = self.effect_for(pairing.figure, row);
        // One scale for all figures: above 1 is worse.
        let more = pairing.figure.more_is_better();
        let worse = row.ratio.map(|ratio| if more { ratio.recip() } else { ratio });
        let is_worse = row.verdict == Verdict::Worse;
        let (by, ratio) = match worse {
            Some(worse) if worse <= 1.0 + effect => return None,
            None if !is_worse => return None,
            Some(worse) => {
                let ratio = cells::shown(row.ratio, cells::ratio);
                let ends = format!("ratio {ratio} {}", cells::interval(row));
                (format!("{:.1}% worse", 100.0 * (worse - 1.0)), ends)
            }
            None => {
                let ends = ends_without_ratio(pairing.figure, row);
                ("worse".to_owned(), ends.unwrap_or_default())
            }
        };
        if is_worse && p < alarm {
            let (base, allowed) = (&pairing.base, 100.0 * effect);
            outcome.failures.push(format!(
                "{what}: {by} than {base} (at most {allowed:.1}% allowed); {ratio}, p = {p:.1e}"
            ));
        } else {
            outcome
                .remarks
                .push(format!("{what}: {by}, but not significantly: {ratio}, p = {p:.2}"));
        }
        None
    }

    /// Which loss these data would have shown, and how many launches show the one that is allowed.
    fn power(&self, pairing: &Pairing) -> Option<String> {
        let known = pairing.rows.iter().filter_map(|row| Some((row, row.detectable?)));
        let (row, most) = known.max_by(|(_, left), (_, right)| left.total_cmp(right))?;
        let (effect, (units, _)) = (self.effect_for(pairing.figure, row), row.units());
        let mut remark = format!(
            "{} of {}: {} show a loss of {} in any result 9 times of 10",
            pairing.figure,
            pairing.other,
            count(units as u64, row.tested.name()),
            cells::part(most)
        );
        // The reach of an interval falls with the root of the number of units.
        let needed = units as f64 * (most.ln() / (1.0 + effect).ln()).powi(2);
        if row.tested == Tested::Launch && needed > units as f64 {
            remark +=
                &format!("; for {:.1}% about {:.0} are needed", 100.0 * effect, needed.ceil());
        }
        Some(remark)
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

/// From where to where a result went that has no ratio.
fn ends_without_ratio(figure: Figure, row: &JudgedPair) -> Option<String> {
    let [base, other] = [&row.base, &row.other].map(|side| figure.show(side.median));
    row.ratio.is_none().then(|| format!("from {base} to {other}, which has no ratio"))
}
