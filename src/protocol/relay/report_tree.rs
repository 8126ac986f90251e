//! Registration, finish times and the end of a broadcast travel along a tree over the ranks, so that no rank
//! hears of each other one: a node reports when all peers of its subtree have come to the next stage, and passes
//! on to its children what rank 0 says.
//!
//! A node that waits for a child queries it when it has been silent for long. A child that does not answer is
//! lost: the node then queries the children of that child, which report to it from then on. Every report holds
//! what the parent has not been told, or all that is known where the parent is a new one, so that nothing is
//! lost with a node but itself.

use std::time::Duration;

use rustc_hash::FxHashSet;

use super::upload_timer::RelayPatience;
use crate::config::SUBTREE_NODES_MAX;
use crate::manifest::NodeId;
use crate::protocol::{
    Lacking, Message, Outbox, SubtreeReport, SubtreeStage, SubtreeSummary, Violation,
};
use crate::time::{Timestamp, nanoseconds};

/// The most peers that report to one node, where none is lost.
// 64³ are 262,144 ranks, three hops from rank 0; a rank that takes 1 µs for a message hears all its children in
// 64 µs.
const FAN_IN_MAX: u32 = 64;

// The least, where there are so many.
// With fewer a small job would have hops, which cost more than a few messages.
const FAN_IN_LEAST: u32 = 8;

#[derive(Debug)]
struct ReportingChild {
    id: NodeId,
    summary: SubtreeSummary,
    heard: Timestamp,
    queried: Option<Timestamp>,
}

/// A node's place in the report tree, and what it knows of the peers below it.
#[derive(Debug)]
pub(super) struct ReportTree {
    node: NodeId,
    nodes: u32,
    fan_in: u32,
    /// Whom it reports to: the last one above it that queried it. None at rank 0.
    parent: Option<NodeId>,
    children: Vec<ReportingChild>,
    own: SubtreeSummary,
    /// When its own stage changed.
    since: Timestamp,
    reported: SubtreeSummary,
    /// Whether a child is behind this node itself.
    is_waiting: bool,
    /// Whether what it knows has changed since it was compared with what it reported.
    is_stale: bool,
    finished: Vec<(NodeId, Timestamp)>,
    lost: Vec<NodeId>,
    known: FxHashSet<NodeId>,
    /// How many of those that finished and of those that are lost the parent knows.
    told: (usize, usize),
    /// What rank 0 said: children of a lost node may not have heard it.
    is_open: bool,
    has_ended: bool,
    /// None where nobody is given up.
    patience: Option<RelayPatience>,
}

impl ReportTree {
    /// The place of `node` among `nodes` nodes, rank 0 among them. Without `patience` all report to rank 0.
    pub(super) fn new(node: NodeId, nodes: u32, patience: Option<RelayPatience>) -> Self {
        // Two levels as long as they do: then rank 0 has as many children as each of them.
        let near_root = (nodes.isqrt() + 1).clamp(FAN_IN_LEAST, FAN_IN_MAX);
        let fan_in = if patience.is_some() { near_root } else { nodes.max(1) };
        let mut this = Self {
            node,
            nodes,
            fan_in,
            parent: None,
            children: Vec::new(),
            own: SubtreeSummary::default(),
            since: Timestamp::default(),
            reported: SubtreeSummary::default(),
            is_waiting: node == NodeId::TRACKER,
            is_stale: false,
            finished: Vec::new(),
            lost: Vec::new(),
            known: FxHashSet::default(),
            told: (0, 0),
            is_open: false,
            has_ended: false,
            patience,
        };
        this.parent = this.above(node);
        let child = |id| ReportingChild {
            id,
            summary: SubtreeSummary::default(),
            heard: Timestamp::default(),
            queried: None,
        };
        this.children = this.below(node).map(child).collect();
        if node == NodeId::TRACKER {
            // It waits for all others from the start, and lacks nothing.
            this.own.stage = SubtreeStage::Leaving;
        }
        this
    }

    fn above(&self, node: NodeId) -> Option<NodeId> {
        node.0.checked_sub(1).map(|place| NodeId(place / self.fan_in))
    }

    fn below(&self, node: NodeId) -> impl Iterator<Item = NodeId> + use<> {
        let first = u64::from(node.0) * u64::from(self.fan_in) + 1;
        let end = (first + u64::from(self.fan_in)).min(self.nodes.into());
        (first..end).filter_map(|rank| u32::try_from(rank).ok().map(NodeId))
    }

    fn is_above(&self, node: NodeId, other: NodeId) -> bool {
        let up = std::iter::successors(self.above(other), |&node| self.above(node));
        other.0 < self.nodes && up.take_while(|&up| up >= node).any(|up| up == node)
    }

    /// Whether it is another node of the run.
    pub(super) fn is_other(&self, node: NodeId) -> bool {
        node.0 < self.nodes && node != self.node
    }

    /// Whether a node may speak for rank 0 here.
    pub(super) fn is_led_by(&self, node: NodeId) -> bool {
        self.is_above(node, self.node)
    }

