//! The lexer of `in<R>.txt`: numbered lines, without blanks around them and without empty ones.

use crate::manifest::{ParseCause, ParseError};

pub(super) fn is_blank(character: char) -> bool {
    matches!(character, ' ' | '\t')
}

/// A line that is not empty, without the blanks around it.
#[derive(Clone, Copy)]
pub(super) struct InputLine<'text> {
    pub(super) number: usize,
    pub(super) text: &'text str,
}

impl<'text> InputLine<'text> {
    /// The part `text` of this line, without the blanks that follow it.
    pub(super) fn trimmed_end(self, text: &'text str) -> Self {
        Self { number: self.number, text: text.trim_end_matches(is_blank) }
    }

    pub(super) fn error(self, cause: ParseCause) -> ParseError {
        ParseError { line: self.number, cause }
    }
}

/// The lines of a text that are not empty.
pub(super) struct InputLines<'text> {
    rest: &'text str,
    number: usize,
}

impl<'text> InputLines<'text> {
    pub(super) fn new(text: &'text str) -> Self {
        Self { rest: text, number: 0 }
    }

    /// How many bytes of the text are left.
    pub(super) fn rest_bytes(&self) -> usize {
        self.rest.len()
    }

    /// The number of the last line that was read, counted from 1; 0 before the first.
    pub(super) fn last_number(&self) -> usize {
        self.number
    }
}

impl<'text> Iterator for InputLines<'text> {
    type Item = InputLine<'text>;

    fn next(&mut self) -> Option<InputLine<'text>> {
        while !self.rest.is_empty() {
            let (line, rest) = self.rest.split_once('\n').unwrap_or((self.rest, ""));
            self.rest = rest;
            self.number += 1;
            let line = line.trim_end_matches(|end| is_blank(end) || end == '\r');
            let text = line.trim_start_matches(is_blank);
            if !text.is_empty() {
                return Some(InputLine { number: self.number, text });
            }
        }
        None
    }
}
