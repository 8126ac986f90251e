//! How far a stage is: a bar on a terminal, lines in a log, JSON lines and a file of metrics for programs.

use std::time::Duration;

use serde::Serialize;

use super::super::show as terminal;
use super::super::stage_args::{ProgressFormat, StageArgs};
use super::metrics_file;
use crate::escape;
use crate::protocol::tracker::Progress;
use crate::report::units::{count, rate, size};
use crate::time::Clock;
use crate::tree::Layout;

// It grows when a field of the JSON changes its meaning or is removed, so that old readers refuse it.
const SCHEMA: u32 = 1;

// How often a line shows progress where there is no terminal.
// A job log stays short, and whoever watches it sees that the job lives.
const LINE_EVERY: Duration = Duration::from_secs(10);

// How often a program is told.
// Schedulers and collectors look every few seconds; a line of 300 bytes a second is nothing.
const SAMPLE_EVERY: Duration = Duration::from_secs(1);

/// How far a stage is. The names of the fields are those of the JSON.
#[derive(Debug, Serialize)]
struct StageProgress {
    schema: u32,
    /// `moving`, then `writing` until all is on the disks.
    phase: &'static str,
    elapsed_s: f64,
    /// Verified at all destinations together.
    verified_bytes: u64,
    /// Wanted by all of them together.
    wanted_bytes: u64,
    bytes_per_second: f64,
    /// At this rate; none before the first byte.
    left_s: Option<f64>,
    ranks_complete: usize,
    ranks: usize,
    /// Those that have verified least, fewest first.
    behind: Vec<RankBehind>,
}

#[derive(Debug, Serialize)]
struct RankBehind {
    host: String,
    verified_bytes: u64,
}

impl StageProgress {
    fn new(progress: &Progress, bytes_per_segment: f64, elapsed_s: f64, hosts: &[String]) -> Self {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "bytes, shown")]
        let bytes = |segments: u64| (segments as f64 * bytes_per_segment) as u64;
        let Progress { segments_wanted, segments_verified, .. } = *progress;
        let (verified, wanted) = (bytes(segments_verified), bytes(segments_wanted));
        let is_over = segments_verified == segments_wanted;
        let bytes_per_second = verified as f64 / elapsed_s.max(1e-9);
        let left = wanted.saturating_sub(verified) as f64;
        let behind = progress.slowest.iter().flatten().map(|&(node, segments)| RankBehind {
            host: hosts.get(node.index() % hosts.len().max(1)).cloned().unwrap_or_default(),
            verified_bytes: bytes(segments),
        });
        Self {
            schema: SCHEMA,
            phase: if is_over && segments_wanted > 0 { "writing" } else { "moving" },
            elapsed_s,
            verified_bytes: verified,
            wanted_bytes: wanted,
            bytes_per_second,
            left_s: (verified > 0).then(|| left / bytes_per_second),
            ranks_complete: progress.peers_complete,
            ranks: hosts.len(),
            behind: behind.collect(),
        }
    }

    fn line(&self) -> String {
        let phase = if self.phase == "writing" { "writing and syncing" } else { self.phase };
        let behind: Vec<_> = self
            .behind
            .iter()
            .map(|one| {
                format!("{} {}", escape::terminal(&one.host), size(one.verified_bytes as f64))
            })
            .collect();
        let behind = if self.ranks_complete == 0 || behind.is_empty() {
            String::new()
        } else {
            format!("; behind: {}", behind.join(", "))
        };
        let left = self.left_s.map_or(String::new(), |left| format!("{left:.0} s left, "));
        format!(
            "{:.0} s: {phase}: {} of {}, {}, {left}{} of {} complete{behind}",
            self.elapsed_s,
            size(self.verified_bytes as f64),
            size(self.wanted_bytes as f64),
            rate(self.bytes_per_second),
            self.ranks_complete,
            count(self.ranks as u64, "rank")
        )
    }

    fn metrics(&self) -> [(&'static str, f64); 8] {
        [
            ("running", 1.0),
            ("success", 0.0),
            ("elapsed_seconds", self.elapsed_s),
            ("verified_bytes", self.verified_bytes as f64),
            ("wanted_bytes", self.wanted_bytes as f64),
            ("bytes_per_second", self.bytes_per_second),
            ("ranks", self.ranks as f64),
            ("ranks_complete", self.ranks_complete as f64),
        ]
    }
}

/// Shows progress as asked.
pub(super) fn progress(
    args: &StageArgs,
    layout: &Layout,
    hosts: Vec<String>,
    clock: &Clock,
) -> impl FnMut(Progress) + use<> {
    let as_json = args.progress == ProgressFormat::Json;
    let is_hidden = args.shared.quiet || as_json;
    let bar = terminal::bar(is_hidden, "{bar:40} {bytes}/{total_bytes} {bytes_per_sec} {eta}");
    let has_lines = terminal::has_lines(is_hidden);
    let mut metrics = args.metrics.clone();
    let per_segment = layout.bytes() as f64 / f64::from(layout.segment_count().max(1));
    let (clock, began) = (*clock, clock.now());
    let (mut shown, mut sampled, mut was_over) = (began, None, false);
    move |progress| {
        let now = clock.now();
        let at = StageProgress::new(&progress, per_segment, now.since(began).as_secs_f64(), &hosts);
        bar.set_length(at.wanted_bytes);
        bar.set_position(at.verified_bytes);
        let is_over = at.phase == "writing";
        if is_over {
            bar.finish_and_clear();
        }
        if has_lines && now.since(shown) >= LINE_EVERY {
            shown = now;
            terminal::note(&at.line());
        }
        let is_due = sampled.is_none_or(|sampled| now.since(sampled) >= SAMPLE_EVERY);
        if !is_due && is_over == was_over {
            return;
        }
        (sampled, was_over) = (Some(now), is_over);
        if as_json {
            let json = serde_json::to_string(&at).expect("plain data can be serialized");
            terminal::note(&escape::json(&json));
        }
        if let Some(path) = &metrics
            && let Err(refusal) = metrics_file::write(path, &at.metrics())
        {
            // Once: the summary tries again, and the exit code says whether it could.
            terminal::error(&format!("warning: {refusal}"));
            metrics = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::NodeId;

    #[test]
    fn one_sample_is_a_line_json_and_metrics() {
        let mut progress =
            Progress { segments_wanted: 30, segments_verified: 10, ..Progress::default() };
        progress.peers_complete = 1;
        progress.slowest[0] = Some((NodeId(1), 2));
        let hosts = ["n0", "n1", "n2"].map(str::to_owned);
        let at = StageProgress::new(&progress, 1_048_576.0, 2.0, &hosts);
        assert_eq!(
            at.line(),
            "2 s: moving: 10 MiB of 30 MiB, 5.00 MiB/s, 4 s left, 1 of 3 ranks complete; behind: n1 2 MiB"
        );
        let json = serde_json::to_string(&at).expect("plain data");
        assert_eq!(
            json,
            r#"{"schema":1,"phase":"moving","elapsed_s":2.0,"verified_bytes":10485760,"wanted_bytes":31457280,"bytes_per_second":5242880.0,"left_s":4.0,"ranks_complete":1,"ranks":3,"behind":[{"host":"n1","verified_bytes":2097152}]}"#
        );
        let nothing = StageProgress::new(&Progress::default(), 0.0, 0.0, &[]);
        assert_eq!(
            (nothing.left_s, nothing.phase, nothing.bytes_per_second),
            (None, "moving", 0.0)
        );
    }
}
