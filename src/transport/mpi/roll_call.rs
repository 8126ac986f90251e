//! What all ranks do together, point to point instead of by MPI's collective calls: those have no
//! limit, and can't tell who is missing.

use std::ffi::c_int;
use std::thread;
use std::time::Duration;

use mpi::datatype::Equivalence as _;
use mpi::point_to_point::{Destination as _, MatchedReceiveVec as _, Source};
use mpi::topology::{Communicator as _, Rank, SimpleCommunicator};

use super::REPORT_BYTES_MAX;
use crate::escape;
use crate::manifest::NodeId;
use crate::protocol::Violation;
use crate::transport::TransportError;
use crate::watchdog;

// How long a rank sleeps between two looks, at most: a thousand looks a second take no core from the ranks
// that still work.
const REST: Duration = Duration::from_millis(1);

// Its first sleep; each next one is twice as long (exponential backoff). Ranks that meet at once don't wait
// for a whole millisecond, and a job has six meetings. Shorter than the kernel's timer slack, 50 µs, none is.
const REST_FIRST: Duration = Duration::from_micros(50);

// How much longer than rank 0 the others wait. Rank 0 names who is missing, and may have to wait for a
// rank twice (for its report and at the end) before it ends the job. They must not be first.
const OTHERS_WAIT: u32 = 3;

// How often rank 0 says for whom it waits. Half a minute is long for a meeting, and short for a person who
// looks into the log of a job that does not begin.
const NOTE_EVERY: Duration = Duration::from_secs(30);

// Bytes of an answer of rank 0 to all ranks, at most.
// A bit for each of half a billion segments, or a line for each of 100,000 ranks.
const ANSWER_BYTES_MAX: c_int = 64 << 20;

// Bytes of what is spread to all ranks, at most.
// A gigabyte lists some ten million files. MPI counts bytes in 31 bits.
const SPREAD_BYTES_MAX: c_int = 1 << 30;

// Bytes of the traces of all ranks, at most.
// Four million spans of some 16 bytes; the file has 150 for each, and a viewer takes no more.
const TRACES_BYTES_MAX: c_int = 64 << 20;

// Bytes of the trace of one rank, at most.
// Nine full buffers of 65,536 spans: eight workers and the thread that communicates.
const TRACE_BYTES_MAX: c_int = 16 << 20;

fn trace_share(ranks: Rank) -> c_int {
    (TRACES_BYTES_MAX / ranks.max(1)).clamp(REPORT_BYTES_MAX, TRACE_BYTES_MAX)
}

/// Bytes of the trace of each of so many ranks, at most.
pub(crate) fn trace_bytes_max(ranks: Rank) -> usize {
    usize::try_from(trace_share(ranks)).unwrap_or_default()
}

/// A moment at which all ranks meet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meeting {
    /// Before anything else, with the options of each rank.
    Start,
    /// Rank 0 has looked at inputs and outputs.
    Inputs,
    /// With the destination of each rank.
    Destinations,
    /// With the destinations of others that each rank sees.
    Shared,
    /// With the list of what the source has.
    Manifest,
    /// With the first destination of each rank that another run stages into.
    Locks,
    /// With what each rank has and takes of the source.
    Parts,
    /// With the segments that each rank lacks.
    Missing,
    /// Each rank knows whether it has the memory for what is to come.
    Memory,
    /// Right before the collective calls that make communicators.
    Connect,
    /// After the exchange, with what each rank measured.
    Reports,
    /// After that, with the trace of each rank.
    Trace,
    /// Rank 0 has printed its summary.
    Summary,
    /// The last one before `MPI_Finalize`.
    Leave,
}

