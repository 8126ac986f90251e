//! A limit on calls that block: when one does not return in time, the process says what it waited for
//! and ends, so that the launcher ends the job.
//!
//! MPI's blocking calls and collectives have no time-out of their own, and no thread but the main one may
//! call `MPI_Abort` under `MPI_THREAD_FUNNELED`. A thread that only counts time may end the process,
//! though.

use std::sync::{Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;
use std::time::Duration;

use crate::spawn::{self, ThreadError};

// How often the counted time advances; a limit is exact to one tick. Ticks are counted instead of a clock
// read: a process that was stopped for an hour has itself waited one tick, not an hour.
const TICK: Duration = Duration::from_millis(100);

/// A call that has not returned yet.
#[derive(Debug)]
struct Watched {
    id: u64,
    what: String,
    left: Duration,
}

/// The calls that have not returned, and how many were ever watched.
#[derive(Debug, Default)]
struct Watchdog {
    watched: Mutex<(u64, Vec<Watched>)>,
    added: Condvar,
}

static WATCHDOG: OnceLock<Watchdog> = OnceLock::new();

/// Starts the thread that watches, once. `expire` is told what was waited for, and ends the process.
///
/// # Errors
///
/// When the thread can't be started.
pub(crate) fn install(expire: impl Fn(&str) + Send + 'static) -> Result<(), ThreadError> {
    let watchdog = WATCHDOG.get_or_init(Watchdog::default);
    let watch = move || watchdog.watch(expire);
    spawn::start("that limits how long a call blocks", watch).map(drop)
}

/// Limits what happens until the guard is dropped. `what` completes "waited for"; nothing is limited
/// before [`install`], where nodes are threads and no call of MPI blocks.
#[must_use = "the limit ends when the guard is dropped"]
pub(crate) fn limit(what: impl Into<String>, limit: Duration) -> Guard {
    Guard(WATCHDOG.get().map(|watchdog| (watchdog, watchdog.add(what.into(), limit))))
}

/// Ends a limit when it is dropped.
#[derive(Debug)]
pub(crate) struct Guard(Option<(&'static Watchdog, u64)>);

impl Drop for Guard {
    fn drop(&mut self) {
        if let Some((watchdog, id)) = self.0 {
            watchdog.lock().1.retain(|watched| watched.id != id);
        }
    }
}

impl Watchdog {
    fn lock(&self) -> MutexGuard<'_, (u64, Vec<Watched>)> {
        self.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, what: String, left: Duration) -> u64 {
        let mut watched = self.lock();
        watched.0 += 1;
        let id = watched.0;
        watched.1.push(Watched { id, what, left });
        self.added.notify_one();
        id
    }

    fn watch(&self, expire: impl Fn(&str)) {
        let mut watched = self.lock();
        loop {
            if watched.1.is_empty() {
                watched = self.added.wait(watched).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            drop(watched);
            thread::park_timeout(TICK);
            watched = self.lock();
            for call in &mut watched.1 {
                call.left = call.left.saturating_sub(TICK);
            }
            if let Some(at) = watched.1.iter().position(|call| call.left.is_zero()) {
                expire(&watched.1.swap_remove(at).what);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    #[test]
    fn a_call_that_does_not_return_is_named() {
        let (expired, told) = mpsc::channel();
        install(move |what| expired.send(what.to_owned()).expect("the test listens"))
            .expect("a thread starts");
        drop(limit("what returned in time", TICK));
        let quick = limit("the slow call", 2 * TICK);
        let slow = limit("a patient call", 1_000 * TICK);
        assert_eq!(told.recv().as_deref(), Ok("the slow call"));
        drop((quick, slow));
        assert_eq!(told.try_recv(), Err(mpsc::TryRecvError::Empty));
    }
}
