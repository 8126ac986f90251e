//! How large queues, tables and messages may get, how long nodes wait, and what can be chosen.
//!
//! A bound that nodes must agree on, or that a user may want to change, stands here. A constant that
//! only one algorithm has stands beside that algorithm.

mod choices;
mod overrides;
mod one_or_more;
mod quantities;
pub mod ranges;
mod rate_limits;

use std::time::Duration;

pub(crate) use choices::choice;
pub use choices::{
    Admission, Balance, Buffers, Choice, Compress, CounterKind, Decider, Engine, IndexKind,
    Selection, UnknownChoice, Verify,
};
pub(crate) use one_or_more::{COMBINATIONS_MAX, Sweep, TooMany, spread};
pub use overrides::{OVERRIDES, Override, OverrideSweeps, Overrides, Values};
pub(crate) use rate_limits::limited_time;
pub use rate_limits::{RATE_BURST, RateLimits};

/// Tags that a peer tells its pending requests apart with over MPI, at most.
// A peer has 128 requests at most, and some that were withdrawn and have not ended. 4,096 are far more, and
// every MPI has them: the standard guarantees 32,767.
pub const REQUEST_TAGS: u16 = 1 << 12;

/// The shortest fragment of a segment, as a power of two: 32 KiB.
// What a link of 200 Mbit/s carries in a millisecond. Shorter ones cost more messages and gain nothing; Open
// MPI sends messages below 64 KiB over TCP without asking the receiver first (its eager limit).
pub const FRAGMENT_LOG2_LEAST: u8 = 15;

/// The longest: any segment is shorter.
// MPI counts bytes in 31 bits.
pub const FRAGMENT_LOG2_MOST: u8 = 31;

/// Bytes of a message of several short segments over MPI, at most.
// Within a host Open MPI sends 4,096 bytes, its own header of less than 96 included, without asking the receiver
// first (its eager limit). Other MPIs and networks have higher limits.
pub const PACKED_MESSAGE_MAX: usize = 4000;

/// The longest slot whose segment comes in such a message.
// 31 cache lines: two of them with their headers fill a message.
pub const PACKED_SLOT_MAX: usize = 31 * 64;

/// Segments in one handout, at most.
// The classic exercise has 10. Each message costs the tracker microseconds, so that more in one
// are cheaper; 16 is a power of two above 10, chosen and not tuned.
pub const HANDOUT_MAX: usize = 16;

/// Holders named for one segment of a handout, at most: the first is charged, the rest are spares.
// A peer that hears *busy* from the first tries the spares without asking the tracker. Chosen, not
// tuned.
pub const HOLDERS_MAX: usize = 4;

/// Segments that a peer may have outstanding, at most.
// A bound: an ask announces a whole window, and slots, queues and tables of a peer follow from it.
// 64 segments of 16 KiB and more are `WINDOW_LEAST_BYTES` and more.
pub const WINDOW_MAX: usize = 64;

/// Threads that compute handouts beside the tracker's communicating one, at most.
// A bound, no tuning: eight times as many as the load test of the tracker has.
pub const TRACKER_THREADS_MAX: usize = 64;

/// Blocks of 64 segments that an ask may show interest in, at most.
// 1,024 segments: many more than one handout, so that rarest first has a choice, in at most 240
// bytes of message.
pub const BLOCKS_MAX: usize = 16;

/// Messages of as many peers times this, one after another, show a tracker that it falls behind.
// A tracker that keeps up finds its mailbox empty within a round of all peers; four rounds are more
// than a burst. Chosen, not tuned.
pub const BUSY_ROUNDS: usize = 4;

// A bound, no tuning: more are told with the next ask.
/// Segments that an ask may give back, at most.
pub const FAILED_FETCHES_MAX: usize = 16;

/// Fresh holders that the index remembers for a segment, besides the owners of its file.
// Twice `HOLDERS_MAX`, so that some may be busy: 32 bytes a segment. Memory grows with the segments
// and not with the segments times the ranks.
pub const FRESH_HOLDERS: usize = 8;

/// Bytes of a registration or a catalogue in one message, at most.
// With its header it fits into `MESSAGE_BYTES_MAX`.
pub const PART_BYTES_MAX: usize = 48 * 1024;

