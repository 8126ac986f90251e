//! `mpiswarm bench`.

use std::time::Duration;

use super::args::BenchArgs;
use super::{FAILED, OK, REFUSED, refuse_all, runs_over_mpi, show};
use crate::escape;
use crate::harness::environment::Environment;
use crate::harness::records::{Journal, Record};
use crate::harness::runner::{self, Bench, BenchError};
use crate::harness::{Launch, Plan, bench_table, comparison, results, tracker_run};
use crate::time::Clock;

pub(super) fn bench(args: &BenchArgs) -> u8 {
    let over_mpi = match runs_over_mpi(args.transport) {
        Ok(over_mpi) => over_mpi,
        Err(refusal) => return refuse_all(&refusal),
    };
    if !over_mpi {
        let plan = match Plan::read(&args.plan, None) {
            Ok(plan) => with_budget(plan, args),
            Err(error) => return refuse(&error.to_string()),
        };
        return run_plan(args, &plan, &Launch::Threads).unwrap_or_else(|BrokenRun(code)| code);
    }
    #[cfg(feature = "mpi")]
    return ranks::bench(args);
    #[cfg(not(feature = "mpi"))]
    refuse(super::NO_MPI)
}

/// The plan, with the budget of the command line if there is one.
fn with_budget(plan: Plan, args: &BenchArgs) -> Plan {
    let budget = args.budget.map_or(plan.budget, Duration::from_secs);
    Plan { budget, ..plan }
}

fn refuse(sentence: &str) -> u8 {
    show::error(sentence);
    REFUSED
}

// The exit code of a measurement in which a contender broke. The other ranks may still be inside
// that contender, so that only an abort ends them.
struct BrokenRun(u8);

/// Carries out a plan on rank 0, or on the only process, and releases the other ranks.
fn run_plan(args: &BenchArgs, plan: &Plan, launch: &Launch) -> Result<u8, BrokenRun> {
    let clock = Clock::start();
    let calibration = runner::calibrate(plan, launch, &clock);
    let environment = Environment::capture(plan, launch, calibration);
    let code = match open(args, &environment) {
        Ok((journal, earlier)) => measure(plan, launch, (&clock, &environment), journal, earlier),
        Err(sentence) => Ok(refuse(&sentence)),
    };
    // Not earlier: ranks that end keep their cores busy while limits are measured.
    if code.is_ok() {
        launch.send_order(None);
    }
    code
}

/// Begins new records, or continues those in `--out`.
fn open(args: &BenchArgs, environment: &Environment) -> Result<(Journal, Vec<Record>), String> {
    let opened = if args.resume {
        let dir = args.out.as_deref().ok_or("--resume: add --out with the folder to continue")?;
        results::resume(dir, environment, &mut show::note)
    } else {
        results::begin(args.out.clone(), &args.plan, environment)
            .map(|journal| (journal, Vec::new()))
    };
    opened.map_err(|error| error.to_string())
}

/// Runs everything, and prints the result.
fn measure(
    plan: &Plan,
    launch: &Launch,
    (clock, environment): (&Clock, &Environment),
    mut journal: Journal,
    earlier: Vec<Record>,
) -> Result<u8, BrokenRun> {
    show::note(&format!("records in {}", escape::path(journal.dir())));
    if let Some(load) = &plan.tracker {
        match tracker_run::run(load, plan.budget, plan.seed, clock, journal.dir()) {
            Ok(records) => show::text(&tracker_run::render(&records)),
            Err(error) => {
                show::error(&error.to_string());
                return Ok(FAILED);
            }
        }
        if plan.contenders.is_empty() {
            return Ok(OK);
        }
    }
    // The limits of one machine bound nothing where there are several.
    let before =
        if environment.is_one_machine() { &environment.limits[..] } else { Default::default() };
    let mut bench = Bench { plan, launch, limits: before, clock, journal: &mut journal };
    let measured = match bench.run(earlier, &mut show::note) {
        Ok(measured) => measured,
        Err(error) => {
            show::error(&error.to_string());
            return match error {
                BenchError::Run { .. } => Err(BrokenRun(FAILED)),
                BenchError::Records(_) => Ok(FAILED),
            };
        }
    };
    let contenders: Vec<_> = plan.contenders.iter().map(|entry| entry.name.as_str()).collect();
    let limits = runner::best_limits(before, &runner::measure_limits(plan, clock));
    let rows = comparison::compare(&measured.records, &contenders, &limits, plan.seed);
    if let Err(error) = results::conclude(journal.dir(), &measured, &limits, &rows) {
        show::error(&error.to_string());
        return Ok(FAILED);
    }
    show::text(&bench_table::render(&rows));
    let is_invalid = rows.iter().any(|row| row.invalid_why.is_some());
    Ok(if is_invalid { FAILED } else { OK })
}

#[cfg(feature = "mpi")]
mod ranks {
    use std::fs;

    use mpi::Threading;
    use mpi::topology::Communicator as _;

    use super::refuse_all;
    use super::{
        BenchArgs, BrokenRun, FAILED, Launch, OK, Plan, refuse, run_plan, runner, show, with_budget,
    };
    use crate::cli::over_mpi::disagreement;
    use crate::harness::launch::Ranks;
    use crate::harness::switches::ContenderKind;

    pub(super) fn bench(args: &BenchArgs) -> u8 {
        let Some((universe, _)) = mpi::initialize_with_threading(threading(args)) else {
            show::error("MPI can't be initialized");
            return FAILED;
        };
        let world = universe.world();
        if let Some(refusal) = disagreement(&world) {
            return refuse_all(&refusal);
        }
        let ranks = Ranks::new(universe.world());
        let text = if ranks.is_root() { fs::read_to_string(&args.plan) } else { Ok(String::new()) };
        let problem = match &text {
            Err(cause) => Some(format!("{}: {cause}", crate::escape::path(&args.plan))),
            Ok(_) if ranks.peers() == 0 => Some(super::super::ONE_NODE.to_owned()),
            Ok(_) => None,
        };
        // A plan that can't be read is shared as an empty one, which all ranks refuse: no rank aborts.
        let text = ranks.share(text.unwrap_or_default());
        let plan = Plan::parse(&args.plan, text, Some(ranks.peers()));
        let (is_root, launch) = (ranks.is_root(), Launch::Ranks(ranks));
        if let Some(problem) = problem {
            return refuse(&problem);
        }
        match plan {
            Ok(plan) if is_root => run_plan(args, &with_budget(plan, args), &launch)
                .unwrap_or_else(|BrokenRun(code)| world.abort(code.into())),
            Ok(plan) => match runner::serve(&plan, &launch) {
                Ok(()) => OK,
                Err(error) => {
                    show::error(&error.to_string());
                    world.abort(FAILED.into())
                }
            },
            Err(error) if is_root => refuse(&error.to_string()),
            // Rank 0 says why. One exit code is enough: a launcher reports each that is not 0.
            Err(_) => OK,
        }
    }

    // The least level of thread support that the plan needs, because a higher one slows every
    // call; the highest, where this rank can't read the plan.
    fn threading(args: &BenchArgs) -> Threading {
        let plan = Plan::read(&args.plan, None);
        let needs_all = |plan: Plan| {
            plan.contenders.iter().any(|contender| contender.engine == ContenderKind::Mutex)
        };
        if plan.map_or(true, needs_all) { Threading::Multiple } else { Threading::Funneled }
    }
}
