//! A stage whose ranks are those of an MPI job: who lists, who writes, who lacks what.

use std::error::Error;
use std::io::{self, ErrorKind};
use std::path::PathBuf;
use std::time::Duration;

use mpi::Threading;
use mpi::topology::{Communicator as _, SimpleCommunicator};
use serde::{Deserialize, Serialize};

use super::binding_note::binding_note;
use super::destination_probe::make_probe;
use super::dry_run_report::{self, NodeDryRun};
use super::folder_identity::folder_identity;
use super::folder_locks::{FolderLocks, LockState};
use super::metrics_file::StageRunning;
use super::node_report::{NodeReport, follow_writers, swarm_errors};
use super::source_list::SourceList;
use super::stage_progress::progress;
use super::stage_summary::StageSummary;
use super::{HostShare, RankSetup, check_outputs, config, destination_dirs, host_name, refusal};
use crate::cli::over_mpi::{abort, begin, end, initialize};
use crate::cli::stage_args::{SourceRank, StageArgs};
use crate::cli::{FAILED, OK, REFUSED, interrupt, show as terminal, trace_output};
use crate::config::RateLimits;
use crate::driver::stage::{rank_of, stage_rank};
use crate::manifest::{NodeId, SegmentSet};
use crate::metrics::cores::Cores;
use crate::metrics::trace::TraceLog;
use crate::protocol::Outcome;
use crate::store::{Probe, sees};
use crate::time::Clock;
use crate::transport::TransportError;
use crate::transport::mpi::{HostRanks, Meeting, REPORT_BYTES_MAX, RollCall, here};
use crate::tree::{DestinationError, Room, Shortage, shortages};
use crate::watchdog;

/// What a rank says of its destinations before anything is listed.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Claim {
    host: String,
    limits: RateLimits,
    /// By destination, the name of the file that it put there, for others to look for; in a dry run its identity.
    names: Vec<String>,
}

/// What this rank knows of others before anything is listed.
struct KnownRanks {
    /// By destination of this rank, who writes it if another rank does.
    writers: Vec<Option<u32>>,
    /// By rank.
    hosts: Vec<String>,
    /// By rank.
    limits: Vec<RateLimits>,
    /// By rank and destination, who writes it if another rank does.
    all_writers: Vec<Vec<Option<u32>>>,
    /// The ranks with a destination that this rank writes, and their hosts.
    written_here: Vec<(u32, String)>,
}

impl KnownRanks {
    /// Those of its destinations that this rank writes itself, and the first rank that writes another.
    fn mine(&self, dirs: Vec<PathBuf>) -> (Vec<PathBuf>, Option<u32>) {
        let pairs = dirs.into_iter().zip(&self.writers);
        let mine = pairs.filter_map(|(dir, writer)| writer.is_none().then_some(dir)).collect();
        (mine, self.writers.iter().flatten().copied().next())
    }
}

/// The list of the source, or why there is none.
pub(super) type ListResult = Result<SourceList, String>;

/// What a rank says when it has compared the list with its destinations.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Compared {
    missing: Vec<u8>,
    /// What each of its destinations needs.
    rooms: Vec<Option<Room>>,
}

/// What rank 0 answers when all have compared the list with their destinations.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Start {
    needed: Vec<u8>,
    /// Whether any rank has a destination that can be written.
    any: bool,
    /// What the destinations of each rank lack.
    shortages: Vec<Vec<Option<Shortage>>>,
}

pub(super) fn stage(args: &StageArgs) -> u8 {
    let limit = config(args, 1, false).registration_patience;
    let Some((universe, _)) =
        initialize(Threading::Funneled, limit, "all ranks to start (MPI_Init)")
    else {
        return FAILED;
    };
    let world = universe.world();
    if let Err(code) = begin(&world, limit, &args.agreed()) {
        return code;
    }
    let begins = watchdog::limit("all ranks to begin", limit);
    let here = here(&world);
    drop(begins);
    // MPI has started: what comes now is the stage's own time.
    let clock = Clock::start();
    let job = StageJob { args, world: &world, here: &here, limit };
    match job.run(&clock) {
        Ok(code) => {
            // Others may have written and synced much meanwhile, without a swarm that hears of them.
            end(&world, limit);
            code
        }
        Err(error) => {
            terminal::error(&format!("rank {}: {error}", world.rank()));
            abort(&world, FAILED)
        }
    }
}

