//! Which holder first?

use arrayvec::ArrayVec;

use super::counters::Load;
use crate::config::{Balance, HOLDERS_MAX};
use crate::manifest::NodeId;

/// A holder that has time; the smaller, the sooner it is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Able {
    /// What the rule goes by; the upper half before the lower.
    key: (u64, u64),
    chance: u32,
    node: NodeId,
    in_flight: u32,
}

/// The holders that are asked first, in order, of all that were considered.
#[derive(Debug)]
pub(super) struct Ranking {
    rule: Balance,
    best: ArrayVec<Able, HOLDERS_MAX>,
}

impl Ranking {
    pub(super) fn new(rule: Balance) -> Self {
        Self { rule, best: ArrayVec::new() }
    }

    /// Takes a holder into account.
    pub(super) fn consider(&mut self, node: NodeId, load: Load, chance: u32) {
        let key = match self.rule {
            Balance::InFlight => (u64::from(load.in_flight), load.requests),
            Balance::RequestCount => (load.requests, 0),
            Balance::Random | Balance::TwoChoices => (0, 0),
        };
        let able = Able { key, chance, node, in_flight: load.in_flight };
        let place = self.best.iter().position(|other| able < *other).unwrap_or(self.best.len());
        if place < HOLDERS_MAX {
            if self.best.is_full() {
                self.best.pop();
            }
            self.best.insert(place, able);
        }
    }

    /// The holders, those first that are to be asked first; none when none was considered.
    pub(super) fn holders(mut self) -> ArrayVec<NodeId, HOLDERS_MAX> {
        match self.rule {
            // Chance has put two in front: the less charged of them is asked.
            Balance::TwoChoices => {
                if let [first, second, ..] = &mut self.best[..]
                    && second.in_flight < first.in_flight
                {
                    std::mem::swap(first, second);
                }
            }
            Balance::RequestCount | Balance::Random | Balance::InFlight => {}
        }
        self.best.iter().map(|able| able.node).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Nodes in the order in which they are asked; each is given as what is in flight, what was
    /// ever requested, and its chance.
    fn order_of(rule: Balance, holders: &[(u32, u64, u32)]) -> Vec<u32> {
        let mut ranking = Ranking::new(rule);
        for (rank, &(in_flight, requests, chance)) in (1..).zip(holders) {
            ranking.consider(NodeId(rank), Load { in_flight, requests }, chance);
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
