//! Threads, which a system may refuse: limits of users, of control groups and of the machine count together,
//! and only trying tells.

use std::sync::OnceLock;
use std::thread::{Builder, JoinHandle, Scope, ScopedJoinHandle};
use std::{error, io};

use rayon::{ThreadPool, ThreadPoolBuildError, ThreadPoolBuilder};

/// A thread that the system refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "no thread can be started {what}: {cause}: raise the limit (ulimit -u), start fewer nodes, or give each \
     rank fewer cores (--cpus-per-task)"
)]
pub struct ThreadError {
    /// What it would have done.
    what: &'static str,
    cause: String,
}

impl ThreadError {
    fn of(what: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |cause| Self { what, cause: cause.to_string() }
    }

    /// rayon hides the system's error behind one that says nothing else.
    fn of_pool(what: &'static str) -> impl FnOnce(ThreadPoolBuildError) -> Self {
        move |error| {
            let cause =
                error::Error::source(&error).map_or_else(|| error.to_string(), ToString::to_string);
            Self { what, cause }
        }
    }
}

/// Starts a thread. `what` completes "no thread can be started".
pub(crate) fn start<T: Send + 'static>(
    what: &'static str,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<JoinHandle<T>, ThreadError> {
    builder().spawn(work).map_err(ThreadError::of(what))
}

/// Starts a thread that ends within `scope`.
pub(crate) fn start_scoped<'scope, T: Send + 'scope>(
    scope: &'scope Scope<'scope, '_>,
    what: &'static str,
    work: impl FnOnce() -> T + Send + 'scope,
) -> Result<ScopedJoinHandle<'scope, T>, ThreadError> {
    builder().spawn_scoped(scope, work).map_err(ThreadError::of(what))
}

/// Starts a pool of so many threads.
pub(crate) fn pool(what: &'static str, threads: usize) -> Result<ThreadPool, ThreadError> {
    let start = |thread: rayon::ThreadBuilder| builder().spawn(|| thread.run()).map(drop);
    let built = ThreadPoolBuilder::new().num_threads(threads).spawn_handler(start).build();
    built.map_err(ThreadError::of_pool(what))
}

/// Starts the pool of this process that parallel iterators run on, unless it is there. Without this, rayon
/// starts it where it is first used, and panics where it can't.
pub(crate) fn common_pool() -> Result<(), ThreadError> {
    static STARTED: OnceLock<Result<(), ThreadError>> = OnceLock::new();
    let start = || match ThreadPoolBuilder::new().build_global() {
        // Somebody else has started it.
        Err(error) if error::Error::source(&error).is_none() => Ok(()),
        built => built.map_err(ThreadError::of_pool("that makes payload")),
    };
    STARTED.get_or_init(start).clone()
}

/// Whether all of a group of threads have started: each of them asks first.
#[derive(Debug, Default)]
pub(crate) struct Gate(OnceLock<bool>);

impl Gate {
    /// Tells the threads whether all are there.
    pub(crate) fn open(&self, all: bool) {
        self.0.get_or_init(|| all);
    }

    /// Waits until the last has started; false where one could not.
    pub(crate) fn pass(&self) -> bool {
        *self.0.wait()
    }
}

fn builder() -> Builder {
    #[cfg(all(test, not(loom)))]
    return tests::starved(Builder::new());
    #[cfg(not(all(test, not(loom))))]
    Builder::new()
}

#[cfg(all(test, not(loom)))]
pub(crate) mod tests {
    use super::*;
    use std::cell::Cell;

    thread_local! {
        static LEFT: Cell<usize> = const { Cell::new(usize::MAX) };
    }

    /// Refuses this thread more than `left` other ones from now on.
    pub(crate) fn starve(left: usize) {
        LEFT.set(left);
    }

    /// No system has room for such a stack.
    pub(super) fn starved(builder: Builder) -> Builder {
        match LEFT.get().checked_sub(1) {
            Some(left) => {
                LEFT.set(left);
                builder
            }
            None => builder.stack_size(1 << 60),
        }
    }

    #[test]
    fn a_thread_that_is_refused_is_an_error_that_says_what_to_do() {
        starve(1);
        assert_eq!(start("", || 7).map(|thread| thread.join().expect("it ends")), Ok(7));
        let error =
            start("that does nothing", || 7).expect_err("the second is refused").to_string();
        assert!(
            error.starts_with("no thread can be started that does nothing: Resource"),
            "{error}"
        );
        assert!(error.contains("ulimit -u"), "{error}");
        let refused = std::thread::scope(|scope| start_scoped(scope, "", || 7).is_err());
        assert!(refused);
    }

    #[test]
    fn a_pool_that_is_refused_is_an_error() {
        let error = ThreadPoolBuilder::new().num_threads(2).stack_size(1 << 60).build();
        let error = ThreadError::of_pool("that checks")(error.expect_err("no room")).to_string();
        assert!(error.starts_with("no thread can be started that checks: Resource"), "{error}");
        assert_eq!((common_pool(), common_pool()), (Ok(()), Ok(())));
    }

    #[test]
    fn who_waits_at_a_gate_is_told() {
        for all in [true, false] {
            let gate = Gate::default();
            let told = std::thread::scope(|scope| {
                let waiting = scope.spawn(|| gate.pass());
                gate.open(all);
                waiting.join().expect("it ends")
            });
            assert_eq!(told, all);
        }
    }
}
