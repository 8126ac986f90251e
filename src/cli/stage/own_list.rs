//! What each rank has under the sources, where every rank adds what it has.

use std::path::PathBuf;
use std::sync::Arc;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::super::stage_args::StageArgs;
use super::source_list::{SourceList, check_list, list_options, list_some};
use super::staged_tree::{RankSource, StagedTree, present};
use super::terminal;
use crate::config::RateLimits;
use crate::escape;
use crate::manifest::{SegmentId, SegmentSet};
use crate::tree::{
    EntryKind, EntrySet, FileIdentity, Listed, Manifest, OwnEntries, default_segment_bytes,
    merge_lists, root_in_source,
};
use crate::verify::Digest;

/// What this rank has.
pub(super) struct OwnList {
    said: OwnListSaid,
    identities: Vec<FileIdentity>,
}

/// What others are to know of it.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct OwnListSaid {
    manifest: Manifest,
    /// Whether all of it can be read.
    is_whole: bool,
    /// By source, whether it is here.
    has: Vec<bool>,
}

/// The root of each file that several ranks have.
pub(super) type SharedRoots = Vec<(u32, Option<Digest>)>;

impl OwnList {
    /// Lists the sources that are here, and says what is left out.
    pub(super) fn read(args: &StageArgs, links: (bool, RateLimits)) -> Result<Self, String> {
        let here: Vec<PathBuf> = present(args);
        let has = args.sources.iter().map(|source| here.contains(source)).collect();
        let Listed { manifest, identities, unreadable, .. } = list_some(args, links, &here)?;
        let said = OwnListSaid { manifest, is_whole: unreadable.is_empty(), has };
        Ok(Self { said, identities })
    }

    pub(super) fn said(&self) -> &OwnListSaid {
        &self.said
    }

    /// What it has of the list of all ranks.
    pub(super) fn entries(&self, merged: &Manifest) -> OwnEntries {
        OwnEntries::find(merged, &self.said.manifest)
    }

    /// What this rank reads of a tree.
    pub(super) fn source(&self, tree: &StagedTree, own: &OwnEntries) -> Option<RankSource> {
        let mut manifest = Manifest::clone(&tree.manifest);
        let mut identities = vec![FileIdentity::default(); manifest.entries.len()];
        let mut lacking = SegmentSet::all_of(tree.layout.segment_count());
        let files = (0_u32..).zip(&own.places).filter_map(|(at, place)| Some((at, (*place)?)));
        for (at, place) in files.clone() {
            let (index, place) = (at as usize, place as usize);
            // Its own files are compared with its own list.
            manifest.entries[index].modified = self.said.manifest.entries[place].modified;
            identities[index] = self.identities[place];
            let segments = tree.layout.segments_of(at).map(SegmentId);
            segments.for_each(|segment| lacking.remove(segment));
        }
        let own = Some((Arc::new(manifest), lacking));
        files.clone().next().map(|_| RankSource { identities, own })
    }
}

/// Why `--from each` can't begin, by the command line alone.
pub(super) fn refusal(args: &StageArgs) -> Option<String> {
    let refusal = "--manifest with --from each: no rank has all of the sources: leave it out, and run mpiswarm \
                   verify on each rank first";
    args.manifest.as_ref().map(|_| refusal.to_owned())
}

/// One list of what all ranks have, by rank.
pub(super) fn merged(
    args: &StageArgs,
    links: (bool, RateLimits),
    all: Vec<OwnListSaid>,
) -> Result<SourceList, String> {
    let nobody = |index: usize| all.iter().all(|one| one.has.get(index) != Some(&true));
    if let Some((_, source)) = (0..).zip(&args.sources).find(|&(index, _)| nobody(index)) {
        return Err(format!("{}: no rank has it", escape::path(source)));
    }
    let is_whole = all.iter().all(|one| one.is_whole);
    let lists: Vec<Manifest> = all.into_iter().map(|one| one.manifest).collect();
    for (rank, list) in lists.iter().enumerate() {
        list.check_entries().map_err(|(_, error)| format!("rank {rank}: {error}"))?;
    }
    let mut manifest = merge_lists(&lists).map_err(|clash| clash.to_string())?;
    let options = list_options(args, links);
    let default = || default_segment_bytes(&manifest, &options);
    manifest.segment_bytes = options.segment_bytes.unwrap_or_else(default);
    manifest.check().map_err(|error| error.to_string())?;
    check_list(args, links, &manifest)?;
    if args.delete && !is_whole {
        terminal::note("note: nothing is deleted, since not all of the source can be read");
    }
    Ok(SourceList { manifest, is_whole, digests: Vec::new(), identities: Vec::new() })
}

/// Reads and hashes those of the own files that other ranks have, too.
pub(super) fn shared_roots(
    args: &StageArgs,
    tree: &StagedTree,
    shared: &EntrySet,
    own: &OwnEntries,
) -> Result<SharedRoots, String> {
    let Some(source) = tree.source(args)? else { return Ok(Vec::new()) };
    let count = u32::try_from(own.places.len()).unwrap_or(u32::MAX);
    let is_mine = |&entry: &u32| {
        let kind = &tree.manifest.entries[entry as usize].kind;
        let is_file = matches!(kind, EntryKind::File { .. });
        is_file && shared.contains(entry) && own.files.contains(entry)
    };
    let mine: Vec<u32> = (0..count).filter(is_mine).collect();
    let root = |entry| {
        Ok((
            entry,
            root_in_source(&source, &tree.manifest, entry).map_err(|error| error.to_string())?,
        ))
    };
    mine.into_par_iter().map(root).collect()
}

/// Whether the ranks, in order, have the same content under the same names.
pub(super) fn compare_roots(manifest: &Manifest, all: &[SharedRoots]) -> Result<(), String> {
    let roots = all.iter().enumerate();
    let roots =
        roots.flat_map(|(rank, roots)| roots.iter().map(move |root| (root.0, rank, root.1)));
    let mut roots: Vec<(u32, usize, Option<Digest>)> = roots.collect();
    roots.sort_unstable_by_key(|&(entry, rank, _)| (entry, rank));
    for same in roots.chunk_by(|one, other| one.0 == other.0) {
        let (entry, first, root) = same[0];
        let differs = same.iter().find(|other| other.2 != root);
        if let (Some(&(_, second, _)), Some(entry)) =
            (differs, manifest.entries.get(entry as usize))
        {
            return Err(format!(
                "{}: rank {first} and rank {second} have files of one size with different content: give one of them \
                 another name, or leave it out with --exclude",
                entry.path
            ));
        }
    }
    Ok(())
}
