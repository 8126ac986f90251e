//! Which holder first?

use super::counters::Load;
use crate::config::Balance;
use crate::manifest::NodeId;

/// A holder that has time; the smaller, the sooner it is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Able {
    /// Owners come last for what others have too: they seeded it, and that was their share.
    pub(super) is_owner: bool,
    /// What the rule goes by.
    key: (u64, u64),
    chance: u32,
    pub(super) node: NodeId,
    pub(super) load: Load,
}

impl Able {
    pub(super) fn new(
        rule: Balance,
        node: NodeId,
        is_owner: bool,
        load: Load,
        chance: u32,
    ) -> Self {
        let key = match rule {
            Balance::InFlight => (u64::from(load.in_flight), load.requests),
            Balance::RequestCount => (load.requests, 0),
            Balance::Random | Balance::TwoChoices => (0, 0),
        };
        Self { is_owner, key, chance, node, load }
    }
}

/// Puts holders in the order in which they are to be asked.
pub(super) fn order(rule: Balance, able: &mut [Able]) {
    able.sort_unstable();
    match rule {
        // Chance has put two in front: the less charged of them is asked.
        Balance::TwoChoices => {
            if let [first, second, ..] = able
                && first.is_owner == second.is_owner
                && second.load.in_flight < first.load.in_flight
            {
                std::mem::swap(first, second);
            }
        }
        Balance::RequestCount | Balance::Random | Balance::InFlight => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Nodes in the order in which they are asked; each is given as what is in flight, what was
    /// ever requested, and its chance.
    fn order_of(rule: Balance, holders: &[(u32, u64, u32)]) -> Vec<u32> {
        let able = (1..).zip(holders).map(|(rank, &(in_flight, requests, chance))| {
            Able::new(rule, NodeId(rank), rank == 1, Load { in_flight, requests }, chance)
        });
        let mut able: Vec<_> = able.collect();
        order(rule, &mut able);
        able.iter().map(|able| able.node.0).collect()
    }

    #[test]
    fn every_rule_goes_by_its_own_number_and_asks_owners_last() {
        let holders = [(0, 0, 0), (3, 1, 9), (1, 2, 8), (2, 3, 7)];
        assert_eq!(order_of(Balance::RequestCount, &holders), [2, 3, 4, 1]);
        assert_eq!(order_of(Balance::InFlight, &holders), [3, 4, 2, 1]);
        assert_eq!(order_of(Balance::Random, &holders), [4, 3, 2, 1]);
        assert_eq!(order_of(Balance::TwoChoices, &holders), [3, 4, 2, 1]);
    }

    #[test]
    fn of_two_that_have_equally_much_under_way_the_less_asked_goes_first() {
        let holders = [(9, 9, 0), (1, 8, 0), (1, 7, 1)];
        assert_eq!(order_of(Balance::InFlight, &holders), [3, 2, 1]);
    }
}
