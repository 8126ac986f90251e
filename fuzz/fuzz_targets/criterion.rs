//! Whatever a folder of criterion holds, reading it does not panic. The first line is `benchmark.json`, the
//! rest `sample.json`.
#![no_main]

mod common;

use std::path::PathBuf;
use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;

static DIR: OnceLock<PathBuf> = OnceLock::new();

fuzz_target!(|bytes: &[u8]| {
    let dir = DIR.get_or_init(|| {
        let dir = common::folder();
        std::fs::create_dir_all(dir.join("group/new")).expect("a folder");
        dir
    });
    let line = bytes.iter().position(|&byte| byte == b'\n').unwrap_or(bytes.len());
    let (benchmark, sample) = bytes.split_at(line);
    common::write(&dir.join("group/new"), "benchmark.json", benchmark);
    common::write(&dir.join("group/new"), "sample.json", sample);
    common::assert_shown(mpiswarm::fuzzing::import(dir));
});
