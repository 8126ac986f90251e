//! Writes finished files on a thread of its own.
//!
//! A sync may take longer than a thousand segments, and the thread that talks to the transport must
//! not wait for it.

use std::sync::Arc;
use std::thread::JoinHandle;

use crossbeam::channel::{self, Sender};
use crossbeam::queue::SegQueue;
use crossbeam::sync::Unparker;

use crate::manifest::{FileId, FileName};
use crate::metrics::trace::{SpanKind, TraceRecorder, timed};
use crate::spawn::{self, ThreadError};
use crate::store::{Content, FileSegments, OutputDir, OutputError};

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
    pub(crate) error: Option<OutputError>,
}

/// Writes the finished files of one peer.
#[derive(Debug)]
pub(crate) struct Writer<C = FileSegments> {
    // Unbounded queues: they can't hold more than the files that the peer wants, and a job is a name
    // and a pointer. The payload stays in its slots.
    waiting: Option<Sender<WriteJob<C>>>,
    done: Arc<SegQueue<Written>>,
    thread: Option<JoinHandle<()>>,
}

impl<C: Content + Send + Sync + 'static> Writer<C> {
    /// A writer into `output`; without one, files count as written at once. `waker` wakes the node
    /// after each file.
    pub(crate) fn new(
        output: Option<OutputDir>,
        waker: Unparker,
        mut trace: Option<TraceRecorder>,
    ) -> Result<Self, ThreadError> {
        let Some(mut output) = output else { return Ok(Self::default()) };
        // Unbounded in form only: a peer begins each wanted file once.
        let (waiting, files) = channel::unbounded::<WriteJob<C>>();
        let done = Arc::new(SegQueue::new());
        let written = Arc::clone(&done);
        let write = move || {
            for WriteJob { file, name, content } in files {
                let publish = || output.publish(&name, content.segments());
                let result = timed(&mut trace, SpanKind::FileWritten, (file.0, 0), publish);
                written.push(Written { file, error: result.err() });
                waker.unpark();
            }
        };
        let thread = spawn::start("that writes files", write)?;
        Ok(Self { waiting: Some(waiting), done, thread: Some(thread) })
    }

    pub(crate) fn begin(&self, file: FileId, name: FileName, content: impl Into<Arc<C>>) {
        match &self.waiting {
            Some(waiting) => {
                let job = WriteJob { file, name, content: content.into() };
                waiting.send(job).expect("the thread runs as long as the writer");
            }
            None => self.done.push(Written { file, error: None }),
        }
    }

    /// The next file that was written, or failed.
    pub(crate) fn next(&self) -> Option<Written> {
        self.done.pop()
    }
}

/// Writes nothing: files count as written at once.
impl<C> Default for Writer<C> {
    fn default() -> Self {
        Self { waiting: None, done: Arc::default(), thread: None }
    }
}

impl<C> Drop for Writer<C> {
    fn drop(&mut self) {
        // A closed channel ends the thread, after it has written what is queued.
        self.waiting = None;
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}
