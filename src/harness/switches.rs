//! What a contender does differently from its engine's own choice: one switch at a time, or more.

use serde::{Deserialize, Serialize};

use super::sweep::{Sweep, spread};
use crate::config::{
    Admission, Balance, Buffers, Config, CounterKind, HANDOUT_MAX, IndexKind, Selection, Verify,
    WINDOW_MAX,
};

/// What moves the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Engine {
    /// The lockfree engine.
    Lockfree,
    /// The classic design: two threads a rank, locks, one request at a time.
    Mutex,
    /// `MPI_Bcast` of each file as a whole.
    MpiBcast,
    /// `MPI_Bcast` of each segment.
    MpiBcastSegments,
    /// A pipeline from each peer to the next.
    Chain,
    /// A binomial tree.
    Binomial,
    /// The round-optimal schedule of blocks on a circulant graph.
    Circulant,
    /// No bytes and fixed times, for testing the harness.
    Mock,
}

impl Engine {
    /// Its name in plans and records.
    pub fn name(self) -> &'static str {
        match self {
            Self::Lockfree => "lockfree",
            Self::Mutex => "mutex",
            Self::MpiBcast => "mpi-bcast",
            Self::MpiBcastSegments => "mpi-bcast-segments",
            Self::Chain => "chain",
            Self::Binomial => "binomial",
            Self::Circulant => "circulant",
            Self::Mock => "mock",
        }
    }

    /// Whether it only carries files from one owner to everybody.
    pub fn only_broadcasts(self) -> bool {
        match self {
            Self::MpiBcast
            | Self::MpiBcastSegments
            | Self::Chain
            | Self::Binomial
            | Self::Circulant => true,
            Self::Lockfree | Self::Mutex | Self::Mock => false,
        }
    }

    /// The switches that mean something to it.
    fn switches(self) -> &'static [&'static str] {
        match self {
            Self::Lockfree => &[
                "window",
                "handout",
                "index",
                "counters",
                "buffers",
                "selection",
                "balance",
                "admission",
                "verify",
            ],
            Self::Chain => &["window", "verify"],
            Self::MpiBcast | Self::MpiBcastSegments | Self::Binomial | Self::Circulant => {
                &["verify"]
            }
            Self::Mutex | Self::Mock => &[],
        }
    }
}

/// The switches of one contender; none is the engine's own choice.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Switches {
    /// Segments that a peer may have outstanding.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub window: Option<usize>,
    /// Segments in one handout, at most.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub handout: Option<usize>,
    /// Where the tracker keeps who has what.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub index: Option<IndexKind>,
    /// How it counts requests.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub counters: Option<CounterKind>,
    /// Where a peer receives to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub buffers: Option<Buffers>,
    /// Which segments are handed out first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub selection: Option<Selection>,
    /// Which holders are named first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub balance: Option<Balance>,
    /// What a holder does with too many requests.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub admission: Option<Admission>,
    /// Who checks what a peer receives.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verify: Option<Verify>,
}

/// Why an engine cannot run with its switches.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SwitchError {
    /// The engine has no such choice.
    #[error("the engine `{engine}` has no switch `{switch}`")]
    Foreign {
        /// The engine.
        engine: &'static str,
        /// The switch.
        switch: String,
    },
    /// A number that the engine cannot do.
    #[error("`{switch} = {value}` is not among 1 to {most}")]
    Range {
        /// The switch.
        switch: &'static str,
        /// Its value.
        value: usize,
        /// The highest that it can do.
        most: usize,
    },
    /// The engine cannot do that yet, though the switch has its name.
    #[error("the engine `{engine}` of this program cannot do `{switch} = {value}`")]
    Missing {
        /// The engine.
        engine: &'static str,
        /// The switch.
        switch: &'static str,
        /// Its value, as a plan has it.
        value: String,
    },
}

impl Switches {
    /// Checks that `engine` can run like this.
    ///
    /// # Errors
    ///
    /// The first switch that it can't follow.
    pub fn check(&self, engine: Engine) -> Result<(), SwitchError> {
        for switch in self.named().keys() {
            if !engine.switches().contains(&switch.as_str()) {
                let switch = switch.clone();
                return Err(SwitchError::Foreign { engine: engine.name(), switch });
            }
        }
        let ranges = [("window", self.window, WINDOW_MAX), ("handout", self.handout, HANDOUT_MAX)];
        for (switch, value, most) in ranges {
            if let Some(value) = value.filter(|value| !(1..=most).contains(value)) {
                return Err(SwitchError::Range { switch, value, most });
            }
        }
        let missing = |switch, value: &str| {
            let value = value.to_owned();
            Err(SwitchError::Missing { engine: engine.name(), switch, value })
        };
        match self.verify {
            Some(Verify::Pool) if engine.only_broadcasts() => missing("verify", "\"pool\""),
            _ => Ok(()),
        }
    }

