//! The parameters of a simulated world.

use std::time::Duration;

use crate::config::Config;
use crate::manifest::NodeId;
use crate::protocol::{LateEntry, OwnedEntry, Registration};
use crate::time::Timestamp;
use crate::verify::Digest;

/// A world before it runs.
#[derive(Clone, Debug)]
pub struct WorldConfig {
    /// What the peers register, rank 1 first.
    pub registrations: Vec<Registration>,
    /// How all nodes behave.
    pub config: Config,
    /// Determines all random choices.
    pub seed: u64,
    /// How long a segment takes on a link of rate 1, up or down.
    pub segment_time: Duration,
    /// One-way latency of a message, and of the first byte of a segment.
    pub latency: Duration,
    /// How long a peer takes to reserve its slots.
    pub reserve_time: Duration,
    /// How long it takes to check a segment.
    pub check_time: Duration,
    /// Service time of one message at the tracker, with its answers. Messages that come meanwhile wait.
    pub tracker_time: Duration,
    /// Whether the bytes of all messages are counted.
    pub weighs_messages: bool,
    /// Link rates by rank, in segments per segment time; ranks beyond the list have 1.
    pub rates: Vec<f64>,
    /// How hosts lie in racks; none where switches have no rate limit.
    pub racks: Option<Racks>,
    /// How segments share links; none where a link carries one after the other, and racks if there are any.
    pub fragments: Option<Fragments>,
    /// How long a source takes to read a segment, by rank; ranks beyond the list read in no time.
    pub read_times: Vec<Duration>,
    /// From when on a node has slots for so many segments in flight.
    pub rooms: Vec<(NodeId, Timestamp, usize)>,
    /// Faults to inject.
    pub faults: Faults,
    /// Whether the run returns what every peer has at the end: one digest a segment and peer.
    pub keep_contents: bool,
}

/// Hosts in racks, each with one link to the others, up and down. It carries less than the hosts together.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Racks {
    /// Hosts of a rack, above 0. Ranks fill one rack after the other, from rank 1 on.
    pub hosts: u32,
    /// What all hosts of a rack carry, at rate 1, ÷ what its link carries.
    pub oversubscription: f64,
}

/// How segments are cut that share the links, and how many fragments are under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fragments {
    /// Fragments of a segment, above 0.
    pub of_segment: u32,
    /// Fragments of one segment that are sent and not confirmed at a time, above 0.
    pub under_way: u32,
}

impl Racks {
    pub(super) fn of(self, node: NodeId) -> usize {
        (node.0.saturating_sub(1) / self.hosts) as usize
    }

    /// What a segment takes on the link of a rack, in the time that it takes on a link of rate 1.
    pub fn segment_times(self) -> f64 {
        self.oversubscription / f64::from(self.hosts)
    }
}

/// The faults of a world.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    /// The probability that a message is lost.
    pub loss: f64,
    /// The most by which a message is delayed, at random. Messages from one node to another keep their
    /// order.
    pub jitter: Duration,
    /// The probability that a segment arrives corrupt.
    pub corrupt: f64,
    /// Holders whose segments are always wrong.
    pub corrupt_holders: Vec<NodeId>,
    /// The probability that a holder drops a segment that it should send.
    pub drop: f64,
    /// Peers without memory for what they want.
    pub short: Vec<NodeId>,
    /// Nodes that are stopped, when and for how long, as by SIGSTOP or a host that swaps.
    pub pause: Vec<(NodeId, Timestamp, Duration)>,
    /// Peers that drop out, and when.
    pub broken: Vec<(NodeId, Timestamp)>,
    /// Sources and positions in the late file that they can't read.
    pub unreadable: Vec<(NodeId, u32)>,
    /// The probability that a holder has lost a segment that it should send.
    pub unservable: f64,
    /// Nodes that vanish, and when.
    pub vanish: Vec<(NodeId, Timestamp)>,
    /// The same, counted from the moment at which rank 0 opens the run.
    pub vanish_once_open: Vec<(NodeId, Duration)>,
    /// Whether the others are told of a node that vanished.
    pub told: bool,
}

