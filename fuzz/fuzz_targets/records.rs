//! Whatever `records.jsonl` holds, reading it does not panic.
#![no_main]

mod common;

use std::path::PathBuf;
use std::sync::OnceLock;

use common::write;
use libfuzzer_sys::fuzz_target;

static DIR: OnceLock<PathBuf> = OnceLock::new();

fuzz_target!(|bytes: &[u8]| {
    let dir = DIR.get_or_init(|| {
        let dir = common::folder();
        write(&dir, "environment.json", include_bytes!("../seeds/environment.json"));
        write(&dir, "histograms.hlog", include_bytes!("../seeds/histograms.hlog"));
        dir
    });
    write(dir, "records.jsonl", bytes);
    common::assert_shown(mpiswarm::fuzzing::measured(dir));
});
