//! Whatever a plan says, reading it does not panic.
#![no_main]

mod common;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| common::assert_shown(mpiswarm::fuzzing::plan(text)));
