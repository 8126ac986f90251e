//! The list of the sources, as the rank makes it that reads them.

use std::cmp::Ordering;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::super::limit_rate::{self, segment_bytes_most};
use super::super::stage_args::StageArgs;
use super::{config, listing_progress, terminal};
use crate::config::RateLimits;
use crate::config::ranges::{Threads, TreeSegmentBytes};
use crate::driver::stage_resources::slots_needed;
use crate::manifest::SegmentId;
use crate::tree::{
    FileIdentity, Layout, ListError, ListOptions, Listed, Manifest, SegmentDigest, StoredManifest,
    TreePath, TreeSource, list, roots_of_files,
};
use crate::verify::Digest;

/// What a source has.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct SourceList {
    pub(super) manifest: Manifest,
    /// Whether all of it can be read.
    pub(super) is_whole: bool,
    /// The digests of all segments, with `--checksum`, unless ranks take parts.
    pub(super) digests: Vec<Digest>,
    /// On the rank that has listed.
    #[serde(skip)]
    pub(super) identities: Vec<FileIdentity>,
}

impl SourceList {
    /// Lists the sources, and says what is left out. `lowest` are the lowest limits of any rank.
    pub(super) fn read(
        args: &StageArgs,
        has_links: bool,
        lowest: RateLimits,
    ) -> Result<Self, String> {
        let Listed { manifest, identities, unreadable, .. } =
            list_some(args, (has_links, lowest), &args.sources)?;
        check_list(args, (has_links, lowest), &manifest)?;
        if args.delete && !unreadable.is_empty() {
            terminal::note("note: nothing is deleted, since not all of the source can be read");
        }
        if let Some(path) = &args.manifest {
            check_manifest(args, path, &manifest)?;
        }
        // Where ranks take parts, it is not known yet how the tree is cut.
        let hashes = args.checksum && !args.has_parts();
        let digests = if hashes { hash_source(args, &manifest)? } else { Vec::new() };
        Ok(Self { manifest, is_whole: unreadable.is_empty(), digests, identities })
    }
}

/// Segments that a rank must have memory for.
fn slots(args: &StageArgs, segment_bytes: usize, has_links: bool) -> u64 {
    let workers = args.workers.map(Threads::get);
    slots_needed(&config(args, segment_bytes, has_links), args.compress, workers, has_links)
}

/// How the sources are listed, and cut into segments.
pub(super) fn list_options(
    args: &StageArgs,
    (has_links, lowest): (bool, RateLimits),
) -> ListOptions<'_> {
    let has_links = has_links || lowest.is_limited();
    let memory = args.memory.map(|memory| memory.get());
    ListOptions {
        segment_bytes: args.segment_bytes.map(|bytes| bytes.get()),
        is_over_links: has_links,
        // Small segments need the most slots.
        segment_bytes_most: segment_bytes_most(
            memory.map(|memory| memory / slots(args, 1, has_links)),
            lowest,
        ),
        selection: Some(&args.selection.0),
        attributes: args.attributes.kept(),
        follows_links: args.follows_links(),
        found: None,
    }
}

/// Lists some of the sources, and says what is left out.
pub(super) fn list_some(
    args: &StageArgs,
    links: (bool, RateLimits),
    sources: &[PathBuf],
) -> Result<Listed, String> {
    let options = list_options(args, links);
    let listed = listing_progress::show_while(args, |found| {
        list(sources, &ListOptions { found: Some(found), ..options })
    });
    let listed = listed.map_err(|error| error.to_string())?;
    terminal::notes(listed.notes.iter().map(|note| format!("note: {note}")));
    terminal::errors(listed.unreadable.iter().cloned());
    Ok(listed)
}

