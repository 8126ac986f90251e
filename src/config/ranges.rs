//! The range of every number that a flag or a plan gives. A field of one of these types holds no
//! other number: clap and serde both read it by `FromStr`, and refuse with the range.

use std::fmt::{self, Display};
use std::marker::PhantomData;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

use serde::de::{self, Deserialize, Deserializer, Unexpected, Visitor};

use super::quantities::{
    SIZE_EXAMPLE, TIME_EXAMPLE, parse_size, parse_time, typed_size, typed_time,
};
use super::{HANDOUT_MAX, TRACKER_THREADS_MAX};
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
    /// Whether it may have a unit, and then be a text in a plan: `"64K"`.
    const HAS_UNIT: bool;

    /// The range in words: `a whole number from 1 to 16`.
    fn range() -> String;
}

/// Defines a type whose values are read by one function, whether a flag or a plan has them.
macro_rules! ranged {
    (
        $(#[doc = $doc:literal])+ $name:ident: $number:ty,
        has_unit $has_unit:literal, range $range:expr, read $read:expr, show $show:expr
        $(, default $default:expr)?
    ) => {
        $(#[doc = $doc])+
        #[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
        pub struct $name($number);

        impl $name {
            /// The number.
            pub const fn get(self) -> $number {
                self.0
            }
        }

        impl Ranged for $name {
            // The macro's caller says.
            const HAS_UNIT: bool = $has_unit;

            fn range() -> String {
                $range
            }
        }

        impl FromStr for $name {
            type Err = OutOfRange;

            fn from_str(text: &str) -> Result<Self, OutOfRange> {
                let read: fn(&str) -> Option<$number> = $read;
                let refused = || OutOfRange { range: Self::range(), value: text.to_owned() };
                read(text).map(Self).ok_or_else(refused)
            }
        }

        impl Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let show: fn($number) -> String = $show;
                f.write_str(&show(self.0))
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
    };
}

/// Defines number types, each with its range, and its default where it has one.
macro_rules! ranges {
    ($($(#[doc = $doc:literal])+ $name:ident: $number:ty, $least:literal, $most:expr $(, default $default:literal)?;)+) => {$(
        ranged! {
            $(#[doc = $doc])+ $name: $number,
            has_unit false,
            range {
                // A whole number prints no point, whatever its type.
                let kind = if stringify!($number) == "f64" { "a number" } else { "a whole number" };
                format!("{kind} from {} to {}", Self::ALL.start(), Self::ALL.end())
            },
            read |text| text.parse().ok().filter(|number| Self::ALL.contains(number)),
            show |number| number.to_string()
            $(, default $default)?
        }

        impl $name {
            // The range stands in the table below, with its reason.
            const ALL: RangeInclusive<$number> = $least..=$most;
            /// The greatest.
            // As above.
            pub const MOST: $number = $most;
        }
    )+};
}

/// Defines sizes, which may have a unit.
macro_rules! sizes {
    ($($(#[doc = $doc:literal])+ $name:ident: $number:ty, $least:expr, $most:expr $(, $kind:literal if $fits:ident)? $(, default $default:literal)?;)+) => {$(
        ranged! {
            $(#[doc = $doc])+ $name: $number,
            has_unit true,
            range {
                let kind = [$($kind,)? "a size"][0];
                let [least, most] = [$least, $most].map(typed_size);
                format!("{kind} from {least} to {most}, such as {SIZE_EXAMPLE}")
            },
            read |text| {
                let size = parse_size(text).filter(|size| ($least..=$most).contains(size));
                $(let size = size.filter(|size| size.$fits());)?
                size.and_then(|size| size.try_into().ok())
            },
            show |size| typed_size(u64::try_from(size).unwrap_or(u64::MAX))
            $(, default $default)?
        }
    )+};
}

/// Defines times, which may have a unit; `plain` is what a number without one counts.
macro_rules! times {
    ($($(#[doc = $doc:literal])+ $name:ident: plain $plain:ident, $least:expr, $most:expr $(, default $default:expr)?;)+) => {$(
        ranged! {
            $(#[doc = $doc])+ $name: Duration,
            has_unit true,
            range {
                let [least, most] = [$least, $most].map(typed_time);
                format!("a time from {least} to {most}, such as {TIME_EXAMPLE}")
            },
            read |text| {
                let time = parse_time(text, Duration::$plain(1));
                time.filter(|time| ($least..=$most).contains(time))
            },
            show typed_time
            $(, default $default)?
        }
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
    /// A seed.
    Seed: u64, 0, u64::MAX, default 1;
    // More threads than any machine has cores only wait for each other.
    /// Threads.
    Threads: usize, 1, 1024;

    // Some jobs have cores to spare, and most handouts take microseconds.
    /// Threads that compute handouts.
    HandoutThreads: usize, 0, TRACKER_THREADS_MAX, default 0;

    // A simulated peer takes 30 KB and more, so that 10^5 are some gigabytes.
    /// Simulated peers.
    SimulatedPeers: u32, 1, 100_000;
    /// Segments of a simulated file.
    SimulatedSegments: u32, 1, 1_000_000;
    // At least one of 10^5 peers; some have to be left.
    /// Part of the simulated peers that vanish.
    VanishingPart: f64, 0.000_01, 0.9;
    // From a modem to 100 times the fastest port of today.
    /// Rate of a link, Gbit/s.
    LinkGbit: f64, 0.000_1, 100_000.0, default 100.0;

    // Below a millionth the clock's own resolution decides; 1000 ends after the least repetitions.
    /// Part of a median that its interval may reach to either side.
    TargetPart: f64, 0.000_001, 1000.0, default 0.05;
    /// Runs of a contender before the first that counts.
    WarmUpRuns: u32, 0, 1000, default 1;
    /// Runs of a contender that count.
    RepetitionCount: u32, 1, 1_000_000;
    /// Peers that load a tracker.
    LoadPeers: u32, 1, 100_000;
    /// Segments that they want.
    LoadSegments: u32, 1, 10_000_000;
    /// Threads that answer them.
    ServiceThreads: usize, 1, 256;
    /// Segments in a handout.
    HandoutSegments: usize, 1, HANDOUT_MAX;
    /// Loads of each case.
    LoadCount: u32, 1, 100_000, default 3;
}

sizes! {
    // MPI counts the bytes of a message in 31 bits.
    /// Payload of a segment, bytes; 0 moves the hash alone.
    SegmentBytes: usize, 0, 0x7fff_ffff, default 1024;
    /// Bytes of a file, at most.
    FileBytes: u64, 1, u64::MAX;
    // A petabyte is more than any disk of a node.
    /// Bytes of all files of a synthetic tree.
    TreeBytes: u64, 0, 1_000_000_000_000_000;
    // Without payload a segment takes no time.
    /// Payload of a simulated segment, bytes.
    SimulatedSegmentBytes: usize, 1, 0x7fff_ffff, default 8_388_608;
    // A segment is at least a leaf; MPI counts bytes in 31 bits.
    /// Bytes of a segment of a tree.
    TreeSegmentBytes: u32, 16 << 10, 1 << 30, "a power of two" if is_power_of_two;
    // Less holds no segment that is worth a message; no machine has more.
    /// Memory of a rank for segments, bytes.
    MemoryBytes: u64, 1 << 20, 64 << 40;
    // From a modem to more than any port of today.
    /// Bytes a second.
    TransferRate: u64, 1 << 10, 64 << 40;
}

times! {
    // A simulated clock ticks in nanoseconds. A second for one message is beyond any machine.
    /// Time that the tracker needs for a message.
    MessageTime: plain from_micros, Duration::from_nanos(1), Duration::from_secs(1),
        default Duration::from_nanos(3500);
    // 10 s one way: light needs 1.3 s to the Moon.
    /// One-way latency.
    LatencyTime: plain from_micros, Duration::from_nanos(1), Duration::from_secs(10),
        default Duration::from_micros(5);
    // Below a millisecond nothing starts; a year is more than anybody waits.
    /// Time for a whole measurement.
    BudgetTime: plain from_secs, Duration::from_millis(1), Duration::from_secs(31_536_000);
    // A clock ticks in nanoseconds; a day is more than any budget leaves for one run.
    /// Time of a mock.
    MockTime: plain from_millis, Duration::from_micros(1), Duration::from_secs(86_400);
    // Shorter than a millisecond no thread has started; longer than a day nobody waits for one load.
    /// Time of one load.
    LoadTime: plain from_secs, Duration::from_millis(1), Duration::from_secs(86_400);
    // Below, a busy machine would be taken for a lost rank; above, nobody waits for the message.
    /// How long nodes wait for each other.
    PatienceTime: plain from_secs, Duration::from_millis(10), Duration::from_secs(86_400);
    // A minute: as long as the longest time-out of an open swarm, so that more would show nothing new.
    /// By how much an injected fault delays a segment.
    DelayTime: plain from_millis, Duration::ZERO, Duration::from_secs(60);
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

    fn visit_str<E: de::Error>(self, text: &str) -> Result<N, E> {
        if N::HAS_UNIT {
            return Self::read(text);
        }
        Err(E::invalid_type(Unexpected::Str(text), &self))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_within_their_range_alone() {
        assert_eq!("2048".parse().map(ThreadNodes::get), Ok(2048));
        assert_eq!("0.5".parse().map(TargetPart::get), Ok(0.5));
        for text in ["1", "2049", "-1", "3.5", "nan", "1e3", "99999999999999999999", ""] {
            let said = text.parse::<ThreadNodes>().expect_err("out of range").to_string();
            assert_eq!(said, format!("use a whole number from 2 to 2048, not {text:?}"));
        }
        for text in ["0", "-1", "nan", "inf", "-inf", "1e300", "seconds"] {
            let said = text.parse::<TargetPart>().expect_err("out of range").to_string();
            assert_eq!(said, format!("use a number from 0.000001 to 1000, not {text:?}"));
        }
    }

    #[test]
    fn sizes_and_times_are_read_with_units_within_their_range_alone() {
        assert_eq!("64K".parse().map(SegmentBytes::get), Ok(64 << 10));
        assert_eq!("1GiB".parse().map(TreeSegmentBytes::get), Ok(1 << 30));
        for text in ["24K", "8K", "2G", "0.1", ""] {
            let said = text.parse::<TreeSegmentBytes>().expect_err("out of range").to_string();
            let expected = "use a power of two from 16K to 1G, such as 64K, not";
            assert_eq!(said, format!("{expected} {text:?}"));
        }
        let said = "2G".parse::<SegmentBytes>().expect_err("31 bits").to_string();
        assert_eq!(said, "use a size from 0 to 2147483647, such as 64K, not \"2G\"");
        assert_eq!("2m".parse().map(BudgetTime::get), Ok(Duration::from_secs(120)));
        assert_eq!("2".parse().map(MockTime::get), Ok(Duration::from_millis(2)));
        for text in ["0", "0.4ms", "8761h", "-1", "nan", "1e300", "seconds", "5d"] {
            let said = text.parse::<BudgetTime>().expect_err("out of range").to_string();
            let expected = "use a time from 1ms to 8760h, such as 2s or 200ms, not";
            assert_eq!(said, format!("{expected} {text:?}"));
        }
    }

    #[test]
    fn a_plan_has_quantities_as_numbers_or_texts_and_counts_as_numbers_alone() {
        #[derive(Debug, serde::Deserialize)]
        struct PlanKeys {
            size: SegmentBytes,
            time: BudgetTime,
            count: Peers,
        }
        let read = |text: &str| toml::from_str::<PlanKeys>(text).map_err(|error| error.to_string());
        for text in
            ["size = 65536\ntime = 1.5\ncount = 3", "size = '64K'\ntime = '1.5s'\ncount = 3"]
        {
            let plan = read(text).expect("it is right");
            let found = (plan.size.get(), plan.time.get(), plan.count.get());
            assert_eq!(found, (65536, Duration::from_millis(1500), 3));
        }
        for (text, expected) in [
            ("size = '64X'\ntime = 1\ncount = 3", "use a size from 0 to 2147483647"),
            ("size = 1\ntime = '1y'\ncount = 3", "use a time from 1ms to 8760h"),
            ("size = 1\ntime = 1\ncount = '3'", "expected a whole number from 1 to 1000000"),
        ] {
            let said = read(text).expect_err("it is wrong");
            assert!(said.contains(expected), "{said}");
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
        check::<HandoutThreads>();
        check::<SimulatedSegmentBytes>();
        check::<LinkGbit>();
        check::<MessageTime>();
        check::<LatencyTime>();
        check::<TargetPart>();
        check::<WarmUpRuns>();
        check::<LoadCount>();
    }
}
