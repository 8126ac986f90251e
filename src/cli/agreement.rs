//! Whether all ranks were started with the same options, before anything depends on that. A launcher can
//! start each rank with a command line of its own (MPMD).

use super::{REFUSED, show};
use crate::escape;
use crate::protocol::codec::PROTOCOL_VERSION;
use crate::transport::TransportError;
use crate::transport::mpi::{Meeting, RollCall};
use crate::verify::Digest;

// Words of a fingerprint: the version, and one for each option.
// Fixed in all versions, whatever options they have: ranks of two versions can then still exchange
// their fingerprints. Options beyond share the last word.
const WORDS: usize = 16;

/// The exit code where ranks differ in an option that must agree; rank 0 names them. All ranks come here
/// before any other call, and rank 0 names those that don't.
pub(super) fn refusal(
    roll_call: &RollCall<'_>,
    options: &[(String, String)],
) -> Result<Option<u8>, TransportError> {
    let mine = fingerprint(options);
    let bytes: Vec<u8> = mine.iter().flat_map(|word| word.to_le_bytes()).collect();
    let answer = roll_call.meet(Meeting::Start, &bytes, |all| {
        let word = |bytes: &[u8; 8]| u64::from_le_bytes(*bytes);
        // What is cut off differs.
        let words = all.iter().flat_map(|bytes| {
            let mut words: Vec<_> = bytes.as_chunks().0.iter().map(word).collect();
            words.resize(WORDS, 0);
            words
        });
        let differing = differences(&mine, &words.collect::<Vec<_>>(), options);
        differing.iter().for_each(|line| show::error(line));
        vec![u8::from(!differing.is_empty())]
    })?;
    // Rank 0 has spoken by then: a launcher ends all ranks when the first ends with an error.
    Ok((answer != [0]).then_some(REFUSED))
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

/// A line for each option in which ranks differ from rank 0.
fn differences(mine: &[u64], all: &[u64], options: &[(String, String)]) -> Vec<String> {
    let version = ("the version".to_owned(), env!("CARGO_PKG_VERSION").to_owned());
    let named = std::iter::once(&version).chain(options).take(WORDS).enumerate();
    let differs = |(place, (name, value)): (usize, &(String, String))| {
        let ranks = all.chunks(WORDS).enumerate().filter(|(_, words)| words[place] != mine[place]);
        let ranks: Vec<_> = ranks.map(|(rank, _)| rank.to_string()).collect();
        let noun = if ranks.len() == 1 { "rank" } else { "ranks" };
        (!ranks.is_empty()).then(|| {
            format!(
                "{noun} {}: {name} is not {value} as on rank 0: start all ranks with the same program \
                 and options",
                escape::some(&ranks, ", ")
            )
        })
    };
    named.filter_map(differs).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(values: &[&str]) -> Vec<(String, String)> {
        let named = |(place, value): (usize, &&str)| (format!("--o{place}"), (*value).to_owned());
        values.iter().enumerate().map(named).collect()
    }

    #[test]
    fn ranks_that_differ_are_named_with_the_option() {
        let mine = options(&["a", "b", "c"]);
        let all: Vec<u64> = [&["a", "b", "c"], &["a", "x", "c"], &["a", "y", "c"]]
            .iter()
            .flat_map(|values| fingerprint(&options(&values[..])))
            .collect();
        assert_eq!(
            differences(&fingerprint(&mine), &all, &mine),
            ["ranks 1, 2: --o1 is not b as on rank 0: start all ranks with the same program and \
              options"]
        );
        assert_eq!(differences(&fingerprint(&mine), &fingerprint(&mine), &mine), [""; 0]);
    }

    #[test]
    fn more_options_than_words_still_count() {
        let many = vec!["a"; 40];
        let mut other = many.clone();
        other[39] = "b";
        let (mine, many) = (fingerprint(&options(&many)), options(&many));
        assert_eq!(differences(&mine, &fingerprint(&options(&other)), &many).len(), 1);
    }
}
