//! The summary that rank 0 prints at the end of a run.

use std::fmt::{self, Display};

use super::Summary;
use super::limits::BOUND_BYTES_LEAST;
use super::statistics::median;
use super::units::{self, count, rate, seconds, size};
use crate::escape::{self, LISTED_MAX};

// With more peers, only the extremes and the middle are listed.
// Up to 16 lines leave the rest of the summary on a screen; chosen, not tuned.
const PEERS_LISTED_MAX: usize = 16;
// The length of the longest bar, characters.
// With its label a line stays under 80 characters.
const BAR_LENGTH_MAX: u64 = 24;
// The width of the labels, characters.
// The longest, "peers' time", and two blanks.
const LABEL_WIDTH: usize = 13;

impl Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text(usize::MAX))
    }
}

impl Summary {
    /// Text of several lines of so many columns at most.
    pub(crate) fn text(&self, columns: usize) -> String {
        render(self, columns)
    }
}

/// The summary as text of several lines. Problems come last, beside the prompt, where they are seen.
fn render(summary: &Summary, columns: usize) -> String {
    let mut lines = LabelledLines { text: String::new(), columns };
    heading(summary, &mut lines);
    rates(summary, &mut lines);
    served(summary, &mut lines);
    finished(summary, &mut lines);
    let tail = summary.segment_latency_ns;
    let percentiles = [("p50", tail.p50), ("p99", tail.p99), ("p99.9", tail.p999)];
    let shown = |ns: u64| seconds(ns as f64 / 1e9);
    let percentiles = percentiles.map(|(name, ns)| format!("{name} {}", shown(ns))).join(", ");
    lines.add("latency", format!("of a segment: {percentiles}, max {}", shown(tail.max)));
    time(summary, &mut lines);
    problems(summary, &mut lines);
    lines.text
}

/// Lines of a label and a value; all values begin in one column, and go on there.
struct LabelledLines {
    text: String,
    columns: usize,
}

impl LabelledLines {
    fn add(&mut self, label: &str, value: impl Display) {
        let line = format!("  {label:<LABEL_WIDTH$}{value}");
        self.text += &escape::wrapped(line.trim_end(), 2 + LABEL_WIDTH, self.columns);
        self.text.push('\n');
    }
}

fn heading(summary: &Summary, lines: &mut LabelledLines) {
    let Summary { engine, transport, .. } = summary;
    let peers = count(summary.peers as u64, "peer");
    let segments = units::segments(summary.segment_bytes);
    let ranks = if transport == "local" { "threads of one process" } else { "ranks over MPI" };
    let title = format!("engine {engine}, {ranks}: {peers}, {segments}, seed {}", summary.seed);
    lines.text += &(escape::wrapped(&title, 2, lines.columns) + "\n");
    let files = count(summary.files, "file");
    let segments = count(summary.segments, "segment");
    let delivered = format!("{files}, {segments}, {}", size(summary.bytes_delivered as f64));
    let verdict = match (summary.checked, summary.verified) {
        (false, _) => "UNVERIFIED",
        (true, true) => "all verified",
        (true, false) => "INCOMPLETE",
    };
    lines.add("delivered", format!("{delivered}, {verdict}"));
}

fn rates(summary: &Summary, lines: &mut LabelledLines) {
    let makespan = seconds(summary.makespan_s);
    let limit = match (summary.bound_s, summary.ratio_to_bound) {
        (Some(bound), Some(ratio)) => format!("bound {}, ratio {ratio:.2}", seconds(bound)),
        _ if summary.bytes_delivered < BOUND_BYTES_LEAST as u64 => {
            let least = size(BOUND_BYTES_LEAST as f64);
            format!("no bound: less than {least} comes from caches")
        }
        _ => "bound unknown".to_owned(),
    };
    lines.add("makespan", format!("{makespan}, {limit}; setup {}", seconds(summary.setup_s)));
    let segments = format!("{:.1} segments/s", summary.segments_per_second);
    lines.add("rate", format!("{}, {segments}", rate(summary.bytes_per_second)));
    if let (Some(copy), Some(hash)) = (summary.copy_bytes_per_second, summary.hash_bytes_per_second)
    {
        let cores = count(summary.cores as u64, "core");
        lines.add("limits", format!("copy {}, hash {}, {cores}", rate(copy), rate(hash)));
    }
}

