//! How fast can this machine copy and hash, and how fast is its MPI? Measured beside every
//! measurement, because a shared machine is another one every day.
//!
//! Copying is STREAM's first kernel (J. McCalpin, 1995): it reads one large buffer and
//! writes another. Hashing uses the code that verifies segments. The best of several rounds counts:
//! whatever disturbs a round only slows it, and a limit is a best case.

mod all_cores;
#[cfg(feature = "mpi")]
pub(crate) mod ping_pong;

use std::hint::black_box;
use std::time::Duration;

use crate::report::Limits;
use crate::report::limits::BOUND_BYTES_LEAST;
use crate::store::{Store, VacantSlot};
use crate::time::Clock;
use crate::verify::Digest;

// The longest segment that is copied and hashed, bytes.
// Longer ones come from memory too, at the same rate a byte, and would need as much memory for each core.
const SEGMENT_BYTES_MAX: usize = 64 << 20;

// The size of each buffer, bytes, at most.
// More than a core's second-level cache holds, because the bytes of a run come from memory too.
// STREAM wants four times the last-level cache, which takes too long to touch before a short run.
const BUFFER_BYTES: usize = BOUND_BYTES_LEAST;
// Rounds that share a measurement's budget.
// Enough that one is likely to be undisturbed, few enough that each still is long. Chosen, not tuned.
const ROUNDS: u32 = 8;
// The size of a page, bytes.
// Of x86-64, and the least of others: it only places the buffers.
const PAGE_BYTES: usize = 4096;
// Bytes between two readings of the clock.
// A reading takes tens of nanoseconds; 64 KiB take a microsecond to copy.
const BYTES_BETWEEN_READINGS: usize = 64 << 10;

impl Limits {
    /// Measures how fast one core copies and hashes slices of `segment_bytes` bytes.
    ///
    /// It takes about `budget`, half for copying and half for hashing, and some milliseconds to
    /// allocate. It copies and hashes at least one segment. An empty segment counts as one byte.
    pub(crate) fn measure(segment_bytes: usize, budget: Duration, clock: &Clock) -> Self {
        let segment_bytes = segment_bytes.clamp(1, SEGMENT_BYTES_MAX);
        let source_bytes = source_bytes(BUFFER_BYTES, segment_bytes);
        let (mut source, mut destination) = buffers(source_bytes);
        let source = &source.bytes_mut()[..source_bytes];
        let mut copy = copier(source, destination.bytes_mut(), segment_bytes);
        let copy_bytes_per_second = best_rate(source, segment_bytes, budget / 2, clock, &mut copy);
        let hash_bytes_per_second = best_rate(source, segment_bytes, budget / 2, clock, &mut hash);
        Self { copy_bytes_per_second, hash_bytes_per_second }
    }
}

/// Copies segment after segment into a destination that is one page longer than `source`.
fn copier(source: &[u8], destination: &mut [u8], segment_bytes: usize) -> impl FnMut(&[u8]) {
    let skipped = half_a_page_apart(source, destination);
    let destination = &mut destination[skipped..skipped + source.len()];
    let mut at = 0;
    move |segment| {
        // Source and destination are equally long, so that both start again at the same segment.
        at = if at + segment_bytes > destination.len() { 0 } else { at };
        destination[at..at + segment_bytes].copy_from_slice(segment);
        black_box(&mut destination[at..at + segment_bytes]);
        at += segment_bytes;
    }
}

fn hash(segment: &[u8]) {
    black_box(Digest::of_segment(segment));
}

/// How long the source is: a whole number of segments, in a buffer of `buffer_bytes` if one fits.
fn source_bytes(buffer_bytes: usize, segment_bytes: usize) -> usize {
    buffer_bytes.max(segment_bytes) / segment_bytes * segment_bytes
}

// A source, and a destination that is one page longer, with every page touched, as the slots of a
// run are.
fn buffers(source_bytes: usize) -> (VacantSlot, VacantSlot) {
    let bytes = source_bytes + PAGE_BYTES;
    let mut store = Store::new(2, bytes).unwrap_or_else(|_| {
        let mut store = Store::default();
        store.allocate_each(bytes);
        store
    });
    let mut next = || store.take().expect("there are two, or as many as are wanted");
    (next(), next())
}

/// How many bytes of the destination to skip, so that it begins half a page away from the source.
// 4 KiB aliasing. Measured on a Zen 4: with a destination 16 bytes above its source, modulo the page
// size, copies of less than 1 MiB reach a fifth of their rate. An allocator that puts a header before
// each buffer can place them so.
fn half_a_page_apart(source: &[u8], destination: &[u8]) -> usize {
    let wanted = source.as_ptr().addr() + PAGE_BYTES / 2;
    wanted.wrapping_sub(destination.as_ptr().addr()) % PAGE_BYTES
}

/// The best rate of several rounds in which `work` takes segment after segment, bytes/s.
fn best_rate(
    source: &[u8],
    segment_bytes: usize,
    budget: Duration,
    clock: &Clock,
    work: &mut impl FnMut(&[u8]),
) -> f64 {
    let mut segments = source.chunks_exact(segment_bytes).cycle();
    let start = clock.now();
    let mut best = 0.0_f64;
    loop {
        best = best.max(rate(&mut segments, budget / ROUNDS, clock, work));
        if clock.now().since(start) >= budget {
            return best;
        }
    }
}

/// The rate at which `work` takes segments during `budget`, bytes/s.
fn rate<'a>(
    segments: &mut impl Iterator<Item = &'a [u8]>,
    budget: Duration,
    clock: &Clock,
    work: &mut impl FnMut(&[u8]),
) -> f64 {
    let start = clock.now();
    let (mut worked, mut since_reading) = (0, 0);
    for segment in segments {
        work(black_box(segment));
        worked += segment.len();
        since_reading += segment.len();
        if since_reading < BYTES_BETWEEN_READINGS {
            continue;
        }
        since_reading = 0;
        let elapsed = clock.now().since(start);
        if elapsed >= budget {
            return worked as f64 / elapsed.max(Duration::from_nanos(1)).as_secs_f64();
        }
    }
    0.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_size_of_segment_gives_usable_limits() {
        let clock = Clock::start();
        for segment_bytes in [0, 1, 1000, 64 << 10, BUFFER_BYTES / 2 + 1] {
            let limits = Limits::measure(segment_bytes, Duration::from_millis(8), &clock);
            assert!(limits.usable(), "{segment_bytes} bytes: {limits:?}");
        }
    }

    #[test]
    fn no_budget_still_gives_limits() {
        let clock = Clock::start();
        assert!(Limits::measure(4096, Duration::ZERO, &clock).usable());
    }

    #[test]
    fn buffers_hold_whole_segments_and_lie_half_a_page_apart() {
        for (segment_bytes, expected) in
            [(1000, 16_777_000), (BUFFER_BYTES + 1, BUFFER_BYTES + 1), (3 << 20, 15 << 20)]
        {
            assert_eq!(source_bytes(BUFFER_BYTES, segment_bytes), expected);
            let (mut source, mut destination) = buffers(expected);
            let (source, destination) = (&source.bytes_mut()[..expected], destination.bytes_mut());
            let skipped = half_a_page_apart(source, destination);
            assert!(destination.len() >= skipped + source.len());
            let start = destination[skipped..].as_ptr().addr();
            assert_eq!(start.abs_diff(source.as_ptr().addr()) % PAGE_BYTES, PAGE_BYTES / 2);
        }
    }
}
