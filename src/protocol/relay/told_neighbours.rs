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
        let blocks = self.blocks().map(|index| self.held_of(index)).filter(filter).collect();
        self.tell_blocks(blocks, false, out);
    }

    /// Tells the neighbours what it neither has nor wants.
    pub(in crate::protocol) fn tell_left_out(&mut self, out: &mut Outbox) {
        let blocks = self.blocks().map(|index| self.left_out_of(index));
        let blocks = blocks.filter(|block| block.bits != 0).collect();
        self.tell_blocks(blocks, true, out);
    }

    fn tell_blocks(&mut self, blocks: Vec<Block>, left_out: bool, out: &mut Outbox) {
        for blocks in blocks.chunks(BLOCKS_MAX) {
            let blocks = blocks.iter().copied().collect();
            self.tell_all(None, Message::Holds { blocks, left_out }, out);
        }
    }

    /// The number of each block.
    fn blocks(&self) -> impl Iterator<Item = u32> + use<> {
        0..u32::try_from(self.covered.words().len()).unwrap_or(u32::MAX)
    }

    /// What is here or on its way, of a block.
    pub(super) fn held_of(&self, index: u32) -> Block {
        let [covered, left_out] =
            [&self.covered, &self.left_out.0].map(|bits| bits.words()[index as usize]);
        Block { index, bits: covered & !left_out }
    }

    fn left_out_of(&self, index: u32) -> Block {
        Block { index, bits: self.left_out.0.words()[index as usize] }
    }

    /// Tells the neighbours but for `except` that a segment is coming, or what blocks have.
    pub(super) fn tell_all(&mut self, except: Option<NodeId>, message: Message, out: &mut Outbox) {
        let is_other = |one: &NeighbourView| Some(one.id) != except;
        let silent =
            (0..).zip(&self.neighbours).filter(|(_, one)| one.is_silent() && is_other(one));
        for (place, _) in silent.filter(|(_, one)| !one.is_lost()) {
            self.missed.entry(place).or_default().extend(blocks_of(&message));
        }
        let listening = self.neighbours.iter().filter(|one| !one.is_silent() && is_other(one));
        out.send_all(listening.map(|one| one.id), message);
    }

    /// A neighbour that was silent speaks: it hears what it has missed.
    pub(super) fn tell_missed(&mut self, place: usize, out: &mut Outbox) {
        let missed = self.missed.remove(&place).unwrap_or_default();
        let held = missed.iter().map(|&index| self.held_of(index)).collect();
        let left_out = missed.iter().map(|&index| self.left_out_of(index));
        let left_out = left_out.filter(|block| block.bits != 0).collect();
        let both: [(Vec<Block>, bool); 2] = [(held, false), (left_out, true)];
        for (blocks, left_out) in &both {
            for blocks in blocks.chunks(BLOCKS_MAX) {
                let (blocks, left_out) = (blocks.iter().copied().collect(), *left_out);
                out.send(self.neighbours[place].id, Message::Holds { blocks, left_out });
            }
        }
    }
}

/// The blocks that a message tells something of.
fn blocks_of(message: &Message) -> impl Iterator<Item = u32> + '_ {
    let coming = if let Message::Coming { segment } = message { Some(segment) } else { None };
    let blocks = if let Message::Holds { blocks, .. } = message { &blocks[..] } else { &[] };
    let coming = coming.map(|&segment| Block::of(segment).index);
    coming.into_iter().chain(blocks.iter().map(|block| block.index))
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
            } else if let Message::Holds { blocks, .. } = out.read(message) {
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
