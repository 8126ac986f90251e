//! The shape of a workload: how many peers and files there are, who owns them, and who wants them.

#[cfg(test)]
mod tests;

use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;

use super::NodeId;
use super::quote::Quoted;

// Peers times files, at most.
// Each peer looks at each file, which takes nanoseconds: seconds in all.
const PAIRS_MAX: u64 = 1_000_000_000;

// Bytes that a hash takes in memory, with its end, and that a name takes.
// As `Hashes` and `FileName` have them.
const HASH_BYTES: u64 = 40;
const NAME_BYTES: u64 = 48;

/// A workload to make inputs for. All files have the same number of segments.
#[derive(Clone, Debug, PartialEq)]
pub struct Workload {
    /// How many peers take part, from 1 up: ranks 1 to `peers`.
    pub peers: u32,
    /// How many files there are, from 1 up: `file1` to `file<files>`.
    pub files: u32,
    /// How many segments each file has. Files times segments stay below 2³².
    pub segments: u32,
    /// Who owns each file from the start.
    pub owners: Owners,
    /// Which of the files that it lacks each peer wants.
    pub wanted: Wanted,
    /// Which files are wanted more than others. It matters where not all are wanted.
    pub popularity: Popularity,
    /// Decides the hashes and the drawing: equal workloads give equal inputs.
    pub seed: u64,
}

impl Workload {
    /// Checks that the numbers fit each other.
    ///
    /// # Errors
    ///
    /// The first that does not.
    pub fn check(&self) -> Result<(), WorkloadError> {
        let &Self { peers, files, segments, owners, wanted, popularity, .. } = self;
        if peers == 0 {
            return Err(WorkloadError::NoPeers);
        }
        if files == 0 {
            return Err(WorkloadError::NoFiles);
        }
        if files.checked_mul(segments).is_none() {
            return Err(WorkloadError::TooManySegments { files, segments });
        }
        if u64::from(peers) * u64::from(files) > PAIRS_MAX {
            return Err(WorkloadError::TooManyPairs { peers, files });
        }
        match owners {
            Owners::Each(owners) if owners.get() > peers => {
                return Err(WorkloadError::TooManyOwners { owners, peers });
            }
            Owners::First | Owners::Each(_) => {}
        }
        match wanted {
            Wanted::Drawn(wanted) if wanted.get() > files => {
                return Err(WorkloadError::TooManyWanted { wanted, files });
            }
            Wanted::All | Wanted::Drawn(_) => {}
        }
        match popularity {
            Popularity::Zipf(exponent) if !is_exponent(exponent) => {
                Err(WorkloadError::Exponent { exponent })
            }
            Popularity::Uniform | Popularity::Zipf(_) => Ok(()),
        }
    }
}

impl Workload {
    /// How many segments all peers together hold once each has what it wants, at most.
    pub fn segments_held(&self) -> u64 {
        let all = u64::from(self.files) * u64::from(self.segments);
        match self.wanted {
            Wanted::All => all * u64::from(self.peers),
            Wanted::Drawn(wanted) => {
                let drawn = u64::from(self.peers) * u64::from(wanted.get());
                self.segments_owned() + drawn * u64::from(self.segments)
            }
        }
    }

    /// How many segments one peer holds once it has what it wants, at most.
    pub fn segments_held_by(&self, peer: NodeId) -> u64 {
        let owned = match self.owners {
            Owners::First => u64::from(self.files) * u64::from(peer.0 == 1),
            // Dealt in turn, beginning with peer 1.
            Owners::Each(owners) => {
                let dealt = u64::from(self.files) * u64::from(owners.get());
                let before = u64::from(peer.0).saturating_sub(1);
                dealt.saturating_sub(before).div_ceil(u64::from(self.peers.max(1)))
            }
        };
        let lacked = u64::from(self.files).saturating_sub(owned);
        let wanted = match self.wanted {
            Wanted::All => lacked,
            Wanted::Drawn(wanted) => lacked.min(wanted.get().into()),
        };
        (owned + wanted) * u64::from(self.segments)
    }

    /// About how much memory its inputs take, bytes.
    pub fn input_bytes(&self) -> u64 {
        let wanted = match self.wanted {
            Wanted::All => self.files,
            Wanted::Drawn(wanted) => wanted.get(),
        };
        // An input that is empty takes as much as two names.
        let names = u64::from(self.peers) * (u64::from(wanted) + 2);
        self.segments_owned() * HASH_BYTES + names * NAME_BYTES
    }

