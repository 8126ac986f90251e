//! The hashes of a file's segments, packed.

use std::fmt;

/// The fewest characters of a hash.
// Chosen: 8 digits hold a CRC-32. Anything shorter is more likely a mistake than a hash.
pub(super) const HASH_BYTES_MIN: usize = 8;

/// The most characters of a hash.
// 128 digits are 512 bits, those of SHA-512 and BLAKE2b.
pub const HASH_BYTES_MAX: usize = 128;

/// Whether a text may stand as a hash: 8 to 128 hexadecimal digits, an even number of them.
pub(super) fn is_hash(text: &[u8]) -> bool {
    // A fold has no early end, unlike `all`, so that the compiler can vectorise it.
    has_hash_length(text.len())
        && text.iter().fold(true, |all, byte| all & byte.is_ascii_hexdigit())
}

pub(super) fn has_hash_length(bytes: usize) -> bool {
    (HASH_BYTES_MIN..=HASH_BYTES_MAX).contains(&bytes) && bytes.is_multiple_of(2)
}

/// The hashes of one file: the hash that its input gives for each segment, in order.
// All lie in one text, with the end of each beside it: a million of 32 characters take two allocations
// and 40 MB. A `String` each would take a million allocations and 56 MB or more.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Hashes {
    text: String,
    ends: Vec<usize>,
}

impl Hashes {
    /// No hashes yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// No hashes yet, but room for `segments` of them, `bytes` characters together.
    pub fn with_capacity(segments: usize, bytes: usize) -> Self {
        Self { text: String::with_capacity(bytes), ends: Vec::with_capacity(segments) }
    }

    /// Appends the next segment's hash, as it is.
    pub fn push(&mut self, hash: &str) {
        self.text.push_str(hash);
        self.ends.push(self.text.len());
    }

    /// How many segments the file has.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether the file has no segment.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The hash of the segment at `index`, counted from 0 within the file.
    ///
    /// # Panics
    ///
    /// When `index` is not below [`len`](Self::len).
    pub fn hash(&self, index: usize) -> &str {
        let start = index.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.text[start..self.ends[index]]
    }

    /// All hashes in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &str> {
        (0..self.len()).map(|index| self.hash(index))
    }
}

impl fmt::Debug for Hashes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Hashes({} segments, {} bytes)", self.len(), self.text.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_of_different_lengths_come_back_in_order() {
        let given = ["00112233", "AABBCCDDEE", "0123456789abcdef"];
        let mut hashes = Hashes::with_capacity(3, 34);
        given.iter().for_each(|hash| hashes.push(hash));
        assert_eq!(hashes.len(), 3);
        assert_eq!(hashes.iter().collect::<Vec<_>>(), given);
        assert_eq!(hashes.hash(1), "AABBCCDDEE");
    }

    #[test]
    fn the_same_text_cut_elsewhere_is_another_list() {
        let (mut left, mut right) = (Hashes::new(), Hashes::new());
        ["0011223344", "55667788"].iter().for_each(|hash| left.push(hash));
        ["00112233", "4455667788"].iter().for_each(|hash| right.push(hash));
        assert_ne!(left, right);
        assert_eq!(left, left.clone());
    }

    #[test]
    fn debug_output_is_short() {
        let mut hashes = Hashes::new();
        assert!(hashes.is_empty());
        (0..1000).for_each(|_| hashes.push("0123456789abcdef"));
        assert_eq!(format!("{hashes:?}"), "Hashes(1000 segments, 16000 bytes)");
    }

    #[test]
    #[should_panic(expected = "out of bounds")]
    fn a_segment_beyond_the_file_is_a_bug() {
        Hashes::new().hash(0);
    }

    #[test]
    fn a_hash_is_an_even_number_of_hexadecimal_digits() {
        for (text, expected) in [
            ("01234567", true),
            ("ABCDEFab", true),
            ("0123456", false),
            ("012345678", false),
            ("0123456g", false),
        ] {
            assert_eq!(is_hash(text.as_bytes()), expected, "{text}");
        }
        assert!(is_hash(&[b'0'; 128]));
        assert!(!is_hash(&[b'0'; 130]));
    }
}
