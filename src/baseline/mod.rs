//! The mutex engine: what the classic exercise builds, without its mistakes, as the measure for the
//! lockfree one. It moves the same verified bytes on the same inputs.
//!
//! Each peer has a download thread and an upload thread, which share a locked table of segments
//! and block in every call: over MPI under `MPI_THREAD_MULTIPLE`. A peer has one request under
//! way. It fetches files one by one and segments in the order of their file, each into a fresh
//! buffer, from the holder with the fewest requests. For every ten segments the list of holders is
//! renewed, and the peer says what it has got. The tracker answers from a locked map.
//!
//! What is said, and by which thread to which:
//!
//! | when | from | to | what | answer |
//! | --- | --- | --- | --- | --- |
//! | at first | download | tracker | `Register`: owned files with digests, wanted names | `Catalogue`, or `Refused` where an input is bad or owners disagree |
//! | then | download | tracker | `Ready`: there is memory, or why there is none | `Open` when all are ready, or `Refused` |
//! | every ten segments | download | tracker | `HolderQuery`: what it got and from whom, and the next ten segments | `HolderList`: their digests and holders, fewest requests first |
//! | each segment | download | upload | its number, in four bytes | the payload; empty where it is not there |
//! | with wrong segments left | download | tracker | `HolderQuery` that waits: those, and who was tried | `HolderList` as soon as one can be had elsewhere; an empty one when nobody fetches any more |
//! | a file is written | download | tracker | `FileFinished` | |
//! | all have come | download | tracker | `AllFinished`: the last that it got | |
//! | all are written | download | tracker | `Done`: what went wrong | |
//! | all peers are done | tracker | upload | a request for nothing: stop | |
//! | at last | download | tracker | `Report`: what both threads measured | |
//!
//! A segment that is wrong is asked for at the next holder, never again at the same one. When all
//! are tried it is put aside, and asked for again when all else is here. Nothing times out: nobody
//! waits but for an answer that comes, so that no run ends with a message under way.
//!
//! Finished files are written by a thread of their own, as in the lockfree engine: disks are not what
//! is compared.

mod download;
mod endpoint;
mod messages;
mod peer;
mod segment_table;
mod holder_map;
mod tracker;
mod tracker_client;
mod upload;

use std::thread;

use crate::driver::job::{Job, JobError, JobResult};
use crate::manifest::NodeId;
use crate::protocol::tracker::Progress;
use crate::time::Clock;
use crate::transport::TransportError;
use endpoint::Mailboxes;

/// Runs `nodes` nodes, each of two threads but the tracker. `show` is told of the progress now and
/// then.
///
/// # Errors
///
/// When a node breaks: the first one that did, by rank.
pub fn run_threads(
    job: &Job,
    nodes: u32,
    clock: &Clock,
    show: impl FnMut(Progress),
) -> Result<JobResult, JobError> {
    let mailboxes = &Mailboxes::new(nodes);
    let peers = (1..nodes).map(NodeId);
    let setup: Vec<_> = peers.map(|node| (node, peer::prepare(job, node))).collect();
    job.meter.begin();
    let results: Vec<_> = thread::scope(|scope| {
        let peer = |(node, setup)| {
            scope.spawn(move || {
                let ended = peer::run(&mailboxes.endpoint(node), node, job, setup, clock);
                close_if_broken(mailboxes, ended.map(|()| None))
            })
        };
        let peers: Vec<_> = setup.into_iter().map(peer).collect();
        let tracked = tracker::run(&mailboxes.endpoint(NodeId::TRACKER), job, nodes, clock, show);
        let tracked = close_if_broken(mailboxes, tracked.map(Some));
        let peers = peers.into_iter().map(|peer| peer.join().expect("a node does not panic"));
        std::iter::once(tracked).chain(peers).collect()
    });
    let mut named: Vec<_> = (0..).map(NodeId).zip(results).collect();
    // Who broke comes before those who were broken off by it.
    named.sort_by_key(|(_, result)| matches!(result, Err(TransportError::BrokenOff)));
    let mut ended = None;
    for (node, result) in named {
        ended = ended.or(result.map_err(|source| JobError { node, source })?);
    }
    Ok(ended.expect("rank 0 ends by knowing how"))
}

/// Lets the other nodes end too when one breaks.
fn close_if_broken<T>(
    mailboxes: &Mailboxes,
    result: Result<T, TransportError>,
) -> Result<T, TransportError> {
    if result.is_err() {
        mailboxes.close();
    }
    result
}

/// Runs this rank's node; all ranks must come here, after MPI was initialized for calls from
/// several threads at once. `world` is the communicator of the whole job, the only one that
/// threads can share. Rank 0 learns how it ended.
///
/// # Errors
///
/// When a message can't be read; the other ranks then wait in vain, so that the job is to be
/// aborted.
#[cfg(feature = "mpi")]
pub fn run_rank(
    job: &Job,
    world: &mpi::topology::SimpleCommunicator,
    clock: &Clock,
    show: impl FnMut(Progress),
) -> Result<Option<JobResult>, JobError> {
    use mpi::topology::Communicator as _;
    let number = |number| u32::try_from(number).expect("ranks are not negative");
    let node = NodeId(number(world.rank()));
    let result = if node == NodeId::TRACKER {
        job.meter.begin();
        tracker::run(&endpoint::MpiEndpoint, job, number(world.size()), clock, show).map(Some)
    } else {
        let setup = peer::prepare(job, node);
        job.meter.begin();
        peer::run(&endpoint::MpiEndpoint, node, job, setup, clock).map(|()| None)
    };
    result.map_err(|source| JobError { node, source })
}
