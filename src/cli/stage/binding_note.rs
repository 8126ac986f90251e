//! A note where the launcher gives a rank few cores.

use std::fs;

use crate::metrics::cores::{Cores, WORKERS_MAX};

/// What this rank was given, where that is less than the machine has.
pub(super) fn binding_note(cores: &Cores, ranks_here: usize, has_links: bool) -> Option<String> {
    let online = fs::read_to_string("/sys/devices/system/cpu/online").ok()?;
    let bounds = online.trim().split(',').map(|range| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        Some(last.parse::<usize>().ok()?.checked_sub(first.parse().ok()?)? + 1)
    });
    let online: usize = bounds.sum::<Option<usize>>()?;
    let mine = cores.count();
    (has_links && ranks_here == 1 && mine < online && mine < WORKERS_MAX).then(|| {
        format!(
            "note: bound to {mine} of {online} cores, which limits hashing and writing: see --bind-to none \
             of mpirun, --cpus-per-task of srun"
        )
    })
}
