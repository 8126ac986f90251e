//! What a node does when nothing happens: it spins, then yields, then parks.
//!
//! MPI jobs are often started with more ranks than cores. A rank that only spins then takes the core
//! from the very rank that it waits for.

use std::time::Duration;

use crossbeam::sync::Parker;

use crate::metrics::usage::thread_time;
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

// How often a node that polls on looks at the processor time that it got meanwhile.
// About a time slice of Linux (0.7 to 3 ms): whoever shares a core has lost it by then, or does in the next one.
const CHECK_EVERY: Duration = Duration::from_millis(1);

// For how long a node that was given less than three quarters of its core parks as if it shared it. Hosts may
// share cores that each takes for its own (containers, virtual machines): where all of them polled, a tree took
// 3% and 13% longer in two runs in turn. So polling takes a hundredth of the time there.
const CONTENDED_FOR: Duration = Duration::from_millis(100);

/// How long one node has been idle.
#[derive(Debug)]
pub struct Idle {
    parker: Parker,
    iterations: u32,
    wakes: bool,
    patience: Duration,
    /// When the wait began; none while there is work.
    since: Option<Timestamp>,
    /// When it last looked at its processor time, and what that was; none after it has parked.
    checked: Option<(Timestamp, Duration)>,
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
        Self { parker, iterations: 0, wakes, patience, since: None, checked: None, contended_until }
    }

    /// There was work.
    pub fn reset(&mut self) {
        self.iterations = 0;
        self.since = None;
    }

    /// There was none; the next deadline is at `until`.
    pub fn wait(&mut self, now: Timestamp, until: Option<Timestamp>) {
        match self.next(now, thread_time) {
            Rest::Spin => std::hint::spin_loop(),
            Rest::Yield => std::thread::yield_now(),
            Rest::Park(time) => {
                let left = until.map_or(time, |until| until.since(now));
                self.parker.park_timeout(left.min(time));
            }
        }
    }

    fn next(&mut self, now: Timestamp, thread_time: impl FnOnce() -> Duration) -> Rest {
        let iterations = self.iterations.saturating_add(1);
        if iterations <= SPINS {
            self.iterations = iterations;
            return Rest::Spin;
        }
        if self.wakes {
            return Rest::Park(WOKEN_PARK_MAX);
        }
        let since = *self.since.get_or_insert(now);
        let is_patient = now >= self.contended_until && now.since(since) < self.patience;
        // A yield lets whoever else wants this core have it, and costs nothing where nobody does.
        if iterations <= YIELDS || is_patient && self.has_core(now, thread_time) {
            self.iterations = iterations.min(YIELDS);
            return Rest::Yield;
        }
        self.iterations = iterations;
        self.checked = None;
        // Exponential backoff. Five doublings reach `PARK_MAX`; more would only overflow.
        // The time doubles every 16 iterations.
        let doublings = ((iterations - YIELDS) / 16).min(5);
        Rest::Park((PARK * 2_u32.pow(doublings)).min(PARK_MAX))
    }

    /// Whether this thread got most of the time since it parked or looked last.
    // Not the time that a yield takes: where all who share a core yield, each gets it back soon.
    fn has_core(&mut self, now: Timestamp, thread_time: impl FnOnce() -> Duration) -> bool {
        let Some((then, used)) = self.checked else {
            self.checked = Some((now, thread_time()));
            return true;
        };
        let time = now.since(then);
        if time < CHECK_EVERY {
            return true;
        }
        let used_now = thread_time();
        self.checked = Some((now, used_now));
        let has_core = used_now.saturating_sub(used) * 4 >= time * 3;
        if !has_core {
            self.contended_until = now + CONTENDED_FOR;
        }
        has_core
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
        let now = |step| Timestamp(step * 1000);
        (0..steps).map(|step| idle.next(now(step), || now(step).since(now(0)))).collect()
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
        let poll = Duration::from_micros(1);
        // Every second microsecond belongs to somebody else.
        let mut now = Timestamp::default();
        let mut step = || {
            now = now + poll;
            (now, idle.next(now, || Duration::from_nanos(now.0 / 2)))
        };
        let (parked, _) = std::iter::from_fn(|| Some(step()))
            .find(|(_, rest)| matches!(rest, Rest::Park(_)))
            .expect("it rests in the end");
        let checked = CHECK_EVERY + poll * (YIELDS + 2);
        assert!(
            parked.0 <= u64::try_from(checked.as_nanos()).expect("a millisecond"),
            "{parked:?}"
        );
        idle.reset();
        let soon = || parked + CONTENDED_FOR / 2;
        let rests: Vec<_> = (0..=YIELDS).map(|_| idle.next(soon(), Duration::default)).collect();
        assert_eq!(rests.last(), Some(&Rest::Park(PARK)), "it still counts as shared");
        idle.reset();
        let later = || parked + CONTENDED_FOR * 2;
        let rests: Vec<_> = (0..=YIELDS).map(|_| idle.next(later(), Duration::default)).collect();
        assert_eq!(rests.last(), Some(&Rest::Yield), "it tries again");
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
