//! How fast is the MPI? Latency and bandwidth from a ping-pong between two ranks, message rates from
//! bursts of small messages.
//!
//! These are the methods of the OSU micro-benchmarks: `osu_latency` (half of a round trip), and
//! `osu_mbw_mr` (a window of 64 non-blocking sends, then one answer, over one pair and over all). They
//! are repeated here because a bound must come from the ranks, hosts and MPI of this very run.

use std::thread;
use std::time::Duration;

use mpi::collective::{CommunicatorCollectives as _, SystemOperation};
use mpi::point_to_point::{Destination as _, Source as _};
use mpi::request::multiple_scope;
use mpi::topology::{Color, Communicator as _, Process, SimpleCommunicator};

use crate::report::MpiLimits;
use crate::time::Clock;

// Messages in flight at once when rates are measured.
// The window of `osu_mbw_mr`.
const BURST: usize = 64;
// Bytes of each of them.
// The order of a request or a short announcement, and below every eager limit.
const SMALL_BYTES: usize = 64;
// Bytes of a message for latency.
// The customary size for it.
const TINY_BYTES: usize = 8;
// Bytes of a message for bandwidth.
// Where shared memory and TCP are near their highest rate; at 16 MiB both fall again.
const LARGE_BYTES: usize = 1 << 20;
// Rounds that share a measurement's budget; the best counts.
// As for copying and hashing.
const ROUNDS: u32 = 8;
// Measurements that share the budget: latency, bandwidth, one pair, all pairs.
// Equal parts; chosen, not tuned.
const MEASUREMENTS: u32 = 4;
// How long a rank that is not measured sleeps between two looks for its message.
// A blocking MPI call would poll, and take a core from the pair where ranks outnumber cores.
const REST: Duration = Duration::from_micros(200);
// The count that ends the partner's loop.
// No round has 0 repetitions.
const NOTHING_MORE: u64 = 0;

impl MpiLimits {
    /// Measures the MPI in about `budget`. Collective; rank 0 gets the result, if there is a second
    /// rank.
    ///
    /// The first and the last rank are the one pair: where ranks are placed host by host, they are on
    /// different hosts. In all pairs each rank of the first half has a partner in the second half; a
    /// rank without one waits.
    pub fn measure(world: &SimpleCommunicator, budget: Duration, clock: &Clock) -> Option<Self> {
        let (rank, ranks) = (world.rank(), world.size());
        if ranks < 2 {
            return None;
        }
        let comm = world.duplicate();
        let budget = budget / MEASUREMENTS;
        let is_paired = rank < ranks / 2 * 2;
        let color = if is_paired { Color::with_value(0) } else { Color::undefined() };
        let pairs = comm.split_by_color(color);
        let mut limits = None;
        if rank == 0 {
            let partner = comm.process_at_rank(ranks - 1);
            let pair = Pair { partner, budget, clock };
            let tiny = pair.shortest(|count| pair.ping::<TINY_BYTES>(count)) / 2.0;
            let large = pair.shortest(|count| pair.ping::<LARGE_BYTES>(count)) / 2.0;
            let burst = pair.shortest(|count| pair.flood(count));
            limits = Some((tiny, large, burst));
            let bursts = [bursts_in(budget, burst)];
            for other in 1..ranks {
                comm.process_at_rank(other).send(&bursts);
            }
        } else if rank == ranks - 1 {
            let pair = Pair { partner: comm.process_at_rank(0), budget, clock };
            pair.respond(|count| pair.pong::<TINY_BYTES>(count));
            pair.respond(|count| pair.pong::<LARGE_BYTES>(count));
            pair.respond(|count| pair.drain(count));
        }
        let bursts = limits
            .map_or_else(|| receive_sleeping(&comm), |(_, _, burst)| bursts_in(budget, burst));
        let pairs = pairs?;
        let all = all_pairs(&pairs, bursts, budget, clock);
        limits.map(|(tiny, large, burst)| Self {
            latency_ns: tiny * 1e9,
            bytes_per_second: LARGE_BYTES as f64 / large,
            messages_per_second: BURST as f64 / burst,
            all_pairs_messages_per_second: all,
            pairs: u32::try_from(ranks / 2).expect("ranks are not negative"),
        })
    }
}

/// How many bursts of `seconds` each fit into a round.
fn bursts_in(budget: Duration, seconds: f64) -> u64 {
    let round = budget / ROUNDS;
    let burst = Duration::from_secs_f64(seconds.max(1e-9));
    u64::try_from(round.as_nanos() / burst.as_nanos().max(1)).unwrap_or(u64::MAX).max(1)
}

/// Waits for a number of rank 0, mostly asleep.
fn receive_sleeping(comm: &SimpleCommunicator) -> u64 {
    let root = comm.process_at_rank(0);
    while root.immediate_probe().is_none() {
        thread::park_timeout(REST);
    }
    let mut bursts = [NOTHING_MORE];
    root.receive_into(&mut bursts);
    bursts[0]
}

