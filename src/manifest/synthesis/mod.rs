//! Synthetic inputs: from the shape of a workload to one input for each peer, and to disk.

#[cfg(test)]
mod tests;

use std::fs::{self, File};
use std::io::{self, BufWriter, Write as _};
use std::path::{Path, PathBuf};

use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::{Rng as _, SeedableRng as _};

use super::input::peers_in;
use super::{
    FileName, Hashes, NodeId, OwnedFile, Owners, PeerInput, Wanted, Workload, WorkloadError,
    input_path,
};
use crate::escape;

/// Characters of a synthetic hash: those of an MD5, as the classic inputs have them.
pub const SYNTHETIC_HASH_BYTES: usize = 32;

/// The increment of SplitMix64: 2^64 divided by the golden ratio.
// It is odd, so that the first 2^64 multiples of it are distinct.
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// Makes the inputs of all peers: the first belongs to rank 1, the next to rank 2, and so on.
///
/// Equal workloads give equal inputs on every machine. Every file has an owner, and no two
/// segments of a workload share a hash.
///
/// # Errors
///
/// The numbers of the workload do not fit each other.
pub fn synthesize(workload: &Workload) -> Result<Vec<PeerInput>, WorkloadError> {
    workload.check()?;
    let mut inputs = vec![PeerInput::default(); workload.peers as usize];
    for file in 0..workload.files {
        let hashes = hashes(workload, file);
        for owner in owners(workload, file) {
            let owned = &mut inputs[owner as usize].owned;
            let line = 2 + owned.len() * (workload.segments as usize + 1);
            owned.push(OwnedFile { name: name(file), line, hashes: hashes.clone() });
        }
    }
    for (peer, input) in (0..workload.peers).zip(&mut inputs) {
        let lacking = (0..workload.files).filter(|&file| !is_owner(workload, peer, file)).collect();
        input.wanted = wanted(workload, peer, lacking).into_iter().map(name).collect();
    }
    Ok(inputs)
}

/// Writes the inputs of ranks 1, 2, … into the folder `dir`, which is made where it is missing.
///
/// With `overwrite` the inputs replace those in the folder: inputs of higher ranks are removed, so
/// that no peer of an older workload joins this one.
///
/// # Errors
///
/// An input exists already and `overwrite` is false, or a file or the folder cannot be written.
pub fn write_all(dir: &Path, inputs: &[PeerInput], overwrite: bool) -> Result<(), WriteError> {
    let present = inputs_present(dir, overwrite)?;
    for (peer, input) in (1..).map(NodeId).zip(inputs) {
        let path = input_path(dir, peer);
        write_input(&path, input).map_err(|cause| WriteError::Io { path, cause })?;
    }
    for peer in present.into_iter().filter(|peer| peer.index() > inputs.len()) {
        let path = input_path(dir, peer);
        fs::remove_file(&path).map_err(|cause| WriteError::Io { path, cause })?;
    }
    Ok(())
}

/// The peers whose inputs are in the folder `dir`, which is made where it is missing.
///
/// # Errors
///
/// There are some and `overwrite` is false, or the folder cannot be made or listed.
pub fn inputs_present(dir: &Path, overwrite: bool) -> Result<Vec<NodeId>, WriteError> {
    let in_dir = |cause| WriteError::Io { path: dir.to_owned(), cause };
    fs::create_dir_all(dir).map_err(in_dir)?;
    let present = peers_in(dir).map_err(in_dir)?;
    match present.iter().min() {
        Some(&peer) if !overwrite => Err(WriteError::Exists { path: input_path(dir, peer) }),
        _ => Ok(present),
    }
}

/// Why inputs could not be written.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the message of each says what its fields are")]
pub enum WriteError {
    #[error(
        "{}: the input exists already: add --overwrite, or name another folder",
        escape::path(path)
    )]
    Exists { path: PathBuf },
    #[error("{}: {cause}", escape::path(path))]
    Io { path: PathBuf, cause: io::Error },
}

