//! Matches runs: the same scenario and contender in two sets, or two contenders of one set.

use std::collections::BTreeSet;

use serde::Serialize;

use super::control::{self, Control, NO_CONTROL};
use super::judge::{self, Design, JudgedPair, SIGNIFICANT, Verdict};
use super::{Figure, Observation, Set};
use crate::config::choice;
use crate::escape;
use crate::report::statistics::{Estimate, Interval, RESAMPLES, geometric_mean};
use crate::report::units::count;

// The version of a comparison as JSON.
// 2 has launches, controls, and means with their intervals.
const SCHEMA: u32 = 2;

#[derive(Clone, Debug, Default)]
pub(crate) struct Question {
    /// Within one set: the contender that is the base; by default the classic engine, or the first.
    pub contender: Option<String>,
    /// Within one set: the contenders that are compared with it; if empty, all others.
    pub against: Vec<String>,
    /// If empty, the makespan and the tracker's handouts; where nothing has either, all figures.
    pub figures: Vec<Figure>,
    /// Between sets: the contender that the change can't touch, or [`NO_CONTROL`]; by default the usual
    /// one, where both sets have it.
    pub control: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Comparison {
    pub comparison_schema: u32,
    pub sets: Vec<String>,
    pub differences: Vec<Difference>,
    pub warnings: Vec<String>,
    pub pairings: Vec<Pairing>,
}

/// All results of one figure for two sets, or for two contenders of one set.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Pairing {
    pub figure: Figure,
    pub base: String,
    pub other: String,
    /// Whether both are contenders of one set.
    pub within: bool,
    /// What of a ladder this is, if it is of one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rung: Option<Rung>,
    pub rows: Vec<JudgedPair>,
    /// Between sets: the contender that their ratios are relative to.
    pub control: Option<String>,
    /// Over the rows with a ratio and enough units; none where there are none.
    pub mean: Option<MeanRatio>,
    pub only_base: Vec<String>,
    pub only_other: Vec<String>,
    /// Of what the other had more runs that did not deliver everything than the base.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub undelivered: Vec<String>,
}

choice! {
    /// What of a ladder is compared.
    pub(crate) enum Rung {
        /// A contender with the one before it.
        Step = "step",
        /// The last with the first.
        Whole = "whole",
    }
}

/// The geometric mean of ratios.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct MeanRatio {
    pub ratio: f64,
    /// Of the mean, in which results of one launch count as one.
    pub interval: Option<Interval>,
    pub rows: usize,
    pub verdict: Verdict,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Difference {
    pub name: String,
    /// Its value in each set; "unknown" where a set does not say.
    pub values: Vec<String>,
    pub matters: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum CompareError {
    #[error("there is nothing to compare: name at least one folder of records")]
    Nothing,
    #[error(
        "--contender and --against compare contenders of one folder: name one folder, or leave them \
         out to compare each contender with itself"
    )]
    SeveralSets,
    #[error(
        "{} has no contender \"{}\"; it has {}",
        escape::terminal(label),
        escape::terminal(name),
        escape::terminal(known)
    )]
    NoContender { label: String, name: String, known: String },
    #[error(
        "--control is for comparisons of folders; contenders of one folder share the state of their \
         launch: leave it out"
    )]
    ControlWithin,
    #[error(
        "{} has one contender, \"{}\": name another folder to compare it with",
        escape::terminal(label),
        escape::terminal(name)
    )]
    OneContender { label: String, name: String },
    #[error(
        "{} have no result in common: no equal workload, size and contender with {figures}",
        escape::terminal(sets)
    )]
    NoMatch { sets: String, figures: String },
}

impl Pairing {
    /// The name of a row in a table that this pairing shares with others.
    pub(crate) fn name_of(&self, row: &JudgedPair) -> String {
        match self.rung {
            Some(Rung::Whole) => format!("{} → {}", self.base, self.other),
            Some(Rung::Step) | None => row.contender.clone(),
        }
    }

    pub(crate) fn count(&self, verdict: Verdict) -> usize {
        self.rows.iter().filter(|row| row.verdict == verdict).count()
    }
}

/// Compares all sets with the first, or the contenders of the only one.
pub(crate) fn compare(sets: &[Set], question: &Question) -> Result<Comparison, CompareError> {
    compare_resampling(RESAMPLES, sets, question)
}

