//! Two groups of runs of one scenario: by how much do they differ, and is it real?

use serde::Serialize;

use super::{Figure, Observation, Scenario};
use crate::report::statistics::{
    Interval, cliffs_delta, holm, mann_whitney, median, median_interval, median_ratio,
    median_ratio_interval, paired_median_ratio_interval, variation,
};

/// Fewer runs than this are no ground for a probability: with five of each group even groups that
/// are wide apart have no interval of 95%.
pub(crate) const RUNS_LEAST: usize = 6;
/// A result counts as real when its corrected probability is below this and its interval
/// leaves out 1.
pub(crate) const SIGNIFICANT: f64 = 0.05;
/// How often a ratio of medians is drawn anew.
pub(super) const ROUNDS: usize = 2000;
/// Intervals are drawn with one fixed seed.
const SEED: u64 = 0x006d_7069_7377_6172;

/// The runs of one group.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Group {
    /// The values, in the order of the repetitions.
    pub values: Vec<f64>,
    /// The median.
    pub median: f64,
    /// Its 95% interval; none for fewer than [`RUNS_LEAST`] runs.
    pub interval: Option<Interval>,
    /// The coefficient of variation; none for one run.
    pub variation: Option<f64>,
}

/// Two groups side by side.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct JudgedPair {
    /// What was run.
    pub scenario: Scenario,
    /// The contender, or the one that is compared with the base.
    pub contender: String,
    /// The group that is the base.
    pub base: Group,
    /// The other group.
    pub other: Group,
    /// The median of the other ÷ that of the base; none where that is no number.
    pub ratio: Option<f64>,
    /// Its 95% interval.
    pub ratio_interval: Option<Interval>,
    /// Whether the interval is that of pairs.
    pub paired: bool,
    /// The two-sided probability of the Mann-Whitney test; none for too few runs.
    pub p: Option<f64>,
    /// The same, corrected by Holm for all results of the table.
    pub p_holm: Option<f64>,
    /// Cliff's delta of the other against the base.
    pub delta: Option<f64>,
    /// What it comes to.
    pub verdict: Verdict,
}

/// What two groups come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Verdict {
    /// The other is better than the base.
    Better,
    /// The other is worse than the base.
    Worse,
    /// Nothing can be told from noise: "~".
    Same,
    /// There are fewer than [`RUNS_LEAST`] runs in a group.
    TooFew,
}

impl Group {
    /// The runs that have the figure; none where there are none.
    pub(crate) fn new(runs: &[&Observation], figure: Figure) -> Option<Self> {
        let values: Vec<f64> =
            runs.iter().filter_map(|run| run.values.get(&figure).copied()).collect();
        Some(Self {
            median: median(&values)?,
            interval: median_interval(&values),
            variation: variation(&values),
            values,
        })
    }

    /// How far the interval reaches from the median at most, as a part of it.
    pub(crate) fn reach(&self) -> Option<f64> {
        let reach = self.interval?.reach(self.median) / self.median;
        reach.is_finite().then_some(reach)
    }
}

/// How the interval of a ratio is drawn.
#[derive(Clone, Copy, Debug)]
pub(super) struct Draw {
    /// Whether equal repetitions of both groups belong together.
    pub(super) interleaved: bool,
    /// How often.
    pub(super) rounds: usize,
}

/// Compares the runs of one scenario. None where a group has no run with the figure. The verdict waits for
/// [`decide`].
pub(super) fn row(
    figure: Figure,
    scenario: &Scenario,
    contender: &str,
    [base_runs, other_runs]: [&[&Observation]; 2],
    draw: Draw,
) -> Option<JudgedPair> {
    let Draw { interleaved, rounds } = draw;
    let (base, other) = (Group::new(base_runs, figure)?, Group::new(other_runs, figure)?);
    let pairs = if interleaved { pairs(figure, other_runs, base_runs) } else { None };
    let ratio_interval = match &pairs {
        Some(pairs) => paired_median_ratio_interval(pairs, rounds, SEED),
        None => {
            let sorted = |group: &Group| {
                let mut values = group.values.clone();
                values.sort_by(f64::total_cmp);
                values
            };
            median_ratio_interval(&sorted(&other), &sorted(&base), rounds, SEED)
        }
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

/// Corrects the probabilities of all rows of a table and says what each comes to.
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
    let leaves_out_one = interval.low > 1.0 || interval.high < 1.0;
    // A median may stand still while the ranks move: that has no direction.
    if p >= SIGNIFICANT || !leaves_out_one || ratio == 1.0 {
        Verdict::Same
    } else if (ratio > 1.0) == figure.more_is_better() {
        Verdict::Better
    } else {
        Verdict::Worse
    }
}