    /// Whether rank 0 has opened the run.
    pub(super) fn is_open(&self) -> bool {
        self.is_open
    }

    /// Peers below this node that have everything, and when.
    pub(super) fn finished(&self) -> &[(NodeId, Timestamp)] {
        &self.finished
    }

    /// Peers below it that answer no more.
    pub(super) fn lost(&self) -> impl Iterator<Item = NodeId> + '_ {
        let is_back = |node| self.children.iter().any(|child| child.id == node);
        self.lost.iter().copied().filter(move |&node| !self.known.contains(&node) && !is_back(node))
    }

    /// This node has everything.
    pub(super) fn finish(&mut self, now: Timestamp) {
        self.note_finished(self.node, now);
    }

    fn note_finished(&mut self, node: NodeId, at: Timestamp) {
        if self.known.insert(node) {
            self.finished.push((node, at));
        }
    }

    /// How far this node itself is.
    pub(super) fn set_own(&mut self, now: Timestamp, own: SubtreeSummary) {
        if self.own.stage != own.stage {
            self.since = now;
        }
        self.own = own;
        self.note_change();
    }

    /// A node above this one wants to know how far it is, and is its parent from now on.
    pub(super) fn answer(&mut self, now: Timestamp, from: NodeId, out: &mut Outbox) {
        if self.parent != Some(from) {
            self.parent = Some(from);
            self.told = (0, 0);
        }
        self.report(now, out);
    }

    /// A node below this one reports.
    pub(super) fn hear(
        &mut self,
        now: Timestamp,
        from: NodeId,
        report: &SubtreeReport,
        out: &mut Outbox,
    ) -> Result<(), Violation> {
        let SubtreeReport { summary, finished, lost } = report;
        let count = finished.len().max(lost.len());
        let mut named = finished.iter().map(|(node, _)| node).chain(lost);
        let is_below = |node: &NodeId| *node == from || self.is_above(from, *node);
        if !self.is_above(self.node, from) || count > SUBTREE_NODES_MAX || !named.all(is_below) {
            return Err(Violation::Subtree { count, most: SUBTREE_NODES_MAX });
        }
        let summary = summary.clone();
        match self.children.iter_mut().find(|child| child.id == from) {
            Some(child) => {
                (child.summary, child.heard, child.queried) = (summary, now, None);
            }
            // It was given up too early, or its parent is lost and it heard so from another one.
            None => {
                self.children.push(ReportingChild { id: from, summary, heard: now, queried: None });
                self.repeat(from, out);
            }
        }
        for &(node, age) in finished {
            self.note_finished(node, now - Duration::from_nanos(age));
        }
        for &node in lost {
            if !self.lost.contains(&node) {
                self.lost.push(node);
            }
        }
        self.note_change();
        Ok(())
    }

    fn note_change(&mut self) {
        self.is_stale = true;
        self.is_waiting = self.children.iter().any(|child| self.awaits(child));
    }

    /// What the living peers of this subtree have in common.
    pub(super) fn summary(&self) -> SubtreeSummary {
        let mut all =
            std::iter::once(&self.own).chain(self.children.iter().map(|one| &one.summary));
        // Rank 0 itself lacks nothing and has no say.
        let first = if self.node == NodeId::TRACKER { all.nth(1) } else { all.next() };
        let Some(first) = first else { return self.own.clone() };
        all.fold(first.clone(), |mut sum, one| {
            sum.stage = sum.stage.min(one.stage);
            let lacking = &one.lacking;
            let differs = sum.lacking.differs
                || lacking.differs
                || (sum.lacking.count, sum.lacking.hash) != (lacking.count, lacking.hash);
            if lacking.count > sum.lacking.count {
                sum.lacking = lacking.clone();
            }
            sum.lacking.differs = differs;
            sum
        })
    }

    /// Reports what has changed, and queries who is silent.
    pub(super) fn advance(&mut self, now: Timestamp, out: &mut Outbox) {
        self.check_silent(now, out);
        if std::mem::take(&mut self.is_stale) && self.parent.is_some() {
            let mut summary = self.summary();
            if summary.stage < SubtreeStage::Settled {
                summary.lacking = Lacking::default();
            }
            if summary != self.reported {
                self.reported = summary;
                self.report(now, out);
            }
        }
    }

    fn report(&mut self, now: Timestamp, out: &mut Outbox) {
        let Some(parent) = self.parent else { return };
        loop {
            let (finished, lost) = self.told;
            let finished = self.finished[finished..].iter().take(SUBTREE_NODES_MAX);
            let finished = finished.map(|&(node, at)| (node, nanoseconds(now.since(at))));
            let report = SubtreeReport {
                summary: self.reported.clone(),
                finished: finished.collect(),
                lost: self.lost[lost..].iter().copied().take(SUBTREE_NODES_MAX).collect(),
            };
            self.told.0 += report.finished.len();
            self.told.1 += report.lost.len();
            out.send(parent, Message::Subtree(Box::new(report)));
            if self.told == (self.finished.len(), self.lost.len()) {
                return;
            }
        }
    }

    /// Rank 0 has opened the run: tells all below.
    pub(super) fn open(&mut self, now: Timestamp, out: &mut Outbox) {
        if !std::mem::replace(&mut self.is_open, true) {
            out.send_all(self.children.iter().map(|child| child.id), Message::Open);
            self.since = now;
        }
    }

    /// The run is over: tells all below.
    pub(super) fn end(&mut self, now: Timestamp, out: &mut Outbox) {
        if !std::mem::replace(&mut self.has_ended, true) {
            out.send_all(self.children.iter().map(|child| child.id), Message::Stop);
            self.since = now;
        }
    }

    /// How long an awaited child may be silent; none where no child is awaited.
    fn silence_max(&self) -> Option<Duration> {
        let patience = self.patience.filter(|_| self.is_waiting)?;
        let is_open = self.is_open || self.has_ended;
        Some(if is_open { patience.silence } else { patience.registration })
    }

    fn awaits(&self, child: &ReportingChild) -> bool {
        child.summary.stage < self.own.stage
    }

    fn due(&self, child: &ReportingChild, patience: Duration) -> Timestamp {
        child.queried.unwrap_or(child.heard.max(self.since)) + patience
    }

    /// When the next silent child is to be queried or given up.
    pub(super) fn deadline(&self) -> Option<Timestamp> {
        let patience = self.silence_max()?;
        let awaited = self.children.iter().filter(|child| self.awaits(child));
        awaited.map(|child| self.due(child, patience)).min()
    }

    fn check_silent(&mut self, now: Timestamp, out: &mut Outbox) {
        let Some(patience) = self.silence_max() else { return };
        let mut place = 0;
        while let Some(child) = self.children.get(place) {
            let is_due = self.awaits(child) && self.due(child, patience) <= now;
            let (id, was_queried) = (child.id, child.queried.is_some());
            if is_due && was_queried {
                self.children.remove(place);
                self.give_up(now, id, out);
                continue;
            }
            if is_due {
                self.children[place].queried = Some(now);
                out.send(id, Message::Query);
            }
            place += 1;
        }
    }

    // The children of a lost child report to this node from now on.
    fn give_up(&mut self, now: Timestamp, lost: NodeId, out: &mut Outbox) {
        if !self.lost.contains(&lost) {
            self.lost.push(lost);
        }
        for id in self.below(lost) {
            if self.children.iter().any(|child| child.id == id) {
                continue;
            }
            let summary = SubtreeSummary::default();
            self.children.push(ReportingChild { id, summary, heard: now, queried: Some(now) });
            out.send(id, Message::Query);
            self.repeat(id, out);
        }
        self.note_change();
    }

    /// What all were told, for one that may not have heard it.
    fn repeat(&self, to: NodeId, out: &mut Outbox) {
        let said = [(self.is_open, Message::Open), (self.has_ended, Message::Stop)];
        said.into_iter().filter(|one| one.0).for_each(|(_, message)| out.send(to, message));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(node: u32, nodes: u32) -> ReportTree {
        let moment = Duration::from_millis(1);
        let [initial, least, registration, silence] = [moment; 4];
        let patience = RelayPatience { initial, least, registration, silence };
        ReportTree::new(NodeId(node), nodes, Some(patience))
    }

    #[test]
    fn every_node_is_the_child_of_its_parent() {
        for nodes in [1, 2, 9, 10, 128, 5000, 100_000] {
            let root = tree(0, nodes);
            let mut reached = vec![NodeId(0)];
            let mut next = 0;
            while let Some(&node) = reached.get(next) {
                let below: Vec<_> = root.below(node).collect();
                assert!(below.len() <= FAN_IN_MAX as usize, "{nodes} nodes, {node}");
                assert!(below.iter().all(|&child| root.above(child) == Some(node)), "{nodes}");
                reached.extend(below);
                next += 1;
            }
            reached.sort_unstable();
            assert!(reached.iter().map(|node| node.0).eq(0..nodes), "{nodes} nodes");
        }
    }

    #[test]
    fn a_report_of_others_than_those_below_is_refused() {
        let now = Timestamp::default();
        let mut out = Outbox::default();
        let mut root = tree(0, 100);
        let above = root.above(NodeId(50)).expect("it is not rank 0");
        let finished = |node| SubtreeReport { finished: vec![(node, 7)], ..Default::default() };
        let many = SubtreeReport { lost: vec![above; SUBTREE_NODES_MAX + 1], ..Default::default() };
        assert_eq!(root.hear(now, above, &finished(NodeId(50)), &mut out), Ok(()));
        assert_eq!(root.finished().len(), 1);
        for (from, report) in [
            (above, finished(NodeId(0))),
            (NodeId(50), finished(above)),
            (above, finished(NodeId(100))),
            (NodeId(100), finished(NodeId(100))),
            (above, many),
        ] {
            assert!(root.hear(now, from, &report, &mut out).is_err(), "{from}: {report:?}");
        }
        assert!(tree(50, 100).hear(now, above, &finished(above), &mut out).is_err());
        assert_eq!(root.finished().len(), 1);
    }
}
