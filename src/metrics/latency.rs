//! How long did segments take? A histogram of fixed size, in nanoseconds.
//!
//! HDR histogram (G. Tene): buckets whose width grows with the value, so that the relative error has
//! a bound over the whole range. Histograms of ranks add up, which percentiles do not.

use std::fmt;
use std::io::Read as _;
use std::time::Duration;

use flate2::read::ZlibDecoder;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::{Deserializer, Serializer as _, V2Serializer};
use serde::{Deserialize, Serialize};

use super::MetricsError;
use crate::time::nanoseconds;

/// The shortest latency told apart, ns.
// The least that the histogram takes. Each doubling of the range costs little, so that a higher value
// would save nothing.
const LOWEST_NS: u64 = 1;
/// The longest latency told apart, ns: one hour. Longer ones count as this.
// Far beyond the time-out of a request, after which it is withdrawn.
const HIGHEST_NS: u64 = 3_600_000_000_000;
/// Significant decimal digits of a latency.
// Two make a histogram of 36 kB, and a message of 3 kB for latencies between 1 µs and 1 s. Three make
// 270 kB and 20 kB, and rank 0 holds the histogram of every rank.
const DIGITS: u8 = 2;
/// The length of the header of the V2 format, bytes.
// Cookie, payload length, normalising offset, digits: 4 each; bounds and conversion ratio: 8 each.
const HEADER_BYTES: usize = 40;
// The first word of the compressed V2 format (HdrHistogram's `EncodableHistogram`).
const COMPRESSED_COOKIE: u32 = 0x1c84_9314;
// The most bytes of latencies when they are inflated.
// The 4,500 counts of the histogram, each at most 9 bytes, and the header.
const INFLATED_BYTES_MAX: u64 = 64 << 10;
/// The most latencies of one rank.
// 2^40: at a million segments a second, 12 days. A million ranks together stay below 2^64.
const COUNT_MAX: u64 = 1 << 40;

// An HDR histogram (hdrhistogram.org): constant memory and a bounded relative error, where a list of
// samples would grow with the segments.
/// The latencies of one thread or one rank.
#[derive(Clone, PartialEq)]
pub struct Latency {
    histogram: Histogram<u64>,
}

/// What a reader wants to know of many latencies, each in ns. All are zero when there were none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LatencySummary {
    /// Half of the latencies are at most this.
    pub p50: u64,
    /// 99% of the latencies are at most this.
    pub p99: u64,
    /// 99.9% of the latencies are at most this.
    pub p999: u64,
    /// The longest latency.
    pub max: u64,
}

impl Latency {
    /// No latencies yet. All memory is allocated here.
    pub fn new() -> Self {
        let histogram = Histogram::new_with_bounds(LOWEST_NS, HIGHEST_NS, DIGITS)
            .expect("the bounds of the histogram are constants that it accepts");
        Self { histogram }
    }

    /// Counts one latency: below 1 ns as 1 ns, and above one hour as one hour.
    pub fn record(&mut self, latency: Duration) {
        self.histogram.saturating_record(nanoseconds(latency).clamp(LOWEST_NS, HIGHEST_NS));
    }

    /// Adds the latencies of another thread or rank.
    pub fn merge(&mut self, other: &Self) {
        self.histogram
            .add(&other.histogram)
            .expect("all histograms of latencies have the same bounds");
    }

    /// The histogram itself, in ns.
    pub fn histogram(&self) -> &Histogram<u64> {
        &self.histogram
    }

    /// How many latencies were counted.
    pub fn count(&self) -> u64 {
        self.histogram.len()
    }

    /// The percentiles and the maximum, ns, each at most 1% too long.
    pub fn percentiles(&self) -> LatencySummary {
        if self.histogram.is_empty() {
            return LatencySummary::default();
        }
        // The histogram returns the upper edge of a bucket, which may lie past the bound.
        let at = |quantile| self.histogram.value_at_quantile(quantile).min(HIGHEST_NS);
        LatencySummary {
            p50: at(0.5),
            p99: at(0.99),
            p999: at(0.999),
            max: self.histogram.max().min(HIGHEST_NS),
        }
    }

    /// Appends the latencies in the V2 format of HdrHistogram.
    pub(super) fn encode(&self, bytes: &mut Vec<u8>) {
        V2Serializer::new()
            .serialize(&self.histogram, bytes)
            .expect("a vector takes every write, and counts stay below 2^63");
    }

    /// Reads what [`Latency::encode`] wrote.
    pub(super) fn decode(bytes: &[u8]) -> Result<Self, MetricsError> {
        let Some((header, counts)) = bytes.split_at_checked(HEADER_BYTES) else {
            return Err(MetricsError::Length { bytes: bytes.len() });
        };
        // The crate's deserializer trusts its input in three ways: it allocates what the header asks
        // for, it negates `i64::MIN`, and it takes counts whose sum overflows.
        check_header(header, counts.len())?;
        // Counts are LEB128 numbers of at most nine bytes. Below 2^56 none has nine such bytes.
        if counts.windows(9).any(|window| window == [0xff; 9]) {
            return Err(MetricsError::Counts);
        }
        let histogram = Deserializer::new()
            .deserialize(&mut &bytes[..])
            .map_err(|error| MetricsError::Histogram { source: error })?;
        let latency = Self { histogram };
        if latency.count() > COUNT_MAX { Err(MetricsError::Counts) } else { Ok(latency) }
    }
}

