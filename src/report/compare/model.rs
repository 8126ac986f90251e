//! The input of a comparison, whichever tool measured it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::PathBuf;

use hdrhistogram::Histogram;
use serde::Serialize;

use super::Figure;
use crate::report::Summary;
use crate::report::units;

// The base of a comparison of contenders, by default.
const CLASSIC: &str = "mutex";

/// All that was measured in one place: the launches of a measurement, or the output of another
/// tool.
#[derive(Clone, Debug, Default)]
pub(crate) struct Set {
    /// Its name in tables: that of its folder.
    pub label: String,
    pub origin: PathBuf,
    /// When the measurement began, UTC; empty if unknown.
    pub began: String,
    /// The commit that was measured; empty if unknown.
    pub commit: String,
    pub facts: Vec<Fact>,
    pub warnings: Vec<String>,
    /// Whether a run was incomplete.
    pub is_invalid: bool,
    /// How to measure it again, a line each.
    pub commands: Vec<String>,
    /// The name and the text of its plan.
    pub plan: Option<(String, String)>,
    /// Contenders that lead from the first to the last, one choice at a time; empty if its plan is no ladder.
    pub ladder: Vec<String>,
    /// Whether its contenders took turns, so that equal repetitions were neighbours in time and
    /// did the same work.
    pub interleaved: bool,
    pub observations: Vec<Observation>,
    /// The latencies of segments in ns, over all runs of a scenario and contender.
    pub latencies: BTreeMap<(Scenario, String), Histogram<u64>>,
}

/// Something that a result depends on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Fact {
    pub name: &'static str,
    pub value: String,
    /// Whether it can explain a difference of figures.
    pub matters: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(crate) struct Scenario {
    pub workload: String,
    /// None where it has no peers.
    pub peers: Option<usize>,
    /// The size of a segment or a message, bytes.
    pub segment_bytes: Option<usize>,
    /// What else identifies it, as `name=value`.
    pub parameters: String,
    /// Those conditions that differ between the launches of its set, as `name value`; empty where all
    /// launches have the same. Results under different conditions never stand in one series.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub conditions: String,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Observation {
    pub scenario: Scenario,
    pub contender: String,
    pub switches: BTreeMap<String, String>,
    /// The process or the MPI job that it was part of, numbered from 0 within its set.
    pub launch: u32,
    pub repetition: Option<u32>,
    pub values: BTreeMap<Figure, f64>,
    /// The whole record, where it is one of ours.
    pub run: Option<Box<Summary>>,
}

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.workload)?;
        if let Some(peers) = self.peers {
            write!(f, ", {}", units::count(peers as u64, "peer"))?;
        }
        if let Some(bytes) = self.segment_bytes {
            write!(f, ", {}", segment_size(bytes))?;
        }
        if !self.conditions.is_empty() {
            write!(f, ", {}", self.conditions)?;
        }
        Ok(())
    }
}

impl Scenario {
    /// Its parameters and conditions: what tells apart two of one workload and one size.
    pub(crate) fn details(&self) -> String {
        let both = [self.parameters.as_str(), self.conditions.as_str()];
        both.into_iter().filter(|one| !one.is_empty()).collect::<Vec<_>>().join("; ")
    }
}

/// The size of a segment or a message; a segment without a payload is a hash and nothing else.
pub(super) fn segment_size(bytes: usize) -> String {
    if bytes == 0 { "hash only".to_owned() } else { units::size(bytes as f64) }
}

impl Set {
    /// The scenarios, in the order of their names and sizes.
    pub(crate) fn scenarios(&self) -> Vec<&Scenario> {
        let mut all: Vec<_> = self.observations.iter().map(|one| &one.scenario).collect();
        all.sort();
        all.dedup();
        all
    }

    /// Every scenario with every contender that ran it.
    pub(crate) fn keys(&self) -> Vec<(&Scenario, &str)> {
        let mut keys: Vec<_> =
            self.observations.iter().map(|one| (&one.scenario, one.contender.as_str())).collect();
        keys.sort();
        keys.dedup();
        keys
    }

    /// The contenders: the classic engine first, then those with fewer switches, then by name.
    pub(crate) fn contenders(&self) -> Vec<&str> {
        let mut all: Vec<_> = self
            .observations
            .iter()
            .map(|one| {
                let engine = one.run.as_ref().map(|run| run.engine.as_str());
                let is_classic = engine.unwrap_or(&one.contender) == CLASSIC;
                (!is_classic, one.switches.len(), one.contender.as_str())
            })
            .collect();
        all.sort_unstable();
        let mut names: Vec<&str> = Vec::new();
        for (_, _, name) in all {
            if !names.contains(&name) {
                names.push(name);
            }
        }
        names
    }

    pub(crate) fn launches(&self) -> usize {
        self.observations.iter().map(|one| one.launch).collect::<BTreeSet<_>>().len()
    }

    /// The runs of a contender in a scenario, ordered by launch, by repetition and then by value, so that
    /// the order of the records does not matter.
    pub(crate) fn series(&self, scenario: &Scenario, contender: &str) -> Vec<&Observation> {
        let of = |one: &&Observation| one.scenario == *scenario && one.contender == contender;
        let mut series: Vec<_> = self.observations.iter().filter(of).collect();
        series.sort_by(|left, right| {
            let values = |one: &Observation| one.values.values().copied().collect::<Vec<_>>();
            let by_value = || values(left).partial_cmp(&values(right));
            let place = |one: &Observation| (one.launch, one.repetition);
            let order = place(left).cmp(&place(right));
            order.then_with(|| by_value().unwrap_or(std::cmp::Ordering::Equal))
        });
        series
    }

    pub(crate) fn figures(&self) -> Vec<Figure> {
        let has = |figure| self.observations.iter().any(|one| one.values.contains_key(&figure));
        Figure::all().filter(|&figure| has(figure)).collect()
    }
}
