//! Two groups of runs of one scenario: by how much do they differ, and is that significant?

use serde::Serialize;

use super::{Figure, Observation, Scenario};
use crate::config::choice;
use crate::report::statistics::{
    Interval, cliffs_delta, coefficient_of_variation, holm, mann_whitney, median, median_interval,
    median_ratio, median_ratio_interval, paired_median_ratio_interval,
};

/// Groups with fewer runs are not tested.
// The median of 5 runs has no 95% interval: even the extremes contain it with 1 - 2/2^5 = 93.75%.
pub(crate) const RUNS_LEAST: usize = 6;
/// A difference is significant if its corrected p-value is below this and the interval of its
/// ratio does not contain 1.
// The complement of the confidence level of the intervals.
pub(crate) const SIGNIFICANT: f64 = 0.05;
// The seed of all bootstrap intervals.
// Fixed, so that the same records always give the same report. Any value does; these are the
// letters "mpiswar".
const SEED: u64 = 0x006d_7069_7377_6172;

/// The runs of one side of a comparison.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Group {
    pub values: Vec<f64>,
    pub median: f64,
    /// Of the median; none for fewer than [`RUNS_LEAST`] runs.
    pub interval: Option<Interval>,
    /// The coefficient of variation; none for one run.
    pub variation: Option<f64>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct JudgedPair {
    pub scenario: Scenario,
    pub contender: String,
    pub base: Group,
    pub other: Group,
    /// The median of the other ÷ that of the base; none where that is not finite.
    pub ratio: Option<f64>,
    pub ratio_interval: Option<Interval>,
    /// Whether pairs of runs were resampled for it.
    pub paired: bool,
    /// The two-sided p-value of the Mann-Whitney U test; none for too few runs.
    pub p: Option<f64>,
    /// The same with Holm's correction for all results of the table.
    pub p_holm: Option<f64>,
    pub delta: Option<f64>,
    pub verdict: Verdict,
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
        /// A group has fewer than [`RUNS_LEAST`] runs.
        TooFew = "too-few",
    }
}

impl Group {
    /// The runs that have the figure; none where there are none.
    pub(crate) fn new(runs: &[&Observation], figure: Figure) -> Option<Self> {
        let values: Vec<f64> =
            runs.iter().filter_map(|run| run.values.get(&figure).copied()).collect();
        Some(Self {
            median: median(&values)?,
            interval: median_interval(&values),
            variation: coefficient_of_variation(&values),
            values,
        })
    }

    /// The distance from the median to the farther end of its interval ÷ the median.
    pub(crate) fn reach(&self) -> Option<f64> {
        let reach = self.interval?.reach(self.median) / self.median;
        reach.is_finite().then_some(reach)
    }
}

/// Compares the runs of one scenario. None where a group has no run with the figure. [`decide`]
/// gives the verdict, once all rows of a table are known. Where contenders were `interleaved`, equal
/// repetitions belong together.
pub(super) fn row(
    figure: Figure,
    scenario: &Scenario,
    contender: &str,
    [base_runs, other_runs]: [&[&Observation]; 2],
    (interleaved, resamples): (bool, usize),
) -> Option<JudgedPair> {
    let (base, other) = (Group::new(base_runs, figure)?, Group::new(other_runs, figure)?);
    let pairs = if interleaved { pairs(figure, other_runs, base_runs) } else { None };
    let ratio_interval = match &pairs {
        Some(pairs) => paired_median_ratio_interval(pairs, resamples, SEED),
        None => median_ratio_interval(&other.values, &base.values, resamples, SEED),
    };
    let enough = base.values.len().min(other.values.len()) >= RUNS_LEAST;
    let test = mann_whitney(&other.values, &base.values).filter(|_| enough);
    Some(JudgedPair {
        scenario: scenario.clone(),
        contender: contender.to_owned(),
        ratio: median_ratio(&other.values, &base.values),
        ratio_interval: ratio_interval.filter(|_| enough),
        paired: pairs.is_some(),
        p: test.map(|test| test.p),
        p_holm: None,
        delta: cliffs_delta(&other.values, &base.values),
        verdict: if enough { Verdict::Same } else { Verdict::TooFew },
        base,
        other,
    })
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

/// Corrects the p-values of all rows of a table, and gives each row its verdict.
pub(super) fn decide(figure: Figure, rows: &mut [&mut JudgedPair]) {
    let corrected = holm(&rows.iter().filter_map(|row| row.p).collect::<Vec<_>>());
    let tested = rows.iter_mut().filter(|row| row.p.is_some());
    for (row, p) in tested.zip(corrected) {
        row.p_holm = Some(p);
        row.verdict = verdict(figure, row, p);
    }
}

fn verdict(figure: Figure, row: &JudgedPair, p: f64) -> Verdict {
    let (Some(ratio), Some(interval)) = (row.ratio, row.ratio_interval) else {
        return Verdict::Same;
    };
    let excludes_one = interval.low > 1.0 || interval.high < 1.0;
    // Equal medians whose ranks differ have no direction.
    if p >= SIGNIFICANT || !excludes_one || ratio == 1.0 {
        Verdict::Same
    } else if (ratio > 1.0) == figure.more_is_better() {
        Verdict::Better
    } else {
        Verdict::Worse
    }
}
