//! Every rule on code that breaks it, and on code beside it that doesn't.

use crate::source::Source;
use crate::{Violation, circles, lines, names, tree};

/// The lines that a rule finds in a snippet.
fn found(rule: fn(&Source) -> Vec<Violation>, path: &str, text: &str) -> Vec<usize> {
    let violations = rule(&Source::new(path, text));
    violations.into_iter().map(|violation| violation.line).collect()
}

#[test]
fn a_violation_names_its_place() {
    let source = Source::new("swarm/index.rs", "\nfn f() { x.unwrap(); }\n");
    let text: Vec<_> = lines::unwraps(&source).iter().map(Violation::to_string).collect();
    assert_eq!(text, ["src/swarm/index.rs:2: expect(\"the invariant\") instead of unwrap"]);
}

#[test]
fn strings_and_comments_are_not_code() {
    let text = r##"
let a = "x.unwrap() // \" x.unwrap()"; /* x.unwrap() /* nested */ x.unwrap() */
let b = r#"x.unwrap() " x.unwrap()"#; // x.unwrap()
let c = ['"', '\'', '\u{1b}']; let d: &'static str = "
x.unwrap()"; x.unwrap();
"##;
    assert_eq!(found(lines::unwraps, "a.rs", text), [5]);
}

#[test]
fn imports_from_below() {
    let text = "\
use crate::driver::Run;
use crate::manifest::NodeId;
use crate::{metrics::Latency, store::{Slot, crate_name}};
use crate::{
    verify,
    cli,
};
fn f() -> crate::harness::Limits { crate::time::Clock::start() }
use super::report;
pub(crate) use super::super::store;
// use crate::cli;
";
    assert_eq!(found(tree::imports, "swarm/mod.rs", text), [1, 3, 4, 8, 9, 10]);
    assert_eq!(found(tree::imports, "swarm/index.rs", text), [1, 3, 4, 8, 10]);
    assert_eq!(found(tree::imports, "cli.rs", text), []);
    assert_eq!(found(tree::imports, "main.rs", text), []);
    assert_eq!(found(tree::imports, "elsewhere.rs", ""), [1]);
}

#[test]
fn imports_of_tools() {
    let text = "use crate::time;\nuse crate::sync;\nuse crate::manifest;\nuse crate::verify;\n";
    assert_eq!(found(tree::imports, "time.rs", text), [3, 4]);
    assert_eq!(found(tree::imports, "config/mod.rs", text), [3, 4]);
    assert_eq!(found(tree::imports, "verify.rs", text), [3]);
    assert_eq!(found(tree::imports, "verify.rs", "use crate::store;"), [1]);
    assert_eq!(found(tree::imports, "manifest/ids.rs", text), []);
}

#[test]
fn modules_out_of_order() {
    let order = |text| found(tree::order, "lib.rs", text);
    assert_eq!(order("pub mod time;\npub mod swarm;\n\npub mod store;\n"), []);
    assert_eq!(order("pub mod swarm;\npub mod manifest;\npub mod store;\n"), [2]);
    assert_eq!(order("pub mod time;\nmod helpers;\npub mod cli;\n"), [2]);
}

#[test]
fn names_that_are_wrong() {
    let sources = |files: &[(&str, &str)]| -> Vec<Source> {
        files.iter().map(|(path, text)| Source::new(path, text)).collect()
    };
    let twice = sources(&[("a.rs", "struct Line;\n"), ("b/mod.rs", "pub enum Line {}\n")]);
    assert_eq!(names::types_once(&twice).len(), 2);
    let associated = sources(&[("a.rs", "impl A for B {\n    type Line = u8;\n}\nstruct Line;\n")]);
    assert!(names::types_once(&associated).is_empty());
    assert_eq!(names::files_once(&sources(&[("a/peer.rs", ""), ("b/peer.rs", "")])).len(), 2);
    assert!(names::files_once(&sources(&[("a/mod.rs", ""), ("b/mod.rs", "")])).is_empty());
    assert_eq!(
        found(names::retired, "a.rs", "fn furnish() {}\nstruct Deskless;\nstruct Desk;\n"),
        [1, 3]
    );
    let constants = "// Why.\nconst A: u8 = 1;\nconst B: u8 = 2;\n\nconst C: u8 = 3;\n";
    assert_eq!(found(names::constants, "a.rs", constants), [5]);
    let page = "`Fetch::start` and `Fetch::nowhere`, `a/b.rs`\n";
    let known = sources(&[("peer/fetch.rs", "impl Fetch {\n    fn start() {}\n}\n")]);
    assert_eq!(names::page(page, &known).len(), 2);
}

#[test]
fn imports_in_a_circle() {
    let files = |last: &str| -> Vec<Source> {
        [
            ("lib.rs", "mod a;"),
            ("a/mod.rs", "mod x;\nmod y;\nmod z;\npub use z::Z;\nuse x::X;"),
            ("a/x.rs", "use super::y::{self, Y};\npub struct X;"),
            ("a/y.rs", "use crate::a::Z;\npub struct Y;"),
            ("a/z.rs", last),
        ]
        .iter()
        .map(|(path, text)| Source::new(path, text))
        .collect()
    };
    assert!(circles::circles(&files("pub struct Z;")).is_empty());
    let found = circles::circles(&files("use super::x;\npub struct Z;"));
    assert_eq!(found.len(), 3, "{found:?}");
}