impl Meeting {
    // Above the tags of the mutex engine, which shares the communicator of all ranks.
    fn tag(self) -> c_int {
        match self {
            Self::Start => 311,
            Self::Inputs => 312,
            Self::Connect => 313,
            Self::Reports => 314,
            Self::Summary => 315,
            Self::Leave => 316,
            Self::Destinations => 317,
            Self::Shared => 318,
            Self::Manifest => 319,
            Self::Missing => 320,
            Self::Memory => 321,
            Self::Locks => 322,
            Self::Trace => 330,
            Self::Parts => 331,
        }
    }

    /// Bytes that each of so many ranks may bring, at most.
    fn bytes_max(self, ranks: Rank) -> c_int {
        if self == Self::Missing {
            // A bit a segment.
            ANSWER_BYTES_MAX
        } else if self == Self::Trace {
            trace_share(ranks)
        } else if self == Self::Parts {
            // A list of files.
            SPREAD_BYTES_MAX
        } else {
            REPORT_BYTES_MAX
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Start | Self::Inputs | Self::Memory | Self::Connect => "start",
            Self::Destinations | Self::Shared => "look at its destination",
            Self::Locks => "have its destination to itself",
            Self::Manifest => "take the list of files",
            Self::Parts => "list or hash what it has of the sources",
            Self::Missing => "compare the list with its destination",
            Self::Reports => "report",
            Self::Trace => "send its trace",
            Self::Summary | Self::Leave => "end",
        }
    }
}

/// The ranks that have not come.
fn missing(all: &[Option<Vec<u8>>]) -> impl Iterator<Item = u32> {
    (0..).zip(all).filter_map(|(rank, one)| one.is_none().then_some(rank))
}

/// Meetings of all ranks at rank 0.
#[expect(missing_debug_implementations, reason = "a communicator has none")]
pub struct RollCall<'a> {
    world: &'a SimpleCommunicator,
    limit: Duration,
    note: fn(&str),
}

impl<'a> RollCall<'a> {
    /// Rank 0 waits for each of the others for `limit` at most.
    // Time is counted by its own rests: a rank that was stopped itself has not waited.
    pub fn new(world: &'a SimpleCommunicator, limit: Duration) -> Self {
        Self { world, limit, note: |_| () }
    }

    /// Has rank 0 say now and then for whom it waits.
    pub fn with_notes(self, note: fn(&str)) -> Self {
        Self { note, ..self }
    }

    /// Rank 0 hears something from each rank, by rank, and answers all of them. Returns the answer.
    ///
    /// # Errors
    ///
    /// When a rank does not come in time: on rank 0 it names all that are missing.
    pub fn meet(
        &self,
        meeting: Meeting,
        mine: &[u8],
        answer: impl FnOnce(Vec<Vec<u8>>) -> Vec<u8>,
    ) -> Result<Vec<u8>, TransportError> {
        let Some(all) = self.collect(meeting, mine)? else {
            let root = self.world.process_at_rank(0);
            let most = ANSWER_BYTES_MAX;
            let answered = self.receive(&root, meeting, (self.limit * OTHERS_WAIT, most))?;
            return answered.map(|(_, bytes)| bytes).ok_or(TransportError::Silent(NodeId::TRACKER));
        };
        let nodes = missing(&all).map(NodeId).collect::<Vec<_>>();
        if !nodes.is_empty() {
            let (limit, what) = (self.limit, meeting.name());
            return Err(TransportError::Missing { nodes, limit, what });
        }
        let answer = answer(all.into_iter().flatten().collect());
        (1..self.world.size()).for_each(|to| self.send(to, meeting, &answer));
        Ok(answer)
    }

