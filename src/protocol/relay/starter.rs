//! Rank 0: starts all others at once and takes their times, as the swarm's tracker does.

use super::report_tree::ReportTree;
use super::upload_timer::RelayPatience;
use crate::manifest::NodeId;
use crate::protocol::violation::check_problem;
use crate::protocol::{
    Input, Lacking, Message, Node, Outbox, Outcome, Output, ProtocolError, SubtreeStage, Violation,
    Wait,
};
use crate::time::Timestamp;

// Limits of silence that all may be settled without having the same.
// They are no neighbours then, and nothing moves any more; one report may still be on its way.
const UNLIKE_LIMITS: u32 = 4;

/// Rank 0 of a broadcast: waits until all are ready, starts them, and notes when each has everything. It ends
/// the run when nobody alive can get more. When one fails, it stops all.
#[derive(Debug)]
pub struct Starter {
    tree: ReportTree,
    patience: Option<RelayPatience>,
    peers: usize,
    has_ended: bool,
    has_left: bool,
    /// Since when all are settled and some lack what others have.
    unlike_since: Option<Timestamp>,
    outcome: Outcome,
    failure: Option<(NodeId, Box<str>)>,
}

impl Starter {
    /// Rank 0 of `nodes` nodes, itself among them. Without `patience` it waits for all for ever.
    pub fn new(nodes: u32, patience: Option<RelayPatience>) -> Self {
        Self {
            tree: ReportTree::new(NodeId::TRACKER, nodes, patience),
            patience,
            peers: nodes.saturating_sub(1) as usize,
            has_ended: false,
            has_left: false,
            unlike_since: None,
            outcome: Outcome { finished: vec![None; nodes as usize], ..Outcome::default() },
            failure: None,
        }
    }

    /// When all were ready and it started them, when each had everything, who is lost and what nobody has.
    pub fn outcome(&self) -> &Outcome {
        &self.outcome
    }

    /// The first node that failed or is lost, and why.
    pub fn failure(&self) -> Option<(NodeId, &str)> {
        self.failure.as_ref().map(|(node, reason)| (*node, &**reason))
    }

    fn end(&mut self, now: Timestamp, out: &mut Outbox) {
        self.has_ended = true;
        for &(node, at) in self.tree.finished() {
            self.outcome.finished[node.index()] = Some(at);
        }
        self.tree.end(now, out);
    }

    fn fail(&mut self, now: Timestamp, (node, reason): (NodeId, &str), out: &mut Outbox) {
        self.outcome.errors.push(format!("{node}: {reason}"));
        self.failure = Some((node, reason.into()));
        self.end(now, out);
    }

    // What nobody alive has can't be had; who is lost is named.
    fn settle(&mut self, now: Timestamp, lacking: &Lacking, out: &mut Outbox) {
        self.end(now, out);
        self.outcome.lost = self.tree.lost().collect();
        self.outcome.lost.sort_unstable();
        for &node in &self.outcome.lost {
            self.outcome.errors.push(format!("{node} is lost: it did not finish"));
        }
        let named = lacking.first.iter().map(|segment| format!("segment {}", segment.0));
        self.outcome.unavailable = named.collect();
        let more = lacking.count.saturating_sub(u32::try_from(lacking.first.len()).unwrap_or(0));
        if more > 0 {
            self.outcome.unavailable.push(format!("{more} more segments"));
        }
        if lacking.count > 0 {
            let why = if lacking.differs { "some peers reach no holder" } else { "no peer has it" };
            let named = self.outcome.unavailable.join(", ");
            self.outcome.errors.push(format!("{named}: {why}"));
        }
        let lost = self.outcome.lost.first().copied();
        if let (Some(reason), true) = (self.outcome.errors.first(), self.failure.is_none()) {
            self.failure = Some((lost.unwrap_or(NodeId::TRACKER), reason.as_str().into()));
        }
    }

    fn advance(&mut self, now: Timestamp, out: &mut Outbox) {
        self.tree.advance(now, out);
        let summary = self.tree.summary();
        if !self.has_ended && summary.stage >= SubtreeStage::Ready && self.outcome.opened.is_none()
        {
            self.outcome.opened = Some(now);
            self.tree.open(now, out);
        }
        if !self.has_ended && summary.stage >= SubtreeStage::Settled {
            let since = *self.unlike_since.get_or_insert(now);
            let limit = self.patience.map(|patience| since + UNLIKE_LIMITS * patience.silence);
            if !summary.lacking.differs || limit.is_some_and(|limit| limit <= now) {
                self.settle(now, &summary.lacking, out);
            }
        } else {
            self.unlike_since = None;
        }
        if self.has_ended && !self.has_left && summary.stage == SubtreeStage::Leaving {
            self.has_left = true;
            out.push(Output::Finish);
        }
    }
}

impl Node for Starter {
    fn handle(
        &mut self,
        now: Timestamp,
        input: Input<'_>,
        out: &mut Outbox,
    ) -> Result<(), ProtocolError> {
        match input {
            Input::Message { from, message } => {
                let unexpected = || Violation::kind(message).from(from);
                if !(1..=self.peers).contains(&from.index()) {
                    return Err(unexpected());
                }
                if let Message::Subtree(report) = message {
                    let heard = self.tree.hear(now, from, report, out);
                    heard.map_err(|violation| violation.from(from))?;
                } else if let Message::Ready { problem: Some(reason) } = message {
                    check_problem(reason).map_err(|violation| violation.from(from))?;
                    if !self.has_ended {
                        self.fail(now, (from, reason), out);
                    }
                } else if let Message::Done(report) = message {
                    let checked = report.problems.iter().try_for_each(|text| check_problem(text));
                    checked.map_err(|violation| violation.from(from))?;
                    let reason = report.problems.first();
                    let reason = reason.map_or("it failed and gave no reason", |reason| reason);
                    if !self.has_ended {
                        self.fail(now, (from, reason), out);
                    }
                } else {
                    return Err(unexpected());
                }
            }
            Input::Start | Input::Deadline => {}
            // It moves no bytes, and finds out itself who is lost.
            Input::Arrived { .. }
            | Input::Sent { .. }
            | Input::Checked { .. }
            | Input::Read { .. }
            | Input::Room { .. }
            | Input::Broken { .. }
            | Input::Unservable { .. }
            | Input::Reserved { .. }
            | Input::Published { .. }
            | Input::Idle
            | Input::Lost { .. } => return Ok(()),
        }
        self.advance(now, out);
        Ok(())
    }

    fn deadline(&self) -> Option<Timestamp> {
        let limit = self.patience.zip(self.unlike_since.filter(|_| !self.has_ended));
        let limit = limit.map(|(patience, since)| since + UNLIKE_LIMITS * patience.silence);
        limit.into_iter().chain(self.tree.deadline()).min()
    }

    fn waits_for(&self) -> Option<Wait> {
        (self.outcome.opened.is_some() && !self.has_ended).then_some(Wait::Nothing)
    }
}
