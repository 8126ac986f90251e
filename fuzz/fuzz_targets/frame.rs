//! Whatever comes for a frame of a segment, decompressing it does not panic, and writes as many bytes as the
//! segment has or says that it is none. The first three bytes are the length, little endian.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Some((&[low, middle, high], frame)) = bytes.split_first_chunk() else { return };
    mpiswarm::fuzzing::frame(frame, u32::from_le_bytes([low, middle, high, 0]) as usize);
    // The same bytes as a segment.
    mpiswarm::fuzzing::segment(frame);
});
