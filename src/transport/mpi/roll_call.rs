//! What all ranks do together, point to point instead of by MPI's collective calls: those have no
//! limit, and can't tell who is missing.

use std::ffi::c_int;
use std::thread;
use std::time::Duration;

use mpi::datatype::Equivalence as _;
use mpi::point_to_point::{Destination as _, MatchedReceiveVec as _, Source};
use mpi::request;
use mpi::topology::{Communicator as _, Rank, SimpleCommunicator};

use super::awaited_ranks::AwaitedRanks;
use super::{REPORT_BYTES_MAX, signs_of_life};
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
    /// When a rank does not come in time: on rank 0 it names all that are missing and silent.
    pub fn meet(
        &self,
        meeting: Meeting,
        mine: &[u8],
        answer: impl FnOnce(Vec<Vec<u8>>) -> Vec<u8>,
    ) -> Result<Vec<u8>, TransportError> {
        if self.world.rank() != 0 {
            self.send(0, meeting, mine);
            return self.await_from(0, meeting, ANSWER_BYTES_MAX, &[]);
        }
        let awaited = self.await_all(meeting, mine, true)?;
        let nodes = awaited.silent(self.limit);
        if !nodes.is_empty() {
            let (limit, what) = (self.limit, meeting.name());
            return Err(TransportError::Missing { nodes, limit, what });
        }
        let answer = answer(awaited.said.into_iter().flatten().collect());
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
        // The others go on, and no sign of life is for them.
        Ok(Some(self.await_all(meeting, mine, false)?.said))
    }

    /// Does `work` before a meeting. Those that wait for this rank there hear meanwhile that it lives.
    pub fn work_before_meeting<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let is_root = self.world.rank() == 0;
        let waiting = if is_root { (1..self.world.size()).collect() } else { vec![0] };
        self.work(&waiting, work)
    }

    /// Does `work` before this rank spreads what comes of it, likewise.
    pub fn work_before_spreading<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let (_, behind) = self.place_in_tree(self.world.rank());
        self.work(&behind, work)
    }

    fn work<T: Send>(&self, waiting: &[Rank], work: impl FnOnce() -> T + Send) -> T {
        let interval = signs_of_life::interval(self.limit);
        signs_of_life::beside(interval, work, || signs_of_life::give(self.world, waiting))
    }

    /// Takes bytes from `root` to all ranks, along a binomial tree: each rank passes them on to as many
    /// others as it has levels below it. Only `root` needs to have them; all get them.
    ///
    /// # Errors
    ///
    /// When the rank before this one neither sends them in time nor says that it lives.
    // A list of 100,000 files has some 10 MB: rank 0 alone would send it a thousand times. All send it at
    // most log2(ranks) times, and the last has it after so many steps.
    pub fn spread(
        &self,
        meeting: Meeting,
        root: Rank,
        bytes: Vec<u8>,
    ) -> Result<Vec<u8>, TransportError> {
        let (before, behind) = self.place_in_tree(root);
        let bytes = match before {
            Some(before) => self.await_from(before, meeting, SPREAD_BYTES_MAX, &behind)?,
            None => bytes,
        };
        behind.into_iter().for_each(|to| self.send(to, meeting, &bytes));
        Ok(bytes)
    }

    /// The rank before this one in the binomial tree of `root`, and those right behind it, the one with most behind
    /// it first: it is the farthest from the end.
    fn place_in_tree(&self, root: Rank) -> (Option<Rank>, Vec<Rank>) {
        let size = self.world.size();
        let place = (self.world.rank() - root).rem_euclid(size);
        let at = |place: Rank| (place + root) % size;
        let steps = std::iter::successors(Some(1), |step| Some(step * 2));
        let steps = steps.take_while(|&step| step < size && place & step == 0);
        let mut behind: Vec<Rank> = steps.map(|step| place + step).collect();
        behind.retain(|&behind| behind < size);
        let before = (place > 0).then(|| at(place & (place - 1)));
        (before, behind.into_iter().rev().map(at).collect())
    }

    /// Rank 0 hears each rank. Where they wait for its answer, it `tells` those that have come that it lives.
    fn await_all(
        &self,
        meeting: Meeting,
        mine: &[u8],
        tells: bool,
    ) -> Result<AwaitedRanks, TransportError> {
        let (any, bytes_max) = (self.world.any_process(), meeting.bytes_max(self.world.size()));
        let interval = signs_of_life::interval(self.limit);
        let mut awaited = AwaitedRanks::new(self.world.size(), mine);
        let mut unnoted = Duration::ZERO;
        while let Some(silence) = awaited.longest_silence().filter(|&one| one < self.limit) {
            let wait = interval.min(self.limit - silence);
            if let Some((from, bytes)) = self.receive(&any, meeting, (wait, bytes_max))? {
                awaited.take(from, bytes);
                continue;
            }
            awaited.pass(wait, &signs_of_life::taken(&any));
            if tells {
                signs_of_life::give(self.world, &awaited.come());
            }
            unnoted += wait;
            if unnoted >= NOTE_EVERY {
                unnoted = Duration::ZERO;
                awaited.notes(meeting.name(), self.limit).iter().for_each(|note| (self.note)(note));
            }
        }
        Ok(awaited)
    }

    /// A message of `from`, which may be late as long as that rank says that it lives. Those that wait for this one are
    /// told the same.
    fn await_from(
        &self,
        from: Rank,
        meeting: Meeting,
        bytes_max: c_int,
        waiting: &[Rank],
    ) -> Result<Vec<u8>, TransportError> {
        let (source, limit) = (self.world.process_at_rank(from), self.limit * OTHERS_WAIT);
        let mut silence = Duration::ZERO;
        while silence < limit {
            let wait = signs_of_life::interval(self.limit).min(limit - silence);
            if let Some((_, bytes)) = self.receive(&source, meeting, (wait, bytes_max))? {
                return Ok(bytes);
            }
            silence += wait;
            if !signs_of_life::taken(&source).is_empty() {
                silence = Duration::ZERO;
            }
            signs_of_life::give(self.world, waiting);
        }
        Err(TransportError::Silent(NodeId(u32::try_from(from).unwrap_or_default())))
    }

    // MPI may send a long message only when its receiver looks, and that may work for long before.
    fn send(&self, to: Rank, meeting: Meeting, bytes: &[u8]) {
        let waited_for = format!("rank {to} to take a message ({})", meeting.name());
        let limited = || watchdog::limit(waited_for.clone(), self.limit * OTHERS_WAIT);
        let (receiver, mut limit, mut rest) =
            (self.world.process_at_rank(to), limited(), REST_FIRST);
        request::scope(|scope| {
            let mut sent = receiver.immediate_send_with_tag(scope, bytes, meeting.tag());
            while let Err(unsent) = sent.test() {
                sent = unsent;
                if !signs_of_life::taken(&receiver).is_empty() {
                    drop(std::mem::replace(&mut limit, limited()));
                }
                thread::park_timeout(rest);
                rest = (2 * rest).min(REST);
            }
        });
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
