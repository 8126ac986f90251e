//! Every bound of every queue and table, and every patience, in one place.

mod choices;
mod overrides;
mod sweep;

use std::time::Duration;

pub(crate) use choices::choice;
pub use choices::{
    Admission, Balance, Buffers, Choice, CounterKind, Engine, IndexKind, Selection, UnknownChoice,
    Verify,
};
pub use overrides::{OVERRIDES, Override, OverrideSweeps, Overrides, Values};
pub(crate) use sweep::{Sweep, spread};

/// Segments in one handout, at most. The classic figure is 10.
pub const HANDOUT_MAX: usize = 16;

/// Holders named for one segment of a handout, at most: the first is charged, the rest are spares.
pub const HOLDERS_MAX: usize = 4;

/// Segments that a peer may have outstanding, at most.
pub const WINDOW_MAX: usize = 64;

/// Blocks of 64 segments that an ask may show interest in, at most.
pub const BLOCKS_MAX: usize = 16;

/// Messages of as many peers times this, one after another, show a tracker that it falls behind.
pub const BUSY_ROUNDS: usize = 4;

/// Segments that an ask may give back, at most.
pub const RETURNS_MAX: usize = 16;

/// Fresh holders that the index remembers for a segment, besides the owners of its file.
pub const FRESH_HOLDERS: usize = 8;

/// Bytes of a registration or a catalogue in one message, at most.
pub const PART_BYTES_MAX: usize = 48 * 1024;

/// Bytes of an encoded message, at most.
pub const MESSAGE_BYTES_MAX: usize = 64 * 1024;

/// Events that a node's mailbox holds in the local transport before senders keep theirs back.
pub const MAILBOX_EVENTS: usize = 256;

/// Empty spares that the local transport keeps, for each node.
pub const SPARE_MESSAGES_PER_NODE: usize = 16;

/// Problems that a peer reports by name when it is done; more are only counted.
pub const TROUBLES_MAX: usize = 16;

/// Bytes of each of them, at most.
pub const TROUBLE_BYTES_MAX: usize = 1024;

/// Files that a peer reports as not to be had when it is done; more are only counted.
pub const FAILED_FILES_MAX: usize = 4096;

/// Wrong segments from one holder after which the tracker avoids it, if they are a quarter of
/// what it was asked for.
pub const CORRUPT_SEGMENTS_MAX: u32 = 8;

/// Withdrawals that a holder may leave unanswered before a peer takes it for gone.
pub const WITHDRAWALS_MAX: u32 = 3;

/// Segments that a broadcast without a swarm has under way to a node, for segments of
/// `segment_bytes`: as many bytes as a peer of a swarm, and some for every partner.
pub fn relay_window(segment_bytes: usize) -> usize {
    (Config::WINDOW_LEAST_BYTES / segment_bytes.max(1)).clamp(8, WINDOW_MAX)
}

/// Segments after which a peer of the mutex engine renews its list of holders, and says what it has.
/// A list has a bit for each of them.
pub const RENEWAL_SEGMENTS: usize = 10;

/// How a swarm behaves: the same for every node of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Segments that a peer may have outstanding: asked for and not yet verified.
    pub window: usize,
    /// What of its window a peer may always use. More of it only as far as that is a small part of
    /// what it lacks: nobody should hoard what others lack too.
    pub window_least: usize,
    /// Segments in one handout, at most [`HANDOUT_MAX`].
    pub handout: usize,
    /// Segments that the tracker lets wait at one holder at a time.
    pub holder_load: u32,
    /// Segments that a holder sends at a time.
    pub uploads: usize,
    /// Segments that a peer verifies at most before it tells the tracker, if it has others under way;
    /// a quarter of its window where that is fewer.
    pub announcement: usize,
    /// Whether peers that take longer than the others are given less at a time. In memory it is
    /// chance who takes long: the one that has no core just now.
    pub paced: bool,
    /// Whether a segment counts as sent only when its receiver takes it. MPI buffers short ones: it
    /// would call sent what still waits for the link.
    pub sends_synchronously: bool,
    /// Requests that wait at a holder before it answers *busy*.
    pub upload_queue: usize,
    /// How long a peer waits for a segment before it withdraws the request.
    pub request_patience: Duration,
    /// How long a peer waits for the tracker before it says again what it said.
    pub ask_patience: Duration,
    /// A peer that says nothing for so long, once the swarm is open, is taken for lost.
    pub silence_patience: Duration,
    /// How long the tracker waits for all registrations.
    pub enrolment_patience: Duration,
    /// Segments that the transport can tell apart; where all files together have more, the run is
    /// refused.
    pub segments_max: u32,
    /// With nothing else to ask for, a request this many mean latencies old is made twice.
    pub end_game_latencies: u32,
    /// Where the tracker keeps who has what.
    pub index: IndexKind,
    /// How it counts what was asked of each node.
    pub counters: CounterKind,
    /// Which segments it hands out first.
    pub selection: Selection,
    /// Which of their holders it names first.
    pub balance: Balance,
    /// What becomes of requests beyond those that a holder serves at a time.
    pub admission: Admission,
    /// Where a peer receives to.
    pub buffers: Buffers,
    /// Who checks what a peer receives.
    pub verify: Verify,
}

