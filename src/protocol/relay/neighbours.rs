//! Who exchanges segments with whom, where each peer knows a few others only.
//!
//! The union of random Hamiltonian cycles: an expander with high probability, so that what one node has is
//! a few hops from all (Law and Siu, "Distributed Construction of Random Expander Networks", 2003). A node
//! computes its own neighbours from the seed and its place, without a message and without a list of all.
//!
//! With racks there is such a union within each rack, and a few hosts of each are on cycles that join the racks.

use std::num::NonZeroU32;

/// How many neighbours a node has; all others, where there are no more.
// In simulations with 1,000 peers 16, 24, 32 and 48 took 1.0226, 1.0214, 1.0225 and 1.0197 × the bound: more
// neighbours cost messages, and hardly buy time.
pub(super) const DEGREE: u32 = 16;

// Rounds of the Feistel network.
// Four make a permutation that can't be told from a random one (Luby and Rackoff, 1988); only its
// randomness counts here.
const ROUNDS: u64 = 4;

// Places of each rack on a cycle that joins the racks.
// With 300 peers, 400 segments, 32 hosts a rack and 4:1, 8, 16 and 24 places took 1.32, 1.19 and 1.16 × the
// bound. More are more neighbours, and more messages.
const PORTS: u32 = 16;

// Cycles that join the racks.
// In that world one, two and three took 1.19, 1.14 and 1.12 × the bound.
const JOINING_CYCLES: u64 = 2;

// Tells the cycles within a rack from those of other racks.
// Beyond the bits that number the cycles.
const RACK_SHIFT: u32 = 40;

// Tells the cycles that join racks from those within them.
// A bit between those two.
const JOINING: u64 = 1 << 39;

/// The places of the neighbours of `place` among `places`, ascending.
pub(super) fn neighbours(place: u32, places: u32, seed: u64) -> Vec<u32> {
    if places <= DEGREE + 1 {
        return (0..places).filter(|&other| other != place).collect();
    }
    let beside = |cycle| {
        let order = Permutation::new(places, seed ^ (u64::from(cycle) << 32));
        let at = order.apply(place);
        [(at + 1) % places, (at + places - 1) % places].map(|at| order.invert(at))
    };
    let mut found: Vec<u32> = (0..DEGREE / 2).flat_map(beside).collect();
    found.sort_unstable();
    found.dedup();
    found
}

/// The same where racks hold `hosts` consecutive places each. Few neighbours are in other racks: each segment
/// should come into a rack once.
pub(super) fn near_neighbours(place: u32, places: u32, seed: u64, hosts: NonZeroU32) -> Vec<u32> {
    let hosts = hosts.get().min(places);
    let size = |rack: u32| hosts.min(places - rack * hosts);
    let (rack, racks) = (place / hosts, places.div_ceil(hosts));
    let (first, within) = (rack * hosts, place % hosts);
    let own_seed = seed ^ (u64::from(rack + 1) << RACK_SHIFT);
    let near = neighbours(within, size(rack), own_seed);
    let mut found: Vec<u32> = near.into_iter().map(|other| first + other).collect();
    // In a small rack a place has several ports.
    let place_of = |port: u32| port / PORTS * hosts + port % PORTS % size(port / PORTS);
    let (ports, own_ports) = (racks * PORTS, rack * PORTS..(rack + 1) * PORTS);
    let orders: Vec<_> = (0..JOINING_CYCLES)
        .map(|cycle| Permutation::new(ports, seed ^ JOINING ^ (cycle << 32)))
        .collect();
    for port in own_ports.clone().filter(|&port| place_of(port) == place) {
        for order in &orders {
            let at = order.apply(port);
            let beside = [(at + 1) % ports, (at + ports - 1) % ports];
            found.extend(beside.map(|at| place_of(order.invert(at))));
        }
        // Who takes from other racks hears what the others of its rack take from there.
        found.extend(own_ports.clone().map(place_of));
    }
    found.sort_unstable();
    found.dedup();
    found.retain(|&other| other != place);
    found
}

