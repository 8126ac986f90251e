//! Segments in buffers of their own, allocated as they come: what the mutex engine does in place of
//! slots.

use std::sync::Arc;

use crate::verify::Digest;

use super::Verified;

/// A verified segment in a buffer of its own, which is freed with its last user.
#[derive(Clone, Debug)]
pub struct FreshSegment(Arc<Vec<u8>>);

impl FreshSegment {
    /// Checks bytes: a segment if `digest` is theirs, else none.
    pub fn check(bytes: Vec<u8>, digest: Digest) -> Option<Self> {
        (Digest::of_segment(&bytes) == digest).then(|| Self(Arc::new(bytes)))
    }
}

impl Verified for FreshSegment {
    fn bytes(&self) -> &[u8] {
        &self.0
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn only_the_right_bytes_become_a_segment() {
        let digest = Digest::of(b"abc");
        let segment = FreshSegment::check(b"abc".to_vec(), digest).expect("the digest is right");
        assert_eq!(segment.bytes(), b"abc");
        assert!(FreshSegment::check(b"abd".to_vec(), digest).is_none());
    }
}
