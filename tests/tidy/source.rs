//! A source file as lines of code and lines of comment.

use std::mem;

/// A file of `src`, read as text.
#[derive(Debug)]
pub(crate) struct Source {
    /// Its path from `src` on, with forward slashes: `swarm/mod.rs`.
    pub(crate) path: String,
    /// Its lines, the first of them line 1.
    pub(crate) lines: Vec<Line>,
}

/// A line of a file.
#[derive(Debug, Default)]
pub(crate) struct Line {
    /// What the compiler reads. Strings and characters are empty, so that no rule reads them.
    pub(crate) code: String,
    /// What a person reads: comments and documentation, with their slashes.
    pub(crate) comment: String,
    /// Whether it is compiled for tests only.
    pub(crate) test: bool,
}

impl Source {
    /// Takes a file apart.
    pub(crate) fn new(path: &str, text: &str) -> Self {
        let mut lines = split(text);
        mark_tests(&mut lines);
        if path.ends_with("/tests.rs") || path.contains("/tests/") {
            lines.iter_mut().for_each(|line| line.test = true);
        }
        Self { path: path.to_owned(), lines }
    }

    /// The lines with their numbers, from 1.
    pub(crate) fn numbered(&self) -> impl Iterator<Item = (usize, &Line)> {
        (1..).zip(&self.lines)
    }
}

/// Whether `text` contains `word` with no message, digit or underscore on either side.
pub(crate) fn has_word(text: &str, word: &str) -> bool {
    word_places(text, word).next().is_some()
}

/// Where the whole word stands in the text, as byte positions.
pub(crate) fn word_places<'a>(text: &'a str, word: &'a str) -> impl Iterator<Item = usize> {
    let inside = |c: char| c.is_alphanumeric() || c == '_';
    text.match_indices(word).map(|(at, _)| at).filter(move |&at| {
        !text[..at].ends_with(inside) && !text[at + word.len()..].starts_with(inside)
    })
}

/// What the characters at hand belong to.
enum State {
    Code,
    LineComment,
    /// A block comment, and how deep it is nested.
    BlockComment(usize),
    /// A string, and the hashes that end it when it is raw.
    Text(Option<usize>),
}

fn split(text: &str) -> Vec<Line> {
    let (mut lines, mut line, mut state) = (Vec::new(), Line::default(), State::Code);
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let taken = if c == '\n' {
            lines.push(mem::take(&mut line));
            if matches!(state, State::LineComment) {
                state = State::Code;
            }
            1
        } else {
            step(rest, c, &mut state, &mut line)
        };
        rest = &rest[taken..];
    }
    if !line.code.is_empty() || !line.comment.is_empty() {
        lines.push(line);
    }
    lines
}

/// Puts the next characters where they belong and says how many bytes they were.
fn step(rest: &str, c: char, state: &mut State, line: &mut Line) -> usize {
    match *state {
        State::Code => return code(rest, c, state, line),
        State::LineComment => line.comment.push(c),
        State::BlockComment(depth) => {
            let deeper = rest.starts_with("/*");
            if deeper || rest.starts_with("*/") {
                let depth = if deeper { depth + 1 } else { depth - 1 };
                *state = if depth == 0 { State::Code } else { State::BlockComment(depth) };
                line.comment.push_str(&rest[..2]);
                return 2;
            }
            line.comment.push(c);
        }
        State::Text(None) => {
            if c == '\\' && !rest[1..].starts_with('\n') {
                return 1 + rest[1..].chars().next().map_or(0, char::len_utf8);
            }
            if c == '"' {
                line.code.push(c);
                *state = State::Code;
            }
        }
        State::Text(Some(hashes)) => {
            if c == '"' && rest[1..].bytes().take_while(|&b| b == b'#').count() >= hashes {
                line.code.push(c);
                *state = State::Code;
                return 1 + hashes;
            }
        }
    }
    c.len_utf8()
}

fn code(rest: &str, c: char, state: &mut State, line: &mut Line) -> usize {
    if rest.starts_with("//") {
        *state = State::LineComment;
        return 0;
    }
    if rest.starts_with("/*") {
        *state = State::BlockComment(1);
        line.comment.push_str("/*");
        return 2;
    }
    let raw = ["r", "br", "cr"].iter().find_map(|prefix| {
        let after = rest.strip_prefix(prefix)?;
        let hashes = after.len() - after.trim_start_matches('#').len();
        after[hashes..].starts_with('"').then_some((prefix.len() + hashes + 1, hashes))
    });
    if let Some((bytes, hashes)) = raw
        && !line.code.ends_with(|c: char| c.is_alphanumeric() || c == '_')
    {
        line.code.push('"');
        *state = State::Text(Some(hashes));
        return bytes;
    }
    line.code.push(c);
    match c {
        '"' => *state = State::Text(None),
        '\'' => return character(rest),
        _ => {}
    }
    c.len_utf8()
}

/// The bytes of a character literal, or of the quote alone where it begins a lifetime.
fn character(rest: &str) -> usize {
    let mut inside = rest[1..].chars();
    match inside.next() {
        Some('\\') => {
            // The quote that ends it is not the escaped one.
            let escaped = 2 + inside.next().map_or(0, char::len_utf8);
            rest[escaped..].find('\'').map_or(1, |end| escaped + end + 1)
        }
        Some(c) if inside.next() == Some('\'') => 2 + c.len_utf8(),
        _ => 1,
    }
}

/// Marks what stands under `#[cfg(test)]`: until its braces close, or until its semicolon.
fn mark_tests(lines: &mut [Line]) {
    let (mut waiting, mut depth) = (false, 0_usize);
    for line in lines {
        let attribute = line.code.contains("#[cfg(test)]") || line.code.contains("#[cfg(all(test");
        waiting |= depth == 0 && attribute;
        line.test = waiting || depth > 0;
        for c in line.code.chars() {
            match c {
                '{' if waiting || depth > 0 => (waiting, depth) = (false, depth + 1),
                '}' => depth = depth.saturating_sub(1),
                // Not the semicolon in the type of an array.
                ';' if line.code.trim_end().ends_with(';') => waiting = false,
                _ => {}
            }
        }
    }
}
