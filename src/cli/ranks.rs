//! A run whose nodes are the ranks of an MPI job.

use mpi::Threading;
use mpi::collective::Root as _;
use mpi::topology::{Communicator as _, SimpleCommunicator};

use super::args::RunArgs;
use super::local::count_nodes;
use super::show;
use super::{FAILED, OK, REFUSED};
use crate::driver::job;
use crate::time::Clock;

pub(super) fn run(args: &RunArgs) -> u8 {
    let clock = Clock::start();
    let Some((universe, _)) = mpi::initialize_with_threading(Threading::Funneled) else {
        show::error("MPI can't be initialized");
        return FAILED;
    };
    let world = universe.world();
    if let Some(code) = refuse(args, &world) {
        return code;
    }
    match job::run_rank(&args.job(), &world, &clock, show::progress(args, &clock)) {
        Ok(Some(ended)) => show::summary(args, &clock, "mpi", is_one_machine(&world), ended),
        Ok(None) => OK,
        Err(error) => {
            show::error(&error.to_string());
            world.abort(FAILED.into())
        }
    }
}

/// An exit code where inputs and ranks don't fit together: rank 0 looks, and all hear of it.
fn refuse(args: &RunArgs, world: &SimpleCommunicator) -> Option<u8> {
    let mut code = OK;
    if world.rank() == 0
        && let Err(error) = count_nodes(args, u32::try_from(world.size()).ok())
    {
        show::error(&error);
        code = REFUSED;
    }
    let mut heard = code;
    world.process_at_rank(0).broadcast_into(&mut heard);
    // One code that says so is enough: a launcher has a word to say on each.
    (heard != OK).then_some(code)
}

/// Whether all ranks are on this machine, as far as the launcher says so.
fn is_one_machine(world: &SimpleCommunicator) -> bool {
    let names = ["OMPI_COMM_WORLD_LOCAL_SIZE", "MPI_LOCALNRANKS"];
    let local = names.iter().find_map(|name| std::env::var(name).ok()?.parse::<i32>().ok());
    local == Some(world.size())
}
