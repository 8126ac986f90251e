//! Against `sha2` alone and a tree as the textbook builds it: every leaf by itself, every level by itself.

use proptest::prelude::*;
use sha2::{Digest as _, Sha256};

use super::{Digest, LEAF_BYTES, SEGMENT_PART_BYTES, SegmentHasher, merkle, streams};

/// Bytes that differ from leaf to leaf.
fn bytes(count: usize) -> Vec<u8> {
    (0..count).map(|i| i.wrapping_mul(0x9e37_79b9).to_le_bytes()[2]).collect()
}

fn sha(payload: &[u8]) -> [u8; 32] {
    Sha256::digest(payload).into()
}

fn join(pair: [[u8; 32]; 2]) -> [u8; 32] {
    sha(&pair.concat())
}

/// The root over as many leaves as the power of two that holds `bytes_least`.
fn slow_root(payload: &[u8], bytes_least: usize) -> Digest {
    let mut level: Vec<[u8; 32]> = payload.chunks(LEAF_BYTES).map(sha).collect();
    let leaves = payload.len().max(bytes_least).div_ceil(LEAF_BYTES).max(1);
    level.resize(leaves.next_power_of_two(), [0; 32]);
    while level.len() > 1 {
        level = level.chunks(2).map(|pair| join([pair[0], pair[1]])).collect();
    }
    Digest(level[0])
}

/// Lengths a debug build skips for each that it takes: there a byte takes 30 times as long to hash.
const STEP: usize = if cfg!(debug_assertions) { 61 } else { 1 };

fn check_root(payload: &[u8]) {
    let what = payload.len();
    let expected = slow_root(payload, 0);
    if what <= LEAF_BYTES {
        assert_eq!(Digest::of_segment(payload), Digest(sha(payload)), "{what} bytes");
        assert_eq!(merkle::root_of(payload), expected, "{what} bytes");
    } else {
        assert_eq!(Digest::of_segment(payload), expected, "{what} bytes");
    }
}

#[test]
fn every_length_up_to_three_leaves_has_the_textbook_root() {
    let all = bytes(3 * LEAF_BYTES + 1);
    // Odd, so that every remainder of a block comes.
    (0..=all.len()).step_by(STEP).for_each(|count| check_root(&all[..count]));
}

#[test]
fn every_length_around_whole_leaves_has_the_textbook_root() {
    let all = bytes(300 * LEAF_BYTES);
    // Kernels of 4, 8, 16 and 32 leaves, batches of 32, two and more of those, and what is left over of each.
    for leaves in [1, 2, 3, 4, 5, 7, 8, 9, 12, 13, 15, 16, 17, 29, 32, 33, 63, 64, 65, 129, 299] {
        // Within these of a leaf's end a block ends, and the nine bytes of padding begin another.
        let near = leaves * LEAF_BYTES - 65..leaves * LEAF_BYTES + 65;
        near.step_by(STEP.min(31)).for_each(|count| check_root(&all[..count]));
    }
}

#[test]
fn an_empty_file_has_a_root_of_zero_and_an_empty_segment_its_hash() {
    assert_eq!(merkle::root_of(&[]), Digest([0; 32]));
    assert_eq!(Digest::of_segment(&[]), Digest(sha(&[])));
    assert_eq!(merkle::root_over_runs([], LEAF_BYTES), Digest([0; 32]));
    assert_eq!(&*merkle::roots_of([]), []);
}

#[test]
fn the_root_of_a_file_follows_from_those_of_its_parts() {
    for part in [LEAF_BYTES, 4 * LEAF_BYTES, 64 * LEAF_BYTES, 128 * LEAF_BYTES] {
        for length in [1, part - 1, part, part + 1, 2 * part, 3 * part - 1, 5 * part + LEAF_BYTES] {
            let all = bytes(length);
            let parts: Vec<_> =
                all.chunks(part).map(|payload| merkle::root_of_part(payload, part)).collect();
            let slow: Vec<_> = all.chunks(part).map(|payload| slow_root(payload, part)).collect();
            assert_eq!(parts, slow, "{length} bytes in parts of {part}");
            let expected = slow_root(&all, part);
            let runs = parts.into_iter().map(|root| (1, root));
            assert_eq!(merkle::root_over_runs(runs, part), expected, "{length} bytes");
        }
    }
}

