//! Where a received segment lands: a fresh allocation each, a pool of buffers, or a slot of one
//! allocation made up front. One operation gets a buffer, fills it with a payload, and lets it go.

use std::hint::black_box;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use crossbeam::queue::ArrayQueue;
use mpiswarm::store::Store;

fn buffers(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("buffers");
    group.sample_size(20);
    group.warm_up_time(Duration::from_millis(200));
    group.measurement_time(Duration::from_secs(1));
    for bytes in [1 << 10, 64 << 10, 1 << 20, 16 << 20] {
        let payload = vec![0xa5_u8; bytes];
        group.throughput(Throughput::Bytes(bytes as u64));
        group.bench_function(BenchmarkId::new("fresh", bytes), |bencher| {
            bencher.iter(|| black_box(payload.clone()));
        });
        let pool = ArrayQueue::new(4);
        while pool.push(vec![0_u8; bytes]).is_ok() {}
        group.bench_function(BenchmarkId::new("pooled", bytes), |bencher| {
            bencher.iter(|| {
                let mut buffer = pool.pop().expect("one buffer is in use at a time");
                buffer.copy_from_slice(&payload);
                black_box(&mut buffer);
                pool.push(buffer).expect("it came from there");
            });
        });
        let mut store = Store::new(4, bytes).expect("memory for four slots");
        group.bench_function(BenchmarkId::new("preallocated", bytes), |bencher| {
            bencher.iter(|| {
                let mut slot = store.take().expect("one slot is in use at a time");
                slot.bytes_mut()[..bytes].copy_from_slice(&payload);
                let filled = slot.fill(bytes);
                black_box(filled.bytes());
                store.give_back(filled.vacate());
            });
        });
    }
}

criterion_group!(benches, buffers);
criterion_main!(benches);
