//! A tree made from a seed: what real ones have, in small.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::{FileExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::{Rng as _, SeedableRng as _};
use rayon::prelude::*;
use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, utimensat};

/// The standard deviation of the logarithm of a file's size.
// As in file systems of workstations (Agrawal et al., A Five-Year Study of File-System Metadata, 2007):
// most files are small, and most bytes are in few files.
const SIGMA: f64 = 2.0;

/// How many files a folder has on average.
// The same study.
const FILES_PER_FOLDER: u32 = 12;

/// How deep folders lie, at most.
// Paths stay short enough for one system call.
const DEPTH_MAX: usize = 12;

/// How many files there are to one that is empty, one hard link, symbolic link or empty folder.
// Rare, but some in a tree of a few hundred files.
const RARE: u32 = 50;

/// Bytes of a file that may have a hole, at least.
// Several blocks and pages of any file system.
const SPARSE_BYTES_MIN: u64 = 256 << 10;

/// How much of a file is written at a time, bytes.
// Fits into a core's cache.
const WRITE_BYTES: usize = 256 << 10;

/// Modes of files, the usual ones several times.
const FILE_MODES: [u32; 10] =
    // Programs, private and read-only files; one with set-user-id, one that is sticky.
    [0o644, 0o644, 0o644, 0o644, 0o755, 0o600, 0o444, 0o640, 0o4755, 0o1604];

/// Modes of folders, the usual one several times.
const FOLDER_MODES: [u32; 6] =
    // Shared by a group, private, and one that nothing can be written to.
    [0o755, 0o755, 0o755, 0o2775, 0o700, 0o555];

/// A tree: log-normal sizes, nested folders, links, holes, odd modes and times. Its content does not
/// compress. Equal numbers give equal trees, times included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SyntheticTree {
    /// Files, beside hard links.
    pub files: u32,
    /// Their bytes in all, holes included.
    pub bytes: u64,
    /// Whether large files may have holes, as a quarter of them then do.
    pub has_holes: bool,
    /// Decides all else.
    pub seed: u64,
}

struct PlannedFile {
    path: PathBuf,
    bytes: u64,
    seed: u64,
    is_sparse: bool,
}

impl SyntheticTree {
    /// Memory that writing the tree takes, about.
    pub fn memory_bytes(&self) -> u64 {
        // Path, weight and plan of each file.
        u64::from(self.files) * 256
    }

    /// Writes the tree into a folder that is there and empty.
    ///
    /// # Errors
    ///
    /// When something can't be written.
    pub fn write(&self, dir: &Path) -> io::Result<()> {
        let mut random = Xoshiro256PlusPlus::seed_from_u64(self.seed);
        let folders = self.folders(dir, &mut random)?;
        let files = self.files(&folders, &mut random);
        files.par_iter().try_for_each(PlannedFile::write)?;
        for number in 0..self.files / RARE {
            let folder = &folders[pick(&mut random, folders.len())];
            let first = &files[pick(&mut random, files.len())].path;
            fs::hard_link(first, folder.join(format!("another name {number}")))?;
            let folder = &folders[pick(&mut random, folders.len())];
            let link = folder.join(format!("link-{number}"));
            let target = first.file_name().unwrap_or_default();
            symlink(Path::new("..").join(target), &link)?;
            set_time(&link, &mut random)?;
        }
        for PlannedFile { path, .. } in &files {
            set_mode(path, &FILE_MODES, &mut random)?;
            set_time(path, &mut random)?;
        }
        // A folder comes behind the one that it lies in. Its time changes no more, and neither does its mode
        // keep anything from being written.
        for folder in folders.iter().rev() {
            if folder != dir {
                set_mode(folder, &FOLDER_MODES, &mut random)?;
            }
            set_time(folder, &mut random)?;
        }
        Ok(())
    }

    /// Makes the folders, each in one before it.
    fn folders(&self, dir: &Path, random: &mut Xoshiro256PlusPlus) -> io::Result<Vec<PathBuf>> {
        let mut folders = vec![(dir.to_owned(), 0)];
        let count = self.files / FILES_PER_FOLDER;
        for number in 0..count {
            let (parent, depth) = &folders[pick(random, folders.len())];
            let (parent, depth) =
                if *depth < DEPTH_MAX { (parent, depth + 1) } else { (&folders[0].0, 1) };
            let path = parent.join(name("folder", number, random));
            fs::create_dir(&path)?;
            folders.push((path, depth));
        }
        for number in 0..self.files / RARE {
            let path = folders[pick(random, folders.len())].0.join(format!("empty-{number}"));
            fs::create_dir(&path)?;
            folders.push((path, DEPTH_MAX));
        }
        Ok(folders.into_iter().map(|(path, _)| path).collect())
    }

