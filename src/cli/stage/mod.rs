//! `mpiswarm stage`: real files and folders on every node.

#[cfg(feature = "mpi")]
mod ranks;
#[cfg(feature = "mpi")]
mod rank_parts;
#[cfg(feature = "mpi")]
mod own_list;
#[cfg(feature = "mpi")]
mod binding_note;
#[cfg(feature = "mpi")]
mod destination_probe;
mod dry_run_report;
mod folder_identity;
mod folder_locks;
mod listing_progress;
mod metrics_file;
mod node_report;
mod parts;
mod source_list;
mod stage_progress;
mod stage_summary;
mod staged_tree;

use std::convert::Infallible;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rayon::prelude::*;

use super::stage_args::StageArgs;
use super::{FAILED, REFUSED, interrupt, runs_over_mpi, show as terminal, trace_output, writable};
use crate::config::ranges::{MemoryBytes, Threads};
use crate::config::{Config, RateLimits};
use crate::driver::stage::{StagePart, stage_threads};
use crate::driver::stage_resources::{default_memory, default_workers};
use crate::escape;
use crate::harness;
use crate::manifest::{NodeId, SegmentId, SegmentSet};
use crate::metrics::cores::{CoreShare, Cores};
use crate::metrics::trace::TraceLog;
use crate::spawn;
use crate::store::remove_left_over;
use crate::time::Clock;
use crate::tree::{
    Destination, DestinationError, DestinationOptions, Destinations, Layout, LockedFolder,
    Manifest, SegmentDigest, Shortage, TreeSource, is_reserved, shortages,
};
use crate::verify::Digest;
use dry_run_report::NodeDryRun;
use folder_identity::folder_identity;
use folder_locks::FolderLocks;
use metrics_file::StageRunning;
use node_report::{NodeReport, swarm_errors};
use source_list::SourceList;
use staged_tree::StagedTree;

/// The exit code of a stage.
pub(super) fn stage(args: &StageArgs) -> u8 {
    // First of all: threads that start before it would take the signals.
    if let Err(cause) = interrupt::install() {
        terminal::error(&format!("signals can't be waited for: {cause}"));
        return FAILED;
    }
    // Listing and comparing use it.
    if let Err(error) = spawn::common_pool() {
        terminal::error(&error.to_string());
        return REFUSED;
    }
    match runs_over_mpi(args.shared.transport) {
        Err(refusal) => return super::refuse_all(&refusal),
        Ok(false) => return stage_locally(args),
        Ok(true) => {}
    }
    #[cfg(feature = "mpi")]
    return ranks::stage(args);
    #[cfg(not(feature = "mpi"))]
    {
        terminal::error(super::NO_MPI);
        REFUSED
    }
}

/// Whether the options fit each other, and rank 0 can write what it is to write beside the tree.
fn check_outputs(args: &StageArgs) -> Result<(), String> {
    args.contradiction().map_or(Ok(()), Err)?;
    args.metrics.as_deref().map_or(Ok(()), metrics_file::check)?;
    let trace = args.trace.as_deref().map_or(Ok(()), writable::file);
    trace.map_err(|refusal| format!("--trace {refusal}"))
}

/// Keeps what a destination has already, by content. What an earlier attempt wrote is read, too: the disk may have
/// lost it since.
///
/// # Errors
///
/// When the destination can't note what it discards.
fn keep_same(
    destination: &Destination,
    layout: &Layout,
    digests: &[Digest],
) -> Result<(), DestinationError> {
    let same = |buffer: &mut Vec<u8>, segment: SegmentId| {
        // What can't be read is fetched like what differs.
        let read = destination.read(segment, buffer).ok()?;
        let found = SegmentDigest::of(layout, segment, &buffer[..read]);
        (digests.get(segment.index()) == Some(&found.digest)).then_some(found)
    };
    let buffer = || vec![0; layout.segment_bytes()];
    let resumed: Vec<SegmentId> = destination.resumed().iter().collect();
    resumed.into_par_iter().try_for_each_init(buffer, |buffer, segment| {
        if same(buffer, segment).is_none() { destination.discard(segment) } else { Ok(()) }
    })?;
    let candidates: Vec<SegmentId> = destination.candidates().iter().collect();
    candidates.into_par_iter().for_each_init(buffer, |buffer, segment| {
        if let Some(found) = same(buffer, segment) {
            destination.keep(segment, &found);
        }
    });
    Ok(())
}

/// The destinations of a rank, with `{rank}` and `{host}` filled in. Each counts once, whatever names it was given by:
/// what are two folders on one host may be one on another.
fn destination_dirs(args: &StageArgs, rank: u32, host: &str) -> Vec<PathBuf> {
    let fill = |dir: &PathBuf| match dir.to_str() {
        Some(text) => text.replace("{rank}", &rank.to_string()).replace("{host}", host).into(),
        None => dir.clone(),
    };
    let mut known = Vec::new();
    let is_new = |dir: &PathBuf| {
        let identity = folder_identity(dir, host);
        let is_known = identity.is_some() && known.contains(&identity);
        known.push(identity);
        !is_known
    };
    args.to.iter().map(fill).filter(is_new).collect()
}

