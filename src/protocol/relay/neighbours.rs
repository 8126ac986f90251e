//! Who exchanges segments with whom, where each peer knows a few others only.
//!
//! The union of random Hamiltonian cycles: an expander with high probability, so that what one node has is
//! a few hops from all (Law and Siu, "Distributed Construction of Random Expander Networks", 2003). A node
//! computes its own neighbours from the seed and its place, without a message and without a list of all.

/// How many neighbours a node has; all others, where there are no more.
// In simulations with 1,000 peers 16, 24, 32 and 48 took 1.0226, 1.0214, 1.0225 and 1.0197 × the bound: more
// neighbours cost messages, and hardly buy time.
pub(super) const DEGREE: u32 = 16;

// Rounds of the Feistel network.
// Four make a permutation that can't be told from a random one (Luby and Rackoff, 1988); only its
// randomness counts here.
const ROUNDS: u64 = 4;

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
