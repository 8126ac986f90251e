//! The range of every number that a flag or a plan gives. A field of one of these types holds no
//! other number: clap and serde both read it by `FromStr`, and refuse with the range.

use std::fmt::{self, Display};
use std::marker::PhantomData;
use std::ops::RangeInclusive;
use std::str::FromStr;

use serde::de::{self, Deserialize, Deserializer, Visitor};

use super::HANDOUT_MAX;
use crate::escape;

/// A text that is no number of a range.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("use {range}, not \"{}\"", escape::terminal(value))]
pub struct OutOfRange {
    range: String,
    value: String,
}

/// A number with a range.
pub trait Ranged: FromStr<Err = OutOfRange> {
    /// The range in words: `a whole number from 1 to 16`.
    fn range() -> String;
}

/// Defines number types, each with its range, and its default where it has one.
macro_rules! ranges {
    ($($(#[doc = $doc:literal])+ $name:ident: $number:ty, $least:literal, $most:expr $(, default $default:literal)?;)+) => {$(
        $(#[doc = $doc])+
        #[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
        pub struct $name($number);

        impl $name {
            // The range stands in the table below, with its reason.
            const ALL: RangeInclusive<$number> = $least..=$most;
            /// The greatest.
            // As above.
            pub const MOST: $number = $most;

            /// The number.
            pub const fn get(self) -> $number {
                self.0
            }
        }

        impl Ranged for $name {
            fn range() -> String {
                // A whole number prints no point, whatever its type.
                let kind = if stringify!($number) == "f64" { "a number" } else { "a whole number" };
                format!("{kind} from {} to {}", Self::ALL.start(), Self::ALL.end())
            }
        }

        impl FromStr for $name {
            type Err = OutOfRange;

            fn from_str(text: &str) -> Result<Self, OutOfRange> {
                let number = text.parse().ok().filter(|number| Self::ALL.contains(number));
                number.map(Self).ok_or_else(|| OutOfRange { range: Self::range(), value: text.to_owned() })
            }
        }

        impl Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_any(NumberVisitor(PhantomData))
            }
        }

        $(impl Default for $name {
            fn default() -> Self {
                Self($default)
            }
        })?
    )+};
}

ranges! {
    // Each peer is a file or a rank; the largest machines have 10^7 cores, a tenth of which may be ranks.
    /// Peers of a workload.
    Peers: u32, 1, 1_000_000;
    // 2,047 peers took 6 s on two cores, without optimization; 4,095 had not ended after 100 s.
    /// Nodes that are threads of one process, the tracker included.
    ThreadNodes: u32, 2, 2048;
    // Files are numbered in 32 bits. How many fit depends on their segments: `Workload::check`.
    /// Files of a workload.
    Files: u32, 1, u32::MAX, default 1;
    // Segments are numbered in 32 bits. A file of a written workload may be empty.
    /// Segments of each file.
    Segments: u32, 0, u32::MAX;
    // Without a segment there is nothing to measure.
    /// Segments of each file of a measured workload.
    MeasuredSegments: u32, 1, u32::MAX;
    // MPI counts the bytes of a message in 31 bits.
    /// Payload of a segment, bytes; 0 moves the hash alone.
    SegmentBytes: usize, 0, 0x7fff_ffff, default 1024;
    /// Bytes of a file, at most.
    FileBytes: u64, 1, u64::MAX;
    // A petabyte is more than any disk of a node.
    /// Bytes of all files of a synthetic tree.
    TreeBytes: u64, 0, 1_000_000_000_000_000;
    /// A seed.
    Seed: u64, 0, u64::MAX, default 1;
    // More threads than any machine has cores only wait for each other.
    /// Threads.
    Threads: usize, 1, 1024;

    // A simulated peer takes 30 KB and more, so that 10^5 are some gigabytes.
    /// Simulated peers.
    SimulatedPeers: u32, 1, 100_000;
    /// Segments of a simulated file.
    SimulatedSegments: u32, 1, 1_000_000;
    // Without payload a segment takes no time.
    /// Payload of a simulated segment, bytes.
    SimulatedSegmentBytes: usize, 1, 0x7fff_ffff, default 8_388_608;
    // From a modem to 100 times the fastest port of today.
    /// Rate of a link, Gbit/s.
    LinkGbit: f64, 0.000_1, 100_000.0, default 100.0;
    // A simulated clock ticks in nanoseconds. A second for one message is beyond any machine.
    /// Time that the tracker needs for a message, µs.
    MessageMicroseconds: f64, 0.001, 1_000_000.0, default 3.5;
    // 10 s one way: light needs 1.3 s to the Moon.
    /// One-way latency, µs.
    LatencyMicroseconds: f64, 0.001, 10_000_000.0, default 5.0;

    // Below a millisecond nothing starts; a year is more than anybody waits.
    /// Time for a whole measurement, seconds.
    BudgetSeconds: f64, 0.001, 31_536_000.0;
    // Below a millionth the clock's own resolution decides; 1000 ends after the least repetitions.
    /// Part of a median that its interval may reach to either side.
    TargetPart: f64, 0.000_001, 1000.0, default 0.05;
    /// Runs of a contender before the first that counts.
    WarmUpRuns: u32, 0, 1000, default 1;
    /// Runs of a contender that count.
    RepetitionCount: u32, 1, 1_000_000;
    // A clock ticks in nanoseconds; a day is more than any budget leaves for one run.
    /// Time of a mock, ms.
    MockMilliseconds: f64, 0.001, 86_400_000.0;
    /// Peers that load a tracker.
    LoadPeers: u32, 1, 100_000;
    /// Segments that they want.
    LoadSegments: u32, 1, 10_000_000;
    /// Threads that answer them.
    ServiceThreads: usize, 1, 256;
    /// Segments in a handout.
    HandoutSegments: usize, 1, HANDOUT_MAX;
    // Shorter than a millisecond no thread has started; longer than a day nobody waits for one load.
    /// Time of one load, seconds.
    LoadSeconds: f64, 0.001, 86_400.0;
    /// Loads of each case.
    LoadCount: u32, 1, 100_000, default 3;
}

