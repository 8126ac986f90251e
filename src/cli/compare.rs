//! `mpiswarm compare`.

use std::fs;
use std::path::{Path, PathBuf};

use super::args::{CompareArgs, Format};
use super::{FAILED, OK, REFUSED, reading, show, writable};
use crate::config::REGISTRATION_PATIENCE;
use crate::escape;
use crate::harness::measured;
use crate::harness::results::RESULTS;
use crate::report::compare::gate::GatePlan;
use crate::report::compare::history::{History, history};
use crate::report::compare::html::{Page, all_figures, history_page};
use crate::report::compare::{
    CompareError, Comparison, Figure, Question, Screen, Set, compare, import, raw_runs, table,
};
use crate::report::units::count;

/// Runs the command; returns the exit code.
pub(super) fn run(args: &CompareArgs) -> u8 {
    let done = args.out.as_deref().map_or(Ok(()), writable::file);
    let done =
        done.and_then(|()| if args.history { over_commits(args) } else { side_by_side(args) });
    done.unwrap_or_else(|sentence| {
        show::error(&sentence);
        REFUSED
    })
}

fn side_by_side(args: &CompareArgs) -> Result<u8, String> {
    let sets = named_apart(read_all(&args.folders)?);
    if args.format == Format::Runs && args.gate.is_none() {
        publish(args, &raw_runs::csv(&sets))?;
        return Ok(OK);
    }
    let beside = read_all(&args.beside)?;
    let reading = reading::limited("the gate", REGISTRATION_PATIENCE);
    let plan =
        args.gate.as_deref().map(GatePlan::read).transpose().map_err(|error| error.to_string())?;
    drop(reading);
    let question = Question {
        contender: args.contender.clone(),
        against: args.against.clone(),
        figures: args.figures.clone(),
        control: args.control.clone(),
    };
    let mut comparison = answer(&sets, &question)?;
    for set in &beside {
        let warnings = set.warnings.iter();
        comparison.warnings.extend(warnings.map(|warning| format!("{}: {warning}", set.label)));
    }
    // The gate has figures of its own, whatever is shown.
    let judged = plan.map(|plan| {
        let of_gate = Question { figures: plan.figures.clone(), ..question.clone() };
        answer(&sets, &of_gate).map(|comparison| plan.judge(&comparison))
    });
    let judged = judged.transpose()?;
    let failures = judged.iter().flat_map(|outcome| &outcome.failures);
    comparison.warnings.extend(failures.map(|failure| format!("the gate fails: {failure}")));
    publish(args, &shown(args, &sets, &beside, &comparison, &question)?)?;
    let Some(outcome) = judged else { return Ok(OK) };
    outcome
        .remarks
        .iter()
        .filter(|_| !args.quiet)
        .for_each(|remark| show::note(&format!("gate: {}", escape::terminal(remark))));
    outcome
        .failures
        .iter()
        .for_each(|failure| show::error(&format!("gate: {}", escape::terminal(failure))));
    let (failed, judged) = (outcome.failures.len(), outcome.judged);
    if !args.quiet {
        show::note(&format!("gate: {judged} results judged, {failed} failures"));
    }
    Ok(if failed > 0 { FAILED } else { OK })
}

fn answer(sets: &[Set], question: &Question) -> Result<Comparison, String> {
    compare(sets, question).map_err(|error: CompareError| error.to_string())
}

fn shown(
    args: &CompareArgs,
    sets: &[Set],
    beside: &[Set],
    comparison: &Comparison,
    question: &Question,
) -> Result<String, String> {
    Ok(match args.format {
        Format::Text => table::text(comparison, screen(args)),
        Format::Md => table::markdown(comparison),
        Format::Csv => table::csv(comparison),
        Format::Runs => raw_runs::csv(sets),
        Format::Json => json(comparison),
        Format::Html => {
            let figures = all_figures(sets);
            let everything = answer(sets, &Question { figures, ..question.clone() })?;
            let command = command_line();
            Page { comparison, everything: &everything, sets, beside, command: &command }.html()
        }
    })
}

