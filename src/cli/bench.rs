//! `mpiswarm bench`.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::args::BenchArgs;
use super::{FAILED, OK, REFUSED, is_rank, show};
use crate::harness::comparison::{self, ContenderRow, SUMMARY};
use crate::harness::environment::{ENVIRONMENT, Environment, LimitsAt};
use crate::harness::records::{Journal, Record, RecordsError};
use crate::harness::runner::{self, Bench, BenchError, BenchOutcome};
use crate::harness::{Launch, Plan, table, tracker_run};
use crate::time::Clock;

/// Where records go that nobody gave a place.
const RESULTS: &str = "results";

pub(super) fn bench(args: &BenchArgs) -> u8 {
    if !is_rank() {
        let plan = match Plan::read(&args.plan, None) {
            Ok(plan) => within(plan, args),
            Err(error) => return refuse(&error.to_string()),
        };
        return lead(args, &plan, &Launch::Threads).unwrap_or_else(|BrokenRun(code)| code);
    }
    #[cfg(feature = "mpi")]
    return ranks::bench(args);
    #[cfg(not(feature = "mpi"))]
    refuse("this program was built without MPI: build it with the feature `mpi`")
}

/// The plan within the time that the command line gives.
fn within(plan: Plan, args: &BenchArgs) -> Plan {
    let budget = args.budget.map_or(plan.budget, Duration::from_secs);
    Plan { budget, ..plan }
}

fn refuse(sentence: &str) -> u8 {
    show::error(sentence);
    REFUSED
}

/// The exit code of a measurement in which a contender broke: other ranks wait in vain.
struct BrokenRun(u8);

/// Carries out a plan on rank 0, or on the only process, and lets the others go.
fn lead(args: &BenchArgs, plan: &Plan, launch: &Launch) -> Result<u8, BrokenRun> {
    let clock = Clock::start();
    let calibration = runner::calibrate(plan, launch, &clock);
    let environment = Environment::capture(plan, launch, calibration);
    let code = match open(args, &environment) {
        Ok((journal, earlier)) => measure(plan, launch, (&clock, &environment), journal, earlier),
        Err(sentence) => Ok(refuse(&sentence)),
    };
    // Only now, because ranks that end keep their cores busy.
    if code.is_ok() {
        launch.give(None);
    }
    code
}

