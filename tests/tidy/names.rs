//! Rules about names: one name means one thing, and it is the field's.

use std::collections::BTreeMap;

use crate::Violation;
use crate::source::{Source, has_word, word_places};

/// Type names that may be defined more than once, each with its reason.
const TYPES_TWICE: [(&str, &str); 0] = [];

/// File names that may stand in several folders, each with its reason.
const FILES_TWICE: [(&str, &str); 4] = [
    ("mod.rs", "the root of its folder"),
    ("tests.rs", "the tests of its folder"),
    ("local.rs", "each time the way between threads of one process"),
    ("locked.rs", "each time the kind that one mutex guards"),
];

/// Names that items had once and must not have again, because the field has another.
const RETIRED: [&str; 33] = [
    "Clerk",
    "Counter",
    "Crew",
    "Desk",
    "Envelope",
    "Freight",
    "Furnished",
    "Hands",
    "Hearing",
    "Leisure",
    "Letter",
    "Letters",
    "Line",
    "News",
    "Notice",
    "Post",
    "PostOffice",
    "Shelf",
    "Stage",
    "Tokens",
    "Turn",
    "Word",
    "chance",
    "clerk",
    "desk",
    "envelope",
    "furnish",
    "leisure",
    "letter",
    "mean_of_late",
    "news",
    "strike",
    "tuned",
];

/// What introduces an item's name.
const ITEMS: [&str; 8] = ["struct", "enum", "trait", "union", "type", "fn", "mod", "const"];

/// A type name is defined once in `src`. Associated types belong to their trait and don't count.
pub(crate) fn types_once(sources: &[Source]) -> Vec<Violation> {
    let mut places: BTreeMap<String, Vec<(&Source, usize)>> = BTreeMap::new();
    for source in sources {
        for (number, line) in source.numbered().filter(|(_, line)| !line.test) {
            for keyword in ["struct", "enum", "trait", "union", "type"] {
                let is_associated = keyword == "type" && line.code.starts_with(' ');
                if let Some(name) = item(&line.code, keyword).filter(|_| !is_associated) {
                    places.entry(name).or_default().push((source, number));
                }
            }
        }
    }
    let twice = places.iter().filter(|(name, places)| {
        places.len() > 1 && TYPES_TWICE.iter().all(|(allowed, _)| allowed != name)
    });
    twice
        .flat_map(|(name, places)| {
            places.iter().map(move |(source, number)| {
                source.violation(*number, format!("the type {name} is defined more than once"))
            })
        })
        .collect()
}

/// Two files of one name would be about the same thing.
pub(crate) fn files_once(sources: &[Source]) -> Vec<Violation> {
    let mut places: BTreeMap<&str, Vec<&Source>> = BTreeMap::new();
    for source in sources {
        let name = source.path.rsplit('/').next().unwrap_or_default();
        places.entry(name).or_default().push(source);
    }
    let twice = places.iter().filter(|(name, places)| {
        places.len() > 1 && FILES_TWICE.iter().all(|(allowed, _)| allowed != *name)
    });
    twice
        .flat_map(|(name, places)| {
            places
                .iter()
                .map(move |source| source.violation(1, format!("several files are called {name}")))
        })
        .collect()
}

/// No item has a retired name.
pub(crate) fn retired(source: &Source) -> Vec<Violation> {
    let mut violations = Vec::new();
    for (number, line) in source.numbered() {
        let names = ITEMS.iter().filter_map(|keyword| item(&line.code, keyword));
        for name in names.filter(|name| RETIRED.contains(&name.as_str())) {
            violations.push(source.violation(number, format!("the name {name} is retired")));
        }
    }
    violations
}

/// Every constant has its reason in a comment above it, or on its line. Constants that follow each
/// other without a blank line share one.
pub(crate) fn constants(source: &Source) -> Vec<Violation> {
    let mut violations = Vec::new();
    for (number, line) in source.numbered().filter(|(_, line)| !line.test) {
        let is_constant = item(&line.code, "const").is_some_and(|name| {
            name.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_')
        });
        if is_constant && line.comment.is_empty() && !has_comment(&source.lines[..number - 1]) {
            violations.push(source.violation(number, "a constant needs its reason beside it"));
        }
    }
    violations
}

/// Every `Type::function` and every `folder/file.rs` that the architecture page names exists.
pub(crate) fn page(page: &str, sources: &[Source]) -> Vec<Violation> {
    let lines = sources.iter().flat_map(|source| &source.lines);
    let is_defined = |name: &str| lines.clone().any(|line| has_word(&line.code, name));
    let mut violations = Vec::new();
    for (number, line) in (1..).zip(page.lines()) {
        for name in line.split('`').skip(1).step_by(2) {
            let is_known = if let Some((_, function)) = name.rsplit_once("::") {
                is_defined(function)
            } else if name.ends_with(".rs") && name.contains('/') && !name.starts_with("tests/") {
                sources.iter().any(|source| source.path == name)
            } else {
                true
            };
            if !is_known {
                let rule = format!("there is no {name} in src");
                violations.push(Violation { path: "README.md".to_owned(), line: number, rule });
            }
        }
    }
    violations
}

/// Whether a comment ends these lines, behind attributes and other constants.
fn has_comment(lines: &[crate::source::Line]) -> bool {
    for line in lines.iter().rev() {
        let code = line.code.trim();
        if !line.comment.is_empty() {
            return true;
        }
        let passes = code.starts_with("#[") || item(code, "const").is_some() || is_inside(code);
        if code.is_empty() || !passes {
            return false;
        }
    }
    false
}

/// Whether a line is a further line of a constant's value.
fn is_inside(code: &str) -> bool {
    code.ends_with(',') || code.ends_with("];") || code.ends_with(");")
}

/// The name that an item of this kind has, where the line begins one.
fn item(code: &str, keyword: &str) -> Option<String> {
    let code = code.trim_start();
    let at = word_places(code, keyword).next()?;
    let before = code[..at].trim_end();
    let is_start = before.is_empty()
        || before.starts_with("pub")
        || ["unsafe", "const", "async"].contains(&before);
    let after = code[at + keyword.len()..].strip_prefix(' ')?;
    let name: String = after.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
    (is_start && !name.is_empty()).then_some(name)
}
