//! Peers that vanish at random moments, of which nobody is told.

use std::collections::BTreeMap;
use std::time::Duration;

use rand::{RngExt, SeedableRng, seq};
use rand_xoshiro::Xoshiro256PlusPlus;

use super::FIRST_WANTING;
use crate::manifest::NodeId;
use crate::simulation::Run;

// Tells this stream of random numbers from that of the rates, which has the same seed.
// It only has to differ from 0.
const STREAM: u64 = 0x1057_0000;

/// How many of `peers` peers vanish: this part of them, rounded, but not all.
pub(super) fn count(part: f64, peers: u32) -> usize {
    let rounded = part * f64::from(peers) + 0.5;
    (1..peers).take_while(|&count| f64::from(count) <= rounded).count()
}

/// Who vanishes, and how long after the opening: at any moment until `within`.
pub(super) fn draw(
    count: usize,
    peers: u32,
    within: Duration,
    seed: u64,
) -> BTreeMap<NodeId, Duration> {
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed ^ STREAM);
    let first = u32::try_from(FIRST_WANTING).expect("it is small");
    let drawn = seq::index::sample(&mut rng, peers as usize, count).into_iter();
    let ranks = drawn.map(|place| u32::try_from(place).expect("there are 10^5 peers at most"));
    ranks.map(|place| (NodeId(first + place), within.mul_f64(rng.random::<f64>()))).collect()
}

/// How many segments those that wanted them and did not vanish lack in the end.
pub(super) fn missing(run: &Run, lost: &BTreeMap<NodeId, Duration>, segments: u32) -> u64 {
    let wanting = (0..).map(NodeId).zip(&run.held_counts).skip(FIRST_WANTING);
    let rest = wanting.filter(|(node, _)| !lost.contains_key(node));
    rest.map(|(_, &held)| u64::from(segments.saturating_sub(held))).sum()
}
