//! What do repeated measurements say? Order statistics, which ask nothing of a distribution:
//! times of runs are skewed and have outliers, so that means and normal intervals mislead.
//!
//! All functions take samples in any order. A NaN among them sorts last and is nobody's business
//! here: times and rates are never NaN.

mod ranks;
#[cfg(test)]
mod tests;

pub(crate) use ranks::{cliffs_delta, geometric_mean, holm, mann_whitney, variation};

use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::{Rng as _, SeedableRng as _};

/// How sure an interval is to hold the true value.
pub(crate) const CONFIDENCE: f64 = 0.95;

/// Fences lie so many interquartile ranges outside of the quartiles. Source: J. W. Tukey,
/// "Exploratory Data Analysis", 1977.
const FENCE: f64 = 1.5;

/// An interval that holds the true value with a probability of [`CONFIDENCE`] or more.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Interval {
    /// Its lower end, in the unit of the samples.
    pub low: f64,
    /// Its upper end, in the unit of the samples.
    pub high: f64,
}

impl Interval {
    /// How far its farther end is from a value inside.
    pub(crate) fn reach(self, inside: f64) -> f64 {
        (inside - self.low).max(self.high - inside)
    }
}

/// The first, second and third quartile.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Quartiles {
    /// A quarter of the samples lies below.
    pub first: f64,
    /// Half of them.
    pub median: f64,
    /// Three quarters.
    pub third: f64,
}

/// The middle sample, or the mean of the middle two; none where there are no samples.
pub(crate) fn median(samples: &[f64]) -> Option<f64> {
    quantile(&sorted(samples), 0.5)
}

/// The quartiles, with linear interpolation between the samples beside them; none where there are
/// no samples.
///
/// Source: definition 7 of R. J. Hyndman and Y. Fan, "Sample Quantiles in Statistical Packages",
/// The American Statistician 50 (4), 1996: the default of R and NumPy.
pub(crate) fn quartiles(samples: &[f64]) -> Option<Quartiles> {
    let sorted = sorted(samples);
    Some(Quartiles {
        first: quantile(&sorted, 0.25)?,
        median: quantile(&sorted, 0.5)?,
        third: quantile(&sorted, 0.75)?,
    })
}

/// An interval for the true median between two of the samples; none for fewer than six of them,
/// of which not even the extremes hold it often enough.
///
/// With n samples the median lies outside of the k-th smallest and the k-th largest with a
/// probability of 2 · P(B < k), where B counts the heads of n tosses of a coin. The largest k that
/// keeps this below 1 − [`CONFIDENCE`] is taken. Source: H. A. David and H. N. Nagaraja, "Order
/// Statistics", 2003, section 7.1.
pub(crate) fn median_interval(samples: &[f64]) -> Option<Interval> {
    let sorted = sorted(samples);
    let place = interval_place(sorted.len())?;
    Some(Interval { low: sorted[place - 1], high: sorted[sorted.len() - place] })
}

/// The k of [`median_interval`], counted from 1.
fn interval_place(count: usize) -> Option<usize> {
    let tosses = count as f64;
    // In logarithms, because 2^-n is no float for n above 1074.
    let mut log_of_one = -tosses * std::f64::consts::LN_2;
    let mut below = 0.0;
    for heads in 0..count {
        below += log_of_one.exp();
        if 2.0 * below > 1.0 - CONFIDENCE {
            return (heads > 0).then_some(heads);
        }
        log_of_one += ((tosses - heads as f64) / (heads as f64 + 1.0)).ln();
    }
    None
}

/// The number of samples ÷ the sum of their reciprocals: the mean of rates over equal amounts of
/// work. None where there are no samples or one is not positive.
pub(crate) fn harmonic_mean(samples: &[f64]) -> Option<f64> {
    if samples.is_empty() || samples.iter().any(|&sample| sample <= 0.0) {
        return None;
    }
    Some(samples.len() as f64 / samples.iter().map(|sample| sample.recip()).sum::<f64>())
}

/// Whether each of the samples lies outside of Tukey's fences, in the order of the samples.
pub(crate) fn outliers(samples: &[f64]) -> Vec<bool> {
    let Some(Quartiles { first, third, .. }) = quartiles(samples) else {
        return Vec::new();
    };
    let reach = FENCE * (third - first);
    let inside = first - reach..=third + reach;
    samples.iter().map(|sample| !inside.contains(sample)).collect()
}

/// The median of `dividend` ÷ the median of `divisor`; none where that is no number.
pub(crate) fn median_ratio(dividend: &[f64], divisor: &[f64]) -> Option<f64> {
    Some(median(dividend)? / median(divisor)?).filter(|ratio| ratio.is_finite())
}

/// An interval for the ratio of two medians: the middle [`CONFIDENCE`] of the ratios of `rounds`
/// pairs of samples, each drawn with replacement. None where there are no samples, or where a
/// ratio is no number. Equal seeds give equal intervals.
///
/// Source: the percentile bootstrap of B. Efron, "Bootstrap Methods: Another Look at the
/// Jackknife", The Annals of Statistics 7 (1), 1979.
pub(crate) fn median_ratio_interval(
    dividend: &[f64],
    divisor: &[f64],
    rounds: usize,
    seed: u64,
) -> Option<Interval> {
    let mut random = Xoshiro256PlusPlus::seed_from_u64(seed);
    middle((0..rounds).map(|_| {
        let dividend = drawn(dividend, &mut random);
        median_ratio(&dividend, &drawn(divisor, &mut random))
    }))
}

/// As [`median_ratio_interval`], where each pair (dividend, divisor) was measured side by side:
/// pairs are drawn, so that what disturbed both at once cancels out.
pub(crate) fn paired_median_ratio_interval(
    pairs: &[(f64, f64)],
    rounds: usize,
    seed: u64,
) -> Option<Interval> {
    let mut random = Xoshiro256PlusPlus::seed_from_u64(seed);
    middle((0..rounds).map(|_| {
        let (dividend, divisor): (Vec<f64>, Vec<f64>) =
            drawn(pairs, &mut random).into_iter().unzip();
        median_ratio(&dividend, &divisor)
    }))
}

/// What holds the middle [`CONFIDENCE`] of the values; none where one is none.
fn middle(values: impl Iterator<Item = Option<f64>>) -> Option<Interval> {
    let sorted = sorted(&values.collect::<Option<Vec<_>>>()?);
    let tail = (1.0 - CONFIDENCE) / 2.0;
    Some(Interval { low: quantile(&sorted, tail)?, high: quantile(&sorted, 1.0 - tail)? })
}

/// As many of the samples as there are, each drawn from all of them.
fn drawn<T: Copy>(samples: &[T], random: &mut Xoshiro256PlusPlus) -> Vec<T> {
    let count = samples.len() as u64;
    let draw = |_| {
        // The upper half of a product: without a bias that samples of a run could show.
        let place = (u128::from(random.next_u64()) * u128::from(count)) >> 64;
        samples[usize::try_from(place).expect("a place among the samples")]
    };
    (0..count).map(draw).collect()
}

fn sorted(samples: &[f64]) -> Vec<f64> {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted
}

/// The value below which a part of the sorted samples lies; none where there are no samples.
fn quantile(sorted: &[f64], part: f64) -> Option<f64> {
    let last = sorted.len().checked_sub(1)?;
    let place = part * last as f64;
    let below = (0..last).take_while(|&index| index as f64 + 1.0 <= place).count();
    let (low, high) = (sorted[below], sorted[(below + 1).min(last)]);
    Some(low + (place - below as f64) * (high - low))
}
