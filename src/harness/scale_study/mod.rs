//! How many peers can one tracker serve, and how do peers fare without? Worlds of many peers in virtual time.

mod losses;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt::{self, Display};
use std::fs;
use std::io;
use std::num::NonZeroU32;
use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use statrs::distribution::{ContinuousCDF as _, LogNormal};

use crate::config::{Config, choice};
use crate::manifest::NodeId;
use crate::metrics::usage::{peak_rss_bytes, reset_peak_rss};
use crate::protocol::relay::RelayAlgorithm;
use crate::report::compare::{Screen, html::scaling, html::scaling::Scaled};
use crate::report::limits::bounds;
use crate::report::statistics::quantile;
use crate::simulation::{Faults, Racks, Run, World, WorldConfig};
use crate::store::available_bytes;
use crate::time::Clock;

// How long nodes wait before they repeat a message, in segment times.
// A slow link must not look like a cut one. Chosen, not tuned: nothing is lost in these worlds, so
// that nobody has to repeat anything.
const PATIENCE_SEGMENTS: u32 = 200;

// How long nodes wait in latencies and service times at the tracker, where those are longer than
// segments.
// As above: an answer that is on its way must not look lost.
const PATIENCE_LATENCIES: u32 = 200;

// And in rounds of one message from each node to the tracker.
// A peer waits for the tracker while that serves all others once; four rounds are more than a burst.
const PATIENCE_ROUNDS: u32 = 4;

// And at least.
// A peer of these worlds takes a millisecond to reserve its memory.
const PATIENCE_LEAST: Duration = Duration::from_millis(10);

// Segments that all peers of a world get together, at most.
// 8 to 27 µs each, as measured on a busy machine for 1,000 and 10,000 peers, are up to 45 minutes.
const DELIVERIES_MAX: u64 = 100_000_000;

// Memory of a simulated peer, bytes, beside that for each segment.
// 12 to 34 KB were measured (`results/simulate-…`); more where bursts of messages are in flight.
const PEER_BYTES: u64 = 40_000;

// Memory of a segment at each peer, bytes.
// Where the tracker decides, a bit in each of its sets. Where peers or plans do, its digest, its place in the
// order of arrival and two bits for each neighbour: 62 at 1,000 peers with 1,000 segments, all included.
const SEGMENT_OF_PEER_BYTES: [u64; 2] = [1, 64];

// Memory of a segment, bytes, whoever has it.
// 180 were measured with 50,000 segments and 20 peers.
const SEGMENT_BYTES: u64 = 300;

// Events for each delivered segment, and for each peer, at most.
// 6 to 20 were counted. A run that has many more goes round in circles.
const EVENTS_MAX: u64 = 500;

// Virtual time of a world, at most.
// A tenth of what a clock of 64 bits of nanoseconds lasts.
const TIME_MAX: Duration = Duration::from_secs(58 * 365 * 86_400);

// Hosts of a rack, at most: all simulated peers.
const RACK_HOSTS_MAX: u32 = 100_000;

// The rate of all hosts of a rack ÷ that of its link, at most.
// Networks have 1 to 20; a link that is much slower than one host leaves nothing to study.
const OVERSUBSCRIPTION_MAX: f64 = 1000.0;

// Ranks below the first peer that wants the file: the tracker and the owner.
const FIRST_WANTING: usize = 2;

choice! {
    /// Who decides which segment goes from whom to whom.
    pub(crate) enum Decide {
        /// The tracker hands out segments and holders.
        Tracker = "tracker",
        /// Each holder chooses among a few neighbours.
        Peers = "peers",
        /// A plan: a chain of hosts that send on what they get.
        Chain = "chain",
        /// A plan: a binomial tree.
        Binomial = "binomial",
        /// A plan: the round-optimal schedule on a circulant graph.
        Circulant = "circulant",
    }
}

