//! Whatever ranks say to the tracker, in whatever order, it neither panics nor sends what can't be sent.
#![no_main]

mod common;

use std::time::Duration;

use common::{Bytes, NODES, config, late_registration, part_of, registration};
use libfuzzer_sys::fuzz_target;
use mpiswarm::config::MESSAGE_BYTES_MAX;
use mpiswarm::manifest::NodeId;
use mpiswarm::protocol::{Input, Message, Node, Outbox, Output, Tracker, codec};
use mpiswarm::time::Timestamp;

struct Run {
    tracker: Tracker,
    out: Outbox,
    now: Timestamp,
    buffer: Vec<u8>,
    finished: bool,
}

impl Run {
    /// Returns whether the run goes on.
    fn feed(&mut self, input: Input<'_>) -> bool {
        if self.tracker.handle(self.now, input, &mut self.out).is_err() {
            return false;
        }
        while let Some(output) = self.out.take() {
            match output {
                Output::Send { to, message } => {
                    assert!((1..NODES).contains(&to.0), "it sends to {to}");
                    let message = self.out.read(message);
                    codec::encode(message, &mut self.buffer).expect("messages have a bound");
                }
                Output::Finish => {
                    assert!(!self.finished, "it finishes once");
                    self.finished = true;
                }
                other => panic!("a tracker has no {other:?} done"),
            }
        }
        !self.finished
    }

    fn hear(&mut self, from: NodeId, message: &Message) -> bool {
        self.feed(Input::Message { from, message })
    }
}

fuzz_target!(|bytes: &[u8]| {
    let mut bytes = Bytes(bytes);
    let mode = bytes.byte();
    let tracker = Tracker::new(NODES, config(mode >> 1), 1);
    let (out, now) = (Outbox::default(), Timestamp(0));
    let buffer = vec![0; MESSAGE_BYTES_MAX];
    let mut run = Run { tracker, out, now, buffer, finished: false };
    let mut goes_on = run.feed(Input::Start);
    if mode & 1 == 0 {
        for rank in 1..NODES {
            let is_late = mode & 0x80 != 0;
            let registration = if is_late { late_registration(rank) } else { registration(rank) };
            goes_on &= run.hear(NodeId(rank), &Message::Register(part_of(&registration)));
        }
        for rank in 1..NODES {
            goes_on &= run.hear(NodeId(rank), &Message::Ready { problem: None });
        }
        assert!(goes_on && run.tracker.outcome().opened.is_some(), "an open swarm");
    }
    let mut sequences = [0; NODES as usize + 1];
    while goes_on && !bytes.is_empty() {
        goes_on = match bytes.byte() % 16 {
            0 => {
                run.now = run.now + Duration::from_millis(u64::from(bytes.byte()) * 300);
                let due = run.tracker.deadline().is_some_and(|deadline| deadline <= run.now);
                !due || run.feed(Input::Deadline)
            }
            1 => run.feed(Input::Idle),
            2 => {
                let node = NodeId(1 + u32::from(bytes.byte()) % (NODES - 1));
                run.feed(Input::Lost { node })
            }
            3 => {
                let (from, len) = (bytes.node(), usize::from(bytes.byte()).min(bytes.0.len()));
                let (raw, rest) = bytes.0.split_at(len);
                bytes.0 = rest;
                codec::decode(raw).map_or(true, |message| run.hear(from, &message))
            }
            // Mostly a rank of the run, so that a sequence goes on for long.
            _ => {
                let from = 1 + u32::from(bytes.byte()) % (NODES - 1);
                let message = bytes.message(&mut sequences[from as usize]);
                run.hear(NodeId(from), &message)
            }
        };
    }
    run.tracker.progress();
});
