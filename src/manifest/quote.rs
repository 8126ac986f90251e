//! Values inside messages. Whatever a value holds, the message stays one short line and can't send
//! control codes to a terminal.

use std::fmt;

use crate::escape::{fitting, terminal};

/// How many columns of a value a message shows.
// Half of a terminal's line: a hash of 32 digits is shown whole, and room is left for the sentence.
const QUOTED_COLUMNS_MAX: usize = 40;

/// A value of an input as a message shows it: in quotes, escaped, and cut after 40 columns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quoted(Box<str>);

impl Quoted {
    /// Quotes a value.
    pub fn new(value: &str) -> Self {
        let shown = fitting(value, QUOTED_COLUMNS_MAX);
        let cut = if shown.len() < value.len() { "…" } else { "" };
        Self(format!("\"{}\"{cut}", terminal(shown).replace('"', "\\\"")).into())
    }
}

impl fmt::Display for Quoted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_quoted_and_escaped() {
        assert_eq!(Quoted::new("a\"b\u{1b}\n").to_string(), r#""a\"b\u{1b}\n""#);
    }

    #[test]
    fn a_long_value_is_cut_between_characters() {
        let shown = Quoted::new(&"é".repeat(41)).to_string();
        assert_eq!(shown, format!("\"{}\"…", "é".repeat(40)));
        assert_eq!(Quoted::new(&"é".repeat(40)).to_string(), format!("\"{}\"", "é".repeat(40)));
    }
}