// A Feistel network over an even number of bits; results beyond the last place are permuted again
// ("cycle walking": Black and Rogaway, "Ciphers with Arbitrary Finite Domains", 2002).
/// A permutation of the numbers below `count`, one value at a time.
struct Permutation {
    count: u32,
    half_bits: u32,
    seed: u64,
}

impl Permutation {
    fn new(count: u32, seed: u64) -> Self {
        let bits = count.next_power_of_two().trailing_zeros().max(2);
        Self { count, half_bits: bits.div_ceil(2), seed }
    }

    fn apply(&self, value: u32) -> u32 {
        self.walk(value, |this, value| {
            (0..ROUNDS).fold(value, |(left, right), round| (right, left ^ this.mix(round, right)))
        })
    }

    fn invert(&self, value: u32) -> u32 {
        self.walk(value, |this, value| {
            (0..ROUNDS)
                .rev()
                .fold(value, |(left, right), round| (right ^ this.mix(round, left), left))
        })
    }

    fn walk(&self, value: u32, step: impl Fn(&Self, (u64, u64)) -> (u64, u64)) -> u32 {
        let mask = (1 << self.half_bits) - 1;
        let mut value = u64::from(value);
        loop {
            let (left, right) = step(self, (value >> self.half_bits, value & mask));
            value = left << self.half_bits | right;
            match u32::try_from(value) {
                Ok(value) if value < self.count => return value,
                _ => {}
            }
        }
    }

    // The finalizer of SplitMix64 (Steele, Lea and Flood, 2014).
    fn mix(&self, round: u64, half: u64) -> u64 {
        let mut z =
            self.seed.wrapping_add((round << 56) + half).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) & ((1 << self.half_bits) - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_a_neighbour_of_its_neighbours() {
        for places in [1, 2, 17, 18, 100, 1000] {
            let all: Vec<_> = (0..places).map(|place| neighbours(place, places, 7)).collect();
            for (place, own) in (0..).zip(&all) {
                assert!(!own.contains(&place) && own.len() <= DEGREE as usize, "{places}: {own:?}");
                assert!(own.iter().all(|&other| all[other as usize].contains(&place)), "{places}");
            }
            // In small graphs cycles share many edges.
            let least = if places < 1000 { 0 } else { DEGREE as usize - 2 };
            let few = all.iter().filter(|own| own.len() < least).count();
            assert!(few * 20 <= all.len(), "{places}: {few} nodes have few neighbours");
        }
    }

    #[test]
    fn most_neighbours_are_in_the_own_rack_and_all_racks_are_joined() {
        for (places, hosts) in [(1, 8), (9, 8), (64, 32), (301, 32), (1001, 32), (20, 1), (40, 100)]
        {
            let rack_hosts = NonZeroU32::new(hosts).expect("it is above 0");
            let all: Vec<_> =
                (0..places).map(|place| near_neighbours(place, places, 7, rack_hosts)).collect();
            for (place, own) in (0..).zip(&all) {
                assert!(own.iter().all(|&other| all[other as usize].contains(&place)), "{places}");
                let far = own.iter().filter(|&&other| other / hosts != place / hosts).count();
                let is_whole = places - place / hosts * hosts >= hosts.max(PORTS);
                assert!(!is_whole || hosts < PORTS || far <= 4, "{place} of {places}: {far}");
            }
            // Breadth first from place 0.
            let (mut reached, mut next) = (vec![false; places as usize], vec![0]);
            while let Some(place) = next.pop() {
                if !std::mem::replace(&mut reached[place as usize], true) {
                    next.extend(&all[place as usize]);
                }
            }
            assert!(reached.iter().all(|&reached| reached), "{places} in racks of {hosts}");
        }
    }

    #[test]
    fn a_permutation_takes_each_value_once() {
        for count in [1, 2, 3, 5, 64, 1000] {
            let order = Permutation::new(count, 3);
            let mut values: Vec<u32> = (0..count).map(|value| order.apply(value)).collect();
            assert!((0..).zip(&values).all(|(value, &at)| order.invert(at) == value), "{count}");
            values.sort_unstable();
            assert!(values.into_iter().eq(0..count), "{count}");
        }
    }
}
