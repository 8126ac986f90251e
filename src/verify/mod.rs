//! Are the bytes right? [`Digest`], and the one user of `sha2` and `tape-sha256`.

pub mod merkle;
mod segment_hasher;
mod streams;
#[cfg(test)]
mod tests;

use std::fmt;
use std::io::{self, Read};

use sha2::{Digest as _, Sha256};

pub(crate) use segment_hasher::{SEGMENT_PART_BYTES, SegmentHasher};

/// How much of a file is read at a time.
// As much as `io::copy` reads: beyond that fewer system calls make no difference beside the hashing.
const READ_BYTES: usize = 8 << 10;

/// Bytes of a leaf: what of a staged file is hashed by itself.
// BEP 52 (BitTorrent v2) fixes it.
pub const LEAF_BYTES: usize = 16 << 10;

/// The SHA-256 of bytes, or the root of a tree of such over the leaves of a file or segment.
// A cryptographic hash, as bytes come from peers and not from their owner. CPUs have instructions for
// SHA-256 (SHA-NI, ARMv8), and BitTorrent v2 (BEP 52) uses it too.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
pub struct Digest(pub [u8; 32]);

impl Digest {
    /// The SHA-256 of a payload.
    pub fn of(payload: &[u8]) -> Self {
        // `sha2` picks SHA-NI or AVX2 when it runs; one stream a call.
        Self(Sha256::digest(payload).into())
    }

    /// The digest that a segment of a run is verified by: up to a leaf its SHA-256, above that the root over
    /// its leaves.
    // Leaves are hashed many at a time: on a Zen 5 1.7 times as fast as one stream at 64 KiB, and over twice
    // as fast from 256 KiB on.
    pub fn of_segment(payload: &[u8]) -> Self {
        if payload.len() <= LEAF_BYTES { Self::of(payload) } else { merkle::root_of(payload) }
    }

    /// The SHA-256 of several slices, one behind the other.
    pub fn of_all<'a>(slices: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let mut hasher = Sha256::new();
        slices.into_iter().for_each(|slice| hasher.update(slice));
        Self(hasher.finalize().into())
    }

    /// The SHA-256 of all that is left to read.
    ///
    /// # Errors
    ///
    /// When reading fails.
    pub fn of_file(mut file: impl Read) -> io::Result<Self> {
        let mut hasher = Sha256::new();
        let mut buffer = [0; READ_BYTES];
        loop {
            match file.read(&mut buffer) {
                Ok(0) => return Ok(Self(hasher.finalize().into())),
                Ok(read) => hasher.update(&buffer[..read]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02x}{:02x}{:02x}{:02x}…", self.0[0], self.0[1], self.0[2], self.0[3])
    }
}
