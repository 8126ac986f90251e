//! Two groups of runs of one scenario: by how much do they differ, and is that significant?
//!
//! # The method
//!
//! Runs of one launch are not independent: six launches of one binary had medians up to 1.39 × apart.
//! So a launch is the unit wherever there are several, and its datum is the logarithm of the median of
//! its runs. That uses both levels: the spread of these data has that of launches and that of runs in it
//! (T. Kalibera and R. Jones, "Rigorous Benchmarking in Reasonable Time", ISMM 2013, section 7).
//!
//! - *Sets* (builds, days), [`Design::Apart`]: the datum of each launch is taken relative to that of a
//!   [`Control`] in the same launch. p is that of the exact Mann-Whitney test over launches, the interval
//!   Welch's. There is no verdict with fewer than [`LAUNCHES_LEAST`] launches on each side.
//! - *Contenders of several launches*, [`Design::Together`]: the datum of a launch is the median of the
//!   logarithms of the ratios of equal repetitions. p and the interval are those of the paired t-test:
//!   with eight launches a signed-rank test ends at p = 0.0078, which no correction for many results
//!   leaves significant.
//! - *Contenders of one launch*: the ratio of medians, its bootstrap interval, and the t-test of the
//!   trimmed mean of the logarithms of the ratios of equal repetitions. Without a difference these are
//!   symmetric about 0, however skewed runs are. Where repetitions have no partner, the Mann-Whitney
//!   test. The verdict holds for that launch only.
//!
//! A verdict needs p below [`SIGNIFICANT`] after Holm's correction *and* an interval without 1. The
//! results that are corrected for are all contenders and scenarios of a figure, shown or not, so that
//! no verdict depends on what else one asks to see.
//!
//! Each result says which factor its data could have told from 1 nine times of ten, from the spread of its
//! units ([`JudgedPair::detectable`]).
//!
//! A verdict is *void* if the control moved by as much or more ([`Verdict::Void`]). The alternatives were
//! tried on simulated launches, 8 on each side with spreads of 10 to 25% that contenders share up to 2%,
//! runs with 5%, and days that differ by 15%. Without a control a loss of 10% was seen in 8% of the
//! trials or fewer; relative to the control in all. Voiding every verdict when the control moved, in
//! place of taking ratios to it, saw it in 6% or fewer. The rule for void verdicts halves the alarms
//! where contenders follow the day unequally, and leaves 97% of the losses seen where days are equal.

use std::collections::BTreeMap;

use serde::Serialize;

use super::control::{Control, Shift};
use super::{Figure, Observation, Scenario};
use crate::config::choice;
use crate::report::statistics::{
    Contrast, Estimate, Interval, cliffs_delta, coefficient_of_variation, detectable_shift, holm,
    least_probability, mann_whitney, median, median_interval, median_ratio, median_ratio_interval,
    paired_median_ratio_interval,
};

/// Groups of one launch with fewer runs are not tested.
// The median of 5 runs has no 95% interval: even the extremes contain it with 1 - 2/2^5 = 93.75%.
pub(crate) const RUNS_LEAST: usize = 6;
/// Groups of several launches with fewer of them are not tested.
// With 8 on each side the least p of the rank test is 0.00016, which is significant among 64 results;
// with 7 it is 0.00058, and among 17.
pub(crate) const LAUNCHES_LEAST: usize = 8;
/// A difference is significant if its corrected p-value is below this and the interval of its
/// ratio does not contain 1.
// Stricter than the 0.05 of many papers: of a hundred tables without a difference one may have a verdict.
pub(crate) const SIGNIFICANT: f64 = 0.01;
// The seed of all bootstrap intervals.
// Fixed, so that the same records always give the same report. Any value does; these are the
// letters "mpiswar".
const SEED: u64 = 0x006d_7069_7377_6172;

/// The runs of one side of a comparison.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Group {
    pub values: Vec<f64>,
    pub launches: usize,
    /// Of the runs; of the medians of launches where there are several.
    pub median: f64,
    /// Of the median; none for fewer than six units.
    pub interval: Option<Interval>,
    /// The coefficient of variation of the same; none for one unit.
    pub variation: Option<f64>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct JudgedPair {
    pub scenario: Scenario,
    pub contender: String,
    pub base: Group,
    pub other: Group,
    /// What was tested.
    pub tested: Tested,
    /// The other ÷ the base, relative to the control if there is one; none where that is not finite.
    pub ratio: Option<f64>,
    pub ratio_interval: Option<Interval>,
    /// How the control changed in the same launches.
    pub control: Option<Shift>,
    /// Whether units of both sides belong together.
    pub paired: bool,
    /// The two-sided p-value; none for too few units.
    pub p: Option<f64>,
    /// The same with Holm's correction for all results of the figure.
    pub p_holm: Option<f64>,
    /// How many results that corrects for.
    pub family: usize,
    /// The smallest factor that would be told from 1; none where it is unknown, or no factor would.
    pub detectable: Option<f64>,
    pub delta: Option<f64>,
    pub verdict: Verdict,
    #[serde(skip)]
    pub contrast: Option<Contrast>,
}

