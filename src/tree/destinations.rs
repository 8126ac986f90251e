//! Several destinations of one node: a segment is read and hashed once, and written to all.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;

use super::{
    Destination, DestinationError, PartSegments, Published, Room, SegmentDigest, Shortage,
    TreeSource,
};
use crate::manifest::{SegmentId, SegmentSet};
use crate::spawn;

/// Destinations of one manifest. One that fails drops out, and the others go on.
#[derive(Debug)]
pub struct Destinations {
    all: Vec<Member>,
    /// Which segments of the tree are theirs; none where all are.
    part: Option<PartSegments>,
}

#[derive(Debug)]
struct Member {
    destination: Destination,
    failed: Mutex<Option<DestinationError>>,
}

/// The place of a destination that shares a segment with the source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClonedAt(usize);

/// The place of a destination that has other bytes of a segment than were written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CorruptAt(usize);

/// What became of a segment that was to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentWritten {
    /// Whether any destination is left that works.
    pub goes_on: bool,
    /// Bytes at destinations that were not written: they share blocks.
    pub cloned_bytes: u64,
}

impl Member {
    fn failed(&self) -> MutexGuard<'_, Option<DestinationError>> {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does something with a destination that has not failed; none where it has, or does now.
    fn attempt<T>(
        &self,
        act: impl FnOnce(&Destination) -> Result<T, DestinationError>,
    ) -> Option<T> {
        if self.failed().is_some() {
            return None;
        }
        match act(&self.destination) {
            Ok(done) => Some(done),
            Err(cause) => {
                // The first error is the one that matters.
                self.failed().get_or_insert(cause);
                None
            }
        }
    }
}

impl Destinations {
    /// Takes destinations that were opened for one manifest.
    pub fn new(destinations: Vec<Destination>) -> Self {
        let member = |destination| Member { destination, failed: Mutex::new(None) };
        Self { all: destinations.into_iter().map(member).collect(), part: None }
    }

    /// Says that they were opened for a part of a tree. From now on segments have the numbers of the tree.
    #[must_use]
    pub fn of_part(self, part: Option<PartSegments>) -> Self {
        Self { part, ..self }
    }

    /// The number of a segment in the destinations.
    fn here(&self, segment: SegmentId) -> Option<SegmentId> {
        self.part.as_ref().map_or(Some(segment), |part| part.in_part(segment))
    }

    /// Those of the tree's segments that they do not take: all, where there is no destination; a set made for no
    /// segment, where they take all.
    pub fn unwanted(&self, segments: u32) -> SegmentSet {
        if self.is_empty() {
            return SegmentSet::all_of(segments);
        }
        self.part.as_ref().map_or_else(SegmentSet::default, PartSegments::others)
    }

    /// How many there are, failed or not.
    pub fn count(&self) -> usize {
        self.all.len()
    }

    /// Whether there is none, failed or not.
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Those that have not failed.
    pub fn working(&self) -> impl Iterator<Item = &Destination> {
        self.all.iter().filter(|member| member.failed().is_none()).map(|member| &member.destination)
    }

    /// The errors of those that failed; each says where.
    pub fn failures(self) -> Vec<DestinationError> {
        let error =
            |member: Member| member.failed.into_inner().unwrap_or_else(PoisonError::into_inner);
        self.all.into_iter().filter_map(error).collect()
    }

    /// What the failed ones say.
    pub fn messages(&self) -> Vec<String> {
        let failed =
            self.all.iter().filter_map(|member| member.failed().as_ref().map(ToString::to_string));
        failed.collect()
    }

    /// What at least one of them lacks.
    pub fn missing(&self) -> SegmentSet {
        let mut missing = SegmentSet::default();
        for (index, destination) in self.working().enumerate() {
            if index == 0 {
                missing = destination.missing();
            } else {
                missing.add_all(&destination.missing());
            }
        }
        match &self.part {
            Some(part) => part.in_tree(&missing),
            None => missing,
        }
    }

    /// The digests of a segment, where any of them knows it.
    pub fn known(&self, segment: SegmentId) -> Option<SegmentDigest> {
        let segment = self.here(segment)?;
        self.working().find_map(|destination| destination.known(segment))
    }

    /// What each needs of its file system; none where that can't be found out, or it has failed. `source` is one
    /// from which alone everything comes that is missing: what can share its blocks needs nothing.
    pub fn rooms(&self, source: Option<&TreeSource>) -> Vec<Option<Room>> {
        let room = |destination: &Destination| {
            let clones = source.zip(destination.cloning_device());
            let cloned = clones.map(|(source, device)| source.parts_on(device));
            let cloned = cloned.map(|cloned| match &self.part {
                Some(part) => part.all_in_part(&cloned),
                None => cloned,
            });
            destination.room(&cloned.unwrap_or_default())
        };
        self.all.iter().map(|member| member.attempt(room)).collect()
    }

