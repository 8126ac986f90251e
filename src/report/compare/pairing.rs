//! Matches runs: the same scenario and contender in two sets, or two contenders of one set.

use serde::Serialize;

use super::judge::{self, JudgedPair, Verdict};
use super::{Figure, Set};
use crate::escape;
use crate::report::statistics::{RESAMPLES, geometric_mean};

#[derive(Clone, Debug, Default)]
pub(crate) struct Question {
    /// Within one set: the contender that is the base; by default the classic engine, or the first.
    pub contender: Option<String>,
    /// Within one set: the contenders that are compared with it; if empty, all others.
    pub against: Vec<String>,
    /// If empty, the makespan and the tracker's handouts; where nothing has either, all figures.
    pub figures: Vec<Figure>,
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
    pub rows: Vec<JudgedPair>,
    /// Over the ratios of all rows with enough runs; none where one of them has no ratio.
    pub geometric_mean: Option<f64>,
    pub only_base: Vec<String>,
    pub only_other: Vec<String>,
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
    let figures = figures(first, question);
    let mut pairings = Vec::new();
    for &figure in &figures {
        let mut of_figure: Vec<Pairing> = if sets.len() > 1 {
            sets[1..].iter().map(|other| between(figure, first, other, resamples)).collect()
        } else {
            let (base, others) = contenders(first, question)?;
            others.iter().map(|other| within(figure, first, [base, other], resamples)).collect()
        };
        let mut rows: Vec<&mut JudgedPair> =
            of_figure.iter_mut().flat_map(|pairing| &mut pairing.rows).collect();
        judge::decide(figure, &mut rows);
        pairings.append(&mut of_figure);
    }
    if pairings.iter().all(|pairing| pairing.rows.is_empty()) {
        let sets: Vec<_> = sets.iter().map(|set| set.label.as_str()).collect();
        let figures: Vec<_> = figures.iter().map(|figure| figure.name()).collect();
        let (sets, figures) = (escape::some(&sets, " and "), figures.join(", "));
        return Err(CompareError::NoMatch { sets, figures });
    }
    Ok(Comparison {
        comparison_schema: 1,
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

fn between(figure: Figure, base: &Set, other: &Set, resamples: usize) -> Pairing {
    let mut pairing = Pairing::empty(figure, base.label.clone(), other.label.clone(), false);
    let known = base.keys();
    for &(scenario, contender) in &known {
        let runs = [base, other].map(|set| set.series(scenario, contender));
        let [base_runs, other_runs] = &runs;
        match judge::row(figure, scenario, contender, [base_runs, other_runs], (false, resamples)) {
            Some(row) => pairing.rows.push(row),
            None => pairing.only_base.push(format!("{contender}: {scenario}")),
        }
    }
    let added = other.keys().into_iter().filter(|key| !known.contains(key));
    pairing.only_other =
        added.map(|(scenario, contender)| format!("{contender}: {scenario}")).collect();
    pairing.sum_up()
}

fn within(figure: Figure, set: &Set, [base, other]: [&str; 2], resamples: usize) -> Pairing {
    let mut pairing = Pairing::empty(figure, base.to_owned(), other.to_owned(), true);
    for scenario in set.scenarios() {
        let runs = [base, other].map(|contender| set.series(scenario, contender));
        let [base_runs, other_runs] = &runs;
        let bootstrap = (set.interleaved, resamples);
        match judge::row(figure, scenario, other, [base_runs, other_runs], bootstrap) {
            Some(row) => pairing.rows.push(row),
            None if !base_runs.is_empty() => pairing.only_base.push(scenario.to_string()),
            None if !other_runs.is_empty() => pairing.only_other.push(scenario.to_string()),
            None => {}
        }
    }
    pairing.sum_up()
}

impl Pairing {
    fn empty(figure: Figure, base: String, other: String, within: bool) -> Self {
        Self {
            figure,
            base,
            other,
            within,
            rows: Vec::new(),
            geometric_mean: None,
            only_base: Vec::new(),
            only_other: Vec::new(),
        }
    }

    fn sum_up(mut self) -> Self {
        let judged = self.rows.iter().filter(|row| row.verdict != Verdict::TooFew);
        let ratios: Option<Vec<f64>> = judged.map(|row| row.ratio).collect();
        self.geometric_mean = ratios.and_then(|ratios| geometric_mean(&ratios));
        self
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
            let [before, after] = [first, other].map(|set| {
                let run = set.observations.iter().find(|one| one.contender == contender);
                run.map(|run| (list(&run.switches), &set.label))
            });
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