    /// The engine's defaults for segments of `segment_bytes`, over links or in one memory, but for
    /// what is switched.
    pub fn config(&self, segment_bytes: usize, has_links: bool) -> Config {
        let mut config = Config::defaults(segment_bytes, has_links);
        set(&mut config.window, self.window);
        set(&mut config.handout, self.handout);
        set(&mut config.index, self.index);
        set(&mut config.counters, self.counters);
        set(&mut config.selection, self.selection);
        set(&mut config.balance, self.balance);
        set(&mut config.admission, self.admission);
        set(&mut config.buffers, self.buffers);
        set(&mut config.verify, self.verify);
        config
    }

    /// Who checks what a peer receives.
    pub fn verify(&self) -> Verify {
        self.verify.unwrap_or(Verify::Inline)
    }

    /// What is switched, by name, as records have it.
    pub fn named(&self) -> serde_json::Map<String, serde_json::Value> {
        match serde_json::to_value(self) {
            Ok(serde_json::Value::Object(named)) => named,
            _ => unreachable!("a structure of plain data is an object"),
        }
    }
}

fn set<T>(place: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *place = value;
    }
}

/// Switches as a plan has them: each a value, or a list of values to try.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SwitchSweeps {
    window: Option<Sweep<usize>>,
    handout: Option<Sweep<usize>>,
    index: Option<Sweep<IndexKind>>,
    counters: Option<Sweep<CounterKind>>,
    buffers: Option<Sweep<Buffers>>,
    selection: Option<Sweep<Selection>>,
    balance: Option<Sweep<Balance>>,
    admission: Option<Sweep<Admission>>,
    verify: Option<Sweep<Verify>>,
}

impl SwitchSweeps {
    /// Every combination of the values, in the order of the lists: the last switch varies first.
    pub fn product(&self) -> Vec<Switches> {
        let all = vec![Switches::default()];
        let all = spread(all, self.window.as_ref(), |all, one| all.window = Some(one));
        let all = spread(all, self.handout.as_ref(), |all, one| all.handout = Some(one));
        let all = spread(all, self.index.as_ref(), |all, one| all.index = Some(one));
        let all = spread(all, self.counters.as_ref(), |all, one| all.counters = Some(one));
        let all = spread(all, self.buffers.as_ref(), |all, one| all.buffers = Some(one));
        let all = spread(all, self.selection.as_ref(), |all, one| all.selection = Some(one));
        let all = spread(all, self.balance.as_ref(), |all, one| all.balance = Some(one));
        let all = spread(all, self.admission.as_ref(), |all, one| all.admission = Some(one));
        spread(all, self.verify.as_ref(), |all, one| all.verify = Some(one))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sweeps(text: &str) -> SwitchSweeps {
        toml::from_str(text).expect("switches")
    }

    #[test]
    fn lists_give_their_product() {
        let all = sweeps("window = [1, 4]\nindex = [\"mutex\", \"atomic\"]\n").product();
        let all: Vec<_> = all.into_iter().map(|one| (one.window, one.index)).collect();
        let (mutex, atomic) = (Some(IndexKind::Mutex), Some(IndexKind::Atomic));
        let expected = [(Some(1), mutex), (Some(1), atomic), (Some(4), mutex), (Some(4), atomic)];
        assert_eq!(all, expected);
        assert_eq!(sweeps("").product(), [Switches::default()]);
    }

    #[test]
    fn what_is_switched_reaches_the_engine() {
        let text = "window = 3\nhandout = 2\nindex = \"atomic\"\ncounters = \"mutex\"\n\
                    selection = \"random\"\nbalance = \"random\"\n\
                    admission = \"queue\"\nbuffers = \"fresh\"\nverify = \"off\"\n";
        for has_links in [false, true] {
            let config = sweeps(text).product()[0].config(1024, has_links);
            assert_eq!((config.window, config.handout, config.paced), (3, 2, has_links));
        }
        let config = sweeps(text).product()[0].config(1024, false);
        assert_eq!((config.index, config.counters), (IndexKind::Atomic, CounterKind::Mutex));
        assert_eq!((config.selection, config.balance), (Selection::Random, Balance::Random));
        assert_eq!((config.admission, config.buffers), (Admission::Queue, Buffers::Fresh));
        assert_eq!(config.verify, Verify::Off);
        assert_eq!(Switches::default().config(1024, false), Config::for_segments_of(1024));
    }

    #[test]
    fn combinations_that_make_no_sense_are_refused_in_a_sentence() {
        let refused = |engine, text| {
            let error = sweeps(text).product()[0].check(engine).expect_err("refused");
            error.to_string()
        };
        assert_eq!(
            refused(Engine::Mutex, "window = 4"),
            "the engine `mutex` has no switch `window`"
        );
        assert_eq!(
            refused(Engine::Binomial, "window = 4"),
            "the engine `binomial` has no switch `window`"
        );
        assert_eq!(refused(Engine::Chain, "window = 0"), "`window = 0` is not among 1 to 64");
        assert_eq!(
            refused(Engine::Lockfree, "handout = 17"),
            "`handout = 17` is not among 1 to 16"
        );
        assert_eq!(
            refused(Engine::Chain, "verify = \"pool\""),
            "the engine `chain` of this program cannot do `verify = \"pool\"`"
        );
        assert_eq!(Switches::default().check(Engine::Mutex), Ok(()));
    }
}
