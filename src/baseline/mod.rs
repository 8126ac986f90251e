//! The mutex engine: the classic design with two threads a rank that wait for each answer, to
//! measure the lockfree engine against. It moves the same verified bytes on the same inputs.
//!
//! Each peer has a download thread and an upload thread, which share a locked table of segments: over
//! MPI under `MPI_THREAD_MULTIPLE`. A peer has one request in flight. It fetches files one by one, each
//! peer beginning with another, and segments in the order of their file, each into a fresh buffer. For
//! every ten segments it renews its list of the swarm, which names everybody who owns or fetches the
//! file, and reports what it has received. The tracker answers from a locked map.
//!
//! A peer asks the one of the swarm with the fewest requests. One that does not have the segment yet says
//! no, and has fallen behind in the file: it is asked again when the list is renewed.
//!
//! The messages, and which thread sends them to which:
//!
//! | when | from | to | what | answer |
//! | --- | --- | --- | --- | --- |
//! | at first | download | tracker | `Register`: owned files with digests, wanted names | `Catalogue`, or `Refused` where an input is bad or owners disagree |
//! | then | download | tracker | `Ready`: there is memory, or why there is none | `Open` when all are ready, or `Refused` |
//! | every ten segments | download | tracker | `HolderQuery`: what it got and from whom, and the next ten segments | `HolderList`: their digests, and the swarm of the file, fewest requests first |
//! | each segment | download | upload | its number, in four bytes | the payload; empty where it is not there |
//! | with wrong segments left | download | tracker | `HolderQuery` that waits: those, and who was tried | `HolderList` as soon as one can be had elsewhere; an empty one when nobody fetches any more |
//! | a file is written | download | tracker | `FileFinished` | |
//! | all have come | download | tracker | `AllFinished`: the last that it got | |
//! | all are written | download | tracker | `Done`: what went wrong | |
//! | all peers are done | tracker | download | `Stop` | |
//! | then | download | its own upload | a request for nothing: stop | |
//! | at last, also when refused | download | tracker | `Report`: what both threads measured | |
//! | while it waits | download | tracker | `Alive` | `Alive`, where it waits for the tracker |
//!
//! A segment that is wrong is asked for at the next holder, and three times at each. When all are
//! tried it is put aside, and asked for again when all else is here.
//!
//! No wait is without a limit. The tracker names a peer that says nothing for `silence_patience`, or does
//! not register within `registration_patience`, and the run ends. A peer waits longer for the tracker and
//! for holders: whoever is lost, the tracker is the first to know. The download thread ends the upload
//! thread. Time is counted in waits that ended without a message, so that a rank that was itself stopped
//! does not blame others for it.
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
#[cfg(all(test, not(loom)))]
mod tests;

use std::thread;

use crate::driver::job::{Job, JobError, JobResult};
use crate::manifest::NodeId;
use crate::protocol::tracker::Progress;
use crate::spawn;
use crate::time::Clock;
use crate::transport::TransportError;
use endpoint::Mailboxes;
#[cfg(feature = "mpi")]
use endpoint::MpiEndpoint;

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
            spawn::start_scoped(scope, "for a peer", move || {
                let ended = peer::run(&mailboxes.endpoint(node), node, job, setup, clock);
                if ended.is_err() {
                    mailboxes.close();
                }
                ended.map(|()| None)
            })
        };
        let peers: Result<Vec<_>, _> = setup.into_iter().map(peer).collect();
        let peers = match peers {
            Ok(peers) => peers,
            Err(cause) => {
                mailboxes.close();
                return vec![Err(cause.into())];
            }
        };
        let tracked = tracker::run(&mailboxes.endpoint(NodeId::TRACKER), job, clock, show);
        // The other nodes end too when one has failed or is lost.
        if !tracked.as_ref().is_ok_and(|result| result.outcome.lost.is_empty()) {
            mailboxes.close();
        }
        let peers = peers.into_iter().map(|peer| peer.join().expect("a node does not panic"));
        std::iter::once(tracked.map(Some)).chain(peers).collect()
    });
    let mut named: Vec<_> = (0..).map(NodeId).zip(results).collect();
    // The failure itself comes before those that it caused on other nodes.
    named.sort_by_key(|(_, result)| matches!(result, Err(TransportError::BrokenOff)));
    let mut ended = None;
    for (node, result) in named {
        match result {
            Ok(result) => ended = ended.or(result),
            // A peer is lost, and the tracker has named it.
            Err(TransportError::BrokenOff) if ended.is_some() => {}
            Err(source) => return Err(JobError { node, source }),
        }
    }
    let ended = ended.expect("rank 0 ends by knowing how");
    debug_assert!(
        !ended.outcome.lost.is_empty() || mailboxes.are_empty(),
        "over MPI each message has to be received"
    );
    Ok(ended)
}

/// Runs this rank's node; all ranks must come here, after MPI was initialized for calls from
/// several threads at once. `world` is the communicator of the whole job, the only one that
/// threads can share. Rank 0 gets the result.
///
/// # Errors
///
/// When a message can't be read, or a rank that this one waits for is lost. The caller must then abort the
/// job, as it must when the result names lost ranks: no collective call can follow.
#[cfg(feature = "mpi")]
pub fn run_rank(
    job: &Job,
    world: &mpi::topology::SimpleCommunicator,
    clock: &Clock,
    show: impl FnMut(Progress),
) -> Result<Option<JobResult>, JobError> {
    use mpi::topology::Communicator as _;
    let node = NodeId(u32::try_from(world.rank()).expect("ranks are not negative"));
    let endpoint = MpiEndpoint::new(clock, job, node);
    let result = if node == NodeId::TRACKER {
        job.meter.begin();
        tracker::run(&endpoint, job, clock, show).map(Some)
    } else {
        let setup = peer::prepare(job, node);
        job.meter.begin();
        peer::run(&endpoint, node, job, setup, clock).map(|()| None)
    };
    result.map_err(|source| JobError { node, source })
}
