//! Several launches as one set.

use std::collections::BTreeMap;
use std::path::Path;

use super::{Fact, Set};
use crate::escape;

impl Set {
    /// The set of all runs of these launches, which have a name each. It is as if one launch had made
    /// them, but that each run knows its launch.
    pub(crate) fn of_launches(
        label: String,
        origin: &Path,
        mut launches: Vec<(String, Self)>,
    ) -> Self {
        Self::keep_apart(&mut launches);
        let sets = || launches.iter().map(|(_, set)| set);
        let began = sets().map(|set| &set.began).filter(|began| !began.is_empty()).min().cloned();
        let mut commands: Vec<String> = Vec::new();
        for command in sets().flat_map(|set| &set.commands) {
            if !commands.contains(command) {
                commands.push(command.clone());
            }
        }
        let one_commit = sets().all(|set| set.commit == launches[0].1.commit);
        let mut whole = Self {
            label,
            origin: origin.to_owned(),
            began: began.unwrap_or_default(),
            commit: sets()
                .next()
                .filter(|_| one_commit)
                .map_or_else(String::new, |set| set.commit.clone()),
            facts: facts(&launches),
            warnings: warnings(&launches),
            commands,
            plan: sets().find_map(|set| set.plan.clone()),
            ladder: sets().next().map(|set| set.ladder.clone()).unwrap_or_default(),
            interleaved: sets().all(|set| set.interleaved),
            ..Self::default()
        };
        // A launch may have launches itself, such as several runs of another tool.
        let mut number = 0;
        for (name, set) in launches {
            let within =
                set.observations.iter().map(|one| one.launch).max().map_or(0, |last| last + 1);
            whole.observations.extend(set.observations.into_iter().map(|mut one| {
                one.launch += number;
                one
            }));
            number += within;
            for (key, runs) in set.incomplete {
                *whole.incomplete.entry(key).or_default() += runs;
            }
            for (key, histogram) in set.latencies {
                let Some(sum) = whole.latencies.get_mut(&key) else {
                    whole.latencies.insert(key, histogram);
                    continue;
                };
                if sum.add(histogram).is_err() {
                    whole
                        .warnings
                        .push(format!("{name}: its latencies have another range: left out"));
                }
            }
        }
        whole
    }
}

/// What is the same in all launches, or all values that there are.
fn facts(launches: &[(String, Set)]) -> Vec<Fact> {
    let mut values: Vec<(Fact, Vec<&str>)> = Vec::new();
    for fact in launches.iter().flat_map(|(_, set)| &set.facts) {
        match values.iter_mut().find(|(known, _)| known.name == fact.name) {
            Some((_, all)) if all.contains(&fact.value.as_str()) => {}
            Some((_, all)) => all.push(&fact.value),
            None => values.push((fact.clone(), vec![&fact.value])),
        }
    }
    values.into_iter().map(|(fact, all)| Fact { value: escape::some(&all, "; "), ..fact }).collect()
}

/// Each warning once, with the launches that it is about; and what differs between launches, and
/// should not.
fn warnings(launches: &[(String, Set)]) -> Vec<String> {
    let mut places: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (name, set) in launches {
        set.warnings.iter().for_each(|warning| places.entry(warning).or_default().push(name));
    }
    let of = |(warning, names): (&str, Vec<&str>)| {
        if names.len() == launches.len() {
            warning.to_owned()
        } else {
            format!("{warning} (in {})", escape::some(&names, ", "))
        }
    };
    let mut all: Vec<String> = places.into_iter().map(of).collect();
    let fixed = |fact: &Fact| fact.matters && fact.name != "ranks" || fact.name == "commit";
    for fact in facts(launches).iter().filter(|fact| fixed(fact)) {
        let is_one = launches.iter().all(|(_, set)| {
            set.facts
                .iter()
                .find(|one| one.name == fact.name)
                .is_none_or(|one| one.value == fact.value)
        });
        if !is_one {
            all.push(format!("its launches differ in {}: {}", fact.name, fact.value));
        }
    }
    all
}
