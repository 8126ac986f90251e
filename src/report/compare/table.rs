//! A comparison as text for a terminal, as Markdown and as CSV.

use super::cells::{interval, part, percent, probability, ratio_of, shown, verdict};
use super::grid::{Cell, Column, Grid};
use super::judge::{Group, JudgedPair, Verdict};
use super::notes;
use super::pairing::{Comparison, Pairing, Question, compare};
use super::sentence::sentence;
use super::{Figure, Scenario, Screen, Set};
use crate::escape::{self, wrapped};

// The columns that say what was run.
const KEYS: [&str; 6] = ["workload", "peers", "segment", "contender", "conditions", "parameters"];
// What an overview shows beside the makespan.
const BESIDE: [Figure; 5] =
    [Figure::Bound, Figure::Balance, Figure::Rate, Figure::Segments, Figure::Cpu];
// What an overview leaves out where there is no room, first to last.
// The ratio to the base comes last, since a verdict has its own factor; median and verdict stay. All is in the
// records and in `compare`.
const OVERVIEW_DROPS: [&str; 8] =
    ["runs", "segments", "CPU", "balance", "rate", "cv", "÷ bound", "95% interval"];
// The same of a comparison; then both medians go, and the interval.
const DROPS: [&str; 4] = ["δ", "detects", "cv", "p (Holm)"];

pub(crate) fn text(comparison: &Comparison, screen: Screen) -> String {
    let mut out = String::new();
    let (on, off) = if screen.colour { ("\u{1b}[1;33m", "\u{1b}[0m") } else { ("", "") };
    for line in notices(comparison) {
        let line = wrapped(&format!("! {}", escape::terminal(&line)), 2, screen.columns);
        out += &format!("{on}{line}{off}\n");
    }
    for (_, grid) in grids(comparison) {
        if !out.is_empty() {
            out.push('\n');
        }
        out += &lifted(grid).text(screen);
    }
    out
}

/// Moves what all rows have in common to the title.
fn lifted(mut grid: Grid) -> Grid {
    let keys = grid.columns.iter().take_while(|column| KEYS.contains(&column.name.as_str()));
    let lifted = grid.lift_constant(keys.count());
    if !lifted.is_empty() {
        grid.title += &format!(" ({})", lifted.join(", "));
    }
    grid
}

/// One measurement, as text: a row for each scenario and contender, beside the base and the bound. It ends with the
/// result as one sentence.
pub(crate) fn overview(mut set: Set, screen: Screen) -> String {
    set.observations.retain(|one| one.values.contains_key(&Figure::Makespan));
    let question = Question { figures: vec![Figure::Makespan], ..Question::default() };
    // A contender alone is compared with nobody.
    let comparison = compare(std::slice::from_ref(&set), &question);
    let pairings = comparison.map_or_else(|_| Vec::new(), |comparison| comparison.pairings);
    // Each row of a ladder is compared with the one before it.
    let base = pairings.first().map_or("base", |pairing| match pairing.rung {
        Some(_) => "before",
        None => pairing.base.as_str(),
    });
    let mut columns = Column::list("workload|#peers|#segment|contender|#makespan|#cv");
    let ratio = format!("÷ {base}");
    columns.push(Column::numbers(&ratio));
    columns.extend(Column::list(
        "#95% interval|=verdict|#÷ bound|#balance|#rate|#segments|#CPU|#runs",
    ));
    let mut rows = Vec::new();
    for scenario in set.scenarios() {
        for contender in set.contenders() {
            let runs = set.series(scenario, contender);
            let Some(group) = Group::new(&runs, Figure::Makespan) else { continue };
            let mut judged = pairings.iter().flat_map(|pairing| &pairing.rows);
            let row = judged.find(|row| row.scenario == *scenario && row.contender == contender);
            let mut cells = keys(scenario);
            cells.extend([contender.into(), median(Figure::Makespan, &group).into()]);
            cells.extend([percent(group.variation), shown(row, ratio_of)].map(Cell::from));
            cells.push(shown(row, interval).into());
            cells.push(row.map_or_else(|| "-".into(), |row| verdict(Figure::Makespan, row)));
            let middle = |figure: Figure| {
                shown(Group::new(&runs, figure), |group| figure.show(group.median))
            };
            cells.extend(BESIDE.map(|figure| Cell::from(middle(figure))));
            cells.push(runs.len().to_string().into());
            rows.push(cells);
        }
    }
    let warning =
        |line: &String| wrapped(&format!("! {}", escape::terminal(line)), 2, screen.columns) + "\n";
    let mut out: String = set.warnings.iter().map(warning).collect();
    if !out.is_empty() {
        out.push('\n');
    }
    let notes = notes::scope(&pairings);
    let drops = OVERVIEW_DROPS.into_iter().chain([ratio.as_str()]).map(str::to_owned).collect();
    let grid = Grid { title: Figure::Makespan.title().to_owned(), columns, rows, notes, drops };
    out += &lifted(grid).text(screen);
    if let Some(sentence) = sentence(&pairings, std::slice::from_ref(&set)) {
        out += &format!("\n{}\n", wrapped(&escape::terminal(&sentence), 2, screen.columns));
    }
    out
}

