//! One copy between two ranks of a host: the receiver copies a segment out of the holder's memory.
//!
//! The receiver posts its receive as always. Where the holder knows that the receiver can read its memory,
//! it sends only a [`HostMessage`] of where the segment lies. The receiver cancels the receive, which gives the
//! slot back, copies into it, and says so. Until then the holder keeps the segment, and so its slot.

use std::collections::VecDeque;
use std::sync::Arc;

use mpi::collective::CommunicatorCollectives as _;
use mpi::topology::{Communicator as _, SimpleCommunicator};
use rustc_hash::FxHashMap;
use serde::{Deserialize, Serialize};

use super::NodePlaces;
use crate::manifest::{NodeId, SegmentId};
use crate::protocol::Violation;
use crate::protocol::codec::CodecError;
use crate::store::{
    FilledSlot, PeerMemory, PeerMemoryError, SealedSegment, SharedMemory, SharedMemoryAddress,
    VacantSlot,
};
use crate::transport::TransportError;

/// The shortest segment that is copied out of memory, bytes.
// A notice, its answer and a cancelled receive cost more than the second copy of a short segment. Chosen, not
// tuned.
const SHARED_BYTES_LEAST: usize = 16 << 10;

/// Bytes copied in one poll, after which no other copy begins.
// The rank answers nobody while it copies: 1 MiB takes a fraction of a millisecond.
const COPIED_BYTES_A_POLL: usize = 1 << 20;

/// Posted receives for notices.
// If more come between two polls, the MPI keeps them. Each receive makes each poll a little longer.
const POSTED_NOTICES: usize = 4;

/// Bytes of a notice, at most: a kind and three numbers of up to 10 bytes.
const NOTICE_BYTES_MAX: usize = 32;

/// What the ranks of a host tell each other about a requested segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum HostMessage {
    /// It lies here in the memory of the holder.
    Ready { segment: SegmentId, offset: u64, bytes: u32 },
    /// The receiver has copied it.
    Copied { segment: SegmentId },
    /// The receiver can't map the memory: it is to come in a message.
    Unreadable { segment: SegmentId },
}

/// Another node of this host.
#[derive(Debug)]
struct HostPeer {
    /// Its memory; none if it can't be read from here.
    memory: Option<PeerMemory>,
    /// Whether it can read that of this rank.
    reads: bool,
}

/// A segment that lies in the memory of its holder.
#[derive(Clone, Copy, Debug)]
struct ReadySegment {
    from: NodeId,
    segment: SegmentId,
    offset: u64,
    bytes: u32,
}

/// The other nodes of this host that share memory with this rank.
#[derive(Debug)]
pub(super) struct HostPeers {
    /// That of this rank; none where the system refused it.
    memory: Option<Arc<SharedMemory>>,
    peers: FxHashMap<NodeId, HostPeer>,
    /// Segments that others copy; each keeps its slot.
    serving: Vec<(NodeId, SegmentId, SealedSegment)>,
    /// Segments whose receives are being cancelled.
    ready: Vec<ReadySegment>,
    copies: VecDeque<(ReadySegment, VacantSlot)>,
    /// Notices that came, in the order of the test that found them.
    pub(super) heard: Vec<(NodeId, HostMessage)>,
    /// Buffers for the next posted receives.
    pub(super) free: Vec<Box<[u8]>>,
    copied_bytes: u64,
}

/// What became of a copy.
#[derive(Debug)]
pub(super) enum Copied {
    Arrived { from: NodeId, segment: SegmentId, slot: FilledSlot },
    Unreadable { from: NodeId, segment: SegmentId, slot: VacantSlot },
}

