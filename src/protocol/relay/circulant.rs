//! The round-optimal broadcast of n segments to p nodes on a circulant graph, for any p: n − 1 +
//! ⌈log₂ p⌉ rounds, in each of which a node sends at most one segment and receives at most one.
//!
//! From J. L. Träff, "Optimal Broadcast Schedules in Logarithmic Time with Applications to
//! Broadcast, All-Broadcast, Reduction and All-Reduction" (arXiv 2407.18004). With q = ⌈log₂ p⌉,
//! node r sends to r + skip(k) and receives from r − skip(k) (mod p) in round k (mod q). What it
//! sends and receives repeats every q rounds, shifted by q segments. A node computes its own part in
//! O(log p) steps, without a message.

use std::iter;

// Ends the list of skips.
const END: usize = usize::MAX;

/// One node's part in all rounds. Nodes are numbered from 0, which is the root.
#[derive(Debug)]
pub(super) struct Schedule {
    nodes: u32,
    node: u32,
    /// The distance to the partner in each of q rounds, and at the end p.
    skips: Vec<u32>,
    /// The segment to receive in each of the first q rounds. A negative one means none yet: the
    /// pipeline is filling.
    receives: Vec<i64>,
    /// The same for sending.
    sends: Vec<i64>,
}

/// What a node does in one round: with whom, and which segment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct CirculantRound {
    pub(super) receive: Option<(u32, u32)>,
    pub(super) send: Option<(u32, u32)>,
}

impl Schedule {
    /// The part of `node` among `nodes`.
    pub(super) fn new(nodes: u32, node: u32) -> Self {
        let skips = skips(nodes);
        let receives = receives(&skips, node);
        let sends = sends(&skips, node);
        Self { nodes, node, skips, receives, sends }
    }

    /// The rounds in which `segments` segments reach all nodes.
    ///
    /// The schedule goes on beyond the last segment. The last segment takes the place of those, so a
    /// node may be sent it twice.
    pub(super) fn rounds(&self, segments: u32) -> impl Iterator<Item = CirculantRound> {
        let q = i64::try_from(self.sends.len()).expect("a logarithm is small");
        let last = i64::from(segments) - 1;
        let is_idle = q == 0 || segments == 0;
        // Rounds that are skipped at the start, so that the last round ends a period.
        let ahead = if is_idle { 0 } else { (q - last % q) % q };
        let count = if is_idle { 0 } else { last + q };
        (ahead..ahead + count).map(move |round| {
            let k = usize::try_from(round % q).expect("it is between 0 and q");
            self.round(k, round - round % q - ahead, last)
        })
    }

    fn round(&self, k: usize, shift: i64, last: i64) -> CirculantRound {
        let segment = |first: i64| u32::try_from((first + shift).min(last)).ok();
        let from = sum(self.node, self.nodes - self.skips[k], self.nodes);
        let to = sum(self.node, self.skips[k], self.nodes);
        // The root has all segments from the start.
        CirculantRound {
            receive: segment(self.receives[k]).filter(|_| self.node != 0).map(|s| (from, s)),
            send: segment(self.sends[k]).filter(|_| to != 0).map(|s| (to, s)),
        }
    }
}

/// skip(q) = p, and each one before it half of it, rounded up, down to skip(0) = 1.
fn skips(nodes: u32) -> Vec<u32> {
    let mut skips = vec![nodes];
    let mut skip = nodes;
    while skip > 1 {
        skip = skip.div_ceil(2);
        skips.push(skip);
    }
    skips.reverse();
    skips
}

fn sum(a: u32, b: u32, p: u32) -> u32 {
    let sum = (u64::from(a) + u64::from(b)) % u64::from(p);
    u32::try_from(sum).expect("a remainder is below its divisor, which is a u32")
}

