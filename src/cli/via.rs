//! How messages and segments travel.

use clap::ValueEnum;

/// How messages and segments travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Via {
    /// MPI if started by mpirun or srun, else local.
    Auto,
    /// Threads of one process.
    Local,
    /// Ranks of an MPI job.
    Mpi,
}
