//! A run whose nodes are threads of this process.

use std::sync::Arc;
use std::thread;

use crossbeam::sync::Parker;

use super::args::RunArgs;
use super::show::{self, Ended};
use super::{FAILED, REFUSED};
use crate::driver::{Checks, Injection, Prepared, Terms, prepare, run_peer, run_tracker};
use crate::manifest::{NodeId, PeerInput, highest_peer};
use crate::metrics::RankMetrics;
use crate::protocol::Tracker;
use crate::time::Clock;
use crate::transport::local::{self, LocalTransport};

pub(super) fn run(args: &RunArgs) -> u8 {
    let clock = Clock::start();
    let nodes = match count_nodes(args, args.nodes) {
        Ok(nodes) => nodes,
        Err(error) => {
            show::error(&error);
            return REFUSED;
        }
    };
    let terms = args.terms();
    let prepared: Vec<Prepared> =
        (1..nodes).map(NodeId).map(|node| read(args, node, &terms)).collect();
    let mut tracker = Tracker::new(nodes, terms.config.clone(), args.seed);
    let Ok(metrics) = share(args, &clock, &mut tracker, prepared) else { return FAILED };
    let ended = Ended {
        outcome: tracker.outcome(),
        progress: tracker.progress(),
        distinct_bytes: tracker.distinct_bytes_wanted(args.segment_bytes),
        metrics,
        transport: "local",
        one_machine: true,
    };
    show::summary(args, &clock, ended)
}

/// How many nodes a run has: from the inputs, or as `given`; an error when they don't fit.
pub(super) fn count_nodes(args: &RunArgs, given: Option<u32>) -> Result<u32, String> {
    let dir = args.inputs.display();
    let highest = highest_peer(&args.inputs).map_err(|cause| format!("{dir}: {cause}"))?;
    let Some(highest) = highest else {
        return Err(format!("{dir}: no in<R>.txt: there are no peers"));
    };
    let nodes = given.unwrap_or(highest.0 + 1);
    if nodes < 2 {
        return Err("one node alone has no peers: start at least 2".to_owned());
    }
    if nodes <= highest.0 {
        return Err(format!(
            "{dir}/in{}.txt: there are only {nodes} nodes: start {}",
            highest.0,
            highest.0 + 1
        ));
    }
    Ok(nodes)
}

/// Reads a peer's input and makes it ready, or lets it say why not.
pub(super) fn read(args: &RunArgs, node: NodeId, terms: &Terms<'_>) -> Prepared {
    match PeerInput::read(&args.inputs, node) {
        Ok(input) => {
            for warning in &input.warnings {
                show::error(&format!("warning: in{}.txt: {warning}", node.0));
            }
            prepare(node, input, terms)
        }
        Err(error) => Prepared::refused(error.to_string(), terms.config.clone()),
    }
}

/// Checks for one node, as the command line has them.
pub(super) fn checks(args: &RunArgs, parker: &Parker) -> Checks {
    if args.verify_threads == 0 {
        return Checks::inline();
    }
    let pool = rayon::ThreadPoolBuilder::new().num_threads(args.verify_threads).build();
    pool.map_or_else(
        |_| Checks::inline(),
        |pool| Checks::on(Arc::new(pool), parker.unparker().clone()),
    )
}

/// Runs all nodes to the end; what each measured, by rank.
fn share(
    args: &RunArgs,
    clock: &Clock,
    tracker: &mut Tracker,
    prepared: Vec<Prepared>,
) -> Result<Vec<RankMetrics>, ()> {
    let parkers: Vec<Parker> = (0..=prepared.len()).map(|_| Parker::new()).collect();
    let bells = parkers.iter().map(|parker| parker.unparker().clone()).collect();
    let mut ends = local::connect(bells).into_iter();
    let mut parkers = parkers.into_iter();
    let (Some(mut end), Some(parker)) = (ends.next(), parkers.next()) else { return Err(()) };
    thread::scope(|scope| {
        let nodes = (1..).map(NodeId).zip(prepared).zip(ends.zip(parkers));
        let peer = |((node, prepared), (mut end, parker)): (_, (LocalTransport, Parker))| {
            let checks = checks(args, &parker);
            let injection = Injection::new(&args.inject, args.seed, node);
            scope.spawn(move || run_peer(prepared, &mut end, parker, clock, checks, injection))
        };
        let peers: Vec<_> = nodes.map(peer).collect();
        let tracked = run_tracker(tracker, &mut end, parker, clock, show::progress(args));
        let mut metrics = vec![Ok(RankMetrics::default())];
        metrics.extend(peers.into_iter().map(|peer| peer.join().expect("a node does not panic")));
        let failed = tracked.err().into_iter();
        let (measured, errors): (Vec<_>, Vec<_>) = metrics.into_iter().partition(Result::is_ok);
        let errors: Vec<_> = errors.into_iter().filter_map(Result::err).chain(failed).collect();
        errors.iter().for_each(|error| show::error(&error.to_string()));
        if errors.is_empty() { Ok(measured.into_iter().flatten().collect()) } else { Err(()) }
    })
}