pub(super) fn compare_resampling(
    resamples: usize,
    sets: &[Set],
    question: &Question,
) -> Result<Comparison, CompareError> {
    let first = sets.first().ok_or(CompareError::Nothing)?;
    let named = question.contender.is_some() || !question.against.is_empty();
    if sets.len() > 1 && named {
        return Err(CompareError::SeveralSets);
    }
    if sets.len() == 1 && question.control.as_ref().is_some_and(|name| name != NO_CONTROL) {
        return Err(CompareError::ControlWithin);
    }
    let figures = figures(first, question);
    let mut pairings = Vec::new();
    for &figure in &figures {
        if sets.len() > 1 {
            for other in &sets[1..] {
                let control = control_of(question, [first, other])?;
                pairings.push(between(figure, [first, other], control, resamples));
            }
        } else if !named && first.ladder.len() > 1 {
            pairings.extend(steps(figure, first, resamples));
        } else {
            let (base, others) = contenders(first, question)?;
            let all = all_within(figure, first, base, resamples);
            pairings.extend(all.into_iter().filter(|one| others.contains(&one.other.as_str())));
        }
    }
    if pairings.iter().all(|pairing| pairing.rows.is_empty()) {
        let sets: Vec<_> = sets.iter().map(|set| set.label.as_str()).collect();
        let figures: Vec<_> = figures.iter().map(|figure| figure.name()).collect();
        let (sets, figures) = (escape::some(&sets, " and "), figures.join(", "));
        return Err(CompareError::NoMatch { sets, figures });
    }
    Ok(Comparison {
        comparison_schema: SCHEMA,
        sets: sets.iter().map(|set| set.label.clone()).collect(),
        differences: differences(sets),
        warnings: warnings(sets),
        pairings,
    })
}

fn figures(first: &Set, question: &Question) -> Vec<Figure> {
    if !question.figures.is_empty() {
        return question.figures.clone();
    }
    let all = first.figures();
    let main = [Figure::Makespan, Figure::Handouts];
    let main: Vec<_> = main.into_iter().filter(|figure| all.contains(figure)).collect();
    if main.is_empty() { all } else { main }
}

fn contenders<'a>(
    set: &'a Set,
    question: &'a Question,
) -> Result<(&'a str, Vec<&'a str>), CompareError> {
    let all = set.contenders();
    let known = |name: &'a String| {
        all.contains(&name.as_str()).then_some(name.as_str()).ok_or_else(|| {
            let (label, name) = (set.label.clone(), name.clone());
            CompareError::NoContender { label, name, known: escape::some(&all, ", ") }
        })
    };
    let base = match &question.contender {
        Some(name) => known(name)?,
        None => {
            let free = all.iter().find(|name| !question.against.iter().any(|other| other == *name));
            free.or(all.first()).ok_or(CompareError::Nothing)?
        }
    };
    let mut others = question.against.iter().map(known).collect::<Result<Vec<_>, _>>()?;
    if others.is_empty() {
        others = all.iter().copied().filter(|name| *name != base).collect();
    }
    if others.is_empty() {
        let (label, name) = (set.label.clone(), base.to_owned());
        return Err(CompareError::OneContender { label, name });
    }
    Ok((base, others))
}

fn control_of<'a>(
    question: &'a Question,
    sets: [&'a Set; 2],
) -> Result<Option<&'a str>, CompareError> {
    let asked = question.control.as_deref();
    let chosen = control::chosen(asked, sets);
    match asked.filter(|name| *name != NO_CONTROL && chosen.is_none()) {
        None => Ok(chosen),
        Some(name) => {
            let lacks = |set: &&Set| !set.contenders().contains(&name);
            let set = sets.into_iter().find(lacks).unwrap_or(sets[0]);
            Err(CompareError::NoContender {
                label: set.label.clone(),
                name: name.to_owned(),
                known: escape::some(&set.contenders(), ", "),
            })
        }
    }
}

