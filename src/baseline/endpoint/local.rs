//! Messages between threads of one process: a locked mailbox for each node and tag.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard};

use super::{Endpoint, Length, Tag};
use crate::manifest::NodeId;
use crate::transport::TransportError;

#[derive(Debug)]
pub(in crate::baseline) struct Mailboxes {
    mailboxes: Vec<[TagMailbox; Tag::COUNT]>,
}

/// One mailbox. Its queue is short without a bound: senders wait for answers before they go on.
#[derive(Debug, Default)]
struct TagMailbox {
    state: Mutex<MailboxState>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct MailboxState {
    waiting: VecDeque<(NodeId, Vec<u8>)>,
    /// A node failed: no message follows.
    closed: bool,
}

#[derive(Debug)]
pub(in crate::baseline) struct LocalEndpoint<'a> {
    mailboxes: &'a Mailboxes,
    node: NodeId,
}

impl Mailboxes {
    pub(in crate::baseline) fn new(nodes: u32) -> Self {
        Self { mailboxes: (0..nodes).map(|_| Default::default()).collect() }
    }

    pub(in crate::baseline) fn endpoint(&self, node: NodeId) -> LocalEndpoint<'_> {
        LocalEndpoint { mailboxes: self, node }
    }

    /// Ends every wait, now and later, with an error: the run has failed.
    pub(in crate::baseline) fn close(&self) {
        for mailbox in self.mailboxes.iter().flatten() {
            mailbox.lock().closed = true;
            mailbox.changed.notify_all();
        }
    }
}

impl TagMailbox {
    fn lock(&self) -> MutexGuard<'_, MailboxState> {
        self.state.lock().expect("nothing that holds the lock panics")
    }

    /// Waits for the first message that `fits`.
    fn take(&self, fits: impl Fn(NodeId) -> bool) -> Result<(NodeId, Vec<u8>), TransportError> {
        let mut state = self.lock();
        loop {
            if let Some(position) = state.waiting.iter().position(|&(from, _)| fits(from)) {
                return Ok(state.waiting.remove(position).expect("it was found there"));
            }
            if state.closed {
                return Err(TransportError::BrokenOff);
            }
            state = self.changed.wait(state).expect("nothing that holds the lock panics");
        }
    }
}

impl LocalEndpoint<'_> {
    fn mailbox(&self, node: NodeId, tag: Tag) -> &TagMailbox {
        &self.mailboxes.mailboxes[node.index()][tag as usize]
    }
}

impl Endpoint for LocalEndpoint<'_> {
    fn send(&self, to: NodeId, tag: Tag, bytes: &[u8]) -> Result<(), TransportError> {
        let message = bytes.to_vec();
        let mailbox = self.mailbox(to, tag);
        mailbox.lock().waiting.push_back((self.node, message));
        // A condition variable for each mailbox and kind: a notification wakes the one that waits for it.
        // One thread at a time reads a mailbox.
        mailbox.changed.notify_one();
        Ok(())
    }

    fn receive(&self, tag: Tag, _: Length) -> Result<(NodeId, Vec<u8>), TransportError> {
        self.mailbox(self.node, tag).take(|_| true)
    }

    fn receive_from(&self, from: NodeId, tag: Tag, _: Length) -> Result<Vec<u8>, TransportError> {
        Ok(self.mailbox(self.node, tag).take(|sender| sender == from)?.1)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn messages_arrive_in_order_and_by_sender() {
        let mailboxes = Mailboxes::new(3);
        let [first, second, reader] = [0, 1, 2].map(|node| mailboxes.endpoint(NodeId(node)));
        let to = NodeId(2);
        first.send(to, Tag::Segment, b"a").expect("it is open");
        second.send(to, Tag::Segment, b"b").expect("it is open");
        first.send(to, Tag::Segment, b"c").expect("it is open");
        first.send(to, Tag::Request, b"d").expect("it is open");
        assert_eq!(
            reader.receive_from(NodeId(1), Tag::Segment, Length::Any).expect("it is there"),
            b"b"
        );
        let next = reader.receive(Tag::Segment, Length::Any).expect("it is there");
        assert_eq!(next, (NodeId(0), b"a".to_vec()));
        assert_eq!(
            reader.receive_from(NodeId(0), Tag::Segment, Length::Any).expect("it is there"),
            b"c"
        );
        assert_eq!(reader.receive(Tag::Request, Length::Any).expect("it is there").1, b"d");
    }

    #[test]
    fn who_waits_is_woken_by_a_message_and_by_the_end() {
        let mailboxes = Mailboxes::new(2);
        thread::scope(|scope| {
            let reader = mailboxes.endpoint(NodeId(1));
            let both = scope.spawn(move || {
                (
                    reader.receive(Tag::ToTracker, Length::Any).is_ok(),
                    reader.receive(Tag::ToTracker, Length::Any).is_ok(),
                )
            });
            mailboxes
                .endpoint(NodeId(0))
                .send(NodeId(1), Tag::ToTracker, b"a")
                .expect("it is open");
            mailboxes.close();
            assert_eq!(both.join().expect("it does not panic"), (true, false));
        });
    }
}