impl HostPeers {
    /// Opens the memory of the other ranks of this host; none where nobody can read that of another. All ranks
    /// must come here.
    pub(super) fn connect(world: &SimpleCommunicator, places: &NodePlaces) -> Option<Self> {
        let host = world.split_shared(world.rank());
        let ranks = usize::try_from(host.size()).unwrap_or_default();
        let memory = SharedMemory::new().ok().map(Arc::new);
        let none = SharedMemoryAddress { process: 0, descriptor: 0, token: 0 };
        let SharedMemoryAddress { process, descriptor, token } =
            memory.as_ref().map_or(none, |memory| memory.address());
        let rank = u64::try_from(world.rank()).unwrap_or_default();
        let mine = [rank, process, descriptor, token];
        let mut all = vec![0; mine.len() * ranks];
        host.all_gather_into(&mine[..], &mut all[..]);
        let open = |&[other, process, descriptor, token]: &[u64; 4]| {
            let address = SharedMemoryAddress { process, descriptor, token };
            (other != rank).then(|| PeerMemory::open(address).ok()).flatten()
        };
        let memories: Vec<_> = all.as_chunks().0.iter().map(open).collect();
        let opened: Vec<u8> = memories.iter().map(|memory| memory.is_some().into()).collect();
        let mut reads = vec![0_u8; ranks];
        host.all_to_all_into(&opened[..], &mut reads[..]);
        let peers = all.as_chunks::<4>().0.iter().zip(memories).zip(reads);
        let peers = peers.filter_map(|((&[rank, ..], memory), reads)| {
            let node = places.peer_at(i32::try_from(rank).ok()?)?;
            let peer = HostPeer { memory, reads: reads != 0 };
            (peer.memory.is_some() || peer.reads).then_some((node, peer))
        });
        let peers: FxHashMap<_, _> = peers.collect();
        (!peers.is_empty()).then(|| Self::new(memory, peers))
    }

    fn new(memory: Option<Arc<SharedMemory>>, peers: FxHashMap<NodeId, HostPeer>) -> Self {
        Self {
            memory,
            peers,
            serving: Vec::new(),
            ready: Vec::new(),
            copies: VecDeque::new(),
            heard: Vec::new(),
            free: (0..POSTED_NOTICES).map(|_| vec![0; NOTICE_BYTES_MAX].into()).collect(),
            copied_bytes: 0,
        }
    }

    /// Takes a notice in.
    ///
    /// # Errors
    ///
    /// When it is none, or its sender is not on this host.
    pub(super) fn hear(&mut self, from: NodeId, bytes: &[u8]) -> Result<(), TransportError> {
        let (notice, rest) = postcard::take_from_bytes::<HostMessage>(bytes).map_err(|cause| {
            TransportError::Garbled { from, cause: CodecError::Malformed(cause) }
        })?;
        if !rest.is_empty() {
            let cause = CodecError::Trailing(rest.len());
            return Err(TransportError::Garbled { from, cause });
        }
        if !self.peers.contains_key(&from) {
            return Err(Violation::kind(&notice).from(from).into());
        }
        self.heard.push((from, notice));
        Ok(())
    }

    /// Keeps a segment for its receiver to copy, and says what to tell it; gives it back where it has to be
    /// sent in a message.
    pub(super) fn serve(
        &mut self,
        to: NodeId,
        segment: SegmentId,
        payload: SealedSegment,
    ) -> Result<HostMessage, SealedSegment> {
        let len = payload.bytes().len();
        let reads = len >= SHARED_BYTES_LEAST && self.peers.get(&to).is_some_and(|peer| peer.reads);
        let memory = self.memory.as_ref().filter(|_| reads);
        let offset = memory.and_then(|memory| payload.offset_in(memory));
        let (Some(offset), Ok(bytes)) = (offset, u32::try_from(len)) else { return Err(payload) };
        self.serving.push((to, segment, payload));
        Ok(HostMessage::Ready { segment, offset, bytes })
    }

    /// A segment that was being copied; none if nobody copies it.
    pub(super) fn take_served(&mut self, to: NodeId, segment: SegmentId) -> Option<SealedSegment> {
        let place = self.serving.iter().position(|&(t, s, _)| (t, s) == (to, segment))?;
        Some(self.serving.swap_remove(place).2)
    }

    /// From now on the segments for a node travel in messages. Returns those that it was to copy: their
    /// slots may be used again. A node that is lost and only late then reads something else; it can't be part
    /// of the run any more.
    pub(super) fn stop_serving(&mut self, to: NodeId) -> Vec<SegmentId> {
        if let Some(peer) = self.peers.get_mut(&to) {
            peer.reads = false;
        }
        self.serving.extract_if(.., |&mut (t, ..)| t == to).map(|(_, segment, _)| segment).collect()
    }

