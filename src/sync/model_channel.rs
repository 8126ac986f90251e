//! Channels for model checking, with the errors of `crossbeam`.

use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

use crossbeam::channel::{RecvTimeoutError, SendError, TryRecvError, TrySendError};
use loom::sync::{Arc, Condvar, Mutex, MutexGuard};

/// What both ends share.
#[derive(Debug)]
struct SharedChannel<T> {
    state: Mutex<ChannelState<T>>,
    changed: Condvar,
    capacity: usize,
}

#[derive(Debug)]
struct ChannelState<T> {
    values: VecDeque<T>,
    senders: usize,
    receivers: usize,
}

/// One of the sending ends.
pub(crate) struct Sender<T>(Arc<SharedChannel<T>>);

/// One of the receiving ends.
pub(crate) struct Receiver<T>(Arc<SharedChannel<T>>);

pub(crate) fn bounded<T>(capacity: usize) -> (Sender<T>, Receiver<T>) {
    let state = ChannelState { values: VecDeque::new(), senders: 1, receivers: 1 };
    let (state, changed) = (Mutex::new(state), Condvar::new());
    let shared = Arc::new(SharedChannel { state, changed, capacity });
    (Sender(Arc::clone(&shared)), Receiver(shared))
}

pub(crate) fn unbounded<T>() -> (Sender<T>, Receiver<T>) {
    bounded(usize::MAX)
}

impl<T> SharedChannel<T> {
    fn lock(&self) -> MutexGuard<'_, ChannelState<T>> {
        self.state.lock().expect("no thread has panicked")
    }

    fn wait<'a>(&self, state: MutexGuard<'a, ChannelState<T>>) -> MutexGuard<'a, ChannelState<T>> {
        self.changed.wait(state).expect("no thread has panicked")
    }
}

impl<T> Sender<T> {
    pub(crate) fn send(&self, value: T) -> Result<(), SendError<T>> {
        let mut state = self.0.lock();
        while state.values.len() >= self.0.capacity && state.receivers > 0 {
            state = self.0.wait(state);
        }
        if state.receivers == 0 {
            return Err(SendError(value));
        }
        state.values.push_back(value);
        self.0.changed.notify_all();
        Ok(())
    }

    pub(crate) fn try_send(&self, value: T) -> Result<(), TrySendError<T>> {
        let mut state = self.0.lock();
        if state.receivers == 0 {
            return Err(TrySendError::Disconnected(value));
        }
        if state.values.len() >= self.0.capacity {
            return Err(TrySendError::Full(value));
        }
        state.values.push_back(value);
        self.0.changed.notify_all();
        Ok(())
    }
}

impl<T> Receiver<T> {
    /// Waits as long as there are senders: a model has no clock.
    pub(crate) fn recv_timeout(&self, _patience: Duration) -> Result<T, RecvTimeoutError> {
        let mut state = self.0.lock();
        loop {
            if let Some(value) = state.values.pop_front() {
                self.0.changed.notify_all();
                return Ok(value);
            }
            if state.senders == 0 {
                return Err(RecvTimeoutError::Disconnected);
            }
            state = self.0.wait(state);
        }
    }

    pub(crate) fn try_recv(&self) -> Result<T, TryRecvError> {
        let mut state = self.0.lock();
        let value = state.values.pop_front();
        self.0.changed.notify_all();
        let is_open = state.senders > 0;
        value.ok_or(if is_open { TryRecvError::Empty } else { TryRecvError::Disconnected })
    }
}

/// Ends when nothing is left and nobody sends any more.
impl<T> Iterator for Receiver<T> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        self.recv_timeout(Duration::MAX).ok()
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        self.0.lock().senders += 1;
        Self(Arc::clone(&self.0))
    }
}

impl<T> Clone for Receiver<T> {
    fn clone(&self) -> Self {
        self.0.lock().receivers += 1;
        Self(Arc::clone(&self.0))
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        self.0.lock().senders -= 1;
        self.0.changed.notify_all();
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.receivers -= 1;
        // `crossbeam` drops what nobody can receive any more.
        let left =
            if state.receivers == 0 { std::mem::take(&mut state.values) } else { VecDeque::new() };
        drop(state);
        drop(left);
        self.0.changed.notify_all();
    }
}

impl<T> fmt::Debug for Sender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sender")
    }
}

impl<T> fmt::Debug for Receiver<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Receiver")
    }
}
