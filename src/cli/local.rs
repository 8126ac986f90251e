//! A run whose nodes are threads of this process.

use super::args::RunArgs;
use super::show;
use super::{FAILED, ONE_NODE, REFUSED};
use crate::baseline;
use crate::config::Engine;
use crate::driver::job;
use crate::escape;
use crate::harness;
use crate::manifest::highest_peer;
use crate::time::Clock;

pub(super) fn run(args: &RunArgs) -> u8 {
    let clock = Clock::start();
    let nodes = match count_nodes(args, args.nodes) {
        Ok(nodes) => nodes,
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

/// How many nodes a run has: `given`, or one more than the highest peer of the inputs. An error where
/// the inputs don't fit that, or the options don't fit each other.
pub(super) fn count_nodes(args: &RunArgs, given: Option<u32>) -> Result<u32, String> {
    let dir = escape::path(&args.inputs);
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
