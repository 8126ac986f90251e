//! Progress and summary of a stage.

use std::io::{self, IsTerminal as _};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;

use super::super::stage_args::StageArgs;
use super::super::{FAILED, OK, show as terminal};
use super::node_report::{NodeReport, NodeState};
use crate::escape;
use crate::protocol::tracker::Progress;
use crate::report::Limits;
use crate::report::limits::bounds;
use crate::report::units::{count, rate, seconds, size};
use crate::time::Clock;
use crate::tree::{EntryKind, Layout, Manifest};

// It grows when a field of the JSON changes its meaning or is removed, so that old readers refuse it.
const SCHEMA: u32 = 1;

// How often a line shows progress where there is no terminal.
// A job log stays short, and whoever watches it sees that the job lives.
const LINE_EVERY: Duration = Duration::from_secs(10);

// Time spent on measuring the machine's limits, where all ranks are on one.
// As for `run`: a blink.
const LIMITS_BUDGET: Duration = Duration::from_millis(16);

// Bounds below this are not shown, seconds.
// They count bytes alone; where there are few, names and syncs take the time.
const BOUND_S_LEAST: f64 = 0.1;

/// Shows progress: a bar on a terminal, else a line now and then.
pub(super) fn progress(
    args: &StageArgs,
    layout: &Layout,
    hosts: Vec<String>,
    clock: &Clock,
) -> impl FnMut(Progress) + use<> {
    let style =
        ProgressStyle::with_template("{bar:40} {bytes}/{total_bytes} {bytes_per_sec} {eta}");
    let bar = if args.shared.quiet { ProgressBar::hidden() } else { ProgressBar::new(0) };
    bar.set_style(style.expect("the template is well formed"));
    let has_lines = !args.shared.quiet && !io::stderr().is_terminal();
    let per_segment = layout.bytes() as f64 / f64::from(layout.segment_count().max(1));
    let (clock, began, mut shown) = (*clock, clock.now(), clock.now());
    move |progress| {
        let bytes = |segments: u64| segments as f64 * per_segment;
        let (done, all) = (bytes(progress.segments_verified), bytes(progress.segments_wanted));
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "bytes, shown")]
        let (shown_done, shown_all) = (done as u64, all as u64);
        bar.set_length(shown_all);
        bar.set_position(shown_done);
        let is_over = progress.segments_verified == progress.segments_wanted;
        if is_over && progress.segments_wanted > 0 {
            bar.finish_and_clear();
        }
        let now = clock.now();
        if has_lines && now.since(shown) >= LINE_EVERY {
            shown = now;
            let elapsed = now.since(began).as_secs_f64();
            let per_second = done / elapsed;
            let left = (all - done) / per_second.max(1.0);
            let (complete, ranks) = (progress.peers_complete, hosts.len());
            let phase = if is_over { "writing and syncing" } else { "moving" };
            let behind = progress.slowest.iter().flatten().map(|&(node, verified)| {
                let host = hosts.get(node.index() % ranks.max(1)).map_or("", String::as_str);
                format!("{} {}", escape::terminal(host), size(bytes(verified)))
            });
            let behind: Vec<_> = behind.collect();
            let behind = if complete == 0 || behind.is_empty() {
                String::new()
            } else {
                format!("; behind: {}", behind.join(", "))
            };
            terminal::note(&format!(
                "{elapsed:.0} s: {phase}: {} of {}, {}, {left:.0} s left, {complete} of {} complete{behind}",
                size(done),
                size(all),
                rate(per_second),
                count(ranks as u64, "rank")
            ));
        }
    }
}

/// How many of all ranks have what they should.
fn verdict(all: usize, failed: usize, is_whole: bool) -> String {
    let what = if is_whole { "everything" } else { "all of the source that can be read" };
    let complete = all - failed;
    let (ranks, verb) =
        (count(all as u64, "rank"), if complete.max(1) == 1 { "has" } else { "have" });
    match (failed, all) {
        (0, 1) => format!("{ranks} {verb} {what}, verified"),
        (0, _) => format!("all {ranks} {verb} {what}, verified"),
        _ => format!("{complete} of {ranks} {verb} {what}; {failed} failed"),
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
        let bound = limits.and_then(|(limits, cores)| self.bound_s(&limits, cores));
        if args.shared.json {
            terminal::line(&escape::json(&self.json(bound, failed.len()).to_string()));
        } else if !args.shared.quiet {
            terminal::text(&self.text(bound, failed.len()));
        }
        if failed.is_empty() && self.is_whole { OK } else { FAILED }
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
            "bytes_kept": self.sum(|node| node.kept_bytes),
            "bytes_resumed": self.sum(|node| node.resumed_bytes),
            "source_bytes_read": self.sum(|node| node.source_read_bytes),
            "files": self.files(),
            "makespan_s": self.seconds,
            "bound_s": bound,
            "verified": failed == 0,
            "nodes": self.nodes,
        })
    }

    fn text(&self, bound: Option<f64>, failed: usize) -> String {
        let total = self.manifest.bytes();
        let moved = self.sum(|node| node.moved_bytes);
        let read = self.sum(|node| node.source_read_bytes);
        let mut lines = vec![format!(
            "{} in {}, {}, {} delivered",
            size(total as f64),
            count(self.files() as u64, "file"),
            seconds(self.seconds),
            rate(self.delivered() as f64 / self.seconds)
        )];
        lines.push(format!(
            "moved {}, read {} from the source ({:.2} x the tree), kept {}, resumed {}",
            size(moved as f64),
            size(read as f64),
            read as f64 / total.max(1) as f64,
            size(self.sum(|node| node.kept_bytes) as f64),
            size(self.sum(|node| node.resumed_bytes) as f64)
        ));
        if let Some(bound) = bound.filter(|&bound| bound > BOUND_S_LEAST) {
            lines.push(format!("{:.2} x the bound of this machine", self.seconds / bound));
        }
        lines.push(verdict(self.nodes.len(), failed, self.is_whole));
        lines.join("\n") + "\n"
    }

    /// Bytes that arrived at their destinations.
    fn delivered(&self) -> u64 {
        let of = |node: &NodeReport| match node.state {
            NodeState::Complete if node.written_by.is_none() => {
                // Sparse files may have 2^63 bytes each.
                let all = self.manifest.bytes().saturating_mul(node.destinations.len() as u64);
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
            "0 of 4 ranks has everything; 4 failed",
        ];
        assert_eq!(all.map(|(all, failed)| verdict(all, failed, true)), expected);
        assert_eq!(
            verdict(2, 0, false),
            "all 2 ranks have all of the source that can be read, verified"
        );
    }
}
