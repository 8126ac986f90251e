//! The comparison as text: a table for each workload.

use comfy_table::presets::UTF8_HORIZONTAL_ONLY;
use comfy_table::{CellAlignment, Table};

use super::comparison::{ContenderRow, Invalid};
use crate::escape;
use crate::report::statistics::Interval;
use crate::report::units::{count, rate, seconds, segments};

/// The tables, each under a line that names its workload.
pub(crate) fn render(rows: &[ContenderRow]) -> String {
    let is_same = |left: &ContenderRow, right: &ContenderRow| {
        (&left.workload, left.peers, left.segment_bytes)
            == (&right.workload, right.peers, right.segment_bytes)
    };
    rows.chunk_by(is_same).map(one_workload).collect::<Vec<_>>().join("\n")
}

fn one_workload(rows: &[ContenderRow]) -> String {
    let first = &rows[0];
    let segments = segments(first.segment_bytes);
    let mut table = Table::new();
    table.load_style(UTF8_HORIZONTAL_ONLY).set_header([
        "contender",
        "median",
        "95% interval",
        "× mutex",
        "× bound",
        "balance",
        "rate",
        "segments/s",
        "CPU s/GB",
        "runs",
        "notes",
    ]);
    for row in rows {
        table.add_row(cells(row));
    }
    for column in table.column_iter_mut().skip(1).take(9) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    format!(
        "{}: {}, {segments}\n{table}\n",
        escape::terminal(&first.workload),
        count(first.peers as u64, "peer")
    )
}

fn cells(row: &ContenderRow) -> [String; 11] {
    let interval = |Interval { low, high }| format!("{} … {}", seconds(low), seconds(high));
    let ratio = |ratio: Option<f64>| ratio.map_or_else(unknown, |ratio| format!("{ratio:.2}"));
    let baseline = match row.times_baseline_interval {
        Some(Interval { low, high }) if row.engine != "mutex" => {
            format!("{} ({low:.2} … {high:.2})", ratio(row.times_baseline))
        }
        _ => ratio(row.times_baseline),
    };
    [
        escape::terminal(&row.contender),
        seconds(row.makespan_s),
        row.makespan_interval_s.map_or_else(unknown, interval),
        baseline,
        ratio(row.ratio_to_bound),
        format!("{:.2}", row.served_max_over_mean),
        rate(row.bytes_per_second),
        format!("{:.0}", row.segments_per_second),
        ratio(row.cpu_s_per_gb),
        row.runs.to_string(),
        notes(row),
    ]
}

fn unknown() -> String {
    "–".to_owned()
}

fn notes(row: &ContenderRow) -> String {
    let mut notes = Vec::new();
    if let Some(why) = row.invalid_why {
        let why = match why {
            Invalid::Incomplete => "incomplete",
            Invalid::BeyondBound => "faster than the bound",
        };
        notes.push(format!("INVALID: {why} in {}", count(row.invalid.len() as u64, "run")));
    }
    if !row.is_verified {
        notes.push("unverified".to_owned());
    }
    if !row.outliers.is_empty() {
        notes.push(count(row.outliers.len() as u64, "outlier"));
    }
    notes.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(contender: &str, segment_bytes: usize) -> ContenderRow {
        ContenderRow {
            workload: "w".to_owned(),
            peers: 4,
            segment_bytes,
            contender: contender.to_owned(),
            engine: contender.to_owned(),
            is_verified: true,
            runs: 10,
            outliers: Vec::new(),
            invalid: Vec::new(),
            invalid_why: None,
            makespan_s: 0.01,
            makespan_interval_s: Some(Interval { low: 0.009, high: 0.012 }),
            times_baseline: Some(20.0),
            times_baseline_interval: Some(Interval { low: 19.0, high: 21.0 }),
            ratio_to_bound: Some(1.5),
            bytes_per_second: 1e9,
            bytes_per_second_harmonic: Some(1e9),
            segments_per_second: 1e6,
            segments_per_second_harmonic: Some(1e6),
            served_max_over_mean: 1.25,
            cpu_s: 0.02,
            cpu_s_per_gb: Some(2.0),
            peak_rss_bytes: 1e7,
        }
    }

    #[test]
    fn a_row_has_its_figures_and_a_workload_its_table() {
        let text = render(&[row("lockfree", 1024), row("mutex", 1024), row("lockfree", 0)]);
        assert!(text.contains("w: 4 peers, segments of 1 KiB\n"), "{text}");
        assert!(text.contains("w: 4 peers, hashes only\n"), "{text}");
        assert_eq!(text.matches("contender").count(), 2, "{text}");
        let line = text.lines().find(|line| line.contains("lockfree")).expect("a row");
        let expected = [
            "lockfree",
            "10.0 ms",
            "9.0 ms … 12.0 ms",
            "20.00 (19.00 … 21.00)",
            "1.50",
            "1.25",
            "1.00 GB/s",
            "1000000",
            "2.00",
            "10",
        ];
        for figure in expected {
            assert!(line.contains(figure), "{figure} in {line}");
        }
    }

    #[test]
    fn what_is_wrong_is_noted() {
        let invalid = ContenderRow {
            invalid: vec![3],
            invalid_why: Some(Invalid::BeyondBound),
            is_verified: false,
            outliers: vec![1, 2],
            ..row("lockfree", 1)
        };
        let noted = "INVALID: faster than the bound in 1 run, unverified, 2 outliers";
        assert_eq!(notes(&invalid), noted);
        assert_eq!(notes(&row("lockfree", 1)), "");
    }
}
