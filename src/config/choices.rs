//! What can be chosen in the lockfree engine, each by itself, to see what each choice buys.
//! The defaults are the fastest that were measured; `inputs/plans/ablation.toml` measures them again.

/// A closed set of values. Each has one name on the command line, in plans and in records.
pub trait Choice: Copy + 'static {
    /// All values, in the order in which they are listed.
    const VALUES: &'static [Self];
    /// The name of each value, and what it does.
    const WORDS: &'static [(&'static str, &'static str)];

    /// The value that a word names.
    ///
    /// # Errors
    ///
    /// The word names none.
    fn named(word: &str) -> Result<Self, UnknownChoice> {
        let mut named = Self::VALUES.iter().zip(Self::WORDS);
        let found = named.find_map(|(&value, &(name, _))| (name == word).then_some(value));
        found.ok_or_else(|| {
            let names: Vec<_> = Self::WORDS.iter().map(|&(name, _)| name).collect();
            UnknownChoice { word: word.to_owned(), choices: names.join(", ") }
        })
    }
}

/// A word that names no choice.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{}` is not one of {choices}", crate::escape::terminal(word))]
pub struct UnknownChoice {
    word: String,
    choices: String,
}

/// Defines an enum whose values are named here and nowhere else: serde, `FromStr`, `Display` and
/// the command line all take the names and the doc comments from it.
macro_rules! choice {
    (
        $(#[doc = $doc:literal])+
        $vis:vis enum $choice:ident $(, default $default:ident)? {
            $($(#[doc = $help:literal])+ $value:ident = $name:literal,)+
        }
    ) => {
        $(#[doc = $doc])+
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[derive(serde::Serialize, serde::Deserialize)]
        $vis enum $choice {
            $($(#[doc = $help])+ #[serde(rename = $name)] $value,)+
        }

        impl $choice {
            /// Its name on the command line, in plans and in records.
            $vis fn name(self) -> &'static str {
                match self {
                    $(Self::$value => $name,)+
                }
            }
        }

        $(impl Default for $choice {
            fn default() -> Self {
                Self::$default
            }
        })?

        impl $crate::config::Choice for $choice {
            // In the order of the definition, as both are zipped with each other.
            const VALUES: &'static [Self] = &[$(Self::$value),+];
            const WORDS: &'static [(&'static str, &'static str)] =
                &[$(($name, concat!($($help),+))),+];
        }

        impl std::str::FromStr for $choice {
            type Err = $crate::config::UnknownChoice;

            fn from_str(word: &str) -> Result<Self, Self::Err> {
                <Self as $crate::config::Choice>::named(word)
            }
        }

        impl std::fmt::Display for $choice {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.name())
            }
        }
    };
}
pub(crate) use choice;

choice! {
    /// Which program design moves the segments.
    pub enum Engine, default Lockfree {
        /// One communicating thread per rank, many requests in flight.
        Lockfree = "lockfree",
        /// The classic design as a baseline: two threads per rank, locks, one request at a time.
        Mutex = "mutex",
    }
}

choice! {
    /// Who decides which segment goes from whom to whom.
    pub enum Decider, default Tracker {
        /// The tracker hands out segments, each with its holders.
        Tracker = "tracker",
        /// Peers choose among their neighbours, which rank 0 names; nobody is handed anything.
        Peers = "peers",
    }
}

choice! {
    /// Where the tracker keeps who has what.
    pub enum IndexKind, default DashMap {
        /// One map of plain data behind one mutex, held for a whole handout.
        Mutex = "mutex",
        /// A sharded map: one read-write lock per shard, held for one look-up; atomics inside.
        DashMap = "dashmap",
        /// No map and no lock: files are numbered at registration, and records are atomics.
        Atomic = "atomic",
    }
}

choice! {
    /// Which segments cross compressed.
    pub enum Compress, default Never {
        /// None.
        Never = "never",
        /// Those to other hosts, while compressing and sending one takes less time than sending it as it is.
        Auto = "auto",
        /// All that become shorter, also within a host.
        Always = "always",
    }
}

choice! {
    /// How the tracker counts the requests to each node.
    pub enum CounterKind, default Atomic {
        /// Plain numbers behind one mutex.
        Mutex = "mutex",
        /// Atomics, one or two cache lines per node.
        Atomic = "atomic",
    }
}

choice! {
    /// Which missing segment a peer is told to fetch next.
    pub enum Selection, default Rarest {
        /// The first that anybody can send, in the order of the files and of their segments.
        FileOrder = "file-order",
        /// Any that somebody can send, all equally likely.
        Random = "random",
        /// The one with the fewest copies, those in flight included; random among equals.
        Rarest = "rarest",
    }
}

choice! {
    /// Which holder of a segment is asked. With every rule, owners are spared, no holder gets more
    /// than `holder_load` requests, and ties are broken at random.
    pub enum Balance, default InFlight {
        /// The one with the fewest requests since the start.
        RequestCount = "request-count",
        /// Any.
        Random = "random",
        /// Of two random ones, the one with fewer requests in flight (the power of two choices).
        TwoChoices = "two-choices",
        /// The one with the fewest requests in flight, then with the fewest since the start. Among
        /// equally good segments, those with an idle holder go first.
        InFlight = "in-flight",
    }
}

choice! {
    /// What happens to requests beyond those that a holder serves at a time.
    pub enum Admission, default Slots {
        /// All wait at the holder, without a limit per holder. Only the windows of the peers bound
        /// the queue.
        Queue = "queue",
        /// The tracker lets only so many wait at one holder. A holder whose queue is full answers
        /// "busy", and the peer asks another holder at once.
        Slots = "slots",
    }
}

choice! {
    /// Which memory a peer receives into.
    pub enum Buffers, default Preallocated {
        /// A new buffer for each segment, allocated when the segment is requested.
        Fresh = "fresh",
        /// Slots that are allocated before the swarm opens.
        Preallocated = "preallocated",
    }
}

choice! {
    /// Which threads verify received segments.
    pub enum Verify, default Auto {
        /// Other threads of the rank where cores are to spare and segments are long; else the communicating
        /// thread.
        Auto = "auto",
        /// The communicating thread.
        Inline = "inline",
        /// Other threads of the rank.
        Pool = "pool",
        /// None: results are marked UNVERIFIED.
        Off = "off",
    }
}

impl Verify {
    /// Threads of a peer that verify, beside the communicating one, where `spare` cores are left for them.
    pub fn threads(self, spare: usize) -> usize {
        match self {
            Self::Auto => spare,
            Self::Pool => spare.max(1),
            Self::Inline | Self::Off => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fmt;
    use std::str::FromStr;

    use super::*;

    /// The command line, `FromStr` and records name every choice alike.
    fn named_alike<T>(names: &[&str])
    where
        T: Choice + FromStr<Err = UnknownChoice> + fmt::Display + fmt::Debug + PartialEq,
        T: serde::Serialize,
    {
        assert_eq!(T::WORDS.iter().map(|&(name, _)| name).collect::<Vec<_>>(), names);
        for (choice, name) in T::VALUES.iter().zip(names) {
            assert_eq!(choice.to_string(), *name);
            assert_eq!(&name.parse::<T>().expect("its own name"), choice);
            let record = serde_json::to_string(choice).expect("a choice is a word");
            assert_eq!(record, format!("\"{name}\""));
        }
    }

    #[test]
    fn choices_have_one_name_everywhere() {
        named_alike::<Engine>(&["lockfree", "mutex"]);
        named_alike::<Decider>(&["tracker", "peers"]);
        named_alike::<IndexKind>(&["mutex", "dashmap", "atomic"]);
        named_alike::<CounterKind>(&["mutex", "atomic"]);
        named_alike::<Selection>(&["file-order", "random", "rarest"]);
        named_alike::<Balance>(&["request-count", "random", "two-choices", "in-flight"]);
        named_alike::<Admission>(&["queue", "slots"]);
        named_alike::<Buffers>(&["fresh", "preallocated"]);
        named_alike::<Verify>(&["auto", "inline", "pool", "off"]);
    }

    #[test]
    fn an_unknown_word_is_refused_with_the_choices() {
        let error = "btree".parse::<IndexKind>().expect_err("there is no such index");
        assert_eq!(error.to_string(), "`btree` is not one of mutex, dashmap, atomic");
    }
}
