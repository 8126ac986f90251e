//! Queues for model checking. Those of `crossbeam` are checked by its authors; a model checks what is built on
//! them.

use std::collections::VecDeque;

use loom::sync::Mutex;

// A panic ends the execution that is tried.
const UNPOISONED: &str = "no thread has panicked";

/// A bounded queue. No model fills one.
#[derive(Debug)]
pub(crate) struct ArrayQueue<T>(Mutex<VecDeque<T>>);

/// A queue without a bound.
#[derive(Debug)]
pub(crate) struct SegQueue<T>(Mutex<VecDeque<T>>);

impl<T> ArrayQueue<T> {
    pub(crate) fn new(_capacity: usize) -> Self {
        Self(Mutex::new(VecDeque::new()))
    }

    pub(crate) fn push(&self, value: T) -> Result<(), T> {
        self.0.lock().expect(UNPOISONED).push_back(value);
        Ok(())
    }

    pub(crate) fn pop(&self) -> Option<T> {
        self.0.lock().expect(UNPOISONED).pop_front()
    }

    pub(crate) fn len(&self) -> usize {
        self.0.lock().expect(UNPOISONED).len()
    }
}

impl<T> SegQueue<T> {
    pub(crate) fn new() -> Self {
        Self(Mutex::new(VecDeque::new()))
    }

    pub(crate) fn push(&self, value: T) {
        self.0.lock().expect(UNPOISONED).push_back(value);
    }

    pub(crate) fn pop(&self) -> Option<T> {
        self.0.lock().expect(UNPOISONED).pop_front()
    }
}