    /// A segment can be copied as soon as its receive is cancelled.
    pub(super) fn await_slot(&mut self, from: NodeId, notice: (SegmentId, u64, u32)) {
        let (segment, offset, bytes) = notice;
        // A holder that repeats itself is heard once.
        self.ready.retain(|ready| (ready.from, ready.segment) != (from, segment));
        self.ready.push(ReadySegment { from, segment, offset, bytes });
    }

    /// A receive has ended, and this is its slot; gives it back if it was not to be copied into.
    pub(super) fn take_slot(
        &mut self,
        from: NodeId,
        segment: SegmentId,
        slot: VacantSlot,
    ) -> Result<(), VacantSlot> {
        let place = self.ready.iter().position(|r| (r.from, r.segment) == (from, segment));
        let Some(place) = place else { return Err(slot) };
        self.copies.push_back((self.ready.swap_remove(place), slot));
        Ok(())
    }

    /// Copies segments into their slots, oldest first.
    ///
    /// # Errors
    ///
    /// When a holder names bytes that it does not have, or too many.
    pub(super) fn copy(&mut self, copied: &mut Vec<Copied>) -> Result<(), TransportError> {
        let mut turn_bytes = 0;
        while turn_bytes < COPIED_BYTES_A_POLL
            && let Some((ready, slot)) = self.copies.pop_front()
        {
            let ReadySegment { from, segment, offset, bytes } = ready;
            let memory = self.peers.get_mut(&from).and_then(|peer| peer.memory.as_mut());
            let memory = memory.ok_or_else(|| Violation::Memory { offset, size: 0 }.from(from))?;
            if bytes as usize > slot.size() {
                return Err(TransportError::TooLong { from });
            }
            copied.push(match slot.fill_from(memory, offset, bytes) {
                Ok(slot) => {
                    turn_bytes += bytes as usize;
                    self.copied_bytes += u64::from(bytes);
                    Copied::Arrived { from, segment, slot }
                }
                Err((_, PeerMemoryError::Beyond { size })) => {
                    return Err(Violation::Memory { offset, size }.from(from).into());
                }
                Err((slot, PeerMemoryError::Map(_))) => Copied::Unreadable { from, segment, slot },
            });
        }
        Ok(())
    }

    /// Memory for the slots of this rank; none where no other rank can read it.
    pub(super) fn memory(&self) -> Option<&Arc<SharedMemory>> {
        self.memory.as_ref().filter(|_| self.peers.values().any(|peer| peer.reads))
    }

    /// Bytes copied out of the memory of others.
    pub(super) fn copied_bytes(&self) -> u64 {
        self.copied_bytes
    }

    /// Whether there is anything to do without another notice.
    pub(super) fn has_work(&self) -> bool {
        !self.heard.is_empty() || !self.copies.is_empty() || !self.free.is_empty()
    }
}

#[cfg(all(test, not(loom), target_os = "linux"))]
mod tests {
    use super::*;
    use crate::store::{Pool, Store};

    const OTHER: NodeId = NodeId(2);
    const STRANGER: NodeId = NodeId(3);
    const SEGMENT: SegmentId = SegmentId(7);

    /// One other rank, whose memory is that of this one.
    fn host() -> (HostPeers, Pool) {
        let memory = Arc::new(SharedMemory::new().expect("a memfd"));
        let opened = PeerMemory::open(memory.address()).expect("this process may see its own");
        let pool = Pool::within(Some(&memory), 1, SHARED_BYTES_LEAST).expect("a little memory");
        let peer = HostPeer { memory: Some(opened), reads: true };
        (HostPeers::new(Some(memory), FxHashMap::from_iter([(OTHER, peer)])), pool)
    }

    fn sealed(pool: &Pool, bytes: usize) -> SealedSegment {
        let mut slot = pool.take().expect("it is free");
        slot.bytes_mut().fill(9);
        slot.fill(bytes).seal_unchecked()
    }

    fn vacant() -> VacantSlot {
        let mut store = Store::new(1, SHARED_BYTES_LEAST).expect("a little memory");
        store.take().expect("one")
    }

