//! Rules that look at how files and modules hang together.

use std::collections::BTreeSet;

use crate::Violation;
use crate::source::{Source, word_places};

/// The modules in the order of the data. A module imports only from those above it.
pub(crate) const MODULES: [&str; 21] = [
    "time",
    "sync",
    "watchdog",
    "spawn",
    "escape",
    "config",
    "verify",
    "manifest",
    "tree",
    "metrics",
    "swarm",
    "protocol",
    "store",
    "transport",
    "driver",
    "baseline",
    "simulation",
    "report",
    "harness",
    "cli",
    "fuzzing",
];
/// Tools that every module may import, and that import only each other.
const TOOLS: [&str; 6] = ["time", "sync", "watchdog", "spawn", "escape", "config"];

/// No arrow runs back up: a module imports only from modules above it in [`MODULES`].
pub(crate) fn imports(source: &Source) -> Vec<Violation> {
    let module = source.path.split(['/', '.']).next().unwrap_or_default();
    if ["lib", "main"].contains(&module) {
        return Vec::new();
    }
    if !MODULES.contains(&module) {
        return vec![source.violation(1, format!("{module} has no place among the modules"))];
    }
    let mut violations = Vec::new();
    for (number, line) in flat_lines(source) {
        for target in targets(&source.path, &line) {
            if MODULES.contains(&target.as_str()) && !may_import(module, &target) {
                let rule = format!("{module} may not import {target}, which stands below it");
                violations.push(source.violation(number, rule));
            }
        }
    }
    violations
}

/// Tools import each other in any order, and nothing else stands above them.
fn may_import(module: &str, target: &str) -> bool {
    let place = |name| MODULES.iter().position(|&module| module == name);
    let both_tools = TOOLS.contains(&module) && TOOLS.contains(&target);
    module == target || both_tools || place(target) < place(module)
}

/// The lines of code, where a group of imports that spans several lines is one line.
fn flat_lines(source: &Source) -> Vec<(usize, String)> {
    let mut flat: Vec<(usize, String)> = Vec::new();
    let mut open = false;
    for (number, line) in source.numbered() {
        match flat.last_mut() {
            Some((_, group)) if open => group.push_str(&line.code),
            _ => flat.push((number, line.code.clone())),
        }
        let group = flat.last().map_or("", |(_, group)| group);
        open = (group.contains("crate::{") || group.contains("super::{"))
            && group.matches('{').count() > group.matches('}').count();
    }
    flat
}

/// The modules at the top that a line of code names.
fn targets(path: &str, line: &str) -> Vec<String> {
    let depth = path.trim_end_matches("/mod.rs").split('/').count();
    let mut targets = Vec::new();
    for at in word_places(line, "crate") {
        targets.extend(names(&line[at + "crate".len()..]));
    }
    for at in word_places(line, "super").filter(|&at| !line[..at].ends_with("::")) {
        let mut rest = &line[at..];
        let mut steps = 0;
        while let Some(after) = rest.strip_prefix("super::") {
            (rest, steps) = (after, steps + 1);
        }
        // As many steps as the file is deep lead to the root of the crate.
        if steps >= depth {
            targets.extend(names(&line[line.len() - rest.len() - 2..]));
        }
    }
    targets
}

/// The first names of what follows: `::a::b` gives a, `::{a::b, c}` gives a and c.
fn names(rest: &str) -> Vec<String> {
    let Some(rest) = rest.strip_prefix("::") else {
        return Vec::new();
    };
    let name = |text: &str| {
        text.trim_start().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
    };
    let Some(group) = rest.strip_prefix('{') else {
        return vec![name(rest)];
    };
    let (mut parts, mut depth) = (vec![String::new()], 0);
    for c in group.chars() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => parts.push(String::new()),
            _ if depth == 0 => parts.last_mut().expect("there is a first part").push(c),
            _ => {}
        }
    }
    parts.iter().map(|part| name(part)).collect()
}

/// The modules of `lib.rs` stand in the order of [`MODULES`], and no other is among them.
pub(crate) fn order(lib: &Source) -> Vec<Violation> {
    let mut violations = Vec::new();
    let mut last = None;
    for (number, name) in declared(lib) {
        let place = MODULES.iter().position(|&module| module == name);
        if place.is_none() || place < last {
            let rule = format!("the module {name} is out of the order of the data");
            violations.push(lib.violation(number, rule));
        }
        last = last.max(place);
    }
    violations
}

/// Every file is part of the crate: a `mod` line leads to it from `lib.rs` or `main.rs`.
pub(crate) fn reached(sources: &[Source]) -> Vec<Violation> {
    let mut reached = BTreeSet::new();
    let mut ahead = vec!["lib.rs".to_owned(), "main.rs".to_owned()];
    while let Some(path) = ahead.pop() {
        let Some(source) = sources.iter().find(|source| source.path == path) else {
            continue;
        };
        if !reached.insert(path.clone()) {
            continue;
        }
        let (folder, file) = path.rsplit_once('/').unwrap_or(("", &path));
        let stem = match file {
            "lib.rs" | "main.rs" | "mod.rs" => "",
            other => other.trim_end_matches(".rs"),
        };
        let folder: String = [folder, stem]
            .iter()
            .filter(|part| !part.is_empty())
            .map(|p| format!("{p}/"))
            .collect();
        for (_, name) in declared(source) {
            ahead.push(format!("{folder}{name}.rs"));
            ahead.push(format!("{folder}{name}/mod.rs"));
        }
    }
    let lost = sources.iter().filter(|source| !reached.contains(&source.path));
    lost.map(|source| source.violation(1, "no mod line leads to this file")).collect()
}

/// The modules in files of their own that a file declares, with the numbers of the lines.
fn declared(source: &Source) -> Vec<(usize, String)> {
    let mut declared = Vec::new();
    for (number, line) in source.numbered() {
        for at in word_places(&line.code, "mod") {
            let after = line.code[at + "mod".len()..].trim();
            if let Some(name) = after.strip_suffix(';') {
                declared.push((number, name.trim().to_owned()));
            }
        }
    }
    declared
}
