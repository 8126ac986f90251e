//! Rank 0: starts all others at once and takes their times, as the swarm's tracker does.

use std::time::Duration;

use super::link::RelayEndpoint;
use super::{BroadcastError, PROBLEM_UNSAID};
use crate::manifest::NodeId;
use crate::protocol::Message;
use crate::time::{Clock, Timestamp};
use crate::transport::{Transport, TransportError};

/// What rank 0 saw.
pub(super) struct OpeningTimes {
    /// When all were ready and it started them.
    pub(super) opened: Timestamp,
    /// How long after that each had everything, by rank; none for rank 0.
    pub(super) finished: Vec<Option<Duration>>,
}

/// Waits until all are ready, starts them, and returns when each had everything. When one fails,
/// all are stopped.
pub(super) fn run<T: Transport>(
    link: &mut RelayEndpoint<'_, T>,
    nodes: u32,
    clock: &Clock,
) -> Result<OpeningTimes, BroadcastError> {
    let peers = nodes as usize - 1;
    let (mut ready, mut complete) = (0, 0);
    let mut opened = Timestamp::default();
    let mut finished = vec![None; nodes as usize];
    while complete < peers {
        let (node, message) = link.wait_for_message()?;
        let problem = if let Message::Ready { problem } = message {
            ready += 1;
            problem
        } else if let Message::Done(report) = message {
            Some(report.problems.into_iter().next().unwrap_or(PROBLEM_UNSAID.into()))
        } else {
            if matches!(message, Message::Complete { .. }) {
                complete += 1;
                finished[node.index()] = Some(clock.now().since(opened));
            }
            continue;
        };
        if let Some(problem) = problem {
            tell_all(link, nodes, &Message::Stop)?;
            return Err(BroadcastError::Failed { node, problem: problem.into() });
        }
        if ready == peers {
            opened = clock.now();
            tell_all(link, nodes, &Message::Open)?;
        }
    }
    tell_all(link, nodes, &Message::Stop)?;
    Ok(OpeningTimes { opened, finished })
}

fn tell_all<T: Transport>(
    link: &mut RelayEndpoint<'_, T>,
    nodes: u32,
    message: &Message,
) -> Result<(), TransportError> {
    for node in (1..nodes).map(NodeId) {
        link.transport().send(node, message)?;
    }
    link.flush()
}
