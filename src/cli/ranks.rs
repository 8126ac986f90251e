//! A run whose nodes are the ranks of an MPI job.

use crossbeam::sync::Parker;
use mpi::Threading;
use mpi::topology::{Communicator as _, SimpleCommunicator};

use super::args::RunArgs;
use super::local::{checks, count_nodes, read};
use super::show::{self, Ended};
use super::{FAILED, OK, REFUSED};
use crate::driver::{Injection, run_peer, run_tracker};
use crate::manifest::NodeId;
use crate::metrics::RankMetrics;
use crate::protocol::Tracker;
use crate::time::Clock;
use crate::transport::TransportError;
use crate::transport::mpi::MpiTransport;

pub(super) fn run(args: &RunArgs) -> u8 {
    let clock = Clock::start();
    let Some((universe, _)) = mpi::initialize_with_threading(Threading::Funneled) else {
        show::error("MPI can't be initialized");
        return FAILED;
    };
    let world = universe.world();
    let rank = NodeId(u32::try_from(world.rank()).expect("ranks are not negative"));
    let result = if rank == NodeId::TRACKER {
        track(args, &clock, &world)
    } else {
        share(args, &clock, rank, &world)
    };
    match result {
        Ok(code) => code,
        Err(error) => {
            show::error(&format!("{rank}: {error}"));
            world.abort(FAILED.into())
        }
    }
}

fn track(args: &RunArgs, clock: &Clock, world: &SimpleCommunicator) -> Result<u8, TransportError> {
    let ranks = u32::try_from(world.size()).expect("a job has ranks");
    if let Err(error) = count_nodes(args, Some(ranks)) {
        show::error(&error);
        world.abort(REFUSED.into());
    }
    let mut tracker = Tracker::new(ranks, args.config(), args.seed);
    let mut transport = MpiTransport::new(world)?;
    run_tracker(&mut tracker, &mut transport, Parker::new(), clock, show::progress(args))?;
    let gathered = transport.gather(&RankMetrics::default().encode())?.unwrap_or_default();
    let mut outcome = tracker.outcome().clone();
    let mut metrics = vec![RankMetrics::default()];
    for (peer, bytes) in (1..).map(NodeId).zip(gathered.iter().skip(1)) {
        let report = RankMetrics::decode(bytes);
        metrics.push(report.unwrap_or_else(|error| {
            outcome.errors.push(format!("{peer}: its report is lost: {error}"));
            RankMetrics::default()
        }));
    }
    let ended = Ended {
        outcome: &outcome,
        progress: tracker.progress(),
        distinct_bytes: tracker.distinct_bytes_wanted(args.segment_bytes),
        metrics,
        transport: "mpi",
        one_machine: is_one_machine(ranks),
    };
    Ok(show::summary(args, clock, ended))
}

fn share(
    args: &RunArgs,
    clock: &Clock,
    rank: NodeId,
    world: &SimpleCommunicator,
) -> Result<u8, TransportError> {
    let terms = args.terms();
    let mut transport = MpiTransport::new(world)?;
    let prepared = read(args, rank, &terms);
    let parker = Parker::new();
    let checks = checks(args, &parker);
    let injection = Injection::new(&args.inject, args.seed, rank);
    let metrics = run_peer(prepared, &mut transport, parker, clock, checks, injection)?;
    transport.gather(&metrics.encode())?;
    Ok(OK)
}

/// Whether all ranks are on this machine, as far as the launcher says so.
fn is_one_machine(ranks: u32) -> bool {
    let names = ["OMPI_COMM_WORLD_LOCAL_SIZE", "MPI_LOCALNRANKS"];
    let local = names.iter().find_map(|name| std::env::var(name).ok()?.parse::<u32>().ok());
    local == Some(ranks)
}
