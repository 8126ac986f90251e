//! Figures that `compare` does not read: of the laboratory's table, of simulated runs, and of Criterion.

use std::fs;
use std::path::PathBuf;

use super::records;
use super::words::Words;
use crate::report::compare::ratio;
use crate::report::units;

fn folder(words: &Words) -> Result<PathBuf, String> {
    Ok(records().join(words.must("record")?))
}

/// A number of the table that `scripts/lab-bench.sh` makes of its runs.
pub(super) fn of_table(words: &Words) -> Result<String, String> {
    let [case, contender, column] = ["case", "contender", "column"].map(|key| words.must(key));
    let path = folder(words)?.join("table.txt");
    let text = fs::read_to_string(&path).map_err(|error| format!("{}: {error}", words))?;
    let (case, contender, column) = (case?, contender?, column?);
    // A makespan has its unit behind it.
    let cells = |line: &str| {
        line.replace(" s ", " ").split_whitespace().map(ToOwned::to_owned).collect::<Vec<_>>()
    };
    let mut lines = text.lines().map(cells);
    let heads = lines.next().unwrap_or_default();
    let place = heads.iter().position(|head| head == column);
    let place = place.ok_or(format!("column={column}: table.txt has {}", heads.join(", ")))?;
    let mut rows = lines.filter(|row| row[..2] == [case, contender]);
    let row = rows.next().ok_or(format!("no line of {case} and {contender} in table.txt"))?;
    let number = row.get(place).and_then(|cell| cell.parse().ok());
    number.map(ratio).ok_or(format!("no number in {words}"))
}

/// A field of a simulated run.
pub(super) fn of_scale(words: &Words) -> Result<String, String> {
    let [peers, field] = ["peers", "field"].map(|key| words.must(key));
    let path = folder(words)?.join("scale.jsonl");
    let text = fs::read_to_string(&path).map_err(|error| format!("{words}: {error}"))?;
    let (peers, field) = (peers?, field?);
    for line in text.lines() {
        let run: serde_json::Value =
            serde_json::from_str(line).map_err(|error| error.to_string())?;
        if peers.parse::<u64>().is_ok_and(|peers| run["peers"] == peers) {
            let value = run[field].as_f64().ok_or(format!("field={field}: it is no number"))?;
            return Ok(match field {
                "tracker_utilization" => format!("{:.0}%", 100.0 * value),
                "memory_bytes_per_peer" => units::size(value),
                "took_s" => units::seconds(value),
                "tracker_messages_per_segment" => format!("{value:.4}"),
                _ => ratio(value),
            });
        }
    }
    Err(format!("no run of {peers} peers"))
}

/// The median time of a benchmark from its `estimates.json`; from printed text its throughput in millions a
/// second.
pub(super) fn of_bench(words: &Words) -> Result<String, String> {
    let (folder, bench) = (folder(words)?, words.must("bench")?);
    let name = |bench: &str| match words.value("threads") {
        Some(threads) => format!("{bench}/{threads}"),
        None => bench.to_owned(),
    };
    let estimates = folder.join("criterion").join(format!("{}.json", name(bench)));
    if let Ok(text) = fs::read_to_string(&estimates) {
        let estimates: serde_json::Value =
            serde_json::from_str(&text).map_err(|error| format!("{words}: {error}"))?;
        let ns =
            estimates["median"]["point_estimate"].as_f64().ok_or(format!("{words}: no median"))?;
        let (unit, one) = units::fitting(&units::TIMES, ns / 1e9);
        return Ok(format!("{} {unit}", ratio(ns / 1e9 / one)));
    }
    let file = folder.join(format!("{}.txt", bench.split('/').next().unwrap_or_default()));
    let text = fs::read_to_string(&file).map_err(|error| format!("{words}: {error}"))?;
    let millions = |bench: &str| printed(&text, bench).ok_or(format!("no throughput of {bench}"));
    let value = millions(&name(bench))?;
    Ok(ratio(match words.value("base") {
        Some(base) => value / millions(&name(base))?,
        None => value,
    }))
}

/// The middle of `thrpt: [3.50 Melem/s 3.57 Melem/s 3.62 Melem/s]` below the name of a benchmark.
fn printed(text: &str, bench: &str) -> Option<f64> {
    let mut lines = text.lines();
    lines.find(|line| line.split_whitespace().next() == Some(bench))?;
    let line = lines.find(|line| line.contains("thrpt:"))?;
    let words: Vec<_> = line.split('[').nth(1)?.split_whitespace().collect();
    let one = match *words.get(3)? {
        "Kelem/s" => 1e-3,
        "Melem/s" => 1.0,
        _ => return None,
    };
    Some(words.get(2)?.parse::<f64>().ok()? * one)
}