impl Decide {
    /// None where the tracker decides. The window is that of a swarm's peer.
    fn algorithm(self, window: usize, seed: u64, racks: Option<Racks>) -> Option<RelayAlgorithm> {
        let rack_hosts = racks.and_then(|racks| NonZeroU32::new(racks.hosts));
        match self {
            Self::Tracker => None,
            Self::Peers => Some(RelayAlgorithm::Neighbours { seed, rack_hosts }),
            Self::Chain => Some(RelayAlgorithm::Chain { window }),
            Self::Binomial => Some(RelayAlgorithm::Binomial),
            Self::Circulant => Some(RelayAlgorithm::Circulant),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Rates {
    Equal,
    /// Log-normal with a median of 1 and this standard deviation of the logarithm.
    LogNormal(f64),
    /// Each peer is slower by this factor, with this probability.
    Slow(f64, f64),
}

impl FromStr for Rates {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let sigma = text.strip_prefix("log-normal:").and_then(|sigma| sigma.parse().ok());
        let slow = text.strip_prefix("slow:").and_then(|slow| slow.split_once(':'));
        let slow = slow.and_then(|(part, factor)| part.parse().ok().zip(factor.parse().ok()));
        match (sigma, slow) {
            _ if text == "equal" => Ok(Self::Equal),
            (Some(sigma), _) if sigma > 0.0 && sigma <= 2.0 => Ok(Self::LogNormal(sigma)),
            (_, Some((part, factor)))
                if part > 0.0 && part < 1.0 && factor > 1.0 && factor <= 1000.0 =>
            {
                Ok(Self::Slow(part, factor))
            }
            _ => Err("use `equal`, `log-normal:SIGMA` with 0 < SIGMA <= 2, or `slow:FRACTION:FACTOR` with \
                      0 < FRACTION < 1 and 1 < FACTOR <= 1000"
                .to_owned()),
        }
    }
}

impl Display for Rates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Equal => f.write_str("equal"),
            Self::LogNormal(sigma) => write!(f, "log-normal:{sigma}"),
            Self::Slow(part, factor) => write!(f, "slow:{part}:{factor}"),
        }
    }
}

impl Rates {
    /// Rates by rank, in segments per segment time.
    fn draw(self, peers: u32, seed: u64) -> Vec<f64> {
        let nodes = peers as usize + FIRST_WANTING;
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
        let mut drawn: Vec<f64> = match self {
            Self::Equal => vec![1.0; nodes],
            Self::LogNormal(sigma) => {
                let distribution =
                    LogNormal::new(0.0, sigma).expect("a sigma that was parsed is positive");
                // Inverse transform sampling, without 0 and 1, which would be rates of 0 and infinity.
                let mut draw = || distribution.inverse_cdf(rng.random_range(0.000_1..0.999_9));
                (0..nodes).map(|_| draw()).collect()
            }
            Self::Slow(part, factor) => {
                let mut draw = || if rng.random_bool(part) { 1.0 / factor } else { 1.0 };
                (0..nodes).map(|_| draw()).collect()
            }
        };
        // The tracker sends no segments, and the owner is an ordinary host.
        drawn[..FIRST_WANTING].fill(1.0);
        drawn
    }
}

/// Reads `HOSTS:OVERSUBSCRIPTION`.
pub(crate) fn racks(text: &str) -> Result<Racks, String> {
    let racks = text.split_once(':').and_then(|(hosts, times)| {
        let (hosts, oversubscription) = (hosts.parse().ok()?, times.parse().ok()?);
        let is_meant = (1..=RACK_HOSTS_MAX).contains(&hosts)
            && (1.0..=OVERSUBSCRIPTION_MAX).contains(&oversubscription);
        is_meant.then_some(Racks { hosts, oversubscription })
    });
    racks.ok_or_else(|| {
        format!(
            "use HOSTS:OVERSUBSCRIPTION, such as 32:4, with 1 <= HOSTS <= {RACK_HOSTS_MAX} and \
             1 <= OVERSUBSCRIPTION <= {OVERSUBSCRIPTION_MAX}"
        )
    })
}

