//! Which segments neighbours have and lack: tables of bits, with a row for each neighbour.
//!
//! Every message of a neighbour sets bits of its row, and every offer looks for the last bit of some rows. So the rows
//! lie side by side, and an offer passes those without a bit by one number each.

use super::neighbour_view::Bits;

#[derive(Debug)]
pub(super) struct NeighbourSegments {
    /// How many bits a row has: whole words.
    row: usize,
    /// By neighbour and segment: whether it has it, or it is on its way there.
    held: Bits,
    /// By neighbour and segment: whether it has said that it does not want it.
    left_out: Bits,
    /// By neighbour and the order in which this node got them: what it lacks of those.
    lacks: Bits,
    /// By neighbour: its row of `lacks` has no bit from this word on.
    lacks_end: Vec<u32>,
}

impl NeighbourSegments {
    pub(super) fn new(neighbours: usize, segments: usize) -> Self {
        let row = segments.next_multiple_of(64);
        Self {
            row,
            held: Bits::new(neighbours * row),
            left_out: Bits::new(neighbours * row),
            lacks: Bits::new(neighbours * row),
            lacks_end: vec![0; neighbours],
        }
    }

    /// Whether it needs no offer: it has it or gets it, or does not want it.
    pub(super) fn covers(&self, place: usize, segment: usize) -> bool {
        let at = place * self.row + segment;
        self.held.has(at) || self.left_out.has(at)
    }

    /// Whether it has it or gets it, as far as it has said.
    pub(super) fn holds(&self, place: usize, segment: usize) -> bool {
        let at = place * self.row + segment;
        self.held.has(at) && !self.left_out.has(at)
    }

    pub(super) fn set_held(&mut self, place: usize, segment: usize, is_held: bool) {
        self.held.set(place * self.row + segment, is_held);
    }

    pub(super) fn set_left_out(&mut self, place: usize, segment: usize, is_left_out: bool) {
        self.left_out.set(place * self.row + segment, is_left_out);
    }

    /// Whether it lacks the segment that this node got as number `at`.
    pub(super) fn set_lacks(&mut self, place: usize, at: usize, is_lacked: bool) {
        self.lacks.set(place * self.row + at, is_lacked);
        if is_lacked {
            let end = &mut self.lacks_end[place];
            *end = (*end).max(u32::try_from(at / 64 + 1).unwrap_or(u32::MAX));
        }
    }

    /// Whether it lacks any, as far as one number tells.
    pub(super) fn may_lack(&self, place: usize) -> bool {
        self.lacks_end[place] > 0
    }

    /// The last that this node got of those that it lacks.
    pub(super) fn last_lacked(&mut self, place: usize) -> Option<usize> {
        let (first, end) = (place * self.row / 64, &mut self.lacks_end[place]);
        while let Some(last) = end.checked_sub(1) {
            let word = self.lacks.words()[first + last as usize];
            if word != 0 {
                return Some(last as usize * 64 + word.ilog2() as usize);
            }
            *end = last;
        }
        None
    }

    /// The last of those that are not in a set.
    pub(super) fn last_lacked_outside(&mut self, place: usize, set: &Bits) -> Option<usize> {
        self.last_lacked(place)?;
        let (first, end) = (place * self.row / 64, self.lacks_end[place] as usize);
        (0..end).rev().find_map(|at| {
            let word = self.lacks.words()[first + at] & !set.words()[at];
            (word != 0).then(|| at * 64 + word.ilog2() as usize)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_apart_and_the_last_bit_is_found_as_bits_come_and_go() {
        let mut known = NeighbourSegments::new(3, 130);
        // A linear congruential generator.
        let mut state = 7_usize;
        let mut expected = [[false; 130]; 3];
        let mut even = Bits::new(130);
        (0..130).step_by(2).for_each(|at| even.set(at, true));
        for _ in 0..5000 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let (place, at, is_lacked) = ((state >> 60) % 3, (state >> 40) % 130, state >> 62 == 0);
            known.set_lacks(place, at, is_lacked);
            known.set_held(place, at, !is_lacked);
            expected[place][at] = is_lacked;
            for (place, row) in expected.iter().enumerate() {
                assert_eq!(known.last_lacked(place), row.iter().rposition(|&lacked| lacked));
                let odd = (0..130).rev().find(|&at| row[at] && at % 2 == 1);
                assert_eq!(known.last_lacked_outside(place, &even), odd);
            }
            assert_eq!(known.covers(place, at), !is_lacked);
        }
    }

    #[test]
    fn what_a_neighbour_does_not_want_it_needs_no_more_and_does_not_bring() {
        let mut known = NeighbourSegments::new(2, 130);
        known.set_left_out(1, 70, true);
        assert!(known.covers(1, 70) && !known.holds(1, 70) && !known.covers(0, 70));
        known.set_held(1, 70, true);
        assert!(known.covers(1, 70) && !known.holds(1, 70));
        known.set_left_out(1, 70, false);
        assert!(known.covers(1, 70) && known.holds(1, 70));
    }
}
