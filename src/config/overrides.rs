//! What a flag, a plan or a sweep changes of the default [`Config`], from one list.

use serde::{Deserialize, Serialize};

use super::one_or_more::{Sweep, TooMany, spread};
use super::{
    Admission, Balance, Buffers, Choice, Config, CounterKind, Decider, HANDOUT_MAX, IndexKind,
    Selection, TRACKER_THREADS_MAX, Verify, WINDOW_MAX,
};

/// The values that can replace a default.
#[derive(Clone, Copy, Debug)]
pub enum Values {
    /// A count from the first to the second.
    Count(usize, usize),
    /// One of these words, each with what it does.
    Words(&'static [(&'static str, &'static str)]),
}

/// One entry of the list.
#[derive(Clone, Copy, Debug)]
pub struct Override {
    /// Its name in plans and records.
    pub name: &'static str,
    /// Its flag, without the dashes.
    pub flag: &'static str,
    /// What it is.
    pub help: &'static str,
    /// The values that it can have.
    pub values: Values,
    /// Which of them is the default.
    pub default: fn() -> &'static str,
}

/// Defines [`Overrides`], [`OverrideSweeps`] and [`OVERRIDES`] from one list of fields of
/// [`Config`], so that a flag, a plan and a sweep cannot differ.
macro_rules! overrides {
    (
        counts { $(
            $(#[doc = $count_help:literal])+
            $count:ident $flag:literal: $least:literal to $most:ident, $count_default:literal;
        )+ }
        words { $($(#[doc = $help:literal])+ $word:ident: $choice:ty;)+ }
    ) => {
        /// Replacements for fields of [`Config`]; none leaves the default.
        #[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(deny_unknown_fields, default)]
        pub struct Overrides {
            $(
                $(#[doc = $count_help])+
                #[serde(skip_serializing_if = "Option::is_none")]
                pub $count: Option<usize>,
            )+
            $(
                $(#[doc = $help])+
                #[serde(skip_serializing_if = "Option::is_none")]
                pub $word: Option<$choice>,
            )+
        }

        impl Overrides {
            /// Sets what is overridden.
            pub fn apply(&self, config: &mut Config) {
                $(config.$count = self.$count.unwrap_or(config.$count);)+
                $(config.$word = self.$word.unwrap_or(config.$word);)+
            }
        }

        /// Overrides as a plan has them: each is a value, or a list of values to try.
        #[derive(Clone, Debug, Default, Deserialize)]
        #[serde(deny_unknown_fields, default)]
        pub struct OverrideSweeps {
            $($count: Option<Sweep<usize>>,)+
            $($word: Option<Sweep<$choice>>,)+
        }

        impl OverrideSweeps {
            /// Every combination of the values. The last entry of the list varies first.
            ///
            /// # Errors
            ///
            /// There are too many.
            pub(crate) fn product(&self) -> Result<Vec<Overrides>, TooMany> {
                let all = vec![Overrides::default()];
                $(let all = spread(all, self.$count.as_ref(), |all, one| all.$count = Some(one))?;)+
                $(let all = spread(all, self.$word.as_ref(), |all, one| all.$word = Some(one))?;)+
                Ok(all)
            }
        }

        /// All that can be overridden.
        pub const OVERRIDES: &[Override] = &[
            $(Override {
                name: stringify!($count),
                flag: $flag,
                help: concat!($($count_help),+),
                values: Values::Count($least, $most),
                default: || $count_default,
            },)+
            $(Override {
                name: stringify!($word),
                flag: stringify!($word),
                help: concat!($($help),+),
                values: Values::Words(<$choice as Choice>::WORDS),
                default: || <$choice>::default().name(),
            },)+
        ];
    };
}

overrides! {
    counts {
        /// Most segments that a peer keeps outstanding
        window "window": 1 to WINDOW_MAX, "by segment size";
        /// Most segments in one handout
        handout "handout": 1 to HANDOUT_MAX, "16";
        /// Threads that compute handouts at the tracker; with 0 its communicating thread does
        tracker_threads "tracker-threads": 0 to TRACKER_THREADS_MAX, "0";
    }
    words {
        /// Who decides which segment goes from whom to whom
        decide: Decider;
        /// Where the tracker keeps who has what
        index: IndexKind;
        /// How the tracker counts the requests to each node
        counters: CounterKind;
        /// Which memory a peer receives into
        buffers: Buffers;
        /// Which missing segment a peer is told to fetch next
        selection: Selection;
        /// Which holder of a segment is asked
        balance: Balance;
        /// What happens to requests beyond those that a holder serves at a time
        admission: Admission;
        /// Which threads verify received segments
        verify: Verify;
    }
}

// What a peer does alike whoever decides. All else is about handouts.
const KEPT_BY_PEERS: [&str; 3] = ["decide", "buffers", "verify"];

impl Overrides {
    /// The defaults for segments of `segment_bytes`, over links or in one memory, with what is
    /// overridden.
    pub fn config(&self, segment_bytes: usize, has_links: bool) -> Config {
        let mut config = Config::defaults(segment_bytes, has_links);
        self.apply(&mut config);
        config
    }

    /// The first entry that is overridden and changes nothing, since peers decide.
    pub(crate) fn idle(&self) -> Option<&'static Override> {
        let named = self.named();
        let is_idle =
            |one: &&Override| !KEPT_BY_PEERS.contains(&one.name) && named.contains_key(one.name);
        OVERRIDES.iter().find(is_idle).filter(|_| self.decide == Some(Decider::Peers))
    }

    /// What is overridden, by name, as plans and records have it.
    pub fn named(&self) -> serde_json::Map<String, serde_json::Value> {
        match serde_json::to_value(self) {
            Ok(serde_json::Value::Object(named)) => named,
            _ => unreachable!("a structure of plain data is an object"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sweeps(text: &str) -> OverrideSweeps {
        toml::from_str(text).expect("overrides")
    }

    #[test]
    fn lists_give_their_product() {
        let all =
            sweeps("window = [1, 4]\nindex = [\"mutex\", \"atomic\"]\n").product().expect("four");
        let all: Vec<_> = all.into_iter().map(|one| (one.window, one.index)).collect();
        let (mutex, atomic) = (Some(IndexKind::Mutex), Some(IndexKind::Atomic));
        let expected = [(Some(1), mutex), (Some(1), atomic), (Some(4), mutex), (Some(4), atomic)];
        assert_eq!(all, expected);
        assert_eq!(sweeps("").product(), Ok(vec![Overrides::default()]));
    }

    #[test]
    fn overrides_reach_the_engine() {
        let text = "window = 3\nhandout = 2\ntracker_threads = 5\nindex = \"atomic\"\ncounters = \"mutex\"\n\
                    selection = \"random\"\nbalance = \"random\"\ndecide = \"peers\"\n\
                    admission = \"queue\"\nbuffers = \"fresh\"\nverify = \"off\"\n";
        for has_links in [false, true] {
            let config = sweeps(text).product().expect("one")[0].config(1024, has_links);
            assert_eq!((config.window, config.handout, config.paced), (3, 2, has_links));
        }
        let config = sweeps(text).product().expect("one")[0].config(1024, false);
        assert_eq!((config.index, config.counters), (IndexKind::Atomic, CounterKind::Mutex));
        assert_eq!((config.selection, config.balance), (Selection::Random, Balance::Random));
        assert_eq!((config.admission, config.buffers), (Admission::Queue, Buffers::Fresh));
        assert_eq!((config.verify, config.tracker_threads), (Verify::Off, 5));
        assert_eq!(config.decide, Decider::Peers);
        assert_eq!(Overrides::default().config(1024, false), Config::for_segments_of(1024));
    }

    #[test]
    fn the_list_names_the_defaults_and_every_field() {
        let config = Config::for_segments_of(1024);
        let value =
            |name: &str| OVERRIDES.iter().find(|one| one.name == name).expect("it is named");
        assert_eq!((value("handout").default)(), config.handout.to_string());
        assert_eq!((value("tracker_threads").default)(), config.tracker_threads.to_string());
        assert_eq!((value("index").default)(), config.index.name());
        let all: serde_json::Map<_, _> = OVERRIDES
            .iter()
            .map(|one| {
                let value = match one.values {
                    Values::Count(_, most) => most.into(),
                    Values::Words(words) => words[0].0.into(),
                };
                (one.name.to_owned(), value)
            })
            .collect();
        let overrides: Overrides = serde_json::from_value(all.clone().into()).expect("overrides");
        assert_eq!(overrides.named(), all);
    }
}
