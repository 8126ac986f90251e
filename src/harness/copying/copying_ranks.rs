//! Copies by the ranks of an MPI job: each has a folder of its own, rank 0 too.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use mpi::topology::{Communicator as _, Rank};

use super::source_tree::CopyFolders;
use super::staging::{StagePlace, StagedList, Staging, check_outcome, copied};
use super::{Copied, Copier, CopyError, CopyRun, by_program, result, sync};
use crate::driver::job::JobResult;
use crate::driver::stage::stage_rank;
use crate::harness::Launch;
use crate::harness::launch::Ranks;
use crate::metrics::RankMetrics;
use crate::time::{Clock, nanoseconds};
use crate::transport::TransportError;
use crate::transport::mpi::{Meeting, RollCall};
use crate::tree::{Listed, Manifest, StoredManifest};

impl CopyRun<'_> {
    /// What this rank does; rank 0 gets the result.
    pub(super) fn by_rank(
        &self,
        launch: &Launch,
        ranks: &Ranks,
        clock: &Clock,
    ) -> Result<Option<JobResult>, CopyError> {
        let world = &ranks.world;
        let roll_call = RollCall::new(world, self.limit);
        let base = self.source.map(|source| source.base().as_os_str().as_bytes().to_vec());
        let base = roll_call.spread(Meeting::Inputs, 0, base.unwrap_or_default())?;
        let base = PathBuf::from(OsString::from_vec(base));
        let peer = peer_of(world.rank(), world.size());
        let folders = CopyFolders::make(&base, [peer]).map_err(CopyError::Folders)?;
        let [dir] = folders.dirs() else { unreachable!("one folder was asked for") };
        sync(dir)?;
        self.meter.begin();
        launch.barrier();
        self.meter.open();
        let opened = clock.now();
        let mine = match self.copier {
            Copier::Staging(staging) => self.stage(staging, launch, ranks, dir, clock)?,
            Copier::Program(program) => {
                // Rank 0 knows how much that was.
                let after = by_program(*program, &base, dir, clock)?;
                Copied { after, metrics: RankMetrics::default() }
            }
        };
        self.meter.end();
        let said = postcard::to_allocvec(&(nanoseconds(mine.after), mine.metrics.encode()));
        let said = said.expect("plain data can be serialized");
        let mut reports = Vec::new();
        // Nobody compares while others still copy.
        roll_call.meet(Meeting::Reports, &said, |all| {
            reports = all;
            Vec::new()
        })?;
        if self.compares {
            self.compare_here(&roll_call, dir)?;
        }
        let Some(source) = self.source else { return Ok(None) };
        // The peer of rank 0 comes last.
        reports.rotate_left(1);
        let copied = reports.iter().map(|report| self.read(report, source.stored()));
        Ok(Some(result(opened, copied.collect::<Result<_, _>>()?, source.stored())))
    }

    /// Stages to this rank's folder. Rank 0 reads the tree.
    fn stage(
        &self,
        staging: &Staging,
        launch: &Launch,
        ranks: &Ranks,
        dir: &Path,
        clock: &Clock,
    ) -> Result<Copied, CopyError> {
        let began = clock.now();
        let has_links = launch.has_links();
        let listed = self.source.map(|source| staging.list(source, has_links)).transpose()?;
        let Listed { manifest, identities, .. } = listed.unwrap_or_default();
        let roll_call = RollCall::new(&ranks.world, self.limit);
        let manifest = roll_call.spread(Meeting::Manifest, 0, manifest.encode())?;
        let list = StagedList::new(Manifest::decode(&manifest)?)?;
        let source = self.source.map(|source| list.source(source, &identities)).transpose()?;
        let reads = source.is_some();
        let peers_here = usize::try_from(ranks.here()).unwrap_or(1);
        let place = StagePlace { has_links, peers_here, share: self.share };
        let bytes = list.bytes();
        let part = staging.part(list, source, dir, self.seed, &place)?;
        let workers = part.workers as u64;
        let staged = if part.is_done() {
            part.finish()
        } else {
            let (outcome, staged) = stage_rank(part, &ranks.world, clock, |_| ())?;
            outcome.as_ref().map_or(Ok(()), check_outcome)?;
            staged
        };
        copied(staged, (reads, workers, bytes), (began, clock.now()))
    }

    /// Compares this rank's copy with what rank 0 knows of the tree.
    fn compare_here(&self, roll_call: &RollCall<'_>, dir: &Path) -> Result<(), CopyError> {
        let mut text = Vec::new();
        if let Some(source) = self.source {
            source.stored().to_writer(&mut text).expect("memory takes every line");
        }
        let text = roll_call.spread(Meeting::Manifest, 0, text)?;
        let stored = StoredManifest::parse(&text[..]).map_err(|_| TransportError::BrokenOff)?;
        self.copier.compare(&stored, dir)
    }

    /// What a rank has reported.
    fn read(&self, report: &[u8], stored: &StoredManifest) -> Result<Copied, CopyError> {
        let broken = || CopyError::from(TransportError::BrokenOff);
        let (after, metrics): (u64, Vec<u8>) =
            postcard::from_bytes(report).map_err(|_| broken())?;
        let (after, metrics) =
            (Duration::from_nanos(after), RankMetrics::decode(&metrics).map_err(|_| broken())?);
        Ok(match self.copier {
            Copier::Staging(_) => Copied { after, metrics },
            Copier::Program(_) => {
                let host = metrics.host;
                let Copied { metrics, .. } = Copied::by_program(after, stored);
                Copied { after, metrics: RankMetrics { host, ..metrics } }
            }
        })
    }
}

/// The number of the peer of a rank, as a stage numbers its nodes: that of rank 0 comes last.
fn peer_of(rank: Rank, size: Rank) -> u32 {
    let peer = if rank == 0 { size } else { rank };
    u32::try_from(peer).expect("ranks are not negative")
}