/// One owner's file, and the machine and network that carry it.
#[derive(Clone, Debug)]
pub(crate) struct ScaleStudy {
    pub segments: u32,
    /// Payload of a segment, bytes; above 0.
    pub segment_bytes: usize,
    /// What a link of rate 1 carries, bit/s.
    pub link_bits_per_second: f64,
    pub message_time: Duration,
    pub latency: Duration,
    pub racks: Option<Racks>,
    /// The part of the peers that vanish at random moments.
    pub vanish: Option<f64>,
    pub seed: u64,
}

/// Why a world can't be simulated.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub(crate) enum StudyError {
    #[error(
        "a segment takes less than 1 ns on such a link: use --segment-bytes {0} or more, or a lower \
         --link-gbit"
    )]
    TooFast(f64),
    #[error(
        "{peers} peers that want {segments} segments each: use at most {DELIVERIES_MAX} together: \
         --peers 1 to {}", DELIVERIES_MAX / u64::from(*segments)
    )]
    TooMany { peers: u32, segments: u32 },
    #[error(
        "{peers} peers need about {} MB of memory, {} MB are available: use fewer --peers or --segments",
        needed / 1_000_000,
        available / 1_000_000
    )]
    Memory { peers: u32, needed: u64, available: u64 },
    #[error(
        "--vanish {part}: of {peers} peers that is nobody: use a larger fraction or more --peers"
    )]
    NobodyVanishes { part: f64, peers: u32 },
    #[error("--vanish with --decide {0}: a plan needs each of its nodes: use peers or tracker")]
    NeedsAll(Decide),
    #[error("{0} peers: no end in sight: use shorter times, faster links or larger segments")]
    Endless(u32),
}

impl ScaleStudy {
    /// The bound of the peers whose links have rate 1 or more, alone, seconds.
    fn bound_of_fast(&self, drawn: &[f64], segment_s: f64) -> f64 {
        let fast: Vec<f64> = drawn[1..].iter().copied().filter(|&rate| rate >= 1.0).collect();
        bounds::links(&fast, self.segments) * segment_s
    }

    /// The bound of all peers, segment times.
    fn bound(&self, drawn: &[f64], peers: u32) -> f64 {
        // The first rate is the tracker's, which sends no segments.
        let links = bounds::links(&drawn[1..], self.segments);
        match self.racks.filter(|racks| racks.hosts <= peers) {
            Some(racks) => links.max(bounds::rack_link(self.segments, racks.segment_times())),
            None => links,
        }
    }

    /// What all racks took from others ÷ what they must: the file once each, but that of the owner.
    fn uplink_bytes_to_least(&self, peers: u32, crossed: u64) -> Option<f64> {
        // The owner is a host, too.
        let others = peers / self.racks?.hosts;
        let least = f64::from(others) * f64::from(self.segments);
        (others > 0).then(|| crossed as f64 / least)
    }

    fn patience(&self, peers: u32) -> Duration {
        (PATIENCE_SEGMENTS * self.segment_time())
            .max(PATIENCE_LATENCIES * (self.latency + self.message_time))
            .max(PATIENCE_ROUNDS * peers * self.message_time)
            .max(PATIENCE_LEAST)
    }

    fn segment_time(&self) -> Duration {
        Duration::from_secs_f64(self.segment_bytes as f64 * 8.0 / self.link_bits_per_second)
    }

