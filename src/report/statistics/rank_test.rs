//! Do two groups of measurements differ? The rank test of Mann and Whitney, which assumes no
//! distribution, its effect size, and Holm's correction for many tests.

use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::{Rng as _, SeedableRng as _};
use statrs::function::erf::erfc;

use super::{POWER, quantile, sorted};

// With more samples in both groups together, p comes from the normal approximation.
// The exact distribution takes time with the cube of the number. At 60 samples the approximation
// is within a fifth of it, even for small p.
const EXACT_MAX: usize = 60;

// How often `detectable_shift` draws both groups.
// The standard error of its quantile is then 2%; chosen, not tuned.
const DRAWS: usize = 400;
// Groups with more pairs of samples are not drawn.
// They would take longer than the comparison itself.
const PAIRS_MAX: usize = 10_000;

/// The result of a Mann-Whitney U test.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct RankTest {
    /// The statistic U: pairs, one sample of each group, whose larger one is in the first group;
    /// ties count half.
    pub u: f64,
    pub p: f64,
}

/// The Mann-Whitney U test, also known as the Wilcoxon rank-sum test. None where a group is empty or
/// has a NaN.
///
/// Up to [`EXACT_MAX`] samples p is exact, ties included. Beyond, it is the normal approximation,
/// corrected for ties and for continuity.
///
/// Source: H. B. Mann and D. R. Whitney, "On a Test of Whether one of Two Random Variables is
/// Stochastically Larger than the Other", The Annals of Mathematical Statistics 18 (1), 1947.
pub(crate) fn mann_whitney(first: &[f64], second: &[f64]) -> Option<RankTest> {
    let is_nan = first.iter().chain(second).any(|sample| sample.is_nan());
    if first.is_empty() || second.is_empty() || is_nan {
        return None;
    }
    let u = larger_pairs(first, second);
    let is_exact = first.len() + second.len() <= EXACT_MAX;
    let p = if is_exact { exact(first, second) } else { approximate(u, first, second) };
    Some(RankTest { u, p })
}

/// The smallest p-value that the exact test can give for groups of these sizes: all samples of one
/// group are larger.
pub(crate) fn least_probability(first: usize, second: usize) -> f64 {
    let ways = (1..=first).map(|drawn| (second + drawn) as f64 / drawn as f64);
    (2.0 / ways.product::<f64>()).min(1.0)
}

/// The smallest shift between normal samples, in their standard deviations, that the test tells at this
/// level with the probability [`POWER`]. None where no shift would, or for too many samples.
///
/// The test tells a shift if fewer than a critical number of pairs stand against it. So the shift that
/// one draw of both groups needs is the difference of the pair of that number in order of size.
pub(crate) fn detectable_shift(first: usize, second: usize, level: f64) -> Option<f64> {
    let pairs = first.saturating_mul(second);
    if pairs == 0 || pairs > PAIRS_MAX {
        return None;
    }
    // Samples of which so many pairs stand against a shift.
    let is_told = |against: usize| {
        let left: Vec<f64> = (0..second).map(|index| index as f64).collect();
        let place = |index: usize| against.saturating_sub(index * second).min(second) as f64 - 0.5;
        let right: Vec<f64> = (0..first).map(place).collect();
        mann_whitney(&right, &left).is_some_and(|test| test.p < level)
    };
    let critical = (0..pairs / 2).collect::<Vec<_>>().partition_point(|&against| is_told(against));
    let last = critical.checked_sub(1)?;
    // Fixed, so that the same records give the same report.
    let mut random = Xoshiro256PlusPlus::seed_from_u64(1);
    // By the method of Box and Muller.
    let mut normal = || {
        let mut part = || (random.next_u64() >> 11) as f64 / (1_u64 << 53) as f64;
        (-2.0 * (1.0 - part()).ln()).sqrt() * (std::f64::consts::TAU * part()).cos()
    };
    let mut shift = || {
        let left: Vec<f64> = (0..first).map(|_| normal()).collect();
        let right: Vec<f64> = (0..second).map(|_| normal()).collect();
        let all = left.iter().flat_map(|left| right.iter().map(move |right| left - right));
        let mut all: Vec<f64> = all.collect();
        *all.select_nth_unstable_by(last, |left, right| right.total_cmp(left)).1
    };
    quantile(&sorted(&(0..DRAWS).map(|_| shift()).collect::<Vec<_>>()), POWER)
}

