//! Contenders: a small adapter each, from a job to what rank 0 knows when it is over.

use std::fmt::Debug;
use std::time::Duration;

use super::Stage;
use super::plan::Entry;
use super::switches::Engine;
use super::workload::Scenario;
use crate::driver::job::{self, Ended, Job, JobError};
use crate::protocol::Outcome;
use crate::protocol::tracker::Progress;
use crate::time::{Clock, Timestamp};

/// Anything that the harness can time on a workload.
pub trait Contender: Debug {
    /// Runs the job once. All ranks of the stage come here; rank 0, or the only process, learns
    /// how it ended.
    ///
    /// # Errors
    ///
    /// When the run broke.
    fn run(&self, job: &Job, turn: &Turn<'_>) -> Result<Option<Ended>, JobError>;
}

/// One run among many.
#[derive(Clone, Copy, Debug)]
pub struct Turn<'a> {
    /// Where it takes place.
    pub stage: &'a Stage,
    /// How many peers take part.
    pub peers: u32,
    /// Which repetition it is.
    pub repetition: u32,
    /// Started at zero for this run.
    pub clock: &'a Clock,
}

/// Why a contender does not run a workload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// It can't carry anything but one owner's files to all.
    #[error("it only carries what one owner has to all others")]
    NotBroadcast,
    /// It needs an MPI.
    #[error("it needs ranks: start it with mpirun")]
    NoRanks,
    /// This program was built without it.
    #[error("this program has no such engine")]
    Absent,
}

/// The contender of a plan's entry for a scenario.
///
/// # Errors
///
/// Why it is left out.
pub fn contender(
    entry: &Entry,
    scenario: &Scenario,
    stage: &Stage,
) -> Result<Box<dyn Contender>, Unfit> {
    if entry.engine.only_broadcasts() && !scenario.is_broadcast() {
        return Err(Unfit::NotBroadcast);
    }
    match entry.engine {
        Engine::Lockfree => Ok(Box::new(Lockfree)),
        Engine::Mock => Ok(Box::new(Mock { times: entry.times.clone() })),
        Engine::MpiBcast if stage.peers().is_none() => Err(Unfit::NoRanks),
        Engine::Mutex | Engine::MpiBcast | Engine::Chain | Engine::Binomial | Engine::Circulant => {
            Err(Unfit::Absent)
        }
    }
}

/// The tuned engine.
#[derive(Debug)]
struct Lockfree;

impl Contender for Lockfree {
    fn run(&self, job: &Job, turn: &Turn<'_>) -> Result<Option<Ended>, JobError> {
        match turn.stage {
            Stage::Threads => job::run_threads(job, turn.peers + 1, turn.clock, |_| ()).map(Some),
            #[cfg(feature = "mpi")]
            Stage::Ranks(ranks) => job::run_rank(job, &ranks.world, turn.clock, |_| ()),
        }
    }
}

/// Nothing moves, and it takes fixed times, one a repetition in turn.
#[derive(Debug)]
struct Mock {
    times: Vec<Duration>,
}

impl Contender for Mock {
    fn run(&self, job: &Job, turn: &Turn<'_>) -> Result<Option<Ended>, JobError> {
        job.meter.begin();
        let opened = Timestamp::default();
        let finished = opened + self.times[turn.repetition as usize % self.times.len()];
        let peers = (0..turn.peers).map(|_| Some(finished));
        let finished = std::iter::once(None).chain(peers).collect();
        Ok(Some(Ended {
            outcome: Outcome { opened: Some(opened), finished, ..Outcome::default() },
            progress: Progress::default(),
            metrics: Vec::new(),
            distinct_bytes: 0,
        }))
    }
}
