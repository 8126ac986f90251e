//! Figures from records, as `compare` computes and shows them.
//!
//! | words | meaning |
//! | --- | --- |
//! | `record` | a folder in `results`; several with commas give several figures |
//! | `workload`, `segment`, `peers` | the scenario; as many of them as tell it from the others |
//! | `contender`, `figure` | as in `compare` |
//! | `stat` | `median` (the default), `least`, `most`, or with a `base`: `ratio`, `interval` (both), `verdict` (the ratio, bold where it is significant) |
//! | `of` | a contender: its ratio to that of `contender`, in place of the ratio to a `base` |
//! | `per` | the median divided by what one run delivers: `GB`, `segment` |
//! | `limit` | in place of a figure: `copy`, `hash`, `mpi` (two ranks), `messages` (all pairs), `best-messages`, or `copies`, `work`: the time of what a run copies, and copies and hashes, at the MPI's rate |
//! | `over` | a `limit`, such as `work`: the median ÷ that |
//! | `case`, `column` | of `table.txt`, which `scripts/lab-bench.sh` leaves |
//! | `field` | of `scale.jsonl`, with `peers` |
//! | `bench` | of Criterion: the median time, or from its printed text millions of operations a second; with `threads` as the last part of the name, and with a `base` the ratio to that bench |

use std::collections::{BTreeMap, BTreeSet};

use super::words::Words;
use super::{records, sources};
use crate::harness::environment::{ENVIRONMENT, Environment};
use crate::harness::measured;
use crate::report::compare::{
    Comparison, Figure, Observation, Question, Scenario, Set, Verdict, compare, interval, ratio,
};
use crate::report::statistics::median;
use crate::report::units;

#[derive(Debug, Default)]
pub(super) struct Figures {
    sets: BTreeMap<String, Set>,
    comparisons: BTreeMap<(String, String, Figure), Comparison>,
    read: BTreeSet<String>,
}

impl Figures {
    /// The figure of a mark, as a document shows it.
    pub(super) fn text(&mut self, words: &Words) -> Result<String, String> {
        let records = words.must("record")?;
        let figures: Result<Vec<_>, String> =
            records.split(',').map(|record| self.one(&words.with("record", record))).collect();
        Ok(figures?.join(", "))
    }

    pub(super) fn has_read(&self, record: &str) -> bool {
        self.read.iter().any(|read| read.split('/').next() == Some(record))
    }

    fn one(&mut self, words: &Words) -> Result<String, String> {
        let record = words.must("record")?;
        self.read.insert(record.to_owned());
        if words.value("case").is_some() {
            return sources::of_table(words);
        }
        if words.value("field").is_some() {
            return sources::of_scale(words);
        }
        if words.value("bench").is_some() {
            return sources::of_bench(words);
        }
        if !self.sets.contains_key(record) {
            let set = measured::read_launches(&records().join(record));
            let set = set.map_err(|error| format!("record={record}: {error}"))?;
            let set = set.ok_or(format!("record={record}: it has no runs"))?;
            self.sets.insert(record.to_owned(), set);
        }
        let set = &self.sets[record];
        if let Some(limit) = words.value("limit") {
            let run = || runs(set, words).map(|(_, runs)| runs);
            return Ok(match limit {
                "copies" | "work" => units::seconds(time_at_mpi(record, limit, &run()?)?),
                _ => limit_of(record, limit, words)?,
            });
        }
        let name = words.must("figure")?;
        let figure: Figure = name.parse().map_err(|error| format!("figure={name}: {error}"))?;
        let (scenario, runs) = runs(set, words)?;
        let values: Vec<f64> =
            runs.iter().filter_map(|run| run.values.get(&figure).copied()).collect();
        let middle = median(&values).ok_or(format!("no run has the figure {figure}"))?;
        if let Some(limit) = words.value("over") {
            return Ok(ratio(middle / time_at_mpi(record, limit, &runs)?));
        }
        let value = match words.value("stat").unwrap_or("median") {
            "median" => middle / per(words, &runs)?,
            "least" => values.iter().copied().fold(f64::INFINITY, f64::min),
            "most" => values.iter().copied().fold(0.0, f64::max),
            stat @ ("ratio" | "interval" | "verdict") => {
                let scenario = scenario.clone();
                return self.compared(words, figure, stat, &scenario);
            }
            stat => {
                let known = "median, least, most, ratio, interval or verdict";
                return Err(format!("stat={stat}: use {known}"));
            }
        };
        Ok(figure.show(value))
    }

