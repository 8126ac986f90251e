//! From the mutex engine to the lockfree one, a choice at a time: the newest record of the plan `ladder` as a table of
//! Markdown and a picture.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use crate::harness::measured;
use crate::report::compare::html::waterfall;
use crate::report::compare::{
    Comparison, Figure, Pairing, Question, Scenario, Verdict, compare, interval, ratio,
};

// The documents beside it link to it.
pub(super) const PICTURE: &str = "ladder.svg";
const BEGIN: &str = "<!--# ladder -->\n";

#[derive(Debug)]
pub(super) struct Ladder {
    record: String,
    comparison: Comparison,
}

impl Ladder {
    pub(super) fn read(records: &Path) -> Result<Self, String> {
        let entries = fs::read_dir(records).map_err(|error| error.to_string())?;
        let names = entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned());
        // Names have their dates in them.
        let newest = names.filter(|name| name.starts_with("ladder-")).max();
        let record = newest.ok_or("there is no record of inputs/plans/ladder.toml")?;
        let set = measured::read_launches(&records.join(&record));
        let set = set.map_err(|error| error.to_string())?.ok_or(format!("{record}: no runs"))?;
        let question = Question { figures: vec![Figure::Makespan], ..Question::default() };
        let comparison = compare(&[set], &question).map_err(|error| error.to_string())?;
        Ok(Self { record, comparison })
    }

    pub(super) fn renewed(&self, text: &str) -> Result<String, String> {
        super::replaced(text, BEGIN, &self.table())
    }

    pub(super) fn picture(&self) -> String {
        waterfall::picture(&self.comparison.pairings)
    }

    fn table(&self) -> String {
        let pairings = &self.comparison.pairings;
        let scenarios: BTreeSet<_> =
            pairings.iter().flat_map(|pairing| &pairing.rows).map(|row| &row.scenario).collect();
        let heads: Vec<_> = scenarios.iter().map(ToString::to_string).collect();
        let rule = vec!["---"; heads.len() + 1].join(" | ");
        let mut out = format!(
            "![Makespan, a choice at a time]({PICTURE})\n\n| choice | {} |\n| {rule} |\n",
            heads.join(" | ")
        );
        for pairing in pairings {
            let cells: Vec<_> = scenarios.iter().map(|scenario| cell(pairing, scenario)).collect();
            let name = pairing.rows.first().map(|row| pairing.name_of(row)).unwrap_or_default();
            out += &format!("| {name} | {} |\n", cells.join(" | "));
        }
        let links = vec![format!("[record]({})", self.record); heads.len()].join(" | ");
        out + &format!("| | {links} |\n")
    }
}

/// The time with a choice ÷ the time without it and its interval; bold where it is significant.
fn cell(pairing: &Pairing, scenario: &Scenario) -> String {
    let row = pairing.rows.iter().find(|row| row.scenario == *scenario);
    let Some((row, value)) = row.and_then(|row| Some((row, row.ratio?))) else {
        return String::new();
    };
    let shown = format!("{} {}", ratio(value), interval(row));
    match row.verdict {
        Verdict::Better | Verdict::Worse => format!("**{shown}**"),
        Verdict::Same | Verdict::TooFew | Verdict::Void | Verdict::Control => shown,
    }
}
