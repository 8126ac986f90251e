//! How fast, compared with what? Plans of contenders and workloads, the method that runs them, a
//! record of every run, and the limits of the machine.
//!
//! - `plan`, `workload`, `switches`: what is to be run.
//! - `contender`, [`broadcast`], `copying`, `launch`: what runs, and where.
//! - `runner`: in which order and how often.
//! - [`environment`], [`records`], `results`: what is kept. `measured` makes it a set of runs, which
//!   `report::compare` shows.
//! - `limits`: what the cores and the MPI could do at best.
//! - `tracker_load`: how fast the tracker alone is. `scale_study`: how many peers it can serve.
//!
//! Nothing here prints.

pub mod broadcast;
pub(crate) mod contender;
pub(crate) mod copying;
#[cfg(test)]
mod docs;
pub mod environment;
pub(crate) mod fit;
pub(crate) mod limits;
pub(crate) mod measured;
pub(crate) mod plan;
pub mod records;
pub(crate) mod results;
pub(crate) mod runner;
pub(crate) mod scale_study;
pub(crate) mod launch;
pub(crate) mod switches;
pub(crate) mod tracker_load;
pub(crate) mod tracker_run;
pub(crate) mod workload;

pub(crate) use launch::Launch;
pub(crate) use plan::Plan;

/// Cores that this process may use.
pub(crate) fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}
