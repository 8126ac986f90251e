//! Under what was it measured? Results under different conditions stand in no series.

use std::collections::{BTreeMap, BTreeSet};

use super::{Fact, Scenario, Set};

// The facts under which results belong together: the machine, what carried the bytes, and how it was tuned.
// A plan is one of them, because the contenders of a round share caches and links. Compiler, flags and the
// size of large pages are not: they belong to the program, which a series over commits is about.
const CONDITIONS: [&str; 10] = [
    "host",
    "processor",
    "cores",
    "kernel",
    "profile",
    "transport",
    "ranks",
    "MPI tuning",
    "links",
    "plan",
];
// What launches of one measurement need not have in common: a cluster gives each of them other nodes.
const OF_A_LAUNCH: &str = "host";

impl Set {
    /// The facts under which its results can stand in one series with those of another set.
    pub(crate) fn conditions(&self) -> Vec<&Fact> {
        CONDITIONS.into_iter().filter_map(|name| self.fact(name)).collect()
    }

    fn fact(&self, name: &str) -> Option<&Fact> {
        self.facts.iter().find(|fact| fact.name == name)
    }

    /// Adds to each scenario of these launches the conditions that are not the same in all launches that
    /// have it, so that no series has runs under different conditions.
    pub(super) fn keep_apart(launches: &mut [(String, Self)]) {
        let mut having: BTreeMap<Scenario, Vec<usize>> = BTreeMap::new();
        for (place, (_, set)) in launches.iter().enumerate() {
            for scenario in set.scenarios() {
                having.entry(scenario.clone()).or_default().push(place);
            }
        }
        let value = |place: usize, name: &str| {
            let set: &Self = &launches[place].1;
            set.fact(name).map_or_else(|| "unknown".to_owned(), |fact| fact.value.clone())
        };
        let mut apart: Vec<BTreeMap<Scenario, String>> = vec![BTreeMap::new(); launches.len()];
        for (scenario, places) in having {
            let differs = |name: &&str| {
                let values: BTreeSet<_> = places.iter().map(|&place| value(place, name)).collect();
                values.len() > 1 && *name != OF_A_LAUNCH
            };
            let names: Vec<_> = CONDITIONS.into_iter().filter(differs).collect();
            for &place in places.iter().filter(|_| !names.is_empty()) {
                let told = names.iter().map(|name| format!("{name} {}", value(place, name)));
                let told = told.collect::<Vec<_>>().join(", ");
                apart[place].insert(scenario.clone(), told);
            }
        }
        for ((_, set), apart) in
            launches.iter_mut().zip(&apart).filter(|(_, apart)| !apart.is_empty())
        {
            set.set_conditions(apart);
        }
    }

    fn set_conditions(&mut self, of: &BTreeMap<Scenario, String>) {
        let set = |scenario: &mut Scenario| {
            if let Some(conditions) = of.get(scenario) {
                scenario.conditions.clone_from(conditions);
            }
        };
        self.observations.iter_mut().for_each(|one| set(&mut one.scenario));
        self.incomplete = with_keys(std::mem::take(&mut self.incomplete), set);
        self.latencies = with_keys(std::mem::take(&mut self.latencies), set);
    }
}

/// The same values under scenarios that were changed.
fn with_keys<T>(
    values: BTreeMap<(Scenario, String), T>,
    change: impl Fn(&mut Scenario),
) -> BTreeMap<(Scenario, String), T> {
    let changed = values.into_iter().map(|((mut scenario, contender), value)| {
        change(&mut scenario);
        ((scenario, contender), value)
    });
    changed.collect()
}

/// What changed between the conditions of two measurements: `kernel 6.1 → 6.2`.
pub(super) fn changes(before: &[&Fact], after: &[&Fact]) -> String {
    let value = |facts: &[&Fact], name| {
        let fact = facts.iter().find(|fact| fact.name == name);
        fact.map_or_else(|| "unknown".to_owned(), |fact| fact.value.clone())
    };
    let change = |name| {
        let (before, after) = (value(before, name), value(after, name));
        if before == after {
            return None;
        }
        // Of many variables those that are equal say nothing.
        let [before, after] = match name {
            "MPI tuning" => [only_in(&before, &after), only_in(&after, &before)],
            _ => [before, after],
        };
        Some(format!("{name} {before} → {after}"))
    };
    CONDITIONS.into_iter().filter_map(change).collect::<Vec<_>>().join("; ")
}

/// The words of a text that another lacks.
fn only_in(text: &str, other: &str) -> String {
    let others: BTreeSet<_> = other.split(' ').collect();
    let words: Vec<_> = text.split(' ').filter(|word| !others.contains(word)).collect();
    if words.is_empty() { "none".to_owned() } else { words.join(" ") }
}