#[test]
fn equal_parts_in_a_row_are_not_counted_out() {
    let nodes = [1, 2].map(|byte| [byte; 32]);
    let part = 4 * LEAF_BYTES;
    let padding = slow_root(&[], part).0;
    for lengths in [[1, 1, 0], [3, 5, 1], [0, 7, 2], [6, 1, 9], [16, 0, 0], [1, 64, 3]] {
        let runs = [(lengths[0], nodes[0]), (lengths[1], nodes[1]), (lengths[2], nodes[0])];
        let mut level: Vec<[u8; 32]> =
            runs.iter().flat_map(|&(length, node)| std::iter::repeat_n(node, length)).collect();
        level.resize(level.len().next_power_of_two(), padding);
        while level.len() > 1 {
            level = level.chunks(2).map(|pair| join([pair[0], pair[1]])).collect();
        }
        let runs = runs.map(|(length, node)| (length as u64, Digest(node)));
        assert_eq!(merkle::root_over_runs(runs, part), Digest(level[0]), "{lengths:?}");
    }
    let all = merkle::root_over_runs([(1 << 49, Digest(nodes[0]))], LEAF_BYTES);
    assert_eq!(all, Digest((0..49).fold(nodes[0], |below, _| join([below, below]))));
}

#[test]
fn a_short_part_of_a_long_one_is_padded() {
    for part in [64 << 10, 1 << 20, 8 << 20, 1 << 30] {
        for length in [1, LEAF_BYTES, LEAF_BYTES + 1, 3 * LEAF_BYTES] {
            let payload = bytes(length);
            let mut expected = slow_root(&payload, 0);
            let mut padding = Digest([0; 32]);
            for height in 0..(part / LEAF_BYTES).ilog2() {
                if height >= length.div_ceil(LEAF_BYTES).next_power_of_two().ilog2() {
                    expected = Digest(join([expected.0, padding.0]));
                }
                padding = Digest(join([padding.0, padding.0]));
            }
            assert_eq!(merkle::root_of_part(&payload, part), expected, "{length} of {part} bytes");
        }
    }
}

/// Hashes segments one after the other, with at most so many bytes at a time.
fn check_in_parts(hasher: &mut SegmentHasher, payload: &[u8], bytes_max: usize) {
    let (mut total, mut digest) = (0, None);
    while digest.is_none() {
        assert_eq!(hasher.advance(payload, 0).0, 0, "no room");
        let (bytes, ended) = hasher.advance(payload, bytes_max);
        assert!((1..=SEGMENT_PART_BYTES).contains(&bytes), "{bytes} of {}", payload.len());
        (total, digest) = (total + bytes, ended);
    }
    assert_eq!(total, payload.len());
    assert_eq!(digest, Some(Digest::of_segment(payload)), "{} bytes", payload.len());
}

#[test]
fn a_segment_that_is_hashed_in_parts_has_its_digest() {
    let part = SEGMENT_PART_BYTES;
    let all = bytes(5 * part + 1);
    let mut hasher = SegmentHasher::default();
    for parts in [1, 2, 3, 5] {
        for length in [parts * part - 1, parts * part, parts * part + 1] {
            check_in_parts(&mut hasher, &all[..length], part);
        }
    }
    for length in [1, LEAF_BYTES, LEAF_BYTES + 1] {
        check_in_parts(&mut hasher, &all[..length], part);
    }
    assert_eq!(hasher.advance(&[], 0), (0, Some(Digest::of(b""))));
}

