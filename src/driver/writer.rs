//! Finished files on their way to disk, on a thread of their own: a sync may take longer than a
//! thousand segments, and nobody should wait for it.

use std::sync::Arc;
use std::thread::JoinHandle;

use crossbeam::channel::{self, Sender};
use crossbeam::queue::SegQueue;
use crossbeam::sync::Unparker;

use crate::manifest::{FileId, FileName};
use crate::store::shelf::Shelf;
use crate::store::{Content, OutputDir};

/// A job file that has no name yet.
#[derive(Debug)]
struct WriteJob<C> {
    file: FileId,
    name: FileName,
    content: Arc<C>,
}

/// A file that was written, or could not be.
#[derive(Debug)]
pub(crate) struct Written {
    pub(crate) file: FileId,
    pub(crate) trouble: Option<Box<str>>,
}

/// Writes the finished files of one peer. As many may wait as the peer wants.
#[derive(Debug)]
pub(crate) struct Writer<C = Shelf> {
    waiting: Option<Sender<WriteJob<C>>>,
    done: Arc<SegQueue<Written>>,
    thread: Option<JoinHandle<()>>,
}

impl<C: Content + Send + Sync + 'static> Writer<C> {
    /// A writer into `output`; without one, files count as written at once. `bell` wakes the node
    /// after each file.
    pub(crate) fn new(output: Option<OutputDir>, bell: Unparker) -> Self {
        let done = Arc::new(SegQueue::new());
        let Some(output) = output else { return Self { waiting: None, done, thread: None } };
        let (waiting, files) = channel::unbounded::<WriteJob<C>>();
        let written = Arc::clone(&done);
        let thread = std::thread::spawn(move || {
            for WriteJob { file, name, content } in files {
                let result = output.publish(&name, file.0, content.segments());
                let trouble = result.err().map(|error| error.to_string().into());
                written.push(Written { file, trouble });
                bell.unpark();
            }
        });
        Self { waiting: Some(waiting), done, thread: Some(thread) }
    }

    /// Begins to write a file.
    pub(crate) fn begin(&self, file: FileId, name: FileName, content: impl Into<Arc<C>>) {
        match &self.waiting {
            Some(waiting) => {
                let job = WriteJob { file, name, content: content.into() };
                waiting.send(job).expect("the thread runs as long as the writer");
            }
            None => self.done.push(Written { file, trouble: None }),
        }
    }

    /// A file that was written since the last time.
    pub(crate) fn next(&self) -> Option<Written> {
        self.done.pop()
    }
}

impl<C> Drop for Writer<C> {
    fn drop(&mut self) {
        // The thread ends when nothing more can come.
        self.waiting = None;
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}
