//! What a node does when nothing happens: it spins, then yields, then parks.
//!
//! MPI jobs are often started with more ranks than cores. A rank that only spins then takes the core
//! from the very rank that it waits for.

use std::time::Duration;

use crossbeam::sync::Parker;

use crate::time::Timestamp;

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

// How long a node that has a core to itself polls on before it parks, where nothing wakes it.
// MPI moves the bytes of a long message only while both ends poll: without one-sided copies (CMA, which
// containers often forbid) Open MPI carries some 100 KiB a round, and two ends that park for 100 µs between
// rounds carry 1 GB/s, where they carried 4 to 7 polling. 10 ms are a window of 16 MiB at 1.6 GB/s.
const PATIENCE: Duration = Duration::from_millis(10);

// A yield that takes this long gave the core to somebody else: Linux's time slices are 0.7 to 3 ms.
const SLICE: Duration = Duration::from_millis(1);

// For how many times as long a node then parks as if it shared its core. Who sleeps is let in at once when it
// wakes; who polls on a core that others want waits for its turn, and transfers took ten times as long. So it
// loses a tenth of the time at most.
const CONTENTION_FACTOR: u32 = 10;

/// How long one node has been idle.
#[derive(Debug)]
pub struct Idle {
    parker: Parker,
    iterations: u32,
    wakes: bool,
    patience: Duration,
    /// When the wait began; none while there is work.
    since: Option<Timestamp>,
    /// When it last polled on.
    polled: Option<Timestamp>,
    /// Until when it counts as sharing its core.
    contended_until: Timestamp,
}

/// What to do in one iteration without work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rest {
    Spin,
    Yield,
    Park(Duration),
}

impl Idle {
    /// `wakes` says whether everything that comes unparks the node, `has_own_core` whether no other node
    /// needs the core that it polls on.
    pub fn new(parker: Parker, wakes: bool, has_own_core: bool) -> Self {
        let patience = if has_own_core { PATIENCE } else { Duration::ZERO };
        let contended_until = Timestamp::default();
        Self { parker, iterations: 0, wakes, patience, since: None, polled: None, contended_until }
    }

    /// There was work.
    pub fn reset(&mut self) {
        self.iterations = 0;
        (self.since, self.polled) = (None, None);
    }

    /// There was none; the next deadline is at `until`.
    pub fn wait(&mut self, now: Timestamp, until: Option<Timestamp>) {
        match self.next(now) {
            Rest::Spin => std::hint::spin_loop(),
            Rest::Yield => std::thread::yield_now(),
            Rest::Park(time) => {
                let left = until.map_or(time, |until| until.since(now));
                self.parker.park_timeout(left.min(time));
            }
        }
    }

    fn next(&mut self, now: Timestamp) -> Rest {
        let iterations = self.iterations.saturating_add(1);
        if iterations <= SPINS {
            self.iterations = iterations;
            return Rest::Spin;
        }
        if self.wakes {
            return Rest::Park(WOKEN_PARK_MAX);
        }
        let away = self.polled.map_or(Duration::ZERO, |polled| now.since(polled));
        if away >= SLICE {
            self.contended_until = now + away.saturating_mul(CONTENTION_FACTOR);
        }
        // A yield lets whoever else wants this core have it, and costs nothing where nobody does.
        let since = *self.since.get_or_insert(now);
        let is_patient = now >= self.contended_until && now.since(since) < self.patience;
        if iterations <= YIELDS || is_patient {
            self.iterations = iterations.min(YIELDS);
            self.polled = Some(now);
            return Rest::Yield;
        }
        self.iterations = iterations;
        self.polled = None;
        // Exponential backoff. Five doublings reach `PARK_MAX`; more would only overflow.
        // The time doubles every 16 iterations.
        let doublings = ((iterations - YIELDS) / 16).min(5);
        Rest::Park((PARK * 2_u32.pow(doublings)).min(PARK_MAX))
    }
}

/// Blocks this thread for `time`: for threads that may block, unlike a node's.
pub(crate) fn sleep(time: Duration) {
    std::thread::sleep(time);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a node does that polls every microsecond and finds nothing for `time`.
    fn rests(mut idle: Idle, time: Duration) -> Vec<Rest> {
        let steps = u64::try_from(time.as_micros()).expect("a short time");
        (0..steps).map(|step| idle.next(Timestamp(step * 1000))).collect()
    }

    fn idle(wakes: bool, has_own_core: bool) -> Idle {
        Idle::new(Parker::new(), wakes, has_own_core)
    }

    #[test]
    fn a_node_with_a_core_to_itself_polls_on_while_a_long_message_may_be_on_its_way() {
        let parks = |rest: &Rest| matches!(rest, Rest::Park(_));
        let all = rests(idle(false, true), 2 * PATIENCE);
        let first = all.iter().position(parks).expect("it rests in the end");
        let slack = Duration::from_micros(u64::from(SPINS) + 2);
        let waited = Duration::from_micros(first as u64);
        assert!((PATIENCE..PATIENCE + slack).contains(&waited), "{waited:?}");
        assert_eq!(all[first], Rest::Park(PARK));
        assert_eq!(all.last(), Some(&Rest::Park(PARK_MAX)));
    }

    #[test]
    fn a_node_that_shares_its_core_parks_soon() {
        let all = rests(idle(false, false), Duration::from_micros(100));
        let yields = usize::try_from(YIELDS).expect("a few");
        assert_eq!(all[yields - 1..=yields], [Rest::Yield, Rest::Park(PARK)]);
    }

    #[test]
    fn a_node_whose_core_others_take_parks_as_if_it_shared_it() {
        let mut idle = idle(false, true);
        let mut now = Timestamp::default();
        let mut step = |idle: &mut Idle, time| {
            now = now + time;
            idle.next(now)
        };
        let poll = Duration::from_micros(1);
        let polls = || (0..=YIELDS).map(|_| poll);
        assert_eq!(polls().map(|time| step(&mut idle, time)).last(), Some(Rest::Yield));
        assert_eq!(step(&mut idle, SLICE), Rest::Park(PARK));
        idle.reset();
        assert_eq!(polls().map(|time| step(&mut idle, time)).last(), Some(Rest::Park(PARK)));
        idle.reset();
        step(&mut idle, SLICE * CONTENTION_FACTOR);
        idle.reset();
        assert_eq!(polls().map(|time| step(&mut idle, time)).last(), Some(Rest::Yield));
    }

    #[test]
    fn a_node_that_is_woken_parks_at_once_wherever_it_runs() {
        for has_own_core in [false, true] {
            let all = rests(idle(true, has_own_core), Duration::from_micros(100));
            let spins = usize::try_from(SPINS).expect("a few");
            assert_eq!(all[spins - 1..=spins], [Rest::Spin, Rest::Park(WOKEN_PARK_MAX)]);
        }
    }
}