    fn compared(
        &mut self,
        words: &Words,
        figure: Figure,
        stat: &str,
        scenario: &Scenario,
    ) -> Result<String, String> {
        let record = words.must("record")?;
        let own = words.must("contender")?;
        let (base, contender) = match words.value("of") {
            Some(of) => (own, of),
            None => (words.must("base")?, own),
        };
        if base == contender {
            return Ok("1".to_owned());
        }
        let key = (record.to_owned(), base.to_owned(), figure);
        if !self.comparisons.contains_key(&key) {
            let question = Question {
                contender: Some(base.to_owned()),
                figures: vec![figure],
                ..Question::default()
            };
            let sets = std::slice::from_ref(&self.sets[record]);
            let comparison = compare(sets, &question).map_err(|error| error.to_string())?;
            self.comparisons.insert(key.clone(), comparison);
        }
        let mut rows = self.comparisons[&key].pairings.iter().flat_map(|pairing| &pairing.rows);
        let row = rows.find(|row| row.scenario == *scenario && row.contender == contender);
        let row = row.ok_or(format!("{scenario}: no pair of {base} and {contender}"))?;
        let shown = ratio(row.ratio.ok_or("a median is 0")?);
        Ok(match stat {
            "interval" => format!("{shown} {}", interval(row)),
            "verdict" if matches!(row.verdict, Verdict::Better | Verdict::Worse) => {
                format!("**{shown}**")
            }
            _ => shown,
        })
    }
}

/// The one scenario that the words tell, and the runs of the contender in it.
fn runs<'a>(set: &'a Set, words: &Words) -> Result<(&'a Scenario, Vec<&'a Observation>), String> {
    let contender = words.must("contender")?;
    let is = |key: &str, value: String| words.value(key).is_none_or(|word| *word == value);
    let fits = |scenario: &&Scenario| {
        let size = scenario.segment_bytes.map(|bytes| units::size(bytes as f64).replace(' ', ""));
        let peers = scenario.peers.map(|peers| peers.to_string());
        is("workload", scenario.workload.clone())
            && is("segment", size.unwrap_or_default())
            && is("peers", peers.unwrap_or_default())
    };
    let all = set.scenarios().into_iter().filter(fits);
    let all: Vec<_> = all.map(|one| (one, set.series(one, contender))).collect();
    let mut all = all.into_iter().filter(|(_, runs)| !runs.is_empty());
    match (all.next(), all.next()) {
        (Some(found), None) => Ok(found),
        (None, _) => Err(format!("no result of {contender} fits {words}")),
        (Some(_), Some(_)) => Err(format!("several scenarios of {contender} fit {words}")),
    }
}

/// What one run delivers, in the unit of `per`.
fn per(words: &Words, runs: &[&Observation]) -> Result<f64, String> {
    let run = || runs[0].run.as_ref().ok_or("these are no runs of the harness");
    match words.value("per") {
        None => Ok(1.0),
        Some("GB") => Ok(run()?.bytes_delivered as f64 / 1e9),
        Some("segment") => Ok(run()?.segments as f64),
        Some(other) => Err(format!("per={other}: use GB or segment")),
    }
}

fn environment(record: &str) -> Result<Environment, String> {
    let path = records().join(record).join(ENVIRONMENT);
    measured::environment(&path).map_err(|error| error.to_string())
}

/// A rate that was measured before the runs of a record.
fn limit_of(record: &str, limit: &str, words: &Words) -> Result<String, String> {
    let environment = environment(record)?;
    let mpi =
        environment.mpi.and_then(|mpi| mpi.limits).ok_or("this record has no limits of an MPI");
    match limit {
        "mpi" => return Ok(units::rate(mpi?.bytes_per_second)),
        "messages" => return Ok(units::per_second(mpi?.all_pairs_messages_per_second)),
        "best-messages" => return Ok(units::per_second(mpi?.best_messages_per_second())),
        _ => {}
    }
    let size = words.must("segment")?;
    let is_it = |bytes: usize| units::size(bytes as f64).replace(' ', "") == size;
    let mut limits = environment.limits.iter().filter(|at| is_it(at.segment_bytes));
    let limits = limits.next().ok_or(format!("no limits for segments of {size}"))?.limits;
    match limit {
        "copy" => Ok(units::rate(limits.copy_bytes_per_second)),
        "hash" => Ok(units::rate(limits.hash_bytes_per_second)),
        _ => Err(format!(
            "limit={limit}: use copy, hash, mpi, messages, best-messages, copies or work"
        )),
    }
}

/// How long all cores need to copy what a run delivers as fast as two ranks move it, seconds; with `work`
/// to hash it as well.
fn time_at_mpi(record: &str, limit: &str, runs: &[&Observation]) -> Result<f64, String> {
    let environment = environment(record)?;
    let run = runs[0].run.as_ref().ok_or("these are no runs of the harness")?;
    let mpi =
        environment.mpi.and_then(|mpi| mpi.limits).ok_or("this record has no limits of an MPI")?;
    let at = environment.limits.iter().find(|at| at.segment_bytes == run.segment_bytes);
    let hash = at.ok_or("no limits for segments of this size")?.limits.hash_bytes_per_second;
    let each = match limit {
        "copies" => 1.0 / mpi.bytes_per_second,
        "work" => 1.0 / mpi.bytes_per_second + 1.0 / hash,
        _ => return Err(format!("limit={limit}: use copies or work")),
    };
    Ok(run.bytes_delivered as f64 * each / run.cores as f64)
}