pub(super) struct StageJob<'a> {
    pub(super) args: &'a StageArgs,
    world: &'a SimpleCommunicator,
    here: &'a HostRanks,
    pub(super) limit: Duration,
}

impl StageJob<'_> {
    pub(super) fn rank(&self) -> u32 {
        u32::try_from(self.world.rank()).unwrap_or_default()
    }

    /// The exit code where nothing is begun, and rank 0 has said why: a launcher reports each that is not 0.
    fn refused(&self) -> u8 {
        if self.rank() == 0 { REFUSED } else { OK }
    }

    /// What ranks do `before` they come has a limit of its own.
    pub(super) fn roll_call(&self, before: Duration) -> RollCall<'_> {
        RollCall::new(self.world, before + self.limit).with_notes(terminal::note)
    }

    /// What this rank does before a meeting, for as long as its disks take.
    pub(super) fn work<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        self.roll_call(Duration::ZERO).work_before_meeting(work)
    }

    fn meet<T: Serialize, A: Serialize + for<'a> Deserialize<'a>>(
        &self,
        meeting: Meeting,
        mine: &T,
        answer: impl FnOnce(Vec<Vec<u8>>) -> A,
    ) -> Result<A, TransportError> {
        let mine = postcard::to_allocvec(mine).expect("plain data can be serialized");
        // A rank may wait that long for its folder before it comes.
        let before = if meeting == Meeting::Locks { self.limit } else { Duration::ZERO };
        let answered = self.roll_call(before).meet(meeting, &mine, |all| {
            let answer = answer(all);
            postcard::to_allocvec(&answer).expect("plain data can be serialized")
        })?;
        postcard::from_bytes(&answered).map_err(|_| TransportError::BrokenOff)
    }

    fn run(&self, clock: &Clock) -> Result<u8, Box<dyn Error>> {
        let host = host_name();
        let dirs = destination_dirs(self.args, self.rank(), &host);
        if self.args.dry_run {
            return self.dry_run(&host, &dirs);
        }
        let mut report = NodeReport::new(self.rank(), &host, &dirs);
        let Some(known) = self.find_writers(&dirs, &host, &mut report)? else {
            return Ok(self.refused());
        };
        let running = StageRunning::begin(self.args, self.rank());
        let (mine, writer) = known.mine(dirs.clone());
        let KnownRanks { hosts, limits, written_here, all_writers, .. } = known;
        let lowest = RateLimits::lowest_of(&limits);
        let Some(tree) = self.tree(&dirs, lowest, (&host, &written_here))? else {
            return Ok(self.refused());
        };
        report.written_by = writer;
        interrupt::begin(interrupt::RUN_AGAIN);
        let locks = FolderLocks::of(&mine, &host, self.args.mkdir);
        let folders = locks.take(self.limit, &mut report, |mine| self.first_in_use(mine))?;
        let open = || RankSetup::open(self.args, &tree, folders, report);
        let mut setup = self.work(open);
        let segments = tree.layout.segment_count();
        let start = self.compare(&setup, segments, &hosts)?;
        setup.drop_out(start.shortages.get(self.rank() as usize).map_or(&[], Vec::as_slice));
        let place = self.share(lowest);
        let needed =
            SegmentSet::from_bytes(segments, &start.needed).ok_or(TransportError::BrokenOff)?;
        let (part, mut report) = setup.part(self.args, needed, &place);
        let show = progress(self.args, &tree.layout, hosts, clock);
        if self.rank() == 0
            && let Some(note) = binding_note(&Cores::mine(), place.ranks_here, place.has_links)
        {
            terminal::note(&note);
        }
        let (mut outcome, trace) = (None, part.trace.clone());
        if !start.any {
            // Nobody can write: each says why in its report.
        } else if part.is_done() {
            if !part.destinations.is_empty() {
                report.take(self.work(|| part.finish()));
            }
        } else {
            let (ended, staged) = stage_rank(part, self.world, clock, show)?;
            outcome = ended;
            report.take(staged);
        }
        self.report((report, &all_writers), (outcome, trace), |nodes| {
            let cores = (!place.has_links).then(|| place.cores.count());
            let seconds = clock.now().0 as f64 / 1e9;
            let summary = StageSummary {
                manifest: &tree.manifest,
                layout: &tree.layout,
                is_whole: tree.is_whole,
                nodes,
                seconds,
                cores,
                limits: &limits,
            };
            let code = summary.print(self.args);
            if start.any { code } else { REFUSED }
        })
        .inspect(|_| running.end())
    }

    /// What all ranks would do; nobody writes, not even a file by which ranks find that they share a folder: that
    /// they look up.
    fn dry_run(&self, host: &str, dirs: &[PathBuf]) -> Result<u8, Box<dyn Error>> {
        let identity = |dir: &PathBuf| folder_identity(dir, host).unwrap_or_default();
        let names = dirs.iter().map(identity).collect();
        let is_same = |dir: &PathBuf, name: &str| !name.is_empty() && identity(dir) == name;
        let Some(known) = self.known_ranks(dirs, host, names, is_same)? else {
            return Ok(self.refused());
        };
        let lowest = RateLimits::lowest_of(&known.limits);
        let tree = self.tree(dirs, lowest, (host, &known.written_here))?;
        let Some(tree) = tree else { return Ok(self.refused()) };
        let (mine, writer) = known.mine(dirs.to_vec());
        let me = (self.rank(), host);
        let mine = self.work(|| NodeDryRun::of(self.args, me, (&mine, writer), &tree));
        let mine = mine.encoded(usize::try_from(REPORT_BYTES_MAX)?);
        let Some(all) = self.roll_call(Duration::ZERO).collect(Meeting::Reports, &mine)? else {
            return Ok(OK);
        };
        let read = all.iter().map(|bytes| postcard::from_bytes(bytes.as_deref()?).ok());
        let nodes: Option<Vec<NodeDryRun>> = read.collect();
        let nodes = nodes.ok_or(TransportError::BrokenOff)?;
        Ok(dry_run_report::print(self.args, (&tree.manifest, tree.is_whole), &nodes))
    }

    fn share(&self, lowest: RateLimits) -> HostShare {
        HostShare {
            ranks_here: usize::try_from(self.here.ranks).unwrap_or(1),
            cores: self.here.cores.clone(),
            has_links: self.has_links(),
            lowest,
            is_alone: self.world.size() == 1,
        }
    }

    /// Whether ranks are on several hosts.
    pub(super) fn has_links(&self) -> bool {
        self.here.ranks != self.world.size()
    }

    pub(super) fn is_lister(&self) -> bool {
        self.world.rank() == self.lister()
    }

    /// The rank that lists the source.
    fn lister(&self) -> i32 {
        match self.args.from {
            SourceRank::All | SourceRank::Each => 0,
            SourceRank::Rank(rank) => i32::try_from(rank).unwrap_or(0),
        }
    }

    /// What this rank knows of others; none where rank 0 can't write what it is to write.
    // A file with a random name shows it, whatever file systems and names of mounts there are.
    fn find_writers(
        &self,
        dirs: &[PathBuf],
        host: &str,
        report: &mut NodeReport,
    ) -> Result<Option<KnownRanks>, TransportError> {
        let args = self.args;
        // What is left over may be a whole tree.
        let probes: Vec<io::Result<Probe>> =
            self.work(|| dirs.iter().map(|dir| make_probe(args, dirs, dir)).collect());
        for (dir, probe) in dirs.iter().zip(&probes) {
            if let Err(cause) = probe {
                let error = if cause.kind() == ErrorKind::NotFound && !self.args.mkdir {
                    DestinationError::Missing { dir: dir.clone() }.to_string()
                } else {
                    format!("{}: {cause}", crate::escape::path(dir))
                };
                report.fail(format!("--to {error}"));
            }
        }
        let named = probes.iter().map(|probe| probe.as_ref().map(|probe| probe.name().to_owned()));
        let names = named.map(Result::unwrap_or_default);
        // The files go when all have looked.
        self.known_ranks(dirs, host, names.collect(), |dir, name| sees(dir, name))
    }

    /// The rank that writes the destinations of this one, if it is another: the first that has the same. And
    /// the hosts and limits of all ranks. None where rank 0 can't write what it is to write. `names` are what this
    /// rank calls its destinations, and `is_same` says whether one of them has another rank's name.
    fn known_ranks(
        &self,
        dirs: &[PathBuf],
        host: &str,
        names: Vec<String>,
        is_same: impl Fn(&PathBuf, &str) -> bool,
    ) -> Result<Option<KnownRanks>, TransportError> {
        let (host, limits) = (host.to_owned(), self.args.limits());
        let claim = Claim { host, limits, names };
        let claims: Vec<Option<Claim>> = self.meet(Meeting::Destinations, &claim, |all| {
            all.iter().map(|bytes| postcard::from_bytes(bytes).ok()).collect()
        })?;
        let writer_of = |dir: &PathBuf| {
            let is_same = |claim: &Claim| claim.names.iter().any(|name| is_same(dir, name));
            let mut earlier = (0..self.rank()).zip(&claims);
            earlier.find(|(_, claim)| claim.as_ref().is_some_and(is_same)).map(|(rank, _)| rank)
        };
        let writers: Vec<Option<u32>> = dirs.iter().map(writer_of).collect();
        // Nobody may remove the file that it is known by before all have looked.
        let said = self.meet(Meeting::Shared, &writers, |all| {
            let checked = check_outputs(self.args);
            let can_write = checked.inspect_err(|refusal| terminal::error(refusal)).is_ok();
            let all = all.iter().map(|bytes| postcard::from_bytes(bytes).unwrap_or_default());
            can_write.then(|| all.collect())
        })?;
        let all: Vec<Vec<Option<u32>>> = match said {
            Some(all) => all,
            None => return Ok(None),
        };
        let of = |claim: Option<Claim>| claim.map(|claim| (claim.host, claim.limits));
        let (hosts, limits): (Vec<String>, _) =
            claims.into_iter().map(|claim| of(claim).unwrap_or_default()).unzip();
        let is_here = |rank: u32, writers: &[Option<u32>]| {
            writers.iter().any(|writer| writer.unwrap_or(rank) == self.rank())
        };
        let written_here = (0_u32..).zip(&all).zip(&hosts);
        let written_here = written_here.filter(|((rank, writers), _)| is_here(*rank, writers));
        let written_here = written_here.map(|((rank, _), host)| (rank, host.clone())).collect();
        Ok(Some(KnownRanks { writers, hosts, limits, all_writers: all, written_here }))
    }

    /// The list of the source, on all ranks. Rank 0 says why there is none.
    pub(super) fn list(
        &self,
        dirs: &[PathBuf],
        lowest: RateLimits,
    ) -> Result<ListResult, TransportError> {
        let lister = self.lister();
        let mut listed: ListResult = Err(String::new());
        if lister >= self.world.size() {
            listed = Err(format!("--from {lister}: there are {} ranks", self.world.size()));
        } else if self.world.rank() == lister {
            listed = match refusal(&self.args.sources, dirs) {
                Some(refusal) => Err(refusal),
                None => {
                    let (args, has_links) = (self.args, self.has_links());
                    let read = || SourceList::read(args, has_links, lowest);
                    self.roll_call(Duration::ZERO).work_before_spreading(read)
                }
            };
        }
        let root = if lister < self.world.size() { lister } else { 0 };
        let bytes = postcard::to_allocvec(&listed).expect("plain data can be serialized");
        let identities = listed.map(|list| list.identities).unwrap_or_default();
        let spread = self.roll_call(Duration::ZERO).spread(Meeting::Manifest, root, bytes)?;
        let listed: ListResult =
            postcard::from_bytes(&spread).map_err(|_| TransportError::BrokenOff)?;
        let listed = listed.and_then(|list| {
            list.manifest.check().map_err(|error| error.to_string())?;
            Ok(SourceList { identities, ..list })
        });
        if let (Err(refusal), 0) = (&listed, self.world.rank()) {
            terminal::error(refusal);
        }
        Ok(listed)
    }

    /// The first folder of any rank that another run stages into.
    fn first_in_use(&self, mine: LockState) -> Result<LockState, TransportError> {
        self.meet(Meeting::Locks, &mine, |all| {
            let states =
                all.iter().filter_map(|bytes| postcard::from_bytes::<LockState>(bytes).ok());
            let (places, in_vain): (Vec<_>, Vec<_>) = states.unzip();
            (places.into_iter().flatten().min(), in_vain.contains(&true))
        })
    }

    /// Says what this rank lacks, and learns what any rank lacks, and what has no room.
    fn compare(
        &self,
        setup: &RankSetup,
        segments: u32,
        hosts: &[String],
    ) -> Result<Start, TransportError> {
        // Where others read, too, much of what is missing here comes from them.
        let is_alone = matches!(self.args.from, SourceRank::Rank(_));
        let only_source = setup.source.as_ref().filter(|_| is_alone);
        let mine = Compared {
            missing: setup.destinations.missing().to_bytes(),
            rooms: setup.destinations.rooms(only_source),
        };
        self.meet(Meeting::Missing, &mine, |all| {
            let none = Compared { missing: Vec::new(), rooms: Vec::new() };
            let all: Vec<Compared> = all
                .into_iter()
                .map(|bytes| postcard::from_bytes(&bytes).unwrap_or_else(|_| none.clone()))
                .collect();
            let shortages = shortages_of_ranks(&all, hosts);
            let mut needed = SegmentSet::none_of(segments);
            let mut any = false;
            for (rank, lacking) in all.iter().zip(&shortages) {
                let mut rooms = rank.rooms.iter().zip(lacking);
                let writes = rooms.any(|(room, lacking)| room.is_some() && lacking.is_none());
                any |= writes;
                if writes && let Some(missing) = SegmentSet::from_bytes(segments, &rank.missing) {
                    needed.add_all(&missing);
                }
            }
            Start { needed: needed.to_bytes(), any, shortages }
        })
    }

    /// Brings all reports to rank 0, which shows them; returns the exit code.
    fn report(
        &self,
        (report, writers): (NodeReport, &[Vec<Option<u32>>]),
        (outcome, trace): (Option<Outcome>, Option<TraceLog>),
        show: impl FnOnce(Vec<NodeReport>) -> u8,
    ) -> Result<u8, Box<dyn Error>> {
        let lost: Vec<i32> = match &outcome {
            Some(outcome) => outcome.lost.iter().map(|&node| rank_of(node, self.world)).collect(),
            None => Vec::new(),
        };
        let mine = postcard::to_allocvec(&report).expect("plain data can be serialized");
        let reports = if lost.is_empty() {
            self.roll_call(Duration::ZERO).collect(Meeting::Reports, &mine)?
        } else {
            // Others can't be asked any more: a lost rank would never answer.
            Some(vec![Some(mine)])
        };
        let Some(mut reports) = reports else { return Ok(OK) };
        reports.resize(usize::try_from(self.world.size()).unwrap_or_default(), None);
        let nodes = (0_u32..).zip(reports).map(|(rank, bytes)| {
            let read =
                bytes.and_then(|bytes: Vec<u8>| postcard::from_bytes::<NodeReport>(&bytes).ok());
            read.unwrap_or_else(|| {
                let mut report = NodeReport::new(rank, "unknown host", &[]);
                let is_lost = lost.iter().any(|&lost| u32::try_from(lost) == Ok(rank));
                let reason = if is_lost { "stopped or lost" } else { "its report did not come" };
                report.fail(reason.to_owned());
                report
            })
        });
        let mut nodes: Vec<NodeReport> = nodes.collect();
        follow_writers(&mut nodes, writers);
        let first = NodeId(u32::try_from(self.world.size()).unwrap_or_default());
        terminal::errors(swarm_errors(outcome.as_ref(), first, &nodes).into_iter());
        let ranks = nodes.len();
        let trace = (self.args.trace.as_deref(), trace.as_ref());
        let code = trace_output::write(trace, (ranks, false), !lost.is_empty(), show(nodes));
        if outcome.is_some_and(|outcome| !outcome.lost.is_empty()) {
            abort(self.world, FAILED);
        }
        Ok(code)
    }
}

/// What the destinations of each rank lack.
fn shortages_of_ranks(all: &[Compared], hosts: &[String]) -> Vec<Vec<Option<Shortage>>> {
    let rooms = all
        .iter()
        .zip(hosts)
        .flat_map(|(rank, host)| rank.rooms.iter().map(move |room| (host.as_str(), room.clone())));
    let mut found = shortages(rooms).into_iter();
    all.iter().map(|rank| found.by_ref().take(rank.rooms.len()).collect()).collect()
}
