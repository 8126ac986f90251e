//! The queue of peers whose asks wait: a bucket queue, that is, a priority queue with one FIFO list a
//! priority, and a bitmap of the lists that are not empty.
//!
//! Priorities are small integers, so that joining and leaving take constant time, where a binary heap
//! takes logarithmic time and can't remove from its middle. The lists are intrusive, linked through a
//! table by rank: after construction nothing is allocated.

use crate::config::WINDOW_MAX;
use crate::manifest::NodeId;

// Waiting peers that can be tried without success before the rest waits for the next message.
// To try all of hundreds of waiting peers at every message would be quadratic, and most tries fail
// because holders are busy, so that the next one fails too. 2 at the front and 2 behind the last
// position tried (`resume`) reach every peer after some messages. Chosen, not tuned.
pub(super) const FAILED_TRIES_MAX: usize = 2;

// The most grants of one peer: a window, and in an end game each segment of it twice.
const GRANTS_MAX: usize = 2 * WINDOW_MAX;

// One priority for each number of grants and for each value of `has_some`.
const PRIORITIES: usize = 2 * (GRANTS_MAX + 1);

// The end of a list. Rank 0, the tracker, never waits.
const NOBODY: NodeId = NodeId::TRACKER;

/// A position in the queue.
// Peers with few grants come first, and of these the ones without any verified segment: their uplinks
// idle until they get something to pass on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct QueuePosition {
    grants: usize,
    has_some: bool,
    /// Counts joins: FIFO among equals. 0 is the position before all of them.
    number: u64,
    pub(super) peer: NodeId,
}

/// A peer's neighbours in its list, and its position; none if it does not wait.
#[derive(Clone, Copy, Debug)]
struct QueueLinks {
    position: Option<QueuePosition>,
    before: NodeId,
    behind: NodeId,
}

#[derive(Clone, Copy, Debug)]
struct ListEnds {
    first: NodeId,
    last: NodeId,
}

#[derive(Debug)]
pub(super) struct WaitQueue {
    lists: Box<[ListEnds]>,
    /// One bit a priority: whether its list is not empty.
    present: [u64; PRIORITIES.div_ceil(64)],
    links: Box<[QueueLinks]>,
    len: usize,
    joins: u64,
}

impl QueuePosition {
    fn priority(self) -> usize {
        2 * self.grants + usize::from(self.has_some)
    }
}

impl WaitQueue {
    pub(super) fn new(nodes: usize) -> Self {
        let alone = QueueLinks { position: None, before: NOBODY, behind: NOBODY };
        Self {
            lists: vec![ListEnds { first: NOBODY, last: NOBODY }; PRIORITIES].into(),
            present: [0; PRIORITIES.div_ceil(64)],
            links: vec![alone; nodes].into(),
            len: 0,
            joins: 0,
        }
    }

    /// Adds a peer that does not wait yet.
    pub(super) fn join(&mut self, peer: NodeId, grants: usize, has_some: bool) {
        self.joins += 1;
        let position =
            QueuePosition { grants: grants.min(GRANTS_MAX), has_some, number: self.joins, peer };
        let priority = position.priority();
        let before = self.lists[priority].last;
        self.links[peer.index()] = QueueLinks { position: Some(position), before, behind: NOBODY };
        match before {
            NOBODY => self.lists[priority].first = peer,
            before => self.links[before.index()].behind = peer,
        }
        self.lists[priority].last = peer;
        self.present[priority / 64] |= 1 << (priority % 64);
        self.len += 1;
    }

    /// Takes a peer out; returns its position and the one just before it, from which a walk through
    /// the queue can go on.
    pub(super) fn leave(&mut self, peer: NodeId) -> Option<(QueuePosition, QueuePosition)> {
        let QueueLinks { position, before, behind } = self.links[peer.index()];
        let position = position?;
        let priority = position.priority();
        self.links[peer.index()].position = None;
        match before {
            NOBODY => self.lists[priority].first = behind,
            before => self.links[before.index()].behind = behind,
        }
        match behind {
            NOBODY => self.lists[priority].last = before,
            behind => self.links[behind.index()].before = before,
        }
        if self.lists[priority].first == NOBODY {
            self.present[priority / 64] &= !(1 << (priority % 64));
        }
        self.len -= 1;
        let head = QueuePosition { number: 0, peer: NOBODY, ..position };
        Some((position, self.links[before.index()].position.unwrap_or(head)))
    }

    /// The position behind `place`, or the front of the queue. `place` must be taken, or one that
    /// [`leave`](Self::leave) returned and that nobody left since.
    pub(super) fn after(&self, place: Option<QueuePosition>) -> Option<QueuePosition> {
        let Some(place) = place else { return self.first_from(0) };
        let priority = place.priority();
        let next = match place.peer {
            NOBODY => self.lists[priority].first,
            peer => self.links[peer.index()].behind,
        };
        self.links[next.index()].position.or_else(|| self.first_from(priority + 1))
    }

    pub(super) fn has(&self, peer: NodeId) -> bool {
        self.links[peer.index()].position.is_some()
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    fn first_from(&self, priority: usize) -> Option<QueuePosition> {
        let mut mask = u64::MAX << (priority % 64);
        for (word, &bits) in self.present.iter().enumerate().skip(priority / 64) {
            if bits & mask != 0 {
                let priority = 64 * word + (bits & mask).trailing_zeros() as usize;
                return self.links[self.lists[priority].first.index()].position;
            }
            mask = u64::MAX;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use rand::{RngExt, SeedableRng};
    use rand_xoshiro::Xoshiro256PlusPlus;

    use super::*;

    fn ranks(queue: &WaitQueue) -> Vec<u32> {
        let mut place = None;
        let next = || {
            place = Some(queue.after(place)?);
            place.map(|position: QueuePosition| position.peer.0)
        };
        std::iter::from_fn(next).collect()
    }

    #[test]
    fn those_with_least_come_first_and_among_equals_who_waits_longest() {
        let mut queue = WaitQueue::new(6);
        for (peer, grants, has_some) in
            [(1, 2, false), (2, 0, true), (3, 0, false), (4, 0, true), (5, 128, true)]
        {
            queue.join(NodeId(peer), grants, has_some);
        }
        assert_eq!(ranks(&queue), [3, 2, 4, 1, 5]);
        queue.leave(NodeId(2));
        queue.join(NodeId(2), 0, true);
        assert_eq!(ranks(&queue), [3, 4, 2, 1, 5]);
        assert_eq!(queue.leave(NodeId(0)), None);
    }

    /// Against a sorted set, in which a place that was left can still be looked up.
    #[test]
    fn it_goes_on_from_where_somebody_left() {
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(1);
        let (mut queue, mut set) = (WaitQueue::new(40), BTreeSet::new());
        let mut resume = None;
        for _ in 0..20_000 {
            let peer = NodeId(rng.random_range(1..40));
            if queue.has(peer) {
                let (position, before) = queue.leave(peer).expect("it waits");
                assert!(set.remove(&position));
                if resume.is_none_or(|(place, _)| place == position) {
                    resume = Some((before, position));
                }
            } else {
                queue.join(peer, rng.random_range(0..4), rng.random());
                set.extend(queue.links[peer.index()].position);
            }
            let (place, left) = resume.unzip();
            let expected = set.iter().find(|&&position| left.is_none_or(|left| position > left));
            assert_eq!(queue.after(place), expected.copied());
            assert_eq!(queue.len(), set.len());
        }
    }
}