#[test]
fn zeros_need_no_reading() {
    for part in [LEAF_BYTES, 4 * LEAF_BYTES, 128 * LEAF_BYTES] {
        assert_eq!(merkle::root_of_zeros(part), slow_root(&vec![0; part], part));
    }
}

#[test]
fn many_small_files_are_hashed_as_each_alone() {
    // More than are gathered at a time, of every number of blocks, and some of several leaves.
    let all = bytes(4 * LEAF_BYTES);
    let lengths = (0..9000).map(|i| match i % 100 {
        0 => LEAF_BYTES * (i / 1000 % 4) + i % 3,
        _ => i * 37 % 700,
    });
    let files: Vec<&[u8]> = lengths.map(|length| &all[length % 11..][..length]).collect();
    let expected: Vec<_> = files.iter().map(|file| merkle::root_of(file)).collect();
    assert_eq!(&*merkle::roots_of(files.iter().copied()), expected);
}

#[test]
fn one_wrong_byte_in_any_leaf_changes_the_digest() {
    let mut all = bytes(70 * LEAF_BYTES + 1);
    let digest = Digest::of_segment(&all);
    for place in (0..all.len()).step_by(LEAF_BYTES) {
        all[place] ^= 0x10;
        assert_ne!(Digest::of_segment(&all), digest, "byte {place}");
        all[place] ^= 0x10;
    }
    assert_eq!(Digest::of_segment(&all), digest);
}

#[test]
fn as_many_equal_messages_as_any_kernel_takes_are_hashed_right() {
    let all = bytes(1000);
    for count in 0..=100 {
        for length in [0, 1, 55, 56, 63, 64, 119, 120, 128, 900] {
            let messages: Vec<&[u8]> = (0..count).map(|i| &all[i..i + length]).collect();
            check_each(&messages);
        }
    }
}

fn check_each(messages: &[&[u8]]) {
    let mut digests = vec![[0; 32]; messages.len()];
    streams::hash_each(messages, &mut digests);
    let expected: Vec<_> = messages.iter().map(|message| sha(message)).collect();
    assert_eq!(digests, expected);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn messages_of_any_lengths_are_hashed_right(
        lengths in prop::collection::vec((0_usize..2000, 0_usize..64), 0..80),
    ) {
        let all = bytes(2100);
        let messages: Vec<&[u8]> =
            lengths.iter().map(|&(length, from)| &all[from..from + length]).collect();
        check_each(&messages);
    }

    #[test]
    fn segments_of_any_length_have_the_textbook_root(length in 0_usize..5 << 20, from in 0_usize..64) {
        let all = bytes(from + length);
        check_root(&all[from..]);
    }

    #[test]
    fn segments_of_any_lengths_are_hashed_in_parts(
        lengths in prop::collection::vec((0_usize..4, 0..2 * LEAF_BYTES), 1..3),
        from in 0_usize..64,
    ) {
        let all = bytes(from + 4 * SEGMENT_PART_BYTES + LEAF_BYTES);
        let mut hasher = SegmentHasher::default();
        for (parts, beside) in lengths {
            // Around a boundary between parts.
            let length = (parts * SEGMENT_PART_BYTES + beside).saturating_sub(LEAF_BYTES).max(1);
            check_in_parts(&mut hasher, &all[from..from + length], SEGMENT_PART_BYTES);
        }
    }

    #[test]
    fn files_of_any_lengths_are_hashed_as_each_alone(
        lengths in prop::collection::vec(0..5 * LEAF_BYTES, 0..60),
    ) {
        let all = bytes(5 * LEAF_BYTES);
        let files: Vec<&[u8]> = lengths.iter().map(|&length| &all[..length]).collect();
        let expected: Vec<_> = files.iter().map(|file| slow_root(file, 0)).collect();
        // An empty file has no leaf, so that its root is zero here and there.
        prop_assert_eq!(&*merkle::roots_of(files), expected);
    }
}