/// Cliff's delta, from -1 to 1: the share of pairs whose larger sample is in the first group, less
/// the share of those where it is in the second. None where a group is empty.
///
/// Source: N. Cliff, "Dominance Statistics: Ordinal Analyses to Answer Ordinal Questions",
/// Psychological Bulletin 114 (3), 1993.
pub(crate) fn cliffs_delta(first: &[f64], second: &[f64]) -> Option<f64> {
    let pairs = first.len() as f64 * second.len() as f64;
    (pairs > 0.0).then(|| 2.0 * larger_pairs(first, second) / pairs - 1.0)
}

/// Holm's correction: p-values of several tests, adjusted so that all of them together give a false
/// alarm no more often than one test would. In the order of the tests.
///
/// Source: S. Holm, "A Simple Sequentially Rejective Multiple Test Procedure", Scandinavian
/// Journal of Statistics 6 (2), 1979.
pub(crate) fn holm(probabilities: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..probabilities.len()).collect();
    order.sort_by(|&left, &right| probabilities[left].total_cmp(&probabilities[right]));
    let mut corrected = vec![1.0; probabilities.len()];
    let mut least = 0.0_f64;
    for (place, &index) in order.iter().enumerate() {
        let tests_left = (probabilities.len() - place) as f64;
        least = least.max((tests_left * probabilities[index]).min(1.0));
        corrected[index] = least;
    }
    corrected
}

/// The geometric mean, which is the mean of ratios to one base. None where there are no ratios or
/// one is not positive.
///
/// Source: P. J. Fleming and J. J. Wallace, "How not to lie with statistics: the correct way to
/// summarize benchmark results", Communications of the ACM 29 (3), 1986.
pub(crate) fn geometric_mean(ratios: &[f64]) -> Option<f64> {
    if ratios.is_empty() || !ratios.iter().all(|&ratio| ratio > 0.0) {
        return None;
    }
    Some((ratios.iter().map(|ratio| ratio.ln()).sum::<f64>() / ratios.len() as f64).exp())
}

/// The coefficient of variation: the sample standard deviation (n - 1) ÷ the mean. None for fewer
/// than two samples, or where the mean is not positive.
pub(crate) fn coefficient_of_variation(samples: &[f64]) -> Option<f64> {
    let count = samples.len() as f64;
    let mean = samples.iter().sum::<f64>() / count;
    if samples.len() < 2 || mean.is_nan() || mean <= 0.0 {
        return None;
    }
    let squares: f64 = samples.iter().map(|sample| (sample - mean).powi(2)).sum();
    Some((squares / (count - 1.0)).sqrt() / mean)
}

fn larger_pairs(first: &[f64], second: &[f64]) -> f64 {
    let halves = |left: &f64| -> f64 {
        let half = |right: &f64| match left.total_cmp(right) {
            std::cmp::Ordering::Less => 0.0,
            std::cmp::Ordering::Equal => 0.5,
            std::cmp::Ordering::Greater => 1.0,
        };
        second.iter().map(half).sum()
    };
    first.iter().map(halves).sum()
}

// The exact two-sided p-value: the share of all ways to draw the smaller group from all mid-ranks
// whose rank sum lies at least as far from the mean as the observed one. Dynamic programming over
// (ranks drawn, their sum).
fn exact(first: &[f64], second: &[f64]) -> f64 {
    let (small, large) =
        if first.len() <= second.len() { (first, second) } else { (second, first) };
    let ranks = doubled_ranks(small, large);
    let drawn = small.len();
    let total: usize = ranks.iter().sum();
    // ways[k][s]: in how many ways k of the ranks seen so far have the sum s.
    let mut ways = vec![vec![0.0_f64; total + 1]; drawn + 1];
    ways[0][0] = 1.0;
    for (seen, &rank) in ranks.iter().enumerate() {
        for count in (1..=drawn.min(seen + 1)).rev() {
            let (fewer, more) = ways.split_at_mut(count);
            for (sum, way) in more[0].iter_mut().enumerate().skip(rank) {
                *way += fewer[count - 1][sum - rank];
            }
        }
    }
    let observed: usize = ranks[..drawn].iter().sum();
    let middle = (drawn * total) as f64 / ranks.len() as f64;
    // Sums are whole and the mean may be a fraction: without the 1e-3, rounding could leave out
    // sums that lie exactly as far as the observed one.
    let reach = (observed as f64 - middle).abs() - 1e-3;
    let all: f64 = ways[drawn].iter().sum();
    let far =
        ways[drawn].iter().enumerate().filter(|(sum, _)| (*sum as f64 - middle).abs() >= reach);
    (far.map(|(_, way)| way).sum::<f64>() / all).min(1.0)
}

