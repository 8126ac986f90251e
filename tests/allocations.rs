//! A counting allocator shows that the data path of the local transport allocates nothing a
//! segment once it runs: two runs that differ only in the number of segments allocate nearly the
//! same number of times. What remains is setting up: tables that grow by doubling, registrations
//! that travel in parts.
//!
//! All threads count, the tracker's and the pool's included.
#![expect(unsafe_code, reason = "an allocator is")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicU64, Ordering};

use mpiswarm::driver::job::{Inputs, Job, run_threads};
use mpiswarm::manifest::{Owners, Popularity, Wanted, Workload, synthesize};
use mpiswarm::store::Pool;
use mpiswarm::time::Clock;

/// The system's allocator, and how often it was asked for memory.
struct Counting {
    count: AtomicU64,
}

#[global_allocator]
static ALLOCATOR: Counting = Counting { count: AtomicU64::new(0) };

impl Counting {
    fn count_one(&self) {
        // ORDERING: Relaxed; a statistic, read when the threads that count have been joined.
        self.count.fetch_add(1, Ordering::Relaxed);
    }

    fn counted(&self) -> u64 {
        // ORDERING: Relaxed; as above.
        self.count.load(Ordering::Relaxed)
    }
}

// SAFETY: everything is left to the system's allocator, which keeps the contract.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        self.count_one();
        // SAFETY: the caller keeps the contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        self.count_one();
        // SAFETY: the caller keeps the contract.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        self.count_one();
        // SAFETY: the caller keeps the contract.
        unsafe { System.realloc(memory, layout, bytes) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the contract.
        unsafe { System.dealloc(memory, layout) }
    }
}

/// Runs one file of `segments` segments from one owner to three others; returns how many segments
/// were delivered, and how often anybody allocated on the way.
fn run(segments: u32, verify_threads: usize) -> (u64, u64) {
    let workload = Workload {
        peers: 4,
        files: 1,
        segments,
        owners: Owners::First,
        wanted: Wanted::All,
        popularity: Popularity::Uniform,
        seed: 1,
    };
    let inputs = synthesize(&workload).expect("the numbers fit");
    let job = Job { verify_threads, ..Job::new(Inputs::Made(inputs.into()), 1024) };
    let before = ALLOCATOR.counted();
    let ended = run_threads(&job, 5, &Clock::start(), |_| ()).expect("no node breaks");
    let allocations = ALLOCATOR.counted() - before;
    assert_eq!(ended.outcome.errors, [""; 0]);
    assert_eq!(ended.progress.segments_verified, 3 * u64::from(segments));
    (ended.progress.segments_verified, allocations)
}

/// How many allocations an additional segment costs.
#[expect(clippy::print_stdout, reason = "the figure is worth seeing")]
fn allocations_a_segment(verify_threads: usize) -> f64 {
    // The first run also pays for what the process sets up once. All three have more than a megabyte: less is
    // made without a pool of threads, which allocates.
    run(2_000, verify_threads);
    let (few_segments, few) = run(2_000, verify_threads);
    let (many_segments, many) = run(8_000, verify_threads);
    let a_segment = (many as f64 - few as f64) / (many_segments - few_segments) as f64;
    println!(
        "{verify_threads} threads that check: {few} allocations for {few_segments} segments, \
         {many} for {many_segments}: {a_segment:.5} an additional segment"
    );
    a_segment
}

/// Slots that are used again: what a staged segment goes through.
fn assert_that_slots_are_recycled_without_allocating() {
    let pool = Pool::new(4, 256).expect("a little memory");
    let before = ALLOCATOR.counted();
    for _ in 0..10_000 {
        let (_, segment) = pool.take().expect("all came back").fill(256).hash_and_seal();
        drop((segment.clone(), segment));
    }
    assert_eq!(ALLOCATOR.counted() - before, 0);
}

#[test]
fn the_data_path_allocates_nothing() {
    assert_that_slots_are_recycled_without_allocating();
    assert!(allocations_a_segment(0) < 0.01);
    // Checks on threads of their own, likewise.
    assert!(allocations_a_segment(1) < 0.01);
}