impl Latency {
    /// Reads latencies out of the compressed V2 format, as logs have them; none if the bytes are anything
    /// else.
    // The crate's deserializer also inflates, and then believes every length inside.
    pub(crate) fn decode_compressed(bytes: &[u8]) -> Option<Self> {
        let (cookie, rest) = bytes.split_first_chunk()?;
        let (_, deflated) = rest.split_first_chunk::<4>()?;
        if u32::from_be_bytes(*cookie) != COMPRESSED_COOKIE {
            return None;
        }
        let mut inflated = Vec::new();
        ZlibDecoder::new(deflated).take(INFLATED_BYTES_MAX).read_to_end(&mut inflated).ok()?;
        Self::decode(&inflated).ok()
    }
}

impl Default for Latency {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Latency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Latency")
            .field("count", &self.count())
            .field("percentiles", &self.percentiles())
            .finish()
    }
}

/// Checks that the header is that of an empty histogram of ours, but for the length of the counts.
fn check_header(header: &[u8], counts_bytes: usize) -> Result<(), MetricsError> {
    let mut expected = Vec::new();
    Latency::new().encode(&mut expected);
    let length = u32::try_from(counts_bytes).map_err(|_| MetricsError::Header)?;
    expected[4..8].copy_from_slice(&length.to_be_bytes());
    if header == &expected[..HEADER_BYTES] { Ok(()) } else { Err(MetricsError::Header) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each is the upper edge of its bucket.
    #[test]
    fn percentiles_of_a_ramp() {
        let mut latency = Latency::new();
        assert_eq!((latency.percentiles(), latency.count()), (LatencySummary::default(), 0));
        (1..=1000).for_each(|ns| latency.record(Duration::from_nanos(ns)));
        let expected = LatencySummary { p50: 501, p99: 991, p999: 999, max: 1003 };
        assert_eq!(latency.percentiles(), expected);
    }

    #[test]
    fn extremes_saturate_and_do_not_grow_the_histogram() {
        let mut latency = Latency::new();
        let places = latency.histogram.distinct_values();
        latency.record(Duration::ZERO);
        latency.record(Duration::from_secs(3601));
        latency.record(Duration::MAX);
        assert_eq!(latency.count(), 3);
        assert_eq!(latency.percentiles().max, HIGHEST_NS);
        assert_eq!(latency.histogram.distinct_values(), places);
        assert!(!latency.histogram.is_auto_resize());
    }

    #[test]
    fn merging_is_recording_both() {
        let (mut left, mut right, mut both) = (Latency::new(), Latency::new(), Latency::new());
        for ns in 1..5000 {
            let half = if ns % 3 == 0 { &mut left } else { &mut right };
            half.record(Duration::from_nanos(ns * ns));
            both.record(Duration::from_nanos(ns * ns));
        }
        left.merge(&right);
        assert_eq!(left, both);
    }

    #[test]
    fn encoded_latencies_stay_small() {
        let mut latency = Latency::new();
        let mut state = 1_u64;
        for _ in 0..100_000 {
            // Between 1 µs and about 1 s, equally many in every octave.
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let octaves = (state >> 11) as f64 / (1_u64 << 53) as f64 * 20.0;
            latency.record(Duration::from_secs_f64(1e-6 * octaves.exp2()));
        }
        let mut bytes = Vec::new();
        latency.encode(&mut bytes);
        println!("{} latencies take {} bytes", latency.count(), bytes.len());
        assert!(bytes.len() < 4 << 10, "{} bytes", bytes.len());
        assert_eq!(Latency::decode(&bytes).expect("its own encoding"), latency);
    }

    #[test]
    fn what_is_compressed_is_not_believed_either() {
        let mut latency = Latency::new();
        latency.record(Duration::from_millis(3));
        let mut bytes = Vec::new();
        let mut serializer = hdrhistogram::serialization::V2DeflateSerializer::new();
        serializer.serialize(latency.histogram(), &mut bytes).expect("a vector takes every write");
        assert_eq!(Latency::decode_compressed(&bytes), Some(latency.clone()));
        let mut plain = Vec::new();
        latency.encode(&mut plain);
        // It claims 4 GiB of counts.
        plain[4..8].fill(0xff);
        let mut packed = flate2::write::ZlibEncoder::new(bytes[..8].to_vec(), Default::default());
        std::io::Write::write_all(&mut packed, &plain).expect("a vector takes every write");
        let packed = packed.finish().expect("a vector takes every write");
        assert_eq!(Latency::decode_compressed(&packed), None);
        for length in 0..bytes.len() {
            assert_eq!(Latency::decode_compressed(&bytes[..length]), None);
        }
    }

    #[test]
    fn counts_that_overflow_are_refused() {
        let mut bytes = Vec::new();
        Latency::new().encode(&mut bytes);
        let with_counts = |counts: &[u8]| {
            let mut bytes = bytes[..HEADER_BYTES].to_vec();
            bytes[4..8].copy_from_slice(&u32::try_from(counts.len()).expect("short").to_be_bytes());
            bytes.extend_from_slice(counts);
            Latency::decode(&bytes)
        };
        assert!(with_counts(&[4]).is_ok());
        // The zigzag of i64::MIN, and the largest count that it can express.
        assert!(matches!(with_counts(&[0xff; 9]), Err(MetricsError::Counts)));
        let largest = [0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff];
        assert!(matches!(with_counts(&largest), Err(MetricsError::Counts)));
    }
}