choice! {
    /// What counts as independent.
    pub(crate) enum Tested {
        /// Runs of one launch: what follows holds for that launch only.
        Run = "run",
        /// Launches.
        Launch = "launch",
    }
}

choice! {
    /// Whether the other group differs from the base.
    pub(crate) enum Verdict {
        /// The other is significantly better.
        Better = "better",
        /// The other is significantly worse.
        Worse = "worse",
        /// No significant difference, shown as "~".
        Same = "same",
        /// A group has fewer than [`RUNS_LEAST`] runs, or [`LAUNCHES_LEAST`] launches.
        TooFew = "too-few",
        /// Significant, but the control, which can't have changed, moved by as much.
        Void = "void",
        /// This is the control.
        Control = "control",
    }
}

/// What two groups of runs have to do with each other.
#[derive(Clone, Copy, Debug)]
pub(super) enum Design<'a> {
    /// Contenders of one set: launches belong together, and equal repetitions if they took turns.
    Together { interleaved: bool },
    /// Contenders of two sets.
    Apart { control: Option<&'a Control> },
}

impl Group {
    /// The runs that have the figure; none where there are none.
    pub(crate) fn new(runs: &[&Observation], figure: Figure) -> Option<Self> {
        let launches = by_launch(runs, figure);
        let values: Vec<f64> =
            runs.iter().filter_map(|run| run.values.get(&figure).copied()).collect();
        let medians = medians(&launches, figure);
        let units = if launches.len() > 1 { &medians } else { &values };
        Some(Self {
            median: median(units)?,
            interval: median_interval(units),
            variation: coefficient_of_variation(units),
            launches: launches.len(),
            values,
        })
    }

    /// The distance from the median to the farther end of its interval ÷ the median.
    pub(crate) fn reach(&self) -> Option<f64> {
        let reach = self.interval?.reach(self.median) / self.median;
        reach.is_finite().then_some(reach)
    }
}

impl JudgedPair {
    /// The units of the smaller side, and how many a verdict needs.
    pub(crate) fn units(&self) -> (usize, usize) {
        let sides = [&self.base, &self.other];
        let (counts, least) = match self.tested {
            Tested::Run => (sides.map(|side| side.values.len()), RUNS_LEAST),
            Tested::Launch => (sides.map(|side| side.launches), LAUNCHES_LEAST),
        };
        (counts[0].min(counts[1]), least)
    }

    /// Whether not even groups wide apart are significant at this level, among so many results.
    pub(crate) fn is_blind(&self, level: f64) -> bool {
        let ranks = least_probability(self.base.launches, self.other.launches);
        let of_ranks = self.tested == Tested::Launch && !self.paired;
        of_ranks && ranks * self.family as f64 >= level
    }

    /// The smallest factor that would be told from 1 at this level. `shifts` are those of the rank test that
    /// are known, by the numbers of launches.
    fn detectable(&self, level: f64, shifts: &mut Shifts) -> Option<f64> {
        let estimate = self.estimate()?;
        if self.tested == Tested::Run || self.paired {
            return estimate.detectable(level);
        }
        let [base, other] = [self.base.launches, self.other.launches];
        let shift =
            *shifts.entry((base, other)).or_insert_with(|| detectable_shift(base, other, level));
        let spread = (1.0 / base as f64 + 1.0 / other as f64).sqrt();
        match shift {
            Some(shift) => estimate.factor(shift / spread),
            // With so many launches that the t-test sees as much.
            None => estimate.detectable(level).filter(|_| !self.is_blind(SIGNIFICANT)),
        }
    }

    /// The same as a row that is shown beside the others: it is what they are relative to.
    pub(super) fn into_control(mut self) -> Self {
        self.verdict = Verdict::Control;
        self.p = None;
        self
    }

    fn estimate(&self) -> Option<Estimate> {
        let contrast = self.contrast.as_ref()?;
        let trimmed = Some(contrast).filter(|_| self.tested == Tested::Run);
        trimmed.and_then(Estimate::trimmed).or_else(|| Estimate::of(&[contrast]))
    }
}

type Shifts = BTreeMap<(usize, usize), Option<f64>>;
type Launches<'a> = BTreeMap<u32, Vec<&'a Observation>>;