// The one segment that a node receives in the first q rounds: the last skip on the canonical way
// from the root to it, which takes the largest skip that fits again and again. q for the root.
fn base(skips: &[u32], node: u32) -> usize {
    let q = skips.len() - 1;
    let (mut left, mut base) = (node, q);
    for (k, &skip) in skips[..q].iter().enumerate().rev() {
        if left >= skip {
            left -= skip;
            base = k;
        }
        if left == 0 {
            break;
        }
    }
    base
}

// What a node receives in rounds 0 to q − 1: its base segment, and every other one of the
// period before.
fn receives(skips: &[u32], node: u32) -> Vec<i64> {
    let q = skips.len() - 1;
    let base = base(skips, node);
    let mut search = Search::new(skips, node, base);
    search.descend(0, u64::MAX, q);
    let number = |k: usize| i64::try_from(k).expect("a logarithm is small");
    let found = search.found.into_iter();
    found.map(|k| if k == q { number(base) } else { number(k) - number(q) }).collect()
}

// Looks for the canonical ways that end nearest below a node's partners, one a round: each ends
// with another skip, whose number is the segment that comes from there.
struct Search<'a> {
    skips: &'a [u32],
    /// The node, once round the circle further, so that no partner lies below 0.
    target: u64,
    /// The next smaller skip that no round has taken.
    next: Vec<usize>,
    /// And the next larger one.
    previous: Vec<usize>,
    found: Vec<usize>,
}

impl<'a> Search<'a> {
    /// The base is not looked for: it takes the root's place, q.
    fn new(skips: &'a [u32], node: u32, base: usize) -> Self {
        let q = skips.len() - 1;
        let next = iter::once(END).chain(0..q).collect();
        let previous = (1..=q).chain([END]).collect();
        let target = u64::from(node) + u64::from(skips[q]);
        let mut search = Self { skips, target, next, previous, found: Vec::with_capacity(q) };
        if base < q {
            search.unlink(base);
        }
        search
    }

    // Goes on from `at` by the skips from `first` down; `last` was accepted last. Returns what
    // was accepted last.
    fn descend(&mut self, at: u64, mut last: u64, first: usize) -> u64 {
        let mut skip = first;
        while skip != END && !self.is_complete() {
            let there = at + u64::from(self.skips[skip]);
            if there <= self.near() && there < last {
                if there <= self.far() {
                    last = self.descend(there, last, skip);
                }
                if self.is_complete() || at > self.far() {
                    return last;
                }
                last = there;
                self.found.push(skip);
                self.unlink(skip);
            }
            skip = self.next[skip];
        }
        last
    }

    fn unlink(&mut self, skip: usize) {
        let (next, previous) = (self.next[skip], self.previous[skip]);
        if previous != END {
            self.next[previous] = next;
        }
        if next != END {
            self.previous[next] = previous;
        }
    }

    fn is_complete(&self) -> bool {
        self.found.len() == self.skips.len() - 1
    }

    /// The partner of the round that is looked at.
    fn near(&self) -> u64 {
        self.target - u64::from(self.skips[self.found.len()])
    }

    /// The partner of the round after it.
    fn far(&self) -> u64 {
        self.target - u64::from(self.skips[self.found.len() + 1])
    }
}

