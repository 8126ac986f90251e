//! Rules that look at one file, line by line.

use crate::Violation;
use crate::source::{Line, Source, has_word, word_places};

/// The only files that may hold unsafe code: the slots, and the requests of MPI.
const UNSAFE_FILES: [&str; 2] = ["store/arena.rs", "transport/mpi/slab.rs"];
/// The only files that may read a clock or let a thread wait.
const CLOCK_FILES: [&str; 2] = ["time.rs", "driver/idle.rs"];
/// No file is longer, lines.
const LINES_MAX: usize = 500;
/// The names of the memory orderings.
const ORDERINGS: [&str; 5] = ["Relaxed", "Acquire", "Release", "AcqRel", "SeqCst"];

/// A file can be read in one sitting.
pub(crate) fn length(source: &Source) -> Vec<Violation> {
    if source.lines.len() <= LINES_MAX {
        return Vec::new();
    }
    vec![source.violation(LINES_MAX + 1, format!("a file has at most {LINES_MAX} lines"))]
}

/// Every memory ordering has its reason, in `// ORDERING:` on its line, or above it in the same
/// statement with at most three lines of code between.
///
/// A reason serves one ordering, or the two arguments of one compare-exchange. Orderings are
/// written `Ordering::X`, so that none hides behind an import.
pub(crate) fn orderings(source: &Source) -> Vec<Violation> {
    let mut violations = Vec::new();
    for (number, line) in source.numbered() {
        let imported = line.code.trim_start().starts_with("use ") && ordering(line);
        let hidden = ["Ordering::{", "Ordering::*"].iter().any(|form| line.code.contains(form));
        if imported || hidden || renamed(line) {
            violations.push(source.violation(number, "write Ordering::X where it is used"));
        } else if ordering(line) && !has_reason(&source.lines[..number]) {
            violations.push(source.violation(number, "an ordering needs an // ORDERING: comment"));
        }
    }
    violations
}

/// `SeqCst` needs a proof in the README of its folder. `readme` is the text of that, if there is one.
pub(crate) fn sequential(source: &Source, readme: Option<&str>) -> Vec<Violation> {
    if readme.is_some_and(|text| has_word(text, "SeqCst")) {
        return Vec::new();
    }
    source.forbid(
        |line| has_word(&line.code, "SeqCst"),
        "SeqCst needs a proof in a README.md beside the file",
    )
}

/// Unsafe code lives in two files, and each block and each implementation says why it is sound: in
/// `// SAFETY:` on its line or in the four lines above, not counting lines of comment.
pub(crate) fn unsafety(source: &Source) -> Vec<Violation> {
    if !UNSAFE_FILES.contains(&source.path.as_str()) {
        return source.forbid(|line| has_word(&line.code, "unsafe"), "unsafe code lives elsewhere");
    }
    let mut violations = Vec::new();
    for (number, line) in source.numbered() {
        let opens = word_places(&line.code, "unsafe").any(|at| {
            let after = line.code[at + "unsafe".len()..].trim_start();
            after.is_empty() || after.starts_with('{') || after.starts_with("impl")
        });
        if opens && !has_safety(&source.lines[..number]) {
            violations.push(source.violation(number, "unsafe needs a // SAFETY: comment above"));
        }
    }
    violations
}

/// Time is an input: only the clock reads it, and only the idle driver waits.
pub(crate) fn clocks(source: &Source) -> Vec<Violation> {
    if CLOCK_FILES.contains(&source.path.as_str()) {
        return Vec::new();
    }
    let calls = ["Instant::now", "SystemTime::now", "thread::sleep"];
    source.forbid(
        |line| calls.iter().any(|call| has_word(&line.code, call)),
        "time is read in time.rs, and waiting is done in driver/idle.rs",
    )
}

/// What can't fail says why, with `expect`.
pub(crate) fn unwraps(source: &Source) -> Vec<Violation> {
    source.forbid(
        |line| !line.test && line.code.contains(".unwrap()"),
        "expect(\"the invariant\") instead of unwrap",
    )
}

/// A segment is called a segment. `.chunks()` of the standard library is not our word.
pub(crate) fn words(source: &Source) -> Vec<Violation> {
    let method = |comment: &str, at: usize| {
        comment[at..].starts_with("chunks") && comment[..at].ends_with(['.', ':', '`'])
    };
    source.forbid(
        |line| {
            let comment = line.comment.to_lowercase();
            ["piece", "pieces", "chunk", "chunks"]
                .iter()
                .any(|word| word_places(&comment, word).any(|at| !method(&comment, at)))
        },
        "the word is segment",
    )
}

impl Source {
    /// A finding in this file.
    pub(crate) fn violation(&self, line: usize, rule: impl Into<String>) -> Violation {
        Violation { path: self.path.clone(), line, rule: rule.into() }
    }

    /// A finding for every line that is `bad`.
    fn forbid(&self, bad: impl Fn(&Line) -> bool, rule: &str) -> Vec<Violation> {
        let found = self.numbered().filter(|(_, line)| bad(line));
        found.map(|(number, _)| self.violation(number, rule)).collect()
    }
}

/// Whether the line names a memory ordering, not one of `std::cmp`.
fn ordering(line: &Line) -> bool {
    // An alias such as `AtomicOrdering` ends like the type that it stands for.
    ORDERINGS.iter().any(|name| line.code.contains(&format!("Ordering::{name}")))
}

/// Whether the line gives the type a name that [`ordering`] doesn't see.
fn renamed(line: &Line) -> bool {
    line.code.split("Ordering as ").skip(1).any(|rest| {
        let end = rest.find([',', ';', '}']).unwrap_or(rest.len());
        !rest[..end].trim_end().ends_with("Ordering")
    })
}

/// Whether the last of these lines, which has an ordering, has its reason.
fn has_reason(lines: &[Line]) -> bool {
    let (line, above) = lines.split_last().expect("the line at hand is one of them");
    if line.comment.contains("ORDERING:") {
        return true;
    }
    let mut counted = 0;
    for (index, candidate) in above.iter().enumerate().rev() {
        let code = candidate.code.trim();
        if ordering(candidate) {
            let both = [line, candidate].map(|line| line.code.trim().starts_with("Ordering::"));
            return both == [true, true] && has_reason(&above[..=index]);
        }
        if code.ends_with([';', '}']) {
            return false;
        }
        if candidate.comment.contains("ORDERING:") {
            return true;
        }
        counted += usize::from(!only_comment(candidate));
        if counted > 3 {
            return false;
        }
    }
    false
}

/// Whether the last of these lines, which has unsafe code, says why it is sound.
fn has_safety(lines: &[Line]) -> bool {
    let mut counted = 0;
    for line in lines.iter().rev() {
        if line.comment.contains("SAFETY:") {
            return true;
        }
        counted += usize::from(!only_comment(line));
        if counted > 4 {
            return false;
        }
    }
    false
}

fn only_comment(line: &Line) -> bool {
    line.code.trim().is_empty() && !line.comment.is_empty()
}
