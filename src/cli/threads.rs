//! Whether this process can have so many threads, asked before the work.

use std::io;
use std::thread::{Builder, JoinHandle};

use crossbeam::channel;

use crate::harness;

// Beside the nodes' own: one that communicates and one that uploads or writes, in either engine.
const THREADS_PER_NODE: usize = 2;

/// Starts as many threads as `nodes` nodes have, each with `verify_threads` of its own, and `more`, and
/// ends them.
// Limits of users, of control groups and of the machine count together, and only trying tells.
pub(super) fn probe(nodes: u32, verify_threads: usize, more: usize) -> Result<(), String> {
    let of_nodes = nodes as usize * (THREADS_PER_NODE + verify_threads);
    let threads = of_nodes + more + harness::cores();
    let (keep, wait) = channel::bounded::<()>(0);
    let start = |_| {
        let wait = wait.clone();
        Builder::new().spawn(move || wait.recv().unwrap_or_default())
    };
    let started: io::Result<Vec<JoinHandle<()>>> = (0..threads).map(start).collect();
    drop(keep);
    let started = started.map_err(|cause| {
        format!("{threads} threads: {cause}: raise the limit (ulimit -u), or start fewer nodes")
    })?;
    started.into_iter().for_each(|thread| drop(thread.join()));
    Ok(())
}
