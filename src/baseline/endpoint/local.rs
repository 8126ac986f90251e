//! Messages between threads of one process: a locked mailbox for each node and tag.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::Duration;

use super::{Endpoint, Received, Tag};
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
    waiting: VecDeque<Received>,
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

    /// Whether every message was received.
    pub(in crate::baseline) fn are_empty(&self) -> bool {
        self.mailboxes.iter().flatten().all(|mailbox| mailbox.lock().waiting.is_empty())
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

    /// Waits for the first message of a node, or of any.
    fn take(
        &self,
        from: Option<NodeId>,
        limit: Duration,
    ) -> Result<Option<Received>, TransportError> {
        let fits = |&(sender, _): &Received| from.is_none_or(|from| sender == from);
        let lacks = |state: &mut MailboxState| !state.closed && !state.waiting.iter().any(fits);
        let woken = self.changed.wait_timeout_while(self.lock(), limit, lacks);
        let (mut state, _) = woken.expect("nothing that holds the lock panics");
        match state.waiting.iter().position(fits) {
            Some(position) => Ok(state.waiting.remove(position)),
            None if state.closed => Err(TransportError::BrokenOff),
            None => Ok(None),
        }
    }
}

impl Endpoint for LocalEndpoint<'_> {
    fn nodes(&self) -> u32 {
        u32::try_from(self.mailboxes.mailboxes.len()).expect("nodes are numbered in 32 bits")
    }

    fn send(&self, to: NodeId, tag: Tag, bytes: &[u8]) -> Result<(), TransportError> {
        let message = bytes.to_vec();
        let mailbox = &self.mailboxes.mailboxes[to.index()][tag as usize];
        let mut state = mailbox.lock();
        if state.closed {
            return Err(TransportError::BrokenOff);
        }
        state.waiting.push_back((self.node, message));
        drop(state);
        // A condition variable for each mailbox and kind: a notification wakes the one that waits for it.
        // One thread at a time reads a mailbox.
        mailbox.changed.notify_one();
        Ok(())
    }

    fn receive(
        &self,
        from: Option<NodeId>,
        tag: Tag,
        limit: Duration,
    ) -> Result<Option<Received>, TransportError> {
        self.mailboxes.mailboxes[self.node.index()][tag as usize].take(from, limit)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::thread;

    use super::*;

    const SOON: Duration = Duration::from_millis(10);

    #[test]
    fn messages_arrive_in_order_and_by_sender() {
        let mailboxes = Mailboxes::new(3);
        let [first, second, reader] = [0, 1, 2].map(|node| mailboxes.endpoint(NodeId(node)));
        let to = NodeId(2);
        first.send(to, Tag::Segment, b"a").expect("it is open");
        second.send(to, Tag::Segment, b"b").expect("it is open");
        first.send(to, Tag::Segment, b"c").expect("it is open");
        first.send(to, Tag::Request, b"d").expect("it is open");
        let next = |from, tag| reader.receive(from, tag, SOON).expect("it is open");
        assert_eq!(next(Some(NodeId(1)), Tag::Segment), Some((NodeId(1), b"b".to_vec())));
        assert_eq!(next(None, Tag::Segment), Some((NodeId(0), b"a".to_vec())));
        assert_eq!(next(Some(NodeId(1)), Tag::Segment), None);
        assert_eq!(next(Some(NodeId(0)), Tag::Segment), Some((NodeId(0), b"c".to_vec())));
        assert_eq!(next(None, Tag::Request), Some((NodeId(0), b"d".to_vec())));
    }

    #[test]
    fn who_waits_is_woken_by_a_message_and_by_the_end() {
        let mailboxes = Mailboxes::new(2);
        thread::scope(|scope| {
            let reader = mailboxes.endpoint(NodeId(1));
            let both = scope.spawn(move || {
                let long = Duration::from_secs(600);
                [(); 2].map(|()| reader.receive(None, Tag::ToTracker, long).is_ok())
            });
            let writer = mailboxes.endpoint(NodeId(0));
            writer.send(NodeId(1), Tag::ToTracker, b"a").expect("it is open");
            mailboxes.close();
            assert_eq!(both.join().expect("it does not panic"), [true, false]);
            assert!(writer.send(NodeId(1), Tag::ToTracker, b"b").is_err(), "it is closed");
        });
    }
}
