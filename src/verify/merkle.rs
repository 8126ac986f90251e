//! Merkle trees of files, as in BitTorrent v2 (BEP 52): leaves of 16 KiB, SHA-256 each, joined in pairs.
//!
//! Leaves beyond the end of a file are zero, and so are not hashes of anything. The subtree of a part of a
//! large file is one node of the tree of the whole file, so that the root of the file follows from the roots
//! of its parts.

use sha2::{Digest as _, Sha256};

use super::{Digest, LEAF_BYTES};

/// What stands for a leaf beyond the end of a file.
// BEP 52 says so.
const PADDING: Digest = Digest([0; 32]);

fn join(left: Digest, right: Digest) -> Digest {
    let mut hasher = Sha256::new();
    hasher.update(left.0);
    hasher.update(right.0);
    Digest(hasher.finalize().into())
}

/// The root over nodes of one level; those that a power of two lacks are `padding`. Zero for none.
pub fn root_over(nodes: impl IntoIterator<Item = Digest>, mut padding: Digest) -> Digest {
    let mut level: Vec<Digest> = nodes.into_iter().collect();
    while level.len() > 1 {
        let pairs = level.chunks(2);
        let joined = pairs.map(|pair| join(pair[0], pair.get(1).copied().unwrap_or(padding)));
        level = joined.collect();
        padding = join(padding, padding);
    }
    level.first().copied().unwrap_or(PADDING)
}

/// The root of a whole file that lies in memory; zero for an empty one, which has none.
pub fn root_of(payload: &[u8]) -> Digest {
    root_over(payload.chunks(LEAF_BYTES).map(Digest::of), PADDING)
}

/// The root of the subtree that a part of a file has in the tree of the file. A part has `part_bytes`, a
/// power of two times a leaf, the last part of a file fewer.
pub fn root_of_part(payload: &[u8], part_bytes: usize) -> Digest {
    let mut root = root_of(payload);
    // The subtree of a short part is padded to the height of the others.
    let leaves = payload.len().div_ceil(LEAF_BYTES).next_power_of_two();
    let mut height = leaves.ilog2();
    let full = (part_bytes / LEAF_BYTES).max(1).ilog2();
    let mut padding = padding_of(height);
    while height < full {
        root = join(root, padding);
        padding = join(padding, padding);
        height += 1;
    }
    root
}

/// The root of a subtree of `height` levels that lies beyond the end of a file.
pub fn padding_of(height: u32) -> Digest {
    (0..height).fold(PADDING, |below, _| join(below, below))
}

/// The root of a part that is all zero.
pub fn root_of_zeros(part_bytes: usize) -> Digest {
    let leaf = Digest::of(&[0; LEAF_BYTES]);
    (0..(part_bytes / LEAF_BYTES).max(1).ilog2()).fold(leaf, |below, _| join(below, below))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(count: usize) -> Vec<u8> {
        (0..=250).flat_map(|byte| [byte; 7]).cycle().take(count).collect()
    }

    #[test]
    fn a_file_of_one_leaf_has_its_hash_as_root() {
        assert_eq!(root_of(&bytes(100)), Digest::of(&bytes(100)));
        assert_eq!(root_of(&[]), PADDING);
    }

    #[test]
    fn three_leaves_are_padded_with_a_zero_leaf() {
        let all = bytes(3 * LEAF_BYTES - 5);
        let leaf = |i: usize| Digest::of(&all[i * LEAF_BYTES..all.len().min((i + 1) * LEAF_BYTES)]);
        let expected = join(join(leaf(0), leaf(1)), join(leaf(2), PADDING));
        assert_eq!(root_of(&all), expected);
    }

    #[test]
    fn the_root_of_a_file_follows_from_those_of_its_parts() {
        let part = 4 * LEAF_BYTES;
        for length in [part + 1, 2 * part, 3 * part - 1, 5 * part + LEAF_BYTES, 9 * part] {
            let all = bytes(length);
            let parts = all.chunks(part).map(|payload| root_of_part(payload, part));
            assert_eq!(root_over(parts, padding_of(2)), root_of(&all), "{length} bytes");
        }
    }

    #[test]
    fn zeros_need_no_reading() {
        assert_eq!(root_of_zeros(4 * LEAF_BYTES), root_of(&vec![0; 4 * LEAF_BYTES]));
    }
}
