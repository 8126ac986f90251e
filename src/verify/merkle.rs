//! Merkle trees of files, as in BitTorrent v2 (BEP 52): leaves of 16 KiB, SHA-256 each, joined in pairs.
//!
//! Leaves beyond the end of a file are zero, and so are not hashes of anything. The subtree of a part of a
//! large file is one node of the tree of the whole file, so that the root of the file follows from the roots
//! of its parts.

use std::ops::Range;
use std::sync::LazyLock;

use arrayvec::ArrayVec;

use super::{Digest, LEAF_BYTES, streams};

/// Leaves that are hashed in one go.
// As many as the widest kernel takes.
const BATCH_LEAVES: usize = streams::STREAMS_MAX;
/// Leaves of small files that are gathered before they are hashed.
// A leaf has 1 to 257 blocks, and only leaves of as many blocks fill all lanes: about 16 of each where sizes
// are random. It bounds what is kept beside the files, which may have a byte each, to 400 KiB.
const GATHERED_LEAVES: usize = 4096;

/// The roots of subtrees of each height that lie beyond the end of a file.
// BEP 52: what stands for a leaf there is zero. No file has 2^63 leaves.
static PADDINGS: LazyLock<[Digest; 64]> = LazyLock::new(|| {
    let mut below = Digest([0; 32]);
    std::array::from_fn(|_| {
        let padding = below;
        below = join(below, below);
        padding
    })
});

/// The root of a file from those of its parts, as of [`root_of_part`], in runs of equal ones, each with its
/// length: the hole of a sparse file may have 2^49 leaves. Zero for none.
pub fn root_over_runs(runs: impl IntoIterator<Item = (u64, Digest)>, part_bytes: usize) -> Digest {
    let mut parts = RootOverParts::default();
    runs.into_iter().for_each(|(length, node)| parts.add_run(length, node));
    parts.finish(part_bytes)
}

/// The root of a file whose parts come one after the other, as of [`root_of_part`].
// Complete subtrees wait as the ones of a binary counter do: memory is the logarithm of the nodes.
#[derive(Debug, Default)]
pub(super) struct RootOverParts {
    /// Height and root of each, every one higher than the next.
    subtrees: ArrayVec<(u32, Digest), 64>,
    count: u64,
}

impl RootOverParts {
    /// Adds so many equal parts.
    pub(super) fn add_run(&mut self, mut length: u64, node: Digest) {
        while length > 0 {
            // The largest complete subtree that begins here and lies within the run.
            let mut height = self.count.trailing_zeros().min(length.ilog2());
            self.count += 1 << height;
            length -= 1 << height;
            let mut root = (0..height).fold(node, |below, _| join(below, below));
            while let Some(&(of_left, left)) = self.subtrees.last()
                && of_left == height
            {
                self.subtrees.pop();
                root = join(left, root);
                height += 1;
            }
            self.subtrees.push((height, root));
        }
    }

    /// The root; zero over no part.
    pub(super) fn finish(mut self, part_bytes: usize) -> Digest {
        let Some((mut height, mut root)) = self.subtrees.pop() else { return padding_of(0) };
        let height_of_part = height_of(part_bytes);
        while let Some((of_left, left)) = self.subtrees.pop() {
            while height < of_left {
                root = join(root, padding_of(height_of_part + height));
                height += 1;
            }
            root = join(left, root);
            height += 1;
        }
        root
    }
}

/// The root of a whole file that lies in memory; zero for an empty one, which has none.
pub fn root_of(payload: &[u8]) -> Digest {
    subtree(payload, height_of(payload.len()))
}

/// The roots of many files that lie in memory, each as of [`root_of`].
pub fn roots_of<'a>(files: impl IntoIterator<Item = &'a [u8]>) -> Box<[Digest]> {
    let mut roots = Vec::new();
    let (mut leaves, mut counts) = (Vec::new(), Vec::new());
    for file in files {
        counts.push(file.len().div_ceil(LEAF_BYTES));
        leaves.extend(file.chunks(LEAF_BYTES));
        if leaves.len() >= GATHERED_LEAVES {
            roots_of_gathered(&leaves, &counts, &mut roots);
            leaves.clear();
            counts.clear();
        }
    }
    roots_of_gathered(&leaves, &counts, &mut roots);
    roots.into()
}

