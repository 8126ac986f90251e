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
    pub(super) cause: ParseCause,
}

/// What is wrong with a line of an input. Places are counted from 1.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum ParseCause {
    #[error("the byte 0x{byte:02x} is not UTF-8")]
    NotUtf8 { byte: u8 },
    #[error("the file ends before {expected}")]
    Missing { expected: Count },
    #[error("{value} is not a number: {expected} is expected")]
    NotANumber { value: Quoted, expected: Count },
    #[error("{value} is negative: {expected} is expected")]
    Negative { value: Quoted, expected: Count },
    #[error("{value} is too large: {expected} is at most {}", u32::MAX)]
    TooLarge { value: Quoted, expected: Count },
    #[error("announces {}, but the file ends after {found}", counted.amount(*announced))]
    EndsEarly { counted: Count, announced: u32, found: u32 },
    #[error(
        "{value} has no segment count: a name and a count are expected for owned file {place} of \
         {announced}"
    )]
    NoSegmentCount { value: Quoted, place: u32, announced: u32 },
    #[error("{value}: {cause}")]
    Name { value: Quoted, cause: NameError },
    #[error(
        "a hash of {characters} character{}: an even number from {HASH_BYTES_MIN} to \
         {HASH_BYTES_MAX} is expected",
        if *characters == 1 { "" } else { "s" }
    )]
    HashLength { characters: usize },
    // Often the line is the next file's header, after too large a count: so the message names the
    // line of that count.
    #[error(
        "{value} is not a hash: {found:?} is not hexadecimal (segment {place} of {announced}, \
         announced on line {header})"
    )]
    HashDigit { value: Quoted, found: char, place: u32, announced: u32, header: usize },
    #[error("{name} is owned twice: line {first} has it already")]
    OwnedTwice { name: Quoted, first: usize },
    #[error("{name} is wanted twice: line {first} has it already")]
    WantedTwice { name: Quoted, first: usize },
    #[error(
        "{name} would be written to the same file as line {first} asks for: long names are \
         shortened"
    )]
    SameOutput { name: Quoted, first: usize },
    #[error(
        "the file goes on with {value} after {}: nothing more is announced",
        Count::WantedFiles.amount(*wanted)
    )]
    Trailing { value: Quoted, wanted: u32 },
}

/// The three counts of an input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Count {
    OwnedFiles,
    Segments,
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
