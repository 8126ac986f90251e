//! What a rank reports of its part in a stage.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::driver::stage::StagedRank;
use crate::escape;
use crate::manifest::NodeId;
use crate::protocol::Outcome;
use crate::report::units::count;

/// What became of a rank's destinations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum NodeState {
    /// Everything is there.
    Complete,
    /// Something is missing.
    Failed,
}

/// The report of a rank.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct NodeReport {
    pub(super) rank: u32,
    pub(super) host: String,
    pub(super) state: NodeState,
    pub(super) reason: Option<String>,
    /// The rank that writes the same destination for this one.
    pub(super) written_by: Option<u32>,
    pub(super) destinations: Vec<String>,
    /// How many of them have everything, whoever writes them.
    pub(super) complete_destinations: u64,
    pub(super) moved_bytes: u64,
    /// Bytes that it sent to others.
    pub(super) served_bytes: u64,
    /// Bytes that crossed of these: fewer where they were compressed.
    pub(super) sent_bytes: u64,
    pub(super) kept_bytes: u64,
    pub(super) resumed_bytes: u64,
    pub(super) source_read_bytes: u64,
    /// Bytes at its destinations that the file system copied, which shares blocks where it can.
    pub(super) cloned_bytes: u64,
    /// The bytes of the files that each of its destinations is to have; 0 where another rank writes them.
    pub(super) tree_bytes: u64,
}

impl NodeReport {
    pub(super) fn new(rank: u32, host: &str, dirs: &[PathBuf]) -> Self {
        Self {
            rank,
            host: host.to_owned(),
            state: NodeState::Complete,
            reason: None,
            written_by: None,
            destinations: dirs.iter().map(|dir| escape::path(dir).to_string()).collect(),
            complete_destinations: 0,
            moved_bytes: 0,
            served_bytes: 0,
            sent_bytes: 0,
            kept_bytes: 0,
            resumed_bytes: 0,
            source_read_bytes: 0,
            cloned_bytes: 0,
            tree_bytes: 0,
        }
    }

    /// The rank does not have everything; the first reason counts.
    pub(super) fn fail(&mut self, reason: String) {
        self.state = NodeState::Failed;
        self.reason.get_or_insert(reason);
    }

    pub(super) fn take(&mut self, staged: StagedRank) {
        self.moved_bytes += staged.received_bytes;
        self.served_bytes += staged.served_bytes;
        self.sent_bytes += staged.sent_bytes;
        self.source_read_bytes += staged.source_bytes;
        self.complete_destinations += staged.complete_destinations;
        self.cloned_bytes += staged.cloned_bytes;
        if let Some(problem) = staged.problem {
            self.fail(problem);
        }
    }
}

/// How many there are of what a summary counts, and how many of them failed: ranks, or folders where a rank has
/// several.
pub(super) fn counted(nodes: &[NodeReport]) -> (String, usize, usize) {
    let ranks = count(nodes.len() as u64, "rank");
    // Whatever failed on a rank, one of its folders at least has not everything.
    let folders = |node: &NodeReport| node.destinations.len().max(1);
    let failed = |node: &NodeReport| match node.state {
        NodeState::Complete => 0,
        NodeState::Failed => {
            let complete = usize::try_from(node.complete_destinations).unwrap_or_default();
            folders(node).saturating_sub(complete).max(1)
        }
    };
    let all: usize = nodes.iter().map(folders).sum();
    if all == nodes.len() {
        let is_failed = |node: &&NodeReport| node.state == NodeState::Failed;
        return (ranks, all, nodes.iter().filter(is_failed).count());
    }
    let name = format!("{} of {ranks}", count(all as u64, "folder"));
    (name, all, nodes.iter().map(failed).sum())
}

/// What went wrong in the swarm, beyond what the ranks report. The peer of rank 0 has the number `first` there,
/// since the tracker is number 0.
pub(super) fn swarm_errors(
    outcome: Option<&Outcome>,
    first: NodeId,
    nodes: &[NodeReport],
) -> Vec<String> {
    let name = first.to_string();
    let is_reported = |line: &str| {
        let mut reasons = nodes.iter().filter_map(|node| node.reason.as_deref());
        reasons.any(|reason| line.ends_with(reason))
    };
    let lines = outcome.iter().flat_map(|outcome| &outcome.errors);
    let lines = lines.filter(|line| !is_reported(line)).map(|line| {
        let behind = line.strip_prefix(&name).filter(|rest| !rest.starts_with(char::is_numeric));
        behind.map_or_else(|| line.clone(), |behind| format!("rank 0{behind}"))
    });
    lines.collect()
}

