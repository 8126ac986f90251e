//! A run whose nodes are the ranks of an MPI job.

use std::fs;
use std::time::Duration;

use mpi::Threading;
use mpi::environment::Universe;
use mpi::topology::{Communicator as _, SimpleCommunicator};

use super::agreement;
use super::args::RunArgs;
use super::launcher::Launcher;
use super::local::{claim, count_nodes};
use super::show;
use super::trace_output;
use super::{FAILED, OK, REFUSED, refuse_all};
use crate::baseline;
use crate::config::{Engine, SILENCE_PATIENCE};
use crate::driver::job;
use crate::metrics::cores::CoreShare;
use crate::store::{OutputList, remove_left_over};
use crate::time::Clock;
use crate::transport::mpi::{Meeting, RollCall, here};
use crate::watchdog;

// How long `MPI_Abort` may take. It tells the launcher, which is on the same host; a second is long.
const ABORT_LIMIT: Duration = Duration::from_secs(10);

pub(super) fn run(args: &RunArgs) -> u8 {
    let clock = Clock::start();
    let needed = match args.engine {
        Engine::Lockfree => Threading::Funneled,
        Engine::Mutex => Threading::Multiple,
    };
    let config = args.job(false, |_| ()).config;
    let all = "all ranks to start (MPI_Init)";
    let Some((universe, provided)) = initialize(needed, config.registration_patience, all) else {
        return FAILED;
    };
    let world = universe.world();
    if let Err(code) = begin(&world, config.registration_patience, &args.agreed()) {
        return code;
    }
    let begins = watchdog::limit("all ranks to begin", config.registration_patience);
    let here = here(&world);
    drop(begins);
    // Rank 0 holds the output folder until all have ended.
    let _list = match refuse(args, provided, &world, config.registration_patience) {
        Ok(list) => list,
        Err(code) => return code,
    };
    let one_machine = here.ranks == world.size();
    let ranks_here = usize::try_from(here.ranks).expect("this rank is here");
    let share = CoreShare::new(&here.cores, ranks_here);
    let job = args.on_cores(args.job(!one_machine, show::error), share);
    let progress = show::progress(args, &clock);
    let ended = match args.engine {
        Engine::Lockfree => job::run_rank(&job, &world, &clock, progress),
        Engine::Mutex => baseline::run_rank(&job, &world, &clock, progress),
    };
    match ended {
        Ok(ended) => {
            let is_broken = ended.as_ref().is_some_and(|ended| !ended.outcome.lost.is_empty());
            let cores = one_machine.then(|| here.cores.count());
            let code = ended.map(|ended| {
                let code = show::summary(args, &clock, "mpi", cores, ended);
                let trace = (args.trace.as_deref(), job.trace.as_ref());
                let ranks = usize::try_from(world.size()).unwrap_or_default();
                trace_output::write(trace, (ranks, false), is_broken, code)
            });
            if is_broken {
                abort(&world, code.unwrap_or(FAILED))
            }
            end(&world, config.silence_patience);
            code.unwrap_or(OK)
        }
        Err(error) => {
            show::error(&error.to_string());
            abort(&world, FAILED)
        }
    }
}

/// Tells rank 0 what is wrong with the command line of this rank; on rank 0, which has said its own, hears
/// from the others. Only MPI tells whether they have the same mistake.
pub(super) fn explain(rank: u32, wrong: &str) -> u8 {
    let say = || {
        if rank != 0 {
            show::error(&format!("rank {rank}: {wrong}"));
        }
    };
    let limit = SILENCE_PATIENCE;
    let all = format!("all ranks to start (MPI_Init), to tell them: {wrong}");
    let Some((universe, _)) = initialize(Threading::Funneled, limit, &all) else {
        say();
        return REFUSED;
    };
    let world = universe.world();
    if let Err(error) = agreement::refusal(&RollCall::new(&world, limit), Err(wrong)) {
        say();
        show::error(&format!("rank {rank}: {error}"));
        abort(&world, REFUSED)
    }
    REFUSED
}

/// Initializes MPI; none where that fails, and says why. Each wait from here on has a limit, `MPI_Init` too,
/// in which a rank waits for `all`.
pub(super) fn initialize(
    threading: Threading,
    limit: Duration,
    all: &str,
) -> Option<(Universe, Threading)> {
    let rank = Launcher::of_this_process().and_then(|launcher| launcher.rank);
    let rank = rank.map(|rank| format!("rank {rank}: ")).unwrap_or_default();
    let name = rank.clone();
    let installed = watchdog::install(move |what| {
        let stopped = stopped_ranks();
        let who = if stopped.is_empty() { "another rank".to_owned() } else { stopped.join(", ") };
        show::error(&format!("{rank}waited too long for {what}: {who} is stopped or lost"));
        // Only MPI's own thread may call `MPI_Abort`; the launcher ends the other ranks.
        std::process::abort();
    });
    if let Err(cause) = installed {
        show::error(&format!("{name}{cause}"));
        return None;
    }
    let _limited = watchdog::limit(all, limit);
    let initialized = mpi::initialize_with_threading(threading);
    if initialized.is_none() {
        show::error(&format!("{name}MPI can't be initialized"));
    }
    initialized
}