pub(crate) fn markdown(comparison: &Comparison) -> String {
    let notices = notices(comparison);
    let mut out: String =
        notices.iter().map(|line| format!("> **{}**\\\n", escape::markdown(line))).collect();
    if let Some(end) = out.rfind('\\') {
        out.replace_range(end..=end, "");
        out.push('\n');
    }
    let grids: Vec<_> = grids(comparison).iter().map(|(_, grid)| grid.markdown()).collect();
    out + &grids.join("\n")
}

/// CSV: a line a result, with raw numbers in the unit of the figure.
pub(crate) fn csv(comparison: &Comparison) -> String {
    let lines = comparison
        .pairings
        .iter()
        .flat_map(|pairing| pairing.rows.iter().map(move |row| csv_line(pairing, row)));
    csv_text(CSV_HEAD, lines)
}

pub(super) fn csv_text(head: &str, lines: impl Iterator<Item = Vec<String>>) -> String {
    let mut writer = csv::Writer::from_writer(Vec::new());
    let head = head.split(',').map(ToOwned::to_owned).collect();
    for line in std::iter::once(head).chain(lines) {
        let line = line.iter().map(|cell| escape::csv(cell));
        writer.write_record(line).expect("memory takes every line, and all have one length");
    }
    let bytes = writer.into_inner().expect("memory takes what is left");
    String::from_utf8(bytes).expect("text was written")
}

pub(super) fn csv_value(value: Option<impl ToString>) -> String {
    value.map(|value| value.to_string()).unwrap_or_default()
}

/// Runs, median, the ends of its interval, and the coefficient of variation.
pub(super) fn csv_group(group: &Group) -> [String; 5] {
    [
        group.values.len().to_string(),
        group.median.to_string(),
        csv_value(group.interval.map(|interval| interval.low)),
        csv_value(group.interval.map(|interval| interval.high)),
        csv_value(group.variation),
    ]
}

// The order of the fields in `csv_line`; readers go by these names.
const CSV_HEAD: &str = "figure,unit,base,other,workload,peers,segment_bytes,parameters,contender,\
    base_runs,base_median,base_low,base_high,base_cv,other_runs,other_median,other_low,other_high,\
    other_cv,ratio,ratio_low,ratio_high,paired,p,p_holm,cliffs_delta,verdict,better,tested,\
    base_launches,other_launches,control,control_ratio,control_low,control_high,family,detectable";

fn csv_line(pairing: &Pairing, row: &JudgedPair) -> Vec<String> {
    let mut line = vec![
        pairing.figure.name().to_owned(),
        pairing.figure.unit().to_owned(),
        pairing.base.clone(),
        pairing.other.clone(),
        row.scenario.workload.clone(),
        csv_value(row.scenario.peers),
        csv_value(row.scenario.segment_bytes),
        row.scenario.details(),
        row.contender.clone(),
    ];
    line.extend(csv_group(&row.base));
    line.extend(csv_group(&row.other));
    line.extend([
        csv_value(row.ratio),
        csv_value(row.ratio_interval.map(|interval| interval.low)),
        csv_value(row.ratio_interval.map(|interval| interval.high)),
        row.paired.to_string(),
        csv_value(row.p),
        csv_value(row.p_holm),
        csv_value(row.delta),
        row.verdict.to_string(),
        if pairing.figure.more_is_better() { "more" } else { "less" }.to_owned(),
        row.tested.to_string(),
        row.base.launches.to_string(),
        row.other.launches.to_string(),
        csv_value(pairing.control.as_ref()),
        csv_value(row.control.map(|shift| shift.ratio)),
        csv_value(row.control.and_then(|shift| shift.interval).map(|ends| ends.low)),
        csv_value(row.control.and_then(|shift| shift.interval).map(|ends| ends.high)),
        row.family.to_string(),
        csv_value(row.detectable),
    ]);
    line
}

/// The warnings above the tables: differences that matter, and what is wrong with a set.
pub(super) fn notices(comparison: &Comparison) -> Vec<String> {
    let differences = comparison.differences.iter().filter(|difference| difference.matters);
    let difference = |difference: &super::pairing::Difference| {
        let values = difference.values.iter().zip(&comparison.sets);
        let values: Vec<_> = values.map(|(value, set)| format!("{value} in {set}")).collect();
        format!("different {}: {}", difference.name, values.join(", "))
    };
    differences.map(difference).chain(comparison.warnings.iter().cloned()).collect()
}

/// A table for each figure and other set. Contenders of one set that are compared with one base share
/// a table.
pub(super) fn grids(comparison: &Comparison) -> Vec<(Figure, Grid)> {
    let together = |left: &Pairing, right: &Pairing| {
        let is_ladder = left.rung.is_some() && right.rung.is_some();
        left.within && left.figure == right.figure && (is_ladder || left.base == right.base)
    };
    let tables = comparison.pairings.chunk_by(together);
    tables.map(|pairings| (pairings[0].figure, grid(pairings))).collect()
}

