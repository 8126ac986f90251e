//! `--limit-rate`: what a rank may send and receive.

use std::fmt::Display;
use std::num::NonZeroU64;
use std::str::FromStr;
use std::time::Duration;

use crate::config::ranges::{OutOfRange, TransferRate};
use crate::config::{Config, RateLimits, limited_time};
use crate::escape;

/// How long a segment takes at most where its size is not given.
// A second: whoever watches sees that segments come, and little is lost with one that comes in vain.
const SEGMENT_TIME: Duration = Duration::from_secs(1);

/// One rate for both directions, or one for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LimitRate(pub(super) RateLimits);

/// What is wrong with a value of `--limit-rate`, and what to type.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum LimitRateError {
    #[error("`{}` is no direction: type for example 100M, up=100M or up=100M,down=50M", escape::terminal(.0))]
    Direction(String),
    #[error("{0} is limited twice: leave one out")]
    Twice(&'static str),
    #[error(transparent)]
    Rate(#[from] OutOfRange),
}

impl FromStr for LimitRate {
    type Err = LimitRateError;

    fn from_str(text: &str) -> Result<Self, LimitRateError> {
        let rate =
            |text: &str| Ok::<_, OutOfRange>(NonZeroU64::new(text.parse::<TransferRate>()?.get()));
        if !text.contains(['=', ',']) {
            let both = rate(text)?;
            return Ok(Self(RateLimits { up: both, down: both }));
        }
        let mut limits = RateLimits::default();
        for part in text.split(',') {
            let (direction, text) = part.split_once('=').unwrap_or((part, ""));
            let (name, limit) = match direction {
                "up" => ("up", &mut limits.up),
                "down" => ("down", &mut limits.down),
                other => return Err(LimitRateError::Direction(other.to_owned())),
            };
            if limit.is_some() {
                return Err(LimitRateError::Twice(name));
            }
            *limit = rate(text)?;
        }
        Ok(Self(limits))
    }
}

/// The size of a segment that takes a second at the lowest limit of any rank, if that is below `most`.
pub(super) fn segment_bytes_most(most: Option<u64>, lowest: RateLimits) -> Option<u64> {
    let limited = lowest.slowest().map(|limit| limit.get().saturating_mul(SEGMENT_TIME.as_secs()));
    limited.into_iter().chain(most).min()
}

/// Both limits, as they are given on a command line.
#[cfg(feature = "mpi")]
pub(super) fn text(limits: RateLimits) -> String {
    let text = |name: &str, limit: Option<NonZeroU64>| Some(format!("{name}={}", limit?));
    let all: Vec<_> =
        [text("up", limits.up), text("down", limits.down)].into_iter().flatten().collect();
    if all.is_empty() { "unlimited".to_owned() } else { all.join(",") }
}

/// Refuses segments that take longer at the lowest limit of any rank than a silent rank is waited for. `S` is what
/// `--segment-bytes` takes.
// Whoever waits for one could not tell it from one that is lost.
pub(super) fn check<S: FromStr + Display>(
    lowest: RateLimits,
    segment_bytes: usize,
    config: &Config,
) -> Result<(), String> {
    let silence = config.silence_patience;
    let Some(limit) = lowest.slowest() else { return Ok(()) };
    let time = limited_time(segment_bytes, Some(limit));
    if time <= silence {
        return Ok(());
    }
    let fits = |bytes: &u32| limited_time(*bytes as usize, Some(limit)) <= silence;
    let sizes = std::iter::successors(Some(1_u32), |bytes| bytes.checked_mul(2));
    let most = sizes.take_while(fits).last().map(|bytes| bytes.to_string());
    let most = most.and_then(|bytes| bytes.parse::<S>().ok());
    let smaller = most.map_or_else(String::new, |bytes| format!("--segment-bytes {bytes}, or "));
    Err(format!(
        "--limit-rate: a segment of {segment_bytes} bytes takes {:.0} s at {limit} bytes a second, and a rank counts \
         as lost after {} s of silence: use {smaller}a higher limit",
        time.as_secs_f64(),
        silence.as_secs_f64()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ranges::{SegmentBytes, TreeSegmentBytes};

    fn limits(up: u64, down: u64) -> RateLimits {
        RateLimits { up: NonZeroU64::new(up), down: NonZeroU64::new(down) }
    }

    #[test]
    fn one_rate_is_for_both_directions_and_a_named_one_for_its_own() {
        for (text, expected) in [
            ("100M", limits(100 << 20, 100 << 20)),
            ("4096", limits(4096, 4096)),
            ("up=1G", limits(1 << 30, 0)),
            ("down=64KiB", limits(0, 64 << 10)),
            ("down=2M,up=1M", limits(1 << 20, 2 << 20)),
        ] {
            assert_eq!(text.parse(), Ok(LimitRate(expected)), "{text}");
        }
    }

    #[test]
    fn other_texts_are_refused_with_what_to_type() {
        for (text, expected) in [
            ("0", "use a size from 1K to 64T, such as 64K, not \"0\""),
            ("", "use a size from 1K to 64T, such as 64K, not \"\""),
            ("100Mbit", "use a size from 1K to 64T, such as 64K, not \"100Mbit\""),
            ("up=", "use a size from 1K to 64T, such as 64K, not \"\""),
            ("up=0,down=1M", "use a size from 1K to 64T, such as 64K, not \"0\""),
            ("up=65T", "use a size from 1K to 64T, such as 64K, not \"65T\""),
            ("in=1M", "`in` is no direction: type for example 100M, up=100M or up=100M,down=50M"),
            ("1M,2M", "`1M` is no direction: type for example 100M, up=100M or up=100M,down=50M"),
            ("up=1M,", "`` is no direction: type for example 100M, up=100M or up=100M,down=50M"),
            ("up=1M,up=2M", "up is limited twice: leave one out"),
        ] {
            let said = text.parse::<LimitRate>().expect_err(text).to_string();
            assert_eq!(said, expected, "{text}");
        }
    }

    #[test]
    fn a_segment_that_takes_longer_than_silence_is_refused_with_one_that_fits() {
        let refused = |rate, bytes, silence| {
            let silence_patience = Duration::from_secs(silence);
            let config = Config { silence_patience, ..Config::over_links(bytes) };
            check::<TreeSegmentBytes>(limits(rate, 0), bytes, &config).err().unwrap_or_default()
        };
        assert_eq!(refused(0, 1 << 30, 1), "");
        assert_eq!(refused(1 << 20, 1 << 20, 1), "");
        let expected = "--limit-rate: a segment of 8388608 bytes takes 84 s at 100000 bytes a second, and a rank \
            counts as lost after 60 s of silence: use --segment-bytes 4M, or a higher limit";
        assert_eq!(refused(100_000, 8 << 20, 60), expected);
        let said = refused(1024, 32 << 10, 1);
        assert!(said.ends_with(" of silence: use a higher limit"), "{said}");
        let config = Config { silence_patience: Duration::from_secs(1), ..Config::over_links(1) };
        let said = check::<SegmentBytes>(limits(1024, 0), 32 << 10, &config).unwrap_err();
        assert!(said.ends_with(": use --segment-bytes 1K, or a higher limit"), "{said}");
    }
}
