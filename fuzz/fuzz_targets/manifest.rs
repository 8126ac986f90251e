//! Whatever a manifest file holds, reading it does not panic, and what is right is read back the same.
#![no_main]

mod common;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| common::assert_shown(mpiswarm::fuzzing::manifest(bytes)));
