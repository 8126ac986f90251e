//! How many handouts a second can the tracker compute? A load test of the tracker alone.
//!
//! This is a closed-loop load test: simulated peers do nothing but announce and ask, over the local
//! transport. Each asks for missing segments from the front of one file, gets a handout, announces its
//! segments with the next ask, and asks at once. No segment moves. Service threads take asks from the
//! tracker's mailbox, settle the announcements, compute the handout with [`Service::answer`], as the
//! tracker of a run does, and send it.
//!
//! A *handout* is an answer with at least one segment; empty answers are counted apart. The rate is
//! over wall time with all threads running: where threads share cores, simulating the peers and moving
//! the messages are part of the cost.

mod clients;
mod service_threads;

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use crossbeam::sync::Parker;
use serde::{Deserialize, Serialize};

use crate::config::ranges::{self, HandoutSegments, LoadCount, LoadPeers, LoadSegments, LoadTime};
use crate::config::{Config, CounterKind, HANDOUT_MAX, IndexKind, Sweep, TooMany, spread};
use crate::manifest::{NodeId, SegmentId};
use crate::metrics::Latency;
use crate::protocol::tracker::Service;
use crate::protocol::{OwnedEntry, Registration};
use crate::spawn::{self, ThreadError};
use crate::time::Clock;
use crate::transport::local::{self, LocalTransport};
use crate::verify::Digest;
use clients::WarmUp;
use service_threads::ServiceThreads;

// The owner of the file; the peers that ask are the ranks above.
// The lowest rank that is no tracker.
const OWNER: NodeId = NodeId(1);

// What the tracker keeps of a peer, bytes, beside its mailbox.
// An account with two handouts under way, and a request counter.
const ACCOUNT_BYTES: usize = 1 << 10;

// What the tracker keeps of a segment, bytes.
// Its line of hashes and its digest, as they are registered and once more in the roster, and its place in
// the index with the holders that it remembers.
const SEGMENT_BYTES: u64 = 256;

// Measuring begins when every peer has got this many handouts, or a quarter of the segments.
// Before that only the owner has anything, and most answers are empty: the rate of a swarm that has
// begun is higher by far. Chosen, not tuned.
const WARM_UP_HANDOUTS: usize = 32;

/// The cases of the load test. Every field may be a list.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TrackerPlan {
    peers: Sweep<LoadPeers>,
    /// Segments of the one file that they want.
    segments: Sweep<LoadSegments>,
    service_threads: Sweep<ranges::ServiceThreads>,
    handout: Sweep<HandoutSegments>,
    index: Option<Sweep<IndexKind>>,
    counters: Option<Sweep<CounterKind>>,
    /// How long one load of a case takes: seconds, or with a unit.
    pub seconds: LoadTime,
    /// How often each case is loaded. The cases are interleaved.
    #[serde(default)]
    pub loads: LoadCount,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TrackerCase {
    pub peers: u32,
    /// Segments of the one file that they want.
    pub segments: u32,
    pub service_threads: usize,
    pub handout: usize,
    pub index: IndexKind,
    pub counters: CounterKind,
}

impl TrackerCase {
    /// About how much memory a load takes, bytes.
    pub(crate) fn needed_bytes(&self) -> u64 {
        let (peers, segments) = (u64::from(self.peers), u64::from(self.segments));
        // What each lacks as bits; an end, and an account with what it was handed.
        let per_peer = segments.div_ceil(8)
            + (local::bytes_per_node() + HANDOUT_MAX * size_of::<SegmentId>() + ACCOUNT_BYTES)
                as u64;
        peers.saturating_mul(per_peer).saturating_add(segments.saturating_mul(SEGMENT_BYTES))
    }
}

impl TrackerPlan {
    pub(crate) fn cases(&self) -> Result<Vec<TrackerCase>, TooMany> {
        let all = vec![TrackerCase::default()];
        let all = spread(all, Some(&self.peers), |all, one| all.peers = one.get())?;
        let all = spread(all, Some(&self.segments), |all, one| all.segments = one.get())?;
        let threads = Some(&self.service_threads);
        let all = spread(all, threads, |all, one| all.service_threads = one.get())?;
        let all = spread(all, Some(&self.handout), |all, one| all.handout = one.get())?;
        let all = spread(all, self.index.as_ref(), |all, one| all.index = one)?;
        spread(all, self.counters.as_ref(), |all, one| all.counters = one)
    }
}