/// A destination that another rank writes has what that rank has. `writers` says, by rank and destination, who writes
/// it if another rank does.
#[cfg(feature = "mpi")]
pub(super) fn follow_writers(nodes: &mut [NodeReport], writers: &[Vec<Option<u32>>]) {
    let states: Vec<NodeState> = nodes.iter().map(|node| node.state).collect();
    for (node, writers) in nodes.iter_mut().zip(writers) {
        for &writer in writers.iter().flatten() {
            match states.get(writer as usize) {
                Some(NodeState::Complete) => node.complete_destinations += 1,
                Some(NodeState::Failed) => {
                    node.fail(format!("rank {writer} writes the same folder, and has failed"));
                }
                None => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(rank: u32) -> NodeReport {
        NodeReport::new(rank, "host", &[])
    }

    #[test]
    fn an_error_is_told_once_and_names_a_rank_that_there_is() {
        let mut nodes = [node(0), node(1), node(2)];
        nodes[1].fail("/disk: full".to_owned());
        let errors = ["rank 1 dropped out: /disk: full", "rank 3: it changed", "rank 31: lost"];
        let outcome = Outcome { errors: errors.map(str::to_owned).to_vec(), ..Outcome::default() };
        let told = swarm_errors(Some(&outcome), NodeId(3), &nodes);
        assert_eq!(told, ["rank 0: it changed", "rank 31: lost"]);
    }

    #[test]
    fn folders_are_counted_where_a_rank_has_several() {
        let mut nodes = [node(0), node(1)];
        assert_eq!(counted(&nodes), ("2 ranks".to_owned(), 2, 0));
        nodes[1].fail("/disk: full".to_owned());
        assert_eq!(counted(&nodes), ("2 ranks".to_owned(), 2, 1));
        nodes[1].destinations = ["/a", "/b", "/c", "/d"].map(str::to_owned).to_vec();
        assert_eq!(counted(&nodes[1..]), ("4 folders of 1 rank".to_owned(), 4, 4));
        nodes[1].complete_destinations = 3;
        assert_eq!(counted(&nodes), ("5 folders of 2 ranks".to_owned(), 5, 1));
        // All of its folders are there, and something else went wrong.
        nodes[1].complete_destinations = 4;
        assert_eq!(counted(&nodes), ("5 folders of 2 ranks".to_owned(), 5, 1));
        nodes[1].state = NodeState::Complete;
        assert_eq!(counted(&nodes), ("5 folders of 2 ranks".to_owned(), 5, 0));
    }

    #[cfg(feature = "mpi")]
    #[test]
    fn who_shares_the_folder_of_a_rank_that_failed_has_nothing_either() {
        let mut nodes = [node(0), node(1), node(2)];
        nodes[0].fail("/disk: full".to_owned());
        let writers = [vec![None], vec![Some(0)], vec![Some(7)]];
        follow_writers(&mut nodes, &writers);
        assert_eq!(
            nodes.map(|node| node.state),
            [NodeState::Failed, NodeState::Failed, NodeState::Complete]
        );
    }

    #[cfg(feature = "mpi")]
    #[test]
    fn a_folder_that_another_rank_has_completed_counts_where_a_rank_has_failed() {
        let mut nodes = [node(0), node(1)];
        nodes[0].destinations = vec!["/shared".to_owned()];
        nodes[0].complete_destinations = 1;
        nodes[1].destinations = ["/shared", "/full"].map(str::to_owned).to_vec();
        nodes[1].fail("/full: No space left".to_owned());
        follow_writers(&mut nodes, &[vec![None], vec![Some(0), None]]);
        assert_eq!(nodes.each_ref().map(|node| node.complete_destinations), [1, 1]);
        assert_eq!(counted(&nodes), ("3 folders of 2 ranks".to_owned(), 3, 1));
        assert_eq!(nodes[1].reason.as_deref(), Some("/full: No space left"));
    }
}
