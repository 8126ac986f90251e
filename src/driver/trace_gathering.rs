//! Brings the traces of all ranks of an MPI job to rank 0.

use std::time::Duration;

use mpi::topology::{Communicator as _, SimpleCommunicator};

use crate::metrics::trace::{RankTrace, TraceLog};
use crate::transport::TransportError;
use crate::transport::mpi::{Meeting, RollCall, trace_bytes_max};

/// Adds the traces of the other ranks to the log of rank 0. All ranks must come here, and none may be lost. A
/// rank whose trace does not come is left out.
pub(super) fn gather_traces(
    log: &TraceLog,
    world: &SimpleCommunicator,
    limit: Duration,
) -> Result<(), TransportError> {
    // Each process has one rank.
    let Some(mine) = log.take().pop() else { return Err(TransportError::BrokenOff) };
    let roll_call = RollCall::new(world, limit);
    if world.rank() != 0 {
        let bytes = mine.encode(trace_bytes_max(world.size()));
        roll_call.collect(Meeting::Trace, &bytes)?;
        return Ok(());
    }
    log.add(mine);
    let all = roll_call.collect(Meeting::Trace, &[])?.unwrap_or_default();
    let ranks = u32::try_from(all.len()).unwrap_or(u32::MAX);
    for (rank, bytes) in (0..).zip(all).skip(1) {
        let read = bytes.and_then(|bytes| RankTrace::decode(&bytes, rank, ranks));
        read.into_iter().for_each(|one| log.add(one));
    }
    Ok(())
}
