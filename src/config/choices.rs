//! What can be chosen in the lockfree engine, each by itself, so that one can see what each choice
//! buys. The defaults are the fastest that were measured.

use std::fmt;
use std::str::FromStr;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

/// Where the tracker keeps who has what.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[value(rename_all = "lowercase")]
pub enum IndexKind {
    /// One map of plain data behind one mutex, held for a whole handout.
    Mutex,
    /// A sharded map: a read-write lock a shard, held for one look-up; atomics inside.
    #[default]
    DashMap,
    /// No map and no lock: files are numbered at registration, and records are atomics.
    Atomic,
}

/// How the tracker counts what was asked of each node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CounterKind {
    /// Plain numbers behind one mutex.
    Mutex,
    /// Atomics, a cache line or two a node.
    #[default]
    Atomic,
}

/// Which of the segments that a peer lacks it is told to fetch next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Selection {
    /// The first that anybody can send, in the order of the files and of their segments.
    FileOrder,
    /// Any that somebody can send, each as likely as the other.
    Random,
    /// The one with the fewest copies, those in flight counted; random among equals.
    #[default]
    Rarest,
}

/// Which of a segment's holders is asked. Whatever the rule, owners are spared, nobody is charged
/// with more than `holder_load`, and what remains equal is decided by chance.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Balance {
    /// The one that was asked least often since the start.
    RequestCount,
    /// Any.
    Random,
    /// The one with less under way of two that chance picks.
    TwoChoices,
    /// The one with least under way, then the one that was asked least often. Among segments that
    /// are equally good, those go first whose holder has nothing under way.
    #[default]
    InFlight,
}

/// What becomes of requests beyond those that a holder serves at a time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Admission {
    /// All wait their turn at the holder, and the tracker sends as many there as it likes. What
    /// bounds the queue is that each peer has no more than its window outstanding.
    Queue,
    /// The tracker lets `holder_load` wait at one holder, and a holder answers *busy* beyond
    /// `upload_queue`, so that it is asked elsewhere at once.
    #[default]
    Slots,
}

/// Where a peer receives to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Buffers {
    /// A buffer of its own for each segment, allocated when it is asked for.
    Fresh,
    /// Slots reserved before the swarm opens.
    #[default]
    Preallocated,
}

/// Who checks what a peer receives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verify {
    /// The thread that communicates.
    #[default]
    Inline,
    /// Threads beside it.
    Pool,
    /// Nobody: the results are marked *unverified*.
    Off,
}

/// A word that names no choice.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{word}` is none of {choices}")]
pub struct UnknownChoice {
    /// The word.
    pub word: String,
    /// What there is to choose from.
    pub choices: String,
}

fn name<T: ValueEnum>(choice: &T) -> String {
    let value = choice.to_possible_value().expect("no choice is hidden");
    value.get_name().to_owned()
}

fn parse<T: ValueEnum>(word: &str) -> Result<T, UnknownChoice> {
    T::from_str(word, false).map_err(|_| {
        let choices: Vec<_> = T::value_variants().iter().map(name).collect();
        UnknownChoice { word: word.to_owned(), choices: choices.join(", ") }
    })
}

/// Has choices read and written by the names that they have on the command line.
macro_rules! named {
    ($($choice:ty),*) => {$(
        impl FromStr for $choice {
            type Err = UnknownChoice;

            fn from_str(word: &str) -> Result<Self, UnknownChoice> {
                parse(word)
            }
        }

        impl fmt::Display for $choice {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&name(self))
            }
        }
    )*};
}

named!(IndexKind, CounterKind, Selection, Balance, Admission, Buffers, Verify);

#[cfg(test)]
mod tests {
    use super::*;

    /// The command line, `FromStr` and records name every choice alike.
    fn named_alike<T>(names: &[&str])
    where
        T: ValueEnum + FromStr<Err = UnknownChoice> + fmt::Display + fmt::Debug + PartialEq,
        T: Serialize,
    {
        let found: Vec<_> = T::value_variants().iter().map(ToString::to_string).collect();
        assert_eq!(found, names);
        for (choice, name) in T::value_variants().iter().zip(names) {
            assert_eq!(&<T as FromStr>::from_str(name).expect("its own name"), choice);
            let record = serde_json::to_string(choice).expect("a choice is a word");
            assert_eq!(record, format!("\"{name}\""));
        }
    }

    #[test]
    fn choices_have_one_name_everywhere() {
        named_alike::<IndexKind>(&["mutex", "dashmap", "atomic"]);
        named_alike::<CounterKind>(&["mutex", "atomic"]);
        named_alike::<Selection>(&["file-order", "random", "rarest"]);
        named_alike::<Balance>(&["request-count", "random", "two-choices", "in-flight"]);
        named_alike::<Admission>(&["queue", "slots"]);
        named_alike::<Buffers>(&["fresh", "preallocated"]);
        named_alike::<Verify>(&["inline", "pool", "off"]);
    }

    #[test]
    fn a_word_that_names_nothing_is_refused_in_a_sentence() {
        let error = <IndexKind as FromStr>::from_str("btree").expect_err("there is no such index");
        assert_eq!(error.to_string(), "`btree` is none of mutex, dashmap, atomic");
    }
}
