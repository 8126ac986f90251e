//! The summary of a stage.

use std::time::Duration;

use serde_json::json;

use super::super::stage_args::{SourceRank, StageArgs};
use super::super::{FAILED, OK, show as terminal};
use super::metrics_file;
use super::node_report::{NodeReport, NodeState, counted};
use crate::config::RateLimits;
use crate::escape;
use crate::report::Limits;
use crate::report::limits::bounds;
use crate::report::units::{count, seconds, size};
use crate::time::Clock;
use crate::tree::{EntryKind, Layout, Manifest};

// It grows when a field of the JSON changes its meaning or is removed, so that old readers refuse it.
const SCHEMA: u32 = 1;

// Time spent on measuring the machine's limits, where all ranks are on one.
// As for `run`: a blink.
const LIMITS_BUDGET: Duration = Duration::from_millis(16);

// Bounds below this are not shown, seconds.
// They count bytes alone; where there are few, names and syncs take the time.
const BOUND_S_LEAST: f64 = 0.1;

/// What ranks that are complete have.
fn wanted(is_whole: bool, has_only: bool) -> &'static str {
    match (is_whole, has_only) {
        (false, _) => "all of the source that can be read",
        (true, true) => "what --only takes",
        (true, false) => "everything",
    }
}

/// How many of all ranks or folders have what they should, and how many bytes of it nobody has read; `name` says
/// what, and how many.
fn verdict((name, all, failed): (String, usize, usize), what: &str, unverified: u64) -> String {
    let verified = match unverified {
        0 => "verified".to_owned(),
        bytes => format!("verified, but for {} kept by size and time", size(bytes as f64)),
    };
    let complete = all - failed;
    let verb = if all == 1 || complete == 1 { "has" } else { "have" };
    match (failed, all) {
        (0, 1) => format!("{name} {verb} {what}, {verified}"),
        (0, _) => format!("all {name} {verb} {what}, {verified}"),
        _ => format!("{complete} of {name} {verb} {what}; {failed} failed"),
    }
}

/// What is known when a stage is over.
pub(super) struct StageSummary<'a> {
    pub(super) manifest: &'a Manifest,
    pub(super) layout: &'a Layout,
    /// Whether everything in the source could be read.
    pub(super) is_whole: bool,
    pub(super) nodes: Vec<NodeReport>,
    pub(super) seconds: f64,
    /// The cores of the machine, where all ranks are on one.
    pub(super) cores: Option<usize>,
    /// By rank, what it was allowed to move.
    pub(super) limits: &'a [RateLimits],
}

