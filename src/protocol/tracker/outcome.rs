//! How far a run has come, and how it went, as the tracker knows it.

use crate::escape;
use crate::manifest::NodeId;
use crate::protocol::{CorruptSegment, DoneReport, roster::Roster};
use crate::time::Timestamp;

// Characters of a reason or problem that are shown: paths and errors of the system fit, more than once.
const PROBLEM_CHARS_MAX: usize = 8 << 10;

/// How a run went.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// What went wrong, a line each, naming ranks and files.
    pub errors: Vec<String>,
    /// Peers that were lost before the end.
    pub lost: Vec<NodeId>,
    /// Whether the run ended before anything was moved.
    pub refused: bool,
    /// Names of files that a peer wanted and did not get.
    pub unavailable: Vec<String>,
    /// Of these, names that look like one that a rank owns: the name, the owner, its name.
    pub lookalikes: Vec<(String, NodeId, String)>,
    /// Peers that dropped out while the others went on, each with its reason. Peers that have all they want
    /// are in `finished`.
    pub dropped_out: Vec<(NodeId, String)>,
    /// When the swarm opened: all peers had registered and reserved their memory.
    pub opened: Option<Timestamp>,
    /// By rank: when all that it wanted was verified; none for rank 0 and for peers that miss
    /// something.
    pub finished: Vec<Option<Timestamp>>,
}

impl Outcome {
    /// Adds the reasons why peers can't take part. Reasons that differ only in the peer's name, with
    /// which they begin, become one line.
    pub(crate) fn take_refusals(&mut self, refusals: &[(NodeId, Box<str>)]) {
        let mut alike = Vec::new();
        for (node, reason) in refusals {
            // Over the wire, a reason may have any length, and control codes of a terminal in it.
            let reason = printable(reason);
            match reason.strip_prefix(&*format!("{node}: ")) {
                Some(reason) => alike.push((node.0, reason.to_owned())),
                None => self.errors.push(reason),
            }
        }
        self.errors.extend(escape::by_reason(alike));
    }

    /// Adds the problems that a peer reports when it is done; `unreadable` says what kept sources from
    /// reading a late file.
    pub(crate) fn take_report(
        &mut self,
        from: NodeId,
        report: &DoneReport,
        roster: &Roster,
        unreadable: &[(NodeId, String)],
    ) {
        if let Some(problem) = report.broken.as_deref().map(printable) {
            self.errors.push(format!("{from} dropped out: {problem}"));
            self.dropped_out.push((from, problem));
            self.finished[from.index()] = None;
        }
        self.errors
            .extend(report.problems.iter().map(|line| format!("{from}: {}", printable(line))));
        if report.more_problems > 0 {
            self.errors.push(format!("{from}: and {} more like these", report.more_problems));
        }
        for &CorruptSegment { segment, holder, times } in &report.corrupt {
            let file = roster.geometry.file_of(segment);
            let place = segment.0 - roster.geometry.segments_of(file).start;
            let name = roster.name(file);
            self.errors.push(format!(
                "{from}: segment {place} of {name} from {holder} does not match its digest, {times} \
                 times"
            ));
        }
        if report.more_corrupt > 0 {
            self.errors.push(format!("{from}: and {} more such files", report.more_corrupt));
        }
        let failed = &report.failed_files;
        for &file in failed {
            if roster.late_file() == Some(file) && !unreadable.is_empty() {
                self.take_unreadable(unreadable);
            } else {
                self.unavailable.push(roster.name(file).to_string());
            }
        }
        if report.more_failed_files > 0 {
            let more = report.more_failed_files;
            self.errors.push(format!("{from}: {more} more files could not be had"));
        }
        self.unavailable.sort_unstable();
        self.unavailable.dedup();
        if !failed.is_empty() || !report.corrupt.is_empty() || roster.lacks_unowned(from) {
            self.finished[from.index()] = None;
        }
    }

    /// A late file could not be had; says once why not.
    fn take_unreadable(&mut self, unreadable: &[(NodeId, String)]) {
        for (node, problem) in unreadable {
            let line = format!("{node}: {}", printable(problem));
            if !self.errors.contains(&line) {
                self.errors.push(line);
            }
        }
    }
}

/// What a peer says, as one line without control codes, whatever it holds.
pub(crate) fn printable(text: &str) -> String {
    let shown = |c: char| if c.is_control() { '\u{fffd}' } else { c };
    text.chars().take(PROBLEM_CHARS_MAX).map(shown).collect()
}

// Peers that are named while a run lasts.
// A reader of the log wants to know which hosts to look at first, not all of them.
const SLOWEST_SHOWN: usize = 3;

/// How far a run has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Segments wanted, summed over peers.
    pub segments_wanted: u64,
    /// Those of them that are verified.
    pub segments_verified: u64,
    /// Files published under their final names, summed over peers that are done.
    pub files_finished: u64,
    /// Peers that have verified all that they can get.
    pub peers_complete: usize,
    /// Those of the others that have verified least, and how many segments; fewest first.
    pub slowest: [Option<(NodeId, u64)>; SLOWEST_SHOWN],
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_in_the_way_of_several_is_said_once() {
        let mut outcome = Outcome::default();
        let refusals = [
            (1, "rank 1: /out: No space left"),
            (2, "in2.txt:3: a hash of 7 characters"),
            (3, "rank 3: /out: No space left"),
            (4, "rank 4: /out: Read-only"),
        ];
        outcome.take_refusals(&refusals.map(|(rank, reason)| (NodeId(rank), reason.into())));
        let expected = [
            "in2.txt:3: a hash of 7 characters",
            "ranks 1, 3: /out: No space left",
            "rank 4: /out: Read-only",
        ];
        assert_eq!(outcome.errors, expected);
    }
}