    /// What becomes of a segment that `notice` says is ready.
    fn receive(host: &mut HostPeers, notice: HostMessage) -> Result<Vec<u8>, String> {
        let HostMessage::Ready { segment, offset, bytes } = notice else { return Ok(Vec::new()) };
        host.await_slot(OTHER, (segment, offset, bytes));
        host.take_slot(OTHER, segment, vacant()).expect("it is awaited");
        let mut copied = Vec::new();
        host.copy(&mut copied).map_err(|error| error.to_string())?;
        match copied.pop() {
            Some(Copied::Arrived { slot, .. }) => Ok(slot.bytes().to_vec()),
            other => Err(format!("{other:?}")),
        }
    }

    #[test]
    fn a_slot_is_kept_until_its_receiver_has_copied_it_or_is_lost() {
        let (mut host, pool) = host();
        for lost in [false, true] {
            let payload = sealed(&pool, SHARED_BYTES_LEAST);
            let notice = host.serve(OTHER, SEGMENT, payload).expect("it is copied");
            assert_eq!(pool.vacant(), 0, "others may still read it");
            assert_eq!(receive(&mut host, notice), Ok(vec![9; SHARED_BYTES_LEAST]));
            if lost {
                assert_eq!(host.stop_serving(OTHER), [SEGMENT]);
            } else {
                drop(host.take_served(OTHER, SEGMENT).expect("it was served"));
            }
            assert_eq!(pool.vacant(), 1);
            assert!(host.take_served(OTHER, SEGMENT).is_none(), "a late answer changes nothing");
        }
        let payload = sealed(&pool, SHARED_BYTES_LEAST);
        host.serve(OTHER, SEGMENT, payload).expect_err("it may come back, and is told in messages");
        assert_eq!(host.copied_bytes(), 2 * SHARED_BYTES_LEAST as u64);
    }

    #[test]
    fn what_others_cannot_read_travels_in_messages() {
        let (mut host, pool) = host();
        let mut refused = |to, payload| host.serve(to, SEGMENT, payload).expect_err("a message");
        drop(refused(OTHER, sealed(&pool, SHARED_BYTES_LEAST - 1)));
        drop(refused(STRANGER, sealed(&pool, SHARED_BYTES_LEAST)));
        drop(refused(OTHER, vacant().fill(SHARED_BYTES_LEAST).seal_unchecked()));
        host.peers.insert(OTHER, HostPeer { memory: None, reads: false });
        assert!(host.memory().is_none(), "nobody reads it: it need not be shared");
    }

    #[test]
    fn a_notice_that_cannot_be_names_its_sender() {
        let (mut host, _pool) = host();
        let mut buffer = [0; NOTICE_BYTES_MAX];
        let most =
            HostMessage::Ready { segment: SegmentId(u32::MAX), offset: u64::MAX, bytes: u32::MAX };
        let notice = postcard::to_slice(&most, &mut buffer).expect("it fits");
        let mut heard = |from, bytes: &[u8]| host.hear(from, bytes).map_err(|e| e.to_string());
        assert_eq!(heard(OTHER, notice), Ok(()));
        let error = heard(STRANGER, notice).expect_err("it is on another host");
        assert_eq!(error, "rank 3 sent an invalid message: Ready, which it may not send");
        for garbled in [&[9, 9][..], &[], &[&*notice, &[0]].concat()] {
            let error = heard(STRANGER, garbled).expect_err("it is none");
            assert!(error.starts_with("rank 3 sent bytes that are no message: "), "{error}");
        }
        for (offset, bytes) in [(u64::MAX, 1), (2 << 20, 1), ((2 << 20) - 1, 2)] {
            let ready = HostMessage::Ready { segment: SEGMENT, offset, bytes };
            let error = receive(&mut host, ready).expect_err("it is not there");
            let expected = format!(
                "rank 2 sent an invalid message: a segment at byte {offset} of its memory, which has 2097152 bytes"
            );
            assert_eq!(error, expected);
        }
        let bytes = u32::try_from(SHARED_BYTES_LEAST + 1).expect("it is short");
        let error = receive(&mut host, HostMessage::Ready { segment: SEGMENT, offset: 0, bytes });
        let error = error.expect_err("no segment is so long");
        assert!(error.starts_with("rank 2 sent a message or segment that is longer"), "{error}");
    }
}