/// Ranks of this program on this host that a signal has stopped: in `MPI_Init` and in other collective calls
/// MPI can't tell who is missing.
fn stopped_ranks() -> Vec<String> {
    let mine = fs::read_link("/proc/self/exe").ok();
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let stopped = processes.filter_map(|process| {
        let dir = process.path();
        let is_ours = fs::read_link(dir.join("exe")).ok() == mine;
        let status = fs::read_to_string(dir.join("status")).ok().filter(|_| is_ours)?;
        let state = status.lines().find_map(|line| line.strip_prefix("State:"))?.trim();
        let environment = fs::read(dir.join("environ")).ok().filter(|_| state.starts_with('T'))?;
        let environment = String::from_utf8_lossy(&environment).into_owned();
        let value = |name: &str| {
            let mut pairs = environment.split('\0').filter_map(|pair| pair.split_once('='));
            pairs.find(|(key, _)| *key == name).map(|(_, value)| value.to_owned())
        };
        Launcher::detect(value)?.rank.map(|rank| format!("rank {rank}"))
    });
    stopped.collect()
}

/// What all ranks do first. An exit code where they can't go on.
pub(super) fn begin(
    world: &SimpleCommunicator,
    limit: Duration,
    agreed: &[(String, String)],
) -> Result<(), u8> {
    if let Some(refusal) = disagreement(world) {
        return Err(refuse_all(&refusal));
    }
    let rank = world.rank();
    let roll_call = RollCall::new(world, limit).with_notes(show::note);
    match agreement::refusal(&roll_call, Ok(agreed)) {
        Ok(None) => Ok(()),
        Ok(Some(code)) => Err(code),
        Err(error) => {
            show::error(&format!("rank {rank}: {error}"));
            abort(world, FAILED)
        }
    }
}

/// What all ranks do last, so that rank 0 can name a rank that never comes to `MPI_Finalize`. While rank 0
/// measures the limits of the machine and prints, the others sleep and leave it the cores.
pub(super) fn end(world: &SimpleCommunicator, limit: Duration) {
    let roll_call = RollCall::new(world, limit);
    for meeting in [Meeting::Summary, Meeting::Leave] {
        if let Err(error) = roll_call.meet(meeting, &[], |_| Vec::new()) {
            show::error(&format!("rank {}: {error}", world.rank()));
            abort(world, FAILED)
        }
    }
    // The limit lasts until the process ends: MPI is finalized when its handle is dropped.
    std::mem::forget(watchdog::limit("the other ranks to end (MPI_Finalize)", limit));
}

/// Ends all ranks.
pub(super) fn abort(world: &SimpleCommunicator, code: u8) -> ! {
    std::mem::forget(watchdog::limit("MPI_Abort", ABORT_LIMIT));
    world.abort(code.into())
}

/// Why the launcher and MPI do not count the same ranks, if they don't.
fn disagreement(world: &SimpleCommunicator) -> Option<String> {
    let ranks = u32::try_from(world.size()).unwrap_or_default();
    Launcher::of_this_process().and_then(|launcher| launcher.disagreement(ranks))
}

/// The exit code where inputs, ranks, output folder and MPI don't fit together. Rank 0 checks, and tells
/// the others.
fn refuse(
    args: &RunArgs,
    provided: Threading,
    world: &SimpleCommunicator,
    limit: Duration,
) -> Result<Option<OutputList>, u8> {
    let (mut code, mut list) = (OK, None);
    if world.rank() == 0 {
        let fits = count_nodes(args, u32::try_from(world.size()).ok())
            .and_then(|_| check_threads(args.engine, provided))
            .and_then(|()| claim(args));
        match fits {
            Ok(claimed) => list = claimed,
            Err(error) => {
                show::error(&error);
                code = REFUSED;
            }
        }
    }
    let met = RollCall::new(world, limit)
        .with_notes(show::note)
        .meet(Meeting::Inputs, &[], |_| vec![code]);
    let shared = met.unwrap_or_else(|error| {
        show::error(&format!("rank {}: {error}", world.rank()));
        abort(world, FAILED)
    });
    if shared != [OK] {
        // Only rank 0 exits with it: a launcher reports each code that is not 0.
        return Err(code);
    }
    if world.rank() != 0 {
        // Rank 0 did where its host has this folder.
        remove_left_over(&args.out);
    }
    Ok(list)
}

/// Checks that MPI allows as many communicating threads as the engine has.
fn check_threads(engine: Engine, provided: Threading) -> Result<(), String> {
    if engine == Engine::Lockfree || provided == Threading::Multiple {
        return Ok(());
    }
    Err(format!(
        "--engine mutex: it needs MPI_THREAD_MULTIPLE, but this MPI provides only {provided:?}: use \
         --engine lockfree"
    ))
}
