//! Which pairings a reader looks at first: those of the first figure, without variants.

use super::Set;
use super::pairing::{Pairing, Rung};

/// Pairings of the first figure without the steps of a ladder, and without contenders that are another one
/// with switches, where there are others.
pub(super) fn main_pairings<'a>(pairings: &'a [Pairing], sets: &[Set]) -> Vec<&'a Pairing> {
    let Some(first) = pairings.first() else { return Vec::new() };
    let all =
        pairings.iter().filter(|one| one.figure == first.figure && one.rung != Some(Rung::Step));
    let all: Vec<_> = all.collect();
    let is_plain = |one: &&&Pairing| {
        !one.within || sets.first().is_none_or(|set| plain_of(set, &one.other).is_none())
    };
    let plain: Vec<_> = all.iter().filter(is_plain).copied().collect();
    if plain.is_empty() { all } else { plain }
}

/// The best of those with the most results: a mean over fewer is of other work.
pub(super) fn best<'a>(mains: &[&'a Pairing]) -> Option<&'a Pairing> {
    let gain = |pairing: &Pairing| {
        let ratio = pairing.mean.as_ref().map_or(1.0, |mean| mean.ratio);
        if pairing.figure.more_is_better() { ratio } else { ratio.recip() }
    };
    let results = |pairing: &Pairing| pairing.mean.as_ref().map_or(0, |mean| mean.rows);
    mains.iter().copied().max_by(|left, right| {
        results(left).cmp(&results(right)).then(gain(left).total_cmp(&gain(right)))
    })
}

/// For a contender with switches: that of the same engine without any.
pub(super) fn plain_of<'a>(set: &'a Set, contender: &str) -> Option<&'a str> {
    let one = set.first_run(contender)?;
    if one.switches.is_empty() {
        return None;
    }
    let engine = &one.run.as_ref()?.engine;
    let is_plain = |name: &&str| {
        set.first_run(name).is_some_and(|other| {
            let same = other.run.as_ref().is_some_and(|run| run.engine == *engine);
            same && other.switches.is_empty()
        })
    };
    set.contenders().into_iter().find(is_plain)
}