    /// Checks that a world of so many peers can be simulated, before anything runs.
    pub(crate) fn check(&self, peers: u32, decide: Decide) -> Result<(), StudyError> {
        let segments = self.segments;
        if self.segment_time().is_zero() {
            let least = self.link_bits_per_second / 8e9;
            return Err(StudyError::TooFast(least.ceil()));
        }
        if u64::from(peers) * u64::from(segments) > DELIVERIES_MAX {
            return Err(StudyError::TooMany { peers, segments });
        }
        if let Some(part) = self.vanish {
            if !matches!(decide, Decide::Tracker | Decide::Peers) {
                return Err(StudyError::NeedsAll(decide));
            }
            if losses::count(part, peers) == 0 {
                return Err(StudyError::NobodyVanishes { part, peers });
            }
        }
        let segment_bytes = SEGMENT_OF_PEER_BYTES[usize::from(decide != Decide::Tracker)];
        let needed = u64::from(peers) * (PEER_BYTES + u64::from(segments) * segment_bytes)
            + u64::from(segments) * SEGMENT_BYTES;
        let available = available_bytes();
        if needed > available {
            return Err(StudyError::Memory { peers, needed, available });
        }
        Ok(())
    }

    /// Who vanishes, and how long after the opening.
    fn lost(&self, peers: u32, drawn: &[f64]) -> BTreeMap<NodeId, Duration> {
        let count = self.vanish.map_or(0, |part| losses::count(part, peers));
        let within = self.segment_time().mul_f64(self.bound(drawn, peers));
        losses::draw(count, peers, within, self.seed)
    }

    fn world(&self, peers: u32, drawn: &[f64], decide: Decide) -> World {
        let patience = self.patience(peers);
        let config = Config {
            request_patience: patience,
            ask_patience: patience,
            silence_patience: 100 * patience,
            registration_patience: 100 * patience,
            ..Config::over_links(self.segment_bytes)
        };
        let window = config.window;
        let scenario = WorldConfig {
            config,
            segment_time: self.segment_time(),
            latency: self.latency,
            tracker_time: self.message_time,
            weighs_messages: true,
            rates: drawn.to_vec(),
            racks: self.racks,
            faults: Faults {
                vanish_once_open: self.lost(peers, drawn).into_iter().collect(),
                ..Faults::default()
            },
            ..WorldConfig::broadcast(peers, self.segments, self.seed)
        };
        match decide.algorithm(window, self.seed, self.racks) {
            Some(algorithm) => World::broadcast(scenario, algorithm),
            None => World::new(scenario),
        }
    }

