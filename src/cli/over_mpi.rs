//! A run whose nodes are the ranks of an MPI job.

use mpi::Threading;
use mpi::collective::Root as _;
use mpi::topology::{Communicator as _, SimpleCommunicator};

use super::agreement;
use super::args::RunArgs;
use super::launcher::Launcher;
use super::local::{claim, count_nodes};
use super::show;
use super::{FAILED, OK, REFUSED, refuse_all};
use crate::baseline;
use crate::config::Engine;
use crate::driver::job;
use crate::store::{OutputList, remove_left_over};
use crate::time::Clock;
use crate::transport::mpi::here;

pub(super) fn run(args: &RunArgs) -> u8 {
    let clock = Clock::start();
    let needed = match args.engine {
        Engine::Lockfree => Threading::Funneled,
        Engine::Mutex => Threading::Multiple,
    };
    let Some((universe, provided)) = mpi::initialize_with_threading(needed) else {
        show::error("MPI can't be initialized");
        return FAILED;
    };
    let world = universe.world();
    if let Some(refusal) = disagreement(&world) {
        return refuse_all(&refusal);
    }
    if let Some(code) = agreement::refusal(&world, &args.agreed()) {
        return code;
    }
    // Rank 0 holds the output folder until all have ended.
    let _list = match refuse(args, provided, &world) {
        Ok(list) => list,
        Err(code) => return code,
    };
    let here = here(&world);
    let one_machine = here.ranks == world.size();
    let (job, progress) = (args.job(!one_machine, show::error), show::progress(args, &clock));
    let ended = match args.engine {
        Engine::Lockfree => job::run_rank(&job, &world, &clock, progress),
        Engine::Mutex => baseline::run_rank(&job, &world, &clock, progress),
    };
    match ended {
        Ok(ended) => {
            let is_broken = ended.as_ref().is_some_and(|ended| !ended.outcome.lost.is_empty());
            let cores = one_machine.then(|| here.cores.count());
            let code = ended.map(|ended| show::summary(args, &clock, "mpi", cores, ended));
            if is_broken {
                world.abort(code.unwrap_or(FAILED).into())
            }
            if one_machine {
                // Rank 0 measures the limits of the machine: the others leave it the cores.
                job::meet_quietly(&world);
            }
            code.unwrap_or(OK)
        }
        Err(error) => {
            show::error(&error.to_string());
            world.abort(FAILED.into())
        }
    }
}

/// Why the launcher and MPI do not count the same ranks, if they don't.
pub(super) fn disagreement(world: &SimpleCommunicator) -> Option<String> {
    let ranks = u32::try_from(world.size()).unwrap_or_default();
    Launcher::of_this_process().and_then(|launcher| launcher.disagreement(ranks))
}

/// The exit code where inputs, ranks, output folder and MPI don't fit together. Rank 0 checks, and
/// broadcasts it.
fn refuse(
    args: &RunArgs,
    provided: Threading,
    world: &SimpleCommunicator,
) -> Result<Option<OutputList>, u8> {
    let (mut code, mut list) = (OK, None);
    if world.rank() == 0 {
        let fits = count_nodes(args, u32::try_from(world.size()).ok())
            .and_then(|_| check_threads(args.engine, provided))
            .and_then(|()| claim(args));
        match fits {
            Ok(claimed) => list = claimed,
            Err(error) => {
                show::error(&error);
                code = REFUSED;
            }
        }
    }
    let mut shared = code;
    world.process_at_rank(0).broadcast_into(&mut shared);
    if shared != OK {
        // Only rank 0 exits with it: a launcher reports each code that is not 0.
        return Err(code);
    }
    if world.rank() != 0 {
        // Rank 0 did where its host has this folder.
        remove_left_over(&args.out);
    }
    Ok(list)
}

/// Checks that MPI allows as many communicating threads as the engine has.
fn check_threads(engine: Engine, provided: Threading) -> Result<(), String> {
    if engine == Engine::Lockfree || provided == Threading::Multiple {
        return Ok(());
    }
    Err(format!(
        "--engine mutex: it needs MPI_THREAD_MULTIPLE, but this MPI provides only {provided:?}: use \
         --engine lockfree"
    ))
}
