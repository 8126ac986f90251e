//! A rank that works for long before it comes where others wait for it tells them meanwhile that it lives.
//!
//! How long it reads and hashes follows from its disk, and no limit fits that. So who waits counts from the last sign
//! of life.

use std::ffi::c_int;
use std::panic::resume_unwind;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use crossbeam::channel::{RecvTimeoutError, bounded};
use mpi::point_to_point::{Destination as _, MatchedReceiveVec as _, Source};
use mpi::topology::{Communicator as _, Rank, SimpleCommunicator};

use crate::spawn;

// Beside the tags of meetings. A sign that nobody waited for is heard by the next wait, and does no harm there.
const TAG: c_int = 332;

// How many signs come within the silence that others allow, at least: a busy machine may delay several.
const SIGNS: u32 = 8;

// The longest time between two signs. Those that wait pass them on, and note for whom they wait.
const INTERVAL_MAX: Duration = Duration::from_secs(30);

/// How often a rank gives a sign of life to others that wait `limit` for it.
pub(super) fn interval(limit: Duration) -> Duration {
    (limit / SIGNS).clamp(Duration::from_millis(1), INTERVAL_MAX)
}

/// Tells ranks that this one lives.
// Without bytes a message leaves at once, whether its receiver looks or not.
pub(super) fn give(world: &SimpleCommunicator, ranks: &[Rank]) {
    for &rank in ranks {
        world.process_at_rank(rank).send_with_tag(&[0_u8; 0][..], TAG);
    }
}

/// The ranks of which signs have come.
pub(super) fn taken(source: &impl Source) -> Vec<Rank> {
    let mut ranks = Vec::new();
    while let Some(probed) = source.immediate_matched_probe_with_tag(TAG) {
        ranks.push(probed.1.source_rank());
        let _: (Vec<u8>, _) = probed.matched_receive_vec();
    }
    ranks
}

/// Does `work` on a thread of its own, and calls `meanwhile` every `interval`.
// This way round: only the thread that has begun MPI may give signs.
pub(super) fn beside<T: Send>(
    interval: Duration,
    work: impl FnOnce() -> T + Send,
    mut meanwhile: impl FnMut(),
) -> T {
    let work = Mutex::new(Some(work));
    let take = || work.lock().unwrap_or_else(PoisonError::into_inner).take();
    let (end, ended) = bounded::<()>(0);
    let worked = thread::scope(|scope| {
        let started = spawn::start_scoped(scope, "to work while others wait", move || {
            let worked = take().map(|work| work());
            drop(end);
            worked
        });
        // Without a thread it is done here, and nobody is told.
        let Ok(worker) = started else { return None };
        while ended.recv_timeout(interval) == Err(RecvTimeoutError::Timeout) {
            meanwhile();
        }
        worker.join().unwrap_or_else(|panic| resume_unwind(panic))
    });
    worked.unwrap_or_else(|| take().expect("no thread took it")())
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::spawn::tests::starve;

    #[test]
    fn signs_are_given_until_the_work_is_done() {
        let (told, hears) = bounded(1);
        let work = || hears.iter().take(3).count();
        // Full: it was told already.
        let worked = beside(Duration::from_millis(1), work, || _ = told.try_send(()));
        assert_eq!(worked, 3);
    }

    #[test]
    fn without_a_thread_the_work_is_done_all_the_same() {
        starve(0);
        let worked = beside(Duration::from_millis(1), || 7, || panic!("nobody is told"));
        assert_eq!(worked, 7);
    }
}
