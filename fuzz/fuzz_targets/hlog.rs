//! Whatever a log of histograms holds, reading it does not panic, and allocates no more than a histogram.
//! The bytes are the log itself, or a histogram that is packed into one.
#![no_main]

mod common;

use std::io::Write as _;
use std::path::PathBuf;
use std::sync::OnceLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use common::write;
use flate2::Compression;
use flate2::write::ZlibEncoder;
use libfuzzer_sys::fuzz_target;

static DIR: OnceLock<PathBuf> = OnceLock::new();

// The cookie of a compressed histogram of version 2.
const COMPRESSED: u32 = 0x1c84_9314;

fuzz_target!(|bytes: &[u8]| {
    let dir = DIR.get_or_init(|| {
        let dir = common::folder();
        write(&dir, "environment.json", include_bytes!("../seeds/environment.json"));
        write(&dir, "records.jsonl", include_bytes!("../seeds/records.jsonl"));
        dir
    });
    let log = match bytes.split_first() {
        Some((0, histogram)) => packed(histogram),
        _ => bytes.to_vec(),
    };
    write(dir, "histograms.hlog", &log);
    common::assert_shown(mpiswarm::fuzzing::measured(dir));
});

fn packed(histogram: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(histogram).expect("a vector takes every byte");
    let packed = encoder.finish().expect("a vector takes every byte");
    let mut bytes = COMPRESSED.to_be_bytes().to_vec();
    bytes.extend(u32::try_from(packed.len()).unwrap_or(0).to_be_bytes());
    bytes.extend(packed);
    format!("Tag=one/1024/2/lockfree,0.506,0.000,91647.000,{}\n", STANDARD.encode(bytes))
        .into_bytes()
}