fn write_input(path: &Path, input: &PeerInput) -> io::Result<()> {
    let mut sink = BufWriter::new(File::create(path)?);
    input.write(&mut sink)?;
    sink.flush()
}

/// The name of a file, numbered from 0 here and from 1 in names.
fn name(file: u32) -> FileName {
    FileName::parse(&format!("file{}", u64::from(file) + 1))
        .expect("letters and digits are a valid name")
}

/// The hashes of a file.
// The first half is a permutation of the segment's number, so that no two hashes are equal. The second
// half only looks random.
fn hashes(workload: &Workload, file: u32) -> Hashes {
    let segments = u64::from(workload.segments);
    let first = u64::from(file) * segments;
    let offset = mix(workload.seed);
    let mut hashes = Hashes::with_capacity(
        workload.segments as usize,
        workload.segments as usize * SYNTHETIC_HASH_BYTES,
    );
    for segment in first..first + segments {
        let high = mix(offset.wrapping_add(segment.wrapping_mul(GOLDEN)));
        let low = mix(high ^ offset);
        hashes.push(&format!("{high:016x}{low:016x}"));
    }
    hashes
}

/// The owners of a file, as peers numbered from 0.
fn owners(workload: &Workload, file: u32) -> impl Iterator<Item = u32> {
    let peers = workload.peers;
    let (first, count) = first_owner(workload, file);
    // In two parts, because peer 1 comes after the last peer.
    let beyond = count.saturating_sub(peers - first);
    (first..first + (count - beyond)).chain(0..beyond)
}

fn is_owner(workload: &Workload, peer: u32, file: u32) -> bool {
    let (first, count) = first_owner(workload, file);
    let distance = if peer < first { peer + (workload.peers - first) } else { peer - first };
    distance < count
}

/// The first owner of a file, and how many owners follow in turn, itself included.
fn first_owner(workload: &Workload, file: u32) -> (u32, u32) {
    match workload.owners {
        Owners::First => (0, 1),
        Owners::Each(owners) => {
            let dealt = u64::from(file) * u64::from(owners.get());
            let first = u32::try_from(dealt % u64::from(workload.peers))
                .expect("a remainder is below its divisor, which is a u32");
            (first, owners.get())
        }
    }
}

/// The files that a peer wants of those that it lacks, in ascending order.
// Weighted sampling without replacement (Efraimidis and Spirakis, 2006): draw an exponential variate for
// each file, divide it by the file's weight, and take the smallest. Logarithms have the same order, and
// stay in range for every exponent.
fn wanted(workload: &Workload, peer: u32, lacking: Vec<u32>) -> Vec<u32> {
    let count = match workload.wanted {
        Wanted::Drawn(count) if (count.get() as usize) < lacking.len() => count.get() as usize,
        Wanted::All | Wanted::Drawn(_) => return lacking,
    };
    let exponent = workload.popularity.exponent();
    let seed = mix(workload.seed ^ mix(u64::from(peer) + 1));
    let mut random = Xoshiro256PlusPlus::seed_from_u64(seed);
    let mut drawn: Vec<(f64, u32)> = lacking
        .into_iter()
        .map(|file| {
            let rank = f64::from(file) + 1.0;
            (exponential(&mut random).ln() + exponent * rank.ln(), file)
        })
        .collect();
    drawn.select_nth_unstable_by(count, |left, right| left.0.total_cmp(&right.0));
    let mut files: Vec<u32> = drawn[..count].iter().map(|&(_, file)| file).collect();
    files.sort_unstable();
    files
}

/// An exponential variate with mean 1.
fn exponential(random: &mut Xoshiro256PlusPlus) -> f64 {
    // 52 bits and a half: neither 0 nor 1, so that both logarithms are finite.
    let bits = random.next_u64() >> 12;
    let uniform = (bits as f64 + 0.5) * (1.0 / (1_u64 << 52) as f64);
    -uniform.ln()
}

/// The finaliser of SplitMix64 (Steele, Lea and Flood, 2014): a permutation of 64 bits.
fn mix(value: u64) -> u64 {
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}
