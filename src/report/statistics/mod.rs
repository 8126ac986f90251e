//! What do repeated measurements say? Of runs, order statistics, which assume no distribution: times
//! are skewed and have outliers, so that means and normal intervals mislead. Of launches, whose data
//! are medians of runs, also Student's t ([`contrast`]), because few launches have few ranks.
//!
//! All functions take samples in any order. Times and rates are never NaN; a NaN would sort last.

mod contrast;
mod rank_test;
#[cfg(test)]
mod tests;

pub(crate) use contrast::{Contrast, Estimate};
pub(crate) use rank_test::{
    cliffs_delta, coefficient_of_variation, detectable_shift, geometric_mean, holm,
    least_probability, mann_whitney,
};

use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::{Rng as _, SeedableRng as _};

/// The confidence level of all intervals.
// 95% by convention, so that our intervals can stand beside those of others.
pub(crate) const CONFIDENCE: f64 = 0.95;

/// The probability with which a difference is told that is called detectable.
// 0.8 is usual, but a gate that misses one loss in five would not be trusted.
const POWER: f64 = 0.9;

/// The resamples of a bootstrap interval.
// B. Efron and R. J. Tibshirani, "An Introduction to the Bootstrap", 1993, want at least 1,000 for
// a percentile interval. This is twice that; chosen, not tuned.
pub(crate) const RESAMPLES: usize = 2000;

// Tukey's fences lie 1.5 interquartile ranges outside of the quartiles.
// The factor of J. W. Tukey, "Exploratory Data Analysis", 1977.
const FENCE: f64 = 1.5;

/// A confidence interval at the level [`CONFIDENCE`].
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Interval {
    pub low: f64,
    pub high: f64,
}

impl Interval {
    /// The distance from the estimate inside to the farther end.
    pub(crate) fn reach(self, estimate: f64) -> f64 {
        (estimate - self.low).max(self.high - estimate)
    }
}

/// The middle sample, or the mean of the middle two; none where there are no samples.
pub(crate) fn median(samples: &[f64]) -> Option<f64> {
    quantile(&sorted(samples), 0.5)
}

/// The quartiles, interpolated linearly between samples; none where there are no samples.
///
/// Source: definition 7 of R. J. Hyndman and Y. Fan, "Sample Quantiles in Statistical Packages",
/// The American Statistician 50 (4), 1996: the default of R and NumPy.
pub(crate) fn quartiles(samples: &[f64]) -> Option<[f64; 3]> {
    let sorted = sorted(samples);
    Some([quantile(&sorted, 0.25)?, quantile(&sorted, 0.5)?, quantile(&sorted, 0.75)?])
}

/// The distribution-free confidence interval of the median: its ends are two of the samples. None
/// for fewer than six samples, where even the extremes contain the median too rarely.
///
/// Of n samples, the k-th smallest and the k-th largest miss the median with a probability of
/// 2 · P(B < k), where B is binomial (n, 1/2). The largest k that keeps this at most
/// 1 − [`CONFIDENCE`] is taken. Source: H. A. David and H. N. Nagaraja, "Order Statistics", 2003,
/// section 7.1.
pub(crate) fn median_interval(samples: &[f64]) -> Option<Interval> {
    let sorted = sorted(samples);
    let place = interval_place(sorted.len())?;
    Some(Interval { low: sorted[place - 1], high: sorted[sorted.len() - place] })
}

/// The k of [`median_interval`], counted from 1.
fn interval_place(count: usize) -> Option<usize> {
    let tosses = count as f64;
    // In logarithms, because 2^-n underflows for n above 1074.
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

/// Whether each sample lies outside of Tukey's fences, in the order of the samples.
pub(crate) fn outliers(samples: &[f64]) -> Vec<bool> {
    let Some([first, _, third]) = quartiles(samples) else { return Vec::new() };
    let reach = FENCE * (third - first);
    let inside = first - reach..=third + reach;
    samples.iter().map(|sample| !inside.contains(sample)).collect()
}

/// The median of `dividend` ÷ the median of `divisor`; none where one of them is 0.
pub(crate) fn median_ratio(dividend: &[f64], divisor: &[f64]) -> Option<f64> {
    Some(median(dividend)? / median(divisor)?).filter(|ratio| *ratio > 0.0 && ratio.is_finite())
}

/// The percentile bootstrap interval of the ratio of two medians: both groups are resampled with
/// replacement `resamples` times, and the middle [`CONFIDENCE`] of the ratios is taken. None where a
/// group is empty or a ratio is not finite. Equal seeds give equal intervals, whatever the order of
/// the samples.
///
/// Source: B. Efron, "Bootstrap Methods: Another Look at the Jackknife", The Annals of Statistics
/// 7 (1), 1979.
pub(crate) fn median_ratio_interval(
    dividend: &[f64],
    divisor: &[f64],
    resamples: usize,
    seed: u64,
) -> Option<Interval> {
    let (dividend, divisor) = (sorted(dividend), sorted(divisor));
    bootstrap(resamples, seed, |random| {
        let dividend = resample(&dividend, random);
        median_ratio(&dividend, &resample(&divisor, random))
    })
}

/// As [`median_ratio_interval`], for pairs (dividend, divisor) that were measured side by side.
/// Whole pairs are resampled, so that what disturbed both of a pair cancels out.
pub(crate) fn paired_median_ratio_interval(
    pairs: &[(f64, f64)],
    resamples: usize,
    seed: u64,
) -> Option<Interval> {
    bootstrap(resamples, seed, |random| {
        let (dividend, divisor): (Vec<f64>, Vec<f64>) = resample(pairs, random).into_iter().unzip();
        median_ratio(&dividend, &divisor)
    })
}

/// The quantiles that enclose the middle [`CONFIDENCE`] of the values; none where a value is none.
fn bootstrap(
    resamples: usize,
    seed: u64,
    mut value: impl FnMut(&mut Xoshiro256PlusPlus) -> Option<f64>,
) -> Option<Interval> {
    let mut random = Xoshiro256PlusPlus::seed_from_u64(seed);
    let values = (0..resamples).map(|_| value(&mut random)).collect::<Option<Vec<_>>>()?;
    let (sorted, tail) = (sorted(&values), (1.0 - CONFIDENCE) / 2.0);
    Some(Interval { low: quantile(&sorted, tail)?, high: quantile(&sorted, 1.0 - tail)? })
}

/// A sample of the same size, drawn with replacement.
fn resample<T: Copy>(samples: &[T], random: &mut Xoshiro256PlusPlus) -> Vec<T> {
    let count = samples.len() as u64;
    let draw = |_| {
        // D. Lemire, "Fast Random Integer Generation in an Interval", 2019, without its rejection:
        // the bias is at most count ÷ 2^64.
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

/// The quantile of sorted samples, interpolated linearly; none where there are no samples.
pub(crate) fn quantile(sorted: &[f64], part: f64) -> Option<f64> {
    let last = sorted.len().checked_sub(1)?;
    let place = part * last as f64;
    let below = (0..last).take_while(|&index| index as f64 + 1.0 <= place).count();
    let (low, high) = (sorted[below], sorted[(below + 1).min(last)]);
    Some(low + (place - below as f64) * (high - low))
}
