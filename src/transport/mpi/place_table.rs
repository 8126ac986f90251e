//! What is under way, by places that are used again.

/// Entries at numbered places. A place is free again when its entry is taken out.
#[derive(Debug)]
pub(super) struct PlaceTable<T> {
    entries: Vec<Option<T>>,
    free: Vec<usize>,
}

impl<T> PlaceTable<T> {
    pub(super) const fn new() -> Self {
        Self { entries: Vec::new(), free: Vec::new() }
    }

    /// The place that the next entry takes.
    pub(super) fn next_place(&self) -> usize {
        self.free.last().copied().unwrap_or(self.entries.len())
    }

    /// Returns the place of the new entry.
    pub(super) fn insert(&mut self, entry: T) -> usize {
        let place = self.next_place();
        if self.free.pop().is_some() {
            self.entries[place] = Some(entry);
        } else {
            self.entries.push(Some(entry));
        }
        place
    }

    pub(super) fn remove(&mut self, place: usize) -> Option<T> {
        let entry = self.entries.get_mut(place)?.take();
        self.free.extend(entry.is_some().then_some(place));
        entry
    }

    pub(super) fn find_mut(&mut self, place: usize) -> Option<&mut T> {
        self.entries.get_mut(place)?.as_mut()
    }

    /// The place of the first entry that fits.
    pub(super) fn position(&self, fits: impl Fn(&T) -> bool) -> Option<usize> {
        self.entries.iter().position(|entry| entry.as_ref().is_some_and(&fits))
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.entries.iter_mut().flatten()
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len() - self.free.len()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_used_again_only_when_it_is_free() {
        let mut table = PlaceTable::new();
        assert_eq!([table.insert('a'), table.insert('b'), table.insert('c')], [0, 1, 2]);
        assert_eq!((table.remove(1), table.remove(1), table.remove(9)), (Some('b'), None, None));
        assert_eq!((table.len(), table.next_place()), (2, 1));
        assert_eq!([table.insert('d'), table.insert('e')], [1, 3]);
        assert_eq!(
            [table.position(|&one| one == 'c'), table.position(|&one| one == 'b')],
            [Some(2), None]
        );
        assert_eq!(table.iter_mut().map(|entry| *entry).collect::<String>(), "adce");
    }
}