impl Faults {
    /// Whether nodes fall silent, for a while or for good.
    pub(super) fn silence_some(&self) -> bool {
        !(self.vanish.is_empty() && self.vanish_once_open.is_empty() && self.pause.is_empty())
    }
}

impl WorldConfig {
    /// One owner of one file of `segments` segments, and `peers` others that want it; equal
    /// links, a segment a millisecond, messages a hundredth of that.
    pub fn broadcast(peers: u32, segments: u32, seed: u64) -> Self {
        let entry = OwnedEntry {
            name: "file1".into(),
            hashes: (0..segments).map(|position| format!("{position:08x}\n")).collect(),
            digests: (0..segments).map(|position| stand_in(0, position)).collect(),
        };
        let owner = Registration::Ready { owned: vec![entry], wanted: Vec::new() };
        let other = Registration::Ready { owned: Vec::new(), wanted: vec!["file1".into()] };
        let mut registrations = vec![owner];
        registrations.resize(peers as usize + 1, other);
        Self::of(registrations, seed)
    }

    /// One late file of `segments` segments that all `peers` peers want, and the first `sources` of them can
    /// read; links as in a broadcast.
    pub fn late(peers: u32, sources: u32, segments: u32, seed: u64) -> Self {
        let registration = |rank: u32| {
            Registration::Late(LateEntry {
                name: "tree".into(),
                source: (rank <= sources).then_some(segments),
                ..LateEntry::default()
            })
        };
        Self::of((1..=peers).map(registration).collect(), seed)
    }

    /// Every peer owns a file of `segments` segments and wants all the others.
    pub fn all_to_all(peers: u32, segments: u32, seed: u64) -> Self {
        let name = |rank: u32| -> Box<str> { format!("file{rank}").into() };
        let registrations = (1..=peers).map(|rank| {
            let entry = OwnedEntry {
                name: name(rank),
                hashes: (0..segments).map(|position| format!("{position:08x}\n")).collect(),
                digests: (0..segments).map(|position| stand_in(rank, position)).collect(),
            };
            let wanted = (1..=peers).filter(|&other| other != rank).map(name).collect();
            Registration::Ready { owned: vec![entry], wanted }
        });
        Self::of(registrations.collect(), seed)
    }

    /// A world without faults around some registrations.
    pub fn of(registrations: Vec<Registration>, seed: u64) -> Self {
        let segment_time = Duration::from_millis(1);
        Self {
            registrations,
            // Every node has a link of its own here, and a segment takes it for long.
            config: Config {
                window: 2,
                holder_load: 2,
                uploads: 2,
                upload_queue: 4,
                request_patience: 50 * segment_time,
                ask_patience: 50 * segment_time,
                silence_patience: 2000 * segment_time,
                ..Config::for_segments_of(1 << 20)
            },
            seed,
            segment_time,
            latency: segment_time / 100,
            reserve_time: segment_time,
            check_time: Duration::ZERO,
            tracker_time: Duration::ZERO,
            weighs_messages: false,
            rates: Vec::new(),
            racks: None,
            fragments: None,
            read_times: Vec::new(),
            rooms: Vec::new(),
            faults: Faults::default(),
            keep_contents: false,
        }
    }
}

/// The file number of the late file's digests; no rank is as high.
pub(super) const LATE: u32 = u32::MAX;

/// What stands for the digest of a segment where there are no bytes: distinct, and no more.
pub(super) fn stand_in(file: u32, position: u32) -> Digest {
    let mut digest = [0xd1; 32];
    digest[..4].copy_from_slice(&file.to_be_bytes());
    digest[4..8].copy_from_slice(&position.to_be_bytes());
    Digest(digest)
}
