//! The record of a run: the JSON that other programs read.

use std::iter;

use serde::{Deserialize, Serialize};

use super::limits::{Limits, bounds};
use crate::config::Verify;
use crate::driver::job::{Job, JobResult};
use crate::metrics::{LatencySummary, RankMetrics, TimeShares, balance, host_name};
use crate::protocol::Outcome;
use crate::time::Timestamp;

// It grows when a field changes its meaning or is removed, so that old readers refuse new records.
pub(crate) const SCHEMA: u32 = 1;

/// One run, as it is written and read. The names of the fields are those of the JSON.
///
/// Times are seconds; rates are per second of the makespan. No number is NaN or infinite: what cannot
/// be computed is null where the field is optional, and 0 where it is not. Tables by rank have
/// `peers` + 1 entries and begin with rank 0.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names say what they hold")]
pub struct Summary {
    pub schema: u32,
    /// The engine that ran: `mutex` or `lockfree`.
    pub engine: String,
    /// What carried the bytes: `local` or `mpi`.
    pub transport: String,
    /// How many ranks downloaded and uploaded.
    pub peers: usize,
    /// Files delivered; a file that reached three peers counts three.
    pub files: u64,
    /// Segments delivered and verified; a segment that reached three peers counts three.
    pub segments: u64,
    pub segment_bytes: usize,
    pub seed: u64,
    /// Payload delivered and verified, over all peers.
    pub bytes_delivered: u64,
    /// Whether every wanted, available segment was delivered and verified.
    pub verified: bool,
    /// Whether segments were checked against their digests at all.
    pub checked: bool,
    /// From the launch of the program until the start, seconds.
    pub setup_s: f64,
    /// From the start until the last peer had all it wanted, verified, seconds.
    pub makespan_s: f64,
    pub segments_per_second: f64,
    pub bytes_per_second: f64,
    /// The shortest makespan that this machine and `--limit-rate` allow, seconds: see
    /// `limits::bounds`.
    pub bound_s: Option<f64>,
    /// `makespan_s` ÷ `bound_s`: 1.0 is perfect.
    pub ratio_to_bound: Option<f64>,
    pub copy_bytes_per_second: Option<f64>,
    pub hash_bytes_per_second: Option<f64>,
    /// How many cores the job could use.
    pub cores: usize,
    /// Threads of a peer that hash, beside the communicating one: the most of any. 0 in older records, which
    /// don't tell.
    #[serde(default)]
    pub workers: u64,
    /// Payload sent, by rank; rank 0 sends none.
    pub served_bytes: Vec<u64>,
    /// When a peer had all it wanted, seconds, by rank; null for rank 0 and for one that did not.
    pub finished_s: Vec<Option<f64>>,
    /// The most bytes a peer served ÷ the mean over the peers.
    pub served_max_over_mean: f64,
    pub served_cv: f64,
    pub served_jain: f64,
    /// Bytes that owners sent ÷ distinct bytes wanted: 1.0 is perfect.
    pub origin_copies: Option<f64>,
    /// From the request of a segment until it was verified, ns.
    pub segment_latency_ns: LatencySummary,
    /// How the peers' threads spent their time while the swarm was open.
    pub time_shares: TimeShares,
    /// The same by rank, each activity in that order, µs; empty where no time was counted, and in records before
    /// 29 November 2026.
    #[serde(default)]
    pub spent_us: Vec<[u64; 7]>,
    /// The names of the hosts, that of rank 0 first; empty in older records.
    #[serde(default)]
    pub hosts: Vec<String>,
    /// By rank, the place of its host in `hosts`; empty where there is one.
    #[serde(default)]
    pub host_by_rank: Vec<u32>,
    /// The share of that time in which the tracker's thread was not idle.
    pub tracker_busy_share: f64,
    /// Messages to the tracker ÷ `makespan_s`.
    pub tracker_messages_per_second: f64,
    /// Messages that all ranks received, with segments or not, ÷ `segments`; none where peers do not
    /// count them.
    pub messages_per_segment: Option<f64>,
    /// Messages that brought segments; 0 for engines that do not count them, and in older records.
    #[serde(default)]
    pub payload_messages: u64,
    pub corrupt_segments: u64,
    pub refused_requests: u64,
    pub lapsed_requests: u64,
    /// Wanted files that no peer had.
    pub unavailable_files: Vec<String>,
    /// What went wrong, one line each.
    pub errors: Vec<String>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Carrier {
    pub engine: &'static str,
    pub transport: &'static str,
    pub cores: usize,
    /// The rates of one core; none if they are unknown, or the job ran on several machines.
    pub limits: Option<Limits>,
}

impl Summary {
    /// The record of a run whose nodes were threads of this process, on `cores` cores, without a bound.
    pub fn of_threads(job: &Job, result: JobResult, cores: usize) -> Self {
        let carrier = Carrier { engine: "lockfree", transport: "local", cores, limits: None };
        Self::new(job, &carrier, result)
    }

