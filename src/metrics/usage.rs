//! What did a run cost this process? Processor time, context switches, and peak memory.

use std::fs;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeVal;
use rustix::time::{ClockId, clock_gettime};

/// What this process used, and programs that it ran: since its start, or between two moments.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Processor time in user mode, over all threads.
    pub user: Duration,
    /// Processor time in the kernel, over all threads.
    pub system: Duration,
    /// How often a thread gave its core away because it waited.
    pub voluntary_switches: u64,
    /// How often the kernel took a thread off its core.
    pub involuntary_switches: u64,
}

impl Usage {
    /// Processor time in user mode and in the kernel.
    pub fn processor_time(&self) -> Duration {
        self.user + self.system
    }

    /// What this process has used until now, and the programs that it ran and waited for; all zeros where the system
    /// doesn't tell.
    pub fn now() -> Self {
        let [own, others] = [UsageWho::RUSAGE_SELF, UsageWho::RUSAGE_CHILDREN].map(Self::of);
        Self {
            user: own.user + others.user,
            system: own.system + others.system,
            voluntary_switches: own.voluntary_switches + others.voluntary_switches,
            involuntary_switches: own.involuntary_switches + others.involuntary_switches,
        }
    }

    // `getrusage` and not `/proc`: one system call, all threads, those that have ended included.
    fn of(who: UsageWho) -> Self {
        let Ok(usage) = getrusage(who) else {
            return Self::default();
        };
        let count = |count: std::ffi::c_long| u64::try_from(count).unwrap_or(0);
        Self {
            user: duration(usage.user_time()),
            system: duration(usage.system_time()),
            voluntary_switches: count(usage.voluntary_context_switches()),
            involuntary_switches: count(usage.involuntary_context_switches()),
        }
    }

    /// What was used since `earlier`.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let switches = |now: u64, then| now.saturating_sub(then);
        Self {
            user: self.user.saturating_sub(earlier.user),
            system: self.system.saturating_sub(earlier.system),
            voluntary_switches: switches(self.voluntary_switches, earlier.voluntary_switches),
            involuntary_switches: switches(self.involuntary_switches, earlier.involuntary_switches),
        }
    }
}

fn duration(time: TimeVal) -> Duration {
    let seconds = u64::try_from(time.tv_sec()).unwrap_or(0);
    Duration::from_secs(seconds) + Duration::from_micros(u64::try_from(time.tv_usec()).unwrap_or(0))
}

/// Processor time that this thread has used.
pub fn thread_time() -> Duration {
    let used = clock_gettime(ClockId::ThreadCPUTime);
    let seconds = Duration::from_secs(u64::try_from(used.tv_sec).unwrap_or(0));
    seconds + Duration::from_nanos(u64::try_from(used.tv_nsec).unwrap_or(0))
}

/// Reads the usage of this process when a run begins, when its swarm opens, and when it ends. Clones
/// share their readings.
// The run begins when its payload has been made, which costs processor time and is no part of it. The
// makespan begins when the swarm opens, and so does the usage that stands beside it.
#[derive(Clone, Debug, Default)]
pub struct Meter {
    readings: Arc<Mutex<Readings>>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Readings {
    began: Option<Usage>,
    opened: Option<Usage>,
    ended: Option<Usage>,
}

impl Meter {
    /// The run begins. The last call counts.
    pub fn begin(&self) {
        self.readings().began = Some(Usage::now());
    }

    /// The swarm opens. The first call counts.
    pub fn open(&self) {
        self.readings().opened.get_or_insert_with(Usage::now);
    }

    /// The run ends, and something else follows. The first call counts.
    pub fn end(&self) {
        self.readings().ended.get_or_insert_with(Usage::now);
    }

    /// What was used since the swarm opened, or since the run began if no swarm opened, until the run
    /// ended or until now; none if it never began.
    pub fn used(&self) -> Option<Usage> {
        let Readings { began, opened, ended } = *self.readings();
        let since = opened.or(began)?;
        Some(ended.unwrap_or_else(Usage::now).since(&since))
    }

    /// What was used from the beginning of the run until the swarm opened.
    pub fn made_ready(&self) -> Usage {
        let Readings { began, opened, .. } = *self.readings();
        opened.zip(began).map_or_else(Usage::default, |(opened, began)| opened.since(&began))
    }

    fn readings(&self) -> MutexGuard<'_, Readings> {
        // Readings are plain values: a thread that panicked can't have left them half-changed.
        self.readings.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Resets the peak of this process's memory. Returns whether the system allowed it: Linux does.
pub fn reset_peak_rss() -> bool {
    // 5 resets `VmHWM` (proc(5)).
    fs::write("/proc/self/clear_refs", "5").is_ok()
}

/// The most memory that this process held in RAM since [`reset_peak_rss`] or its start, bytes;
/// none where the system doesn't tell.
pub fn peak_rss_bytes() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim_end().parse().ok()?;
    Some(kilobytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_costs_processor_time() {
        let meter = Meter::default();
        assert_eq!(meter.used(), None);
        meter.clone().begin();
        let mut digest = crate::verify::Digest::of(&[0; 1024]);
        let used = loop {
            (0..1000).for_each(|_| digest = crate::verify::Digest::of(&digest.0));
            let used = meter.used().expect("a clone began");
            // A kernel that counts by ticks may put the first ones down to itself.
            if used.user >= Duration::from_millis(5) {
                break used;
            }
        };
        assert_eq!(meter.made_ready(), Usage::default());
        meter.open();
        assert!(meter.made_ready().user >= used.user);
        assert!(meter.used().expect("it began").user < used.user);
        meter.end();
        let ended = meter.used().expect("it began");
        (0..1000).for_each(|_| digest = crate::verify::Digest::of(&digest.0));
        meter.end();
        assert_eq!(meter.used(), Some(ended), "what follows the end counts nowhere");
        assert_eq!(Usage::default().since(&used), Usage::default());
    }

    #[test]
    fn the_peak_of_memory_can_be_forgotten() {
        if !reset_peak_rss() {
            println!("skipped: the system keeps the peak");
            return;
        }
        let before = peak_rss_bytes().expect("Linux tells");
        let block = std::hint::black_box(vec![1_u8; 32 << 20]);
        let during = peak_rss_bytes().expect("Linux tells");
        assert!(during >= before + (24 << 20), "{before} then {during} bytes");
        drop(block);
        assert!(reset_peak_rss());
        let after = peak_rss_bytes().expect("Linux tells");
        assert!(after + (24 << 20) <= during, "{during} then {after} bytes");
    }
}
