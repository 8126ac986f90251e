//! Values inside messages. Whatever a value holds, the message stays one short line and can't send
//! control codes to a terminal.

use std::fmt::{self, Write as _};
use std::path::Path;

/// How many characters of a value a message shows.
// Half of a terminal's line: a hash of 32 digits is shown whole, and room is left for the sentence.
const QUOTED_CHARS_MAX: usize = 40;

/// A value of an input as a message shows it: in quotes, escaped, and cut after 40 characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quoted(Box<str>);

impl Quoted {
    /// Quotes a value.
    pub fn new(value: &str) -> Self {
        match value.char_indices().nth(QUOTED_CHARS_MAX) {
            None => Self(format!("{value:?}").into()),
            Some((cut, _)) => Self(format!("{:?}…", &value[..cut]).into()),
        }
    }
}

impl fmt::Display for Quoted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Shows a path on one line: control characters, which a path may hold, are escaped.
#[derive(Clone, Copy, Debug)]
pub(super) struct OneLine<'a>(pub(super) &'a Path);

impl fmt::Display for OneLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.to_string_lossy().chars().try_for_each(|character| {
            if character.is_control() {
                write!(f, "{}", character.escape_default())
            } else {
                f.write_char(character)
            }
        })
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

    #[test]
    fn a_path_stays_on_one_line() {
        assert_eq!(OneLine(Path::new("a\nb/in1.txt")).to_string(), r"a\nb/in1.txt");
    }
}
