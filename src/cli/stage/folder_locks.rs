//! The locks of all destinations of a run.
//!
//! Two runs that have several folders in common must not wait for each other. So a run waits only for the
//! first folder that it lacks, in an order that is the same for all runs, and holds none behind it meanwhile
//! (Havender, Avoiding Deadlock in Multitasking Systems, 1968).

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::time::Duration;

use super::super::show as terminal;
use super::node_report::NodeReport;
use crate::tree::{DestinationError, LockedFolder};

/// Where a folder stands in the order: its inode, host and device.
// The inode first: of these it alone is the same on all hosts that share a folder.
pub(super) type LockPlace = (u64, String, u64);

/// The first folder that another run holds, if any, and whether a rank has waited for one in vain.
pub(super) type LockState = (Option<LockPlace>, bool);

/// The folders of one rank.
pub(super) struct FolderLocks {
    mkdir: bool,
    /// In order.
    wanted: Vec<(LockPlace, PathBuf)>,
    held: Vec<(LockPlace, LockedFolder)>,
}

impl FolderLocks {
    pub(super) fn of(dirs: &[PathBuf], host: &str, mkdir: bool) -> Self {
        let place = |dir: &PathBuf| {
            if mkdir {
                // What can't be made can't be locked either: that says why.
                let _ = fs::create_dir_all(dir);
            }
            fs::metadata(dir).map_or_else(
                |_| LockPlace::default(),
                |found| (found.ino(), host.to_owned(), found.dev()),
            )
        };
        let mut wanted: Vec<_> = dirs.iter().map(|dir| (place(dir), dir.clone())).collect();
        wanted.sort();
        // One folder may be written in several ways; its lock is taken once.
        wanted.dedup_by(|(later, _), (earlier, _)| later == earlier && later.0 != 0);
        Self { mkdir, wanted, held: Vec::new() }
    }

    /// Takes all locks. `agree` is told the first folder that another run holds, and whether this rank has waited
    /// in vain; it returns the first of those of all ranks, and whether any has.
    pub(super) fn take<E>(
        mut self,
        limit: Duration,
        report: &mut NodeReport,
        mut agree: impl FnMut(LockState) -> Result<LockState, E>,
    ) -> Result<Vec<LockedFolder>, E> {
        let mut in_vain = false;
        loop {
            let mine = self.attempt(report);
            let (first, any_in_vain) = agree((mine.clone(), in_vain))?;
            let Some(first) = first.filter(|_| !any_in_vain) else {
                // The limit is for all folders together.
                for (_, dir) in self.wanted {
                    report.fail(in_use(dir, limit));
                }
                return Ok(self.held.into_iter().map(|(_, folder)| folder).collect());
            };
            let behind: Vec<_> = self.held.extract_if(.., |(place, _)| *place > first).collect();
            self.wanted.extend(behind.iter().map(|(place, one)| (place.clone(), one.dir().into())));
            self.wanted.sort();
            drop(behind);
            if mine == Some(first) {
                in_vain = !self.wait(limit, report);
            }
            // A meeting: no rank may take again what it gave back before the first one is taken.
            agree((None, in_vain))?;
        }
    }

    /// Takes what is free. Returns the first that is not.
    fn attempt(&mut self, report: &mut NodeReport) -> Option<LockPlace> {
        for (place, dir) in std::mem::take(&mut self.wanted) {
            match LockedFolder::take(&dir, self.mkdir, Duration::ZERO, &mut |_| {}) {
                Ok(folder) => self.held.push((place, folder)),
                Err(DestinationError::InUse { .. }) => self.wanted.push((place, dir)),
                Err(error) => report.fail(error.to_string()),
            }
        }
        self.wanted.first().map(|(place, _)| place.clone())
    }

    /// Waits for the first that is lacking; without it this rank does not write there. Returns whether the time
    /// was enough.
    fn wait(&mut self, limit: Duration, report: &mut NodeReport) -> bool {
        let (place, dir) = self.wanted.remove(0);
        let mut waiting = |text: &str| terminal::note(text);
        match LockedFolder::take(&dir, self.mkdir, limit, &mut waiting) {
            Ok(folder) => self.held.push((place, folder)),
            Err(error) => {
                report.fail(error.to_string());
                return !matches!(error, DestinationError::InUse { .. });
            }
        }
        true
    }
}

fn in_use(dir: PathBuf, limit: Duration) -> String {
    let (holder, seconds) = (String::new(), limit.as_secs());
    DestinationError::InUse { dir, holder, seconds }.to_string()
}
