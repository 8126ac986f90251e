//! What a node does when nothing happens: it spins, then yields, then parks.
//!
//! MPI jobs are often started with more ranks than cores. A rank that only spins then takes the core
//! from the very rank that it waits for.

use std::time::Duration;

use crossbeam::sync::Parker;

// Spin, then yield, then park: the adaptive waiting of Karlin et al., "Empirical Studies of
// Competitive Spinning for a Shared-Memory Multiprocessor" (SOSP 1991). Spinning is cheapest if the
// wait is shorter than a context switch; parking is cheapest if other ranks need the core.

// Iterations without work before a node yields its core. Each is one poll of the transport: 16 of them
// take about as long as a context switch, a microsecond or two.
const SPINS: u32 = 16;

// Iterations without work before a node parks. 48 yields let the other ranks of an oversubscribed core run
// before this one sleeps. MPI wakes nobody: a rank that sleeps sees a message when it wakes by itself.
const YIELDS: u32 = 64;

// The first parking time where nothing wakes the node. The kernel's timer slack is 50 µs
// (prctl(2), PR_SET_TIMERSLACK), so a shorter time would take as long.
const PARK: Duration = Duration::from_micros(50);

// The longest parking time where nothing wakes the node: the latency that an idle rank may add.
const PARK_MAX: Duration = Duration::from_millis(1);

// The longest parking time where the transport wakes the node. It bounds what a lost wakeup costs;
// nothing depends on its value.
const WOKEN_PARK_MAX: Duration = Duration::from_millis(100);

/// How long one node has been idle.
#[derive(Debug)]
pub struct Idle {
    parker: Parker,
    iterations: u32,
    wakes: bool,
}

impl Idle {
    /// `wakes` says whether everything that comes unparks the node.
    pub fn new(parker: Parker, wakes: bool) -> Self {
        Self { parker, iterations: 0, wakes }
    }

    /// There was work.
    pub fn reset(&mut self) {
        self.iterations = 0;
    }

    /// There was none; the next deadline is `until` away.
    pub fn wait(&mut self, until: Option<Duration>) {
        self.iterations = self.iterations.saturating_add(1);
        if self.iterations <= SPINS {
            std::hint::spin_loop();
            return;
        }
        if self.iterations <= YIELDS && !self.wakes {
            std::thread::yield_now();
            return;
        }
        let time = if self.wakes {
            WOKEN_PARK_MAX
        } else {
            // Exponential backoff. Five doublings reach `PARK_MAX`; more would only overflow.
            // The time doubles every 16 iterations.
            let doublings = ((self.iterations - YIELDS) / 16).min(5);
            (PARK * 2_u32.pow(doublings)).min(PARK_MAX)
        };
        self.parker.park_timeout(until.map_or(time, |until| until.min(time)));
    }
}

/// Blocks this thread for `time`: for threads that may block, unlike a node's.
pub(crate) fn sleep(time: Duration) {
    std::thread::sleep(time);
}