/// Runs all that is to be run, and says how it went.
fn measure(
    plan: &Plan,
    launch: &Launch,
    (clock, environment): (&Clock, &Environment),
    mut journal: Journal,
    earlier: Vec<Record>,
) -> Result<u8, BrokenRun> {
    show::note(&format!("records in {}", journal.dir().display()));
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
    // What one machine can do bounds nothing where there are several.
    let before =
        if environment.is_one_machine() { &environment.limits[..] } else { Default::default() };
    let mut bench = Bench { plan, launch, limits: before, clock, journal: &mut journal };
    let measured = match bench.lead(earlier, &mut show::note) {
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
    if let Err(error) = conclude(journal.dir(), &measured, &limits, &rows) {
        show::error(&error.to_string());
        return Ok(FAILED);
    }
    show::text(&table::render(&rows));
    let is_invalid = rows.iter().any(|row| row.invalid_why.is_some());
    Ok(if is_invalid { FAILED } else { OK })
}

/// Begins new records, or goes on with those that are there.
fn open(args: &BenchArgs, environment: &Environment) -> Result<(Journal, Vec<Record>), String> {
    if !args.resume {
        let dir = args.out.clone().unwrap_or_else(|| unused(environment));
        let journal = Journal::begin(&dir).map_err(|error| match error {
            RecordsError::System { path, cause }
                if cause.kind() == std::io::ErrorKind::AlreadyExists =>
            {
                format!("{}: is there already: --resume goes on with it", path.display())
            }
            error @ (RecordsError::System { .. }
            | RecordsError::Damaged { .. }
            | RecordsError::Version { .. }) => error.to_string(),
        })?;
        let path = dir.join(ENVIRONMENT);
        write(&path, environment).map_err(|error| error.to_string())?;
        return Ok((journal, Vec::new()));
    }
    let dir = args.out.clone().ok_or("--resume needs --out: the folder to go on with")?;
    let path = dir.join(ENVIRONMENT);
    let text = fs::read_to_string(&path).map_err(|cause| format!("{}: {cause}", path.display()))?;
    let earlier: Environment =
        serde_json::from_str(&text).map_err(|cause| format!("{}: {cause}", path.display()))?;
    if let Some(what) = environment.differs_from(&earlier) {
        return Err(format!("{}: {what} was another: nothing to go on with", path.display()));
    }
    let (journal, recovered) = Journal::resume(&dir).map_err(|error| error.to_string())?;
    if let Some(line) = recovered.cut_off {
        show::note(&format!("line {line} of the records was cut off: that run is made again"));
    }
    show::note(&format!("{} runs are there already", recovered.records.len()));
    Ok((journal, recovered.records))
}

/// A folder under `results` that nobody used yet.
fn unused(environment: &Environment) -> PathBuf {
    let base = Path::new(RESULTS).join(environment.folder());
    let later = (2..).map(|number| PathBuf::from(format!("{}-{number}", base.display())));
    std::iter::once(base.clone())
        .chain(later)
        .find(|dir| !dir.exists())
        .expect("there are more numbers than folders")
}

/// Writes what the records say beside them.
fn conclude(
    dir: &Path,
    measured: &BenchOutcome,
    limits: &[LimitsAt],
    rows: &[ContenderRow],
) -> Result<(), RecordsError> {
    let conclusion = serde_json::json!({
        "summary_schema": 1,
        "runs": measured.records.len(),
        "warm_up_runs_discarded": measured.warm_up_runs,
        "limits": limits,
        "rows": rows,
    });
    write(&dir.join(SUMMARY), &conclusion)
}

fn write(path: &Path, what: &impl serde::Serialize) -> Result<(), RecordsError> {
    let text = serde_json::to_string_pretty(what).expect("it holds only plain data");
    fs::write(path, text + "\n")
        .map_err(|cause| RecordsError::System { path: path.to_owned(), cause })
}

#[cfg(feature = "mpi")]
mod ranks {
    use mpi::Threading;
    use mpi::topology::Communicator as _;

    use super::{
        BenchArgs, BrokenRun, FAILED, Launch, OK, Plan, fs, lead, refuse, runner, show, within,
    };
    use crate::harness::launch::Ranks;
    use crate::harness::switches::ContenderKind;

    pub(super) fn bench(args: &BenchArgs) -> u8 {
        let Some((universe, _)) = mpi::initialize_with_threading(threading(args)) else {
            show::error("MPI can't be initialized");
            return FAILED;
        };
        let world = universe.world();
        let ranks = Ranks::new(universe.world());
        let text = if ranks.leads() { fs::read_to_string(&args.plan) } else { Ok(String::new()) };
        let problem = match &text {
            Err(cause) => Some(format!("{}: {cause}", args.plan.display())),
            Ok(_) if ranks.peers() == 0 => {
                Some("one rank alone has no peers: start at least 2".to_owned())
            }
            Ok(_) => None,
        };
        // A plan that can't be read is an empty one, which all ranks refuse: no rank aborts.
        let text = ranks.share(text.unwrap_or_default());
        let plan = Plan::parse(&args.plan, text, Some(ranks.peers()));
        let (leads, launch) = (ranks.leads(), Launch::Ranks(ranks));
        if let Some(problem) = problem {
            return refuse(&problem);
        }
        match plan {
            Ok(plan) if leads => lead(args, &within(plan, args), &launch)
                .unwrap_or_else(|BrokenRun(code)| world.abort(code.into())),
            Ok(plan) => match runner::follow(&plan, &launch) {
                Ok(()) => OK,
                Err(error) => {
                    show::error(&error.to_string());
                    world.abort(FAILED.into())
                }
            },
            Err(error) if leads => refuse(&error.to_string()),
            // Rank 0 says why. One code that says so is enough: a launcher has a word on each.
            Err(_) => OK,
        }
    }

    /// What threads must be allowed to do. Allowing more than the contenders need would slow them,
    /// so that the plan decides, where this rank can read it.
    fn threading(args: &BenchArgs) -> Threading {
        let plan = Plan::read(&args.plan, None);
        let needs_all = |plan: Plan| {
            plan.contenders.iter().any(|contender| contender.engine == ContenderKind::Mutex)
        };
        if plan.map_or(true, needs_all) { Threading::Multiple } else { Threading::Funneled }
    }
}
