//! How fast all cores copy and hash at once.
//!
//! This is less than one core times their number: they share the memory bandwidth, caches, and often
//! two of them are threads of one core.

use std::sync::Barrier;
use std::thread;
use std::time::Duration;

use super::{BUFFER_BYTES, ROUNDS, SEGMENT_BYTES_MAX, buffers, copier, hash, rate, source_bytes};
use crate::metrics::cores::Cores;
use crate::report::Limits;
use crate::spawn::{self, Gate};
use crate::time::Clock;

impl Limits {
    /// Measures how fast `threads` threads on `cores` together copy and hash slices of
    /// `segment_bytes` bytes, in about `budget`, split as in [`Limits::measure`].
    // A barrier starts each round, so that a rate is one of all threads at the same time. Sums of
    // unaligned best rounds would exceed what the memory can do.
    pub(crate) fn measure_all(
        segment_bytes: usize,
        threads: usize,
        cores: &Cores,
        budget: Duration,
        clock: &Clock,
    ) -> Self {
        let (segment_bytes, threads) = (segment_bytes.clamp(1, SEGMENT_BYTES_MAX), threads.max(1));
        let barrier = Barrier::new(threads);
        let gate = &Gate::default();
        let worker = || {
            if !gate.pass() {
                return Default::default();
            }
            cores.open_to_this_thread();
            let source_bytes = source_bytes(BUFFER_BYTES, segment_bytes);
            let (mut source, mut destination) = buffers(source_bytes);
            let source = &source.bytes_mut()[..source_bytes];
            let mut segments = source.chunks_exact(segment_bytes).cycle();
            let mut copy = copier(source, destination.bytes_mut(), segment_bytes);
            let round = budget / 2 / ROUNDS;
            let mut rates = |work: &mut dyn FnMut(&[u8])| -> Vec<f64> {
                let mut work = |segment: &[u8]| work(segment);
                let rounds = (0..ROUNDS).map(|_| {
                    barrier.wait();
                    rate(&mut segments, round, clock, &mut work)
                });
                rounds.collect()
            };
            [rates(&mut copy), rates(&mut hash)]
        };
        let measured: Vec<[Vec<f64>; 2]> = thread::scope(|scope| {
            let start = |_| spawn::start_scoped(scope, "that measures", worker);
            let workers: Result<Vec<_>, _> = (0..threads).map(start).collect();
            gate.open(workers.is_ok());
            // Fewer threads would measure too low a limit: there is none then, and no bound.
            let workers = workers.unwrap_or_default().into_iter();
            workers.map(|worker| worker.join().expect("copying and hashing do not panic")).collect()
        });
        let best = |what: usize| {
            let together = |round| measured.iter().map(|rates| rates[what][round]).sum::<f64>();
            (0..ROUNDS as usize).map(together).fold(0.0, f64::max)
        };
        Self { copy_bytes_per_second: best(0), hash_bytes_per_second: best(1) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_cores_at_once_give_usable_limits() {
        let clock = Clock::start();
        for (segment_bytes, threads) in [(0, 1), (1000, 2), (1 << 20, 3)] {
            let budget = Duration::from_millis(40);
            let limits =
                Limits::measure_all(segment_bytes, threads, &Cores::mine(), budget, &clock);
            assert!(limits.usable(), "{segment_bytes} bytes, {threads} threads: {limits:?}");
        }
    }

    #[test]
    fn no_budget_still_gives_limits() {
        let clock = Clock::start();
        assert!(Limits::measure_all(64, 2, &Cores::mine(), Duration::ZERO, &clock).usable());
    }
}
