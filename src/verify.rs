//! Are they right? The one user of `sha2`.

use sha2::{Digest as _, Sha256};

use crate::manifest::Digest;

/// The SHA-256 of a payload.
pub fn digest(payload: &[u8]) -> Digest {
    Digest(Sha256::digest(payload).into())
}
