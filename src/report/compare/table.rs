//! A comparison as text for a terminal, as Markdown and as CSV.

use super::grid::{Cell, Column, Grid, Tone};
use super::judge::{Group, RUNS_LEAST, Row, SIGNIFICANT, Verdict};
use super::model::binary_size;
use super::pairing::{Comparison, Pairing};
use super::{Figure, Scenario};
use crate::report::statistics::Interval;

/// With more than this that only one side has, the rest is counted.
const LISTED_MAX: usize = 6;

/// Text for a terminal: in colour, or plain for a pipe.
pub fn text(comparison: &Comparison, colour: bool) -> String {
    let mut out = String::new();
    let (on, off) = if colour { ("\u{1b}[1;33m", "\u{1b}[0m") } else { ("", "") };
    for line in notices(comparison) {
        out += &format!("{on}! {line}{off}\n");
    }
    for pairing in &comparison.pairings {
        let mut grid = grid(pairing);
        let keys = grid.columns.iter().take_while(|column| column.name != pairing.base).count();
        let lifted = grid.lift_constant(keys);
        if !lifted.is_empty() {
            grid.title += &format!(" ({})", lifted.join(", "));
        }
        if !out.is_empty() {
            out.push('\n');
        }
        out += &grid.text(colour);
    }
    out
}

/// Markdown, for a pull request.
pub fn markdown(comparison: &Comparison) -> String {
    let notices = notices(comparison);
    let mut out: String = notices.iter().map(|line| format!("> **{line}**\\\n")).collect();
    if let Some(end) = out.rfind('\\') {
        out.replace_range(end..=end, "");
        out.push('\n');
    }
    let grids: Vec<_> =
        comparison.pairings.iter().map(|pairing| grid(pairing).markdown()).collect();
    out + &grids.join("\n")
}

/// CSV: a line a result, with raw numbers in the units of the figure.
///
/// # Errors
///
/// Never: the error is that of a writer into memory.
pub fn csv(comparison: &Comparison) -> Result<String, csv::Error> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(CSV_HEAD)?;
    for pairing in &comparison.pairings {
        for row in &pairing.rows {
            writer.write_record(csv_line(pairing, row))?;
        }
    }
    let bytes = writer.into_inner().map_err(|error| error.into_error())?;
    Ok(String::from_utf8(bytes).expect("text was written"))
}

const CSV_HEAD: [&str; 28] = [
    "figure",
    "unit",
    "base",
    "other",
    "workload",
    "peers",
    "segment_bytes",
    "parameters",
    "contender",
    "base_runs",
    "base_median",
    "base_low",
    "base_high",
    "base_cv",
    "other_runs",
    "other_median",
    "other_low",
    "other_high",
    "other_cv",
    "ratio",
    "ratio_low",
    "ratio_high",
    "paired",
    "p",
    "p_holm",
    "cliffs_delta",
    "verdict",
    "better",
];

fn csv_line(pairing: &Pairing, row: &Row) -> Vec<String> {
    let some = |value: Option<f64>| value.map(|value| value.to_string()).unwrap_or_default();
    let whole = |value: Option<usize>| value.map(|value| value.to_string()).unwrap_or_default();
    let group = |group: &Group| {
        let interval = group.interval;
        [
            group.values.len().to_string(),
            group.median.to_string(),
            some(interval.map(|interval| interval.low)),
            some(interval.map(|interval| interval.high)),
            some(group.variation),
        ]
    };
    let mut line = vec![
        pairing.figure.name().to_owned(),
        pairing.figure.unit().to_owned(),
        pairing.base.clone(),
        pairing.other.clone(),
        row.scenario.workload.clone(),
        whole(row.scenario.peers),
        whole(row.scenario.segment_bytes),
        row.scenario.parameters.clone(),
        row.contender.clone(),
    ];
    line.extend(group(&row.base));
    line.extend(group(&row.other));
    line.extend([
        some(row.ratio),
        some(row.ratio_interval.map(|interval| interval.low)),
        some(row.ratio_interval.map(|interval| interval.high)),
        row.paired.to_string(),
        some(row.p),
        some(row.p_holm),
        some(row.delta),
        verdict_name(row.verdict).to_owned(),
        if pairing.figure.more_is_better() { "more" } else { "less" }.to_owned(),
    ]);
    line
}

fn verdict_name(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Better => "better",
        Verdict::Worse => "worse",
        Verdict::Same => "same",
        Verdict::TooFew => "too-few",
    }
}

/// What stands at the top: where the sets differ, and what is wrong with them.
pub(super) fn notices(comparison: &Comparison) -> Vec<String> {
    let differences = comparison.differences.iter().filter(|difference| difference.matters);
    let difference = |difference: &super::pairing::Difference| {
        let values = difference.values.iter().zip(&comparison.sets);
        let values: Vec<_> = values.map(|(value, set)| format!("{value} in {set}")).collect();
        format!("{} differs: {}", difference.name, values.join(", "))
    };
    differences.map(difference).chain(comparison.warnings.iter().cloned()).collect()
}

/// A pairing as a table: a row a result.
pub(super) fn grid(pairing: &Pairing) -> Grid {
    let figure = pairing.figure;
    let has_parameters = ambiguous(pairing);
    let title = format!("{}: {} → {}", figure.title(), pairing.base, pairing.other);
    let mut columns = vec![Column::words("workload"), Column::numbers("peers")];
    columns.push(Column::numbers("segment"));
    if !pairing.within {
        columns.push(Column::words("contender"));
    }
    if has_parameters {
        columns.push(Column::words("parameters"));
    }
    let numbers =
        [&pairing.base, "cv", &pairing.other, "cv", "ratio", "95% interval", "p (Holm)", "δ"];
    columns.extend(numbers.map(Column::numbers));
    columns.push(Column::words("verdict"));
    let row = |row: &Row| {
        let mut cells = keys(&row.scenario);
        if !pairing.within {
            cells.push(row.contender.as_str().into());
        }
        if has_parameters {
            cells.push(row.scenario.parameters.as_str().into());
        }
        cells.extend(judged(figure, row));
        cells
    };
    Grid { title, columns, rows: pairing.rows.iter().map(row).collect(), notes: notes(pairing) }
}