    /// Computes the record of a run of `job` that began at time 0.
    pub(crate) fn new(job: &Job, carrier: &Carrier, ended: JobResult) -> Self {
        let JobResult { outcome, progress, metrics, distinct_bytes } = ended;
        let opened = outcome.opened.unwrap_or_default();
        let since = |at: Timestamp| at.since(opened).as_secs_f64();
        let peers = outcome.finished.len().saturating_sub(1);
        // A lost rank reports nothing, so that tables may be shorter than the ranks.
        let by_rank = |rank: usize| metrics.get(rank).map_or(0, |metrics| metrics.served_bytes);
        let served_bytes: Vec<_> = iter::once(0).chain((1..=peers).map(by_rank)).collect();
        let finished = outcome.finished.iter().skip(1).map(|at| at.map(since));
        let finished_s: Vec<_> = iter::once(None).chain(finished).collect();
        let served_by_peers = &served_bytes[1..];
        let tracker = metrics.first().cloned().unwrap_or_default();
        let mut total = RankMetrics::default();
        metrics.iter().skip(1).for_each(|metrics| total.merge(metrics));
        let is_timed = !tracker.spent.total().is_zero();
        let tracker_busy_share = if is_timed { 1.0 - tracker.spent.shares().idle } else { 0.0 };
        let is_counted = metrics.iter().any(|metrics| !metrics.spent.total().is_zero());
        let counted = metrics.iter().filter(|_| is_counted);
        let (hosts, host_by_rank) = hosts(&metrics);
        let makespan_s = finished_s.iter().flatten().copied().fold(0.0, f64::max);
        let checked = job.config.verify != Verify::Off;
        let limits = carrier.limits.filter(Limits::usable);
        let bound_s = bound_s(job, (&outcome, &metrics), (limits, carrier.cores));
        let mut summary = Self {
            schema: SCHEMA,
            engine: carrier.engine.to_owned(),
            transport: carrier.transport.to_owned(),
            peers,
            files: progress.files_finished,
            segments: total.received_segments,
            segment_bytes: job.segment_bytes,
            seed: job.seed,
            bytes_delivered: total.received_bytes,
            verified: checked && progress.segments_verified == progress.segments_wanted,
            checked,
            // Registration and memory come before the opening, for every engine alike.
            setup_s: opened.since(Timestamp::default()).as_secs_f64(),
            makespan_s,
            segments_per_second: ratio(total.received_segments as f64, makespan_s).unwrap_or(0.0),
            bytes_per_second: ratio(total.received_bytes as f64, makespan_s).unwrap_or(0.0),
            bound_s: None,
            ratio_to_bound: None,
            copy_bytes_per_second: limits.map(|limits| limits.copy_bytes_per_second),
            hash_bytes_per_second: limits.map(|limits| limits.hash_bytes_per_second),
            cores: carrier.cores,
            workers: metrics.iter().map(|metrics| metrics.workers).max().unwrap_or(0),
            served_max_over_mean: balance::max_over_mean(served_by_peers),
            served_cv: balance::coefficient_of_variation(served_by_peers),
            served_jain: balance::jain(served_by_peers),
            origin_copies: ratio(total.origin_bytes as f64, distinct_bytes as f64),
            segment_latency_ns: total.latency.percentiles(),
            time_shares: total.spent.shares(),
            spent_us: counted.map(|metrics| metrics.spent.microseconds()).collect(),
            hosts,
            host_by_rank,
            tracker_busy_share,
            tracker_messages_per_second: ratio(tracker.messages as f64, makespan_s).unwrap_or(0.0),
            messages_per_segment: (total.messages > 0)
                .then(|| total.messages + tracker.messages + total.payload_messages)
                .and_then(|messages| ratio(messages as f64, total.received_segments as f64)),
            payload_messages: total.payload_messages,
            corrupt_segments: total.corrupt_segments,
            refused_requests: total.refused_requests,
            lapsed_requests: total.lapsed_requests,
            served_bytes,
            finished_s,
            unavailable_files: outcome.unavailable,
            errors: outcome.errors,
        };
        summary.set_bound(bound_s);
        summary
    }

    pub(crate) fn set_bound(&mut self, bound_s: Option<f64>) {
        self.bound_s = bound_s;
        self.ratio_to_bound = bound_s.and_then(|bound_s| ratio(self.makespan_s, bound_s));
    }

