//! Who is whose neighbour where nodes own and want different files.

use std::collections::BTreeSet;

use super::neighbours::neighbours;
use crate::manifest::NodeId;

// Tells the cycles of one group from those of others: beyond the bits that number cycles and racks.
const GROUP_SHIFT: u32 = 48;

// All that share a file are joined by Hamiltonian cycles of their own, since nobody passes on what it does not want.
/// By rank, the neighbours of each of `nodes` nodes, ascending. `sharers`: by file, the nodes that own or want it,
/// ascending. Where all share all, they are as in a broadcast.
pub(in crate::protocol) fn neighbours_of_sharers(
    sharers: Vec<Vec<NodeId>>,
    nodes: u32,
    seed: u64,
) -> Vec<Vec<NodeId>> {
    let groups: BTreeSet<Vec<NodeId>> = sharers.into_iter().collect();
    let mut all = vec![Vec::new(); nodes as usize];
    for (number, group) in (0_u64..).zip(&groups) {
        let places = u32::try_from(group.len()).expect("ranks are numbered in 32 bits");
        let group_seed = seed ^ (number << GROUP_SHIFT);
        for (place, node) in (0..).zip(group) {
            let found = neighbours(place, places, group_seed);
            all[node.index()].extend(found.into_iter().map(|other| group[other as usize]));
        }
    }
    for found in &mut all {
        found.sort_unstable();
        found.dedup();
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(ranks: impl Iterator<Item = u32>) -> Vec<NodeId> {
        ranks.map(NodeId).collect()
    }

    #[test]
    fn all_that_share_a_file_reach_each_other_among_themselves() {
        let files = [group(1..=90), group((1..=90).filter(|rank| rank % 2 == 0)), group(88..=99)];
        let sharers = vec![files[0].clone(), files[1].clone(), files[1].clone(), files[2].clone()];
        let all = neighbours_of_sharers(sharers, 101, 7);
        assert!(all[0].is_empty() && all[100].is_empty(), "they share nothing");
        for file in &files {
            let (mut reached, mut next) = (BTreeSet::new(), vec![file[0]]);
            while let Some(node) = next.pop() {
                if reached.insert(node) {
                    next.extend(all[node.index()].iter().filter(|one| file.contains(one)));
                }
            }
            assert!(reached.iter().eq(file), "{file:?}");
        }
        for (rank, found) in (0..).map(NodeId).zip(&all) {
            assert!(found.windows(2).all(|pair| pair[0] < pair[1]) && !found.contains(&rank));
            assert!(found.iter().all(|other| all[other.index()].contains(&rank)));
        }
    }

    #[test]
    fn where_all_share_all_nodes_have_the_neighbours_of_a_broadcast() {
        let sharers = vec![group(1..=50); 3];
        let all = neighbours_of_sharers(sharers, 51, 7);
        for place in 0..50 {
            let expected = neighbours(place, 50, 7).into_iter().map(|other| NodeId(other + 1));
            assert!(all[place as usize + 1].iter().copied().eq(expected));
        }
    }
}
