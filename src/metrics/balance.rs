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

/// Jain's fairness index, (Σx)² ÷ (n · Σx²): 1.0 is even, 1 ÷ nodes is the worst.
///
/// 1.0 when there are no amounts, or when all are zero.
// R. Jain, D. Chiu, W. Hawe, "A Quantitative Measure of Fairness and Discrimination for Resource
// Allocation in Shared Computer Systems", DEC-TR-301, 1984.
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

    #[test]
    fn indices_by_hand() {
        // Amounts, then max ÷ mean, coefficient of variation and Jain's index.
        let known: [(&[u64], [f64; 3]); 7] = [
            // Nothing shared is even.
            (&[], [1.0, 0.0, 1.0]),
            (&[0], [1.0, 0.0, 1.0]),
            (&[0, 0, 0], [1.0, 0.0, 1.0]),
            (&[7, 7, 7, 7], [1.0, 0.0, 1.0]),
            // One server is the worst.
            (&[0, 12, 0, 0], [4.0, 3.0_f64.sqrt(), 0.25]),
            // Mean 5, deviations −3 −1 −1 −1 0 0 2 4, squares 32, variance 4; sum 40, and squares
            // 4 + 48 + 50 + 49 + 81 = 232: 1600 ÷ 1856.
            (&[2, 4, 4, 4, 5, 5, 7, 9], [1.8, 0.4, 1600.0 / 1856.0]),
            (&[u64::MAX, u64::MAX], [1.0, 0.0, 1.0]),
        ];
        for (amounts, expected) in known {
            let indices = [max_over_mean, coefficient_of_variation, jain].map(|of| of(amounts));
            for (index, expected) in indices.iter().zip(expected) {
                assert!((index - expected).abs() < 1e-12, "{amounts:?}: {indices:?}");
            }
        }
    }
}