fn between(
    figure: Figure,
    sets: [&Set; 2],
    control_name: Option<&str>,
    resamples: usize,
) -> Pairing {
    let [base, other] = sets;
    let mut pairing = Pairing::empty(figure, base.label.clone(), other.label.clone(), false);
    let control = control_name.and_then(|name| Control::new(name, figure, sets));
    let known = base.keys();
    for &(scenario, contender) in &known {
        let runs = sets.map(|set| set.series(scenario, contender));
        let [base_runs, other_runs] = &runs;
        let is_control = control.is_some() && control_name == Some(contender);
        let control = control.as_ref().filter(|_| !is_control);
        let design = (Design::Apart { control }, resamples);
        match judge::row(figure, scenario, contender, [base_runs, other_runs], design) {
            Some(row) if is_control => pairing.rows.push(row.into_control()),
            Some(row) => pairing.rows.push(row),
            None => {
                pairing.lacks(figure, [base_runs, other_runs], &format!("{contender}: {scenario}"))
            }
        }
    }
    let known: BTreeSet<_> = known.into_iter().collect();
    for (scenario, contender) in other.keys().into_iter().filter(|key| !known.contains(key)) {
        let runs = other.series(scenario, contender);
        pairing.lacks(figure, [&[], &runs], &format!("{contender}: {scenario}"));
    }
    for ((scenario, contender), runs) in &other.incomplete {
        let before = base.incomplete.get(&(scenario.clone(), contender.clone()));
        pairing.undelivered(&format!("{contender}, {scenario}"), before, *runs);
    }
    pairing.control = control.and(control_name).map(ToOwned::to_owned);
    judge::decide(figure, &mut pairing.rows.iter_mut().collect::<Vec<_>>());
    pairing.sum_up()
}

/// All contenders of a set against one of them. They are judged together, however few are shown, so
/// that no verdict depends on what else is asked for.
pub(super) fn all_within(figure: Figure, set: &Set, base: &str, resamples: usize) -> Vec<Pairing> {
    let others = set.contenders().into_iter().filter(|name| *name != base);
    judged_together(others.map(|other| within(figure, set, [base, other], resamples)))
}

/// Each contender of a ladder against the one before it, and the last against the first. An ablation, which
/// takes one choice back at a time, shows nothing where two choices cover for each other.
fn steps(figure: Figure, set: &Set, resamples: usize) -> Vec<Pairing> {
    let pair = |base: &str, other: &str, rung| Pairing {
        rung: Some(rung),
        ..within(figure, set, [base, other], resamples)
    };
    let steps = set.ladder.windows(2).map(|pair_of| pair(&pair_of[0], &pair_of[1], Rung::Step));
    let ends = set.ladder.first().zip(set.ladder.last());
    judged_together(steps.chain(ends.map(|(first, last)| pair(first, last, Rung::Whole))))
}

/// Pairings of one figure with their verdicts: they are corrected for each other.
fn judged_together(pairings: impl Iterator<Item = Pairing>) -> Vec<Pairing> {
    let mut all: Vec<_> = pairings.collect();
    let figure = all.first().map(|pairing| pairing.figure);
    let mut rows: Vec<_> = all.iter_mut().flat_map(|pairing| &mut pairing.rows).collect();
    figure.into_iter().for_each(|figure| judge::decide(figure, &mut rows));
    all.into_iter().map(Pairing::sum_up).collect()
}

fn within(figure: Figure, set: &Set, [base, other]: [&str; 2], resamples: usize) -> Pairing {
    let mut pairing = Pairing::empty(figure, base.to_owned(), other.to_owned(), true);
    let design = (Design::Together { interleaved: set.interleaved }, resamples);
    let scenarios: BTreeSet<_> =
        [base, other].iter().flat_map(|one| set.scenarios_of(one)).collect();
    for scenario in scenarios {
        let runs = [base, other].map(|contender| set.series(scenario, contender));
        let [base_runs, other_runs] = &runs;
        match judge::row(figure, scenario, other, [base_runs, other_runs], design) {
            Some(row) => pairing.rows.push(row),
            None => pairing.lacks(figure, [base_runs, other_runs], &scenario.to_string()),
        }
    }
    for ((scenario, _), runs) in set.incomplete.iter().filter(|((_, name), _)| name == other) {
        let of_base = set.incomplete.get(&(scenario.clone(), base.to_owned()));
        pairing.undelivered(&scenario.to_string(), of_base, *runs);
    }
    pairing
}

impl Pairing {
    fn empty(figure: Figure, base: String, other: String, within: bool) -> Self {
        Self {
            figure,
            base,
            other,
            within,
            rung: None,
            rows: Vec::new(),
            control: None,
            mean: None,
            only_base: Vec::new(),
            only_other: Vec::new(),
            undelivered: Vec::new(),
        }
    }

