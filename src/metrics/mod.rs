//! What happened? Counters and latencies of a rank, gathered on rank 0 at the end of a run.
//!
//! Every thread counts for itself: nothing here is shared, and nothing is atomic. A counter that all
//! threads share would move its cache line between cores at each segment, and disturb what it measures.
//!
//! Invariant: recording neither fails nor allocates.

pub mod balance;
pub mod cores;
pub mod latency;
pub mod spent;
pub mod trace;
pub mod usage;

use hdrhistogram::serialization::DeserializeError;
use thiserror::Error;

pub use latency::{Latency, LatencySummary};
pub use spent::{Activity, TimeShares, TimeSpent};

// The counters in the order of an encoding, borrowed as the first words say.
macro_rules! counters {
    (&mut $metrics:ident) => { counters!($metrics, &mut) };
    (&$metrics:ident) => { counters!($metrics, &) };
    ($metrics:ident, $($borrow:tt)+) => {{
        let [tracker, holder, moving, verifying, writing, deciding, idle] =
            $($borrow)+ $metrics.spent.by_activity;
        let counters: [_; COUNTERS] = [
            $($borrow)+ $metrics.served_segments, $($borrow)+ $metrics.served_bytes,
            $($borrow)+ $metrics.origin_bytes, $($borrow)+ $metrics.received_segments,
            $($borrow)+ $metrics.received_bytes, $($borrow)+ $metrics.corrupt_segments,
            $($borrow)+ $metrics.refused_requests, $($borrow)+ $metrics.lapsed_requests,
            $($borrow)+ $metrics.messages, $($borrow)+ $metrics.payload_messages,
            $($borrow)+ $metrics.workers,
            tracker, holder, moving, verifying, writing, deciding, idle,
        ];
        counters
    }};
}

/// How many integers stand before the latencies in an encoding.
// Those of `RankMetrics` itself, and one for each activity. The arrays of `counters` don't compile with
// another number.
const COUNTERS: usize = 11 + TimeSpent::ACTIVITIES;

// Bytes of the name of a host in an encoding, at most.
// What a byte counts. Linux has 64, and a domain name 253 (RFC 1035, 2.3.4).
const HOST_BYTES_MAX: usize = 255;

/// What one rank did in a run.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RankMetrics {
    /// Segments sent to others.
    pub served_segments: u64,
    /// Payload sent to others, bytes.
    pub served_bytes: u64,
    /// The part of it that belongs to files that this rank owned at the start, bytes.
    pub origin_bytes: u64,
    /// Segments received and verified; a wrong one counts in `corrupt_segments` alone.
    pub received_segments: u64,
    /// Payload received and verified, bytes.
    pub received_bytes: u64,
    /// Segments received whose digest was wrong.
    pub corrupt_segments: u64,
    /// Requests of this rank that a holder answered with *busy*.
    pub refused_requests: u64,
    /// Requests of this rank that timed out.
    pub lapsed_requests: u64,
    /// Messages received, without those that brought segments.
    pub messages: u64,
    /// Messages received that brought segments.
    pub payload_messages: u64,
    /// Threads that hash, beside the communicating one.
    pub workers: u64,
    /// What the time went to while the swarm was open.
    pub spent: TimeSpent,
    /// Where it ran; empty for this host.
    pub host: String,
    /// From the request for a segment until it was verified.
    pub latency: Latency,
}

/// Why bytes from another rank are no metrics.
#[derive(Debug, Error)]
#[expect(missing_docs, reason = "the message of each says what it means")]
pub enum MetricsError {
    #[error("metrics end after {bytes} bytes, in the middle of a field")]
    Length { bytes: usize },
    #[error("the header of the latencies is not of this program's format")]
    Header,
    #[error("the counts of the latencies are impossible")]
    Counts,
    #[error("the latencies cannot be read")]
    Histogram { source: DeserializeError },
}

