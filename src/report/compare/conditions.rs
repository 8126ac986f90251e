//! Under what was it measured? Results under different conditions stand in no series.

use std::collections::BTreeSet;

use super::{Fact, Set};

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

impl Set {
    /// The facts under which its results can stand in one series with those of another set.
    pub(crate) fn conditions(&self) -> Vec<&Fact> {
        CONDITIONS.into_iter().filter_map(|name| self.fact(name)).collect()
    }

    fn fact(&self, name: &str) -> Option<&Fact> {
        self.facts.iter().find(|fact| fact.name == name)
    }
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
