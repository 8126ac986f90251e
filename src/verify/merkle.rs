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
pub fn root_over(nodes: impl IntoIterator<Item = Digest>, padding: Digest) -> Digest {
    root_over_runs(nodes.into_iter().map(|node| (1, node)), padding)
}

/// The same over runs of equal nodes, each with its length: the hole of a sparse file may have 2^49 leaves.
// Complete subtrees wait as the ones of a binary counter do: memory is the logarithm of the nodes.
pub fn root_over_runs(
    runs: impl IntoIterator<Item = (u64, Digest)>,
    mut padding: Digest,
) -> Digest {
    // Height and root of each, every one higher than the next.
    let mut subtrees: Vec<(u32, Digest)> = Vec::new();
    let mut begin = 0_u64;
    for (mut length, node) in runs {
        while length > 0 {
            // The largest complete subtree that begins here and lies within the run.
            let mut height = begin.trailing_zeros().min(length.ilog2());
            begin += 1 << height;
            length -= 1 << height;
            let mut root = (0..height).fold(node, |below, _| join(below, below));
            while let Some((_, left)) = subtrees.pop_if(|(of_left, _)| *of_left == height) {
                root = join(left, root);
                height += 1;
            }
            subtrees.push((height, root));
        }
    }
    let Some((last, mut root)) = subtrees.pop() else { return PADDING };
    padding = (0..last).fold(padding, |below, _| join(below, below));
    let mut height = last;
    while let Some((of_left, left)) = subtrees.pop() {
        while height < of_left {
            root = join(root, padding);
            padding = join(padding, padding);
            height += 1;
        }
        root = join(left, root);
        padding = join(padding, padding);
        height += 1;
    }
    root
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
    fn equal_nodes_in_a_row_are_not_counted_out() {
        let nodes = [1, 2].map(|byte| Digest([byte; 32]));
        for lengths in [[1_u8, 1, 0], [3, 5, 1], [0, 7, 2], [6, 1, 9], [16, 0, 0], [1, 64, 3]] {
            let runs = [(lengths[0], nodes[0]), (lengths[1], nodes[1]), (lengths[2], nodes[0])];
            let mut level: Vec<Digest> = runs
                .iter()
                .flat_map(|&(length, node)| std::iter::repeat_n(node, usize::from(length)))
                .collect();
            level.resize(level.len().next_power_of_two(), padding_of(2));
            while level.len() > 1 {
                level = level.chunks(2).map(|pair| join(pair[0], pair[1])).collect();
            }
            let runs = runs.map(|(length, node)| (u64::from(length), node));
            assert_eq!(root_over_runs(runs, padding_of(2)), level[0], "{lengths:?}");
        }
        let all = root_over_runs([(1 << 49, nodes[0])], PADDING);
        assert_eq!(all, (0..49).fold(nodes[0], |below, _| join(below, below)));
    }

    #[test]
    fn zeros_need_no_reading() {
        assert_eq!(root_of_zeros(4 * LEAF_BYTES), root_of(&vec![0; 4 * LEAF_BYTES]));
    }
}
