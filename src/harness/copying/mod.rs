//! Trees that are copied to every peer: by a stage, and by what people use instead. All are timed alike, from an empty
//! folder for each peer until the last copy is whole and on the disk.

mod copy_program;
#[cfg(feature = "mpi")]
mod copying_ranks;
mod source_tree;
mod stage_options;
mod staging;
mod tree_workload;

use std::fs::File;
use std::io;
use std::path::Path;
use std::thread;
use std::time::Duration;

pub(crate) use copy_program::{CopyProgram, ProgramError};
pub(crate) use source_tree::{SourceTree, SourceTreeError};
pub(crate) use stage_options::{StageOptions, StageSweeps};
pub(crate) use staging::Staging;
pub(crate) use tree_workload::TreeWorkload;

use rustix::fs::syncfs;

use self::source_tree::{CopyFolders, TREE};
use super::Launch;
use crate::driver::job::JobResult;
use crate::driver::stage::StageError;
use crate::escape;
use crate::metrics::RankMetrics;
use crate::metrics::cores::CoreShare;
use crate::metrics::usage::Meter;
use crate::protocol::Outcome;
use crate::protocol::tracker::Progress;
use crate::spawn::{self, Gate, ThreadError};
use crate::time::{Clock, Timestamp};
use crate::transport::TransportError;
use crate::tree::{
    DestinationError, EntryKind, ListError, ManifestError, NameFilter, StoredManifest,
    TreeDifference, verify_tree,
};

/// What copies a tree to each peer.
#[derive(Clone, Debug)]
pub(crate) enum Copier {
    /// A stage: one peer reads the tree, and all bring it to each other.
    Staging(Staging),
    /// A program of the system, once for each peer, all at once.
    Program(CopyProgram),
}

/// What all processes of a run know.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CopyRun<'a> {
    pub copier: &'a Copier,
    /// Made by the only process, or by rank 0.
    pub source: Option<&'a SourceTree>,
    pub peers: u32,
    /// The cores that fall to each peer.
    pub share: CoreShare,
    pub seed: u64,
    /// Whether the copies are compared with the tree afterwards.
    pub compares: bool,
    /// How long one process waits for another.
    #[cfg_attr(not(feature = "mpi"), expect(dead_code, reason = "there is no other process"))]
    pub limit: Duration,
    pub meter: &'a Meter,
}

