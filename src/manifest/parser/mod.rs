//! The grammar of `in<R>.txt`: a top-down parser, one function a rule.
//!
//! Counts are claims of an untrusted text. No memory is reserved for a count alone: it is first
//! limited by the bytes that are left (CWE-789).

mod lines;
#[cfg(test)]
mod tests;

use std::collections::HashMap;

use self::lines::{InputLine, InputLines, is_blank};
use super::hashes::{HASH_BYTES_MIN, has_hash_length};
use super::quote::Quoted;
use super::{Count, FileName, Hashes, InputWarning, OwnedFile, ParseCause, ParseError, PeerInput};

// Some editors on Windows put it before UTF-8.
const BYTE_ORDER_MARK: char = '\u{feff}';

/// Characters of a classic hash, an MD5.
// Only a first guess at the room that a file's hashes need: longer ones make it grow.
const CLASSIC_HASH_BYTES: usize = 32;

/// The line of each name, so that an error can name both lines of a file that comes twice.
type Places<'text> = HashMap<&'text str, usize>;

impl PeerInput {
    /// Parses the text of an input.
    ///
    /// The text is the count of owned files; for each a line `name segment_count` and that many
    /// hashes, one a line; then the count of wanted files, and their names, one a line. Lines end
    /// with LF or CRLF, blanks around them and empty lines count for nothing, and a byte order
    /// mark may come first. A hash is 8 to 128 hexadecimal digits, an even number of them.
    ///
    /// Time and memory grow with the text, never with the counts that it announces.
    ///
    /// # Errors
    ///
    /// The first line that breaks the grammar; a byte that is not UTF-8 goes before all others.
    pub fn parse(text: &[u8]) -> Result<Self, ParseError> {
        let text = decode(text)?;
        let mut lines = InputLines::new(text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text));
        let mut input = Self::default();
        let places = parse_owned(&mut lines, &mut input)?;
        parse_wanted(&mut lines, &places, &mut input)?;
        Ok(input)
    }
}

// Once for the whole text: a byte that is not UTF-8 is found before anything else is read.
fn decode(bytes: &[u8]) -> Result<&str, ParseError> {
    std::str::from_utf8(bytes).map_err(|error| {
        let (valid, rest) = bytes.split_at(error.valid_up_to());
        let line = 1 + valid.iter().filter(|&&byte| byte == b'\n').count();
        ParseError { line, cause: ParseCause::NotUtf8 { byte: rest[0] } }
    })
}

fn parse_owned<'text>(
    lines: &mut InputLines<'text>,
    input: &mut PeerInput,
) -> Result<Places<'text>, ParseError> {
    let (opening, announced) = parse_section_count(lines, Count::OwnedFiles)?;
    let mut places = Places::new();
    for found in 0..announced {
        let header = lines.next().ok_or_else(|| {
            let counted = Count::OwnedFiles;
            opening.error(ParseCause::EndsEarly { counted, announced, found })
        })?;
        let (name, segments) = header.text.rsplit_once(is_blank).ok_or_else(|| {
            let value = Quoted::new(header.text);
            header.error(ParseCause::NoSegmentCount { value, place: found + 1, announced })
        })?;
        let name = header.trimmed_end(name);
        let parsed = parse_name(name)?;
        if let Some(first) = places.insert(name.text, header.number) {
            let name = Quoted::new(name.text);
            return Err(header.error(ParseCause::OwnedTwice { name, first }));
        }
        let segments = parse_count(header, segments, Count::Segments)?;
        let hashes = parse_hashes(lines, header, segments)?;
        input.owned.push(OwnedFile { name: parsed, line: header.number, hashes });
    }
    Ok(places)
}

fn parse_hashes(
    lines: &mut InputLines<'_>,
    header: InputLine<'_>,
    announced: u32,
) -> Result<Hashes, ParseError> {
    // A hash takes its digits and a line feed, so that the rest of the text has no more than these.
    let segments_max = lines.rest_bytes() / (HASH_BYTES_MIN + 1) + 1;
    let segments = segments_max.min(announced as usize);
    let bytes = lines.rest_bytes().min(segments.saturating_mul(CLASSIC_HASH_BYTES));
    let mut hashes = Hashes::with_capacity(segments, bytes);
    for found in 0..announced {
        let line = lines.next().ok_or_else(|| {
            let counted = Count::Segments;
            header.error(ParseCause::EndsEarly { counted, announced, found })
        })?;
        check_hash(line, header, found + 1, announced)?;
        hashes.push(line.text);
    }
    Ok(hashes)
}

fn check_hash(
    line: InputLine<'_>,
    header: InputLine<'_>,
    place: u32,
    announced: u32,
) -> Result<(), ParseError> {
    if !line.text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        let value = Quoted::new(line.text);
        let header = header.number;
        let strange = line.text.chars().find(|character| !character.is_ascii_hexdigit());
        let found = strange.expect("a byte that is no digit belongs to such a character");
        return Err(line.error(ParseCause::HashDigit { value, found, place, announced, header }));
    }
    if !has_hash_length(line.text.len()) {
        return Err(line.error(ParseCause::HashLength { characters: line.text.len() }));
    }
    Ok(())
}

fn parse_wanted(
    lines: &mut InputLines<'_>,
    owned: &Places<'_>,
    input: &mut PeerInput,
) -> Result<(), ParseError> {
    let (opening, announced) = parse_section_count(lines, Count::WantedFiles)?;
    let mut places = Places::new();
    for found in 0..announced {
        let line = lines.next().ok_or_else(|| {
            let counted = Count::WantedFiles;
            opening.error(ParseCause::EndsEarly { counted, announced, found })
        })?;
        let name = parse_name(line)?;
        if let Some(first) = places.insert(line.text, line.number) {
            let name = Quoted::new(line.text);
            return Err(line.error(ParseCause::WantedTwice { name, first }));
        }
        // Odd, but there is nothing to do: a warning, not an error.
        if owned.contains_key(line.text) {
            input.warnings.push(InputWarning { line: line.number, name });
        } else {
            input.wanted.push(name);
        }
    }
    match lines.next() {
        None => Ok(()),
        Some(line) => {
            let value = Quoted::new(line.text);
            Err(line.error(ParseCause::Trailing { value, wanted: announced }))
        }
    }
}

fn parse_section_count<'text>(
    lines: &mut InputLines<'text>,
    expected: Count,
) -> Result<(InputLine<'text>, u32), ParseError> {
    let Some(line) = lines.next() else {
        let cause = ParseCause::Missing { expected };
        return Err(ParseError { line: lines.last_number().max(1), cause });
    };
    Ok((line, parse_count(line, line.text, expected)?))
}

fn parse_count(line: InputLine<'_>, text: &str, expected: Count) -> Result<u32, ParseError> {
    // Digits only. `u32::from_str` would take a plus sign too.
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if is_number(text) {
        let too_large = |_| ParseCause::TooLarge { value: Quoted::new(text), expected };
        return text.parse().map_err(too_large).map_err(|cause| line.error(cause));
    }
    let value = Quoted::new(text);
    Err(line.error(match text.strip_prefix('-') {
        Some(digits) if is_number(digits) => ParseCause::Negative { value, expected },
        _ => ParseCause::NotANumber { value, expected },
    }))
}

fn parse_name(line: InputLine<'_>) -> Result<FileName, ParseError> {
    FileName::parse(line.text)
        .map_err(|cause| line.error(ParseCause::Name { value: Quoted::new(line.text), cause }))
}
