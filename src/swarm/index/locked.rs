//! One map behind one mutex: a handout has the whole index to itself.

use std::sync::{Mutex, MutexGuard};

use rustc_hash::FxHashMap;

use super::copies::PlainCopies;
use super::{FileSwarm, OpenIndex, SwarmIndex};
use crate::manifest::FileId;

type LockedMap = FxHashMap<FileId, FileSwarm<PlainCopies>>;

/// A map behind a mutex, which is held for a whole handout.
// Taking it for every look-up would be slower, with one thread and with several: look-ups follow each
// other closely.
#[derive(Debug, Default)]
pub struct LockedIndex {
    map: Mutex<LockedMap>,
}

impl LockedIndex {
    /// Enters a file.
    pub fn insert(&mut self, file: FileId, swarm: FileSwarm<PlainCopies>) {
        let map = self.map.get_mut().expect("nobody panicked with the index open");
        map.insert(file, swarm);
    }
}

impl SwarmIndex for LockedIndex {
    type Copies = PlainCopies;
    type Open<'a> = MutexGuard<'a, LockedMap>;

    fn open(&self) -> MutexGuard<'_, LockedMap> {
        self.map.lock().expect("nobody panicked with the index open")
    }
}

impl OpenIndex for MutexGuard<'_, LockedMap> {
    type Copies = PlainCopies;

    fn look<T>(&self, file: FileId, look: impl FnOnce(&FileSwarm<PlainCopies>) -> T) -> T {
        look(self.get(&file).expect("every numbered file was registered"))
    }
}
