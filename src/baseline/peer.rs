//! Any other rank: registers, then downloads on one thread and uploads on another.

use std::thread;

use crossbeam::sync::Parker;

use super::download::Download;
use super::endpoint::{Endpoint, Tag};
use super::messages::{PeerMessage, TrackerMessage, misplaced};
use super::segment_table::{SegmentTable, StoredSegment};
use super::tracker_client::TrackerClient;
use super::upload;
use crate::driver::job::Job;
use crate::driver::prepare::OwnedFiles;
use crate::driver::writer::Writer;
use crate::driver::{PeerSetup, PrepareError};
use crate::manifest::{NodeId, SegmentId};
use crate::metrics::RankMetrics;
use crate::protocol::Registration;
use crate::protocol::registration::Catalogue;
use crate::protocol::violation::Bounds;
use crate::spawn;
use crate::store::Store;
use crate::time::Clock;
use crate::transport::TransportError;

/// What a peer starts from, or why it can't.
pub(super) fn prepare(job: &Job, node: NodeId) -> Result<PeerSetup, PrepareError> {
    job.prepare(node, 0)
}

/// Runs a peer to the end.
pub(super) fn run(
    endpoint: &impl Endpoint,
    node: NodeId,
    job: &Job,
    setup: Result<PeerSetup, PrepareError>,
    clock: &Clock,
) -> Result<(), TransportError> {
    let tracker = TrackerClient::new(endpoint, job.config.silence_patience);
    let parker = Parker::new();
    let ready = setup.and_then(|mut setup| {
        let writer = Writer::new(setup.output.take(), parker.unparker().clone(), None);
        let writer = writer.map_err(|cause| PrepareError::Thread { node, cause })?;
        Ok((setup, writer))
    });
    let (setup, writer) = match ready {
        Ok(ready) => ready,
        Err(reason) => {
            let reason = reason.to_string().into();
            tracker.send(&PeerMessage::Register(Registration::Refused { reason }))?;
            tracker.receive()?;
            return leave(&tracker);
        }
    };
    let PeerSetup { registration, store: _, owned, wanted, output: _, slot_bytes } = setup;
    tracker.send(&PeerMessage::Register(registration))?;
    let catalogue = match tracker.receive()? {
        TrackerMessage::Catalogue(catalogue) => catalogue,
        TrackerMessage::Refused => return leave(&tracker),
        other @ (TrackerMessage::Open
        | TrackerMessage::HolderList(_)
        | TrackerMessage::Stop
        | TrackerMessage::Alive) => {
            return Err(misplaced(NodeId::TRACKER, &other));
        }
    };
    let lengths: Vec<_> =
        owned.iter().map(|file| u32::try_from(file.len()).unwrap_or(u32::MAX)).collect();
    catalogue
        .check(&lengths, wanted.len(), job.config.segments_max)
        .map_err(|violation| violation.from(NodeId::TRACKER))?;
    tracker.send(&PeerMessage::Ready { problem: shortage(&catalogue, slot_bytes) })?;
    match tracker.receive()? {
        TrackerMessage::Open => {}
        TrackerMessage::Refused => return leave(&tracker),
        other @ (TrackerMessage::Catalogue(_)
        | TrackerMessage::HolderList(_)
        | TrackerMessage::Stop
        | TrackerMessage::Alive) => {
            return Err(misplaced(NodeId::TRACKER, &other));
        }
    }
    let segments = own_segments(&catalogue, owned);
    let bounds = Bounds { nodes: endpoint.nodes(), segments: catalogue.segments, files: 0 };
    let metrics = thread::scope(|scope| {
        let serve = || upload::run(endpoint, node, &segments, bounds);
        let upload = spawn::start_scoped(scope, "that uploads", serve)?;
        let mut download = Download::new(endpoint, &segments, job, node, clock, (parker, writer));
        let downloaded = download.run(&catalogue, wanted);
        // A request for nothing stops the upload thread.
        let stopped = endpoint.send(node, Tag::Request, &[]);
        let served = upload.join().expect("an upload thread does not panic");
        downloaded.and(stopped).and(served).map(|served| download.metrics(&served))
    })?;
    tracker.send(&PeerMessage::Report(metrics.encode()))
}

/// Says that nothing was moved, and that nothing follows.
fn leave(tracker: &TrackerClient<'_, impl Endpoint>) -> Result<(), TransportError> {
    tracker.send(&PeerMessage::Report(RankMetrics::default().encode()))
}

// Why there is no room for all that a peer wants. Nothing is reserved: each segment gets a buffer
// when it comes.
fn shortage(catalogue: &Catalogue, slot_bytes: usize) -> Option<Box<str>> {
    let wanted = catalogue.wanted.iter().flatten().map(|listing| listing.count as usize).sum();
    let error = Store::probe(wanted, slot_bytes).err()?;
    Some(format!("wanted files: {error}").into())
}

fn own_segments(catalogue: &Catalogue, owned: OwnedFiles) -> SegmentTable {
    let segments = SegmentTable::default();
    for (listing, file) in catalogue.owned.iter().zip(owned) {
        for (id, segment) in (listing.first..).zip(file) {
            segments.insert(SegmentId(id), StoredSegment::Own(segment));
        }
    }
    segments
}