/// Bytes of a registration or a catalogue, at most.
// A bound on what one rank can make another keep: 16 million segments of a classic hash and its digest.
pub const MESSAGE_TOTAL_MAX: usize = 1 << 30;

/// Segments of a file whose digests are not registered, at most.
// As many as registrations of a classic hash and digest have room for: what one rank can make another
// keep because of a number that it says.
pub const LATE_SEGMENTS_MAX: u32 = 1 << 24;

/// Digests of segments that rank 0 tells a peer in one message, at most.
// 1,024 numbers of up to 5 bytes, with 32 bytes each, fit into `MESSAGE_BYTES_MAX`.
pub const DIGESTS_MAX: usize = 1024;

/// Bytes of an encoded message, at most.
// The size of each receive buffer for messages: room for a part, a handout and a report of failed
// files.
pub const MESSAGE_BYTES_MAX: usize = 64 * 1024;

/// Events that a node's mailbox holds in the local transport before senders keep theirs back.
// Several windows of segments. Only memory depends on it: nothing is dropped when it is full.
pub const MAILBOX_EVENTS: usize = 256;

/// Empty spares that the local transport keeps, for each node.
// Messages are recycled, so that a running swarm allocates nothing (`tests/allocations.rs`).
pub const SPARE_MESSAGES_PER_NODE: usize = 16;

// Enough to see what is wrong; a peer that fails fails often in the same way.
/// Problems that a peer reports by name when it is done; more are only counted.
pub const PROBLEMS_MAX: usize = 16;

// Two paths and an error of the system fit. All of them fit into one message.
/// Bytes of each of them, at most.
pub const PROBLEM_BYTES_MAX: usize = 1024;

/// Files that a peer reports as not to be had when it is done; more are only counted.
// 4,096 numbers of up to 5 bytes, beside 16 problems of 1 KiB, fit into `MESSAGE_BYTES_MAX`.
pub const FAILED_FILES_MAX: usize = 4096;

/// Wrong segments from one holder after which the tracker avoids it, if they are a quarter of
/// what it was asked for.
// One wrong segment can be chance. Chosen, not tuned.
pub const CORRUPT_SEGMENTS_MAX: u32 = 8;

/// How often a segment is fetched from a holder that sends it corrupt, where nobody else has it.
// A transfer may go wrong once, and twice by bad luck; three times is a holder whose copy is wrong.
// Chosen, not tuned.
pub const CORRUPT_TRIES_MAX: usize = 3;

/// Corrupt segments that the tracker remembers of one peer until they came right.
// Four times what an ask lists: a peer with more has a fault of its own, and is handed nothing more.
pub const EXCLUSIONS_MAX: usize = 4 * BLOCKS_MAX * 64;

/// Peers that one report of a subtree names, at most.
// 2,048 numbers of up to 5 bytes with times of up to 10, and as many numbers again, fit into
// `MESSAGE_BYTES_MAX`.
pub const SUBTREE_NODES_MAX: usize = 2048;

/// Segments that a broadcast without a swarm has in flight to a node: as many bytes as a peer of a
/// swarm always may, so that both compete on equal terms.
// 8: with fewer, a sender that serves several partners could not keep one segment for each.
pub fn relay_window(segment_bytes: usize) -> usize {
    (Config::WINDOW_LEAST_BYTES / segment_bytes.max(1)).clamp(8, WINDOW_MAX)
}

/// Segments after which a peer of the mutex engine renews its list of holders, and says what it has.
/// A list has a bit for each of them.
// The rule of the classic exercise.
pub const RENEWAL_SEGMENTS: usize = 10;

// What a source reads earlier than it can send costs the processor time that sending needs, and is no longer in
// memory when it is sent. Of fewer segments the rarest are soon the same for all that ask. Chosen, not tuned.
const READ_AHEAD: usize = 256;

/// How long a node may be silent before it counts as lost.
// A peer repeats its asks every 2 s, so that 60 s are 30 lost in a row. A host that swaps may be silent for
// seconds. With another one, or other asks, there are `SIGNS_OF_LIFE` in it.
pub const SILENCE_PATIENCE: Duration = Duration::from_secs(60);

// How often a node says that it lives within the silence that others allow, at least.
// Of one message in a row rank 0 thinks that its last answer crossed it, and does not answer; with 8, a busy machine
// may delay several more.
const SIGNS_OF_LIFE: u32 = 8;