#[derive(Clone, Debug)]
pub(crate) struct LoadTest {
    /// As many threads simulate the peers as serve them.
    pub case: TrackerCase,
    /// How long to measure, without the warm-up. Once all peers have everything, a new swarm begins.
    pub budget: Duration,
    pub seed: u64,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct LoadResult {
    pub handouts: u64,
    pub segments: u64,
    /// Empty answers, because no holder was available.
    pub empty: u64,
    /// Segments handed out during the warm-up, which is not measured.
    pub warm_up: u64,
    pub elapsed: Duration,
    /// From a peer's ask to its answer, empty ones included. All peers ask at once, so that most of
    /// it is waiting.
    pub latency: Latency,
    /// The part that a service thread takes: from the ask until the handout is ready.
    pub service: Latency,
}

impl LoadResult {
    /// Handouts a second of wall time; 0 when nothing was measured.
    pub(crate) fn handouts_per_second(&self) -> f64 {
        let seconds = self.elapsed.as_secs_f64();
        if seconds > 0.0 { self.handouts as f64 / seconds } else { 0.0 }
    }

    fn add(&mut self, other: &Self) {
        self.handouts += other.handouts;
        self.segments += other.segments;
        self.empty += other.empty;
        self.warm_up += other.warm_up;
        self.elapsed += other.elapsed;
        self.latency.merge(&other.latency);
        self.service.merge(&other.service);
    }
}

impl LoadTest {
    /// # Errors
    ///
    /// When a thread can't be started.
    pub(crate) fn measure(&self, clock: &Clock) -> Result<LoadResult, ThreadError> {
        let TrackerCase { peers, segments, service_threads, handout, .. } = self.case;
        assert!(peers > 0 && segments > 0, "a load test has peers and segments");
        assert!(service_threads > 0, "a load test has threads");
        assert!((1..=HANDOUT_MAX).contains(&handout), "a handout has at most HANDOUT_MAX segments");
        let registrations = self.registrations();
        let mut measured = LoadResult::default();
        while measured.elapsed < self.budget {
            let left = self.budget - measured.elapsed;
            measured.add(&self.round(clock, &registrations, left)?);
        }
        Ok(measured)
    }

    /// One swarm, from nothing until all peers have everything or the budget is spent.
    fn round(
        &self,
        clock: &Clock,
        registrations: &[(NodeId, Registration)],
        budget: Duration,
    ) -> Result<LoadResult, ThreadError> {
        let TrackerCase { peers, segments, service_threads, handout, index, counters } = self.case;
        let nodes = peers as usize + 2;
        // The limits for the smallest segments: holders take many at once, so that no limit of
        // theirs slows the tracker.
        let config = Config { index, counters, ..Config::for_segments_of(1) };
        let service =
            Service::open(registrations, nodes, &config).expect("one owner agrees with itself");
        let wakers = (0..nodes).map(|_| Parker::new().unparker().clone()).collect();
        let mut ends = local::connect(wakers);
        let asking = ends.split_off(OWNER.index() + 1);
        let tracker = ends.swap_remove(NodeId::TRACKER.index());
        let served = ServiceThreads::new(&service, nodes, handout);
        let finished = AtomicBool::new(false);
        let warm = segments / 4;
        let warm = warm.min(u32::try_from(WARM_UP_HANDOUTS * handout).unwrap_or(warm)).max(1);
        let warmth = WarmUp::new(peers, warm);
        let mut measured = thread::scope(|scope| {
            let serve = |thread: usize| {
                let (end, seed) = (tracker.another_end(), self.seed.wrapping_add(thread as u64));
                let (served, ending) = (&served, (&warmth, &finished));
                let serve = move || served.serve(end, seed, clock, ending);
                spawn::start_scoped(scope, "that serves the tracker", serve)
            };
            let simulate = |ends: Vec<LocalTransport>| {
                let ending = (&warmth, &finished);
                let run = move || clients::run(ends, self, clock, budget, ending);
                spawn::start_scoped(scope, "that simulates peers", run)
            };
            let service: Result<Vec<_>, _> = (0..service_threads).map(serve).collect();
            let clients: Result<Vec<_>, _> = deal(asking, service_threads).map(simulate).collect();
            if service.is_err() || clients.is_err() {
                // ORDERING: Relaxed; it only ends those that have started.
                finished.store(true, Ordering::Relaxed);
            }
            let (service, clients) = (service?, clients?);
            let mut measured = LoadResult::default();
            for client in clients {
                let client = client.join().expect("a client does not panic");
                // Clients run at the same time: the longest counts.
                let elapsed = measured.elapsed.max(client.elapsed);
                measured.add(&client);
                measured.elapsed = elapsed;
            }
            // ORDERING: Relaxed; the threads only stop, and joining them publishes what they did.
            finished.store(true, Ordering::Relaxed);
            for thread in service {
                measured.service.merge(&thread.join().expect("a service thread does not panic"));
            }
            Ok(measured)
        })?;
        measured.elapsed = measured.elapsed.max(Duration::from_nanos(1));
        Ok(measured)
    }

