//! A stage as a contender: what `mpiswarm stage` does with a new folder for each peer. It lists the tree, moves it,
//! hashes it, writes it, waits for the disk and gives it its name. Who starts whom, and which peers share a folder,
//! is known already.

use std::path::{Path, PathBuf};
use std::slice;
use std::sync::Arc;

use super::source_tree::{SourceTree, TREE};
use super::stage_options::StageOptions;
use super::{Copied, CopyError, CopyRun};
use crate::config::{Compress, Overrides, RateLimits};
use crate::driver::stage::{StagePart, StagedRank, stage_threads};
use crate::driver::stage_resources::{default_memory, default_workers, slots_needed};
use crate::manifest::SegmentSet;
use crate::metrics::RankMetrics;
use crate::metrics::cores::CoreShare;
use crate::protocol::Outcome;
use crate::time::{Clock, Timestamp};
use crate::tree::{
    Destination, DestinationOptions, Destinations, FileIdentity, Layout, ListOptions, Listed,
    Manifest, TreeSource, list,
};

/// What a stage of a plan chooses.
#[derive(Clone, Debug, Default)]
pub(crate) struct Staging {
    pub switches: Overrides,
    pub options: StageOptions,
}

/// Where the peers of a stage run.
#[derive(Clone, Copy, Debug)]
pub(super) struct StagePlace {
    /// Whether there are links between them.
    pub has_links: bool,
    /// Those on this host.
    pub peers_here: usize,
    /// The cores that fall to each of them.
    pub share: CoreShare,
}

/// The list of a tree, as each peer has it.
#[derive(Clone, Debug)]
pub(super) struct StagedList {
    manifest: Arc<Manifest>,
    layout: Arc<Layout>,
}

impl StagedList {
    pub(super) fn new(manifest: Manifest) -> Result<Self, CopyError> {
        let layout = Arc::new(Layout::new(&manifest)?);
        Ok(Self { manifest: Arc::new(manifest), layout })
    }

    pub(super) fn bytes(&self) -> u64 {
        self.manifest.bytes()
    }

    /// Opens the tree for the peer that has listed it.
    pub(super) fn source(
        &self,
        source: &SourceTree,
        identities: &[FileIdentity],
    ) -> Result<TreeSource, CopyError> {
        let (manifest, layout) = (Arc::clone(&self.manifest), Arc::clone(&self.layout));
        let source = TreeSource::open(slice::from_ref(&source.path()), manifest, layout)?;
        Ok(source.with_identities(identities))
    }
}

impl Staging {
    /// Threads of a peer, beside the one that communicates.
    pub(crate) fn workers(&self, share: CoreShare) -> usize {
        self.options.workers.unwrap_or_else(|| default_workers(share, false, 1))
    }

    pub(super) fn list(&self, source: &SourceTree, has_links: bool) -> Result<Listed, CopyError> {
        let slots = || {
            let config = self.switches.config(1, has_links);
            slots_needed(&config, self.compress(), self.options.workers, false)
        };
        let options = ListOptions {
            segment_bytes: self.options.segment_bytes,
            is_over_links: has_links,
            segment_bytes_most: self.options.memory.map(|memory| memory / slots()),
            ..ListOptions::default()
        };
        Ok(list(&[source.path()], &options)?)
    }

    /// What one peer does; `source` is for the one that reads the tree.
    pub(super) fn part(
        &self,
        list: StagedList,
        source: Option<TreeSource>,
        to: &Path,
        seed: u64,
        place: &StagePlace,
    ) -> Result<StagePart, CopyError> {
        let StagedList { manifest, layout } = list;
        let options = DestinationOptions {
            sync: self.options.sync.unwrap_or(true),
            ..DestinationOptions::default()
        };
        let opened = Destination::open(
            to,
            Arc::clone(&manifest),
            Arc::clone(&layout),
            &options,
            &mut |_| (),
        )?;
        let bytes = layout.segment_bytes();
        let by_default = || default_memory(place.peers_here, bytes as u64);
        Ok(StagePart {
            source,
            lacking: SegmentSet::default(),
            destinations: Destinations::new(vec![opened]),
            needed: SegmentSet::all_of(layout.segment_count()),
            config: self.switches.config(bytes, place.has_links),
            limits: RateLimits::default(),
            compress: self.compress(),
            seed,
            memory_bytes: self.options.memory.unwrap_or_else(by_default),
            workers: self.workers(place.share),
            has_own_core: place.share.has_own_core(),
            trace: None,
            warn: |_| (),
            manifest,
            layout,
        })
    }

    fn compress(&self) -> Compress {
        self.options.compress.unwrap_or_default()
    }

    /// Stages to each of these folders, by threads. The first peer reads the tree.
    pub(super) fn by_threads(
        &self,
        run: &CopyRun<'_>,
        source: &SourceTree,
        dirs: &[PathBuf],
        clock: &Clock,
    ) -> Result<Vec<Copied>, CopyError> {
        let began = clock.now();
        let Listed { manifest, identities, .. } = self.list(source, false)?;
        let list = StagedList::new(manifest)?;
        let place = StagePlace { has_links: false, peers_here: dirs.len(), share: run.share };
        let mut parts = Vec::new();
        for dir in dirs {
            let reads = parts.is_empty().then(|| list.source(source, &identities)).transpose()?;
            parts.push(self.part(list.clone(), reads, dir, run.seed, &place)?);
        }
        let workers: Vec<_> = parts.iter().map(|part| part.workers as u64).collect();
        let staged: Vec<StagedRank> = if parts.iter().all(StagePart::is_done) {
            parts.iter().map(StagePart::finish).collect()
        } else {
            let (outcome, staged) = stage_threads(parts, clock, |_| ())?;
            check_outcome(&outcome)?;
            staged
        };
        // Who is through first waits for the others: all that it has may still be asked for.
        let (bytes, ended) = (list.bytes(), clock.now());
        let peers = staged.into_iter().zip(workers).enumerate();
        let made = |(place, (staged, workers))| {
            copied(staged, (place == 0_usize, workers, bytes), (began, ended))
        };
        peers.map(made).collect()
    }
}

/// Whether a stage brought everything.
pub(super) fn check_outcome(outcome: &Outcome) -> Result<(), CopyError> {
    match outcome.errors.first() {
        Some(error) => Err(CopyError::Incomplete(error.clone())),
        None => Ok(()),
    }
}

/// What a peer did, which read the tree or not, in the time between.
pub(super) fn copied(
    staged: StagedRank,
    (reads, workers, bytes): (bool, u64, u64),
    (began, ended): (Timestamp, Timestamp),
) -> Result<Copied, CopyError> {
    if let Some(problem) = staged.problem {
        return Err(CopyError::Incomplete(problem));
    }
    if staged.complete_destinations != 1 {
        return Err(CopyError::Incomplete(format!("{TREE} is not whole")));
    }
    let served_bytes = staged.served_bytes;
    let metrics = RankMetrics {
        served_bytes,
        origin_bytes: if reads { served_bytes } else { 0 },
        received_bytes: bytes,
        workers,
        ..RankMetrics::default()
    };
    Ok(Copied { after: ended.since(began), metrics })
}
