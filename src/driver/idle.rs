//! What a node does when there is nothing to do: spin briefly, then yield, then rest, so that
//! many ranks on few cores don't starve each other.

use std::time::Duration;

use crossbeam::sync::Parker;

// Spin, then yield, then park: the adaptive waiting of Karlin et al., "Empirical Studies of
// Competitive Spinning for a Shared-Memory Multiprocessor" (SOSP 1991). Spinning is cheapest if the
// wait is shorter than a context switch; parking is cheapest if other ranks need the core.

// Turns without work before a node yields its core. A turn is one poll of the transport: 16 of them
// take about as long as a context switch, a microsecond or two.
const SPINS: u32 = 16;

// Turns without work before a node rests. 48 yields let the other ranks of an oversubscribed core run
// before this one sleeps. MPI wakes nobody: a rank that sleeps sees a message when it wakes by itself.
const YIELDS: u32 = 64;

// How long a node rests at first, where nothing would wake it. The kernel's timer slack is 50 µs
// (prctl(2), PR_SET_TIMERSLACK), so that a shorter rest would take as long.
const REST: Duration = Duration::from_micros(50);

// How long it rests at most, where nothing would wake it: the latency that an idle rank may add.
const REST_MAX: Duration = Duration::from_millis(1);

// How long a node rests at most where it is woken: a bound on lost time should that fail.
const SLEEP_MAX: Duration = Duration::from_millis(100);

/// The idleness of one node.
#[derive(Debug)]
pub struct Idle {
    parker: Parker,
    turns: u32,
    wakes: bool,
}

impl Idle {
    /// `wakes` says whether everything that comes unparks the node.
    pub fn new(parker: Parker, wakes: bool) -> Self {
        Self { parker, turns: 0, wakes }
    }

    /// There was work.
    pub fn reset(&mut self) {
        self.turns = 0;
    }

    /// There was none; the next deadline is `until` away.
    pub fn wait(&mut self, until: Option<Duration>) {
        self.turns = self.turns.saturating_add(1);
        if self.turns <= SPINS {
            std::hint::spin_loop();
            return;
        }
        if self.turns <= YIELDS && !self.wakes {
            std::thread::yield_now();
            return;
        }
        let rest = if self.wakes {
            SLEEP_MAX
        } else {
            // Exponential backoff. Five doublings reach `REST_MAX`; more would only overflow.
            // Twice as long every 16 turns.
            let doublings = ((self.turns - YIELDS) / 16).min(5);
            (REST * 2_u32.pow(doublings)).min(REST_MAX)
        };
        self.parker.park_timeout(until.map_or(rest, |until| until.min(rest)));
    }
}

/// Holds a thread that may block back for so long: a segment that comes late, on purpose.
pub(crate) fn hold_back(time: Duration) {
    std::thread::sleep(time);
}
