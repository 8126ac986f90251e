//! A run whose nodes are threads of this process.

use super::args::RunArgs;
use super::show;
use super::{FAILED, ONE_NODE, REFUSED};
use crate::baseline;
use crate::config::Engine;
use crate::driver::job;
use crate::harness;
use crate::manifest::{NodeId, highest_peer};
use crate::store::{OutputError, OutputList, remove_left_over};
use crate::time::Clock;

pub(super) fn run(args: &RunArgs) -> u8 {
    let clock = Clock::start();
    let claimed = count_nodes(args, args.nodes).and_then(|nodes| Ok((nodes, claim(args)?)));
    // Held until the run has ended.
    let (nodes, _list) = match claimed {
        Ok(claimed) => claimed,
        Err(error) => {
            show::error(&error);
            return REFUSED;
        }
    };
    let (job, progress) = (args.job(false, show::error), show::progress(args, &clock));
    let ended = match args.engine {
        Engine::Lockfree => job::run_threads(&job, nodes, &clock, progress),
        Engine::Mutex => baseline::run_threads(&job, nodes, &clock, progress),
    };
    match ended {
        Ok(ended) => show::summary(args, &clock, "local", Some(harness::cores()), ended),
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
        let dir = args.out.display();
        show::error(&format!("warning: {dir}: no locks here, start no other run: {cause}"));
    }
    remove_left_over(&args.out);
    Ok(Some(list))
}

/// How many nodes a run has: `given`, or one more than the highest peer of the inputs. An error where
/// the inputs don't fit that, or the options don't fit each other.
pub(super) fn count_nodes(args: &RunArgs, given: Option<u32>) -> Result<u32, String> {
    let dir = args.inputs.display();
    if let Some(contradiction) = args.contradiction() {
        return Err(contradiction);
    }
    let highest = highest_peer(&args.inputs).map_err(|cause| format!("{dir}: {cause}"))?;
    let Some(highest) = highest else {
        return Err(format!("{dir}: no in1.txt, in2.txt, … here: name the folder that has them"));
    };
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
