//! The bytes of a segment: its hash, and filler up to the size that a run asks for.
//!
//! Filler is random, so that no layer can compress it or find two segments alike, and comes from a
//! generator that can start at any segment: xoshiro256++ (Blackman and Vigna, 2019), seeded for each.

use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::{Rng as _, SeedableRng as _};

use super::FileName;
use super::hashes::{HASH_BYTES_MAX, is_hash};
use crate::verify::Digest;

/// Spreads positions over the seeds.
// Any odd factor keeps them distinct. This is a prime of xxHash. The golden ratio would be wrong here:
// the generator is seeded by SplitMix64, which steps by it, so that neighbours would share states.
const POSITION_SPREAD: u64 = 0xc2b2_ae3d_27d4_eb4f;

/// How many bytes a segment's payload has.
///
/// The hash (`hash_len` characters) and its line feed always travel; `segment_bytes` is the size
/// that filler brings them up to. With 0 only the hash line moves: 33 bytes for a classic hash.
pub fn payload_bytes(hash_len: usize, segment_bytes: usize) -> usize {
    segment_bytes.max(hash_len + 1)
}

/// The hash that a payload begins with; `None` when its first line is not one.
pub fn hash_of(payload: &[u8]) -> Option<&str> {
    let head = &payload[..payload.len().min(HASH_BYTES_MAX + 1)];
    let line_bytes = memchr::memchr(b'\n', head)?;
    let hash = &head[..line_bytes];
    if !is_hash(hash) {
        return None;
    }
    std::str::from_utf8(hash).ok()
}

/// Generates the payloads of one file: the same for every owner, whatever the machine.
#[derive(Clone, Copy, Debug)]
pub struct Filler {
    key: u64,
}

impl Filler {
    /// A generator for the file `name` of the workload with this seed.
    pub fn new(seed: u64, name: &FileName) -> Self {
        // SHA-256 as a key derivation: similar seeds and names must not give similar streams.
        let mut text = seed.to_le_bytes().to_vec();
        text.extend_from_slice(name.as_str().as_bytes());
        let Digest([a, b, c, d, e, f, g, h, ..]) = Digest::of(&text);
        Self { key: u64::from_le_bytes([a, b, c, d, e, f, g, h]) }
    }

    /// Fills `out` with the payload of the segment at `position`, counted from 0 within the file.
    ///
    /// `out` has the length that [`payload_bytes`] tells, and all of it is written. The result depends
    /// on the seed, the name, the position and the hash alone.
    ///
    /// # Panics
    ///
    /// When `out` has no room for the hash and its line feed.
    pub fn write_payload(&self, position: u32, hash: &str, out: &mut [u8]) {
        // A generator, not zeros: a link or file system that compresses must not look fast.
        let (line, filler) = out.split_at_mut(hash.len() + 1);
        line[..hash.len()].copy_from_slice(hash.as_bytes());
        line[hash.len()] = b'\n';
        let seed = self.key ^ u64::from(position).wrapping_mul(POSITION_SPREAD);
        // Little-endian words, so that the payload is the same on every machine.
        let mut random = Xoshiro256PlusPlus::seed_from_u64(seed);
        let (words, tail) = filler.as_chunks_mut::<8>();
        for word in words {
            *word = random.next_u64().to_le_bytes();
        }
        let last = random.next_u64().to_le_bytes();
        tail.copy_from_slice(&last[..tail.len()]);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    const HASH: &str = "0123456789abcdef0123456789ABCDEF";

    fn filler(seed: u64, name: &str) -> Filler {
        Filler::new(seed, &FileName::parse(name).expect("the name keeps the rules"))
    }

    fn payload(filler: Filler, position: u32, segment_bytes: usize) -> Vec<u8> {
        let mut out = vec![0xee; payload_bytes(HASH.len(), segment_bytes)];
        filler.write_payload(position, HASH, &mut out);
        out
    }

    #[test]
    fn the_size_is_the_larger_of_the_hash_line_and_the_request() {
        assert_eq!(payload_bytes(32, 0), 33);
        assert_eq!(payload_bytes(32, 33), 33);
        assert_eq!(payload_bytes(32, 34), 34);
        assert_eq!(payload_bytes(128, 65_536), 65_536);
    }

    #[test]
    fn without_filler_only_the_hash_line_stands() {
        assert_eq!(payload(filler(1, "file1"), 0, 0), format!("{HASH}\n").as_bytes());
    }

    #[test]
    fn every_length_is_filled_and_is_a_beginning_of_the_longer_one() {
        let long = payload(filler(1, "file1"), 5, 33 + 64);
        for segment_bytes in 33..33 + 64 {
            assert_eq!(payload(filler(1, "file1"), 5, segment_bytes), long[..segment_bytes]);
        }
    }

    #[test]
    fn seed_name_and_position_each_change_the_filler() {
        let base = payload(filler(1, "file1"), 0, 4096);
        assert_eq!(base, payload(filler(1, "file1"), 0, 4096));
        assert_ne!(base, payload(filler(2, "file1"), 0, 4096));
        assert_ne!(base, payload(filler(1, "file2"), 0, 4096));
        assert_ne!(base, payload(filler(1, "file1"), 1, 4096));
    }

    #[test]
    fn neighbours_share_no_word() {
        let mut words = HashSet::new();
        for position in 0..256 {
            let bytes = payload(filler(7, "file1"), position, 33 + 8 * 32);
            for word in bytes[33..].chunks(8) {
                assert!(words.insert(word.to_vec()), "segment {position} repeats a word");
            }
        }
    }

    #[test]
    fn filler_is_the_same_on_every_machine() {
        let digest = Digest::of(&payload(filler(1, "file1"), 3, 1000));
        assert_eq!(format!("{digest:?}"), "2015fb9c…");
    }

    #[test]
    fn a_hash_is_read_back() {
        assert_eq!(hash_of(&payload(filler(1, "file1"), 0, 500)), Some(HASH));
        let longest = format!("{}\n", "a".repeat(128));
        assert_eq!(hash_of(longest.as_bytes()), Some(&longest[..128]));
    }

    #[test]
    fn a_damaged_first_line_is_no_hash() {
        let too_long = format!("{}\n", "a".repeat(130));
        for bytes in [
            &b""[..],
            b"\n",
            b"01234567",
            b"0123456\n",
            b"0123456g\n",
            b"\xff1234567\n",
            too_long.as_bytes(),
        ] {
            assert_eq!(hash_of(bytes), None, "{bytes:?}");
        }
    }
}
