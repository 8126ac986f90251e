//! What several targets need.
#![allow(dead_code, reason = "no target needs all of it")]

use std::fs;
use std::path::{Path, PathBuf};

use mpiswarm::config::{Config, IndexKind};
use mpiswarm::manifest::{Block, FileId, NodeId, SegmentId, SegmentSet};
use mpiswarm::protocol::{
    Ask, CorruptSegment, DoneReport, FailedFetch, FetchFailure, Handout, HandoutEntry, LateEntry,
    Message, OwnedEntry, Part, PostedReceives, ReadSegment, Registration, RequestedSegment,
};
use mpiswarm::verify::Digest;

/// Ranks of the swarm, tracker included.
pub const NODES: u32 = 5;
/// Segments of its two files.
pub const LENGTHS: [u32; 2] = [130, 3];

/// Takes numbers from the front of the bytes; 0 when there are no more.
pub struct Bytes<'a>(pub &'a [u8]);

impl Bytes<'_> {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn byte(&mut self) -> u8 {
        let Some((&first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        first
    }

    /// Mostly a number of the run, rarely any other.
    pub fn number(&mut self, count: u32) -> u32 {
        match self.byte() {
            255 => u32::from_le_bytes([(); 4].map(|()| self.byte())),
            byte => u32::from(byte) % (count + 1),
        }
    }

    pub fn node(&mut self) -> NodeId {
        NodeId(self.number(NODES))
    }

    pub fn segment(&mut self) -> SegmentId {
        SegmentId(self.number(LENGTHS.iter().sum()))
    }

    /// Mostly with receives that can be, rarely with others.
    fn requested(&mut self) -> RequestedSegment {
        let segment = self.segment();
        let posted = match self.byte() {
            255 => PostedReceives {
                tag: u16::from_le_bytes([(); 2].map(|()| self.byte())),
                fragment_log2: self.byte(),
                slot_bytes: u32::from(self.byte()),
            },
            byte => PostedReceives { tag: u16::from(byte), ..PostedReceives::default() },
        };
        RequestedSegment { segment, request: self.number(9), posted }
    }

    pub fn blocks(&mut self) -> impl Iterator<Item = Block> + use<> {
        let count = self.byte() % 4;
        let blocks: Vec<_> = (0..count)
            .map(|_| {
                let index = self.number(3);
                let bits = match self.byte() {
                    0 => u64::from(self.byte()),
                    1 => 0b11111,
                    _ => u64::MAX,
                };
                Block { index, bits }
            })
            .collect();
        blocks.into_iter()
    }

    fn ask(&mut self, sequence: &mut u32) -> Ask {
        *sequence = sequence.saturating_add(u32::from(self.byte() % 3));
        let flags = self.byte();
        let mut ask = Ask {
            sequence: *sequence,
            room: u16::from(self.byte()),
            waits: flags & 1 != 0,
            end_game: flags & 2 != 0,
            known: u16::from(self.byte() % 8),
            blocks: self.blocks().collect(),
            ..Ask::default()
        };
        for _ in 0..self.byte() % 6 {
            ask.verified.push(self.segment());
        }
        for _ in 0..self.byte() % 4 {
            let failure = match self.byte() % 6 {
                0 => FetchFailure::Busy,
                1 => FetchFailure::TimedOut,
                2 => FetchFailure::Corrupt,
                3 => FetchFailure::Unservable,
                4 => FetchFailure::Unreadable,
                _ => FetchFailure::Gone,
            };
            let (segment, holder, said) = (self.segment(), self.node(), *sequence);
            ask.failed.push(FailedFetch { segment, holder, failure, said });
        }
        for _ in 0..self.byte() % 4 {
            ask.read.push(ReadSegment { segment: self.segment(), digest: Digest([7; 32]) });
        }
        ask.problem = (self.byte() == 1).then(|| "no such file".into());
        ask
    }

    fn handout(&mut self, sequence: &mut u32) -> Handout {
        *sequence = sequence.saturating_add(u32::from(self.byte() % 3));
        let flags = self.byte();
        let mut handout = Handout {
            answers: *sequence,
            unobtainable: flags & 1 != 0,
            open: flags & 2 != 0,
            busy: flags & 4 != 0,
            ..Handout::default()
        };
        for _ in 0..self.byte() % 8 {
            let segment = self.segment();
            let holders = (0..self.byte() % 4).map(|_| self.node()).collect();
            handout.entries.push(HandoutEntry { segment, digest: Digest([7; 32]), holders });
        }
        handout
    }

    fn report(&mut self) -> DoneReport {
        let mut report = DoneReport {
            segments: self.number(133),
            files: self.number(2),
            ..DoneReport::default()
        };
        for _ in 0..self.byte() % 3 {
            report.failed_files.push(FileId(self.number(2)));
        }
        for _ in 0..self.byte() % 3 {
            let (segment, holder) = (self.segment(), self.node());
            report.corrupt.push(CorruptSegment { segment, holder, times: 3 });
        }
        if self.byte() % 2 == 1 {
            report.problems.push("\u{1b}no".into());
        }
        report
    }

    fn part(&mut self) -> Part {
        let (index, last) = (self.number(2), self.byte() % 4 != 0);
        let len = usize::from(self.byte()).min(self.0.len());
        let (bytes, rest) = self.0.split_at(len);
        self.0 = rest;
        Part { index, last, bytes: bytes.to_vec() }
    }

    /// A message of any kind; asks and answers are numbered onwards.
    pub fn message(&mut self, sequence: &mut u32) -> Message {
        match self.byte() % 25 {
            0 => Message::Register(self.part()),
            1 => Message::Registered { index: self.number(1) },
            2 => Message::Describe { index: self.number(1) },
            3 => Message::Described(self.part()),
            4 => Message::Ready { problem: (self.byte() == 1).then(|| "no memory".into()) },
            5 => Message::Open,
            6..=8 => Message::Ask(self.ask(sequence)),
            9..=11 => Message::Handout(self.handout(sequence)),
            12 | 13 => Message::Complete { segments: self.number(133) },
            14 => Message::Done(Box::new(self.report())),
            15 => Message::Acknowledged { answers: *sequence, busy: self.byte() % 2 == 1 },
            16 => Message::Lost { node: self.node() },
            17 => Message::Stop,
            18 => Message::Bye,
            19 | 20 => {
                let count = self.byte() % 5;
                Message::Request { segments: (0..count).map(|_| self.requested()).collect() }
            }
            21 => Message::Decline { segment: self.segment(), request: self.number(9) },
            23 => Message::Unservable { segment: self.segment(), request: self.number(9) },
            22 => Message::Withdraw { segment: self.segment(), request: self.number(9) },
            _ => Message::Withdrawn { segment: self.segment(), request: self.number(9) },
        }
    }
}