#[test]
fn files_that_nobody_declares() {
    let files = [
        ("lib.rs", "pub mod swarm;\npub mod time;"),
        ("swarm/mod.rs", "mod index;\n// mod lost;"),
        ("swarm/index.rs", "#[cfg(test)]\nmod tests;"),
        ("swarm/index/tests.rs", ""),
        ("swarm/lost.rs", "mod found;"),
        ("swarm/tests.rs", ""),
        ("time.rs", ""),
    ];
    let sources = files.map(|(path, text)| Source::new(path, text));
    let lost: Vec<_> = tree::reached(&sources).into_iter().map(|lost| lost.path).collect();
    assert_eq!(lost, ["swarm/lost.rs", "swarm/tests.rs"]);
}

#[test]
fn files_that_are_too_long() {
    assert_eq!(found(lines::length, "a.rs", &"\n".repeat(500)), []);
    assert_eq!(found(lines::length, "a.rs", &"\n".repeat(501)), [501]);
}

#[test]
fn orderings_without_a_reason() {
    let text = "\
let a = x.load(Ordering::Relaxed);
let b = x.load(Ordering::Acquire); // ORDERING: Acquire; pairs with the Release in f.
// ORDERING: Relaxed; a statistic, publishes nothing. A comment of
// more than
// three
// lines.
let c = x.load(Ordering::Relaxed);
let d = x.load(Ordering::Relaxed);
// ORDERING: AcqRel and Relaxed; takes the slot.
let e = x.compare_exchange(
    0,
    1,
    Ordering::AcqRel,
    Ordering::Relaxed,
);
// ORDERING: Relaxed; a statistic.
let f = x.iter().map(
    |y| y.load(Ordering::Relaxed)).max(
    y.load(Ordering::Relaxed));
// ORDERING: Relaxed; too far away.
let g = x
    .y
    .z
    .w
    .load(Ordering::Relaxed);
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicU64, Ordering::{self, Acquire}};
use std::sync::atomic::Ordering as O;
use std::sync::atomic::Ordering as AtomicOrdering;
let h = x.load(AtomicOrdering::SeqCst);
let i = a.cmp(b) == Ordering::Less;
";
    assert_eq!(found(lines::orderings, "a.rs", text), [1, 8, 19, 25, 26, 27, 28, 30]);
}

#[test]
fn sequential_consistency_without_a_proof() {
    let source = Source::new("swarm/index.rs", "\nx.store(1, Ordering::SeqCst);\n// SeqCst\n");
    let lines = |readme| lines::sequential(&source, readme).len();
    assert_eq!(lines(None), 1);
    assert_eq!(lines(Some("Nothing here.")), 1);
    assert_eq!(lines(Some("The `SeqCst` fence orders the two.")), 0);
}

#[test]
fn unsafe_code_elsewhere_or_without_a_reason() {
    let text = "\
// unsafe
unsafe { a() };
#![expect(unsafe_code)]
// SAFETY: the slot is vacant.
let b = unsafe { b() };
/// # Safety
unsafe fn c() {}


unsafe impl Send for D {}
// SAFETY: too far away.
a();
a();
a();
a();
unsafe { e() };
";
    assert_eq!(found(lines::unsafety, "swarm/mod.rs", text), [2, 5, 7, 10, 16]);
    assert_eq!(found(lines::unsafety, "store/arena.rs", text), [2, 10, 16]);
}

#[test]
fn clocks_read_elsewhere() {
    let text = "Instant::now();\nstd::time::SystemTime::now();\nthread::sleep(a);\nclock.now();\n";
    assert_eq!(found(lines::clocks, "driver/mod.rs", text), [1, 2, 3]);
    assert_eq!(found(lines::clocks, "time.rs", text), []);
    assert_eq!(found(lines::clocks, "driver/idle.rs", text), []);
}

#[test]
fn unwraps_outside_tests() {
    let text = "\
a.unwrap();
#[cfg(test)]
mod tests;
b.unwrap_or(0);
#[cfg(test)]
mod more {
    fn f() { c.unwrap() }
}
d.unwrap();
";
    assert_eq!(found(lines::unwraps, "a.rs", text), [1, 9]);
    assert_eq!(found(lines::unwraps, "swarm/tests.rs", text), []);
}

#[test]
fn other_words_for_a_segment() {
    let text = "\
//! A Piece of a file.
/// Chunks of a file.
let chunk = bytes.chunks(8); // by `chunks`, `slice::chunks` or .chunks()
/* a chunk */
/// masterpiece, chunks_exact, par_chunks, as_chunks
";
    assert_eq!(found(lines::words, "a.rs", text), [1, 2, 4]);
}
