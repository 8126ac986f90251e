//! Rank 0: starts all others at once and takes their times, as the swarm's tracker does.

use crate::manifest::NodeId;
use crate::protocol::{
    Input, Message, Node, Outbox, Outcome, Output, ProtocolError, Violation, Wait,
};
use crate::time::Timestamp;

/// Rank 0 of a broadcast: waits until all are ready, starts them, and notes when each has
/// everything. When one fails, it stops all.
#[derive(Debug)]
pub struct Starter {
    ready: usize,
    complete: usize,
    has_ended: bool,
    outcome: Outcome,
    failure: Option<(NodeId, Box<str>)>,
}

impl Starter {
    /// Rank 0 of `nodes` nodes, itself among them.
    pub fn new(nodes: u32) -> Self {
        let outcome = Outcome { finished: vec![None; nodes as usize], ..Outcome::default() };
        Self { ready: 0, complete: 0, has_ended: false, outcome, failure: None }
    }

    /// When all were ready and it started them, and when each had everything.
    pub fn outcome(&self) -> &Outcome {
        &self.outcome
    }

    /// The first node that failed, and why.
    pub fn failure(&self) -> Option<(NodeId, &str)> {
        self.failure.as_ref().map(|(node, reason)| (*node, &**reason))
    }

    fn peers(&self) -> usize {
        self.outcome.finished.len() - 1
    }

    fn tell_all(&self, message: Message, out: &mut Outbox) {
        out.send_all((1..).map(NodeId).take(self.peers()), message);
    }

    fn end(&mut self, out: &mut Outbox) {
        self.has_ended = true;
        self.tell_all(Message::Stop, out);
        out.push(Output::Finish);
    }

    fn fail(&mut self, node: NodeId, reason: &str, out: &mut Outbox) {
        self.outcome.errors.push(format!("{node}: {reason}"));
        self.failure = Some((node, reason.into()));
        self.end(out);
    }
}

impl Node for Starter {
    fn handle(
        &mut self,
        now: Timestamp,
        input: Input<'_>,
        out: &mut Outbox,
    ) -> Result<(), ProtocolError> {
        let Input::Message { from, message } = input else { return Ok(()) };
        if !(1..=self.peers()).contains(&from.index()) {
            return Err(Violation::kind(message).from(from));
        }
        if self.has_ended {
            return Ok(());
        }
        if let Message::Ready { problem: None } = message {
            self.ready += 1;
            if self.ready == self.peers() {
                self.outcome.opened = Some(now);
                self.tell_all(Message::Open, out);
            }
        } else if let Message::Ready { problem: Some(reason) } = message {
            self.fail(from, reason, out);
        } else if let Message::Done(report) = message {
            let reason = report.problems.first();
            self.fail(from, reason.map_or("it failed and gave no reason", |reason| reason), out);
        } else if let Message::Complete { .. } = message {
            let before = self.outcome.finished[from.index()].replace(now);
            self.complete += usize::from(before.is_none());
            if self.complete == self.peers() {
                self.end(out);
            }
        } else {
            return Err(Violation::kind(message).from(from));
        }
        Ok(())
    }

    fn deadline(&self) -> Option<Timestamp> {
        None
    }

    fn waits_for(&self) -> Option<Wait> {
        (self.outcome.opened.is_some() && !self.has_ended).then_some(Wait::Nothing)
    }
}
