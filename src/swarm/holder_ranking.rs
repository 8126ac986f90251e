//! Ranks the holders of a segment: load balancing.
//!
//! The rules are those of the literature: least connections (`InFlight`), least requests since the
//! start (`RequestCount`), random, and the power of two choices (Mitzenmacher, IEEE TPDS 2001): of
//! two random holders the one with less in flight, which brings the longest queue from
//! O(log n / log log n) down to O(log log n).

use arrayvec::ArrayVec;

use super::counters::Load;
use crate::config::{Balance, HOLDERS_MAX};
use crate::manifest::NodeId;

// A holder as a sort key; the smallest is asked first. The high bits are what the rule compares,
// then comes a tie break, and the rank has the lowest 32 bits.
// One integer, so that a comparison is two instructions and the order is total.
type RankedHolder = u128;

// No holder: sorts behind all.
const NOBODY: RankedHolder = RankedHolder::MAX;

// Larger request counts compare as equal.
// The count has 48 bits in the key: 128 less 32 each for load and rank, and 16 for the tie break.
const REQUESTS_MAX: u64 = (1 << 48) - 1;

/// The first few of all holders that were considered, in order.
#[derive(Debug)]
pub(super) struct Ranking {
    rule: Balance,
    best: [RankedHolder; HOLDERS_MAX],
}

impl Ranking {
    pub(super) fn new(rule: Balance) -> Self {
        Self { rule, best: [NOBODY; HOLDERS_MAX] }
    }

    pub(super) fn consider(&mut self, node: NodeId, load: Load, tie_break: u32) {
        let [in_flight, tie_break, rank] =
            [load.in_flight, tie_break, node.0].map(RankedHolder::from);
        let requests = RankedHolder::from(load.requests.min(REQUESTS_MAX));
        let mut holder = rank
            | match self.rule {
                Balance::InFlight => in_flight << 96 | requests << 48 | tie_break >> 16 << 32,
                Balance::RequestCount => requests << 64 | tie_break << 32,
                Balance::Random | Balance::TwoChoices => tie_break << 64 | in_flight << 32,
            };
        // Insertion sort into a short array: without branches, since min and max need none.
        for place in &mut self.best {
            (*place, holder) = ((*place).min(holder), (*place).max(holder));
        }
    }

    /// The holders in the order in which they are to be asked.
    pub(super) fn holders(mut self) -> ArrayVec<NodeId, HOLDERS_MAX> {
        match self.rule {
            // The tie breaks have put two random holders in front.
            Balance::TwoChoices => {
                let in_flight = |holder: RankedHolder| holder << 64 >> 96;
                if in_flight(self.best[1]) < in_flight(self.best[0]) {
                    self.best.swap(0, 1);
                }
            }
            Balance::RequestCount | Balance::Random | Balance::InFlight => {}
        }
        let best = self.best.into_iter().take_while(|&holder| holder != NOBODY);
        let rank =
            |holder| u32::try_from(holder & RankedHolder::from(u32::MAX)).expect("it has 32 bits");
        best.map(|holder| NodeId(rank(holder))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Nodes in the order in which they are asked; each is given as what is in flight, what was
    // ever requested, and its tie break.
    fn order_of(rule: Balance, holders: &[(u32, u64, u32)]) -> Vec<u32> {
        let mut ranking = Ranking::new(rule);
        for (rank, &(in_flight, requests, tie_break)) in (1..).zip(holders) {
            ranking.consider(NodeId(rank), Load { in_flight, requests }, tie_break);
        }
        ranking.holders().iter().map(|node| node.0).collect()
    }

    #[test]
    fn every_rule_goes_by_its_own_number() {
        let holders = [(3, 1, 9), (1, 2, 8), (2, 3, 7)];
        assert_eq!(order_of(Balance::RequestCount, &holders), [1, 2, 3]);
        assert_eq!(order_of(Balance::InFlight, &holders), [2, 3, 1]);
        assert_eq!(order_of(Balance::Random, &holders), [3, 2, 1]);
        assert_eq!(order_of(Balance::TwoChoices, &holders), [2, 3, 1]);
    }

    #[test]
    fn of_two_that_have_equally_much_under_way_the_less_asked_goes_first() {
        assert_eq!(order_of(Balance::InFlight, &[(1, 8, 0), (1, 7, 1)]), [2, 1]);
    }

    #[test]
    fn only_the_best_are_kept_whatever_their_order() {
        let holders: Vec<_> = [5, 2, 7, 1, 9, 3, 8].map(|count| (0, count, 0)).into();
        assert_eq!(order_of(Balance::RequestCount, &holders), [4, 2, 6, 1]);
        assert!(order_of(Balance::Random, &[]).is_empty());
    }
}
