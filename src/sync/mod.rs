//! Atomics, queues and channels: from `std` and `crossbeam` or, in model checking, from `loom`.
// `loom` explores the executions that the C11 memory model allows, up to a bound, and needs its own types
// for that (after Norris and Demsky, "CDSChecker", OOPSLA 2013).

#[cfg(loom)]
pub(crate) mod model_channel;
#[cfg(loom)]
mod model_queue;

#[cfg(not(loom))]
pub(crate) use crossbeam::channel;
#[cfg(not(loom))]
pub(crate) use crossbeam::queue::{ArrayQueue, SegQueue};
#[cfg(loom)]
pub(crate) use loom::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
#[cfg(loom)]
pub(crate) use model_channel as channel;
#[cfg(loom)]
pub(crate) use model_queue::{ArrayQueue, SegQueue};
#[cfg(not(loom))]
pub(crate) use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

/// Tries the executions of `model` in which threads are interrupted up to `preemptions` times. Most faults need
/// two (Musuvathi and Qadeer, "Iterative Context Bounding", PLDI 2007).
#[cfg(all(test, loom))]
pub(crate) fn explore(preemptions: usize, model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.check(model);
}

/// Wakes a thread of a model, as `crossbeam`'s parker does: a wake-up that comes first is kept. `loom` has threads
/// that park, but takes a thread that waits for a mutex for one.
#[cfg(all(test, loom))]
#[derive(Clone, Debug)]
pub(crate) struct ModelParker(std::sync::Arc<(loom::sync::Mutex<bool>, loom::sync::Condvar)>);

#[cfg(all(test, loom))]
impl ModelParker {
    pub(crate) fn new() -> Self {
        Self(std::sync::Arc::new((loom::sync::Mutex::new(false), loom::sync::Condvar::new())))
    }

    pub(crate) fn park(&self) {
        let (is_woken, changed) = &*self.0;
        let mut guard = is_woken.lock().expect("no thread has panicked");
        while !std::mem::take(&mut *guard) {
            guard = changed.wait(guard).expect("no thread has panicked");
        }
    }

    pub(crate) fn unpark(&self) {
        *self.0.0.lock().expect("no thread has panicked") = true;
        self.0.1.notify_one();
    }
}
