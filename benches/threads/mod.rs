//! Times several threads that do the same work at once.

use std::sync::Barrier;
use std::time::Duration;

use mpiswarm::time::Clock;

/// Wall time of `turns` turns shared evenly by `threads` threads, from the first thread's start to
/// the last one's end. `work` makes a thread's turn; making it and dropping it are not timed.
pub(crate) fn time<T: FnMut()>(
    threads: u32,
    turns: u64,
    work: impl Fn(u32) -> T + Sync,
) -> Duration {
    let clock = Clock::start();
    let share = turns.div_ceil(threads.into());
    let barrier = Barrier::new(threads as usize);
    let spans: Vec<_> = std::thread::scope(|scope| {
        let run = |thread: u32| {
            let (work, barrier) = (&work, &barrier);
            scope.spawn(move || {
                let mut turn = work(thread);
                barrier.wait();
                // Each thread reads the clock itself: with fewer cores than threads, whoever waits
                // for them would start its watch when they are half through.
                let start = clock.now();
                (0..share).for_each(|_| turn());
                (start, clock.now())
            })
        };
        let running: Vec<_> = (0..threads).map(run).collect();
        running.into_iter().map(|thread| thread.join().expect("no thread panics")).collect()
    });
    let start = spans.iter().map(|span| span.0).min().expect("there is a thread");
    let end = spans.iter().map(|span| span.1).max().expect("there is a thread");
    // The shares may add up to a little more than was asked for.
    end.since(start).mul_f64(turns as f64 / (share * u64::from(threads)) as f64)
}
