//! Says how far the listing of a source is.

use std::thread;
use std::time::Duration;

use crossbeam::channel::{RecvTimeoutError, bounded};

use super::super::stage_args::{ProgressFormat, StageArgs};
use super::terminal;
use crate::spawn;
use crate::sync::{AtomicU64, Ordering};
use crate::time::Clock;

// How often a line shows progress where there is no terminal.
// As while segments move: a job log stays short.
const LINE_EVERY: Duration = Duration::from_secs(10);

// How often a program is told.
// As while segments move.
const SAMPLE_EVERY: Duration = Duration::from_secs(1);

// How often a terminal shows it.
// A person sees five steps a second as motion.
const STEP_EVERY: Duration = Duration::from_millis(200);

/// Lists, and shows meanwhile how much was found.
pub(super) fn show_while<T: Send>(args: &StageArgs, list: impl FnOnce(&AtomicU64) -> T) -> T {
    if args.shared.quiet {
        return list(&AtomicU64::new(0));
    }
    if args.progress == ProgressFormat::Json {
        let clock = Clock::start();
        return watch(SAMPLE_EVERY, list, |found| terminal::note(&json(&clock, found)));
    }
    if !terminal::has_lines(false) {
        let bar = terminal::bar(false, "listing: {human_pos} files and folders so far");
        let listed = watch(STEP_EVERY, list, |found| bar.set_position(found));
        bar.finish_and_clear();
        return listed;
    }
    let clock = Clock::start();
    watch(LINE_EVERY, list, |found| terminal::note(&line(clock.now().0 / 1_000_000_000, found)))
}

fn json(clock: &Clock, found: u64) -> String {
    let elapsed_s = clock.now().0 as f64 / 1e9;
    serde_json::json!({ "schema": 1, "phase": "listing", "elapsed_s": elapsed_s, "entries": found })
        .to_string()
}

fn line(seconds: u64, found: u64) -> String {
    format!("{seconds} s: listing: {found} files and folders so far")
}

/// Calls `show` now and then until `list` returns.
fn watch<T>(
    every: Duration,
    list: impl FnOnce(&AtomicU64) -> T,
    mut show: impl FnMut(u64) + Send,
) -> T {
    let found = AtomicU64::new(0);
    let (end, ended) = bounded::<()>(0);
    thread::scope(|scope| {
        let look = || {
            while ended.recv_timeout(every) == Err(RecvTimeoutError::Timeout) {
                // ORDERING: Relaxed; a statistic, publishes nothing.
                show(found.load(Ordering::Relaxed));
            }
        };
        // Without a thread nothing is shown; the listing is as good.
        drop(spawn::start_scoped(scope, "to show progress", look));
        let listed = list(&found);
        drop(end);
        listed
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_found_is_shown_until_the_list_is_there() {
        let (told, hears) = bounded(1);
        let list = |found: &AtomicU64| {
            // ORDERING: Relaxed; a statistic, publishes nothing.
            found.store(12_345, Ordering::Relaxed);
            hears.iter().find(|&shown| shown == 12_345)
        };
        // Full: it was told already.
        let show = |found| _ = told.try_send(found);
        let shown = watch(Duration::from_millis(1), list, show);
        assert_eq!(shown, Some(12_345));
        assert_eq!(line(20, 12_345), "20 s: listing: 12345 files and folders so far");
    }
}
