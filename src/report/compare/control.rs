//! The control of a comparison of sets: a contender that the change can't touch.
//!
//! What the control did differently in two sets is the machine's doing, not the change's. The machine
//! slows contenders of one launch nearly alike, so ratios are taken relative to the control's.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{Figure, Set};
use crate::report::statistics::{Contrast, Estimate, Interval, median};

/// The control if none is named and both sets have it.
// It is the MPI library's code, which no change of ours touches.
const USUAL: &str = "mpi-bcast";
/// What names no control.
pub(crate) const NO_CONTROL: &str = "none";

/// How the control changed between two groups of launches.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Shift {
    pub ratio: f64,
    /// None where a side has one launch.
    pub interval: Option<Interval>,
}

impl Shift {
    /// Whether the control certainly moved.
    pub(crate) fn moved(self) -> bool {
        self.interval.is_some_and(|ends| ends.low > 1.0 || ends.high < 1.0)
    }

    /// Whether a ratio relative to the control is no larger than what the control itself moved by.
    /// A contender that follows the machine a little more or less than the control does could
    /// differ from it by so much.
    pub(crate) fn hides(self, ratio: f64) -> bool {
        self.moved() && self.ratio.ln().abs() >= ratio.ln().abs()
    }
}

/// The logarithms of the control's medians, by launch and scenario.
type Medians = BTreeMap<u32, BTreeMap<usize, f64>>;

#[derive(Clone, Debug)]
pub(super) struct Control {
    base: Medians,
    other: Medians,
}

/// The control in the launches of a result, the logarithm of its time in each.
pub(super) struct ControlLogs {
    pub base: Vec<f64>,
    pub other: Vec<f64>,
}

/// The contender that is the control of two sets: the one asked for, or the usual one if both have it.
pub(super) fn chosen<'a>(asked: Option<&'a str>, sets: [&Set; 2]) -> Option<&'a str> {
    let both = |name: &&str| sets.iter().all(|set| set.contenders().contains(name));
    Some(asked.unwrap_or(USUAL)).filter(|name| *name != NO_CONTROL).filter(both)
}

impl Control {
    /// None for a figure that the machine's speed does not change.
    pub(super) fn new(name: &str, figure: Figure, [base, other]: [&Set; 2]) -> Option<Self> {
        let mut scenarios: Vec<_> = [base, other].iter().flat_map(|set| set.scenarios()).collect();
        scenarios.sort();
        scenarios.dedup();
        let medians = |set: &Set| {
            let mut values: BTreeMap<(u32, usize), Vec<f64>> = BTreeMap::new();
            for one in set.observations.iter().filter(|one| one.contender == name) {
                let place = scenarios.binary_search(&&one.scenario).ok();
                if let Some((place, value)) = place.zip(one.values.get(&figure)) {
                    values.entry((one.launch, place)).or_default().push(*value);
                }
            }
            let mut medians = Medians::new();
            for ((launch, place), values) in values {
                if let Some(middle) = median(&values).filter(|middle| *middle > 0.0) {
                    medians.entry(launch).or_default().insert(place, middle.ln());
                }
            }
            medians
        };
        figure.follows_machine().then(|| Self { base: medians(base), other: medians(other) })
    }

    /// The mean over the scenarios that the control ran in all of these launches; none if there are
    /// none.
    pub(super) fn in_launches(&self, [base, other]: &[Vec<u32>; 2]) -> Option<ControlLogs> {
        let sides = [(&self.base, base), (&self.other, other)];
        let mut everywhere = self.base.get(base.first()?)?.clone();
        for (medians, launches) in sides {
            for launch in launches {
                let known = medians.get(launch)?;
                everywhere.retain(|place, _| known.contains_key(place));
            }
        }
        if everywhere.is_empty() {
            return None;
        }
        let [base, other] = sides.map(|(medians, launches)| {
            let mean = |launch: &u32| {
                everywhere.keys().map(|place| medians[launch][place]).sum::<f64>()
                    / everywhere.len() as f64
            };
            launches.iter().map(mean).collect()
        });
        Some(ControlLogs { base, other })
    }
}

impl ControlLogs {
    pub(super) fn shift(&self) -> Option<Shift> {
        let [other, base] =
            [&self.other, &self.base].map(|logs| (0..).zip(logs.iter().copied()).collect());
        let estimate = Estimate::of(&[&Contrast::apart(other, base, true)])?;
        let ratio = estimate.ratio();
        Some(Shift { ratio, interval: estimate.interval_around(ratio) })
    }
}
