//! No file imports another that imports it back, however many files lie between.
//!
//! A parent declares its parts and may use them, and they may use it: what ties a `mod.rs` to the
//! files below it does not count. All other imports of one file by another form a graph, and the
//! strongly connected components of that graph are the circles.

use std::collections::{BTreeMap, BTreeSet};

use crate::Violation;
use crate::source::{Source, word_places};

/// A path from the root of the crate: `["swarm", "index", "SwarmIndex"]`.
type Names = Vec<String>;

/// One violation for each file that is part of a circle, naming the circle.
pub(crate) fn circles(sources: &[Source]) -> Vec<Violation> {
    let modules: BTreeMap<Names, &Source> =
        sources.iter().map(|source| (module_of(&source.path), source)).collect();
    let exports: BTreeMap<&Names, BTreeMap<String, Names>> =
        modules.iter().map(|(module, source)| (module, exports(module, source))).collect();
    let mut arrows: BTreeMap<&Names, BTreeSet<&Names>> = BTreeMap::new();
    for (module, source) in &modules {
        for path in paths(module, source) {
            if let Some(target) = defined_in(path, &modules, &exports)
                && !target.starts_with(module)
                && !module.starts_with(target)
            {
                arrows.entry(module).or_default().insert(target);
            }
        }
    }
    let reach = |from: &Names| {
        let (mut reached, mut ahead) = (BTreeSet::new(), vec![from]);
        while let Some(module) = ahead.pop() {
            for &next in arrows.get(module).into_iter().flatten() {
                if reached.insert(next) {
                    ahead.push(next);
                }
            }
        }
        reached
    };
    let reached: BTreeMap<&Names, BTreeSet<&Names>> =
        modules.keys().map(|module| (module, reach(module))).collect();
    let in_circle = |module: &&Names| reached[*module].contains(*module);
    let violation = |module: &Names| {
        let others = reached[module].iter().filter(|other| reached[**other].contains(module));
        let names: Vec<_> = others.map(|other| other.join("::")).collect();
        modules[module].violation(1, format!("a circle of imports: {}", names.join(", ")))
    };
    modules.keys().filter(in_circle).map(violation).collect()
}

/// The module that a file is: `swarm/index/mod.rs` is `swarm::index`.
fn module_of(path: &str) -> Names {
    let path = path.trim_end_matches(".rs").trim_end_matches("/mod");
    path.split('/').filter(|part| *part != "lib").map(str::to_owned).collect()
}

/// What a module passes on under its own name: the last name of each path, and the path.
fn exports(module: &Names, source: &Source) -> BTreeMap<String, Names> {
    let mut exports = BTreeMap::new();
    for statement in uses(source) {
        for path in expand(&statement) {
            let absolute = absolute(module, &path);
            if let Some(name) = absolute.last() {
                exports.insert(name.clone(), absolute.clone());
            }
        }
    }
    exports
}

/// All paths that a file imports or names in its code, from the root of the crate.
fn paths(module: &Names, source: &Source) -> Vec<Names> {
    let mut paths: Vec<Names> = uses(source).iter().flat_map(|text| expand(text)).collect();
    for (_, line) in source.numbered().filter(|(_, line)| !line.test) {
        for root in ["crate", "super"] {
            for at in word_places(&line.code, root).filter(|&at| !line.code[..at].ends_with("::")) {
                let end =
                    line.code[at..].find(|c: char| !(c.is_alphanumeric() || "_:".contains(c)));
                let path = &line.code[at..at + end.unwrap_or(line.code.len() - at)];
                paths.push(path.split("::").map(str::to_owned).collect());
            }
        }
    }
    paths.iter().map(|path| absolute(module, path)).collect()
}

/// The texts of all `use` statements outside tests, without `use` and the semicolon.
fn uses(source: &Source) -> Vec<String> {
    let (mut statements, mut open) = (Vec::new(), None::<String>);
    for (_, line) in source.numbered().filter(|(_, line)| !line.test) {
        let code = line.code.trim();
        if open.is_none()
            && let Some(at) = word_places(code, "use").next()
            && (at == 0 || code.starts_with("pub"))
        {
            open = Some(String::new());
        }
        if let Some(text) = &mut open {
            text.push_str(code);
            if code.ends_with(';') {
                let text = open.take().unwrap_or_default();
                let at = word_places(&text, "use").next().unwrap_or_default();
                statements.push(text[at + "use".len()..].trim_end_matches(';').trim().to_owned());
            }
        }
    }
    statements
}

/// The paths of a `use`: `a::{b, c::d as e}` gives `a::b` and `a::c::d`.
fn expand(text: &str) -> Vec<Names> {
    let text = text.trim();
    let Some((head, rest)) = text.split_once('{') else {
        let path = text.split(" as ").next().unwrap_or_default().trim();
        return vec![path.split("::").map(|name| name.trim().to_owned()).collect()];
    };
    let head: Names = head
        .trim_end_matches("::")
        .split("::")
        .filter(|n| !n.is_empty())
        .map(str::to_owned)
        .collect();
    let (mut parts, mut depth) = (vec![String::new()], 0);
    for c in rest.chars() {
        match c {
            '}' if depth == 0 => break,
            ',' if depth == 0 => parts.push(String::new()),
            _ => {
                depth += i32::from(c == '{') - i32::from(c == '}');
                parts.last_mut().expect("there is a first part").push(c);
            }
        }
    }
    let inside = parts.iter().filter(|part| !part.trim().is_empty()).flat_map(|part| expand(part));
    inside.map(|path| [head.clone(), path].concat()).collect()
}

/// A path as it is seen from the root of the crate; other crates' paths lead nowhere in `src`.
fn absolute(module: &Names, path: &[String]) -> Names {
    let supers = path.iter().take_while(|name| *name == "super").count();
    let (base, rest) = match path.first().map(String::as_str) {
        Some("crate") => (&[][..], &path[1..]),
        Some("self") => (&module[..], &path[1..]),
        Some("super") => (&module[..module.len().saturating_sub(supers)], &path[supers..]),
        _ => (&module[..], path),
    };
    let rest = rest.iter().filter(|name| *name != "self");
    base.iter().chain(rest).cloned().collect()
}

/// The file in which the last name of a path is defined, through what modules pass on.
fn defined_in<'a>(
    mut path: Names,
    modules: &'a BTreeMap<Names, &Source>,
    exports: &BTreeMap<&Names, BTreeMap<String, Names>>,
) -> Option<&'a Names> {
    // A chain of re-exports is short; a bound keeps one that leads to itself from hanging the test.
    for _ in 0..8 {
        let known = (0..=path.len()).rev().find(|&end| modules.contains_key(&path[..end]))?;
        let (module, _) = modules.get_key_value(&path[..known]).expect("it was just found");
        match path.get(known).and_then(|name| exports[module].get(name)) {
            Some(passed_on) if *passed_on != path => {
                path = [&passed_on[..], &path[known + 1..]].concat();
            }
            _ => return Some(module),
        }
    }
    None
}