/// Why a tree was not copied.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CopyError {
    #[error(transparent)]
    Program(#[from] ProgramError),
    #[error("{0}")]
    Stage(#[from] StageError),
    #[error(transparent)]
    Destination(#[from] DestinationError),
    #[error(transparent)]
    List(#[from] ListError),
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    #[error(transparent)]
    Threads(#[from] ThreadError),
    #[error(transparent)]
    Transport(#[from] TransportError),
    #[error("the folders of the copies: {0}")]
    Folders(io::Error),
    #[error("not all of the tree was copied: {0}")]
    Incomplete(String),
    #[error("the copy is not as the tree: {0}")]
    Differs(String),
}

/// A copy that a peer has.
#[derive(Clone, Debug, Default)]
struct Copied {
    /// How long it took.
    after: Duration,
    metrics: RankMetrics,
}

impl CopyRun<'_> {
    /// Runs it once. Collective; rank 0, or the only process, gets the result.
    ///
    /// # Errors
    ///
    /// A copy could not be made, or is not as the tree. Other ranks may then wait.
    pub(crate) fn run(
        &self,
        launch: &Launch,
        clock: &Clock,
    ) -> Result<Option<JobResult>, CopyError> {
        match launch {
            Launch::Threads => self.by_threads(clock).map(Some),
            #[cfg(feature = "mpi")]
            Launch::Ranks(ranks) => self.by_rank(launch, ranks, clock),
        }
    }

    fn by_threads(&self, clock: &Clock) -> Result<JobResult, CopyError> {
        let source = self.source.expect("the only process has made the tree");
        let folders = CopyFolders::make(source.base(), 1..=self.peers);
        let folders = folders.map_err(CopyError::Folders)?;
        let dirs = folders.dirs();
        // What was removed before is none of this contender's affair.
        sync(source.base())?;
        self.meter.begin();
        self.meter.open();
        let opened = clock.now();
        let copied = match self.copier {
            Copier::Staging(staging) => staging.by_threads(self, source, dirs, clock)?,
            Copier::Program(program) => at_once(dirs.len(), |place| {
                let copied = by_program(*program, source.base(), &dirs[place], clock);
                copied.map(|after| Copied::by_program(after, source.stored()))
            })?,
        };
        self.meter.end();
        if self.compares {
            dirs.iter().try_for_each(|dir| self.copier.compare(source.stored(), dir))?;
        }
        Ok(result(opened, copied, source.stored()))
    }
}

impl Copier {
    /// Compares a copy with the tree: names, kinds, sizes, modes, times, links and content.
    fn compare(&self, stored: &StoredManifest, dir: &Path) -> Result<(), CopyError> {
        let keeps_hard_links = match self {
            Self::Staging(_) => true,
            Self::Program(program) => program.keeps_hard_links(),
        };
        let all = NameFilter::default();
        let found = verify_tree(&dir.join(TREE), stored, TREE.as_bytes(), &all, |_| ())?;
        let matters = |one: &&TreeDifference| keeps_hard_links || one.what != "hard link";
        let found: Vec<_> = found.iter().filter(matters).map(ToString::to_string).collect();
        if found.is_empty() { Ok(()) } else { Err(CopyError::Differs(escape::some(&found, "; "))) }
    }
}

impl Copied {
    /// A program reads all of the tree itself.
    fn by_program(after: Duration, stored: &StoredManifest) -> Self {
        let bytes = stored.manifest.bytes();
        let metrics =
            RankMetrics { received_bytes: bytes, origin_bytes: bytes, ..RankMetrics::default() };
        Self { after, metrics }
    }
}

/// Copies a tree by a program, waits for the disk, and returns how long both took.
fn by_program(
    program: CopyProgram,
    base: &Path,
    dir: &Path,
    clock: &Clock,
) -> Result<Duration, CopyError> {
    let began = clock.now();
    program.copy(base, dir)?;
    sync(dir)?;
    Ok(clock.now().since(began))
}

/// Waits until all that was written to the file system of a folder is on the disk.
fn sync(dir: &Path) -> Result<(), CopyError> {
    let synced = File::open(dir).and_then(|dir| Ok(syncfs(dir)?));
    synced.map_err(CopyError::Folders)
}

/// Makes so many copies, each by a thread, all at once.
fn at_once(
    count: usize,
    work: impl Fn(usize) -> Result<Copied, CopyError> + Sync,
) -> Result<Vec<Copied>, CopyError> {
    let (work, gate) = (&work, &Gate::default());
    thread::scope(|scope| {
        let start = |place| {
            spawn::start_scoped(scope, "for a copy", move || gate.pass().then(|| work(place)))
        };
        let threads: Result<Vec<_>, _> = (0..count).map(start).collect();
        gate.open(threads.is_ok());
        let done = threads?.into_iter().map(|thread| thread.join().expect("a copy does not panic"));
        // All are waited for before the first error counts.
        let done: Vec<_> = done.flatten().collect();
        done.into_iter().collect()
    })
}

/// The result of a run that began at `opened`.
fn result(opened: Timestamp, copied: Vec<Copied>, stored: &StoredManifest) -> JobResult {
    let manifest = &stored.manifest;
    let is_file = |kind: &EntryKind| matches!(kind, EntryKind::File { .. });
    let files = manifest.entries.iter().filter(|entry| is_file(&entry.kind)).count();
    let finished = copied.iter().map(|one| Some(opened + one.after));
    JobResult {
        progress: Progress {
            files_finished: (files * copied.len()) as u64,
            peers_complete: copied.len(),
            ..Progress::default()
        },
        outcome: Outcome {
            opened: Some(opened),
            finished: std::iter::once(None).chain(finished).collect(),
            ..Outcome::default()
        },
        distinct_bytes: manifest.bytes(),
        metrics: std::iter::once(RankMetrics::default())
            .chain(copied.into_iter().map(|one| one.metrics))
            .collect(),
    }
}
