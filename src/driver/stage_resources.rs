//! Memory and threads of a rank that stages, where nobody chose them.

use super::stage::{slots_least, slots_to_compress};
use crate::config::{Compress, Config};
use crate::metrics::cores::{CoreShare, WORKERS_MAX};
use crate::store::available_bytes;

/// Memory of all ranks of a host for segments, bytes, at most.
// A gigabyte holds many more segments than are under way; a quarter leaves the rest to the page cache, which
// staging needs as much.
const MEMORY_MOST: u64 = 1 << 30;

/// Memory of one rank for segments, bytes, where that holds `SLOTS_ENOUGH` of them.
// A segment that left it is read again from the page cache, and what was never used costs its first touch. A virtual
// machine whose free memory went back to its host touches 0.4 GB/s: there 256 MiB for each of eight ranks took 2.4 s
// longer than with memory at hand, 64 MiB 0.3 s.
const MEMORY_OF_RANK: u64 = 64 << 20;

/// How many segments a rank has memory for, where the limits of its host allow it.
// Several times what is under way, also with the largest segments.
const SLOTS_ENOUGH: u64 = 128;

/// Threads of a rank that read, hash and write, at least.
// Two: one hashes while the other waits for a disk.
const WORKERS_LEAST: usize = 2;

/// Memory for segments of a rank, bytes, where so many share a host.
pub fn default_memory(ranks_here: usize, segment_bytes: u64) -> u64 {
    let most = MEMORY_MOST.min(available_bytes() / 4) / ranks_here.max(1) as u64;
    let enough = MEMORY_OF_RANK.max(SLOTS_ENOUGH * segment_bytes);
    enough.min(most)
}

/// Threads of a rank that read, hash and write: its share of the cores, less the one that talks to other ranks; one
/// rank alone talks to nobody.
// A thread that waits for its disk needs no core. So there is one for each destination, and one that hashes
// meanwhile.
pub fn default_workers(share: CoreShare, is_alone: bool, destinations: usize) -> usize {
    let spare = if is_alone { share.cores() } else { share.workers() };
    spare.max(destinations.saturating_add(1)).clamp(WORKERS_LEAST, WORKERS_MAX)
}

/// Segments that a rank must have memory for. Each rank has its own number of workers where nobody chose one.
/// `has_links`: there are other hosts.
pub fn slots_needed(
    config: &Config,
    compress: Compress,
    workers: Option<usize>,
    has_links: bool,
) -> u64 {
    let compresses = match compress {
        Compress::Never => false,
        // Within a host nothing is compressed.
        Compress::Auto => has_links,
        Compress::Always => true,
    };
    let workers = workers.unwrap_or(WORKERS_MAX);
    let beside = if compresses { slots_to_compress(config, workers) } else { 0 };
    (slots_least(config) + beside) as u64
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::metrics::cores::Cores;

    #[test]
    fn there_is_a_thread_for_each_disk_and_one_that_hashes_within_the_usual_bounds() {
        // A rank that shares its core with others.
        let none = CoreShare::default();
        let of = |destinations| default_workers(none, false, destinations);
        assert_eq!([0, 1, 2, 3, 7, 8, usize::MAX].map(of), [2, 2, 3, 4, 8, 8, WORKERS_MAX]);
        let all = CoreShare::new(&Cores::mine(), 1);
        let own = all.cores().clamp(WORKERS_LEAST, WORKERS_MAX);
        assert_eq!(default_workers(all, true, 1), own, "cores count where there are more");
    }

    #[test]
    fn ranks_of_a_host_share_its_memory_and_compressing_takes_more_of_it() {
        let [one, many] = [1, 1000].map(|ranks| default_memory(ranks, 1 << 20));
        assert!(many <= MEMORY_MOST / 1000 && many <= one, "{one}, {many}");
        let config = Config::for_segments_of(1 << 20);
        let of = |compress, workers| slots_needed(&config, compress, workers, true);
        let plain = of(Compress::Never, None);
        assert_eq!(of(Compress::Always, Some(2)) + 6, of(Compress::Auto, Some(8)));
        assert!(plain < of(Compress::Always, Some(1)));
    }
}