pub fn entry(file: usize) -> OwnedEntry {
    let segments = LENGTHS[file];
    OwnedEntry {
        name: format!("file{file}").into(),
        hashes: (0..segments).map(|position| format!("{position:08x}\n")).collect(),
        digests: (0..segments).map(|_| Digest([7; 32])).collect(),
    }
}

/// What a rank registers: 1 owns the first file, 2 the second, and all want what they lack.
pub fn registration(rank: u32) -> Registration {
    let owned = match rank {
        1 => vec![entry(0)],
        2 => vec![entry(1)],
        _ => Vec::new(),
    };
    let wants = |file: usize| rank as usize != file + 1;
    let wanted = (0..2).filter(|&file| wants(file)).map(|file| format!("file{file}").into());
    Registration::Ready { owned, wanted: wanted.collect() }
}

/// What a rank registers of a late file: 1 and 2 can read it, and 2 and 3 have parts of it.
pub fn late_registration(rank: u32) -> Registration {
    let count = LENGTHS.iter().sum();
    let mut held = SegmentSet::none_of(count);
    if rank == 2 || rank == 3 {
        (0..count / rank).for_each(|position| drop(held.insert(SegmentId(position))));
    }
    // Every so many-th of its segments.
    let some = |step: u32| {
        let mut set = SegmentSet::none_of(count);
        (0..count).step_by(step as usize).for_each(|at| drop(set.insert(SegmentId(at))));
        set
    };
    let source = (rank < 3).then_some(count);
    let digests = if rank == 1 { vec![(5, Digest([7; 32]))] } else { Vec::new() };
    Registration::Late(LateEntry {
        name: "tree".into(),
        source,
        held,
        unwanted: some(3 + rank),
        lacking: if source.is_some() { some(5 + rank) } else { SegmentSet::default() },
        digests,
    })
}

pub fn part_of(content: &impl serde::Serialize) -> Part {
    let bytes = postcard::to_allocvec(content).expect("plain data");
    Part { index: 0, last: true, bytes }
}

pub fn config(byte: u8) -> Config {
    let base =
        if byte & 1 == 0 { Config::for_segments_of(1 << 20) } else { Config::over_links(32 << 10) };
    let index = match byte >> 1 & 3 {
        0 => IndexKind::Mutex,
        1 => IndexKind::DashMap,
        _ => IndexKind::Atomic,
    };
    Config { index, segments_max: 1 << 20, ..base }
}

/// A folder of this process; `TMPDIR=/dev/shm` spares the disk.
pub fn folder() -> PathBuf {
    let dir = std::env::temp_dir().join(format!("mpiswarm-fuzz-{}", std::process::id()));
    fs::create_dir_all(&dir).expect("a folder can be made");
    dir
}

pub fn write(dir: &Path, name: &str, bytes: &[u8]) {
    fs::write(dir.join(name), bytes).expect("a small file");
}

/// An error is something to show, on one line.
pub fn assert_shown(result: Result<(), String>) {
    if let Err(error) = result {
        assert!(!error.is_empty());
    }
}
