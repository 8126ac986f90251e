//! Against values computed by hand, and against published tables.

use super::*;

fn ramp(count: u32) -> Vec<f64> {
    (1..=count).rev().map(f64::from).collect()
}

#[test]
fn medians_by_hand() {
    assert_eq!(median(&[]), None);
    assert_eq!(median(&[3.0]), Some(3.0));
    assert_eq!(median(&[9.0, 1.0, 4.0]), Some(4.0));
    assert_eq!(median(&[9.0, 1.0, 4.0, 2.0]), Some(3.0));
}

/// `quantile(c(7, 15, 36, 39, 40, 41))` of R.
#[test]
fn quartiles_are_those_of_r() {
    let quartiles = quartiles(&[36.0, 7.0, 40.0, 41.0, 15.0, 39.0]);
    assert_eq!(quartiles, Some([20.25, 37.5, 39.75]));
    assert_eq!(super::quartiles(&[]), None);
    assert_eq!(super::quartiles(&[5.0]), Some([5.0; 3]));
}

// The ranks of the 95% interval for a median as textbooks tabulate them, from M. J. Campbell and
// M. J. Gardner, "Calculating confidence intervals for some non-parametric analyses", BMJ 296,
// 1988, and by hand: for 10 samples, P(B < 2) = 11 ÷ 1024, and P(B < 3) = 56 ÷ 1024 is too much.
#[test]
fn intervals_of_the_median_have_the_published_ranks() {
    let published =
        [(6, 1), (8, 1), (9, 2), (10, 2), (12, 3), (15, 4), (20, 6), (25, 8), (30, 10), (50, 18)];
    for (count, rank) in published {
        let expected = Interval { low: f64::from(rank), high: f64::from(count + 1 - rank) };
        assert_eq!(median_interval(&ramp(count)), Some(expected), "{count} samples");
    }
    assert_eq!(median_interval(&ramp(5)), None);
    assert_eq!(median_interval(&[]), None);
}

#[test]
fn many_samples_have_an_interval_too() {
    // n ÷ 2 ∓ 0.98 √n, the normal approximation.
    let interval = median_interval(&ramp(10_000)).expect("there are enough");
    assert!((interval.low - 4902.0).abs() <= 2.0, "{interval:?}");
    assert!((interval.high - 5099.0).abs() <= 2.0, "{interval:?}");
}

#[test]
fn outliers_lie_beyond_the_fences() {
    // Quartiles 2.5 and 5.5: fences at -2 and 10.
    let samples = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 100.0];
    assert_eq!(outliers(&samples), [false, false, false, false, false, false, true]);
    assert_eq!(outliers(&[2.0, 2.0, 2.0]), [false; 3]);
    assert_eq!(outliers(&[]), [false; 0]);
    // Quartiles 1 and 2 of these, fences at -0.5 and 3.5: a sample on a fence is inside.
    assert_eq!(outliers(&[0.0, 1.0, 1.0, 2.0, 3.5]), [false; 5]);
    assert!(outliers(&[0.0, 1.0, 1.0, 2.0, 3.6])[4]);
}

#[test]
fn ratios_of_medians() {
    assert_eq!(median_ratio(&[4.0, 6.0, 8.0], &[2.0, 3.0, 9.0]), Some(2.0));
    assert_eq!(median_ratio(&[1.0], &[0.0]), None);
    assert_eq!(median_ratio(&[0.0], &[1.0]), None);
    assert_eq!(median_ratio(&[], &[1.0]), None);
}

#[test]
fn intervals_of_ratios_hold_the_ratio_and_follow_the_seed() {
    let (slow, fast) = (ramp(21), ramp(21).iter().map(|x| x / 2.0).collect::<Vec<_>>());
    let interval = median_ratio_interval(&slow, &fast, 1000, 7).expect("there are samples");
    assert!(interval.low < 2.0 && 2.0 < interval.high, "{interval:?}");
    assert_eq!(median_ratio_interval(&slow, &fast, 1000, 7), Some(interval));
    assert_ne!(median_ratio_interval(&slow, &fast, 1000, 8), Some(interval));
    let same = median_ratio_interval(&[6.0; 9], &[3.0; 9], 100, 1);
    assert_eq!(same, Some(Interval { low: 2.0, high: 2.0 }));
    assert_eq!(median_ratio_interval(&[], &[1.0], 10, 1), None);
}

/// Pairs of one ratio have it for certain, however much both swing together.
#[test]
fn what_disturbs_both_of_a_pair_cancels_out() {
    let pairs: Vec<_> = ramp(15).into_iter().map(|x| (3.0 * x, x)).collect();
    let paired = paired_median_ratio_interval(&pairs, 500, 1).expect("there are pairs");
    assert!((paired.low - 3.0).abs() < 1e-12 && (paired.high - 3.0).abs() < 1e-12, "{paired:?}");
    let (slow, fast): (Vec<f64>, Vec<f64>) = pairs.into_iter().unzip();
    let apart = median_ratio_interval(&slow, &fast, 500, 1).expect("there are samples");
    assert!(apart.low < 2.5 && apart.high > 3.5, "{apart:?}");
    assert_eq!(paired_median_ratio_interval(&[], 10, 1), None);
}
