//! `mpiswarm bench`.

use std::env;
use std::path::Path;

use super::args::BenchArgs;
use super::launcher::Launcher;
use super::{
    FAILED, OK, REFUSED, bench_progress, interrupt, reading, refuse_all, runs_over_mpi, show,
    threads, writable,
};
use crate::config::REGISTRATION_PATIENCE;
use crate::config::ranges::BudgetTime;
use crate::escape;
use crate::harness::environment::{Environment, LimitsAt};
use crate::harness::measured::has_records;
use crate::harness::records::{self, Journal, Record, RecordsError};
use crate::harness::runner::{self, Bench, BenchError, BenchOutcome};
use crate::harness::workload::BenchScenario;
use crate::harness::{Launch, Plan, fit, measured, results, tracker_run};
use crate::report::compare::table;
use crate::time::Clock;

pub(super) fn bench(args: &BenchArgs) -> u8 {
    // First of all: threads that start before it would take the signals.
    if let Err(cause) = interrupt::install() {
        show::error(&format!("signals can't be waited for: {cause}"));
        return FAILED;
    }
    let over_mpi = match runs_over_mpi(args.transport) {
        Ok(over_mpi) => over_mpi,
        Err(refusal) => return refuse_all(&refusal),
    };
    if !over_mpi {
        let reading = reading::limited("the plan", REGISTRATION_PATIENCE);
        let plan = match Plan::read(&args.plan, None) {
            Ok(plan) => with_flags(plan, args),
            Err(error) => return refuse(&error.to_string()),
        };
        drop(reading);
        if let Err(refusal) = writable_out(args).and_then(|()| probe(&plan)) {
            return refuse(&refusal);
        }
        return run_plan(args, &plan, &Launch::Threads).unwrap_or_else(|BrokenRun(code)| code);
    }
    #[cfg(feature = "mpi")]
    return ranks::bench(args);
    #[cfg(not(feature = "mpi"))]
    refuse(super::NO_MPI)
}

/// The plan, with what the command line has of it.
fn with_flags(mut plan: Plan, args: &BenchArgs) -> Plan {
    let trees = plan.scenarios.iter_mut().filter_map(|scenario| scenario.tree.as_mut());
    trees.for_each(|tree| tree.folder = args.folder.clone().or(tree.folder.take()));
    let budget = args.budget.map_or(plan.budget, BudgetTime::get);
    Plan { budget, ..plan }
}

/// Checks that records can be written where they go.
fn writable_out(args: &BenchArgs) -> Result<(), String> {
    match &args.out {
        None => writable::folder(Path::new(results::RESULTS)),
        // Whether it can be continued depends on what is in it.
        Some(_) if args.resume => Ok(()),
        Some(out) if has_records(out) => {
            Err(RecordsError::Exists(out.join(records::RECORDS)).to_string())
        }
        Some(out) => writable::folder(out),
    }
}

/// Checks that this process has threads and memory for each workload.
fn probe(plan: &Plan) -> Result<(), String> {
    let threads = |scenario: &BenchScenario| {
        let peers = scenario.workload.peers;
        let share = Launch::Threads.core_share(peers);
        let of_a_peer = plan.contenders.iter().map(|one| one.threads_of_peer(share)).max();
        (peers + 1, of_a_peer.unwrap_or(0))
    };
    let all = |&(nodes, of_a_peer): &(u32, usize)| nodes as usize * (1 + of_a_peer);
    let (nodes, of_a_peer) = plan.scenarios.iter().map(threads).max_by_key(all).unwrap_or_default();
    let of_trackers = plan.contenders.iter().filter_map(|one| one.switches.tracker_threads);
    threads::probe(nodes, of_a_peer, of_trackers.max().unwrap_or(0))?;
    probe_tracker(plan)?;
    probe_trees(plan, None)?;
    plan.scenarios.iter().try_for_each(|scenario| {
        scenario.probe(fit::spare_slots(plan, scenario, false)).map_err(|cause| {
            let (name, size) = (&scenario.name, scenario.size());
            format!(
                "workload \"{name}\", {size}: {cause}: use fewer peers or segments, or smaller ones"
            )
        })
    })
}

/// Checks that this process has memory for the loads of the tracker.
fn probe_tracker(plan: &Plan) -> Result<(), String> {
    plan.tracker.as_ref().map_or(Ok(()), fit::tracker).map_err(|error| error.to_string())
}

/// Checks that there is room for each tree with its copies, where a job of so many ranks beside rank 0 runs it.
fn probe_trees(plan: &Plan, ranks: Option<u32>) -> Result<(), String> {
    let is_run =
        |one: &&BenchScenario| ranks.is_none_or(|ranks| one.peers_of(ranks) == one.workload.peers);
    plan.scenarios.iter().filter(is_run).try_for_each(|one| {
        let Some(tree) = &one.tree else { return Ok(()) };
        let (name, size) = (escape::terminal(&one.name), one.size());
        let checked = tree.check_room(one.workload.peers);
        checked.map_err(|error| format!("workload \"{name}\", {size}: {error}"))
    })
}

