//! Strings in, exit code out: nobody else sees the command line.

mod args;
mod bench;
mod compare;
mod flags;
mod local;
#[cfg(feature = "mpi")]
mod over_mpi;
mod show;
mod simulate;
mod synthesize;

use std::process::ExitCode;

use clap::Parser;

use args::{Args, Command, RunArgs, Via};

// Everything went well.
const OK: u8 = 0;
// Something failed during the run; finished files are kept.
const FAILED: u8 = 1;
// The input or the command line was refused; nothing was moved.
const REFUSED: u8 = 2;
// All was delivered except files that nobody had.
const UNAVAILABLE: u8 = 3;

// What is wrong where one node would be alone.
const ONE_NODE: &str = "one node alone has no peers: start at least 2";
// What is wrong where the program was built without the feature.
#[cfg(not(feature = "mpi"))]
const NO_MPI: &str = "this program was built without MPI: build it with the feature `mpi`";

/// Runs the command line.
pub fn main() -> ExitCode {
    // The classic programs take no arguments and run in the folder of the inputs.
    let classic = std::env::args_os().len() == 1 && is_rank();
    let args = if classic {
        Args { command: Command::Run(RunArgs::parse_from(["run"])) }
    } else {
        match Args::try_parse() {
            Ok(args) => args,
            // All ranks have the same command line: only rank 0 prints the error or the help, and
            // exits with its code.
            Err(_) if rank().is_some_and(|rank| rank != 0) => return ExitCode::SUCCESS,
            Err(error) => error.exit(),
        }
    };
    ExitCode::from(match args.command {
        Command::Run(run) => start(&run),
        Command::Synthesize(workload) => synthesize::synthesize(&workload),
        Command::Simulate(worlds) => simulate::simulate(&worlds),
        Command::Bench(plan) => bench::bench(&plan),
        Command::Compare(question) => compare::run(&question),
    })
}

/// Whether a launcher started this process as one rank of many.
fn is_rank() -> bool {
    // Set by Open MPI, by PMIx and PMI launchers (Slurm), and by MPICH, in this order.
    let names = ["OMPI_COMM_WORLD_SIZE", "PMIX_RANK", "PMI_RANK", "PMI_SIZE"];
    names.iter().any(|name| std::env::var_os(name).is_some())
}

/// The rank of this process, if the launcher says so before MPI is initialized.
fn rank() -> Option<u32> {
    let names = ["OMPI_COMM_WORLD_RANK", "PMIX_RANK", "PMI_RANK"];
    names.iter().find_map(|name| std::env::var(name).ok()?.parse().ok())
}

fn start(run: &RunArgs) -> u8 {
    let over_mpi = match run.transport {
        Via::Auto => is_rank(),
        Via::Local => false,
        Via::Mpi => true,
    };
    if !over_mpi {
        return local::run(run);
    }
    #[cfg(feature = "mpi")]
    return over_mpi::run(run);
    #[cfg(not(feature = "mpi"))]
    {
        show::error(NO_MPI);
        REFUSED
    }
}
