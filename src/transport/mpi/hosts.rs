//! Which ranks are on one machine.

use mpi::collective::{CommunicatorCollectives as _, SystemOperation};
use mpi::topology::{Communicator as _, Rank, SimpleCommunicator};

use crate::metrics::cores::Cores;

/// What of a job is on one machine.
#[derive(Clone, Debug)]
pub struct HostRanks {
    /// Ranks, this one among them.
    pub ranks: Rank,
    /// Cores that any of them may use: launchers may bind each rank to its own.
    pub cores: Cores,
}

/// What of the job is on this machine. Collective: all ranks must call it.
// All ranks that can share memory (`MPI_Comm_split_type`). Launchers have environment variables for
// that, but each has other ones, and Slurm has none.
pub fn here(world: &SimpleCommunicator) -> HostRanks {
    let machine = world.split_shared(world.rank());
    let mine = Cores::mine();
    let mut words = mine.words().to_vec();
    machine.all_reduce_into(mine.words(), &mut words[..], SystemOperation::bitwise_or());
    HostRanks { ranks: machine.size(), cores: mine.with_words(words) }
}

/// Sums over the ranks of one machine.
#[derive(Clone, Debug)]
pub struct HostSums {
    /// Each number, summed.
    pub sums: Vec<u64>,
    /// How many ranks were summed.
    pub ranks: Rank,
    /// Whether this is the lowest of them.
    pub is_lowest: bool,
    /// Whether they all gave the same `group`.
    pub is_one_group: bool,
}

/// Sums numbers over the ranks of this machine. Collective: all ranks must call it, with as many numbers.
pub fn sum_here(world: &SimpleCommunicator, numbers: &[u64], group: u64) -> HostSums {
    let machine = world.split_shared(world.rank());
    let mut sums = vec![0; numbers.len()];
    // Open MPI refuses the address of an empty buffer.
    if !numbers.is_empty() {
        machine.all_reduce_into(numbers, &mut sums[..], SystemOperation::sum());
    }
    let (mut any, mut all) = (0_u64, 0_u64);
    machine.all_reduce_into(&group, &mut any, SystemOperation::bitwise_or());
    machine.all_reduce_into(&group, &mut all, SystemOperation::bitwise_and());
    let (ranks, is_lowest) = (machine.size(), machine.rank() == 0);
    HostSums { sums, ranks, is_lowest, is_one_group: any == all }
}

/// By rank, whether it is on this machine. Collective: all ranks must call it.
pub(super) fn near(world: &SimpleCommunicator) -> Vec<bool> {
    let machine = world.split_shared(world.rank());
    let mut mine = vec![0; super::index(machine.size())];
    machine.all_gather_into(&world.rank(), &mut mine[..]);
    let mut near = vec![false; super::index(world.size())];
    mine.into_iter().for_each(|rank: Rank| near[super::index(rank)] = true);
    near
}
