//! Whether all ranks were started with the same options, before anything depends on that. A launcher can
//! start each rank with a command line of its own (MPMD).

use super::{REFUSED, show};
use crate::escape;
use crate::protocol::codec::PROTOCOL_VERSION;
use crate::protocol::message::shortened;
use crate::transport::TransportError;
use crate::transport::mpi::{Meeting, RollCall};
use crate::verify::Digest;

// Words of a fingerprint: the version, and one for each option.
// Twice as many as any command needs now. Versions may have different numbers of words: where the version differs,
// nothing else is compared. Options beyond share the last word.
const WORDS: usize = 32;

// Bytes that are 0 before what a rank says that can't read its command line.
// Fixed in all versions, so that any rank 0 can tell it from a fingerprint, which does not begin with so many zeros.
const UNREAD_BYTES: usize = 128;

// What to do where ranks differ.
const THE_SAME: &str = "start all ranks with the same program and options";

// What a rank says whose command line can't be read: a fingerprint that fits no other, and why.
const UNREAD: [u8; UNREAD_BYTES] = [0; UNREAD_BYTES];

/// The exit code where ranks differ in an option that must agree, or the command line of one can't be read;
/// rank 0 names them. All ranks come here before any other call, and rank 0 names those that don't.
///
/// `options` is what this rank's command line says, or what is wrong with it: rank 0 has then said its own.
pub(super) fn refusal(
    roll_call: &RollCall<'_>,
    options: Result<&[(String, String)], &str>,
) -> Result<Option<u8>, TransportError> {
    let bytes: Vec<u8> = match options {
        Ok(options) => fingerprint(options).iter().flat_map(|word| word.to_le_bytes()).collect(),
        Err(wrong) => [&UNREAD, shortened(wrong).as_bytes()].concat(),
    };
    let answer = roll_call.meet(Meeting::Start, &bytes, |all| {
        let lines = disagreements(options, &all);
        lines.iter().for_each(|line| show::error(line));
        vec![u8::from(options.is_err() || !lines.is_empty())]
    })?;
    // Rank 0 has spoken by then: a launcher ends all ranks when the first ends with an error.
    Ok((answer != [0]).then_some(REFUSED))
}

/// What rank 0 says about what all ranks said.
fn disagreements(mine: Result<&[(String, String)], &str>, all: &[Vec<u8>]) -> Vec<String> {
    let (mut unread, mut fingerprints) = (Vec::new(), Vec::new());
    for (rank, said) in (0..).zip(all) {
        match said.strip_prefix(&UNREAD) {
            Some(wrong) => unread.push((rank, String::from_utf8_lossy(wrong).into_owned())),
            None => fingerprints.push((rank, said.as_slice())),
        }
    }
    // All ranks mostly have the same command line.
    unread.retain(|(_, wrong)| mine.err() != Some(wrong));
    let lines = escape::by_reason(unread).into_iter().map(|line| format!("{line}: {THE_SAME}"));
    lines.chain(differences(mine.unwrap_or_default(), &fingerprints)).collect()
}

fn fingerprint(options: &[(String, String)]) -> [u64; WORDS] {
    let version = format!("{PROTOCOL_VERSION} {}", env!("CARGO_PKG_VERSION"));
    let mut words = [0; WORDS];
    words[0] = word(0, &version);
    for (place, (_, value)) in (1..).zip(options) {
        let place = place.min(WORDS - 1);
        words[place] = word(words[place], value);
    }
    words
}

fn word(before: u64, value: &str) -> u64 {
    let Digest([a, b, c, d, e, f, g, h, ..]) = Digest::of(format!("{before} {value}").as_bytes());
    u64::from_le_bytes([a, b, c, d, e, f, g, h])
}