    /// Whether everything was delivered, and verified if segments are checked. If not, it is enough that
    /// all peers finished.
    pub fn is_complete(&self) -> bool {
        let all_finished = || self.finished_s.iter().skip(1).all(Option::is_some);
        self.verified || !self.checked && all_finished()
    }
}

/// The shortest makespan of a job by what a machine of so many cores, if it is one, and the limits of ranks allow.
fn bound_s(
    job: &Job,
    (outcome, metrics): (&Outcome, &[RankMetrics]),
    (machine, cores): (Option<Limits>, usize),
) -> Option<f64> {
    let checked = job.config.verify != Verify::Off;
    let received = metrics.iter().skip(1).map(|one| one.received_bytes).sum();
    let machine = machine.and_then(|limits| bounds::one_machine(received, cores, &limits, checked));
    machine.into_iter().chain(limited_s(job, outcome, metrics)).reduce(f64::max)
}

/// The shortest time that the limits of a job allow for what its peers received.
fn limited_s(job: &Job, outcome: &Outcome, metrics: &[RankMetrics]) -> Option<f64> {
    let counted = |rank: usize, count: fn(&RankMetrics) -> u64| metrics.get(rank).map_or(0, count);
    let peers = 1..outcome.finished.len();
    let received = peers.clone().map(|rank| counted(rank, |one| one.received_bytes));
    let ranks: Vec<_> = received.map(|bytes| (bytes, job.limits)).collect();
    let mut owners = peers.filter(|&rank| counted(rank, |one| one.origin_bytes) > 0);
    // What a lost rank sent is unknown.
    let only = owners.next().filter(|_| owners.next().is_none() && outcome.lost.is_empty());
    bounds::rate_limits(&ranks, only.map(|rank| rank - 1), job.segment_bytes)
}

/// The hosts of these ranks, and by rank the place of its own, where there are several.
fn hosts(metrics: &[RankMetrics]) -> (Vec<String>, Vec<u32>) {
    let (here, mut hosts, mut places) = (host_name(), Vec::<String>::new(), Vec::new());
    for metrics in metrics {
        let name = if metrics.host.is_empty() { &here } else { &metrics.host };
        let place = hosts.iter().position(|known| known == name).unwrap_or_else(|| {
            hosts.push(name.clone());
            hosts.len() - 1
        });
        places.push(u32::try_from(place).unwrap_or_default());
    }
    if hosts.len() < 2 {
        places.clear();
    }
    (hosts, places)
}

fn ratio(dividend: f64, divisor: f64) -> Option<f64> {
    Some(dividend / divisor).filter(|quotient| quotient.is_finite())
}

#[cfg(test)]
mod tests {
    use super::super::example::{example, summary};
    use std::num::NonZeroU64;

    use super::*;
    use crate::config::RateLimits;

    fn json(summary: &Summary) -> serde_json::Value {
        serde_json::to_value(summary).expect("a summary is plain data")
    }

    #[test]
    fn figures_follow_from_the_facts() {
        let summary = summary();
        assert_eq!(summary.segments, 18);
        assert_eq!(summary.bytes_delivered, 18_000_000);
        assert_eq!(summary.segments_per_second, 12.0);
        assert_eq!(summary.bytes_per_second, 12_000_000.0);
        // 18 MB × (1 ÷ 60 MB/s + 1 ÷ 20 MB/s) ÷ 2 cores.
        assert!((summary.bound_s.expect("limits are known") - 0.6).abs() < 1e-9);
        assert!((summary.ratio_to_bound.expect("limits are known") - 2.5).abs() < 1e-6);
        assert_eq!(summary.served_bytes, [0, 9_000_000, 6_000_000, 3_000_000]);
        assert_eq!(summary.finished_s, [None, Some(1.25), Some(1.5), None]);
        assert_eq!(summary.served_max_over_mean, 1.5);
        assert_eq!(summary.origin_copies, Some(1.5));
        assert!(summary.verified);
    }