/// Pairings of one figure and base, at least one, as a table with a row a result.
pub(super) fn grid(pairings: &[Pairing]) -> Grid {
    let Pairing { figure, base, other, within, .. } = &pairings[0];
    let mut rows: Vec<(&Pairing, &JudgedPair)> = Vec::new();
    for pairing in pairings {
        rows.extend(pairing.rows.iter().map(|row| (pairing, row)));
    }
    // Stable: the contenders of a scenario keep their order.
    rows.sort_by(|(_, left), (_, right)| left.scenario.cmp(&right.scenario));
    let telling = telling(&rows);
    let is_ladder = pairings[0].rung.is_some();
    let is_one = pairings.len() == 1 && !is_ladder;
    let last = pairings[pairings.len() - 1].other.as_str();
    let title = match (is_ladder, is_one) {
        (true, _) => format!("{}, step by step: {base} → {last}", figure.title()),
        (_, true) => format!("{}: {base} → {other}", figure.title()),
        _ => format!("{}: {base} → each", figure.title()),
    };
    let (base, other) = match (is_ladder, is_one) {
        (true, _) => ("before", "after"),
        (_, true) => (base.as_str(), other.as_str()),
        _ => (base.as_str(), "contender's"),
    };
    let mut columns = Column::list("workload|#peers|#segment");
    // The heading names a single one.
    let has_contender = !within || !is_one;
    if has_contender {
        columns.push(Column::words(if is_ladder { "step" } else { "contender" }));
    }
    columns.extend(telling.map(|(name, _)| Column::words(name)));
    let numbers = [base, "cv", other, "cv", "ratio", "95% interval", "p (Holm)", "detects", "δ"];
    columns.extend(numbers.map(Column::numbers));
    columns.push(Column::whole("verdict"));
    let row = |(pairing, row): &(&Pairing, &JudgedPair)| {
        let mut cells = keys(&row.scenario);
        if has_contender {
            cells.push(pairing.name_of(row).into());
        }
        cells.extend(telling.map(|(_, of)| Cell::from(of(&row.scenario))));
        cells.extend(judged(*figure, row));
        cells
    };
    let drops = DROPS.into_iter().chain([base, other, "95% interval"]).map(str::to_owned).collect();
    let (rows, notes) = (rows.iter().map(row).collect(), notes::all(pairings));
    Grid { title, columns, rows, notes, drops }
}

/// A column's name, and what it says of a scenario.
type Telling = (&'static str, fn(&Scenario) -> String);

/// What tells rows apart beside workload, peers, size and contender, where that is not enough: the conditions of
/// their launches, or the parameters of their workloads too.
fn telling(rows: &[(&Pairing, &JudgedPair)]) -> Option<Telling> {
    let conditions: Telling = ("conditions", |scenario| scenario.conditions.clone());
    let is_ambiguous = |of: fn(&Scenario) -> String| {
        let short = |(pairing, row): &(&Pairing, &JudgedPair)| {
            let Scenario { workload, peers, segment_bytes, .. } = row.scenario.clone();
            (workload, peers, segment_bytes, pairing.name_of(row), of(&row.scenario))
        };
        let mut all: Vec<_> = rows.iter().map(short).collect();
        all.sort();
        all.windows(2).any(|pair| pair[0] == pair[1])
    };
    if !is_ambiguous(|_| String::new()) {
        None
    } else if !is_ambiguous(conditions.1) {
        Some(conditions)
    } else {
        Some(("parameters", Scenario::details))
    }
}

pub(super) fn keys(scenario: &Scenario) -> Vec<Cell> {
    let peers = scenario.peers.map(|peers| peers.to_string()).unwrap_or_default();
    vec![scenario.workload.as_str().into(), peers.into(), scenario.size().into()]
}

fn judged(figure: Figure, row: &JudgedPair) -> Vec<Cell> {
    let p = match (row.p_holm, row.verdict) {
        (Some(p), _) => probability(p),
        (None, Verdict::TooFew) => format!("n < {}", row.units().1),
        (None, _) => "-".to_owned(),
    };
    vec![
        median(figure, &row.base).into(),
        percent(row.base.variation).into(),
        median(figure, &row.other).into(),
        percent(row.other.variation).into(),
        ratio_of(row).into(),
        interval(row).into(),
        p.into(),
        shown(row.detectable, part).into(),
        shown(row.delta, |delta| format!("{delta:+.2}")).into(),
        verdict(figure, row),
    ]
}

/// `12.3 ms ± 2%`: the median, and the farther end of its interval.
fn median(figure: Figure, group: &Group) -> String {
    let shown = figure.show(group.median);
    match group.reach() {
        Some(reach) => format!("{shown} ± {:.0}%", 100.0 * reach),
        None => shown,
    }
}