impl Config {
    /// Payload that a peer keeps outstanding while it lacks much, and always.
    const WINDOW_BYTES: usize = 16 << 20;
    const WINDOW_LEAST_BYTES: usize = 1 << 20;
    /// Payload that the tracker lets wait at one holder where segments are small.
    const HOLDER_BYTES: usize = 1 << 19;
    /// Segments that it lets wait there in any case: several peers may ask for several.
    const HOLDER_LOAD_LEAST: usize = 16;
    /// And at most. With fewer, those who ask for small ones wait in line at the tracker instead.
    const HOLDER_LOAD_MOST: usize = 4 * WINDOW_MAX;

    /// Likewise over links, where segments are small.
    const LINK_WINDOW_BYTES: usize = 5 << 17;
    const LINK_HOLDER_BYTES: usize = 5 << 16;

    /// Payload that a holder sends at a time over links, and that a peer verifies there before it
    /// tells the tracker.
    const LINK_UPLOAD_BYTES: usize = 1 << 17;
    const LINK_ANNOUNCEMENT_BYTES: usize = 1 << 16;

    /// Segments in flight to a peer, at most: at the end of a run those that are late are asked for a
    /// second time elsewhere.
    pub fn flights_max(&self) -> usize {
        2 * self.window
    }

    /// Slots beyond the payload: at the end of a run each segment of a window may be in flight twice,
    /// or have come twice; and slots come back late from requests that were withdrawn.
    pub fn spare_slots(&self) -> usize {
        self.flights_max().max(16)
    }

    /// The defaults for segments of `segment_bytes`, where the nodes are on several hosts or share
    /// one memory.
    pub fn defaults(segment_bytes: usize, has_links: bool) -> Self {
        if has_links {
            Self::over_links(segment_bytes)
        } else {
            Self::for_segments_of(segment_bytes)
        }
    }

    /// The defaults where the nodes are on several hosts. There each message waits behind the
    /// payload that is on its way over the same links, so that little may be on its way at a time;
    /// in memory, where a message costs what many bytes do, the opposite holds.
    pub fn over_links(segment_bytes: usize) -> Self {
        let segments = |bytes: usize| bytes / segment_bytes.max(1);
        let load = segments(Self::LINK_HOLDER_BYTES).clamp(4, WINDOW_MAX);
        let window = segments(Self::LINK_WINDOW_BYTES).clamp(8, WINDOW_MAX);
        Self {
            window,
            window_least: window,
            holder_load: u32::try_from(load).expect("a load is at most WINDOW_MAX"),
            upload_queue: 2 * load,
            uploads: segments(Self::LINK_UPLOAD_BYTES).clamp(2, 8),
            announcement: segments(Self::LINK_ANNOUNCEMENT_BYTES).clamp(1, WINDOW_MAX),
            paced: true,
            sends_synchronously: true,
            ..Self::for_segments_of(segment_bytes)
        }
    }

    /// The defaults where the nodes share one memory. Each has a core for a part of the time only, so
    /// that it needs much in flight to hide the latency of asking, whatever the size of a segment.
    pub fn for_segments_of(segment_bytes: usize) -> Self {
        let segment_bytes = segment_bytes.max(1);
        let window = (Self::WINDOW_BYTES / segment_bytes).clamp(2, WINDOW_MAX);
        let load = (Self::HOLDER_BYTES / segment_bytes)
            .clamp(Self::HOLDER_LOAD_LEAST, Self::HOLDER_LOAD_MOST);
        Self {
            window,
            window_least: (Self::WINDOW_LEAST_BYTES / segment_bytes).clamp(2, WINDOW_MAX),
            handout: HANDOUT_MAX,
            holder_load: u32::try_from(load).expect("a load has a bound"),
            uploads: load.min(8),
            announcement: WINDOW_MAX,
            paced: false,
            sends_synchronously: false,
            upload_queue: 2 * load,
            request_patience: Duration::from_secs(2),
            ask_patience: Duration::from_secs(2),
            silence_patience: Duration::from_secs(60),
            enrolment_patience: Duration::from_secs(600),
            segments_max: u32::MAX,
            end_game_latencies: 4,
            index: IndexKind::default(),
            counters: CounterKind::default(),
            selection: Selection::default(),
            balance: Balance::default(),
            admission: Admission::default(),
            buffers: Buffers::default(),
            verify: Verify::default(),
        }
    }
}
