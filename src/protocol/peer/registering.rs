//! A peer on its way into the swarm: it registers, reads its catalogue and reserves its slots.

use super::{Peer, PeerPhase};
use crate::config::Decider;
use crate::protocol::message::shortened;
use crate::protocol::registration::{Catalogue, NeighbourCatalogue, Outgoing, PartProgress};
use crate::protocol::{Outbox, Output, Part, Violation};
use crate::time::Timestamp;

impl Peer {
    pub(super) fn handle_registered(&mut self, now: Timestamp, index: u32, out: &mut Outbox) {
        let PeerPhase::Registering { part } = self.phase else { return };
        if index != part {
            return;
        }
        if self.registration.part(part).last {
            // The tracker sends the catalogue unasked when all have registered.
            self.registration = Outgoing::default();
            self.phase = PeerPhase::Reading;
            self.said = now;
        } else {
            self.phase = PeerPhase::Registering { part: part + 1 };
            self.say(now, out);
        }
    }

    pub(super) fn handle_described(
        &mut self,
        now: Timestamp,
        part: &Part,
        out: &mut Outbox,
    ) -> Result<(), Violation> {
        let registered = matches!(self.phase, PeerPhase::Registering { part } if self.registration.part(part).last);
        if self.phase != PeerPhase::Reading && !registered {
            return Ok(());
        }
        self.phase = PeerPhase::Reading;
        match self.catalogue.accept(part)? {
            PartProgress::Ignored => {}
            PartProgress::More => self.say(now, out),
            PartProgress::Whole => {
                let catalogue = std::mem::take(&mut self.catalogue);
                let (catalogue, described): (Catalogue, Option<NeighbourCatalogue>) = match self
                    .config
                    .decide
                {
                    Decider::Tracker => (catalogue.open()?, None),
                    Decider::Peers => catalogue.open().map(|(one, other)| (one, Some(other)))?,
                };
                let (owned, wanted) = &self.registered;
                catalogue.check(owned, *wanted, self.config.segments_max)?;
                if let (Some(entry), Some(listing)) =
                    (&self.late, catalogue.wanted.iter().flatten().next())
                    && !entry.fits(listing.count)
                {
                    return Err(Violation::Catalogue);
                }
                self.bounds.segments = catalogue.segments;
                self.listings = catalogue;
                let wanted: Vec<_> = self.listings.wanted.iter().flatten().copied().collect();
                let is_late = self.late.is_some();
                // Now, not at `Open`: another peer may hear `Open` first, and its request come first.
                match (self.late.take(), &wanted[..]) {
                    (Some(entry), &[listing]) => self.fetch.begin_late(listing, &entry),
                    _ => self.fetch.begin(&self.listings.owned, &wanted),
                }
                if let Some(described) = described {
                    self.enter_neighbourhood(described, is_late)?;
                }
                if self.report.broken.is_some() {
                    self.fetch.give_up(now, out);
                    self.stop_exchanging(out);
                }
                self.phase = PeerPhase::Reserving;
                out.push(Output::Reserve);
            }
        }
        Ok(())
    }

    pub(super) fn handle_reserved(
        &mut self,
        now: Timestamp,
        problem: Option<Box<str>>,
        out: &mut Outbox,
    ) {
        if self.phase == PeerPhase::Reserving {
            self.shortage = problem.map(|problem| shortened(&problem).into());
            self.phase = PeerPhase::Waiting;
            self.say(now, out);
        }
    }
}