/// The name of this host, as one component of a path.
pub(super) fn host_name() -> String {
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    if name.is_empty() { "localhost".to_owned() } else { name.replace('/', "-") }
}

fn destination_options(args: &StageArgs, tree: &StagedTree) -> DestinationOptions {
    DestinationOptions {
        mkdir: args.mkdir,
        // What could not be listed looks as if the source had it not.
        delete: args.delete && tree.is_whole,
        selection: tree.selection.clone(),
        checksum: args.checksum,
        sync: !args.no_sync,
        fresh: args.fresh,
        lock_wait: config(args, 1, false).registration_patience,
    }
}

/// Why these sources can't be staged to these destinations, whatever is in them. To be asked before anything is
/// made.
fn refusal(sources: &[PathBuf], dirs: &[PathBuf]) -> Option<String> {
    let name = |source: &PathBuf| match source.file_name() {
        Some(name) => Some(name.to_owned()),
        // `.` and `..` have their name elsewhere.
        None => fs::canonicalize(source).ok()?.file_name().map(ToOwned::to_owned),
    };
    let is_refused =
        |source: &&PathBuf| name(source).is_some_and(|name| is_reserved(name.as_encoded_bytes()));
    let refused = sources.iter().find(is_refused).map(|source| {
        format!(
            "{}: destinations keep what mpiswarm knows of them under this name: give the source another one",
            escape::path(source)
        )
    });
    refused.or_else(|| overlap(sources, dirs))
}

/// Why a destination can't be: it lies inside a source, or a source lies inside what it would write.
fn overlap(sources: &[PathBuf], dirs: &[PathBuf]) -> Option<String> {
    // A folder that is to be made lies where the nearest one above it does.
    let real = |path: &Path| {
        let path = std::path::absolute(path).ok()?;
        let mut above = path.ancestors();
        above.find_map(|above| {
            let behind = path.strip_prefix(above).ok()?;
            Some(fs::canonicalize(above).ok()?.join(behind))
        })
    };
    for (source, dir) in sources.iter().flat_map(|s| dirs.iter().map(move |d| (s, d))) {
        let (Some(from), Some(to)) = (real(source), real(dir)) else { continue };
        let shown = |path: &Path| escape::path(path).to_string();
        if to.starts_with(&from) {
            return Some(format!(
                "--to {}: it lies inside the source {}",
                shown(dir),
                shown(source)
            ));
        }
        let written = to.join(from.file_name().unwrap_or_default());
        if from.starts_with(&written) {
            let (dir, source) = (shown(dir), shown(source));
            return Some(format!(
                "the source {source} lies inside what would be written to {dir}: use another --to"
            ));
        }
    }
    None
}

/// What one rank does: open its destinations, take part, report.
struct RankSetup {
    manifest: Arc<Manifest>,
    layout: Arc<Layout>,
    source: Option<TreeSource>,
    lacking: SegmentSet,
    destinations: Destinations,
    report: NodeReport,
}

impl RankSetup {
    fn open(
        args: &StageArgs,
        tree: &StagedTree,
        folders: Vec<LockedFolder>,
        mut report: NodeReport,
    ) -> Self {
        let part = &tree.part;
        report.tree_bytes = part.manifest.bytes();
        let options = destination_options(args, tree);
        let digests = part.pick(&tree.digests);
        let mut opened = Vec::new();
        for folder in folders {
            let (manifest, layout) = (Arc::clone(&part.manifest), Arc::clone(&part.layout));
            let open = || {
                let one = Destination::within(folder, manifest, layout, &options)?;
                if args.checksum {
                    keep_same(&one, &part.layout, &digests)?;
                }
                Ok::<_, DestinationError>(one)
            };
            match open() {
                Ok(one) => opened.push(one),
                Err(error) => report.fail(error.to_string()),
            }
        }
        let notes = opened.iter().flat_map(|one| one.messages().iter().cloned());
        terminal::notes(notes.collect::<Vec<_>>().into_iter());
        Self {
            manifest: Arc::clone(&tree.manifest),
            layout: Arc::clone(&tree.layout),
            source: tree.source(args).unwrap_or_else(|cause| {
                terminal::note(&format!("note: {cause}"));
                None
            }),
            lacking: tree.lacking(),
            destinations: Destinations::new(opened).of_part(part.segments.clone()),
            report,
        }
    }

    /// Drops out what has no room.
    fn drop_out(&mut self, shortages: &[Option<Shortage>]) {
        for error in self.destinations.remove_without_room(shortages) {
            self.report.fail(error.to_string());
        }
        self.report.kept_bytes = self.destinations.working().map(Destination::kept_bytes).sum();
        self.report.resumed_bytes =
            self.destinations.working().map(Destination::resumed_bytes).sum();
    }