    pub(crate) fn run(
        &self,
        peers: u32,
        rates: Rates,
        decide: Decide,
    ) -> Result<Scaled, StudyError> {
        // As the simulation has it, in whole nanoseconds.
        let segment_s = self.segment_time().as_secs_f64();
        let drawn = rates.draw(peers, self.seed);
        let clock = Clock::start();
        let is_reset = reset_peak_rss();
        let before = peak_rss_bytes();
        let events_max = EVENTS_MAX * u64::from(peers) * u64::from(self.segments + 1);
        let run = self.world(peers, &drawn, decide).run_within(TIME_MAX, events_max);
        // Whoever is lost is an error of the run.
        let is_well = |run: &Run| self.vanish.is_some() || run.outcome.errors.is_empty();
        let run = run.filter(|run| is_well(run) && !run.makespan.is_zero());
        let mut run = run.ok_or(StudyError::Endless(peers))?;
        let grown = before.zip(peak_rss_bytes()).filter(|_| is_reset);
        let took_s = clock.now().since(Default::default()).as_secs_f64();
        let lost = self.lost(peers, &drawn);
        lost.keys().for_each(|node| run.outcome.finished[node.index()] = None);
        let finishes = Finishes::of(&run, &drawn, f64::from(self.segments) * segment_s);
        let makespan_s = finishes.all.last().copied().ok_or(StudyError::Endless(peers))?;
        let rest = (0..).map(NodeId).zip(&drawn).filter(|(node, _)| !lost.contains_key(node));
        let rest: Vec<f64> = rest.map(|(_, &rate)| rate).collect();
        let bound_s = self.bound(&rest, peers) * segment_s;
        let deliveries =
            run.held_counts.iter().skip(FIRST_WANTING).copied().map(f64::from).sum::<f64>();
        let delivered = deliveries * self.segment_bytes as f64;
        Ok(Scaled {
            decide: decide.to_string(),
            peers,
            segments: self.segments,
            segment_bytes: self.segment_bytes,
            link_bits_per_second: self.link_bits_per_second,
            rates: rates.to_string(),
            racks: self
                .racks
                .map(|Racks { hosts, oversubscription }| format!("{hosts}:{oversubscription}")),
            vanish: self.vanish,
            vanished: u32::try_from(lost.len()).unwrap_or(u32::MAX),
            missing_of_rest: losses::missing(&run, &lost, self.segments),
            message_s: self.message_time.as_secs_f64(),
            seed: self.seed,
            makespan_s,
            bound_s,
            ratio_to_bound: makespan_s / bound_s,
            median_finish_to_bound: quantile(&finishes.all, 0.5).unwrap_or(0.0) / bound_s,
            last_fast_to_bound: finishes.last_fast / self.bound_of_fast(&rest, segment_s),
            finish_p999_over_p50: quantile(&finishes.all, 0.999)
                .zip(quantile(&finishes.all, 0.5))
                .map_or(0.0, |(late, middle)| late / middle),
            own_finish_p50: quantile(&finishes.to_own, 0.5).unwrap_or(0.0),
            own_finish_p99: quantile(&finishes.to_own, 0.99).unwrap_or(0.0),
            own_finish_max: finishes.to_own.last().copied().unwrap_or(0.0),
            uplink_bytes_to_least: self.uplink_bytes_to_least(peers, run.crossed),
            origin_copies: run.served[1] as f64 / f64::from(self.segments),
            tracker_messages_per_second: run.tracker_messages as f64 / makespan_s,
            tracker_messages_per_segment: run.tracker_messages as f64 / deliveries,
            tracker_utilization: run.tracker_busy.as_secs_f64() / makespan_s,
            control_bytes_per_byte: run.message_bytes as f64 / delivered,
            memory_bytes_per_peer: grown
                .map(|(before, peak)| peak.saturating_sub(before) as f64 / f64::from(peers)),
            took_s,
        })
    }
}

/// When the peers had all.
struct Finishes {
    /// Since the opening, seconds, ascending.
    all: Vec<f64>,
    /// The last of those with a link of rate 1 or more, seconds.
    last_fast: f64,
    /// Divided by the shortest time that the peer's own link and the owner's allow, ascending.
    to_own: Vec<f64>,
}

impl Finishes {
    /// `rates` are those of all ranks; the file takes `file_s` on a link of rate 1.
    fn of(run: &Run, rates: &[f64], file_s: f64) -> Self {
        let opened = run.outcome.opened.unwrap_or_default();
        let mut this = Self { all: Vec::new(), last_fast: 0.0, to_own: Vec::new() };
        for (finished, &rate) in run.outcome.finished.iter().zip(rates).skip(FIRST_WANTING) {
            let Some(finish) = finished.map(|at| at.since(opened).as_secs_f64()) else { continue };
            this.all.push(finish);
            this.to_own.push(finish * rate.min(1.0) / file_s);
            if rate >= 1.0 {
                this.last_fast = this.last_fast.max(finish);
            }
        }
        this.all.sort_unstable_by(f64::total_cmp);
        this.to_own.sort_unstable_by(f64::total_cmp);
        this
    }
}

/// Writes runs, table and drawing to a folder: `scale.jsonl`, `table.txt`, `scale.svg`.
pub(crate) fn write(dir: &Path, runs: &[Scaled]) -> io::Result<()> {
    let lines = runs.iter().map(|run| serde_json::to_string(run).expect("plain data") + "\n");
    fs::create_dir_all(dir)?;
    fs::write(dir.join("scale.jsonl"), lines.collect::<String>())?;
    fs::write(dir.join("table.txt"), scaling::table(runs, Screen::FILE))?;
    fs::write(dir.join("scale.svg"), scaling::drawing(runs))
}
