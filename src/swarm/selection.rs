//! Which segments first?

use rand::RngExt;
use rand_xoshiro::Xoshiro256PlusPlus;

use super::index::record::Tally;
use crate::config::Selection;

/// Where a segment stands in the queue of all that a peer could fetch: the smaller, the sooner;
/// those that are equal come in the order of their numbers.
pub(super) fn key(rule: Selection, tally: Tally, chance: &mut Xoshiro256PlusPlus) -> u64 {
    match rule {
        Selection::FileOrder => 0,
        Selection::Random => u64::from(chance.random::<u32>()),
        Selection::Rarest => {
            let rarity = tally.rarity().min(u64::from(u32::MAX));
            rarity << 32 | u64::from(chance.random::<u32>())
        }
    }
}
