use super::*;

type Planner = fn(Place, u32) -> RelayPlan;

const PLANNERS: [(&str, Planner); 3] =
    [("chain", chain), ("binomial", binomial), ("circulant", circulant)];

fn plans(planner: Planner, peers: u32, segments: u32) -> Vec<RelayPlan> {
    (1..=peers).map(|node| planner(Place::of(NodeId(node), peers + 1), segments)).collect()
}

// Lets each node send only the first on its list and receive only the first on the other list,
// until all lists are empty: with the least patience that there can be, nobody waits in a circle.
fn play(mut plans: Vec<RelayPlan>, segments: u32) -> Vec<Vec<bool>> {
    let mut held = vec![vec![false; segments as usize]; plans.len()];
    held[0].fill(true);
    loop {
        let mut moved = false;
        for sender in 0..plans.len() {
            let Some(&Hop { with, segment }) = plans[sender].sends.front() else { continue };
            let receiver = with.index() - 1;
            let from = NodeId(u32::try_from(sender).expect("few nodes") + 1);
            let expects = Some(&Hop { with: from, segment }) == plans[receiver].receives.front();
            if held[sender][segment.index()] && expects {
                plans[sender].sends.pop_front();
                plans[receiver].receives.pop_front();
                held[receiver][segment.index()] = true;
                moved = true;
            }
        }
        if !moved {
            let has_room = plans.iter().any(|p| !p.receives.is_empty() || !p.sends.is_empty());
            assert!(!has_room, "nodes wait in a circle: {plans:?}");
            return held;
        }
    }
}

#[test]
fn every_plan_brings_every_segment_everywhere_and_ends() {
    for (name, planner) in PLANNERS {
        for peers in 1..=40 {
            for segments in [0, 1, 2, 3, 7, 20] {
                let held = play(plans(planner, peers, segments), segments);
                assert!(held.iter().flatten().all(|&held| held), "{name}: {peers} peers");
            }
        }
    }
}

#[test]
fn between_two_nodes_no_segment_goes_twice() {
    for (name, planner) in PLANNERS {
        for peers in 1..=40 {
            for plan in plans(planner, peers, 20) {
                for mut hops in [Vec::from(plan.sends), Vec::from(plan.receives)] {
                    let planned = hops.len();
                    hops.sort_unstable_by_key(|hop| (hop.with, hop.segment));
                    hops.dedup();
                    assert_eq!(hops.len(), planned, "{name}: {peers} peers");
                }
            }
        }
    }
}

#[test]
fn a_chain_and_a_tree_send_each_node_each_segment_once() {
    for (name, planner) in [PLANNERS[0], PLANNERS[1]] {
        for plan in plans(planner, 13, 5).iter().skip(1) {
            assert_eq!(plan.receives.len(), 5, "{name}");
        }
    }
}

#[test]
fn a_tree_is_as_deep_as_a_logarithm() {
    let root = &plans(binomial, 13, 1)[0];
    let children: Vec<u32> = root.sends.iter().map(|hop| hop.with.0).collect();
    assert_eq!(children, [9, 5, 3, 2]);
}
