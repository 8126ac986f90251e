//! The kinds of contenders, and which overrides each of them takes.

use super::copying::CopyProgram;
use crate::config::{OVERRIDES, Overrides, Values, Verify, choice};

choice! {
    /// What moves the bytes.
    pub(crate) enum ContenderKind {
        /// The lockfree engine.
        Lockfree = "lockfree",
        /// The classic design: two threads per rank, locks, one request at a time.
        Mutex = "mutex",
        /// `MPI_Bcast` of each file as a whole.
        MpiBcast = "mpi-bcast",
        /// `MPI_Bcast` of each segment.
        MpiBcastSegments = "mpi-bcast-segments",
        /// A pipeline from each peer to the next.
        Chain = "chain",
        /// A binomial tree.
        Binomial = "binomial",
        /// The round-optimal broadcast schedule on a circulant graph.
        Circulant = "circulant",
        /// Holders that choose among a few neighbours, without a tracker.
        Neighbours = "neighbours",
        /// A tree, as `mpiswarm stage` brings it.
        Stage = "stage",
        /// A tree, by `cp -a`.
        Cp = "cp",
        /// A tree, by `rsync -a`.
        Rsync = "rsync",
        /// A tree, by `tar` through a pipe.
        Tar = "tar",
        /// No bytes and fixed times, for testing the harness.
        Mock = "mock",
    }
}

impl ContenderKind {
    /// Whether it only carries files from one owner to everybody.
    pub(crate) fn only_broadcasts(self) -> bool {
        match self {
            Self::MpiBcast
            | Self::MpiBcastSegments
            | Self::Chain
            | Self::Binomial
            | Self::Circulant
            | Self::Neighbours => true,
            Self::Lockfree
            | Self::Mutex
            | Self::Stage
            | Self::Cp
            | Self::Rsync
            | Self::Tar
            | Self::Mock => false,
        }
    }

    /// The program that it is, if it is one: it has its name.
    pub(crate) fn program(self) -> Option<CopyProgram> {
        self.name().parse().ok()
    }

    /// Whether it takes an override of that name.
    fn takes(self, switch: &str) -> bool {
        match self {
            Self::Lockfree => true,
            Self::Chain => ["window", "verify"].contains(&switch),
            Self::MpiBcast
            | Self::MpiBcastSegments
            | Self::Binomial
            | Self::Circulant
            | Self::Neighbours => switch == "verify",
            // Its digests are not known before it begins, it always verifies, and has one kind of memory.
            Self::Stage => !["decide", "verify", "buffers"].contains(&switch),
            Self::Mutex | Self::Cp | Self::Rsync | Self::Tar | Self::Mock => false,
        }
    }

    /// Checks that it can run with these overrides.
    pub(crate) fn check(self, switches: &Overrides) -> Result<(), SwitchError> {
        let named = switches.named();
        for switch in named.keys() {
            if !self.takes(switch) {
                let taken = OVERRIDES.iter().map(|one| one.name).filter(|name| self.takes(name));
                let taken = taken.collect::<Vec<_>>().join(", ");
                return Err(SwitchError::Foreign { engine: self, switch: switch.clone(), taken });
            }
        }
        for switch in OVERRIDES {
            let value = named.get(switch.name).and_then(serde_json::Value::as_u64);
            if let (Some(value), Values::Count(least, most)) = (value, switch.values)
                && !(least as u64..=most as u64).contains(&value)
            {
                return Err(SwitchError::Range { switch: switch.name, value, least, most });
            }
        }
        if let Some(idle) = switches.idle() {
            return Err(SwitchError::Idle(idle.name));
        }
        match switches.verify {
            Some(Verify::Pool) if self.only_broadcasts() => Err(SwitchError::NoPool(self)),
            _ => Ok(()),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SwitchError {
    #[error("the engine `{engine}` has no switch `{switch}`: {}", takes(.taken))]
    Foreign { engine: ContenderKind, switch: String, taken: String },
    #[error("`{switch} = {value}` is out of range: use {least} to {most}")]
    Range { switch: &'static str, value: u64, least: usize, most: usize },
    #[error("`{0}`: with `decide = \"peers\"` nobody hands out: leave one of them out")]
    Idle(&'static str),
    #[error("the engine `{0}` has no verifying threads: use `verify = \"inline\"` or \"off\"")]
    NoPool(ContenderKind),
}

fn takes(taken: &str) -> String {
    if taken.is_empty() { "leave it out".to_owned() } else { format!("it has {taken}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn combinations_that_make_no_sense_are_refused_in_a_sentence() {
        let refused = |(kind, text): (ContenderKind, &str)| {
            let switches = toml::from_str::<Overrides>(text).expect("switches");
            kind.check(&switches).expect_err("refused").to_string()
        };
        let wrong = [
            (ContenderKind::Mutex, "window = 4"),
            (ContenderKind::Chain, "handout = 4"),
            (ContenderKind::Chain, "window = 0"),
            (ContenderKind::Lockfree, "handout = 17"),
            (ContenderKind::Lockfree, "tracker_threads = 65"),
            (ContenderKind::Lockfree, "decide = \"peers\"\nselection = \"random\""),
            (ContenderKind::Circulant, "tracker_threads = 1"),
            (ContenderKind::Binomial, "verify = \"pool\""),
            (ContenderKind::Stage, "decide = \"peers\""),
            (ContenderKind::Rsync, "window = 4"),
        ];
        insta::assert_snapshot!(wrong.map(refused).join("\n"));
        assert_eq!(ContenderKind::Mutex.check(&Overrides::default()), Ok(()));
    }
}