    /// What each rank sends, by rank, on rank 0; none of a rank that is missing. None on other ranks.
    ///
    /// # Errors
    ///
    /// When a rank sends more than any rank has to say.
    pub fn collect(
        &self,
        meeting: Meeting,
        mine: &[u8],
    ) -> Result<Option<Vec<Option<Vec<u8>>>>, TransportError> {
        if self.world.rank() != 0 {
            self.send(0, meeting, mine);
            return Ok(None);
        }
        let mut all = vec![None; usize::try_from(self.world.size()).unwrap_or_default()];
        all[0] = Some(mine.to_vec());
        let mut waited = Duration::ZERO;
        while all.contains(&None) && waited < self.limit {
            let any = self.world.any_process();
            let wait = NOTE_EVERY.min(self.limit - waited);
            if let Some((from, bytes)) =
                self.receive(&any, meeting, (wait, meeting.bytes_max(self.world.size())))?
            {
                all[from.index()] = Some(bytes);
                // Each rank that comes renews the limit: the slow start of many is no loss.
                waited = Duration::ZERO;
                continue;
            }
            waited += wait;
            if waited < self.limit {
                let (who, limit) = (escape::ranks(&missing(&all).collect::<Vec<_>>()), self.limit);
                let what = meeting.name();
                (self.note)(&format!("waits for {who} to {what}, {waited:?} of at most {limit:?}"));
            }
        }
        Ok(Some(all))
    }

    /// Takes bytes from `root` to all ranks, along a binomial tree: each rank passes them on to as many
    /// others as it has levels below it. Only `root` needs to have them; all get them.
    ///
    /// # Errors
    ///
    /// When the rank before this one does not send them in time.
    // A list of 100,000 files has some 10 MB: rank 0 alone would send it a thousand times. All send it at
    // most log2(ranks) times, and the last has it after so many steps.
    pub fn spread(
        &self,
        meeting: Meeting,
        root: Rank,
        bytes: Vec<u8>,
    ) -> Result<Vec<u8>, TransportError> {
        let (size, rank) = (self.world.size(), self.world.rank());
        let place = (rank - root).rem_euclid(size);
        let at = |place: Rank| (place + root) % size;
        let mut bytes = bytes;
        let mut step = 1;
        while step < size {
            if place & step != 0 {
                let before = at(place - step);
                let source = self.world.process_at_rank(before);
                let limits = (self.limit * OTHERS_WAIT, SPREAD_BYTES_MAX);
                let received = self.receive(&source, meeting, limits)?;
                let node = NodeId(u32::try_from(before).unwrap_or_default());
                bytes = received.ok_or(TransportError::Silent(node))?.1;
                break;
            }
            step *= 2;
        }
        // The largest step first: who is the farthest from the end begins first.
        while step > 1 {
            step /= 2;
            if place + step < size {
                self.send(at(place + step), meeting, &bytes);
            }
        }
        Ok(bytes)
    }

    fn send(&self, to: Rank, meeting: Meeting, bytes: &[u8]) {
        let waited_for = format!("rank {to} to take a message ({})", meeting.name());
        let _limit = watchdog::limit(waited_for, self.limit * OTHERS_WAIT);
        self.world.process_at_rank(to).send_with_tag(bytes, meeting.tag());
    }

    fn receive(
        &self,
        source: &impl Source,
        meeting: Meeting,
        (limit, most): (Duration, c_int),
    ) -> Result<Option<(NodeId, Vec<u8>)>, TransportError> {
        let (mut left, mut rest) = (limit, REST_FIRST);
        loop {
            if let Some(probed) = source.immediate_matched_probe_with_tag(meeting.tag()) {
                let from = NodeId(u32::try_from(probed.1.source_rank()).unwrap_or_default());
                let bytes = probed.1.count(u8::equivalent_datatype());
                if !(0..=most).contains(&bytes) {
                    return Err(Violation::ReportBytes { bytes }.from(from).into());
                }
                let what = format!("the rest of a message ({})", meeting.name());
                let _limit = watchdog::limit(what, self.limit * OTHERS_WAIT);
                return Ok(Some((from, probed.matched_receive_vec().0)));
            }
            if left.is_zero() {
                return Ok(None);
            }
            left = left.saturating_sub(rest);
            thread::park_timeout(rest);
            rest = (2 * rest).min(REST);
        }
    }
}
