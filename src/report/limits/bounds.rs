//! The shortest makespans that a machine or a network allows. No other module has such a formula.
//!
//! All of them are lower bounds: they leave out what a run costs besides.

use std::num::NonZeroU64;

use super::Limits;
use crate::config::{RATE_BURST, RateLimits};

/// The shortest time in which `cores` cores of one machine deliver `bytes`, seconds. Each byte
/// costs one copy and, where segments are `checked`, one hash:
/// bytes · (1 ÷ copy + 1 ÷ hash) ÷ cores.
///
/// No core counts as one. None where a rate is no positive number.
pub(crate) fn one_machine(bytes: u64, cores: usize, limits: &Limits, checked: bool) -> Option<f64> {
    let hash = if checked { limits.hash_bytes_per_second.recip() } else { 0.0 };
    let seconds_per_byte = limits.copy_bytes_per_second.recip() + hash;
    limits.usable().then(|| bytes as f64 * seconds_per_byte / cores.max(1) as f64)
}

/// The shortest time in which an MPI delivers `segments`, seconds, where each is a message:
/// segments ÷ rate.
pub(crate) fn messages(segments: u64, per_second: f64) -> f64 {
    segments as f64 / per_second
}

/// The shortest time to bring a file of `segments` from one owner to all peers, where links are the
/// only limit, in the time that a link of rate 1 takes for a segment. `rates` are those of the
/// owner, who comes first, and of all peers; each sends and receives at its rate.
pub(crate) fn links(rates: &[f64], segments: u32) -> f64 {
    let (&owner, peers) = rates.split_first().expect("the owner of a file has a link");
    let segments = f64::from(segments);
    if peers.iter().all(|&rate| rate == owner) {
        return equal_links(peers.len(), segments) / owner;
    }
    unequal_links(owner, peers, segments)
}

/// The shortest time to bring a file of `segments` into a rack over its link, where a segment takes so many
/// segment times there.
pub(crate) fn rack_link(segments: u32, segment_times: f64) -> f64 {
    f64::from(segments) * segment_times
}

// M + ⌊log2 N⌋ rounds for M segments and N peers: the last segment that the owner sends needs
// ⌊log2 N⌋ rounds more until all have it, because those who have it double in a round at best.
//
// Source: J. Mundinger, R. Weber and G. Weiss, "Optimal Scheduling of Peer-to-Peer File
// Dissemination", Journal of Scheduling 11 (2), 2008.
fn equal_links(peers: usize, segments: f64) -> f64 {
    segments + f64::from(peers.checked_ilog2().unwrap_or(0))
}

// The largest of F ÷ u_owner (the owner sends everything once), F ÷ d_min (the slowest peer
// receives everything) and N · F ÷ (u_owner + Σ u_peer) (all send together what all receive).
//
// Source: R. Kumar and K. W. Ross, "Peer-Assisted File Distribution: The Minimum Distribution
// Time", IEEE HotWeb 2006.
fn unequal_links(owner: f64, peers: &[f64], segments: f64) -> f64 {
    let slowest = peers.iter().copied().fold(f64::MAX, f64::min);
    let all = owner + peers.iter().sum::<f64>();
    let received = peers.len() as f64 * segments;
    (segments / owner).max(segments / slowest).max(received / all)
}

/// The shortest time in which ranks receive so many bytes each in segments of `segment_bytes`, where each has
/// limits of bytes a second: the largest of received ÷ down of any rank, all that is received ÷ what all send,
/// and, where one rank is the only `source`, the most that another one receives ÷ what that rank sends. None
/// without a limit.
// As for unequal links, with a rate for each direction, and less what passes in a burst.
pub(crate) fn rate_limits(
    ranks: &[(u64, RateLimits)],
    source: Option<usize>,
    segment_bytes: usize,
) -> Option<f64> {
    let burst = |limit: f64| (limit * RATE_BURST.as_secs_f64()).max(segment_bytes as f64);
    let seconds = |bytes: u64, limit: NonZeroU64| {
        let limit = limit.get() as f64;
        (bytes as f64 - burst(limit)) / limit
    };
    let down = ranks.iter().filter_map(|&(bytes, limits)| Some(seconds(bytes, limits.down?)));
    let up: Option<Vec<f64>> =
        ranks.iter().map(|(_, limits)| Some(limits.up?.get() as f64)).collect();
    let received = ranks.iter().map(|&(bytes, _)| bytes as f64).sum::<f64>();
    let up = up.filter(|up| !up.is_empty()).map(|up| {
        let bursts = up.iter().map(|&limit| burst(limit)).sum::<f64>();
        (received - bursts) / up.iter().sum::<f64>()
    });
    let others = ranks.iter().enumerate().filter(|&(rank, _)| Some(rank) != source);
    let most = others.map(|(_, &(bytes, _))| bytes).max().unwrap_or(0);
    let source = source.and_then(|rank| Some(seconds(most, ranks.get(rank)?.1.up?)));
    down.chain(up).chain(source).reduce(f64::max).map(|seconds| seconds.max(0.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { copy_bytes_per_second: 4e9, hash_bytes_per_second: 1e9 };

    #[test]
    fn a_byte_costs_a_copy_and_a_hash() {
        let seconds = |bytes, cores| one_machine(bytes, cores, &LIMITS, true);
        assert_eq!(seconds(4_000_000_000, 1), Some(5.0));
        assert_eq!(seconds(4_000_000_000, 2), Some(2.5));
        assert_eq!(seconds(4_000_000_000, 0), Some(5.0));
        assert_eq!(seconds(0, 2), Some(0.0));
        assert_eq!(one_machine(4_000_000_000, 1, &LIMITS, false), Some(1.0));
    }

    #[test]
    fn broken_rates_bound_nothing() {
        for rate in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            let limits = Limits { hash_bytes_per_second: rate, ..LIMITS };
            assert_eq!(one_machine(1, 1, &limits, true), None);
        }
    }

    #[test]
    fn links_are_bounded_by_rounds_or_by_the_tightest_link() {
        assert_eq!(links(&[1.0; 9], 100), 103.0);
        assert_eq!(links(&[1.0, 1.0, 0.5], 100), 200.0);
        assert_eq!(links(&[0.25, 2.0, 2.0], 100), 400.0);
    }
    #[test]
    fn limits_of_ranks_bound_what_they_receive_send_and_have_to_pass_on() {
        let limits = |up, down| RateLimits { up: NonZeroU64::new(up), down: NonZeroU64::new(down) };
        let none = limits(0, 0);
        assert_eq!(rate_limits(&[], None, 0), None);
        assert_eq!(rate_limits(&[(0, none), (900, none)], Some(0), 0), None);
        // The burst is 50 ms of a limit, or a segment.
        let received = [(0, none), (1000, limits(0, 100)), (1000, limits(0, 50))];
        assert_eq!(rate_limits(&received, Some(0), 1), Some(19.95));
        assert_eq!(rate_limits(&received, Some(0), 100), Some(18.0));
        let only_the_source = [(0, limits(100, 0)), (1000, none), (400, none)];
        assert_eq!(rate_limits(&only_the_source, Some(0), 1), Some(9.95));
        assert_eq!(rate_limits(&only_the_source, None, 1), None);
        let all = [(0, limits(100, 0)), (1000, limits(100, 0)), (1000, limits(200, 0))];
        assert_eq!(rate_limits(&all, None, 1), Some(4.95));
        assert_eq!(rate_limits(&all, Some(0), 1), Some(9.95));
        assert_eq!(rate_limits(&[(1, limits(100, 100))], None, 100), Some(0.0));
    }
}
