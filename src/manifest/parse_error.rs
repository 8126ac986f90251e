//! What can be wrong with an input, in words for whoever wrote it.

use std::fmt;

use super::NameError;
use super::hashes::{HASH_BYTES_MAX, HASH_BYTES_MIN};
use super::quote::Quoted;

/// Why an input could not be parsed, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {cause}")]
pub struct ParseError {
    /// The line at fault, counted from 1.
    pub line: usize,
    /// What is wrong with it.
    pub cause: ParseCause,
}

/// What is wrong with a line of an input.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the names say what they hold")]
pub enum ParseCause {
    /// A byte that does not belong to UTF-8.
    #[error("the byte 0x{byte:02x} is not UTF-8")]
    NotUtf8 { byte: u8 },
    /// The text ends where a section should begin.
    #[error("the file ends before {expected}")]
    Missing {
        /// The count that opens the section.
        expected: Count,
    },
    /// Something else stands in a count's place.
    #[error("{value} is not a number: {expected} is expected")]
    NotANumber { value: Quoted, expected: Count },
    #[error("{value} is negative: {expected} is expected")]
    Negative { value: Quoted, expected: Count },
    /// A count that the swarm cannot number.
    #[error("{value} is too large: {expected} is at most {}", u32::MAX)]
    TooLarge { value: Quoted, expected: Count },
    /// A count larger than what follows it.
    #[error("announces {}, but the file ends after {found}", counted.amount(*announced))]
    EndsEarly {
        counted: Count,
        /// The count on the line.
        announced: u32,
        found: u32,
    },
    /// The header of an owned file is one word.
    #[error(
        "{value} has no segment count: a name and a count are expected for owned file {place} of \
         {announced}"
    )]
    NoSegmentCount {
        value: Quoted,
        /// Which owned file it should open, counted from 1.
        place: u32,
        /// How many owned files the input announces.
        announced: u32,
    },
    /// A name that may not become a path.
    #[error("{value}: {cause}")]
    Name {
        value: Quoted,
        /// The rule that it breaks.
        cause: NameError,
    },
    /// A hash that is too short, too long or odd.
    #[error(
        "a hash of {characters} character{}: an even number from {HASH_BYTES_MIN} to \
         {HASH_BYTES_MAX} is expected",
        if *characters == 1 { "" } else { "s" }
    )]
    HashLength {
        /// The characters of the hash.
        characters: usize,
    },
    /// A line that is no hash at all: often the next header, after too large a count.
    #[error(
        "{value} is not a hash: {found:?} is not hexadecimal (segment {place} of {announced}, \
         announced on line {header})"
    )]
    HashDigit {
        value: Quoted,
        /// Its first character that is not a hexadecimal digit.
        found: char,
        /// Which segment it should describe, counted from 1.
        place: u32,
        /// How many segments the file's header announces.
        announced: u32,
        /// The line of that header.
        header: usize,
    },
    /// The same file is owned twice.
    #[error("{name} is owned twice: line {first} has it already")]
    OwnedTwice {
        name: Quoted,
        /// The line of its first header.
        first: usize,
    },
    /// The same file is wanted twice.
    #[error("{name} is wanted twice: line {first} has it already")]
    WantedTwice {
        name: Quoted,
        /// The line that wants it first.
        first: usize,
    },
    /// Two wanted files would lie in one.
    #[error(
        "{name} would be written to the same file as line {first} asks for: long names are \
         shortened"
    )]
    SameOutput {
        name: Quoted,
        /// The line that wants the other one.
        first: usize,
    },
    /// More text than the counts announce.
    #[error(
        "the file goes on with {value} after {}: nothing more is announced",
        Count::WantedFiles.amount(*wanted)
    )]
    Trailing {
        value: Quoted,
        /// How many wanted files the input announces.
        wanted: u32,
    },
}

/// The three counts of an input. Shown, it is the count's name in a sentence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Count {
    /// How many files the peer owns.
    OwnedFiles,
    /// How many segments an owned file has.
    Segments,
    /// How many files the peer wants.
    WantedFiles,
}

impl Count {
    /// `number` of what is counted, in words: `1 segment`, `2 owned files`.
    fn amount(self, number: u32) -> String {
        let noun = match self {
            Self::OwnedFiles => "owned file",
            Self::Segments => "segment",
            Self::WantedFiles => "wanted file",
        };
        let plural = if number == 1 { "" } else { "s" };
        format!("{number} {noun}{plural}")
    }
}

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::OwnedFiles => "the count of owned files",
            Self::Segments => "a segment count",
            Self::WantedFiles => "the count of wanted files",
        })
    }
}