/// Each figure over all folders of records.
fn over_commits(args: &CompareArgs) -> Result<u8, String> {
    let roots = match args.folders.as_slice() {
        [] => vec![PathBuf::from(RESULTS)],
        named => named.to_vec(),
    };
    let mut folders = Vec::new();
    for root in &roots {
        folders.extend(inside(root)?);
    }
    if folders.is_empty() {
        let roots: Vec<_> = roots.iter().map(|root| escape::path(root)).collect();
        let roots = escape::some(&roots, ", ");
        return Err(format!("no folder of records (records.jsonl) in {roots}"));
    }
    let sets = named_apart(readable(&folders)?);
    let figures = match args.figures.as_slice() {
        [] => vec![Figure::Makespan],
        asked => asked.to_vec(),
    };
    let histories: Vec<History> = figures.iter().map(|figure| history(&sets, *figure)).collect();
    let each = |of: &dyn Fn(&History) -> String| histories.iter().map(of).collect::<Vec<_>>();
    let text = match args.format {
        Format::Text => each(&|history| history.text(screen(args))).join("\n"),
        Format::Md => each(&History::markdown).join("\n"),
        Format::Csv => one_head(&each(&History::csv)),
        Format::Runs => raw_runs::csv(&sets),
        Format::Json => json(&histories),
        Format::Html => history_page(&histories, &command_line()),
    };
    publish(args, &text)?;
    Ok(OK)
}

/// The folders of records in a folder, at any depth, sorted by path.
fn inside(root: &Path) -> Result<Vec<PathBuf>, String> {
    let (mut folders, mut found) = (vec![root.to_owned()], Vec::new());
    while let Some(folder) = folders.pop() {
        if measured::has_records(&folder) {
            found.push(folder);
            continue;
        }
        let entries = match fs::read_dir(&folder).and_then(Iterator::collect::<Result<Vec<_>, _>>) {
            Ok(entries) => entries,
            Err(cause) if folder == root => return Err(format!("{}: {cause}", escape::path(root))),
            Err(cause) => {
                show::note(&format!("left out: {}: {cause}", escape::path(&folder)));
                continue;
            }
        };
        let paths = entries.into_iter().map(|entry| entry.path());
        folders.extend(paths.filter(|path| path.is_dir() && !path.is_symlink()));
    }
    found.sort();
    Ok(found)
}

/// The folders that can be read; a note for each of the others.
fn readable(folders: &[PathBuf]) -> Result<Vec<Set>, String> {
    let mut sets = Vec::new();
    for folder in folders {
        match read(folder) {
            Ok(set) => sets.push(set),
            Err(sentence) => show::note(&format!("left out: {sentence}")),
        }
    }
    if sets.is_empty() {
        let folders = count(folders.len() as u64, "folder");
        return Err(format!("{folders} of records, and none can be read"));
    }
    Ok(sets)
}

/// Joins tables of CSV under the header of the first.
fn one_head(tables: &[String]) -> String {
    let lines = tables
        .iter()
        .enumerate()
        .flat_map(|(index, table)| table.split_inclusive('\n').skip(usize::from(index > 0)));
    lines.collect()
}

fn read_all(paths: &[PathBuf]) -> Result<Vec<Set>, String> {
    let _reading = reading::limited("the results", REGISTRATION_PATIENCE);
    paths.iter().map(|path| read(path)).collect()
}

/// Our own records, of one launch or of several, or the results of another tool.
fn read(path: &Path) -> Result<Set, String> {
    let ours = measured::read_launches(path).map_err(|error| error.to_string())?;
    ours.map_or_else(|| import::read(path).map_err(|error| error.to_string()), Ok)
}

/// Labels folders of equal names with their whole paths.
fn named_apart(mut sets: Vec<Set>) -> Vec<Set> {
    let labels: Vec<String> = sets.iter().map(|set| set.label.clone()).collect();
    for set in &mut sets {
        if labels.iter().filter(|label| **label == set.label).count() > 1 {
            set.label = set.origin.display().to_string();
        }
    }
    sets
}

fn json(what: &impl serde::Serialize) -> String {
    let text = serde_json::to_string_pretty(what).expect("a comparison holds only plain data");
    escape::json(&text) + "\n"
}

/// What a text is made for: a file has room for all columns.
fn screen(args: &CompareArgs) -> Screen {
    if args.out.is_some() { Screen::FILE } else { show::screen(args.wide) }
}

fn publish(args: &CompareArgs, text: &str) -> Result<(), String> {
    let Some(path) = &args.out else {
        show::text(text);
        return Ok(());
    };
    fs::write(path, text).map_err(|cause| format!("{}: {cause}", escape::path(path)))
}

/// The command line, quoted for a shell.
fn command_line() -> String {
    let words = std::env::args_os().skip(1).map(|word| escape::shell(&word));
    std::iter::once("mpiswarm".to_owned()).chain(words).collect::<Vec<_>>().join(" ")
}
