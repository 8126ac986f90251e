//! The queue of peers whose asks wait.
//!
//! Its order is that of [`QueuePosition`], and its memory is taken once: peers of the same worth stand in a
//! list of their own, linked through a table by rank, and whoever joins is the last of its list.

use crate::config::WINDOW_MAX;
use crate::manifest::NodeId;

/// More grants than this no peer has.
const GRANTS_MAX: usize = 2 * WINDOW_MAX;

/// Kinds of worth: by grants, and by whether there is something to pass on.
const KINDS: usize = 2 * (GRANTS_MAX + 1);

/// Nobody: rank 0 never waits.
const NOBODY: NodeId = NodeId::TRACKER;

/// A place in the queue: a peer that has nothing to pass on and nothing under way is worth most,
/// since its uplink idles until it gets something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct QueuePosition {
    grants: usize,
    has_some: bool,
    /// Among equals, who waits longest; 0 is the place before all of them.
    number: u64,
    pub(super) peer: NodeId,
}

/// Who stands before and behind a peer, and where it stands; none where it does not wait.
#[derive(Clone, Copy, Debug)]
struct QueueLinks {
    position: Option<QueuePosition>,
    before: NodeId,
    behind: NodeId,
}

/// The ends of a list.
#[derive(Clone, Copy, Debug)]
struct ListEnds {
    first: NodeId,
    last: NodeId,
}

/// All peers that wait.
#[derive(Debug)]
pub(super) struct WaitQueue {
    /// By kind.
    lists: Box<[ListEnds]>,
    /// A bit a kind: whether its list has anybody.
    present: [u64; KINDS.div_ceil(64)],
    /// By rank.
    links: Box<[QueueLinks]>,
    len: usize,
    /// Counts places taken.
    turns: u64,
}

impl QueuePosition {
    fn kind(self) -> usize {
        2 * self.grants + usize::from(self.has_some)
    }
}

impl WaitQueue {
    /// A queue for the peers of `nodes` nodes, in which nobody stands.
    pub(super) fn new(nodes: usize) -> Self {
        let alone = QueueLinks { position: None, before: NOBODY, behind: NOBODY };
        Self {
            lists: vec![ListEnds { first: NOBODY, last: NOBODY }; KINDS].into(),
            present: [0; KINDS.div_ceil(64)],
            links: vec![alone; nodes].into(),
            len: 0,
            turns: 0,
        }
    }

    /// Has a peer that does not wait take its place.
    pub(super) fn join(&mut self, peer: NodeId, grants: usize, has_some: bool) {
        self.turns += 1;
        let position =
            QueuePosition { grants: grants.min(GRANTS_MAX), has_some, number: self.turns, peer };
        let kind = position.kind();
        let before = self.lists[kind].last;
        self.links[peer.index()] = QueueLinks { position: Some(position), before, behind: NOBODY };
        match before {
            NOBODY => self.lists[kind].first = peer,
            before => self.links[before.index()].behind = peer,
        }
        self.lists[kind].last = peer;
        self.present[kind / 64] |= 1 << (kind % 64);
        self.len += 1;
    }

    /// Takes a peer out; returns the place that it had, and the one just before it: from there the
    /// queue goes on as it did from the peer's own.
    pub(super) fn leave(&mut self, peer: NodeId) -> Option<(QueuePosition, QueuePosition)> {
        let QueueLinks { position, before, behind } = self.links[peer.index()];
        let position = position?;
        let kind = position.kind();
        self.links[peer.index()].position = None;
        match before {
            NOBODY => self.lists[kind].first = behind,
            before => self.links[before.index()].behind = behind,
        }
        match behind {
            NOBODY => self.lists[kind].last = before,
            behind => self.links[behind.index()].before = before,
        }
        if self.lists[kind].first == NOBODY {
            self.present[kind / 64] &= !(1 << (kind % 64));
        }
        self.len -= 1;
        let head = QueuePosition { number: 0, peer: NOBODY, ..position };
        Some((position, self.links[before.index()].position.unwrap_or(head)))
    }

    /// Who comes behind a place, or at the front of the queue.
    ///
    /// The place is one that is taken, or one that [`leave`](Self::leave) returned and that is not
    /// left since.
    pub(super) fn after(&self, place: Option<QueuePosition>) -> Option<QueuePosition> {
        let Some(place) = place else { return self.first_from(0) };
        let kind = place.kind();
        let next = match place.peer {
            NOBODY => self.lists[kind].first,
            peer => self.links[peer.index()].behind,
        };
        self.links[next.index()].position.or_else(|| self.first_from(kind + 1))
    }

    /// Whether a peer stands in the queue.
    pub(super) fn has(&self, peer: NodeId) -> bool {
        self.links[peer.index()].position.is_some()
    }

    /// How many wait.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Who comes first among those of a kind, or a later one.
    fn first_from(&self, kind: usize) -> Option<QueuePosition> {
        let mut mask = u64::MAX << (kind % 64);
        for (word, &bits) in self.present.iter().enumerate().skip(kind / 64) {
            if bits & mask != 0 {
                let kind = 64 * word + (bits & mask).trailing_zeros() as usize;
                return self.links[self.lists[kind].first.index()].position;
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