/// A line for each option in which ranks differ from rank 0, which has `options`; none where it has none.
fn differences(options: &[(String, String)], all: &[(u32, &[u8])]) -> Vec<String> {
    if options.is_empty() {
        return Vec::new();
    }
    let mine = fingerprint(options);
    let version_word = mine[0];
    let version = ("the version".to_owned(), env!("CARGO_PKG_VERSION").to_owned());
    let named = std::iter::once(&version).chain(options).zip(mine).enumerate();
    let differs = |(place, ((name, value), mine)): (usize, (&(String, String), u64))| {
        // What is cut off differs. The words of another version mean something else.
        let has_word = |said: &[u8], place: usize, word: u64| {
            said.as_chunks().0.get(place) == Some(&word.to_le_bytes())
        };
        let differs = |said: &[u8]| {
            let is_of_my_version = place == 0 || has_word(said, 0, version_word);
            is_of_my_version && !has_word(said, place, mine)
        };
        let ranks = all.iter().filter(|(_, said)| differs(said)).map(|&(rank, _)| rank);
        let ranks: Vec<u32> = ranks.collect();
        (!ranks.is_empty()).then(|| {
            let ranks = escape::ranks(&ranks);
            format!("{ranks}: {name} is not {value} as on rank 0: {THE_SAME}")
        })
    };
    named.filter_map(differs).collect()
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::super::args::{Args, Command};
    use super::*;

    fn options(values: &[&str]) -> Vec<(String, String)> {
        let named = |(place, value): (usize, &&str)| (format!("--o{place}"), (*value).to_owned());
        values.iter().enumerate().map(named).collect()
    }

    fn said(values: &[&str]) -> Vec<u8> {
        fingerprint(&options(values)).iter().flat_map(|word| word.to_le_bytes()).collect()
    }

    fn unread(wrong: &str) -> Vec<u8> {
        [&UNREAD, wrong.as_bytes()].concat()
    }

    #[test]
    fn ranks_that_differ_are_named_with_the_option() {
        let mine = options(&["a", "b", "c"]);
        let all = [said(&["a", "b", "c"]), said(&["a", "x", "c"]), said(&["a", "y", "c"])];
        let expected = format!("ranks 1, 2: --o1 is not b as on rank 0: {THE_SAME}");
        assert_eq!(disagreements(Ok(&mine), &all), [expected]);
        assert_eq!(disagreements(Ok(&mine), &all[..1]), [""; 0]);
    }

    #[test]
    fn more_options_than_words_still_count() {
        let many = vec!["a"; 40];
        let mut other = many.clone();
        other[39] = "b";
        assert_eq!(disagreements(Ok(&options(&many)), &[said(&other)]).len(), 1);
    }

    #[test]
    fn of_another_version_the_version_alone_is_named() {
        let mine = options(&["a", "b"]);
        let same = said(&["a", "b"]);
        let other: Vec<u8> = (1..=16_u64).flat_map(u64::to_le_bytes).collect();
        let expected = format!(
            "rank 1: the version is not {} as on rank 0: {THE_SAME}",
            env!("CARGO_PKG_VERSION")
        );
        assert_eq!(disagreements(Ok(&mine), &[same.clone(), other]), [expected]);
        // It says what is wrong as versions of 16 words did.
        let unread = [&[0; 128], b"x".as_slice()].concat();
        assert_eq!(disagreements(Ok(&mine), &[same, unread]), [format!("rank 1: x: {THE_SAME}")]);
    }

    #[test]
    fn every_option_of_a_command_has_a_word_of_its_own() {
        for words in [&["mpiswarm", "run"][..], &["mpiswarm", "stage", "a", "--to", "b"]] {
            let command = Args::try_parse_from(words).expect("it is right").command;
            let agreed = if let Command::Run(args) = command {
                args.agreed()
            } else if let Command::Stage(args) = command {
                args.agreed()
            } else {
                unreachable!("these are the two commands")
            };
            assert!(agreed.len() < WORDS, "{agreed:?}");
        }
    }

    #[test]
    fn ranks_whose_options_cannot_be_read_are_named_once() {
        let mine = options(&["a"]);
        let all: Vec<_> = std::iter::once(said(&["a"]))
            .chain((1..500).map(|rank| unread(if rank == 2 { "y" } else { "x" })))
            .collect();
        let expected = [
            format!("ranks 1, 3, 4, 5, 6, and 493 more: x: {THE_SAME}"),
            format!("rank 2: y: {THE_SAME}"),
        ];
        assert_eq!(disagreements(Ok(&mine), &all), expected);
        // Rank 0 has said what is wrong with its own.
        let all = [unread("x"), said(&["a"]), unread("x"), unread("y")];
        assert_eq!(disagreements(Err("x"), &all), [format!("rank 3: y: {THE_SAME}")]);
        // Cut off, or nothing at all: as of another version.
        assert_eq!(disagreements(Ok(&mine), &[said(&["a"]), Vec::new(), vec![1]]).len(), 1);
    }
}