    fn files(&self, folders: &[PathBuf], random: &mut Xoshiro256PlusPlus) -> Vec<PlannedFile> {
        let weights: Vec<f64> = (0..self.files)
            .map(|number| {
                let weight = (SIGMA * normal(random)).exp();
                if number % RARE == RARE / 2 { 0.0 } else { weight }
            })
            .collect();
        let sum: f64 = weights.iter().sum();
        // Sizes from the running sum: what is rounded off one file goes to the next, and they add up.
        let (mut before, mut end) = (0.0, 0);
        let mut files = Vec::new();
        for (number, weight) in (0..self.files).zip(&weights) {
            before += weight;
            let until = if number + 1 == self.files { self.bytes } else { self.part(before / sum) };
            let bytes = until.saturating_sub(end);
            end = end.max(until);
            let folder = &folders[pick(random, folders.len())];
            // Drawn in any case: names and sizes are the same with holes and without.
            let is_sparse = bytes >= SPARSE_BYTES_MIN && pick(random, 4) == 0 && self.has_holes;
            let path = folder.join(name("file", number, random));
            files.push(PlannedFile { path, bytes, seed: random.next_u64(), is_sparse });
        }
        files
    }

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a part of a number"
    )]
    fn part(&self, part: f64) -> u64 {
        ((self.bytes as f64 * part) as u64).min(self.bytes)
    }
}

impl PlannedFile {
    fn write(&self) -> io::Result<()> {
        let file = File::create_new(&self.path)?;
        let mut random = Xoshiro256PlusPlus::seed_from_u64(self.seed);
        let mut buffer =
            vec![0; WRITE_BYTES.min(usize::try_from(self.bytes).unwrap_or(WRITE_BYTES))];
        file.set_len(self.bytes)?;
        for offset in (0..self.bytes).step_by(WRITE_BYTES) {
            let left = usize::try_from(self.bytes - offset).unwrap_or(WRITE_BYTES);
            let part = &mut buffer[..left.min(WRITE_BYTES)];
            // Half of a sparse file is holes.
            if self.is_sparse && random.next_u64() % 2 == 0 {
                continue;
            }
            random.fill_bytes(part);
            file.write_all_at(part, offset)?;
        }
        Ok(())
    }
}

/// A name, mostly plain.
fn name(kind: &str, number: u32, random: &mut Xoshiro256PlusPlus) -> String {
    match pick(random, 12) {
        0 => format!("a {kind} with spaces {number}"),
        1 => format!("{kind}-größe-名前-{number}"),
        2 => format!(".{kind}-{number}"),
        3 => format!("-{kind}'\"$&;{number}"),
        _ => format!("{kind}-{number:06}.bin"),
    }
}

/// One of `count`.
fn pick(random: &mut Xoshiro256PlusPlus, count: usize) -> usize {
    let product = u128::from(random.next_u64()) * count as u128;
    usize::try_from(product >> 64).unwrap_or_default()
}

/// A standard normal variate: Box and Muller, 1958.
fn normal(random: &mut Xoshiro256PlusPlus) -> f64 {
    // 52 bits and a half: neither 0 nor 1, so that the logarithm is finite.
    let mut uniform = || ((random.next_u64() >> 12) as f64 + 0.5) / (1_u64 << 52) as f64;
    let (radius, angle) = (uniform(), uniform());
    (-2.0 * radius.ln()).sqrt() * (std::f64::consts::TAU * angle).cos()
}

fn set_mode(path: &Path, modes: &[u32], random: &mut Xoshiro256PlusPlus) -> io::Result<()> {
    fs::set_permissions(path, Permissions::from_mode(modes[pick(random, modes.len())]))
}

/// Sets the time of a path, a link's own: from 1965 to 2033.
fn set_time(path: &Path, random: &mut Xoshiro256PlusPlus) -> io::Result<()> {
    let seconds = i64::from(random.next_u32() >> 1) - 150_000_000;
    let nanos = i64::from(random.next_u32() % 1_000_000_000);
    let time = Timespec { tv_sec: seconds, tv_nsec: nanos };
    let times = Timestamps { last_access: time, last_modification: time };
    Ok(utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW)?)
}
