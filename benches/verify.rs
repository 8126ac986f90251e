//! Hashing in one stream against many leaves at a time, by size and by threads that hash at once. The
//! rate is that of all threads together.
//!
//! `stream` is SHA-256 over the whole payload, `leaves` the function that every check of a segment calls:
//! up to a leaf (16 KiB) they are the same. `small-files` are those of a packed segment, each by itself or
//! the leaves of all together.
//!
//! Not measured: how a received segment reaches the threads that check it (`driver::checks`), and
//! the reading of its bytes from memory, for all threads hash the same payload.

use std::hint::black_box;
use std::time::Duration;

use criterion::measurement::WallTime;
use criterion::{
    BenchmarkGroup, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main,
};
use mpiswarm::verify::{Digest, merkle};
use rayon::prelude::*;

/// Bytes of the files of a packed segment.
// What stage packs by default where there is much: segments of 8 MiB.
const PACKED_BYTES: usize = 8 << 20;

type Hash = fn(&[u8]) -> Digest;

fn verify(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("verify");
    group.sample_size(20);
    group.warm_up_time(Duration::from_millis(200));
    group.measurement_time(Duration::from_secs(1));
    for threads in [1, 2] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
        let pool = pool.expect("a few threads can be had");
        for bytes in [1 << 10, 16 << 10, 64 << 10, 256 << 10, 1 << 20, 4 << 20] {
            // Enough for every thread, so that handing out work does not count.
            let segments = threads * ((4 << 20) / bytes).clamp(1, 1024);
            let payload = vec![0xa5_u8; bytes];
            group.throughput(Throughput::Bytes((segments * bytes) as u64));
            let kinds: [(&str, Hash); 2] = [("stream", Digest::of), ("leaves", Digest::of_segment)];
            for (kind, digest) in kinds {
                let id = BenchmarkId::new(format!("{kind}-{threads}-threads"), bytes);
                group.bench_function(id, |bencher| {
                    bencher.iter(|| {
                        pool.install(|| {
                            (0..segments).into_par_iter().for_each(|_| {
                                black_box(digest(black_box(&payload)));
                            });
                        });
                    });
                });
            }
        }
    }
    for usual_bytes in [256, 4096, 64 << 10] {
        small_files(&mut group, usual_bytes);
    }
    group.finish();
}

/// A packed segment of files from half to one and a half of `usual_bytes`, of all sizes between.
fn small_files(group: &mut BenchmarkGroup<WallTime>, usual_bytes: usize) {
    let payload = vec![0xa5_u8; PACKED_BYTES];
    let mut files = Vec::new();
    let mut rest = &payload[..];
    // Steps of a prime visit every size, neighbours unlike each other.
    for bytes in (0..).map(|i| usual_bytes / 2 + i * 7919 % usual_bytes) {
        let Some((file, behind)) = rest.split_at_checked(bytes) else { break };
        files.push(file);
        rest = behind;
    }
    group.throughput(Throughput::Bytes((PACKED_BYTES - rest.len()) as u64));
    group.bench_function(BenchmarkId::new("small-files-each", usual_bytes), |bencher| {
        bencher.iter(|| -> Vec<_> {
            black_box(&files).iter().map(|file| merkle::root_of(file)).collect()
        });
    });
    group.bench_function(BenchmarkId::new("small-files-together", usual_bytes), |bencher| {
        bencher.iter(|| merkle::roots_of(black_box(&files).iter().copied()));
    });
}

criterion_group!(benches, verify);
criterion_main!(benches);
