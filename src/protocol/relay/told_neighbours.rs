//! What a node tells its neighbours of what it has: those that listen hear it at once, a silent one when it speaks
//! again, and a lost one never.
//!
//! What is sent to a process that has stopped stays in the memory of its sender.

use super::holder_choice::HolderChoice;
use super::neighbour_view::NeighbourView;
use crate::config::BLOCKS_MAX;
use crate::manifest::{Block, NodeId};
use crate::protocol::{Message, Outbox};

impl HolderChoice {
    /// Tells the neighbours what is here or on its way, in the blocks that pass `filter`.
    pub(in crate::protocol) fn tell_held(
        &mut self,
        filter: impl Fn(&Block) -> bool,
        out: &mut Outbox,
    ) {
        let words = (0..).zip(self.covered.words());
        let blocks = words.map(|(index, &bits)| Block { index, bits }).filter(filter);
        for blocks in blocks.collect::<Vec<_>>().chunks(BLOCKS_MAX) {
            self.tell_all(None, Message::Holds { blocks: blocks.iter().copied().collect() }, out);
        }
    }

    /// Tells the neighbours but for `except` that a segment is coming, or what blocks have.
    pub(super) fn tell_all(&mut self, except: Option<NodeId>, message: Message, out: &mut Outbox) {
        let is_other = |one: &NeighbourView| Some(one.id) != except;
        for one in self.neighbours.iter_mut().filter(|one| one.is_silent && is_other(one)) {
            one.miss(&message);
        }
        let listening = self.neighbours.iter().filter(|one| !one.is_silent && is_other(one));
        out.send_all(listening.map(|one| one.id), message);
    }

    /// A neighbour that was silent speaks: it hears what it has missed.
    pub(super) fn tell_missed(&mut self, place: usize, out: &mut Outbox) {
        let missed = std::mem::take(&mut self.neighbours[place].missed);
        let block = |index: u32| Block { index, bits: self.covered.words()[index as usize] };
        let blocks: Vec<Block> = missed.into_iter().map(block).collect();
        for blocks in blocks.chunks(BLOCKS_MAX) {
            let blocks = blocks.iter().copied().collect();
            out.send(self.neighbours[place].id, Message::Holds { blocks });
        }
    }
}

impl NeighbourView {
    /// It is not told this now.
    fn miss(&mut self, message: &Message) {
        if self.is_lost {
            return;
        }
        if let &Message::Coming { segment } = message {
            self.missed.insert(Block::of(segment).index);
        } else if let Message::Holds { blocks } = message {
            self.missed.extend(blocks.iter().map(|block| block.index));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::SegmentId;
    use crate::protocol::Output;
    use crate::protocol::relay::upload_timer::RelayPatience;
    use crate::time::Timestamp;
    use std::time::Duration;

    /// Who is told of what it holds, and of which blocks.
    fn told(out: &mut Outbox) -> Vec<(u32, Vec<u32>)> {
        let mut told = Vec::new();
        while let Some(output) = out.take() {
            let Output::Send { to, message } = output else { continue };
            if let Message::Coming { segment } = out.read(message) {
                told.push((to.0, vec![Block::of(*segment).index]));
            } else if let Message::Holds { blocks } = out.read(message) {
                told.push((to.0, blocks.iter().map(|block| block.index).collect()));
            }
        }
        told
    }

    #[test]
    fn a_lost_neighbour_hears_nothing_and_a_silent_one_what_it_missed_once() {
        let [listening, silent, lost] = [2, 3, 4].map(NodeId);
        let second = Duration::from_secs(1);
        let patience =
            RelayPatience { initial: second, least: second, registration: second, silence: second };
        let now = Timestamp::default();
        let mut out = Outbox::default();
        let mut choice = HolderChoice::new(NodeId(1), &[listening, silent, lost], 200, 7, patience);
        choice.begin(now, &mut out);
        assert!(choice.lose(now, lost, &mut out).is_empty());
        choice.give_up(1, &mut out);
        assert_eq!(told(&mut out), [], "it has nothing");
        let offer = |segment| Message::Offer { segment: SegmentId(segment) };
        for segment in [70, 130, 131] {
            choice.handle(now, listening, &offer(segment), &mut out).expect("it may");
        }
        // Who offers one knows that it is coming.
        assert_eq!(told(&mut out), []);
        choice.handle(now, silent, &Message::Alive, &mut out).expect("it may");
        assert_eq!(told(&mut out), [(silent.0, vec![1, 2])]);
        choice.handle(now, silent, &Message::Alive, &mut out).expect("it may");
        assert_eq!(told(&mut out), []);
        choice.handle(now, listening, &offer(5), &mut out).expect("it may");
        assert_eq!(told(&mut out), [(silent.0, vec![0])]);
    }
}
