//! How much memory can be had without swapping?

use std::fs;

/// Bytes that all processes of this machine together can allocate now; `u64::MAX` where the system
/// does not say.
// `MemAvailable` (Linux 3.14, proc(5)) counts the page cache that can be dropped, which `MemFree`
// leaves out: on a machine that has read files, `MemFree` says far too little.
pub(super) fn available_bytes() -> u64 {
    let meminfo = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
    let kibibytes = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kibibytes.map_or(u64::MAX, |kibibytes| kibibytes * 1024)
}