    /// One owner of one file, and all others who want it.
    fn registrations(&self) -> Vec<(NodeId, Registration)> {
        let digest = |position: u32| {
            let mut digest = [0xd1; 32];
            digest[..4].copy_from_slice(&position.to_be_bytes());
            Digest(digest)
        };
        let entry = OwnedEntry {
            name: "file1".into(),
            hashes: (0..self.case.segments).map(|position| format!("{position:08x}\n")).collect(),
            digests: (0..self.case.segments).map(digest).collect(),
        };
        let owner = Registration::Ready { owned: vec![entry], wanted: Vec::new() };
        let other = Registration::Ready { owned: Vec::new(), wanted: vec!["file1".into()] };
        let others =
            (OWNER.0 + 1..OWNER.0 + 1 + self.case.peers).map(|rank| (NodeId(rank), other.clone()));
        std::iter::once((OWNER, owner)).chain(others).collect()
    }
}

fn deal(ends: Vec<LocalTransport>, threads: usize) -> impl Iterator<Item = Vec<LocalTransport>> {
    let share = ends.len().div_ceil(threads).max(1);
    let mut ends = ends.into_iter();
    std::iter::from_fn(move || {
        let dealt: Vec<_> = ends.by_ref().take(share).collect();
        (!dealt.is_empty()).then_some(dealt)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn case(peers: u32, segments: u32, service_threads: usize) -> TrackerCase {
        TrackerCase { peers, segments, service_threads, handout: 10, ..TrackerCase::default() }
    }

    #[test]
    fn lists_give_their_product() {
        let text = "peers = [16, 1024]\nsegments = 1000\nservice_threads = [1, 2]\nhandout = 10\n\
                    index = [\"mutex\", \"atomic\"]\nseconds = 0.5\n";
        let plan: TrackerPlan = toml::from_str(text).expect("a load test");
        let cases = plan.cases().expect("eight");
        assert_eq!(cases.len(), 8);
        let second = TrackerCase {
            peers: 16,
            segments: 1000,
            service_threads: 1,
            handout: 10,
            index: IndexKind::Atomic,
            counters: CounterKind::default(),
        };
        assert_eq!(cases[1], second);
    }

    #[test]
    fn every_kind_hands_out_every_segment_to_every_peer() {
        let clock = Clock::start();
        for index in [IndexKind::Mutex, IndexKind::DashMap, IndexKind::Atomic] {
            for counters in [CounterKind::Mutex, CounterKind::Atomic] {
                for service_threads in [1, 2] {
                    let case = TrackerCase { index, counters, ..case(6, 200, service_threads) };
                    let load = LoadTest { case, budget: Duration::MAX, seed: 1 };
                    let registrations = load.registrations();
                    let measured =
                        load.round(&clock, &registrations, load.budget).expect("threads start");
                    assert_eq!(measured.warm_up + measured.segments, 6 * 200, "{load:?}");
                    assert!(measured.warm_up >= 6 * 50, "{load:?}");
                    assert!(measured.handouts * 10 >= measured.segments, "of 10 at most");
                    let answers = measured.handouts + measured.empty;
                    assert_eq!(measured.latency.count(), answers);
                }
            }
        }
    }

    #[cfg(not(loom))]
    #[test]
    fn a_load_test_that_is_refused_a_thread_ends() {
        for left in 0..4 {
            spawn::tests::starve(left);
            let load = LoadTest { case: case(16, 1000, 2), budget: Duration::MAX, seed: 1 };
            let error = load.measure(&Clock::start()).expect_err("four threads").to_string();
            assert!(error.starts_with("no thread can be started that "), "{error}");
        }
    }

    #[test]
    fn a_load_test_ends_when_its_budget_is_spent() {
        let clock = Clock::start();
        let budget = Duration::from_millis(50);
        let load = LoadTest { case: case(16, 1000, 1), budget, seed: 1 };
        let measured = load.measure(&clock).expect("threads start");
        assert!(measured.elapsed >= budget);
        assert!(measured.handouts > 0 && measured.handouts_per_second() > 0.0);
    }
}