// Messages per second of all pairs together, in the best of several rounds in which each sender
// sends `bursts` bursts. `pairs` has an even number of ranks.
fn all_pairs(pairs: &SimpleCommunicator, bursts: u64, budget: Duration, clock: &Clock) -> f64 {
    let (rank, half) = (pairs.rank(), pairs.size() / 2);
    let sends = rank < half;
    let partner = pairs.process_at_rank(if sends { rank + half } else { rank - half });
    let pair = Pair { partner, budget, clock };
    let messages = bursts as f64 * BURST as f64 * f64::from(half);
    let began = clock.now();
    let mut best = 0.0_f64;
    loop {
        pairs.barrier();
        let start = clock.now();
        if sends {
            pair.flood(bursts);
        } else {
            pair.drain(bursts);
        }
        let now = clock.now();
        // The round ends with its slowest pair. The same maximum on all ranks also decides whether
        // there is another round, so that no rank waits alone in the barrier.
        let mine = [now.since(start).as_secs_f64(), now.since(began).as_secs_f64()];
        let mut slowest = mine;
        pairs.all_reduce_into(&mine, &mut slowest, SystemOperation::max());
        best = best.max(messages / slowest[0].max(1e-9));
        if slowest[1] >= budget.as_secs_f64() {
            return best;
        }
    }
}

/// One of two ranks that measure together. The first decides how often, and the second responds.
struct Pair<'a> {
    partner: Process<'a>,
    budget: Duration,
    clock: &'a Clock,
}

impl Pair<'_> {
    // The shortest time that one `work` takes, seconds. Rounds have twice the repetitions until they
    // are long enough for the clock.
    fn shortest(&self, work: impl Fn(u64)) -> f64 {
        let began = self.clock.now();
        let (mut count, mut best) = (1_u64, f64::INFINITY);
        loop {
            self.partner.send(&[count]);
            let start = self.clock.now();
            work(count);
            let now = self.clock.now();
            let elapsed = now.since(start).max(Duration::from_nanos(1));
            best = best.min(elapsed.as_secs_f64() / count as f64);
            if now.since(began) >= self.budget {
                self.partner.send(&[NOTHING_MORE]);
                return best;
            }
            if elapsed < self.budget / ROUNDS / 2 {
                count *= 2;
            }
        }
    }

    /// Does the partner's part of [`Self::shortest`].
    fn respond(&self, work: impl Fn(u64)) {
        loop {
            let mut count = [NOTHING_MORE];
            self.partner.receive_into(&mut count);
            match count {
                [NOTHING_MORE] => return,
                [count] => work(count),
            }
        }
    }

    /// Sends messages, each after the one before has come back.
    fn ping<const BYTES: usize>(&self, count: u64) {
        let mut buffer = vec![0x5a_u8; BYTES];
        for _ in 0..count {
            self.partner.send(&buffer[..]);
            self.partner.receive_into(&mut buffer[..]);
        }
    }

    /// Sends back what comes.
    fn pong<const BYTES: usize>(&self, count: u64) {
        let mut buffer = vec![0x5a_u8; BYTES];
        for _ in 0..count {
            self.partner.receive_into(&mut buffer[..]);
            self.partner.send(&buffer[..]);
        }
    }

    /// Sends bursts of small messages, each after the one before has arrived.
    fn flood(&self, bursts: u64) {
        let message = [0x5a_u8; SMALL_BYTES];
        for _ in 0..bursts {
            multiple_scope(BURST, |scope, requests| {
                for _ in 0..BURST {
                    requests.add(self.partner.immediate_send(scope, &message[..]));
                }
                requests.wait_all(&mut Vec::with_capacity(BURST));
            });
            let mut arrived = [0_u8];
            self.partner.receive_into(&mut arrived);
        }
    }

    /// Receives bursts, into receives that are posted first.
    fn drain(&self, bursts: u64) {
        let mut messages = [[0_u8; SMALL_BYTES]; BURST];
        for _ in 0..bursts {
            multiple_scope(BURST, |scope, requests| {
                for message in &mut messages {
                    let request = self.partner.immediate_receive_into(scope, &mut message[..]);
                    requests.add(request);
                }
                requests.wait_all(&mut Vec::with_capacity(BURST));
            });
            self.partner.send(&[1_u8]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_round_has_as_many_bursts_as_fit_and_one_at_least() {
        let budget = Duration::from_millis(80);
        assert_eq!(bursts_in(budget, 1e-5), 1000);
        assert_eq!(bursts_in(budget, 10.0), 1);
        assert_eq!(bursts_in(budget, 0.0), 10_000_000);
        assert_eq!(bursts_in(Duration::ZERO, 1e-5), 1);
    }
}
