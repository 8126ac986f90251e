//! The input of a comparison, whichever tool measured it.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::path::PathBuf;
use std::sync::OnceLock;

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
    /// How many runs of a scenario and contender did not deliver everything. They are no observations.
    pub incomplete: BTreeMap<(Scenario, String), usize>,
    /// How to measure it again, a line each.
    pub commands: Vec<String>,
    /// The name and the text of its plan.
    pub plan: Option<(String, String)>,
    /// Contenders that lead from the first to the last, one choice at a time; empty if its plan is no ladder.
    pub ladder: Vec<String>,
    /// Whether its contenders took turns, so that equal repetitions were neighbours in time and
    /// did the same work.
    pub interleaved: bool,
    pub observations: Observations,
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
        let size = self.size();
        if !size.is_empty() {
            write!(f, ", {size}")?;
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

    /// The size of a segment or a message; empty if it has none. A segment without a payload is a hash and
    /// nothing else, but a message of another tool, which has no peers, is just empty.
    pub(super) fn size(&self) -> String {
        match self.segment_bytes {
            None => String::new(),
            Some(0) if self.peers.is_some() => "hash only".to_owned(),
            Some(bytes) => units::size(bytes as f64),
        }
    }
}

impl Set {
    /// The scenarios, in the order of their names and sizes.
    pub(crate) fn scenarios(&self) -> Vec<&Scenario> {
        let all = self.index().series.values().flat_map(BTreeMap::keys);
        all.collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// Every scenario with every contender that ran it.
    pub(crate) fn keys(&self) -> Vec<(&Scenario, &str)> {
        let all = self.index().series.iter();
        let mut keys: Vec<_> = all
            .flat_map(|(contender, of)| of.keys().map(|scenario| (scenario, contender.as_str())))
            .collect();
        keys.sort();
        keys
    }

    /// The contenders: the classic engine first, then those with fewer switches, then by name.
    pub(crate) fn contenders(&self) -> Vec<&str> {
        self.index().contenders.iter().map(String::as_str).collect()
    }

    /// The scenarios that a contender ran.
    pub(crate) fn scenarios_of(&self, contender: &str) -> impl Iterator<Item = &Scenario> {
        self.index().series.get(contender).into_iter().flat_map(BTreeMap::keys)
    }

    pub(crate) fn launches(&self) -> usize {
        self.observations.iter().map(|one| one.launch).collect::<BTreeSet<_>>().len()
    }

    /// The runs of a contender in a scenario, ordered by launch, by repetition and then by value, so that
    /// the order of the records does not matter.
    pub(crate) fn series(&self, scenario: &Scenario, contender: &str) -> Vec<&Observation> {
        let of = self.index().series.get(contender).and_then(|series| series.get(scenario));
        of.into_iter().flatten().map(|&place| &self.observations.all[place]).collect()
    }

    /// The first run of a contender in the order of the records.
    pub(crate) fn first_run(&self, contender: &str) -> Option<&Observation> {
        let places = self.index().series.get(contender)?.values().flatten();
        places.min().map(|&place| &self.observations.all[place])
    }

    pub(crate) fn figures(&self) -> Vec<Figure> {
        let has = |figure| self.observations.iter().any(|one| one.values.contains_key(&figure));
        Figure::all().filter(|&figure| has(figure)).collect()
    }

    fn index(&self) -> &Index {
        self.observations.index.get_or_init(|| Index::new(&self.observations.all))
    }
}

/// The runs of a set. Looking for those of a contender takes no longer where there are more of others:
/// the places of all are found once, and again after a change.
#[derive(Clone, Debug, Default)]
pub(crate) struct Observations {
    all: Vec<Observation>,
    index: OnceLock<Index>,
}

impl From<Vec<Observation>> for Observations {
    fn from(all: Vec<Observation>) -> Self {
        Self { all, index: OnceLock::new() }
    }
}

impl IntoIterator for Observations {
    type Item = Observation;
    type IntoIter = std::vec::IntoIter<Observation>;

    fn into_iter(self) -> Self::IntoIter {
        self.all.into_iter()
    }
}

impl Deref for Observations {
    type Target = Vec<Observation>;

    fn deref(&self) -> &Self::Target {
        &self.all
    }
}

impl DerefMut for Observations {
    fn deref_mut(&mut self) -> &mut Self::Target {
        self.index = OnceLock::new();
        &mut self.all
    }
}

/// The places of the runs of each scenario.
type SeriesOf = BTreeMap<Scenario, Vec<usize>>;

#[derive(Clone, Debug)]
struct Index {
    contenders: Vec<String>,
    series: BTreeMap<String, SeriesOf>,
}

impl Index {
    fn new(all: &[Observation]) -> Self {
        let mut series: BTreeMap<String, SeriesOf> = BTreeMap::new();
        let mut ranked = BTreeSet::new();
        for (place, one) in all.iter().enumerate() {
            if !series.contains_key(&one.contender) {
                series.insert(one.contender.clone(), SeriesOf::new());
            }
            let of = series.get_mut(&one.contender).into_iter();
            of.for_each(|of| match of.get_mut(&one.scenario) {
                Some(places) => places.push(place),
                None => drop(of.insert(one.scenario.clone(), vec![place])),
            });
            let engine = one.run.as_ref().map(|run| run.engine.as_str());
            let is_classic = engine.unwrap_or(&one.contender) == CLASSIC;
            ranked.insert((!is_classic, one.switches.len(), one.contender.as_str()));
        }
        for places in series.values_mut().flat_map(BTreeMap::values_mut) {
            let values = |place: usize| all[place].values.values();
            places.sort_by(|&left, &right| {
                let launch = |place: usize| (all[place].launch, all[place].repetition);
                let by_value = || values(left).partial_cmp(values(right));
                let order = launch(left).cmp(&launch(right));
                order.then_with(|| by_value().unwrap_or(Ordering::Equal))
            });
        }
        let mut contenders: Vec<String> = Vec::new();
        let mut seen = BTreeSet::new();
        for (_, _, name) in ranked {
            if seen.insert(name) {
                contenders.push(name.to_owned());
            }
        }
        Self { contenders, series }
    }
}
