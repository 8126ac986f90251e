//! A run whose nodes are threads of this process.

use std::io;

use super::args::RunArgs;
use super::{
    FAILED, ONE_NODE, REFUSED, limit_rate, reading, show, threads, trace_output, writable,
};
use crate::baseline;
use crate::config::Engine;
use crate::config::ranges::{SegmentBytes, ThreadNodes};
use crate::driver::injection::Fault;
use crate::driver::job::{self, Inputs, Job};
use crate::driver::prepare::slot_bytes;
use crate::escape;
use crate::harness;
use crate::manifest::{NodeId, PeerInput, peers_in, segments_held};
use crate::metrics::cores::{CoreShare, Cores};
use crate::store::{OutputError, OutputList, Store, remove_left_over};
use crate::time::Clock;

pub(super) fn run(args: &RunArgs) -> u8 {
    let clock = Clock::start();
    let limit = args.job(false, |_| ()).config.registration_patience;
    let reading = reading::limited("the inputs", limit);
    let claimed = ready(args).and_then(|(job, nodes)| Ok((job, nodes, claim(args)?)));
    // The list is held until the run has ended.
    let (job, nodes, _list) = match claimed {
        Ok(claimed) => claimed,
        Err(error) => {
            show::error(&error);
            return REFUSED;
        }
    };
    drop(reading);
    let progress = show::progress(args, &clock);
    let ended = match args.engine {
        Engine::Lockfree => job::run_threads(&job, nodes, &clock, progress),
        Engine::Mutex => baseline::run_threads(&job, nodes, &clock, progress),
    };
    match ended {
        Ok(ended) => {
            let code = show::summary(args, &clock, "local", Some(harness::cores()), ended);
            let trace = (args.trace.as_deref(), job.trace.as_ref());
            trace_output::write(trace, (nodes as usize, true), false, code)
        }
        Err(error) => {
            show::error(&error.to_string());
            FAILED
        }
    }
}

/// Takes the output folder for this run, on rank 0 and before any other begins, and tidies it up. An error
/// where another run writes there.
pub(super) fn claim(args: &RunArgs) -> Result<Option<OutputList>, String> {
    let list = match OutputList::open(&args.out, NodeId::TRACKER) {
        Ok(list) => list,
        Err(error @ OutputError::InUse { .. }) => return Err(error.to_string()),
        // Rank 0 writes nothing, and its host may have no such folder: the others say what is wrong.
        Err(_) => return Ok(None),
    };
    if let Some(cause) = &list.unlocked {
        let dir = escape::path(&args.out);
        show::error(&format!("warning: {dir}: no locks here, start no other run: {cause}"));
    }
    remove_left_over(&args.out);
    Ok(Some(list))
}

/// The job and its nodes; an error where this process can't have so many, or not so much memory.
fn ready(args: &RunArgs) -> Result<(Job, u32), String> {
    let nodes = count_nodes(args, args.nodes.map(ThreadNodes::get))?;
    if nodes > ThreadNodes::MOST {
        return Err(format!(
            "{}: {nodes} nodes are too many threads: at most {}: start ranks with mpirun",
            escape::path(&args.inputs),
            ThreadNodes::MOST
        ));
    }
    if args.inject.iter().any(Fault::needs_ranks) {
        let why = "nodes of one process exchange no bytes: start ranks with mpirun";
        return Err(format!("--inject garble, lengthen, invalidate: {why}"));
    }
    let share = CoreShare::new(&Cores::mine(), nodes as usize - 1);
    let mut job = args.on_cores(args.job(false, show::error), share);
    threads::probe(nodes, job.verify_threads, job.config.tracker_threads)?;
    let inputs = (1..nodes).map(|rank| PeerInput::read(&args.inputs, NodeId(rank)));
    // An input that can't be read is refused by its peer, with all others that can't.
    if let Ok(inputs) = inputs.collect::<Result<Vec<_>, _>>() {
        let spare = match args.engine {
            Engine::Lockfree => job.config.spare_slots(),
            Engine::Mutex => 0,
        };
        let receivers = inputs.iter().filter(|input| !input.wanted.is_empty()).count();
        let held = segments_held(&inputs) + spare * receivers;
        Store::probe(held, slot_bytes(job.segment_bytes))
            .map_err(|cause| format!("all files: {cause}: use a smaller --segment-bytes"))?;
        job.inputs = Inputs::Made(inputs.into());
    }
    Ok((job, nodes))
}

/// How many nodes a run has: `given`, or one more than the highest peer of the inputs. An error where
/// the inputs don't fit that, or the options don't fit each other.
pub(super) fn count_nodes(args: &RunArgs, given: Option<u32>) -> Result<u32, String> {
    let dir = escape::path(&args.inputs);
    if let Some(contradiction) = args.contradiction() {
        return Err(contradiction);
    }
    let Job { limits, segment_bytes, config, .. } = args.job(false, |_| ());
    limit_rate::check::<SegmentBytes>(limits, slot_bytes(segment_bytes), &config)?;
    for output in args.report.iter().chain(&args.trace) {
        writable::file(output)?;
    }
    let mut peers = peers_in(&args.inputs).map_err(|cause| format!("{dir}: {cause}"))?;
    peers.sort_unstable();
    let Some(&highest) = peers.last() else {
        return Err(format!("{dir}: no in1.txt, in2.txt, … here: name the folder that has them"));
    };
    // A number in a name is a claim: without this, one file could ask for 2^32 nodes.
    if let Some((missing, _)) = (1..).zip(&peers).find(|(number, peer)| *number != peer.0) {
        return Err(format!(
            "{dir}/in{missing}.txt: {}, but in{}.txt is there: number them 1, 2, …",
            io::Error::from(rustix::io::Errno::NOENT),
            highest.0
        ));
    }
    let nodes = given.unwrap_or(highest.0 + 1);
    if nodes < 2 {
        return Err(ONE_NODE.to_owned());
    }
    if nodes <= highest.0 {
        return Err(format!(
            "{dir}/in{}.txt: no node for it: {nodes} nodes were started: start {}",
            highest.0,
            highest.0 + 1
        ));
    }
    if nodes > highest.0 + 1 {
        return Err(format!(
            "{dir}/in{}.txt: no such file: {nodes} nodes were started: start {}",
            highest.0 + 1,
            highest.0 + 1
        ));
    }
    Ok(nodes)
}