/// The runs with the figure, by launch.
fn by_launch<'a>(runs: &[&'a Observation], figure: Figure) -> Launches<'a> {
    let mut launches = Launches::new();
    for run in runs.iter().filter(|run| run.values.contains_key(&figure)) {
        launches.entry(run.launch).or_default().push(run);
    }
    launches
}

fn medians(launches: &Launches<'_>, figure: Figure) -> Vec<f64> {
    launches.values().filter_map(|runs| middle(runs, figure)).collect()
}

fn middle(runs: &[&Observation], figure: Figure) -> Option<f64> {
    median(&runs.iter().filter_map(|run| run.values.get(&figure).copied()).collect::<Vec<_>>())
}

/// The logarithms of values; none where one of them is not positive.
fn logs(values: &[f64]) -> Option<Vec<f64>> {
    values.iter().map(|value| (*value > 0.0).then(|| value.ln())).collect()
}

/// Compares the runs of one scenario. None where a group has no run with the figure. [`decide`]
/// gives the verdict, once all results of the figure are known.
pub(super) fn row(
    figure: Figure,
    scenario: &Scenario,
    contender: &str,
    [base_runs, other_runs]: [&[&Observation]; 2],
    (design, resamples): (Design<'_>, usize),
) -> Option<JudgedPair> {
    let mut row = JudgedPair {
        scenario: scenario.clone(),
        contender: contender.to_owned(),
        base: Group::new(base_runs, figure)?,
        other: Group::new(other_runs, figure)?,
        tested: Tested::Launch,
        ratio: None,
        ratio_interval: None,
        control: None,
        paired: false,
        p: None,
        p_holm: None,
        family: 0,
        detectable: None,
        delta: None,
        verdict: Verdict::TooFew,
        contrast: None,
    };
    let [base, other] = [base_runs, other_runs].map(|runs| by_launch(runs, figure));
    match design {
        Design::Apart { control } => row.compare_sets(figure, control, [&base, &other]),
        Design::Together { interleaved } if base.len() == 1 && base.keys().eq(other.keys()) => {
            let pairs = if interleaved { pairs(figure, other_runs, base_runs) } else { None };
            row.compare_runs(pairs, resamples);
        }
        Design::Together { interleaved } => {
            row.compare_launches(figure, interleaved, [&base, &other]);
        }
    }
    let (units, least) = row.units();
    if units < least {
        // An interval of few units is honest about launches, but that of few runs is too narrow.
        row.ratio_interval = row.ratio_interval.filter(|_| row.tested == Tested::Launch);
        row.p = None;
    } else {
        row.verdict = Verdict::Same;
    }
    Some(row)
}

impl JudgedPair {
    /// Launches of two sets.
    fn compare_sets(
        &mut self,
        figure: Figure,
        control: Option<&Control>,
        launches: [&Launches<'_>; 2],
    ) {
        let data = launches.map(|launches| medians(launches, figure));
        let [base_logs, other_logs] = [&data[0], &data[1]].map(|medians| logs(medians));
        let numbers = launches.map(|launches| launches.keys().copied().collect::<Vec<_>>());
        let (Some(mut base), Some(mut other)) = (base_logs, other_logs) else {
            // Ranks know what 0 is, logarithms don't.
            self.ratio = median_ratio(&data[1], &data[0]);
            self.test_ranks(&data[1], &data[0]);
            return;
        };
        if let Some(moved) = control.and_then(|control| control.in_launches(&numbers)) {
            base.iter_mut().zip(&moved.base).for_each(|(log, control)| *log -= control);
            other.iter_mut().zip(&moved.other).for_each(|(log, control)| *log -= control);
            self.control = moved.shift();
        }
        self.test_ranks(&other, &base);
        let numbered =
            |logs: Vec<f64>, side: usize| numbers[side].iter().copied().zip(logs).collect();
        self.settle(Contrast::apart(numbered(other, 1), numbered(base, 0), true));
    }

    fn test_ranks(&mut self, other: &[f64], base: &[f64]) {
        self.p = mann_whitney(other, base).map(|test| test.p);
        self.delta = cliffs_delta(other, base);
    }

    /// Launches that both contenders were part of.
    fn compare_launches(
        &mut self,
        figure: Figure,
        interleaved: bool,
        [base, other]: [&Launches<'_>; 2],
    ) {
        let mut both = Vec::new();
        for (launch, base_runs) in base {
            let Some(other_runs) = other.get(launch) else { continue };
            let pairs = if interleaved { pairs(figure, other_runs, base_runs) } else { None };
            let ratios = pairs.and_then(|pairs| log_ratios(&pairs));
            let of_medians = || {
                let middles = [middle(other_runs, figure)?, middle(base_runs, figure)?];
                logs(&middles).map(|logs| logs[0] - logs[1])
            };
            both.push((*launch, ratios.as_deref().and_then(median).or_else(of_medians)));
        }
        self.paired = true;
        (self.base.launches, self.other.launches) = (both.len(), both.len());
        let data = [base, other].map(|launches| medians(launches, figure));
        let log_ratios: Option<Vec<_>> =
            both.iter().map(|(launch, log)| Some((*launch, (*log)?))).collect();
        self.test_ranks(&data[1], &data[0]);
        match log_ratios {
            Some(log_ratios) if !log_ratios.is_empty() => {
                self.settle(Contrast::paired(log_ratios, true));
                self.p = self.estimate().and_then(|estimate| estimate.p());
            }
            _ => self.ratio = median_ratio(&data[1], &data[0]),
        }
    }

    fn settle(&mut self, contrast: Contrast) {
        self.contrast = Some(contrast);
        let Some(estimate) = self.estimate() else { return };
        self.ratio = Some(estimate.ratio());
        self.ratio_interval = estimate.interval_around(estimate.ratio());
    }

    /// Runs of one launch.
    fn compare_runs(&mut self, pairs: Option<Vec<(f64, f64)>>, resamples: usize) {
        let (base, other) = (self.base.values.clone(), self.other.values.clone());
        self.tested = Tested::Run;
        self.test_ranks(&other, &base);
        self.ratio = median_ratio(&other, &base);
        self.paired = pairs.is_some();
        let numbered = |logs: Vec<f64>| (0..).zip(logs).collect::<Vec<_>>();
        if let Some(pairs) = pairs {
            self.ratio_interval = paired_median_ratio_interval(&pairs, resamples, SEED);
            let ratios = log_ratios(&pairs);
            self.contrast = ratios.map(|ratios| Contrast::paired(numbered(ratios), false));
            // Where a run took no time there are only ranks.
            self.p = self.estimate().and_then(|estimate| estimate.p()).or(self.p);
        } else {
            self.ratio_interval = median_ratio_interval(&other, &base, resamples, SEED);
            let both = logs(&other).zip(logs(&base));
            self.contrast =
                both.map(|(other, base)| Contrast::apart(numbered(other), numbered(base), false));
        }
    }
}

/// The values of equal repetitions, where every repetition of either group has its partner.
fn pairs(
    figure: Figure,
    dividend: &[&Observation],
    divisor: &[&Observation],
) -> Option<Vec<(f64, f64)>> {
    if dividend.len() != divisor.len() {
        return None;
    }
    let both = dividend.iter().zip(divisor);
    both.map(|(left, right)| {
        let belong = left.repetition.is_some() && left.repetition == right.repetition;
        let values = (*left.values.get(&figure)?, *right.values.get(&figure)?);
        belong.then_some(values)
    })
    .collect()
}

fn log_ratios(pairs: &[(f64, f64)]) -> Option<Vec<f64>> {
    let (dividends, divisors): (Vec<f64>, Vec<f64>) = pairs.iter().copied().unzip();
    let (dividends, divisors) = logs(&dividends).zip(logs(&divisors))?;
    Some(dividends.iter().zip(divisors).map(|(dividend, divisor)| dividend - divisor).collect())
}

/// Corrects the p-values of all results of a figure, and gives each its verdict.
pub(super) fn decide(figure: Figure, rows: &mut [&mut JudgedPair]) {
    let corrected = holm(&rows.iter().filter_map(|row| row.p).collect::<Vec<_>>());
    let family = corrected.len();
    let mut shifts = Shifts::new();
    let tested = rows.iter_mut().filter(|row| row.p.is_some());
    for (row, p) in tested.zip(corrected) {
        row.p_holm = Some(p);
        row.family = family;
        row.detectable = row.detectable(SIGNIFICANT / family as f64, &mut shifts);
        row.verdict = verdict(figure, row, p);
    }
}

fn verdict(figure: Figure, row: &JudgedPair, p: f64) -> Verdict {
    let holds_one = row.ratio_interval.is_some_and(|ends| ends.low <= 1.0 && ends.high >= 1.0);
    if p >= SIGNIFICANT || holds_one {
        return Verdict::Same;
    }
    match row.ratio {
        Some(ratio) if row.control.is_some_and(|control| control.hides(ratio)) => Verdict::Void,
        Some(ratio) => side(figure, ratio, 1.0),
        // From 0 to 5 ns is slower, by no factor.
        None => side(figure, row.other.median, row.base.median),
    }
}

/// The verdict on a significant difference.
pub(super) fn side(figure: Figure, other: f64, base: f64) -> Verdict {
    let order = other.total_cmp(&base);
    // Equal medians whose ranks differ have no direction.
    if order.is_eq() {
        Verdict::Same
    } else if order.is_gt() == figure.more_is_better() {
        Verdict::Better
    } else {
        Verdict::Worse
    }
}