/// How long rank 0 waits for all others to begin.
// Reading and hashing what a rank owns comes before its registration, and may be long.
pub const REGISTRATION_PATIENCE: Duration = Duration::from_secs(600);

/// How a swarm behaves: the same for every node of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Segments that a peer may have outstanding: asked for and not yet verified.
    pub window: usize,
    /// The part of its window that a peer may always use. It uses more only while that is a small
    /// part of what it lacks, so that nobody hoards what others lack too.
    pub window_least: usize,
    /// Segments in one handout, at most [`HANDOUT_MAX`].
    pub handout: usize,
    /// Segments that the tracker lets wait at one holder at a time.
    pub holder_load: u32,
    /// Segments that a holder sends at a time.
    pub uploads: usize,
    /// Segments that a peer verifies at most before it announces them, while others are in flight; a
    /// quarter of its window where that is fewer.
    pub announcement: usize,
    /// Whether slower peers are given less at a time. Not in memory: there the slow one is the one
    /// that has no core just now, which is chance.
    pub paced: bool,
    /// Whether a segment counts as sent only when its receiver takes it. MPI buffers short ones, so
    /// that a send completes while its bytes still wait for the link.
    pub sends_synchronously: bool,
    /// Requests that wait at a holder before it answers *busy*.
    pub upload_queue: usize,
    /// Segments that a source may have read before any other peer was handed them, while others fetch.
    pub read_ahead: usize,
    /// How long a peer waits for a segment before it withdraws the request.
    pub request_patience: Duration,
    /// How long a peer waits for the tracker before it repeats its message, at most.
    pub ask_patience: Duration,
    /// How long a peer may be silent, once the swarm is open, before it counts as lost.
    pub silence_patience: Duration,
    /// How long the tracker waits for all registrations.
    pub registration_patience: Duration,
    /// Segments of all files, at most: what a catalogue can make a peer keep is bounded by it.
    pub segments_max: u32,
    /// End game: with nothing else to ask for, a request this many mean latencies old is repeated
    /// elsewhere.
    pub end_game_latencies: u32,
    /// Threads that compute handouts beside the tracker's communicating one; with 0 that one computes them.
    pub tracker_threads: usize,
    /// Who decides which segment goes from whom to whom.
    pub decide: Decider,
    /// Where the tracker keeps who has what.
    pub index: IndexKind,
    /// How it counts the requests to each node.
    pub counters: CounterKind,
    /// Which segments it hands out first.
    pub selection: Selection,
    /// Which of their holders it names first.
    pub balance: Balance,
    /// What happens to requests beyond those that a holder serves at a time.
    pub admission: Admission,
    /// Which memory a peer receives into.
    pub buffers: Buffers,
    /// Which threads verify received segments.
    pub verify: Verify,
}

impl Config {
    // Payload that a peer keeps outstanding while it lacks much, and always.
    // A node waits milliseconds for a core, and a machine copies gigabytes a second: 16 MiB cover
    // some milliseconds of that. The window once was 1 MiB throughout, which is a single segment of
    // that size. Much in flight at the end is hoarding: there it still is 1 MiB.
    const WINDOW_BYTES: usize = 16 << 20;
    const WINDOW_LEAST_BYTES: usize = 1 << 20;
    // Payload that the tracker lets wait at one holder where segments are small.
    // Half of the least window, so that a peer spreads even that over two holders.
    const HOLDER_BYTES: usize = 1 << 19;
    // Segments that it lets wait there in any case: several peers may ask for several.
    // With fewer, handouts could not choose a holder that idles.
    const HOLDER_LOAD_LEAST: usize = 16;
    // And at most.
    // Several windows of the smallest segments. A limit of one window was a third slower at 1 KiB:
    // such a segment is sent sooner than a search for another holder ends.
    const HOLDER_LOAD_MOST: usize = 4 * WINDOW_MAX;

    // Likewise over links, where segments are small.
    // 20 and 10 segments of 32 KiB, the best size that was measured there. Messages queue behind the payload
    // on the same link, so that more in flight delays the tracker's answers and the announcements.
    const LINK_WINDOW_BYTES: usize = 5 << 17;
    const LINK_HOLDER_BYTES: usize = 5 << 16;

