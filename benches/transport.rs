//! The local transport: a message there and back, and a segment requested and received. Both ends
//! are driven by one thread, so that the figure is the work of both and no waiting.

use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use crossbeam::sync::Parker;
use mpiswarm::manifest::{NodeId, SegmentId};
use mpiswarm::protocol::Message;
use mpiswarm::store::Store;
use mpiswarm::transport::local::{LocalTransport, connect};
use mpiswarm::transport::{Completion, PolledEvents, Transport};

const SEGMENT: SegmentId = SegmentId(7);

/// What one end has got, where it is no message.
fn poll(end: &mut LocalTransport, events: &mut PolledEvents) -> Option<Completion> {
    end.poll(events).expect("the local transport does not break");
    assert!(!events.is_empty(), "it was sent before");
    events.completions.pop()
}

fn transport(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("transport");
    group.sample_size(50);
    group.warm_up_time(Duration::from_millis(200));
    group.measurement_time(Duration::from_secs(1));
    let parkers = [Parker::new(), Parker::new()];
    let ends = connect(parkers.iter().map(|parker| parker.unparker().clone()).collect());
    let [mut left, mut right] = <[LocalTransport; 2]>::try_from(ends).expect("two ends");
    let mut events = PolledEvents::default();
    let (request, decline) = (
        Message::Request { segments: [SEGMENT.into()].into_iter().collect() },
        Message::Decline { segment: SEGMENT, request: 0 },
    );
    group.bench_function("message-round-trip", |bencher| {
        bencher.iter(|| {
            left.send(NodeId(1), &request).expect("there is room");
            poll(&mut right, &mut events);
            right.send(NodeId(0), &decline).expect("there is room");
            poll(&mut left, &mut events)
        });
    });
    for bytes in [64, 1 << 10, 64 << 10, 1 << 20] {
        let mut store = Store::new(4, bytes).expect("memory for four slots");
        let (_, sealed) = store.take().expect("a slot is free").fill(bytes).hash_and_seal();
        group.throughput(Throughput::Bytes(bytes as u64));
        group.bench_function(BenchmarkId::new("segment", bytes), |bencher| {
            bencher.iter(|| {
                let slot = store.take().expect("one segment is under way at a time");
                left.expect(NodeId(1), SEGMENT, slot).expect("there is room");
                left.send(NodeId(1), &request).expect("there is room");
                poll(&mut right, &mut events);
                right.serve(NodeId(0), SEGMENT.into(), sealed.clone()).expect("there is room");
                let Some(Completion::Arrived { slot, .. }) = poll(&mut left, &mut events) else {
                    panic!("a segment was served, and something else came");
                };
                store.give_back(slot.vacate());
                poll(&mut right, &mut events);
            });
        });
    }
}

criterion_group!(benches, transport);
criterion_main!(benches);