/// Whether anything is left of the sources, and there is memory for segments of this size.
pub(super) fn check_list(
    args: &StageArgs,
    (has_links, lowest): (bool, RateLimits),
    manifest: &Manifest,
) -> Result<(), String> {
    let has_links = has_links || lowest.is_limited();
    args.selection.0.check(manifest)?;
    let bytes = manifest.segment_bytes;
    let needed = slots(args, bytes as usize, has_links) * u64::from(bytes);
    match args.memory.map(|memory| memory.get()).filter(|&memory| memory < needed) {
        None => limit_rate::check::<TreeSegmentBytes>(
            lowest,
            bytes as usize,
            &config(args, 1, has_links),
        ),
        Some(memory) => Err(format!(
            "--memory {memory}: segments of {bytes} bytes need {needed}: use more memory, or smaller \
             --segment-bytes"
        )),
    }
}

/// Whether the sources are what a manifest says: names, kinds, sizes, times, modes and content.
fn check_manifest(args: &StageArgs, path: &Path, manifest: &Manifest) -> Result<(), String> {
    let stored = StoredManifest::read(path).map_err(|error| error.to_string())?;
    let stored = args.selection.0.of(stored);
    let (said, found) = (&stored.manifest.entries, &manifest.entries);
    let refusal = |path: &TreePath, why: &str| Err(format!("--manifest: {path}: {why}"));
    if let Some((said, found)) =
        said.iter().zip(found).find(|(said, found)| !said.agrees_with(found))
    {
        // The first in order is the one that the other lacks.
        return match said.path.components().cmp(found.path.components()) {
            Ordering::Equal => refusal(&said.path, "kind, size, mode, time or attributes differ"),
            Ordering::Less => refusal(&said.path, "it is lacking in the source"),
            Ordering::Greater => refusal(&found.path, "it is not in the manifest"),
        };
    }
    if let Some(lacking) = said.get(found.len()) {
        return refusal(&lacking.path, "it is lacking in the source");
    }
    if let Some(more) = found.get(said.len()) {
        return refusal(&more.path, "it is not in the manifest");
    }
    let layout = Arc::new(Layout::new(manifest).map_err(|error| error.to_string())?);
    let source = open_source(args, Arc::new(manifest.clone()), Arc::clone(&layout));
    let source = source.map_err(|error| error.to_string())?;
    let hashed = roots_of_files(&source, manifest, &layout, |_| ());
    if let Some(error) = hashed.errors.first() {
        return Err(error.to_string());
    }
    let mut pairs = stored.roots.iter().zip(&hashed.roots).zip(found);
    match pairs.find(|((said, found), _)| said.is_some() && said != found) {
        Some((_, entry)) => refusal(&entry.path, "its content is another"),
        None => Ok(()),
    }
}

/// The sources as they were listed.
pub(super) fn open_source(
    args: &StageArgs,
    manifest: Arc<Manifest>,
    layout: Arc<Layout>,
) -> Result<TreeSource, ListError> {
    let source = TreeSource::open(&args.sources, manifest, layout)?;
    Ok(source.following_links(args.follows_links()))
}

/// Reads and hashes all of the sources.
fn hash_source(args: &StageArgs, manifest: &Manifest) -> Result<Vec<Digest>, String> {
    let layout = Arc::new(Layout::new(manifest).map_err(|error| error.to_string())?);
    let manifest = Arc::new(manifest.clone());
    let source = open_source(args, manifest, Arc::clone(&layout));
    let source = source.map_err(|error| error.to_string())?;
    let segments = (0..layout.segment_count()).map(SegmentId).collect();
    hash_segments(&source, &layout, segments)
}

/// Reads and hashes segments of the sources.
pub(super) fn hash_segments(
    source: &TreeSource,
    layout: &Layout,
    segments: Vec<SegmentId>,
) -> Result<Vec<Digest>, String> {
    let hash = |buffer: &mut Vec<u8>, segment: SegmentId| {
        let read = source.read(segment, buffer).map_err(|error| error.to_string())?;
        Ok(SegmentDigest::of(layout, segment, &buffer[..read]).digest)
    };
    let segments = segments.into_par_iter();
    segments.map_init(|| vec![0; layout.segment_bytes()], hash).collect()
}
