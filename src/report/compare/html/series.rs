//! The series of a page: who ran, in which set, with which colour and shape everywhere.

use super::frame::LegendEntry;
use crate::report::compare::{Observation, Scenario, Set};

/// How many colours there are; then they begin again, with other shapes.
const COLOURS: usize = 8;

/// Up to so many lines a figure stays legible.
const CROWD: usize = 6;

/// A contender of a set.
#[derive(Clone, Debug)]
pub(super) struct Series<'a> {
    pub(super) set: &'a Set,
    pub(super) contender: &'a str,
    /// What legends call it.
    pub(super) name: String,
    /// Its place among all, from which colour and shape follow.
    pub(super) place: usize,
    /// Whether it is a variant of another contender that runs beside it: it stands in the
    /// figures where each has a line of its own, and would crowd the others.
    pub(super) is_variant: bool,
}

impl<'a> Series<'a> {
    /// All series of the sets.
    pub(super) fn all(sets: &'a [Set]) -> Vec<Self> {
        let mut all = Vec::new();
        for set in sets {
            for contender in set.contenders() {
                let name = if sets.len() > 1 {
                    format!("{contender} · {}", set.label)
                } else {
                    contender.to_owned()
                };
                let is_variant = plain_of(set, contender).is_some();
                all.push(Self { set, contender, name, place: all.len(), is_variant });
            }
        }
        if all.len() <= CROWD {
            all.iter_mut().for_each(|one| one.is_variant = false);
        }
        all
    }

    pub(super) fn runs(&self, scenario: &Scenario) -> Vec<&'a Observation> {
        self.set.series(scenario, self.contender)
    }

    /// The class of its colour.
    pub(super) fn class(&self) -> String {
        format!("c{}", self.place % COLOURS)
    }

    /// Its shape of marks. Colours that come again have another one.
    pub(super) fn shape(&self) -> usize {
        self.place + self.place / COLOURS
    }

    pub(super) fn key(&self) -> LegendEntry {
        LegendEntry { class: self.class(), shape: Some(self.shape()), name: self.name.clone() }
    }
}

/// The contender of the same engine that switches nothing, for one that does.
pub(super) fn plain_of<'a>(set: &'a Set, contender: &str) -> Option<&'a str> {
    let first_run = |name: &str| set.observations.iter().find(|one| one.contender == name);
    let one = first_run(contender)?;
    let engine = &one.run.as_ref()?.engine;
    let is_plain = |name: &&str| {
        first_run(name).is_some_and(|other| {
            let same = other.run.as_ref().is_some_and(|run| run.engine == *engine);
            same && other.switches.is_empty()
        })
    };
    let plain = set.contenders().into_iter().find(is_plain)?;
    (!one.switches.is_empty()).then_some(plain)
}

/// The scenarios of all sets, sorted.
pub(super) fn scenarios(sets: &[Set]) -> Vec<&Scenario> {
    let mut all: Vec<_> = sets.iter().flat_map(Set::scenarios).collect();
    all.sort();
    all.dedup();
    all
}
