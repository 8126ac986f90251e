//! Where a received segment lands, by the choices of `buffers` in a plan: in a slot that the store
//! allocates for it, or in one of those that it reserved before the start.
//!
//! Measured: one thread takes a slot, copies a payload into it, and gives it back. A run keeps the
//! slots of verified segments; here the allocator gets each back at once, and may hand the same
//! memory out again, so that a fresh slot costs less than in a run, where the memory is new. A
//! reserved slot is the same one each time, and as warm.

use std::hint::black_box;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use mpiswarm::store::Store;

fn buffers(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("buffers");
    group.sample_size(20);
    group.warm_up_time(Duration::from_millis(200));
    group.measurement_time(Duration::from_secs(1));
    for bytes in [1 << 10, 64 << 10, 1 << 20, 16 << 20] {
        let payload = vec![0xa5_u8; bytes];
        let mut fresh = Store::default();
        fresh.allocate_each(bytes);
        let preallocated = Store::new(4, bytes).expect("there is memory for four slots");
        for (name, mut store) in [("fresh", fresh), ("preallocated", preallocated)] {
            group.throughput(Throughput::Bytes(bytes as u64));
            group.bench_function(BenchmarkId::new(name, bytes), |bencher| {
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
}

criterion_group!(benches, buffers);
criterion_main!(benches);