    // Payload that a holder sends at a time over links, and that a peer verifies there before it
    // announces it.
    // A few segments each: what is announced late is passed on late, and a receiver that gets its
    // segment whole can pass it on while the next is sent.
    const LINK_UPLOAD_BYTES: usize = 1 << 17;
    const LINK_ANNOUNCEMENT_BYTES: usize = 1 << 16;

    // Segments of `LINK_UPLOAD_BYTES` and longer that a holder sends at a time.
    // Each goes in fragments, of which few are under way, and its receiver takes from other holders meanwhile: with
    // fewer, the holder's own link idles whenever their receivers are busy. In simulation, 8 hosts at 200 Mbit/s and
    // segments of 1 MiB, four fragments of each under way: 1 at a time ended at 1.63 x the bound, 2 at 1.27, 3 at 1.15,
    // 4 at 1.11, and 6 no sooner.
    const LINK_UPLOADS_LONG: usize = 4;

    /// Segments in flight to a peer, at most: in the end game each may be requested twice.
    pub fn flights_max(&self) -> usize {
        2 * self.window
    }

    /// Slots beyond the payload: in the end game each segment of a window may be in flight, or have
    /// come, twice; and slots of withdrawn requests come back late.
    // 16: a small window has few flights, but as many withdrawals as a large one.
    pub fn spare_slots(&self) -> usize {
        self.flights_max().max(16)
    }

    /// How long a peer waits for the tracker before it repeats its message, and so says that it lives: the patience
    /// with an ask, or less where that with silence is short.
    pub fn repeat_interval(&self) -> Duration {
        self.ask_patience.min(self.silence_patience / SIGNS_OF_LIFE)
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

    /// The defaults where the nodes are on several hosts. Each message waits there behind the payload
    /// in flight over the same links, so that little may be in flight at a time. In memory, where a
    /// message costs as much as many bytes, the opposite holds.
    pub fn over_links(segment_bytes: usize) -> Self {
        let segments = |bytes: usize| bytes / segment_bytes.max(1);
        let load = segments(Self::LINK_HOLDER_BYTES).clamp(4, WINDOW_MAX);
        let window = segments(Self::LINK_WINDOW_BYTES).clamp(8, WINDOW_MAX);
        // The least values keep the pipeline full where one segment is more than the bytes above: a
        // peer has requests at several holders, and a holder sends one while it prepares the next.
        Self {
            window,
            window_least: window,
            holder_load: u32::try_from(load).expect("a load is at most WINDOW_MAX"),
            upload_queue: 2 * load,
            uploads: if segment_bytes >= Self::LINK_UPLOAD_BYTES {
                Self::LINK_UPLOADS_LONG
            } else {
                segments(Self::LINK_UPLOAD_BYTES).clamp(2, 8)
            },
            announcement: segments(Self::LINK_ANNOUNCEMENT_BYTES).clamp(1, WINDOW_MAX),
            paced: true,
            sends_synchronously: true,
            ..Self::for_segments_of(segment_bytes)
        }
    }

    /// The defaults where the nodes share one memory. Each has a core for only a part of the time, and
    /// needs much in flight to hide the latency of asking, whatever the size of a segment.
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
            // 8: with more sends at once each receiver waits longer for a whole segment, which it
            // can only then pass on. Short ones share a message: as many as one request has.
            uploads: load.min(if segment_bytes <= PACKED_SLOT_MAX { HANDOUT_MAX } else { 8 }),
            announcement: WINDOW_MAX,
            paced: false,
            sends_synchronously: false,
            // The tracker's view is old by a round trip: twice its limit leaves room for that.
            upload_queue: 2 * load,
            read_ahead: READ_AHEAD,
            // Far above any latency of a segment or an answer that is measured here, so that they
            // only expire when something is lost or a host hangs.
            request_patience: Duration::from_secs(2),
            ask_patience: Duration::from_secs(2),
            silence_patience: SILENCE_PATIENCE,
            registration_patience: REGISTRATION_PATIENCE,
            // Segments are numbered in 32 bits.
            segments_max: u32::MAX,
            // Late beyond the usual spread of latencies; each repeat costs a segment's transfer if
            // the first still comes. Chosen, not tuned.
            end_game_latencies: 4,
            // No record shows a whole job that is faster with more. Where ranks share cores, a thread more takes
            // its core from a peer.
            tracker_threads: 0,
            decide: Decider::default(),
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
