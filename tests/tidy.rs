//! Style as a test: what a compiler does not see, and what a review forgets.
//!
//! The source is read as text. Every rule is a function from a file to its violations, and is tried
//! on bad snippets too, so that it can't pass by reading nothing. Lints carry the rest.

#[path = "tidy/circles.rs"]
mod circles;
#[path = "tidy/lines.rs"]
mod lines;
#[path = "tidy/names.rs"]
mod names;
#[path = "tidy/snippets.rs"]
mod snippets;
#[path = "tidy/source.rs"]
mod source;
#[path = "tidy/tree.rs"]
mod tree;

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use source::Source;

/// Files longer than this are counted, not forbidden, lines.
const LINES_USUAL_MAX: usize = 200;

/// A place that breaks a rule.
#[derive(Debug, PartialEq)]
pub(crate) struct Violation {
    path: String,
    line: usize,
    rule: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "src/{}:{}: {}", self.path, self.line, self.rule)
    }
}

#[test]
fn modules_import_only_from_above() {
    check(tree::imports);
}

#[test]
fn modules_stand_in_the_order_of_the_data() {
    let sources = sources();
    let lib =
        sources.iter().find(|source| source.path == "lib.rs").expect("the library has a root");
    report(&tree::order(lib));
}

#[test]
fn every_file_is_part_of_the_crate() {
    report(&tree::reached(&sources()));
}

#[test]
fn files_are_short() {
    let sources = sources();
    let long: Vec<_> =
        sources.iter().filter(|source| source.lines.len() > LINES_USUAL_MAX).collect();
    println!("{} of {} files have over {LINES_USUAL_MAX} lines", long.len(), sources.len());
    long.iter().for_each(|source| println!("{:5} src/{}", source.lines.len(), source.path));
    check(lines::length);
}

#[test]
fn every_ordering_has_its_reason() {
    check(lines::orderings);
}

#[test]
fn every_seqcst_has_its_proof() {
    check(|source| {
        let readme = root().join(&source.path).with_file_name("README.md");
        lines::sequential(source, fs::read_to_string(readme).ok().as_deref())
    });
}

#[test]
fn unsafe_code_lives_in_two_files_and_says_why() {
    check(lines::unsafety);
}

#[test]
fn only_the_clock_reads_time() {
    check(lines::clocks);
}

#[test]
fn nothing_unwraps() {
    check(lines::unwraps);
}

#[test]
fn a_segment_is_called_a_segment() {
    check(lines::words);
}

#[test]
fn no_files_import_each_other_in_a_circle() {
    report(&circles::circles(&sources()));
}

#[test]
fn a_type_name_is_defined_once() {
    report(&names::types_once(&sources()));
}

#[test]
fn a_file_name_means_one_thing() {
    report(&names::files_once(&sources()));
}

#[test]
fn no_item_has_a_retired_name() {
    check(names::retired);
}

#[test]
fn every_constant_has_its_reason() {
    check(names::constants);
}

#[test]
fn the_architecture_page_names_what_exists() {
    let page = fs::read_to_string(root().join("README.md")).expect("src has a README.md");
    report(&names::page(&page, &sources()));
}

/// Applies a rule to every file of `src`.
fn check(rule: impl Fn(&Source) -> Vec<Violation>) {
    report(&sources().iter().flat_map(rule).collect::<Vec<_>>());
}

fn report(violations: &[Violation]) {
    let text: Vec<_> = violations.iter().map(Violation::to_string).collect();
    assert!(violations.is_empty(), "{} violations:\n{}", violations.len(), text.join("\n"));
}

/// All files of `src`, sorted by path.
fn sources() -> Vec<Source> {
    let (mut sources, mut folders) = (Vec::new(), vec![root()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder of the source can be listed") {
            let path = entry.expect("a folder of the source can be listed").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).expect("source is text");
                sources.push(Source::new(&name(&path), &text));
            }
        }
    }
    sources.sort_by(|left, right| left.path.cmp(&right.path));
    assert!(sources.len() > 1, "the source was found");
    sources
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// The path from `src` on, with forward slashes.
fn name(path: &Path) -> String {
    let inside = path.strip_prefix(root()).expect("the walk began at the root");
    let parts: Vec<_> = inside.iter().map(|part| part.to_string_lossy()).collect();
    parts.join("/")
}