/// Says something that is no error.
fn remark(args: &BenchArgs, line: &str) {
    if !args.quiet {
        show::note(line);
    }
}

/// What becomes of a measurement that is interrupted, and what to type to go on with it.
fn to_go_on(args: &BenchArgs, dir: &Path) -> String {
    let mut words: Vec<String> = env::args_os().map(|word| escape::shell(&word)).collect();
    // Behind the command: what stands behind a `--` is no flag.
    let at = words.len().min(2);
    if args.out.is_none() {
        words.splice(at..at, ["--out".to_owned(), escape::shell(dir.as_os_str())]);
    }
    if !args.resume {
        words.insert(at, "--resume".to_owned());
    }
    let launcher =
        if Launcher::of_this_process().is_some() { ", under the same launcher" } else { "" };
    format!("what was measured is kept; go on with --resume{launcher}: {}", words.join(" "))
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
        Ok((journal, earlier)) => {
            interrupt::begin(to_go_on(args, journal.dir()));
            measure((args, plan), launch, (&clock, &environment), journal, earlier)
        }
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
        results::resume(dir, environment, &mut |line| remark(args, line))
    } else {
        results::begin(args.out.clone(), &args.plan, environment)
            .map(|journal| (journal, Vec::new()))
    };
    opened.map_err(|error| error.to_string())
}

