//! Strings in, exit code out: nobody else sees the command line.

#[cfg(feature = "mpi")]
mod agreement;
mod args;
mod bench;
mod bench_progress;
mod colour;
mod compare;
mod documents;
mod flags;
mod interrupt;
mod launcher;
mod limit_rate;
mod local;
mod node_flags;
mod manifest;
#[cfg(feature = "mpi")]
mod over_mpi;
mod patience;
mod reading;
mod selection_flags;
mod show;
mod simulate;
mod stage;
mod stage_args;
mod synthesize;
mod threads;
mod trace_output;
mod via;
mod verify;
mod verify_args;
mod version;
mod writable;

use std::process::ExitCode;

use clap::Parser;

use args::{Args, Command, RunArgs};
use launcher::Launcher;
use via::Via;

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
    let launcher = Launcher::of_this_process();
    end_on_panic(launcher.as_ref().and_then(|launcher| launcher.rank));
    let is_rank = launcher.as_ref().is_some_and(Launcher::started_several);
    let classic = std::env::args_os().len() == 1 && is_rank;
    let args = if classic {
        Args { command: Command::Run(RunArgs::parse_from(["run"])) }
    } else {
        match Args::try_parse() {
            Ok(args) => args,
            Err(error) => return explain(error, launcher.as_ref()).into(),
        }
    };
    let code = match args.command {
        Command::Run(run) => start(&run),
        Command::Manifest(sources) => manifest::manifest(&sources),
        Command::Verify(question) => verify::verify(&question),
        Command::Synthesize(workload) => synthesize::synthesize(&workload),
        Command::Simulate(worlds) => simulate::simulate(&worlds),
        Command::Bench(plan) => bench::bench(&plan),
        Command::Compare(question) => compare::run(&question),
        Command::Stage(args) => stage::stage(&args),
        Command::Completions { shell } => documents::completions(shell),
        Command::Man { of } => documents::man(of.as_deref()),
    };
    if code == OK && show::output_failed() { FAILED } else { code }.into()
}

/// Shows the help, or what is wrong with the command line: once, however many ranks have the same.
fn explain(wrong: clap::Error, launcher: Option<&Launcher>) -> u8 {
    let wrong = show::printable(wrong);
    let several = launcher.filter(|launcher| launcher.size != Some(1));
    let Some((rank, launcher)) = several.and_then(|one| Some((one.rank?, one))) else {
        return show::usage(&wrong);
    };
    if wrong.exit_code() == 0 {
        return if rank == 0 { show::usage(&wrong) } else { OK };
    }
    let line = show::usage_line(&wrong);
    if rank == 0 {
        show::usage(&wrong);
    }
    #[cfg(feature = "mpi")]
    if launcher.offers_mpi {
        return over_mpi::explain(rank, &line);
    }
    // Nothing can run like this, as rank 0 says.
    let _said_by_rank_0 = (launcher, line);
    REFUSED
}

// Unwinding would run `MPI_Finalize` while the other ranks still wait for this one. Ending the process has
// the launcher end the job. A worker thread may not call `MPI_Abort`: MPI runs FUNNELED.
fn end_on_panic(rank: Option<u32>) {
    std::panic::set_hook(Box::new(move |info| {
        let rank = rank.map(|rank| format!("rank {rank}: ")).unwrap_or_default();
        let text = info.to_string().replace('\n', " ");
        show::error(&format!("{rank}this is a bug of mpiswarm: {text}"));
        std::process::abort();
    }));
}

/// Whether the nodes are ranks, as far as the launcher's variables tell; an error that says what to type
/// where it gives MPI no way to connect them.
fn runs_over_mpi(transport: Via) -> Result<bool, String> {
    let launcher = Launcher::of_this_process();
    match (transport, launcher) {
        (Via::Local, _) | (Via::Auto, None) => Ok(false),
        (Via::Mpi, _) => Ok(true),
        (Via::Auto, Some(launcher)) => match launcher.refusal() {
            Some(refusal) => Err(refusal),
            None => Ok(launcher.started_several()),
        },
    }
}

/// Prints a refusal once for all ranks.
fn refuse_all(refusal: &str) -> u8 {
    if !Launcher::of_this_process().is_some_and(|launcher| launcher.speaks_elsewhere()) {
        show::error(refusal);
    }
    REFUSED
}

fn start(run: &RunArgs) -> u8 {
    match runs_over_mpi(run.shared.transport) {
        Err(refusal) => return refuse_all(&refusal),
        Ok(false) => return local::run(run),
        Ok(true) => {}
    }
    #[cfg(feature = "mpi")]
    return over_mpi::run(run);
    #[cfg(not(feature = "mpi"))]
    {
        show::error(NO_MPI);
        REFUSED
    }
}
