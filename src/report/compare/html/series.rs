//! The series of a page: a contender of a set, with its colour and shape in every figure.

use std::collections::BTreeMap;

use super::frame::LegendEntry;
use crate::report::compare::main_pairings::plain_of;
use crate::report::compare::{Observation, Scenario, Set};

/// The colours of the style sheet. Further series reuse them with other dashes and shapes.
pub(super) const COLOURS: usize = 8;
// The dashes of the style sheet, the first of which is none; and the shapes of marks.
const DASHES: usize = 4;
const SHAPES: usize = 6;

// With more series, variants get no line in figures that overlay all series.
// Chosen by eye.
const CROWD: usize = 6;

#[derive(Clone, Debug)]
pub(super) struct Series<'a> {
    pub(super) set: &'a Set,
    pub(super) contender: &'a str,
    pub(super) name: String,
    /// Its index among all series, which gives colour and shape.
    pub(super) place: usize,
    /// Whether it is a contender with switches that would crowd a figure of all series.
    pub(super) is_variant: bool,
}

impl<'a> Series<'a> {
    pub(super) fn all(sets: &'a [Set]) -> Vec<Self> {
        // The same contender of several sets side by side, in the order of the first set that has it.
        let mut order: BTreeMap<&str, usize> = BTreeMap::new();
        let mut all = Vec::new();
        for set in sets {
            for contender in set.contenders() {
                let name = if sets.len() > 1 {
                    format!("{contender} · {}", set.label)
                } else {
                    contender.to_owned()
                };
                let last = order.len();
                let place = *order.entry(contender).or_insert(last);
                let is_variant = plain_of(set, contender).is_some();
                all.push(Self { set, contender, name, place, is_variant });
            }
        }
        all.sort_by_key(|one| one.place);
        all.iter_mut().enumerate().for_each(|(place, one)| one.place = place);
        if all.len() <= CROWD {
            all.iter_mut().for_each(|one| one.is_variant = false);
        }
        all
    }

    /// The series of each scenario, so that a figure of one does not look at those of all others.
    pub(super) fn by_scenario(all: &[Self]) -> BTreeMap<&'a Scenario, Vec<Self>> {
        let mut of: BTreeMap<&Scenario, Vec<Self>> = BTreeMap::new();
        for one in all {
            for scenario in one.set.scenarios_of(one.contender) {
                of.entry(scenario).or_default().push(one.clone());
            }
        }
        of
    }

    pub(super) fn runs(&self, scenario: &Scenario) -> Vec<&'a Observation> {
        self.set.series(scenario, self.contender)
    }

    /// The CSS classes of its colour and its dash.
    pub(super) fn class(&self) -> String {
        look(self.place).0
    }

    /// The shape of its marks; series of one colour have different ones.
    pub(super) fn shape(&self) -> usize {
        look(self.place).1
    }

    pub(super) fn key(&self) -> LegendEntry {
        LegendEntry::new(self.class(), Some(self.shape()), &self.name)
    }
}

/// The CSS classes and the shape of a series. No two of 192 have the same: with each round of colours the dash
/// and the shape change, and 4 dashes meet 6 shapes anew after 12 rounds.
pub(super) fn look(place: usize) -> (String, usize) {
    let (colour, round) = (place % COLOURS, place / COLOURS);
    let class = match round % DASHES {
        0 => format!("c{colour}"),
        dash => format!("c{colour} d{dash}"),
    };
    (class, (colour + round + round / 12) % SHAPES)
}

pub(super) fn scenarios(sets: &[Set]) -> Vec<&Scenario> {
    let mut all: Vec<_> = sets.iter().flat_map(Set::scenarios).collect();
    all.sort();
    all.dedup();
    all
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::report::compare::Observation;

    #[test]
    fn a_contender_of_two_sets_stands_side_by_side() {
        let run = |name: &str| Observation { contender: name.to_owned(), ..Observation::default() };
        let set = |label: &str, names: &[&str]| Set {
            label: label.to_owned(),
            observations: names.iter().map(|name| run(name)).collect::<Vec<_>>().into(),
            ..Set::default()
        };
        let sets = [set("A", &["mutex", "tree"]), set("B", &["chain", "mutex", "tree"])];
        let names: Vec<_> = Series::all(&sets).into_iter().map(|one| one.name).collect();
        assert_eq!(names, ["mutex · A", "mutex · B", "tree · A", "tree · B", "chain · B"]);
    }

    #[test]
    fn no_two_series_look_the_same() {
        let looks: BTreeSet<_> = (0..192).map(look).collect();
        assert_eq!(looks.len(), 192);
        let lines: BTreeSet<_> = (0..32).map(|place| look(place).0).collect();
        assert_eq!(lines.len(), 32, "nor do their lines");
    }
}
