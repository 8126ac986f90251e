//! The shortest makespans that a machine or a network allows. No other module has such a formula.
//!
//! All of them are lower bounds: they leave out what a run costs besides.

use super::Limits;

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
}