/// Whether two rows are told apart only by the parameters of their workloads.
fn ambiguous(pairing: &Pairing) -> bool {
    let short = |row: &Row| {
        let Scenario { workload, peers, segment_bytes, .. } = row.scenario.clone();
        (workload, peers, segment_bytes, row.contender.clone())
    };
    let mut all: Vec<_> = pairing.rows.iter().map(short).collect();
    all.sort();
    all.windows(2).any(|pair| pair[0] == pair[1])
}

fn keys(scenario: &Scenario) -> Vec<Cell> {
    let peers = scenario.peers.map(|peers| peers.to_string()).unwrap_or_default();
    let bytes = scenario.segment_bytes.map(binary_size).unwrap_or_default();
    vec![scenario.workload.as_str().into(), peers.into(), bytes.into()]
}

fn judged(figure: Figure, row: &Row) -> Vec<Cell> {
    let percent = |part: Option<f64>| {
        part.map_or_else(|| "-".to_owned(), |part| format!("{:.1}%", 100.0 * part))
    };
    let p = match row.p_holm {
        Some(p) => probability(p),
        None => format!("n < {RUNS_LEAST}"),
    };
    let delta = row.delta.map_or_else(|| "-".to_owned(), |delta| format!("{delta:+.2}"));
    vec![
        median(figure, &row.base).into(),
        percent(row.base.variation).into(),
        median(figure, &row.other).into(),
        percent(row.other.variation).into(),
        row.ratio.map_or_else(|| "-".to_owned(), ratio).into(),
        interval(row).into(),
        p.into(),
        delta.into(),
        verdict(figure, row),
    ]
}

/// `12.3 ms ± 2%`: the median, and how far its interval reaches.
fn median(figure: Figure, group: &Group) -> String {
    let shown = figure.show(group.median);
    match group.reach() {
        Some(reach) => format!("{shown} ± {:.0}%", 100.0 * reach),
        None => format!("{shown} ± ?"),
    }
}

/// Three digits, more for ratios close to 1, where they count.
pub(super) fn ratio(ratio: f64) -> String {
    with_digits(ratio, digits(ratio))
}

/// An interval with as many digits as its ratio has.
pub(super) fn interval(row: &Row) -> String {
    let Some(Interval { low, high }) = row.ratio_interval else { return "-".to_owned() };
    let digits = digits(row.ratio.unwrap_or(low));
    format!("[{}, {}]", with_digits(low, digits), with_digits(high, digits))
}

fn digits(ratio: f64) -> usize {
    match ratio {
        0.9..1.1 => 3,
        _ if ratio >= 100.0 => 0,
        _ if ratio >= 10.0 => 1,
        _ if ratio < 0.1 => 3,
        _ => 2,
    }
}

fn with_digits(ratio: f64, digits: usize) -> String {
    format!("{ratio:.digits$}")
}

fn probability(p: f64) -> String {
    if p < 0.0001 { "< 0.0001".to_owned() } else { format!("{p:.4}") }
}

/// `2.41× faster`, `~`, or that there are too few runs.
pub(super) fn verdict(figure: Figure, row: &Row) -> Cell {
    let (better, worse) = figure.words();
    let factor = row.ratio.map(|ratio| ratio.max(ratio.recip())).map_or_else(String::new, ratio);
    match row.verdict {
        Verdict::Better => Cell::from(format!("{factor}× {better}")).toned(Tone::Good),
        Verdict::Worse => Cell::from(format!("{factor}× {worse}")).toned(Tone::Bad),
        Verdict::Same => Cell::from("~").toned(Tone::Faint),
        Verdict::TooFew => {
            let runs = row.base.values.len().min(row.other.values.len());
            let runs = if runs == 1 { "1 run".to_owned() } else { format!("{runs} runs") };
            Cell::from(format!("? {runs}, too few")).toned(Tone::Faint)
        }
    }
}

fn notes(pairing: &Pairing) -> Vec<String> {
    let mut notes = Vec::new();
    if pairing.rows.is_empty() {
        notes.push("no result in common".to_owned());
    }
    let judged = pairing.rows.len() - pairing.count(Verdict::TooFew);
    if let Some(mean) = pairing.geometric_mean.filter(|_| judged > 1) {
        notes.push(format!("geometric mean of {judged} ratios: {}", ratio(mean)));
    }
    let uncertain = pairing.count(Verdict::Same);
    if uncertain > 0 {
        notes.push(format!(
            "~ {uncertain} of {}: not told from noise (p ≥ {SIGNIFICANT} or the interval holds 1)",
            pairing.rows.len()
        ));
    }
    for (name, only) in [(&pairing.base, &pairing.only_base), (&pairing.other, &pairing.only_other)]
    {
        if !only.is_empty() {
            let listed: Vec<_> = only.iter().take(LISTED_MAX).map(String::as_str).collect();
            let rest = only.len() - listed.len();
            let rest = if rest > 0 { format!("; and {rest} more") } else { String::new() };
            notes.push(format!("only in {name}: {}{rest}", listed.join("; ")));
        }
    }
    notes
}