/// The two-sided p-value by the normal approximation, corrected for ties and for continuity.
fn approximate(u: f64, first: &[f64], second: &[f64]) -> f64 {
    let all: Vec<f64> = first.iter().chain(second).copied().collect();
    let equal = |sample| all.iter().filter(|other| *other == sample).count() as f64;
    // A group of t ties adds t³ - t, which is t² - 1 for each of its samples.
    let ties: f64 = all.iter().map(|sample| equal(sample).powi(2) - 1.0).sum();
    let (pairs, count) = (first.len() as f64 * second.len() as f64, all.len() as f64);
    let variance = pairs / 12.0 * (count + 1.0 - ties / (count * (count - 1.0)));
    let far = ((u - pairs / 2.0).abs() - 0.5).max(0.0);
    if variance > 0.0 { erfc(far / (2.0 * variance).sqrt()).min(1.0) } else { 1.0 }
}

/// Twice the mid-ranks of all samples, those of `small` first: whole numbers, ties or not.
fn doubled_ranks(small: &[f64], large: &[f64]) -> Vec<usize> {
    let all: Vec<f64> = small.iter().chain(large).copied().collect();
    let rank = |sample: &f64| {
        let below = all.iter().filter(|other| *other < sample).count();
        let equal = all.iter().filter(|other| *other == sample).count();
        2 * below + equal + 1
    };
    all.iter().map(rank).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(left: f64, right: f64, tolerance: f64) {
        assert!((left - right).abs() <= tolerance, "{left} is not {right}");
    }

    /// The example of SciPy's manual of `mannwhitneyu`: ages at which diabetes was found.
    #[test]
    fn ages_of_the_manual_of_scipy() {
        let (male, female) = ([19.0, 22.0, 16.0, 29.0, 24.0], [20.0, 11.0, 17.0, 12.0]);
        let test = mann_whitney(&male, &female).expect("two groups");
        assert_eq!(test.u, 17.0);
        close(test.p, 1.0 / 9.0, 1e-12);
        assert_eq!(mann_whitney(&female, &male).expect("two groups").u, 3.0);
        close(cliffs_delta(&male, &female).expect("two groups"), 0.7, 1e-12);
    }

    // Depression scores of D. R. Shier, "Statistics: The Mann-Whitney U Test", 2004, and `wilcox.test`
    // of R for the first example of its manual (Hollander and Wolfe, 1973, permeability): W = 35,
    // p = 0.2544 two-sided.
    #[test]
    fn permeability_of_the_manual_of_r() {
        let term = [0.80, 0.83, 1.89, 1.04, 1.45, 1.38, 1.91, 1.64, 0.73, 1.46];
        let early = [1.15, 0.88, 0.90, 0.74, 1.21];
        let test = mann_whitney(&term, &early).expect("two groups");
        assert_eq!(test.u, 35.0);
        close(test.p, 0.2544, 5e-5);
    }

    /// By hand: of the 20 ways to draw 3 of 6, one is all the low ones and one all the high ones.
    #[test]
    fn groups_apart_have_the_least_probability() {
        let test = mann_whitney(&[4.0, 5.0, 6.0], &[1.0, 2.0, 3.0]).expect("two groups");
        assert_eq!(test.u, 9.0);
        close(test.p, 0.1, 1e-12);
        close(least_probability(3, 3), 0.1, 1e-12);
        close(least_probability(8, 8), 2.0 / 12_870.0, 1e-15);
        let ten: Vec<f64> = (0..20).map(f64::from).collect();
        close(mann_whitney(&ten[..10], &ten[10..]).expect("groups").p, 2.0 / 184_756.0, 1e-15);
    }

    /// Of 4,000 draws of 8 and 8 normal samples, the test at 0.01 ÷ 6 told a shift of 3.00 in 90.0%, and at
    /// 0.01 a shift of 2.38 in 90.3%.
    #[test]
    fn the_shift_that_can_be_told_is_that_of_a_simulation() {
        close(detectable_shift(8, 8, 0.01 / 6.0).expect("some shift"), 3.0, 0.15);
        close(detectable_shift(8, 8, 0.01).expect("some shift"), 2.38, 0.12);
        assert_eq!(detectable_shift(8, 8, 1e-4), None);
        assert_eq!(detectable_shift(0, 8, 0.01), None);
        let many = detectable_shift(60, 60, 0.01).expect("some shift");
        // The t-test: (2.6 + 1.29) · √(2 ÷ 60), and 2.3% more for ranks.
        close(many, 0.727, 0.05);
    }

    // By hand: {1, 2} against {2, 3} has doubled ranks 2, 5, 5, 8; the six sums of two are 7, 7,
    // 10, 10, 13, 13, and four of them lie 3 from the middle.
    #[test]
    fn ties_have_the_mean_of_their_ranks() {
        let test = mann_whitney(&[1.0, 2.0], &[2.0, 3.0]).expect("two groups");
        assert_eq!(test.u, 0.5);
        close(test.p, 4.0 / 6.0, 1e-12);
        let equal = mann_whitney(&[5.0; 7], &[5.0; 7]).expect("two groups");
        assert_eq!((equal.u, equal.p), (24.5, 1.0));
    }

    #[test]
    fn the_approximation_takes_over_without_a_step() {
        let shifted = |count: u32| -> (Vec<f64>, Vec<f64>) {
            let low = (0..count).map(|index| f64::from(index * 2));
            (low.collect(), (0..count).map(|index| f64::from(index * 2 + 15)).collect())
        };
        let (first, second) = shifted(30);
        let test = mann_whitney(&first, &second).expect("two groups");
        close(approximate(test.u, &first, &second) / test.p, 1.0, 0.2);
        let (first, second) = shifted(40);
        let many = mann_whitney(&first, &second).expect("two groups");
        assert!(many.p < 0.05 && many.p > 0.001, "{many:?}");
        assert_eq!(mann_whitney(&[3.0; 40], &[3.0; 40]).expect("two groups").p, 1.0);
    }

    // `wilcox.test(c(1, 2, 2, 3, 4), c(2, 4, 5, 5, 6), exact = FALSE)` by hand: U = 3.5, ties of
    // 3, 2 and 2 make the variance 25 / 12 (11 - 36 / 90), and z = (9 - 0.5) / √22.0833.
    #[test]
    fn the_approximation_by_hand() {
        let (first, second) = ([1.0, 2.0, 2.0, 3.0, 4.0], [2.0, 4.0, 5.0, 5.0, 6.0]);
        let p = approximate(larger_pairs(&first, &second), &first, &second);
        // 2 (1 - Φ(1.80878)) from a table of the normal distribution.
        close(p, 0.070_484_6, 1e-6);
    }

    #[test]
    fn nothing_to_compare_is_no_test() {
        assert_eq!(mann_whitney(&[], &[1.0]), None);
        assert_eq!(mann_whitney(&[f64::NAN], &[1.0]), None);
        assert_eq!(cliffs_delta(&[1.0], &[]), None);
    }

    /// `p.adjust(c(0.01, 0.04, 0.03, 0.005), "holm")` of R.
    #[test]
    fn corrections_are_those_of_r() {
        let corrected = holm(&[0.01, 0.04, 0.03, 0.005]);
        for (one, expected) in corrected.iter().zip([0.03, 0.06, 0.06, 0.02]) {
            close(*one, expected, 1e-12);
        }
        assert_eq!(holm(&[0.9, 0.8]), [1.0, 1.0]);
        assert_eq!(holm(&[]), [0.0; 0]);
    }

    // Table III of Fleming and Wallace has ratios whose geometric mean turns into its reciprocal
    // when base and other change places.
    #[test]
    fn geometric_means_do_not_depend_on_the_base() {
        let ratios = [2.0, 0.25, 8.0];
        close(geometric_mean(&ratios).expect("ratios"), 4.0_f64.powf(1.0 / 3.0), 1e-12);
        let inverse = ratios.map(f64::recip);
        close(geometric_mean(&inverse).expect("ratios"), 4.0_f64.powf(-1.0 / 3.0), 1e-12);
        assert_eq!(geometric_mean(&[1.0, 0.0]), None);
        assert_eq!(geometric_mean(&[]), None);
    }

    /// By hand: 2, 4, 4, 4, 5, 5, 7, 9 have mean 5 and squares of 32.
    #[test]
    fn variation_by_hand() {
        let samples = [2.0, 4.0, 4.0, 4.0, 5.0, 5.0, 7.0, 9.0];
        let variation = coefficient_of_variation(&samples).expect("samples");
        close(variation, (32.0_f64 / 7.0).sqrt() / 5.0, 1e-12);
        assert_eq!(coefficient_of_variation(&[1.0]), None);
    }
}
