//! SHA-256 of many messages at a time.
//!
//! A round of SHA-256 needs the one before, so that one message leaves most of a core idle. Independent
//! messages fill it: multi-buffer hashing (V. Gopal and others, Intel, 2010). `tape-sha256` interleaves four
//! streams of SHA-NI, or hashes a message in each lane of AVX2 or AVX-512, whichever its authors measured as
//! the fastest on this CPU. Nothing else calls it.
//!
//! The tests of this module compare it with `sha2`. They run what this CPU takes; the features of the crate
//! pin another kernel: `cargo test --lib verify --features tape-sha256/avx2` (or `avx512`, `scalar`).

use super::Digest;

/// Messages that the widest kernel hashes at a time.
// Two interleaved AVX-512 kernels of 16 lanes each, on Zen 5.
pub(super) const STREAMS_MAX: usize = 32;

/// From how many bytes on a message is better hashed beside others than alone.
// The crate copies the last block of each message, which takes as long as hashing 500 bytes in one stream
// (measured on a Zen 5). So it does not pay for the nodes of a tree, which are of 64.
pub(super) const LONG_BYTES: usize = 512;

/// From how many messages on they are hashed side by side.
// SHA-NI interleaves four and hashes fewer one by one; empty lanes of AVX cost as much as full ones.
#[cfg(target_arch = "x86_64")]
const STREAMS_MIN: usize = 4;

/// The SHA-256 of each message.
///
/// Fastest where neighbours are equally long: SHA-NI interleaves no others, and a lane of AVX waits for
/// the longest.
///
/// # Panics
///
/// When there are not as many digests as messages.
pub(super) fn hash_each(messages: &[&[u8]], digests: &mut [[u8; 32]]) {
    assert_eq!(messages.len(), digests.len(), "each message has a place for its digest");
    // One lane is the portable code of the crate, and `sha2` is faster.
    #[cfg(target_arch = "x86_64")]
    if messages.len() >= STREAMS_MIN && tape_sha256::lane_width() > 1 {
        return tape_sha256::hash_many(messages, digests);
    }
    // Also on AArch64: `sha2` has its instructions, and what the crate has for it is untried here.
    for (message, digest) in messages.iter().zip(digests) {
        *digest = Digest::of(message).0;
    }
}
