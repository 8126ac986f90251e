//! How evenly was the work shared? Three indices over one amount for each node.
//!
//! The amounts have one unit, such as bytes served, and the indices have none.
//!
//! Three, because each alone misleads. Jain's index barely moves when one node among a hundred serves
//! twice its share, which *max ÷ mean* shows; that in turn sees only the largest amount.

/// The largest amount ÷ the mean amount: 1.0 is even, the number of nodes is the worst.
///
/// 1.0 when there are no amounts, or when all are zero: nothing was shared unevenly.
pub fn max_over_mean(amounts: &[u64]) -> f64 {
    let largest = amounts.iter().copied().max().unwrap_or(0);
    if largest == 0 {
        return 1.0;
    }
    largest as f64 / mean(amounts)
}

/// The standard deviation of the population ÷ its mean: 0.0 is even, √(nodes − 1) is the worst.
///
/// 0.0 when there are no amounts, or when all are zero.
pub fn coefficient_of_variation(amounts: &[u64]) -> f64 {
    let mean = mean(amounts);
    if mean == 0.0 {
        return 0.0;
    }
    let squares: f64 = amounts.iter().map(|&amount| (amount as f64 - mean).powi(2)).sum();
    (squares / amounts.len() as f64).sqrt() / mean
}

// Jain, Chiu, Hawe: "A Quantitative Measure of Fairness" (DEC-TR-301, 1984).
/// Jain's fairness index, (Σx)² ÷ (n · Σx²): 1.0 is even, 1 ÷ nodes is the worst.
///
/// 1.0 when there are no amounts, or when all are zero.
///
/// Source: R. Jain, D. Chiu, W. Hawe, "A Quantitative Measure of Fairness and Discrimination for
/// Resource Allocation in Shared Computer Systems", DEC-TR-301, 1984.
pub fn jain(amounts: &[u64]) -> f64 {
    let sum = sum(amounts);
    if sum == 0.0 {
        return 1.0;
    }
    let squares: f64 = amounts.iter().map(|&amount| (amount as f64).powi(2)).sum();
    sum * sum / (amounts.len() as f64 * squares)
}

fn mean(amounts: &[u64]) -> f64 {
    if amounts.is_empty() {
        return 0.0;
    }
    sum(amounts) / amounts.len() as f64
}

// A float: sums of bytes over many ranks may exceed 64 bits, and an index needs few digits.
fn sum(amounts: &[u64]) -> f64 {
    amounts.iter().map(|&amount| amount as f64).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(left: f64, right: f64) -> bool {
        (left - right).abs() < 1e-12
    }

    #[test]
    fn nothing_shared_is_even() {
        for amounts in [&[][..], &[0], &[0, 0, 0]] {
            assert_eq!(max_over_mean(amounts), 1.0);
            assert_eq!(coefficient_of_variation(amounts), 0.0);
            assert_eq!(jain(amounts), 1.0);
        }
    }

    #[test]
    fn equal_shares_are_even() {
        let amounts = [7, 7, 7, 7];
        assert!(close(max_over_mean(&amounts), 1.0));
        assert!(close(coefficient_of_variation(&amounts), 0.0));
        assert!(close(jain(&amounts), 1.0));
    }

    #[test]
    fn one_server_is_the_worst() {
        let amounts = [0, 12, 0, 0];
        assert!(close(max_over_mean(&amounts), 4.0));
        assert!(close(coefficient_of_variation(&amounts), 3.0_f64.sqrt()));
        assert!(close(jain(&amounts), 0.25));
    }

    #[test]
    fn by_hand() {
        // Mean 5, deviations −3 −1 −1 −1 0 0 2 4, squares 32, variance 4.
        let amounts = [2, 4, 4, 4, 5, 5, 7, 9];
        assert!(close(max_over_mean(&amounts), 1.8));
        assert!(close(coefficient_of_variation(&amounts), 0.4));
        // Sum 40, squares 4 + 48 + 50 + 49 + 81 = 232: 1600 ÷ 1856.
        assert!(close(jain(&amounts), 1600.0 / 1856.0));
    }

    #[test]
    fn the_largest_amounts_stay_finite() {
        let amounts = [u64::MAX, u64::MAX];
        assert!(close(max_over_mean(&amounts), 1.0));
        assert!(close(coefficient_of_variation(&amounts), 0.0));
        assert!(close(jain(&amounts), 1.0));
    }
}