    /// Notes which side alone has a figure of something, if one has.
    fn lacks(&mut self, figure: Figure, runs: [&[&Observation]; 2], what: &str) {
        let has = |runs: &[&Observation]| runs.iter().any(|run| run.values.contains_key(&figure));
        match runs.map(has) {
            [true, _] => self.only_base.push(what.to_owned()),
            [_, true] => self.only_other.push(what.to_owned()),
            [false, false] => {}
        }
    }

    /// Notes that the other had `runs` incomplete runs of something, if the base had fewer.
    fn undelivered(&mut self, what: &str, base_runs: Option<&usize>, runs: usize) {
        let of_base = base_runs.copied().unwrap_or_default();
        if runs > of_base {
            let (runs, base, other) = (count(runs as u64, "run"), &self.base, &self.other);
            let sentence = format!("{what}: {runs} incomplete in {other}, {of_base} in {base}");
            self.undelivered.push(sentence);
        }
    }

    fn sum_up(mut self) -> Self {
        self.mean = self.geometric_mean();
        self
    }

    fn geometric_mean(&self) -> Option<MeanRatio> {
        let counts = |row: &&JudgedPair| {
            !matches!(row.verdict, Verdict::TooFew | Verdict::Control) && row.ratio.is_some()
        };
        let rows: Vec<_> = self.rows.iter().filter(counts).collect();
        let ratio = geometric_mean(&rows.iter().filter_map(|row| row.ratio).collect::<Vec<_>>())?;
        let contrasts: Option<Vec<_>> = rows.iter().map(|row| row.contrast.as_ref()).collect();
        let estimate = contrasts.and_then(|contrasts| Estimate::of(&contrasts));
        let interval = estimate.and_then(|estimate| estimate.interval_around(ratio));
        let is_certain = interval.is_some_and(|ends| ends.low > 1.0 || ends.high < 1.0)
            && estimate.and_then(|estimate| estimate.p()).is_some_and(|p| p < SIGNIFICANT);
        let hidden = rows.iter().any(|row| row.control.is_some_and(|moved| moved.hides(ratio)));
        let verdict = match rows.as_slice() {
            [row] => row.verdict,
            _ if !is_certain => Verdict::Same,
            _ if hidden => Verdict::Void,
            _ => judge::side(self.figure, ratio, 1.0),
        };
        Some(MeanRatio { ratio, interval, rows: rows.len(), verdict })
    }
}

/// The names of all facts, in the order of the sets.
pub(super) fn fact_names(sets: &[Set]) -> Vec<&'static str> {
    let mut names = Vec::new();
    for fact in sets.iter().flat_map(|set| &set.facts) {
        if !names.contains(&fact.name) {
            names.push(fact.name);
        }
    }
    names
}

/// The facts that are not the same in all sets, those that matter first.
fn differences(sets: &[Set]) -> Vec<Difference> {
    let difference = |name: &str| {
        let facts: Vec<_> =
            sets.iter().map(|set| set.facts.iter().find(|fact| fact.name == name)).collect();
        let value = |fact: &Option<&super::Fact>| {
            fact.map_or_else(|| "unknown".to_owned(), |fact| fact.value.clone())
        };
        let values: Vec<String> = facts.iter().map(value).collect();
        let matters = facts.iter().flatten().any(|fact| fact.matters);
        let differs = values.windows(2).any(|pair| pair[0] != pair[1]);
        differs.then(|| Difference { name: name.to_owned(), values, matters })
    };
    let mut all: Vec<_> = fact_names(sets).into_iter().filter_map(difference).collect();
    all.sort_by_key(|difference| !difference.matters);
    all
}

fn warnings(sets: &[Set]) -> Vec<String> {
    let mut all = Vec::new();
    for set in sets {
        all.extend(set.warnings.iter().map(|warning| format!("{}: {warning}", set.label)));
    }
    let [first, rest @ ..] = sets else { return all };
    for other in rest {
        for contender in first.contenders() {
            let [before, after] = [first, other]
                .map(|set| set.first_run(contender).map(|run| (list(&run.switches), &set.label)));
            if let (Some((before, first)), Some((after, other))) = (before, after)
                && before != after
            {
                let places = format!("{before} in {first}, {after} in {other}");
                all.push(format!("the contender \"{contender}\" has other switches: {places}"));
            }
        }
    }
    all
}

fn list(switches: &std::collections::BTreeMap<String, String>) -> String {
    if switches.is_empty() {
        return "none".to_owned();
    }
    let all: Vec<_> = switches.iter().map(|(name, value)| format!("{name}={value}")).collect();
    all.join(" ")
}
