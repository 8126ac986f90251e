//! The mutex engine: the classic design with two threads a rank and blocking calls, to measure the
//! lockfree engine against. It moves the same verified bytes on the same inputs.
//!
//! Each peer has a download thread and an upload thread, which share a locked table of segments
//! and block in every call: over MPI under `MPI_THREAD_MULTIPLE`. A peer has one request in
//! flight. It fetches files one by one and segments in the order of their file, each into a fresh
//! buffer, from the holder with the fewest requests. For every ten segments the list of holders is
//! renewed, and the peer reports what it has received. The tracker answers from a locked map.
//!
//! The messages, and which thread sends them to which:
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
//! A segment that is wrong is asked for at the next holder, and three times at each. When all are
//! tried it is put aside, and asked for again when all else is here. Nothing times out: every
//! wait is for an answer that is certain to come, so no run ends with a message in flight.
//!
//! A third thread writes finished files, as in the lockfree engine: the comparison is not about disks.

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

/// Runs `nodes` nodes: the tracker on one thread, each peer on two. `show` is called with the progress
/// a few times a second.
///
/// # Errors
///
/// When a node fails: the failed node of the lowest rank.
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
                let ended = peer::run(&mailboxes.endpoint(node), (node, nodes), job, setup, clock);
                close_if_failed(mailboxes, ended.map(|()| None))
            })
        };
        let peers: Vec<_> = setup.into_iter().map(peer).collect();
        let tracked = tracker::run(&mailboxes.endpoint(NodeId::TRACKER), job, nodes, clock, show);
        let tracked = close_if_failed(mailboxes, tracked.map(Some));
        let peers = peers.into_iter().map(|peer| peer.join().expect("a node does not panic"));
        std::iter::once(tracked).chain(peers).collect()
    });
    let mut named: Vec<_> = (0..).map(NodeId).zip(results).collect();
    // The failure itself comes before those that it caused on other nodes.
    named.sort_by_key(|(_, result)| matches!(result, Err(TransportError::BrokenOff)));
    let mut ended = None;
    for (node, result) in named {
        ended = ended.or(result.map_err(|source| JobError { node, source })?);
    }
    Ok(ended.expect("rank 0 ends by knowing how"))
}

/// Ends the other nodes too when one has failed.
fn close_if_failed<T>(
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
/// threads can share. Rank 0 gets the result.
///
/// # Errors
///
/// When a message can't be read. The other ranks then wait forever, so the caller must abort the
/// job.
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
        peer::run(&endpoint::MpiEndpoint, (node, number(world.size())), job, setup, clock)
            .map(|()| None)
    };
    result.map_err(|source| JobError { node, source })
}
