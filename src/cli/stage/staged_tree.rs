//! The tree as a rank stages it: what all ranks have of it, and what is this rank's own.

use std::io::ErrorKind;
use std::path::PathBuf;
use std::slice;
use std::sync::Arc;

use super::super::selection_flags::OnlyPattern;
use super::super::stage_args::{SourceRank, StageArgs};
use super::parts::{self, PartClaim};
use super::source_list::{SourceList, hash_segments, open_source};
use crate::manifest::{SegmentId, SegmentSet};
use crate::tree::{FileIdentity, Layout, Manifest, NameFilter, NodePart, TreeSource};
use crate::verify::Digest;

pub(super) struct StagedTree {
    pub(super) manifest: Arc<Manifest>,
    pub(super) layout: Arc<Layout>,
    /// Whether all of the sources could be listed.
    pub(super) is_whole: bool,
    /// With `--checksum`, of all segments.
    pub(super) digests: Vec<Digest>,
    /// What the destinations of this rank take.
    pub(super) part: NodePart,
    /// What they were asked for.
    pub(super) selection: NameFilter,
    /// What this rank reads; none where it reads nothing.
    pub(super) reads: Option<RankSource>,
}

/// What a rank reads of the sources.
pub(super) struct RankSource {
    /// By entry, where this rank has listed.
    pub(super) identities: Vec<FileIdentity>,
    /// Where ranks have parts: the list with the times of this rank's files, and the segments that it lacks.
    pub(super) own: Option<(Arc<Manifest>, SegmentSet)>,
}

impl StagedTree {
    /// All of a list, for a rank that reads it or does not.
    pub(super) fn whole(args: &StageArgs, list: SourceList, reads: bool) -> Result<Self, String> {
        let SourceList { manifest, is_whole, digests, identities } = list;
        let layout = Arc::new(Layout::new(&manifest).map_err(|error| error.to_string())?);
        let manifest = Arc::new(manifest);
        Ok(Self {
            part: NodePart::whole(&manifest, &layout),
            manifest,
            layout,
            is_whole,
            digests,
            selection: args.selection.0.clone(),
            reads: reads.then_some(RankSource { identities, own: None }),
        })
    }

    /// What a rank stages that has no others.
    pub(super) fn alone(
        args: &StageArgs,
        mut list: SourceList,
        (rank, host): (u32, &str),
    ) -> Result<Self, String> {
        if !args.has_parts() {
            return Self::whole(args, list, true);
        }
        let me = (rank, host.to_owned());
        let taken = parts::taken(args, &list.manifest, slice::from_ref(&me))?;
        let claim = PartClaim::new(args, &list.manifest, me.clone(), &taken, None)?;
        list.manifest.groups = parts::agree(args, &list.manifest, &[claim])?.groups;
        let mut tree = Self::whole(args, list, true)?;
        tree.take(args, &taken, &[me])?;
        if args.checksum {
            tree.digests = tree.hash(args)?.into_iter().map(|(_, digest)| digest).collect();
        }
        Ok(tree)
    }

    /// Takes part of it, for these ranks.
    pub(super) fn take(
        &mut self,
        args: &StageArgs,
        taken: &[bool],
        ranks: &[(u32, String)],
    ) -> Result<(), String> {
        if taken.contains(&false) {
            let part = NodePart::of(&self.manifest, &self.layout, taken);
            self.part = part.map_err(|error| error.to_string())?;
        }
        let only = OnlyPattern::filter(&args.only, ranks)?;
        self.selection = std::mem::take(&mut self.selection).and(&only);
        Ok(())
    }

    /// Reads and hashes what this rank can read.
    pub(super) fn hash(&self, args: &StageArgs) -> Result<Vec<(u32, Digest)>, String> {
        let Some(source) = self.source(args)? else { return Ok(Vec::new()) };
        let lacking = self.lacking();
        let all = (0..self.layout.segment_count()).map(SegmentId);
        let mine: Vec<SegmentId> = all.filter(|&segment| !lacking.contains(segment)).collect();
        let digests = hash_segments(&source, &self.layout, mine.clone())?;
        Ok(mine.into_iter().map(|segment| segment.0).zip(digests).collect())
    }

    /// Opens what this rank reads; none where it reads nothing.
    pub(super) fn source(&self, args: &StageArgs) -> Result<Option<TreeSource>, String> {
        let Some(reads) = &self.reads else { return Ok(None) };
        let (manifest, layout) = (Arc::clone(&self.manifest), Arc::clone(&self.layout));
        let source = match &reads.own {
            None => open_source(args, manifest, layout),
            Some((manifest, _)) => {
                let source = TreeSource::open_part(&present(args), Arc::clone(manifest), layout);
                source.map(|source| source.following_links(args.follows_links()))
            }
        };
        let source = source.map_err(|error| error.to_string())?;
        Ok(Some(source.with_identities(&reads.identities)))
    }

    /// The segments that it can't read; a set made for no segment where it can read all.
    pub(super) fn lacking(&self) -> SegmentSet {
        let own = self.reads.as_ref().and_then(|reads| reads.own.as_ref());
        own.map(|(_, lacking)| lacking.clone()).unwrap_or_default()
    }
}

/// The sources that are here: where each rank adds what it has, one may lack any of them.
pub(super) fn present(args: &StageArgs) -> Vec<PathBuf> {
    let may_lack = args.from == SourceRank::Each;
    // Where looking fails otherwise, it may be there: to list it fails, too, and says why. Taken for absent, it
    // would be deleted everywhere with `--delete`.
    let is_absent = |source: &PathBuf| {
        source.symlink_metadata().is_err_and(|cause| cause.kind() == ErrorKind::NotFound)
    };
    args.sources.iter().filter(|source| !(may_lack && is_absent(source))).cloned().collect()
}