// What a node sends in rounds 0 to q − 1: what its partner receives from it.
//
// Most of that follows from where the node lies in the halves, quarters, … of the circle. At the
// edges of these, at most four times a node (as the paper proves), the partner's own schedule is
// computed.
fn sends(skips: &[u32], node: u32) -> Vec<i64> {
    let q = skips.len() - 1;
    let number = |k: usize| i64::try_from(k).expect("a logarithm is small");
    if node == 0 {
        return (0..q).map(number).collect();
    }
    let base = base(skips, node);
    let mut sends = vec![number(base) - number(q); q];
    // Where the node lies in the part of the circle that is looked at, and how large that is.
    let (mut place, mut part, mut segment) = (node, skips[q], number(base));
    for k in (1..q).rev() {
        let (skip, finer) = (skips[k], skips[k - 1]);
        let is_edge = if place < skip {
            let is_edge = place + skip >= part && part >= finer && (k > 1 || base == 0);
            part = part.min(skip);
            is_edge
        } else {
            segment = number(k) - number(q);
            let is_edge = k > 1 && place == skip && part - skip >= finer;
            place -= skip;
            part -= skip;
            is_edge
        };
        let partner = || receives(skips, sum(node, skip, skips[q]))[k];
        sends[k] = if is_edge { partner() } else { segment };
    }
    sends
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Plays the rounds of all nodes and checks them against each other; returns their number.
    fn play(nodes: u32, segments: u32) -> usize {
        let schedules: Vec<_> = (0..nodes).map(|node| Schedule::new(nodes, node)).collect();
        let mut parts: Vec<_> = schedules.iter().map(|s| s.rounds(segments)).collect();
        let mut held = vec![vec![false; segments as usize]; nodes as usize];
        held[0].fill(true);
        let mut count = 0;
        loop {
            let rounds: Vec<_> = parts.iter_mut().map(Iterator::next).collect();
            let Some(rounds) = rounds.iter().copied().collect::<Option<Vec<_>>>() else {
                assert!(rounds.iter().all(Option::is_none), "all stop after the same round");
                break;
            };
            count += 1;
            let mut sent = vec![None; nodes as usize];
            for (node, round) in (0..nodes).zip(&rounds) {
                let Some((to, segment)) = round.send else { continue };
                assert!(held[node as usize][segment as usize], "{node} sends what it has not");
                assert_eq!(sent[to as usize].replace((node, segment)), None, "one receive a round");
            }
            let received: Vec<_> = rounds.iter().map(|round| round.receive).collect();
            assert_eq!(sent, received, "round {count} of {nodes} nodes, {segments} segments");
            for (node, (_, segment)) in
                received.iter().enumerate().filter_map(|(node, &r)| Some((node, r?)))
            {
                held[node][segment as usize] = true;
            }
        }
        assert!(held.iter().flatten().all(|&held| held), "{nodes} nodes, {segments} segments");
        count
    }

    #[test]
    fn every_segment_reaches_every_node_in_the_fewest_rounds() {
        for nodes in 2_u32..=200 {
            let logarithm = nodes.next_power_of_two().ilog2() as usize;
            for segments in [1, 2, 3, 5, 8, 17, 50] {
                assert_eq!(play(nodes, segments), segments as usize - 1 + logarithm);
            }
        }
    }

    #[test]
    fn nothing_moves_without_segments_or_partners() {
        assert_eq!(play(1, 5), 0);
        assert_eq!(play(7, 0), 0);
    }

    #[test]
    fn what_is_sent_is_what_the_partner_receives() {
        for nodes in (2..=300).chain([511, 513, 1023, 1025, 2049]) {
            let skips = skips(nodes);
            let all: Vec<_> = (0..nodes).map(|node| receives(&skips, node)).collect();
            for node in 0..nodes {
                let expected = skips[..skips.len() - 1].iter().enumerate();
                let expected: Vec<_> =
                    expected.map(|(k, &s)| all[sum(node, s, nodes) as usize][k]).collect();
                assert_eq!(sends(&skips, node), expected, "node {node} of {nodes}");
            }
        }
    }

    #[test]
    fn a_node_of_millions_has_its_part_at_once() {
        for node in [0, 1, 999_999, 2_147_483_647, 3_999_999_999] {
            let schedule = Schedule::new(4_000_000_000, node);
            assert_eq!(schedule.rounds(1).count(), 32);
        }
    }

    /// The table for 17 nodes, as the source of MPICH's broadcast prints it.
    #[test]
    fn seventeen_nodes_follow_the_published_table() {
        let skips = skips(17);
        assert_eq!(skips, [1, 2, 3, 5, 9, 17]);
        assert_eq!(receives(&skips, 1), [0, -4, -2, -3, -1]);
        assert_eq!(receives(&skips, 8), [-4, -5, -2, 2, -1]);
        assert_eq!(sends(&skips, 4), [-5, -3, -3, -5, 0]);
    }
}
