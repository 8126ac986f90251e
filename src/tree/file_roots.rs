//! Roots of whole files on disk (BEP 52), in bounded memory.

use std::io;
use std::sync::Mutex;

use rayon::prelude::*;
use rustix::fd::AsFd;
use rustix::fs::{SeekFrom, fstat, seek};
use rustix::io::{Errno, pread};

use super::{
    EntryKind, Layout, Manifest, SegmentDigest, SegmentPlace, SourceError, TreeSource,
    root_of_large_file,
};
use crate::manifest::SegmentId;
use crate::verify::{Digest, merkle};

/// How much of a file is hashed at a time, bytes; a power of two times a leaf.
// Beyond a megabyte fewer system calls make no difference beside the hashing, and it fits into the cache of
// a core.
const PART_BYTES: usize = 1 << 20;

/// The roots of the files of a manifest.
#[derive(Debug, Default)]
pub struct FileRoots {
    /// By entry. None for what is no file, for an empty file, and for one of `errors`.
    pub roots: Vec<Option<Digest>>,
    /// By segment; none where a file of it is one of `errors`.
    pub digests: Vec<Option<Digest>>,
    /// The files that can't be read or changed, each once, in order.
    pub errors: Vec<SourceError>,
}

/// The root of the first `bytes` bytes of a file; none for an empty one, which has none. Holes are not read.
///
/// # Errors
///
/// When it can't be read, or is shorter.
pub fn root_of_file(file: impl AsFd, bytes: u64) -> io::Result<Option<Digest>> {
    if bytes == 0 {
        return Ok(None);
    }
    let mut buffer = vec![0; PART_BYTES];
    if bytes <= PART_BYTES as u64 {
        let whole = &mut buffer[..usize::try_from(bytes).expect("it is at most a part")];
        read_exact_at(&file, whole, 0)?;
        return Ok(Some(merkle::root_of(whole)));
    }
    let zeros = merkle::root_of_zeros(PART_BYTES);
    let mut runs = Vec::new();
    let mut offset = 0;
    while offset < bytes {
        let data = match seek(&file, SeekFrom::Data(offset)) {
            Ok(data) => data.min(bytes),
            // All that is left is a hole.
            Err(Errno::NXIO) => bytes,
            // Not every file system tells.
            Err(_) => offset,
        };
        let skipped = data.saturating_sub(offset) / PART_BYTES as u64;
        if skipped > 0 {
            runs.push((skipped, zeros));
            offset += skipped * PART_BYTES as u64;
            continue;
        }
        let length = usize::try_from(bytes - offset).unwrap_or(PART_BYTES).min(PART_BYTES);
        let part = &mut buffer[..length];
        read_exact_at(&file, part, offset)?;
        runs.push((1, merkle::root_of_part(part, PART_BYTES)));
        offset += length as u64;
    }
    // What lies behind the end of a file that has become shorter looks like a hole.
    if u64::try_from(fstat(&file)?.st_size).is_ok_and(|now| now < bytes) {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(Some(merkle::root_over_runs(runs, PART_BYTES)))
}

/// The root of a file of a source; none for an empty one, and for what is no file.
///
/// # Errors
///
/// It changed since it was listed, is gone, or can't be read.
pub fn root_in_source(
    source: &TreeSource,
    manifest: &Manifest,
    entry: u32,
) -> Result<Option<Digest>, SourceError> {
    match manifest.entries[entry as usize].kind {
        EntryKind::File { bytes, .. } => source.read_by(entry, |file| root_of_file(file, bytes)),
        EntryKind::Folder | EntryKind::Link { .. } | EntryKind::HardLink { .. } => Ok(None),
    }
}

fn read_exact_at(file: impl AsFd, mut out: &mut [u8], mut offset: u64) -> io::Result<()> {
    while !out.is_empty() {
        match pread(&file, &mut *out, offset) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(read) => {
                out = &mut out[read..];
                offset += read as u64;
            }
            Err(Errno::INTR) => {}
            Err(cause) => return Err(cause.into()),
        }
    }
    Ok(())
}

/// Reads and hashes all files of a source, on all cores; holes are not read. `hashed` is told the bytes of
/// each segment once it is hashed.
pub fn roots_of_files(
    source: &TreeSource,
    manifest: &Manifest,
    layout: &Layout,
    hashed: impl Fn(u64) + Sync,
) -> FileRoots {
    let errors = Mutex::new(Vec::new());
    let failed = |error| errors.lock().expect("no thread panics with the lock").push(error);
    let buffer = || vec![0; layout.segment_bytes()];
    let digests =
        (0..layout.segment_count()).into_par_iter().map_init(buffer, |buffer, segment| {
            let segment = SegmentId(segment);
            let digest = match source.read(segment, buffer) {
                Ok(bytes) => Some(SegmentDigest::of(layout, segment, &buffer[..bytes])),
                Err(error) => {
                    failed(error);
                    None
                }
            };
            hashed(layout.bytes_of(segment) as u64);
            digest
        });
    let digests: Vec<Option<SegmentDigest>> = digests.collect();
    let mut roots = vec![None; manifest.entries.len()];
    for (segment, digest) in (0..).map(SegmentId).zip(&digests) {
        let SegmentPlace::Packed(files) = layout.place(segment) else { continue };
        match digest {
            Some(digest) => {
                for (&(entry, _), &root) in layout.packed(files).iter().zip(&digest.roots) {
                    roots[entry as usize] = Some(root);
                }
            }
            // One file can't be read: its neighbours in the segment are hashed by themselves.
            None => {
                for &(entry, bytes) in layout.packed(files) {
                    let mut buffer = vec![0; bytes as usize];
                    match source.read_file(entry, &mut buffer) {
                        Ok(()) => roots[entry as usize] = Some(merkle::root_of(&buffer)),
                        Err(error) => failed(error),
                    }
                }
            }
        }
    }
    let digests: Vec<Option<Digest>> =
        digests.into_iter().map(|one| one.map(|one| one.digest)).collect();
    for (index, entry) in (0..).zip(&manifest.entries) {
        let is_large = |bytes| bytes > layout.segment_bytes() as u64;
        if matches!(entry.kind, EntryKind::File { bytes, .. } if is_large(bytes)) {
            let digest = |segment: SegmentId| digests[segment.index()];
            roots[index as usize] = root_of_large_file(manifest, layout, index, digest);
        }
    }
    let mut errors = errors.into_inner().expect("no thread panics with the lock");
    errors.sort_by_key(|error: &SourceError| error.entry);
    errors.dedup_by_key(|error| error.entry);
    FileRoots { roots, digests, errors }
}
