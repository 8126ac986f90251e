//! The library in thirty lines: a tracker and four peers as threads of this process, and what came
//! of it as a table.
//!
//! ```text
//! cargo run --release --example embed [FOLDER]
//! ```
//!
//! The folder has an `in<R>.txt` for each peer: what it owns and what it wants. Without an argument
//! it is `inputs/small`.

use std::error::Error;
use std::path::PathBuf;

use mpiswarm::driver::job::{Inputs, Job, run_threads};
use mpiswarm::manifest::highest_peer;
use mpiswarm::report::Summary;
use mpiswarm::time::Clock;

/// Payload of a segment, bytes.
const SEGMENT_BYTES: usize = 64 << 10;

#[expect(clippy::print_stdout, reason = "an example shows its result")]
fn main() -> Result<(), Box<dyn Error>> {
    let default = concat!(env!("CARGO_MANIFEST_DIR"), "/inputs/small");
    let inputs = std::env::args_os().nth(1).map_or_else(|| default.into(), PathBuf::from);
    let peers = highest_peer(&inputs)?.ok_or("the folder has no in<R>.txt")?;
    // Nothing is written: `out` of a `Job` names a folder for the finished files.
    let job = Job { seed: 7, ..Job::new(Inputs::Folder(inputs), SEGMENT_BYTES) };
    // Rank 0 is the tracker.
    let ended = run_threads(&job, peers.0 + 1, &Clock::start(), |_| ())?;
    let cores = std::thread::available_parallelism()?.get();
    print!("{}", Summary::of_threads(&job, ended, cores));
    Ok(())
}