/// Runs everything, and prints the result.
fn measure(
    (args, plan): (&BenchArgs, &Plan),
    launch: &Launch,
    (clock, environment): (&Clock, &Environment),
    mut journal: Journal,
    earlier: Vec<Record>,
) -> Result<u8, BrokenRun> {
    let began = clock.now();
    remark(args, &plan.extent());
    remark(args, &format!("records in {}", escape::path(journal.dir())));
    if let Some(load) = &plan.tracker {
        match tracker_run::run(load, plan.budget, plan.seed, clock, journal.dir()) {
            Ok(records) if records.is_empty() && plan.contenders.is_empty() => {
                show::error(&nothing_measured(plan, true));
                return Ok(FAILED);
            }
            Ok(records) => show::text(&tracker_run::render(&records, show::screen(args.wide))),
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
    let mut bench = Bench { plan, launch, limits: before, clock, began, journal: &mut journal };
    let left = plan.budget.saturating_sub(clock.now().since(began));
    let outcome = bench.run(earlier, &mut bench_progress::progress(args, plan, (clock, left)));
    let outcome = match outcome {
        Ok(outcome) => outcome,
        Err(error) => {
            show::error(&error.to_string());
            return match error {
                BenchError::Run { .. } => Err(BrokenRun(FAILED)),
                BenchError::Records(_) | BenchError::Tree { .. } => Ok(FAILED),
            };
        }
    };
    if outcome.records.is_empty() {
        show::error(&nothing_measured(plan, outcome.unmeasured > 0));
        return Ok(FAILED);
    }
    let limits = runner::best_limits(before, &runner::measure_limits(plan, clock));
    Ok(conclude((args, plan), &journal, &outcome, &limits))
}

/// Prints the result; returns the exit code.
fn conclude(
    (args, plan): (&BenchArgs, &Plan),
    journal: &Journal,
    outcome: &BenchOutcome,
    limits: &[LimitsAt],
) -> u8 {
    let concluded = results::conclude(journal.dir(), outcome, limits);
    let set = match concluded.and_then(|()| measured::read(journal.dir())) {
        Ok(set) => set,
        Err(error) => {
            show::error(&error.to_string());
            return FAILED;
        }
    };
    let is_complete = set.incomplete.is_empty();
    // First, so that the result stands last where stderr and stdout are one terminal.
    runner::shortfalls(plan, &outcome.records).iter().for_each(|line| remark(args, line));
    show::text(&table::overview(set, show::screen(args.wide)));
    if outcome.unmeasured > 0 {
        let (unmeasured, all) = (outcome.unmeasured, plan.scenarios.len());
        let budget = plan.budget.as_secs_f64();
        show::error(&format!(
            "{unmeasured} of {all} workloads not measured, or not for all contenders: the budget of \
             {budget} s is used up: raise it with --budget"
        ));
    }
    if !is_complete || outcome.unmeasured > 0 { FAILED } else { OK }
}

fn nothing_measured(plan: &Plan, is_over: bool) -> String {
    let budget = plan.budget.as_secs_f64();
    let why = if is_over {
        format!("the budget of {budget} s is used up: raise it with --budget")
    } else {
        "no contender can run any workload of the plan here; what was skipped says why".to_owned()
    };
    format!("nothing measured: {why}")
}

#[cfg(feature = "mpi")]
mod ranks {
    use mpi::Threading;
    use mpi::topology::{Communicator as _, SimpleCommunicator};

    use super::{
        BenchArgs, BrokenRun, FAILED, Launch, OK, Plan, REFUSED, probe_tracker, probe_trees,
        refuse, run_plan, runner, show, with_flags, writable_out,
    };
    use crate::cli::ONE_NODE;
    use crate::cli::over_mpi::{abort, begin, end, initialize};
    use crate::config::REGISTRATION_PATIENCE;
    use crate::escape;
    use crate::harness::fit;
    use crate::harness::launch::Ranks;
    use crate::harness::switches::ContenderKind;
    use crate::protocol::message::shortened;
    use crate::transport::TransportError;
    use crate::transport::mpi::{Meeting, RollCall};
    use crate::watchdog;

    pub(super) fn bench(args: &BenchArgs) -> u8 {
        let all = "all ranks to start (MPI_Init)";
        let Some((universe, _)) = initialize(threading(args), REGISTRATION_PATIENCE, all) else {
            return FAILED;
        };
        let world = universe.world();
        let command = ("the command".to_owned(), "bench".to_owned());
        if let Err(code) = begin(&world, REGISTRATION_PATIENCE, &[command]) {
            return code;
        }
        let begins = watchdog::limit("all ranks to begin", REGISTRATION_PATIENCE);
        let ranks = Ranks::new(universe.world());
        let text = if ranks.is_root() { text(args, ranks.peers()) } else { Ok(String::new()) };
        let (text, problem) =
            text.map_or_else(|problem| (String::new(), Some(problem)), |text| (text, None));
        // A plan that can't be run is shared as an empty one, which all ranks refuse: no rank aborts.
        let text = ranks.share(text);
        drop(begins);
        let plan = Plan::parse(&args.plan, text, Some(ranks.peers()));
        let plan = plan.map(|plan| with_flags(plan, args));
        let (is_root, launch) = (ranks.is_root(), Launch::Ranks(ranks));
        let fits = plan.as_ref().map_or(Ok(true), |plan| fits(plan, &world, &launch));
        let fits = fits.unwrap_or_else(|error| {
            show::error(&format!("rank {}: {error}", world.rank()));
            abort(&world, FAILED)
        });
        let code = match plan {
            // Rank 0 has said why.
            _ if !fits => {
                if is_root {
                    REFUSED
                } else {
                    OK
                }
            }
            _ if problem.is_some() => refuse(&problem.unwrap_or_default()),
            Ok(plan) if is_root => {
                run_plan(args, &plan, &launch).unwrap_or_else(|BrokenRun(code)| abort(&world, code))
            }
            Ok(plan) => match runner::serve(&plan, &launch) {
                Ok(()) => OK,
                Err(error) => {
                    show::error(&error.to_string());
                    abort(&world, FAILED)
                }
            },
            Err(error) if is_root => refuse(&error.to_string()),
            // Rank 0 says why. One exit code is enough: a launcher reports each that is not 0.
            Err(_) => OK,
        };
        end(&world, REGISTRATION_PATIENCE);
        code
    }

    /// Whether all ranks have memory for the plan; rank 0 names those that have not. Collective.
    fn fits(
        plan: &Plan,
        world: &SimpleCommunicator,
        launch: &Launch,
    ) -> Result<bool, TransportError> {
        let limited = watchdog::limit("all ranks to add up their memory", REGISTRATION_PATIENCE);
        let short = fit::rank(plan, world, launch.has_links()).err();
        drop(limited);
        let short = short.map(|error| error.to_string()).unwrap_or_default();
        let roll_call = RollCall::new(world, REGISTRATION_PATIENCE);
        let answer = roll_call.meet(Meeting::Memory, shortened(&short).as_bytes(), |all| {
            let short = (0..).zip(&all).filter(|(_, reason)| !reason.is_empty());
            let text = |reason: &Vec<u8>| String::from_utf8_lossy(reason).into_owned();
            let lines = escape::by_reason(short.map(|(rank, reason)| (rank, text(reason))));
            show::errors(lines.iter().cloned());
            vec![u8::from(lines.is_empty())]
        })?;
        Ok(answer == [1])
    }

    /// The text of the plan; an error where it can't be read, or the measurement can't begin.
    fn text(args: &BenchArgs, peers: u32) -> Result<String, String> {
        if peers == 0 {
            return Err(ONE_NODE.to_owned());
        }
        let text = Plan::read_text(&args.plan).map_err(|error| error.to_string())?;
        // Only for a plan that is right.
        Plan::parse(&args.plan, text.clone(), Some(peers)).map_or(Ok(()), |plan| {
            writable_out(args).and_then(|()| probe_tracker(&plan))?;
            probe_trees(&with_flags(plan, args), Some(peers))
        })?;
        Ok(text)
    }

    // The least level of thread support that the plan needs, because a higher one slows every
    // call; the highest, where this rank can't read the plan.
    fn threading(args: &BenchArgs) -> Threading {
        // A pipe can be read once, and not before there is a limit.
        if !args.plan.is_file() {
            return Threading::Multiple;
        }
        // Any number of ranks: the world is not there yet.
        let plan = Plan::read(&args.plan, Some(1));
        let needs_all = |plan: Plan| {
            plan.contenders.iter().any(|contender| contender.engine == ContenderKind::Mutex)
        };
        if plan.map_or(true, needs_all) { Threading::Multiple } else { Threading::Funneled }
    }
}