    #[test]
    fn the_record_survives_json_and_begins_with_its_version() {
        let summary = summary();
        let text = serde_json::to_string(&summary).expect("a summary is plain data");
        assert!(
            text.starts_with(r#"{"schema":1,"engine":"lockfree","transport":"local","peers":3,"#)
        );
        let back: Summary = serde_json::from_str(&text).expect("its own record");
        assert_eq!(back, summary);
    }

    #[test]
    fn the_names_of_the_record_stand() {
        let names = [
            "bound_s bytes_delivered bytes_per_second checked copy_bytes_per_second cores",
            "corrupt_segments engine errors files finished_s hash_bytes_per_second host_by_rank hosts",
            "lapsed_requests makespan_s messages_per_segment origin_copies payload_messages peers ratio_to_bound",
            "refused_requests schema seed segment_bytes segment_latency_ns segments segments_per_second",
            "served_bytes served_cv served_jain served_max_over_mean setup_s spent_us time_shares",
            "tracker_busy_share tracker_messages_per_second transport unavailable_files verified workers",
        ];
        let record = json(&summary());
        let mut keys: Vec<_> = record.as_object().expect("an object").keys().cloned().collect();
        keys.sort();
        assert_eq!(keys.join(" "), names.join(" "));
        let latency: Vec<_> =
            record["segment_latency_ns"].as_object().expect("an object").keys().cloned().collect();
        assert_eq!(latency.len(), 4);
        assert!(["p50", "p99", "p999", "max"].iter().all(|name| latency.iter().any(|k| k == name)));
    }

    #[test]
    fn an_empty_run_has_only_numbers() {
        let limits = Limits { copy_bytes_per_second: f64::NAN, hash_bytes_per_second: 0.0 };
        let (job, carrier, ended) = example();
        let outcome = Outcome { finished: Vec::new(), ..ended.outcome.clone() };
        let empty = JobResult { outcome, metrics: Vec::new(), distinct_bytes: 0, ..ended.clone() };
        let nothing =
            Summary::new(&job, &Carrier { cores: 0, limits: Some(limits), ..carrier }, empty);
        let opened = ended.outcome.opened;
        let outcome = Outcome { finished: vec![None, opened, opened], ..ended.outcome };
        let in_no_time = Summary::new(&job, &carrier, JobResult { outcome, ..ended });
        for summary in [nothing, in_no_time] {
            let text = serde_json::to_string(&summary).expect("a summary is plain data");
            // NaN would become null, which a number cannot be read from.
            let back: Summary = serde_json::from_str(&text).expect("its own record");
            assert_eq!(back, summary);
            assert_eq!(back.bytes_per_second, 0.0);
        }
    }

    #[test]
    fn limits_of_ranks_bound_a_run_where_they_take_longer_than_the_machine() {
        let bound = |owners: &[usize], up, down, limits| {
            let (job, carrier, mut ended) = example();
            for rank in 1..4 {
                ended.metrics[rank].origin_bytes = if owners.contains(&rank) { 1 } else { 0 };
            }
            let limit = RateLimits { up: NonZeroU64::new(up), down: NonZeroU64::new(down) };
            let (job, carrier) = (Job { limits: limit, ..job }, Carrier { limits, ..carrier });
            Summary::new(&job, &carrier, ended).bound_s
        };
        // They received 4, 8 and 6 MB; a segment of 1 MB passes at once.
        assert_eq!(bound(&[1], 1_000_000, 0, None), Some(7.0));
        assert_eq!(bound(&[1, 3], 1_000_000, 0, None), Some(5.0));
        assert_eq!(bound(&[1, 3], 0, 500_000, None), Some(14.0));
        assert_eq!(bound(&[1], 0, 0, None), None);
        let machine = bound(&[1], 0, 0, example().1.limits);
        assert_eq!(bound(&[1], 1 << 40, 1 << 40, example().1.limits), machine);
        assert_eq!(bound(&[1], 1_000_000, 0, example().1.limits), Some(7.0));
    }

    #[test]
    fn time_is_kept_by_rank_and_ranks_by_host() {
        let (job, carrier, mut ended) = example();
        let at_home = Summary::new(&job, &carrier, ended.clone());
        assert_eq!(at_home.spent_us.len(), 4);
        assert_eq!(at_home.spent_us[0], [0, 0, 0, 0, 0, 150_000, 1_350_000]);
        assert_eq!(at_home.spent_us[3], [0, 300_000, 0, 1_200_000, 0, 0, 0]);
        assert_eq!((at_home.hosts, at_home.host_by_rank), (vec![host_name()], Vec::new()));
        for (rank, host) in [(1, "b"), (2, "a"), (3, "b")] {
            ended.metrics[rank].host = host.to_owned();
        }
        let apart = Summary::new(&job, &carrier, ended);
        assert_eq!(apart.hosts, [&*host_name(), "b", "a"]);
        assert_eq!(apart.host_by_rank, [0, 1, 2, 1]);
    }

    #[test]
    fn a_rank_that_did_not_report_served_nothing() {
        let (job, carrier, mut ended) = example();
        ended.metrics.truncate(2);
        ended.outcome.finished = vec![None; 4];
        let summary = Summary::new(&job, &carrier, ended);
        assert_eq!(summary.served_bytes, [0, 9_000_000, 0, 0]);
        assert_eq!(summary.finished_s, [None; 4]);
    }
}
