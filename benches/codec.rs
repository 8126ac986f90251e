//! Messages to bytes and back: the ask and the handout of the steady state, and a request.

use std::hint::black_box;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use mpiswarm::config::MESSAGE_BYTES_MAX;
use mpiswarm::manifest::{Block, NodeId, SegmentId};
use mpiswarm::protocol::codec::{decode, encode};
use mpiswarm::protocol::{Ask, Handout, HandoutEntry, Message};
use mpiswarm::verify::Digest;

/// Peers announce ten segments and show 16 blocks.
fn ask() -> Message {
    Message::Ask(Ask {
        sequence: 1000,
        room: 10,
        blocks: (0..16)
            .map(|index| Block { index: 1000 + index, bits: u64::MAX >> index })
            .collect(),
        verified: (0..10).map(|segment| SegmentId(50_000 + 7 * segment)).collect(),
        ..Ask::default()
    })
}

/// And get ten, with four holders each.
fn handout() -> Message {
    let entry = |position: u8| HandoutEntry {
        segment: SegmentId(60_000 + 11 * u32::from(position)),
        digest: Digest([0xa0 | position; 32]),
        holders: (1..=4).map(|rank| NodeId(rank * 200)).collect(),
    };
    Message::Handout(Handout {
        answers: 1000,
        entries: (0..10).map(entry).collect(),
        ..Handout::default()
    })
}

fn codec(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("codec");
    group.warm_up_time(Duration::from_millis(300));
    group.measurement_time(Duration::from_secs(1));
    let request = Message::Request { segments: [SegmentId(60_000).into()].into_iter().collect() };
    for (name, message) in [("ask", ask()), ("handout", handout()), ("request", request)] {
        let mut buffer = vec![0; MESSAGE_BYTES_MAX];
        let bytes = encode(&message, &mut buffer).expect("it fits").to_vec();
        group.throughput(Throughput::Bytes(bytes.len() as u64));
        group.bench_function(BenchmarkId::new("encode", name), |bencher| {
            bencher.iter(|| encode(black_box(&message), &mut buffer).expect("it fits").len());
        });
        group.bench_function(BenchmarkId::new("decode", name), |bencher| {
            bencher.iter(|| decode(black_box(&bytes)).expect("its own encoding"));
        });
    }
}

criterion_group!(benches, codec);
criterion_main!(benches);
