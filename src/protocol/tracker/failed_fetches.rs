//! The dispatcher's part in what peers could not fetch: grants end, and a holder that sends corrupt segments is
//! avoided.

use super::dispatcher::Dispatcher;
use crate::config::CORRUPT_SEGMENTS_MAX;
use crate::manifest::NodeId;
use crate::protocol::{Ask, FailedFetch, FetchFailure};
use crate::time::Timestamp;

impl Dispatcher {
    /// A peer could not fetch a segment from the holder it was sent to.
    pub(super) fn take_back(&mut self, peer: NodeId, failed: &FailedFetch) {
        if self.take_read_back(peer, failed) {
            return;
        }
        let &FailedFetch { segment, holder, failure, .. } = failed;
        let account = &mut self.peers[peer.index()].account;
        // Only what was granted counts, so that no peer can accuse a holder that it was not sent to.
        let Some(grant) = account.take_grant(segment, Some(holder)) else { return };
        self.grants -= 1;
        self.unchanged = false;
        self.service.swarm.give_back(segment, grant.holder);
        match failure {
            FetchFailure::Corrupt => {
                account.exclude(segment, holder);
                let corrupt_counts = &mut self.corrupt_counts[holder.index()];
                *corrupt_counts += 1;
                let requests = self.service.swarm.counters().load(holder).requests;
                // A quarter: a holder that sent thousands of segments and a few corrupt ones, as
                // a faulty link makes them, stays useful. One that corrupts every segment is over
                // it at once.
                let often = u64::from(*corrupt_counts) * 4 >= requests;
                if *corrupt_counts >= CORRUPT_SEGMENTS_MAX && often && self.others_can_serve(holder)
                {
                    self.swarm().ban(holder);
                    self.read_again();
                }
            }
            FetchFailure::Unservable => account.exclude(segment, holder),
            FetchFailure::Unreadable
            | FetchFailure::Busy
            | FetchFailure::TimedOut
            | FetchFailure::Gone => {}
        }
    }

    /// Whether every file has an owner beside `holder` that is not avoided: the last one of a file never is.
    fn others_can_serve(&self, holder: NodeId) -> bool {
        // What a source of parts has, others may lack.
        let late = self.roster().late.as_ref().filter(|late| late.has_parts());
        if late.is_some_and(|late| late.sources.contains(&holder)) {
            return false;
        }
        let is_other = |owner: &NodeId| *owner != holder && !self.service.swarm.is_banned(*owner);
        let has_other =
            |owners: &[NodeId]| !owners.contains(&holder) || owners.iter().any(is_other);
        self.roster().files.iter().all(|file| !file.wanted || has_other(&file.owners))
    }

    // Takes back grants that the peer does not know of: it still asks for these segments long after
    // the handout, so the handout was lost.
    pub(super) fn recover(&mut self, now: Timestamp, peer: NodeId, ask: &Ask) {
        if ask.end_game {
            return;
        }
        // Half of the time after which a peer repeats itself at the latest: an ask that was repeated for so long is
        // late enough, while one that crossed the handout on its way is not.
        let patience = self.config.ask_patience / 2;
        let account = &mut self.peers[peer.index()].account;
        account.grants.retain(|grant| {
            // What it is to read is repeated instead.
            let is_read = grant.holder == peer;
            let lost = now.since(grant.at) > patience && ask.shows(grant.segment) && !is_read;
            if lost {
                self.grants -= 1;
                self.unchanged = false;
                self.service.swarm.give_back(grant.segment, grant.holder);
            }
            !lost
        });
    }
}