impl RankMetrics {
    /// Reads what [`RankMetrics::encode`] wrote.
    ///
    /// # Errors
    ///
    /// When the bytes are too short, too long, or were never metrics. It never panics.
    pub fn decode(bytes: &[u8]) -> Result<Self, MetricsError> {
        let cut_off = MetricsError::Length { bytes: bytes.len() };
        let Some((head, rest)) = bytes.split_first_chunk::<{ COUNTERS * 8 }>() else {
            return Err(cut_off);
        };
        let host = rest.split_first().and_then(|(&len, rest)| rest.split_at_checked(len.into()));
        let Some((host, latency)) = host else { return Err(cut_off) };
        let host = String::from_utf8_lossy(host).into_owned();
        let mut metrics = Self { host, latency: Latency::decode(latency)?, ..Self::default() };
        let words = head.as_chunks::<8>().0;
        for (counter, word) in counters!(&mut metrics).into_iter().zip(words) {
            *counter = u64::from_le_bytes(*word);
        }
        Ok(metrics)
    }

    /// Adds what another thread or rank did. Sums saturate.
    pub fn merge(&mut self, other: &Self) {
        for (sum, part) in counters!(&mut self).into_iter().zip(counters!(&other)) {
            *sum = sum.saturating_add(*part);
        }
        self.latency.merge(&other.latency);
    }

    /// The counters as little-endian 64-bit integers in the order of the fields, the host with its length
    /// in a byte before it, then the latencies in the V2 format of HdrHistogram.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes: Vec<u8> =
            counters!(&self).into_iter().flat_map(|counter| counter.to_le_bytes()).collect();
        let here = host_name();
        let host = if self.host.is_empty() { &here } else { &self.host };
        let host = &host.as_bytes()[..host.len().min(HOST_BYTES_MAX)];
        bytes.push(u8::try_from(host.len()).unwrap_or_default());
        bytes.extend(host);
        self.latency.encode(&mut bytes);
        bytes
    }
}

/// The name of this host.
pub fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn example() -> RankMetrics {
        let mut metrics = RankMetrics {
            served_segments: 1,
            served_bytes: 2,
            origin_bytes: 8,
            received_segments: 3,
            received_bytes: u64::MAX,
            corrupt_segments: 5,
            refused_requests: 6,
            lapsed_requests: 7,
            messages: 9,
            payload_messages: 11,
            workers: 10,
            spent: TimeSpent { by_activity: [1, 2, 3, 4, 5, 6, 7] },
            host: "node".to_owned(),
            latency: Latency::new(),
        };
        for us in [1, 1, 20, 300, 4_000_000] {
            metrics.latency.record(Duration::from_micros(us));
        }
        metrics
    }

    #[test]
    fn metrics_survive_the_way() {
        let elsewhere = RankMetrics { host: "x".repeat(300), ..example() };
        let decoded = RankMetrics::decode(&elsewhere.encode()).expect("its own encoding");
        assert_eq!(decoded.host.len(), HOST_BYTES_MAX);
        let here = RankMetrics { host: host_name(), ..RankMetrics::default() };
        let decoded = RankMetrics::decode(&RankMetrics::default().encode());
        assert_eq!(decoded.expect("its own encoding"), here);
        for metrics in [here, example()] {
            let decoded = RankMetrics::decode(&metrics.encode()).expect("its own encoding");
            assert_eq!(decoded, metrics);
            assert_eq!(decoded.latency.percentiles(), metrics.latency.percentiles());
        }
    }

    #[test]
    fn a_truncated_or_longer_message_is_an_error() {
        let bytes = example().encode();
        for length in 0..bytes.len() {
            assert!(RankMetrics::decode(&bytes[..length]).is_err(), "{length} bytes");
        }
        let longer = [&bytes[..], &[0]].concat();
        assert!(RankMetrics::decode(&longer).is_err());
    }

    #[test]
    fn no_wrong_byte_panics() {
        let bytes = example().encode();
        for index in 0..bytes.len() {
            for value in [0x00, 0x01, 0x7f, 0x80, 0xfe, 0xff] {
                let mut wrong = bytes.clone();
                wrong[index] = value;
                if let Ok(metrics) = RankMetrics::decode(&wrong) {
                    metrics.latency.percentiles();
                    RankMetrics::default().merge(&metrics);
                }
            }
        }
    }

    #[test]
    fn merging_adds_and_saturates() {
        let mut sum = example();
        sum.merge(&example());
        assert_eq!(sum.served_bytes, 4);
        assert_eq!(sum.lapsed_requests, 14);
        assert_eq!(sum.received_bytes, u64::MAX);
        assert_eq!(sum.latency.count(), 10);
    }
}
