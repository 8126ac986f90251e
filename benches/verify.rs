//! The SHA-256 of segments with the function that every check calls, by size and by threads that
//! hash at once. The rate is that of all threads together.
//!
//! Not measured: how a received segment reaches the threads that check it (`driver::checks`), and
//! the reading of its bytes from memory, for all threads hash the same payload.

use std::hint::black_box;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use mpiswarm::verify::Digest;
use rayon::prelude::*;

fn verify(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("verify");
    group.sample_size(20);
    group.warm_up_time(Duration::from_millis(200));
    group.measurement_time(Duration::from_secs(1));
    for threads in [1, 2, 4] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
        let pool = pool.expect("a few threads can be had");
        for bytes in [64, 1 << 10, 64 << 10, 1 << 20] {
            // Enough for every thread, so that handing out work does not count.
            let segments = threads * ((1 << 20) / bytes).clamp(1, 1024);
            let payload = vec![0xa5_u8; bytes];
            group.throughput(Throughput::Bytes((segments * bytes) as u64));
            group.bench_function(
                BenchmarkId::new(format!("{threads}-threads"), bytes),
                |bencher| {
                    let payload = &payload;
                    bencher.iter(|| {
                        pool.install(|| {
                            (0..segments).into_par_iter().for_each(|_| {
                                black_box(Digest::of(black_box(payload)));
                            });
                        });
                    });
                },
            );
        }
    }
}

criterion_group!(benches, verify);
criterion_main!(benches);
