//! Whatever a peer is sent, in whatever order, it neither panics nor has done what can't be done.
#![no_main]

mod common;

use std::collections::HashSet;
use std::time::Duration;

use common::{Bytes, LENGTHS, NODES, config, late_registration, part_of, registration};
use libfuzzer_sys::fuzz_target;
use mpiswarm::config::MESSAGE_BYTES_MAX;
use mpiswarm::manifest::{FileId, NodeId, SegmentId};
use mpiswarm::protocol::registration::{Catalogue, Listing};
use mpiswarm::protocol::{
    CheckResult, Input, Message, Node, Outbox, Output, Peer, RequestedSegment, codec,
};
use mpiswarm::time::Timestamp;
use mpiswarm::verify::Digest;

/// The peer, and what its driver would keep.
struct Run {
    peer: Peer,
    out: Outbox,
    now: Timestamp,
    buffer: Vec<u8>,
    expected: Vec<(NodeId, SegmentId)>,
    checking: Vec<(NodeId, SegmentId)>,
    reading: Vec<SegmentId>,
    serving: Vec<(NodeId, SegmentId)>,
    publishing: Vec<FileId>,
    published: HashSet<FileId>,
    reserves: bool,
    finished: bool,
}

impl Run {
    /// Returns whether the run goes on.
    fn feed(&mut self, input: Input<'_>) -> bool {
        if self.peer.handle(self.now, input, &mut self.out).is_err() {
            return false;
        }
        while let Some(output) = self.out.take() {
            match output {
                Output::Send { to, message } => {
                    assert!(to.0 < NODES && to.0 != 3, "it sends to {to}");
                    let message = self.out.read(message);
                    codec::encode(message, &mut self.buffer).expect("messages have a bound");
                }
                Output::Reserve => self.reserves = true,
                Output::Expect { from, segment } => {
                    assert!(segment.0 < LENGTHS.iter().sum() && !self.peer.holds(segment));
                    assert!(!self.expected.contains(&(from, segment)), "a slot has one owner");
                    self.expected.push((from, segment));
                    assert!(self.expected.len() + self.checking.len() <= 128);
                }
                Output::Read { segment } => {
                    assert!(!self.reading.contains(&segment), "it is being read");
                    self.reading.push(segment);
                }
                Output::Serve { to, requested: RequestedSegment { segment, posted, .. } } => {
                    assert!(self.peer.holds(segment), "it serves what it has");
                    assert!((15..=31).contains(&posted.fragment_log2), "it sends what can be cut");
                    self.serving.push((to, segment));
                }
                // What was read is dropped: it is another segment than others have read.
                Output::Forget { from: NodeId(3), .. } => {}
                Output::Forget { from, segment } => {
                    self.expected.retain(|&other| other != (from, segment));
                }
                Output::Check { from, segment, .. } => self.checking.push((from, segment)),
                Output::Publish { file } => {
                    assert!(self.published.insert(file), "a file is published once");
                    self.publishing.push(file);
                }
                Output::Finish => {
                    assert!(!self.finished, "it finishes once");
                    self.finished = true;
                }
            }
        }
        !self.finished
    }

    fn hear(&mut self, from: NodeId, message: &Message) -> bool {
        self.feed(Input::Message { from, message })
    }
}

fn take<T>(list: &mut Vec<T>, byte: u8) -> Option<T> {
    (!list.is_empty()).then(|| list.swap_remove(usize::from(byte) % list.len()))
}

fuzz_target!(|bytes: &[u8]| {
    let mut bytes = Bytes(bytes);
    let mode = bytes.byte();
    // Rank 3 wants both files, or is a source of a late one; its tracker's catalogue may be wrong.
    let is_late = mode & 0x80 != 0;
    let registration = if is_late { late_registration(2) } else { registration(3) };
    let peer = Peer::new((NodeId(3), NODES), &registration, config(mode >> 1));
    let mut run = Run {
        peer,
        out: Outbox::default(),
        now: Timestamp(0),
        buffer: vec![0; MESSAGE_BYTES_MAX],
        expected: Vec::new(),
        checking: Vec::new(),
        reading: Vec::new(),
        serving: Vec::new(),
        publishing: Vec::new(),
        published: HashSet::new(),
        reserves: false,
        finished: false,
    };
    let mut goes_on = run.feed(Input::Start);
    let mut sequence = 0;
    if mode & 1 == 0 {
        let listing = |file, first, count| Some(Listing { file: FileId(file), first, count });
        let segments = LENGTHS.iter().sum();
        let wanted = if is_late {
            vec![listing(0, 0, segments)]
        } else {
            vec![listing(0, 0, LENGTHS[0]), listing(1, LENGTHS[0], LENGTHS[1])]
        };
        let catalogue = Catalogue { segments, owned: Vec::new(), wanted };
        goes_on &= run.hear(NodeId(0), &Message::Registered { index: 0 })
            && run.hear(NodeId(0), &Message::Described(part_of(&catalogue)))
            && run.feed(Input::Reserved { problem: None })
            && run.hear(NodeId(0), &Message::Open);
        assert!(goes_on, "an open swarm");
        run.reserves = false;
    }
    while goes_on && !bytes.is_empty() {
        goes_on = match bytes.byte() % 16 {
            0 => {
                run.now = run.now + Duration::from_millis(u64::from(bytes.byte()) * 50);
                let due = run.peer.deadline().is_some_and(|deadline| deadline <= run.now);
                !due || run.feed(Input::Deadline)
            }
            1 => {
                let (from, len) = (bytes.node(), usize::from(bytes.byte()).min(bytes.0.len()));
                let (raw, rest) = bytes.0.split_at(len);
                bytes.0 = rest;
                codec::decode(raw).map_or(true, |message| run.hear(from, &message))
            }
            2..=4 => match take(&mut run.expected, bytes.byte()) {
                Some((from, segment)) => run.feed(Input::Arrived { from, segment }),
                None => true,
            },
            5..=7 => match take(&mut run.checking, bytes.byte()) {
                Some((from, segment)) => {
                    let is_valid = bytes.byte() % 4 != 0;
                    let verdict = if is_valid { CheckResult::Valid } else { CheckResult::Corrupt };
                    run.feed(Input::Checked { from, segment, verdict })
                }
                None => true,
            },
            8 => match take(&mut run.serving, bytes.byte()) {
                Some((to, segment)) if bytes.byte() % 8 == 1 => {
                    run.feed(Input::Unservable { to, segment })
                }
                Some((to, segment)) => run.feed(Input::Sent { to, segment }),
                None => true,
            },
            11 => match take(&mut run.reading, bytes.byte()) {
                Some(segment) => {
                    let digest = Digest([bytes.byte() % 2 + 7; 32]);
                    let is_read = bytes.byte() % 4 != 0;
                    let result = if is_read { Ok(digest) } else { Err("no such file".into()) };
                    run.feed(Input::Read { segment, result })
                }
                None => run.feed(Input::Room { slots: usize::from(bytes.byte()) }),
            },
            12 if bytes.byte() == 1 => run.feed(Input::Broken { problem: "no space".into() }),
            9 => match take(&mut run.publishing, bytes.byte()) {
                Some(file) => {
                    let problem = (bytes.byte() == 0).then(|| "no space".into());
                    run.feed(Input::Published { file, problem })
                }
                None => true,
            },
            10 if std::mem::take(&mut run.reserves) => run.feed(Input::Reserved { problem: None }),
            byte => {
                let from = if byte < 13 { NodeId(0) } else { bytes.node() };
                let message = bytes.message(&mut sequence);
                run.hear(from, &message)
            }
        };
    }
});