    fn segments_owned(&self) -> u64 {
        let owners = match self.owners {
            Owners::First => 1,
            Owners::Each(owners) => owners.get(),
        };
        u64::from(self.files) * u64::from(self.segments) * u64::from(owners)
    }
}

/// Who owns a file from the start. Parses from `first` or a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owners {
    /// Peer 1 owns every file.
    First,
    /// Each file has this many owners, the next peers in turn (round robin), beginning with peer 1.
    Each(NonZeroU32),
}

impl FromStr for Owners {
    type Err = WorkloadError;

    fn from_str(text: &str) -> Result<Self, WorkloadError> {
        match text {
            "first" => Ok(Self::First),
            _ => text
                .parse()
                .map(Self::Each)
                .map_err(|_| WorkloadError::Owners { value: Quoted::new(text) }),
        }
    }
}

impl fmt::Display for Owners {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::First => f.write_str("first"),
            Self::Each(owners) => owners.fmt(f),
        }
    }
}

/// Which of the files that it lacks a peer wants. Parses from `all` or a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// Every one.
    All,
    /// This many, drawn by popularity and none twice; every one where the peer lacks fewer.
    Drawn(NonZeroU32),
}

impl FromStr for Wanted {
    type Err = WorkloadError;

    fn from_str(text: &str) -> Result<Self, WorkloadError> {
        match text {
            "all" => Ok(Self::All),
            _ => text
                .parse()
                .map(Self::Drawn)
                .map_err(|_| WorkloadError::Wanted { value: Quoted::new(text) }),
        }
    }
}

impl fmt::Display for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("all"),
            Self::Drawn(wanted) => wanted.fmt(f),
        }
    }
}

/// How likely each file is to be drawn. Parses from `uniform` or `zipf:S`.
// Requests for files on the Web follow Zipf's law with S from 0.64 to 0.83 (Breslau et al., "Web Caching
// and Zipf-like Distributions", INFOCOM 1999).
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Popularity {
    /// All alike.
    Uniform,
    /// `file<k>` is drawn with a probability proportional to 1/k^S, S finite and not negative.
    Zipf(f64),
}

impl Popularity {
    /// The exponent S of 1/k^S: 0 where all files are alike.
    pub(super) fn exponent(self) -> f64 {
        match self {
            Self::Uniform => 0.0,
            Self::Zipf(exponent) => exponent,
        }
    }
}

impl FromStr for Popularity {
    type Err = WorkloadError;

    fn from_str(text: &str) -> Result<Self, WorkloadError> {
        if text == "uniform" {
            return Ok(Self::Uniform);
        }
        text.strip_prefix("zipf:")
            .and_then(|exponent| exponent.parse().ok())
            .filter(|&exponent| is_exponent(exponent))
            .map(Self::Zipf)
            .ok_or_else(|| WorkloadError::Popularity { value: Quoted::new(text) })
    }
}

impl fmt::Display for Popularity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Uniform => f.write_str("uniform"),
            Self::Zipf(exponent) => write!(f, "zipf:{exponent}"),
        }
    }
}

fn is_exponent(number: f64) -> bool {
    number.is_finite() && number >= 0.0
}

/// Why a workload cannot be made.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[expect(missing_docs, reason = "the message of each says what it means")]
pub enum WorkloadError {
    #[error("a workload needs at least 1 peer")]
    NoPeers,
    #[error("a workload needs at least 1 file")]
    NoFiles,
    #[error("{files} files of {segments} segments are too many: {} together at most", u32::MAX)]
    TooManySegments { files: u32, segments: u32 },
    #[error("{peers} peers and {files} files are too many: at most {PAIRS_MAX} multiplied")]
    TooManyPairs { peers: u32, files: u32 },
    #[error("{owners} owners of each file are too many for {peers} peers")]
    TooManyOwners { owners: NonZeroU32, peers: u32 },
    #[error("{wanted} wanted files a peer are too many of {files} files")]
    TooManyWanted { wanted: NonZeroU32, files: u32 },
    #[error("the exponent {exponent} of a Zipf popularity is not a number from 0 up")]
    Exponent { exponent: f64 },
    #[error("{value} does not say who owns a file: \"first\" or a number from 1 up is expected")]
    Owners { value: Quoted },
    #[error("{value} does not say what a peer wants: \"all\" or a number from 1 up is expected")]
    Wanted { value: Quoted },
    #[error("{value} is not a popularity: \"uniform\" or \"zipf:S\", S from 0 up, is expected")]
    Popularity { value: Quoted },
}
