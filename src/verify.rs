//! Are the bytes right? [`Digest`], and the one user of `sha2`.

use std::fmt;

use sha2::{Digest as _, Sha256};

/// The SHA-256 of a segment's payload.
// A cryptographic hash, as bytes come from peers and not from their owner. CPUs have instructions for
// SHA-256 (SHA-NI, ARMv8), and BitTorrent v2 (BEP 52) uses it too.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
pub struct Digest(pub [u8; 32]);

impl Digest {
    /// The digest of a payload.
    pub fn of(payload: &[u8]) -> Self {
        // `sha2` picks SHA-NI or AVX2 when it runs; one stream a call.
        Self(Sha256::digest(payload).into())
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
