//! What Ctrl-C and SIGTERM do to a stage or a measurement.
//!
//! Both may be killed at any moment and lose nothing. The journal of a stage says what was written, and nothing has
//! a final name before it is whole; a measurement appends a record after each run. So a signal has nothing to
//! clean up, and ends the process at once, in a call of MPI too; this only says how to go on.

use std::fs;
use std::io;
use std::sync::OnceLock;
use std::thread;

use nix::sys::signal::{SigSet, Signal, raise};

use super::launcher::Launcher;
use super::show as terminal;

/// What becomes of a stage.
// The journal of the destination knows the rest.
pub(super) const RUN_AGAIN: &str = "what is there is kept; run the same command again";

/// How to go on, once there is something to keep.
static TO_GO_ON: OnceLock<String> = OnceLock::new();

/// From here on there is something to keep; `how` says what becomes of it, and how to go on.
pub(super) fn begin(how: impl Into<String>) {
    TO_GO_ON.get_or_init(|| how.into());
}

/// Says what becomes of the work when the process is interrupted. Called before any other thread starts: only
/// threads that start later leave the signals to the one that waits for them.
pub(super) fn install() -> io::Result<()> {
    let signals: SigSet = [Signal::SIGINT, Signal::SIGTERM]
        .into_iter()
        .filter(|&signal| !is_ignored(signal))
        .collect();
    signals.thread_block()?;
    // One rank says it for all: launchers and batch systems signal every rank.
    let speaks = Launcher::of_this_process().and_then(|launcher| launcher.rank).unwrap_or(0) == 0;
    thread::Builder::new().name("signals".to_owned()).spawn(move || wait(signals, speaks)).map(drop)
}

fn wait(signals: SigSet, speaks: bool) {
    let Ok(signal) = signals.wait() else { return };
    if let Some(how) = TO_GO_ON.get().filter(|_| speaks) {
        terminal::end_bar();
        terminal::error(&format!("interrupted ({signal}): {how}"));
    }
    // The default action ends the process, and shells and launchers see that it was a signal.
    if signals.thread_unblock().and_then(|()| raise(signal)).is_err() {
        std::process::abort();
    }
}

/// Whether whoever started the process wants it to ignore a signal: `nohup`, and shells for what they run in
/// the background. A signal that is blocked waits all the same (signal(7)), so that it has to be left out.
fn is_ignored(signal: Signal) -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|digits| u64::from_str_radix(digits.trim(), 16).ok());
    mask.is_some_and(|mask| mask & (1 << (signal as u32 - 1)) != 0)
}