/// Adds the roots of files whose leaves lie one behind the other, so many for each.
fn roots_of_gathered(leaves: &[&[u8]], counts: &[usize], roots: &mut Vec<Digest>) {
    let mut nodes = vec![[0; 32]; leaves.len()];
    let mut sorted: Vec<(usize, &[u8])> = Vec::new();
    for (place, &leaf) in leaves.iter().enumerate() {
        if leaf.len() < streams::LONG_BYTES {
            nodes[place] = Digest::of(leaf).0;
        } else {
            sorted.push((place, leaf));
        }
    }
    // As many blocks, as much work; SHA-256 pads by nine bytes at least.
    sorted.sort_unstable_by_key(|(_, leaf)| (leaf.len() + 9).div_ceil(64));
    let messages: Vec<&[u8]> = sorted.iter().map(|&(_, leaf)| leaf).collect();
    let mut digests = vec![[0; 32]; messages.len()];
    streams::hash_each(&messages, &mut digests);
    for ((place, _), digest) in sorted.into_iter().zip(digests) {
        nodes[place] = digest;
    }
    let mut rest = &mut nodes[..];
    for &count in counts {
        let (file, behind) = rest.split_at_mut(count);
        roots.push(join_up(file, 0..height_over(count)));
        rest = behind;
    }
}

/// The root of the subtree that a part of a file has in the tree of the file. A part has `part_bytes`, a
/// power of two times a leaf, the last part of a file fewer.
pub fn root_of_part(payload: &[u8], part_bytes: usize) -> Digest {
    // The subtree of a short part is padded to the height of the others.
    subtree(payload, height_of(payload.len().max(part_bytes)))
}

/// The root of a part that is all zero.
pub fn root_of_zeros(part_bytes: usize) -> Digest {
    let leaf = Digest::of(&[0; LEAF_BYTES]);
    (0..height_of(part_bytes)).fold(leaf, |below, _| join(below, below))
}

/// How many levels stand above the leaves of so many bytes.
fn height_of(bytes: usize) -> u32 {
    height_over(bytes.div_ceil(LEAF_BYTES))
}

/// How many levels stand above so many nodes.
fn height_over(nodes: usize) -> u32 {
    nodes.max(1).next_power_of_two().ilog2()
}

/// The root of a subtree whose leaves are those of `payload`, with padding behind them.
fn subtree(payload: &[u8], height: u32) -> Digest {
    if payload.is_empty() {
        return padding_of(height);
    }
    if height > BATCH_LEAVES.ilog2() {
        let half = LEAF_BYTES << (height - 1);
        let (left, right) = payload.split_at(half.min(payload.len()));
        return join(subtree(left, height - 1), subtree(right, height - 1));
    }
    let leaves: ArrayVec<&[u8], BATCH_LEAVES> = payload.chunks(LEAF_BYTES).collect();
    let mut nodes = [[0; 32]; BATCH_LEAVES];
    let nodes = &mut nodes[..leaves.len()];
    streams::hash_each(&leaves, nodes);
    join_up(nodes, 0..height)
}

/// Joins nodes in pairs, level by level and in place, until one is left. Zero for none.
// One pair after the other: a pair is short.
fn join_up(nodes: &mut [[u8; 32]], heights: Range<u32>) -> Digest {
    let mut count = nodes.len();
    for height in heights {
        for left in (0..count).step_by(2) {
            let right = if left + 1 < count { Digest(nodes[left + 1]) } else { padding_of(height) };
            nodes[left / 2] = join(Digest(nodes[left]), right).0;
        }
        count = count.div_ceil(2);
    }
    Digest(nodes.first().copied().unwrap_or_default())
}

/// The root of a subtree of `height` levels that lies beyond the end of a file.
fn padding_of(height: u32) -> Digest {
    PADDINGS[height as usize]
}

fn join(left: Digest, right: Digest) -> Digest {
    Digest::of([left.0, right.0].as_flattened())
}