    /// Removes those that have failed or lack room; returns why.
    pub fn remove_without_room(&mut self, shortages: &[Option<Shortage>]) -> Vec<DestinationError> {
        let (mut shortages, mut errors) = (shortages.iter().cloned(), Vec::new());
        self.all.retain_mut(|member| {
            let no_room = shortages.next().flatten().map(|shortage| {
                let dir = member.destination.dir().to_owned();
                DestinationError::NoRoom { dir, shortage }
            });
            let failed = member.failed.get_mut().unwrap_or_else(PoisonError::into_inner).take();
            let error = failed.or(no_room);
            let stays = error.is_none();
            errors.extend(error);
            stays
        });
        errors
    }

    /// Has the first destination that can share a segment with the source, and reads it as it lies there into
    /// the front of `out`. None where it is to be read from the source.
    pub fn clone_from(
        &self,
        source: &TreeSource,
        segment: SegmentId,
        out: &mut [u8],
    ) -> Option<ClonedAt> {
        let here = self.here(segment)?;
        let mut members = self.all.iter().enumerate().filter(|(_, one)| one.failed().is_none());
        members.find_map(|(place, member)| {
            let cloned = source
                .lend(segment, |file| member.destination.clone_from(here, file, out))
                // Whoever reads it then is told why the source can't be read.
                .ok()??;
            cloned.is_ok().then_some(ClonedAt(place))
        })
    }

    /// Writes a segment to those that take and lack it, but for what shares blocks with the destination that
    /// has it already.
    pub fn write(
        &self,
        segment: SegmentId,
        payload: &[u8],
        digest: &SegmentDigest,
        cloned: Option<ClonedAt>,
    ) -> SegmentWritten {
        let here = self.here(segment);
        let mut cloned_bytes = 0;
        // Threads that write neighbouring segments begin at different disks, and do not wait in turn for each.
        let count = self.all.len();
        let first = segment.index() % count.max(1);
        let members = self.all.iter().enumerate().cycle().skip(first).take(count);
        let written = members.filter_map(|(place, member)| {
            member.attempt(|destination| {
                let Some(segment) = here else { return Ok(()) };
                let is_shared = cloned.is_some_and(|ClonedAt(holder)| {
                    let holder_is = &self.all[holder].destination;
                    place == holder || destination.clone_beside(segment, holder_is).is_ok()
                });
                if !is_shared {
                    return destination.write(segment, payload, digest);
                }
                cloned_bytes += payload.len() as u64;
                destination.note_written(segment, digest)
            })
        });
        let goes_on = written.count() > 0;
        SegmentWritten { goes_on, cloned_bytes }
    }

    /// Reads a segment from the first that has the right bytes of it; none where none has. Those that were
    /// written, and have others, are told in `corrupt`.
    pub fn read(
        &self,
        segment: SegmentId,
        out: &mut [u8],
        mut is_right: impl FnMut(&[u8]) -> bool,
        corrupt: &mut Vec<CorruptAt>,
    ) -> Option<usize> {
        let segment = self.here(segment)?;
        for (place, member) in self.all.iter().enumerate() {
            if member.destination.lacks(segment) {
                continue;
            }
            let was_read = member.destination.known(segment).is_some();
            let read = match was_read {
                true => member.attempt(|holder| holder.read(segment, out)),
                // Kept by size and time: that it can't be read, as with a mode that does not allow it, is nothing
                // that a stage would have found out.
                false => member.destination.read(segment, out).ok(),
            };
            match read {
                Some(read) if is_right(&out[..read]) => return Some(read),
                Some(_) if was_read => corrupt.push(CorruptAt(place)),
                Some(_) | None => {}
            }
        }
        None
    }

    /// Writes a segment once more where it was read back corrupt. Without the right bytes, or where it is too late,
    /// the destination fails.
    pub fn mend(&self, segment: SegmentId, corrupt: &[CorruptAt], right: Option<&[u8]>) {
        let Some(segment) = self.here(segment) else { return };
        for &CorruptAt(place) in corrupt {
            self.all[place].attempt(|destination| {
                let payload = right.ok_or_else(|| destination.give_up(segment))?;
                destination.rewrite(segment, payload)
            });
        }
    }

    /// Publishes all that work, side by side, since most of the time each waits for its disk: what each did, or
    /// none where it has failed.
    pub fn publish(&self) -> Vec<Option<Published>> {
        let publish = |member: &Member| member.attempt(Destination::publish);
        let Some((first, others)) = self.all.split_first() else { return Vec::new() };
        thread::scope(|scope| {
            let start = |member| {
                let begun = spawn::start_scoped(scope, "to publish", move || publish(member));
                (member, begun)
            };
            let begun: Vec<_> = others.iter().map(start).collect();
            let mut published = vec![publish(first)];
            published.extend(begun.into_iter().map(|(member, begun)| match begun {
                Ok(thread) => thread.join().expect("an error of a disk is no panic"),
                // Without a thread its turn comes now.
                Err(_) => publish(member),
            }));
            published
        })
    }
}