    fn part(self, args: &StageArgs, needed: SegmentSet, at: &HostShare) -> (StagePart, NodeReport) {
        let share = CoreShare::new(&at.cores, at.ranks_here);
        let by_default = default_workers(share, at.is_alone, self.destinations.count());
        let segment_bytes = self.layout.segment_bytes();
        let memory = default_memory(at.ranks_here, segment_bytes as u64);
        let config = config(args, segment_bytes, at.has_links || at.lowest.is_limited());
        let part = StagePart {
            config: config.waiting_for(at.lowest, segment_bytes),
            limits: args.limits(),
            compress: args.compress,
            manifest: self.manifest,
            layout: self.layout,
            source: self.source,
            lacking: self.lacking,
            destinations: self.destinations,
            needed,
            seed: args.shared.seed.get(),
            memory_bytes: args.memory.map_or(memory, MemoryBytes::get),
            workers: args.workers.map_or(by_default, Threads::get),
            has_own_core: share.has_own_core(),
            trace: args.trace.as_ref().map(|_| TraceLog::default()),
            warn: terminal::error,
        };
        (part, self.report)
    }
}

/// Where a rank runs.
struct HostShare {
    ranks_here: usize,
    cores: Cores,
    has_links: bool,
    /// The lowest limits of any rank.
    lowest: RateLimits,
    /// Whether there is no other rank.
    is_alone: bool,
}

fn config(args: &StageArgs, segment_bytes: usize, has_links: bool) -> Config {
    let mut config = Config::defaults(segment_bytes, has_links);
    (config.decide, config.tracker_threads) = (args.decide, args.tracker_threads.get());
    args.shared.apply(&mut config);
    config
}

/// Whether a stage without other ranks can begin.
fn check_here(args: &StageArgs, dirs: &[PathBuf]) -> Result<(), String> {
    refusal(&args.sources, dirs).map_or(Ok(()), Err)?;
    check_outputs(args)
}

fn stage_locally(args: &StageArgs) -> u8 {
    let clock = Clock::start();
    let host = host_name();
    let dirs = destination_dirs(args, 0, &host);
    if let Err(refusal) = check_here(args, &dirs) {
        terminal::error(&refusal);
        return REFUSED;
    }
    let running = StageRunning::begin(args, 0);
    let listed = SourceList::read(args, false, RateLimits::default());
    let tree = match listed.and_then(|listed| StagedTree::alone(args, listed, (0, &host))) {
        Ok(tree) => tree,
        Err(refusal) => {
            terminal::error(&refusal);
            return REFUSED;
        }
    };
    if args.dry_run {
        let node = NodeDryRun::of(args, (0, &host), (&dirs, None), &tree);
        return dry_run_report::print(args, (&tree.manifest, tree.is_whole), &[node]);
    }
    let mut report = NodeReport::new(0, &host, &dirs);
    interrupt::begin(interrupt::RUN_AGAIN);
    dirs.iter().for_each(|dir| remove_left_over(dir));
    let locks = FolderLocks::of(&dirs, &host, args.mkdir);
    let limit = config(args, 1, false).registration_patience;
    let Ok(folders) = locks.take(limit, &mut report, Ok::<_, Infallible>);
    let mut setup = RankSetup::open(args, &tree, folders, report);
    let rooms = setup.destinations.rooms(setup.source.as_ref());
    setup.drop_out(&shortages(rooms.into_iter().map(|room| ((), room))));
    if setup.destinations.is_empty() {
        terminal::errors(setup.report.reason.iter().cloned());
        return REFUSED;
    }
    let needed = setup.destinations.missing();
    // Nothing is sent, so that no limit holds anything back.
    let (lowest, cores) = (RateLimits::default(), Cores::mine());
    let place = HostShare { ranks_here: 1, cores, has_links: false, lowest, is_alone: true };
    let (part, mut report) = setup.part(args, needed, &place);
    let progress = stage_progress::progress(args, &tree.layout, vec![host.clone()], &clock);
    let trace = part.trace.clone();
    let ended = if part.is_done() {
        Ok((None, part.finish()))
    } else {
        stage_threads(vec![part], &clock, progress).map(|(outcome, staged)| {
            (Some(outcome), staged.into_iter().next().expect("one part was given"))
        })
    };
    match ended {
        Ok((outcome, staged)) => {
            report.take(staged);
            let nodes = vec![report];
            terminal::errors(swarm_errors(outcome.as_ref(), NodeId(1), &nodes).into_iter());
            let summary = stage_summary::StageSummary {
                manifest: &tree.manifest,
                layout: &tree.layout,
                is_whole: tree.is_whole,
                nodes,
                seconds: clock.now().0 as f64 / 1e9,
                cores: Some(harness::cores()),
                limits: &[],
            };
            let code = summary.print(args);
            running.end();
            let trace = (args.trace.as_deref(), trace.as_ref());
            trace_output::write(trace, (1, true), false, code)
        }
        Err(error) => {
            terminal::error(&error.to_string());
            FAILED
        }
    }
}
