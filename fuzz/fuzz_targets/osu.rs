//! Whatever the output of an OSU benchmark says, reading it does not panic.
#![no_main]

mod common;

use std::path::PathBuf;
use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;

static DIR: OnceLock<PathBuf> = OnceLock::new();

fuzz_target!(|bytes: &[u8]| {
    let dir = DIR.get_or_init(common::folder);
    common::write(dir, "osu.txt", bytes);
    common::assert_shown(mpiswarm::fuzzing::import(&dir.join("osu.txt")));
});