impl StageSummary<'_> {
    /// Prints it; returns the exit code.
    pub(super) fn print(&self, args: &StageArgs) -> u8 {
        let failed: Vec<&NodeReport> =
            self.nodes.iter().filter(|node| node.state == NodeState::Failed).collect();
        terminal::errors(failed.iter().map(|node| {
            let reason = node.reason.as_deref().unwrap_or("unknown");
            format!("{} (rank {}): {reason}", escape::terminal(&node.host), node.rank)
        }));
        let clock = Clock::start();
        let limits = self.cores.filter(|_| !args.shared.quiet || args.shared.json).map(|cores| {
            let limits = Limits::measure(self.layout.segment_bytes(), LIMITS_BUDGET, &clock);
            (limits, cores)
        });
        let machine = limits.and_then(|(limits, cores)| self.bound_s(&limits, cores));
        let bounds = [
            (machine, "as long as copying and hashing alone take on this machine"),
            (self.limited_s(args.from), "the shortest time that --limit-rate allows"),
        ];
        let bounds = bounds.into_iter().filter_map(|(bound, of)| Some((bound?, of)));
        let bound = bounds.max_by(|one, other| one.0.total_cmp(&other.0));
        if args.shared.json {
            terminal::line(&escape::json(
                &self.json(bound.map(|(bound, _)| bound), failed.len()).to_string(),
            ));
        } else if !args.shared.quiet {
            let has_only = !args.only.is_empty();
            terminal::text(&self.text(bound, has_only, terminal::columns()));
        }
        let has_metrics = self.write_metrics(args, failed.len());
        if failed.is_empty() && self.is_whole && has_metrics { OK } else { FAILED }
    }

    /// Writes the metrics as asked; returns false if that fails.
    fn write_metrics(&self, args: &StageArgs, failed: usize) -> bool {
        let Some(path) = &args.metrics else { return true };
        let complete = self.nodes.len() - failed;
        let metrics = [
            ("running", 0.0),
            ("success", if failed == 0 && self.is_whole { 1.0 } else { 0.0 }),
            ("elapsed_seconds", self.seconds),
            ("ranks", self.nodes.len() as f64),
            ("ranks_complete", complete as f64),
            ("ranks_failed", failed as f64),
            ("tree_bytes", self.manifest.bytes() as f64),
            ("moved_bytes", self.sum(|node| node.moved_bytes) as f64),
            ("kept_bytes", self.sum(|node| node.kept_bytes) as f64),
            ("resumed_bytes", self.sum(|node| node.resumed_bytes) as f64),
            ("source_read_bytes", self.sum(|node| node.source_read_bytes) as f64),
        ];
        let written = metrics_file::write(path, &metrics);
        written.inspect_err(|refusal| terminal::error(refusal)).is_ok()
    }

    fn sum(&self, bytes: impl Fn(&NodeReport) -> u64) -> u64 {
        self.nodes.iter().map(bytes).sum()
    }

    /// The least time on this machine: each byte that was moved costs a copy and a hash, each byte that was
    /// read another.
    fn bound_s(&self, limits: &Limits, cores: usize) -> Option<f64> {
        let moved = self.sum(|node| node.moved_bytes) + self.sum(|node| node.source_read_bytes);
        bounds::one_machine(moved, cores, limits, true)
    }

    /// Bytes that were served, and those that crossed for them, where some were compressed.
    fn compressed(&self) -> Option<(u64, u64)> {
        let (served, sent) = (self.sum(|node| node.served_bytes), self.sum(|node| node.sent_bytes));
        (sent < served).then_some((served, sent))
    }

    /// The least time that `--limit-rate` allows for what was moved; what was compressed has none.
    fn limited_s(&self, from: SourceRank) -> Option<f64> {
        if self.compressed().is_some() {
            return None;
        }
        let had_some = self.sum(|node| node.kept_bytes) + self.sum(|node| node.resumed_bytes) > 0;
        let source = match from {
            // What others had already can come from them.
            SourceRank::Rank(rank) if !had_some => usize::try_from(rank).ok(),
            SourceRank::Rank(_) | SourceRank::All | SourceRank::Each => None,
        };
        // In the end game a segment may come twice.
        let received = self.nodes.iter().map(|node| node.moved_bytes.min(self.layout.bytes()));
        let ranks: Vec<_> = received.zip(self.limits.iter().copied()).collect();
        bounds::rate_limits(&ranks, source, self.layout.segment_bytes())
    }

    /// Bytes that nobody has read: what is kept by its content counts as missing until it is read.
    fn unverified_bytes(&self) -> u64 {
        self.sum(|node| node.kept_bytes)
    }

    fn files(&self) -> usize {
        let is_file =
            |kind: &EntryKind| matches!(kind, EntryKind::File { .. } | EntryKind::HardLink { .. });
        self.manifest.entries.iter().filter(|entry| is_file(&entry.kind)).count()
    }

    fn json(&self, bound: Option<f64>, failed: usize) -> serde_json::Value {
        json!({
            "schema": SCHEMA,
            "bytes_total": self.manifest.bytes(),
            "bytes_moved": self.sum(|node| node.moved_bytes),
            "bytes_sent": self.sum(|node| node.sent_bytes),
            "bytes_kept": self.sum(|node| node.kept_bytes),
            "bytes_resumed": self.sum(|node| node.resumed_bytes),
            "source_bytes_read": self.sum(|node| node.source_read_bytes),
            "files": self.files(),
            "makespan_s": self.seconds,
            "bound_s": bound,
            "bytes_unverified": self.unverified_bytes(),
            // Whether all that the source lists is there, and was read.
            "verified": failed == 0 && self.is_whole && self.unverified_bytes() == 0,
            "nodes": self.nodes,
        })
    }

    fn text(&self, bound: Option<(f64, &str)>, has_only: bool, columns: usize) -> String {
        let total = self.manifest.bytes();
        let moved = self.sum(|node| node.moved_bytes);
        let read = self.sum(|node| node.source_read_bytes);
        let mut lines = vec![format!(
            "{} in {}, {}, {} delivered",
            size(total as f64),
            count(self.files() as u64, "file"),
            seconds(self.seconds),
            format_args!("{}/s", size(self.delivered() as f64 / self.seconds))
        )];
        lines.push(format!(
            "moved {}, read {} from the source ({:.2} x the tree), kept {}, resumed {}",
            size(moved as f64),
            size(read as f64),
            read as f64 / total.max(1) as f64,
            size(self.sum(|node| node.kept_bytes) as f64),
            size(self.sum(|node| node.resumed_bytes) as f64)
        ));
        let cloned = self.sum(|node| node.cloned_bytes);
        if cloned > 0 {
            lines.push(format!(
                "{} copied by the file system, which shares blocks where it can",
                size(cloned as f64)
            ));
        }
        if let Some((served, sent)) = self.compressed() {
            lines.push(format!(
                "compressed {} to {}, {:.0} %",
                size(served as f64),
                size(sent as f64),
                100.0 * sent as f64 / served as f64
            ));
        }
        if let Some((bound, of)) = bound.filter(|&(bound, _)| bound > BOUND_S_LEAST) {
            lines.push(format!("{:.2} times {of}", self.seconds / bound));
        }
        let wanted = wanted(self.is_whole, has_only);
        lines.push(verdict(counted(&self.nodes), wanted, self.unverified_bytes()));
        lines.iter().map(|line| escape::wrapped(line, 2, columns) + "\n").collect()
    }

    /// Bytes that arrived at their destinations.
    fn delivered(&self) -> u64 {
        let of = |node: &NodeReport| match node.state {
            NodeState::Complete if node.written_by.is_none() => {
                // Sparse files may have 2^63 bytes each.
                let all = node.tree_bytes.saturating_mul(node.destinations.len() as u64);
                all.saturating_sub(node.kept_bytes).saturating_sub(node.resumed_bytes)
            }
            NodeState::Complete | NodeState::Failed => 0,
        };
        self.nodes.iter().map(of).fold(0, u64::saturating_add)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_verdict_reads_well_for_one_and_for_many() {
        let all = [(1, 0), (1, 1), (4, 0), (4, 1), (4, 3), (4, 4)];
        let expected = [
            "1 rank has everything, verified",
            "0 of 1 rank has everything; 1 failed",
            "all 4 ranks have everything, verified",
            "3 of 4 ranks have everything; 1 failed",
            "1 of 4 ranks has everything; 3 failed",
            "0 of 4 ranks have everything; 4 failed",
        ];
        let ranks = |(all, failed): (usize, usize)| (count(all as u64, "rank"), all, failed);
        assert_eq!(all.map(|all| verdict(ranks(all), wanted(true, false), 0)), expected);
        assert_eq!(
            verdict(ranks((2, 0)), wanted(false, false), 0),
            "all 2 ranks have all of the source that can be read, verified"
        );
        assert_eq!(
            verdict(ranks((2, 0)), wanted(true, false), 3 << 20),
            "all 2 ranks have everything, verified, but for 3 MiB kept by size and time"
        );
        let only = verdict(ranks((4, 1)), wanted(true, true), 0);
        assert_eq!(only, "3 of 4 ranks have what --only takes; 1 failed");
        let folders = |failed| ("4 folders of 1 rank".to_owned(), 4, failed);
        assert_eq!(
            [0, 1].map(|failed| verdict(folders(failed), wanted(true, false), 0)),
            [
                "all 4 folders of 1 rank have everything, verified",
                "3 of 4 folders of 1 rank have everything; 1 failed"
            ]
        );
    }
}