/// A number of bytes with a unit: `256M`, `64KiB`, `4096`. K is 1024, M 1024², and so on.
fn bytes(text: &str) -> Option<u64> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let unit = unit.strip_suffix("iB").unwrap_or(unit);
    let power = match unit {
        "" => 0,
        "K" | "k" => 1,
        "M" => 2,
        "G" => 3,
        "T" => 4,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(1 << (10 * power))
}

/// Defines sizes with a unit, each with what it is in words, and the condition on it.
macro_rules! sizes {
    ($($(#[doc = $doc:literal])+ $name:ident: $number:ty, $range:literal, $fits:expr;)+) => {$(
        $(#[doc = $doc])+
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub struct $name($number);

        impl $name {
            /// The number.
            pub const fn get(self) -> $number {
                self.0
            }
        }

        impl Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = OutOfRange;

            fn from_str(text: &str) -> Result<Self, OutOfRange> {
                let size = bytes(text).filter($fits).and_then(|size| size.try_into().ok());
                let refused = || OutOfRange { range: $range.to_owned(), value: text.to_owned() };
                size.map(Self).ok_or_else(refused)
            }
        }
    )+};
}

sizes! {
    // A segment is at least a leaf; MPI counts bytes in 31 bits.
    /// Bytes of a segment of a tree.
    TreeSegmentBytes: u32, "a power of two from 16K to 1G",
        |&size| size.is_power_of_two() && (16 << 10..=1 << 30).contains(&size);
    // Less holds no segment that is worth a message; no machine has more.
    /// Memory of a rank for segments, bytes.
    MemoryBytes: u64, "a size from 1M to 64T, such as 256M",
        |&size| (1 << 20..=64 << 40).contains(&size);
}

/// Reads a number from whatever a plan has, by its text: `FromStr` then checks it.
struct NumberVisitor<N>(PhantomData<N>);

impl<N: Ranged> NumberVisitor<N> {
    fn read<E: de::Error>(number: impl Display) -> Result<N, E> {
        number.to_string().parse().map_err(E::custom)
    }
}

impl<N: Ranged> Visitor<'_> for NumberVisitor<N> {
    type Value = N;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&N::range())
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<N, E> {
        Self::read(number)
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<N, E> {
        Self::read(number)
    }

    fn visit_f64<E: de::Error>(self, number: f64) -> Result<N, E> {
        Self::read(number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_within_their_range_alone() {
        assert_eq!("2048".parse().map(ThreadNodes::get), Ok(2048));
        assert_eq!("0.001".parse().map(BudgetSeconds::get), Ok(0.001));
        for text in ["1", "2049", "-1", "3.5", "nan", "1e3", "99999999999999999999", ""] {
            let said = text.parse::<ThreadNodes>().expect_err("out of range").to_string();
            assert_eq!(said, format!("use a whole number from 2 to 2048, not {text:?}"));
        }
        for text in ["0", "-1", "nan", "inf", "-inf", "1e300", "seconds"] {
            let said = text.parse::<BudgetSeconds>().expect_err("out of range").to_string();
            assert_eq!(said, format!("use a number from 0.001 to 31536000, not {text:?}"));
        }
    }

    #[test]
    fn defaults_are_within_their_range() {
        fn check<N: Ranged + Default + Display>() {
            let default = N::default().to_string();
            assert!(default.parse::<N>().is_ok(), "{default} is not {}", N::range());
        }
        check::<Files>();
        check::<SegmentBytes>();
        check::<Seed>();
        check::<SimulatedSegmentBytes>();
        check::<LinkGbit>();
        check::<MessageMicroseconds>();
        check::<LatencyMicroseconds>();
        check::<TargetPart>();
        check::<WarmUpRuns>();
        check::<LoadCount>();
    }
}