/// A bar for each peer, then indices of balance.
fn served(summary: &Summary, lines: &mut LabelledLines) {
    let mut peers: Vec<(usize, u64)> =
        summary.served_bytes.iter().copied().enumerate().skip(1).collect();
    let notes = if peers.len() > PEERS_LISTED_MAX {
        peers.sort_by_key(|&(_, bytes)| bytes);
        peers = [0, peers.len() / 2, peers.len() - 1].map(|index| peers[index]).to_vec();
        ["least   ", "median  ", "most    "]
    } else {
        [""; 3]
    };
    let most = peers.iter().map(|&(_, bytes)| bytes).max().unwrap_or(0);
    let rank_width = peers.iter().map(|(rank, _)| rank.to_string().len()).max().unwrap_or(0);
    for (index, &(rank, bytes)) in peers.iter().enumerate() {
        let label = if index == 0 { "served" } else { "" };
        let note = notes.get(index).copied().unwrap_or("");
        let amount = size(bytes as f64);
        let bar = bar(bytes, most);
        lines.add(label, format!("rank {rank:<rank_width$} {amount:>10}  {note}{bar}"));
    }
    let indices =
        format!("max/mean {:.2}, cv {:.2}", summary.served_max_over_mean, summary.served_cv);
    lines.add("balance", format!("{indices}, Jain {:.2}", summary.served_jain));
    if let Some(copies) = summary.origin_copies {
        lines.add("origin", format!("owners sent {copies:.2} copies of the wanted files"));
    }
}

fn time(summary: &Summary, lines: &mut LabelledLines) {
    let shares = summary.time_shares;
    let parts = [
        ("wait tracker", shares.awaiting_tracker),
        ("wait holder", shares.awaiting_holder),
        ("move", shares.moving),
        ("verify", shares.verifying),
        ("write", shares.writing),
        ("decide", shares.deciding),
        ("idle", shares.idle),
    ];
    let parts = parts.map(|(name, share)| format!("{name} {:.0}%", 100.0 * share)).join(", ");
    lines.add("peers' time", parts);
    let busy = format!("busy {:.0}%", 100.0 * summary.tracker_busy_share);
    let messages = format!("{:.0} messages/s", summary.tracker_messages_per_second);
    lines.add("tracker", format!("{busy}, {messages}"));
}

/// A bar in proportion to the most; a peer that served anything gets at least one mark.
fn bar(bytes: u64, most: u64) -> String {
    let length = u128::from(bytes) * u128::from(BAR_LENGTH_MAX);
    (0..length.div_ceil(u128::from(most.max(1)))).map(|_| '#').collect()
}

fn finished(summary: &Summary, lines: &mut LabelledLines) {
    let times: Vec<f64> = summary.finished_s.iter().copied().flatten().collect();
    let all = format!("{} of {}", times.len(), count(summary.peers as u64, "peer"));
    let Some(median) = median(&times) else {
        return lines.add("finished", all);
    };
    let first = times.iter().copied().fold(f64::INFINITY, f64::min);
    let last = times.iter().copied().fold(0.0, f64::max);
    let [first, middle, end] = [first, median, last].map(seconds);
    let ratio =
        if median > 0.0 { format!(", last/median {:.2}", last / median) } else { "".into() };
    lines.add("finished", format!("{all}: first {first}, median {middle}, last {end}{ratio}"));
}

fn problems(summary: &Summary, lines: &mut LabelledLines) {
    let requests =
        [(summary.refused_requests, "answered busy"), (summary.lapsed_requests, "timed out")];
    let troubled = requests.into_iter().filter(|&(number, _)| number > 0);
    let troubled: Vec<_> =
        troubled.map(|(number, what)| format!("{} {what}", count(number, "request"))).collect();
    if !troubled.is_empty() {
        lines.add("retried", troubled.join(", "));
    }
    if summary.corrupt_segments > 0 {
        let corrupt = count(summary.corrupt_segments, "segment");
        lines.add("corrupt", format!("{corrupt} dropped, and requested from another holder"));
    }
    list("unavailable", &summary.unavailable_files, escape::terminal, lines);
    list("errors", &summary.errors, escape::line, lines);
}

// The first problems of a kind.
fn list(label: &str, problems: &[String], shown: fn(&str) -> String, lines: &mut LabelledLines) {
    for (index, problem) in problems.iter().take(LISTED_MAX).enumerate() {
        lines.add(if index == 0 { label } else { "" }, shown(problem));
    }
    if problems.len() > LISTED_MAX {
        lines.add("", format!("and {} more", problems.len() - LISTED_MAX));
    }
}

#[cfg(test)]
mod tests;
