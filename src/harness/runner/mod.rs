//! The method: in each repetition every contender runs once, in random order, until the confidence
//! interval of each median is narrow enough or the time is up.
//!
//! It follows T. Hoefler and R. Belli, "Scientific Benchmarking of Parallel Computing Systems",
//! SC 2015: every repetition is kept, medians have non-parametric intervals, and all results stand
//! beside their bound. Contenders are interleaved, as in a randomised block design: a machine that
//! gets slower meanwhile slows all of them alike. The order is random, so that none always follows
//! the same other one, with its caches and its heat.

mod remarks;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::{Rng as _, SeedableRng as _};
pub(crate) use remarks::shortfalls;
use remarks::{Fitting, is_of, reach};

use super::contender::{Contender, ContenderError, RunRequest};
use super::copying::{SourceTree, SourceTreeError};
use super::environment::{Calibration, LimitsAt};
use super::launch::{Cost, Launch, Order};
use super::plan::{Plan, PlannedContender};
use super::records::{Journal, RECORD_SCHEMA, Record, RecordsError};
use super::workload::BenchScenario;
use crate::config::{REGISTRATION_PATIENCE, Verify};
use crate::driver::job::{Inputs, Job, JobResult};
use crate::escape;
use crate::manifest::{self, PeerInput, SYNTHETIC_HASH_BYTES, payload_bytes};
use crate::metrics::RankMetrics;
use crate::metrics::trace::TraceLog;
use crate::metrics::usage::{self, Usage};
use crate::report::trace_file::TraceFile;
use crate::report::{Carrier, Limits, Summary};
use crate::time::{Clock, Timestamp};
use crate::watchdog;

// Time spent on the limits for each size of segment.
// 8 rounds of 12 ms for copying and as many for hashing: longer than a scheduler's time slice.
const LIMITS_BUDGET: Duration = Duration::from_millis(200);
// Time spent on the limits of the MPI.
// A quarter for each of its four measurements: 8 rounds of 30 ms.
const MPI_BUDGET: Duration = Duration::from_secs(1);

/// Why a measurement stopped. The runs before are in the records.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BenchError {
    #[error("{} on {}: {cause}", escape::terminal(contender), escape::terminal(workload))]
    Run { contender: String, workload: String, cause: ContenderError },
    #[error("the tree of {}: {cause}", escape::terminal(workload))]
    Tree { workload: String, cause: SourceTreeError },
    #[error(transparent)]
    Records(#[from] RecordsError),
}

impl BenchError {
    fn of(
        entry: &PlannedContender,
        scenario: &BenchScenario,
    ) -> impl FnOnce(ContenderError) -> Self {
        let (contender, workload) = (entry.name.clone(), scenario.name.clone());
        |cause| Self::Run { contender, workload, cause }
    }
}

#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct BenchOutcome {
    /// Every run that counts, those of an earlier process included.
    pub records: Vec<Record>,
    /// Runs before them, which are discarded.
    pub warm_up_runs: u32,
    /// Scenarios that the budget left no time for, wholly or for some contenders.
    pub unmeasured: u32,
}

/// Measures what the machine and its MPI can do. The other ranks must be in [`serve`].
pub(crate) fn calibrate(plan: &Plan, launch: &Launch, clock: &Clock) -> Calibration {
    // The MPI first: after that the other ranks sleep, and leave the cores to the rest.
    let mpi = launch.mpi_limits(MPI_BUDGET, clock);
    let cores = launch.cores();
    let all_cores = at_each_size(plan, clock, |bytes| {
        Limits::measure_all(bytes, cores.count(), &cores, limits_budget(plan), clock)
    });
    let mut one_core = measure_limits(plan, clock);
    let messages_per_second = mpi.map(|mpi| mpi.best_messages_per_second());
    one_core.iter_mut().for_each(|at| at.messages_per_second = messages_per_second);
    Calibration { one_core, all_cores, mpi }
}

pub(crate) fn measure_limits(plan: &Plan, clock: &Clock) -> Vec<LimitsAt> {
    at_each_size(plan, clock, |bytes| Limits::measure(bytes, limits_budget(plan), clock))
}

// The limits are measured three times, and leave a quarter of the budget to the runs.
fn limits_budget(plan: &Plan) -> Duration {
    let sizes = u32::try_from(sizes(plan).len()).expect("a plan has a bound").max(1);
    LIMITS_BUDGET.min(plan.budget / 4 / sizes)
}

fn sizes(plan: &Plan) -> BTreeSet<usize> {
    plan.scenarios.iter().map(|one| one.segment_bytes).collect()
}

// Sizes for which no time is left have no limits, and their runs no bound. Half of the budget is twice
// what all sizes together need, beside their buffers.
fn at_each_size(plan: &Plan, clock: &Clock, measure: impl Fn(usize) -> Limits) -> Vec<LimitsAt> {
    let end = clock.now() + plan.budget / 2;
    let at = |bytes| LimitsAt {
        segment_bytes: bytes,
        limits: measure(payload_bytes(SYNTHETIC_HASH_BYTES, bytes)),
        messages_per_second: None,
    };
    sizes(plan).into_iter().take_while(|_| clock.now() < end).map(at).collect()
}

/// The higher of each rate before and after the runs: a disturbance only lowers a limit.
pub(crate) fn best_limits(before: &[LimitsAt], after: &[LimitsAt]) -> Vec<LimitsAt> {
    let best = |(before, after): (&LimitsAt, &LimitsAt)| {
        let (one, other) = (before.limits, after.limits);
        let limits = Limits {
            copy_bytes_per_second: one.copy_bytes_per_second.max(other.copy_bytes_per_second),
            hash_bytes_per_second: one.hash_bytes_per_second.max(other.hash_bytes_per_second),
        };
        LimitsAt { limits, ..*before }
    };
    before.iter().zip(after).map(best).collect()
}

/// What rank 0, or the only process, needs to carry out a plan.
#[derive(Debug)]
pub(crate) struct Bench<'a> {
    pub plan: &'a Plan,
    pub launch: &'a Launch,
    pub limits: &'a [LimitsAt],
    pub clock: &'a Clock,
    /// When the time of the budget began.
    pub began: Timestamp,
    pub journal: &'a mut Journal,
}

/// What is told while a measurement runs.
#[derive(Clone, Copy, Debug)]
pub(crate) enum BenchEvent<'a> {
    /// Something is left out.
    Remark(&'a str),
    Run(RunBegins<'a>),
}

/// A run that begins.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RunBegins<'a> {
    /// Its number among the workloads, from 1, and how many there are.
    pub workload: (u32, u32),
    pub scenario: &'a BenchScenario,
    pub contender: &'a str,
    /// None in a warm-up.
    pub repetition: Option<u32>,
}

/// Who is told.
type Tell<'a> = dyn FnMut(BenchEvent<'_>) + 'a;

struct ScenarioRun<'a> {
    fitting: Fitting<'a>,
    inputs: Arc<[PeerInput]>,
    /// What is copied, where that is a tree.
    source: Option<SourceTree>,
    /// As in [`RunBegins`].
    workload: (u32, u32),
}

impl ScenarioRun<'_> {
    fn tell(&self, place: usize, repetition: Option<u32>, tell: &mut Tell<'_>) {
        let Fitting { scenario, contenders, .. } = &self.fitting;
        let contender = &contenders[place].1.name;
        let workload = self.workload;
        tell(BenchEvent::Run(RunBegins { workload, scenario, contender, repetition }));
    }
}

impl Bench<'_> {
    /// Runs everything that has no record in `earlier`, and tells how far it is. The other ranks must be in
    /// [`serve`], and still are when this returns.
    pub(crate) fn run(
        &mut self,
        earlier: Vec<Record>,
        tell: &mut Tell<'_>,
    ) -> Result<BenchOutcome, BenchError> {
        let mut measured = BenchOutcome { records: earlier, ..BenchOutcome::default() };
        let (fitting, skipped) = remarks::fitting(self.plan, self.launch);
        skipped.iter().for_each(|line| tell(BenchEvent::Remark(line)));
        let all = u32::try_from(fitting.len()).expect("a plan can be read");
        let mut left = all;
        let deadline = self.began + self.plan.budget;
        for fitting in fitting {
            let time = deadline.since(self.clock.now());
            if time.is_zero() {
                measured.unmeasured += left;
                break;
            }
            let inputs = inputs(fitting.scenario);
            let source = source(fitting.scenario)?;
            let workload = (all - left + 1, all);
            let scenario_run = ScenarioRun { fitting, inputs, source, workload };
            self.compete(&scenario_run, (time / left, deadline), &mut measured, tell)?;
            left -= 1;
        }
        Ok(measured)
    }

    /// Repeats a scenario until its share of the budget is used, or all medians are known.
    fn compete(
        &mut self,
        scenario_run: &ScenarioRun<'_>,
        (share, deadline): (Duration, Timestamp),
        measured: &mut BenchOutcome,
        tell: &mut Tell<'_>,
    ) -> Result<(), BenchError> {
        let began = self.clock.now();
        let Fitting { scenario, contenders, .. } = &scenario_run.fitting;
        // The first runs fault in pages, fill caches and open connections. They are discarded. Where
        // they are long, half of the share is left to what counts.
        'warm_up: for warm_up in 0..self.plan.warm_up {
            let repetition = u32::MAX - 1 - warm_up;
            for place in self.order(scenario_run, repetition) {
                if self.clock.now().since(began) > share / 2 {
                    break 'warm_up;
                }
                scenario_run.tell(place, None, tell);
                self.run_once(scenario_run, place, repetition)?;
                measured.warm_up_runs += 1;
            }
        }
        let mut longest = Duration::ZERO;
        for repetition in 0..self.plan.repetitions.most {
            let start = self.clock.now();
            let used = start.since(began);
            // A repetition that would not end within the share is not begun: a part of one would
            // compare contenders at different times. The first may use the time of later scenarios.
            let is_over = repetition > 0 && used + longest > share;
            if is_over || self.is_enough(scenario_run, repetition, &measured.records) {
                break;
            }
            for place in self.order(scenario_run, repetition) {
                let (_, entry, _) = &contenders[place];
                let is_there = measured.records.iter().any(|record| {
                    record.repetition == repetition && is_of(record, scenario, entry)
                });
                if !is_there && self.clock.now() >= deadline {
                    measured.unmeasured += u32::from(repetition == 0);
                    return Ok(());
                }
                if !is_there {
                    scenario_run.tell(place, Some(repetition), tell);
                    let (ended, costs) = self.run_once(scenario_run, place, repetition)?;
                    let record = self.record(scenario_run, place, repetition, ended, &costs)?;
                    measured.records.push(record);
                }
            }
            longest = longest.max(self.clock.now().since(start));
        }
        Ok(())
    }

    fn order(&self, run: &ScenarioRun<'_>, repetition: u32) -> Vec<usize> {
        let Fitting { number, contenders, .. } = &run.fitting;
        order(self.plan.seed, *number, repetition, contenders.len())
    }

    // Whether each contender's confidence interval reaches at most `target` of the median to either
    // side, after so many repetitions.
    fn is_enough(
        &self,
        scenario_run: &ScenarioRun<'_>,
        repetitions: u32,
        records: &[Record],
    ) -> bool {
        let Fitting { scenario, contenders, .. } = &scenario_run.fitting;
        repetitions >= self.plan.repetitions.least
            && contenders.iter().all(|(_, entry, _)| {
                let runs = records.iter().filter(|record| is_of(record, scenario, entry));
                let makespans: Vec<_> = runs.map(|record| record.run.makespan_s).collect();
                reach(&makespans).is_some_and(|reach| reach <= self.plan.target)
            })
    }

    fn run_once(
        &self,
        scenario_run: &ScenarioRun<'_>,
        place: usize,
        repetition: u32,
    ) -> Result<(JobResult, Vec<Cost>), BenchError> {
        let Fitting { number: scenario_number, scenario, contenders } = &scenario_run.fitting;
        let (number, entry, contender) = &contenders[place];
        let order = Order { scenario: *scenario_number, contender: *number, repetition };
        self.launch.send_order(Some(order));
        let job = job((self.launch, scenario, entry), Arc::clone(&scenario_run.inputs), repetition);
        let (launch, peers, limit) = (self.launch, scenario.workload.peers, wait_max(self.plan));
        let source = scenario_run.source.as_ref();
        let request = RunRequest { launch, peers, repetition, source, limit };
        let _limited = watchdog::limit(format!("a run of {}", entry.name), limit);
        let (ended, costs) =
            once(contender, &job, &request).map_err(BenchError::of(entry, scenario))?;
        if let Some(log) = job.trace.as_ref().filter(|_| repetition == 0) {
            let file = format!("trace-w{scenario_number}-c{number}.json");
            self.write_trace(log, &file, (scenario, entry))?;
        }
        Ok((ended.expect("rank 0 learns how a run ended"), costs))
    }

    /// Writes the trace of a run beside the records.
    fn write_trace(
        &self,
        log: &TraceLog,
        file: &str,
        (scenario, entry): (&BenchScenario, &PlannedContender),
    ) -> Result<(), RecordsError> {
        let (path, size) = (self.journal.dir().join(file), scenario.size());
        let about = &[("workload", &*scenario.name), ("size", &*size), ("contender", &*entry.name)];
        let one_clock = matches!(self.launch, Launch::Threads);
        let written = TraceFile { ranks: &log.take(), one_clock, about }.write(&path);
        written.map_err(RecordsError::at(&path))
    }

    fn record(
        &mut self,
        scenario_run: &ScenarioRun<'_>,
        place: usize,
        repetition: u32,
        ended: JobResult,
        costs: &[Cost],
    ) -> Result<Record, BenchError> {
        let Fitting { scenario, contenders, .. } = &scenario_run.fitting;
        let (_, entry, _) = &contenders[place];
        let at = self.limits.iter().find(|at| at.segment_bytes == scenario.segment_bytes);
        let cores = self.launch.cores().count();
        let carrier = Carrier {
            engine: entry.engine.name(),
            transport: self.launch.transport(),
            cores,
            limits: at.map(|at| at.limits),
        };
        let mut latency = RankMetrics::default().latency;
        ended.metrics.iter().for_each(|metrics| latency.merge(&metrics.latency));
        let job = job((self.launch, scenario, entry), Arc::clone(&scenario_run.inputs), repetition);
        let mut run = Summary::new(&job, &carrier, ended);
        let hashing = at.map(|at| run.bytes_delivered as f64 / at.limits.hash_bytes_per_second);
        let verification = match entry.switches.verify.unwrap_or_default() {
            Verify::Auto if run.workers > 0 => Verify::Pool,
            Verify::Auto => Verify::Inline,
            chosen @ (Verify::Inline | Verify::Pool | Verify::Off) => chosen,
        };
        run.set_bound(at.and_then(|at| at.bound_s(&run, verification)));
        let sum = |of: fn(&Usage) -> u64| costs.iter().map(|cost| of(&cost.usage)).sum::<u64>();
        let seconds = |of: fn(&Usage) -> Duration| {
            costs.iter().map(|cost| of(&cost.usage)).sum::<Duration>().as_secs_f64()
        };
        let record = Record {
            record_schema: RECORD_SCHEMA,
            workload: scenario.name.clone(),
            contender: entry.name.clone(),
            parameters: parameters(scenario, entry),
            repetition,
            ended_at_s: self.clock.now().since(Timestamp::default()).as_secs_f64(),
            verification,
            verification_s: hashing.map(|seconds| seconds / cores as f64),
            cpu_s: seconds(Usage::processor_time),
            cpu_setup_s: costs.iter().map(|cost| cost.setup).sum::<Duration>().as_secs_f64(),
            cpu_system_s: seconds(|usage| usage.system),
            peak_rss_bytes: costs.iter().map(|cost| cost.peak_rss_bytes).max().unwrap_or(0),
            processes: costs.len(),
            voluntary_switches: sum(|usage| usage.voluntary_switches),
            involuntary_switches: sum(|usage| usage.involuntary_switches),
            run,
        };
        self.journal.add(&record, &latency)?;
        Ok(record)
    }
}

/// Carries out the orders of rank 0 until there are no more.
#[cfg(feature = "mpi")]
pub(crate) fn serve(plan: &Plan, launch: &Launch) -> Result<(), BenchError> {
    let Launch::Ranks(ranks) = launch else {
        return Ok(());
    };
    launch.mpi_limits(MPI_BUDGET, &Clock::start());
    let mut made: Option<(u32, Arc<[PeerInput]>)> = None;
    let next_order = || {
        let _limited = watchdog::limit("an order of rank 0", wait_max(plan));
        ranks.next_order()
    };
    while let Some(order) = next_order() {
        let scenario = &plan.scenarios[order.scenario as usize];
        let entry = &plan.contenders[order.contender as usize];
        let known = made.take().filter(|(number, _)| *number == order.scenario);
        let (_, inputs) = made.insert(known.unwrap_or_else(|| (order.scenario, inputs(scenario))));
        let job = job((launch, scenario, entry), Arc::clone(inputs), order.repetition);
        // Rank 0 found it fit, but a program may be missing here.
        let contender = Contender::new(entry, scenario, launch).map_err(ContenderError::from);
        let contender = contender.map_err(BenchError::of(entry, scenario))?;
        let (peers, repetition, limit) =
            (scenario.workload.peers, order.repetition, wait_max(plan));
        let request = RunRequest { launch, peers, repetition, source: None, limit };
        let _limited = watchdog::limit(format!("a run of {}", entry.name), limit);
        once(&contender, &job, &request).map_err(BenchError::of(entry, scenario))?;
    }
    Ok(())
}

// How long a rank waits for another at most. Rank 0 may load its tracker for the whole budget, and a run
// that has begun ends beyond it.
fn wait_max(plan: &Plan) -> Duration {
    plan.budget.saturating_add(REGISTRATION_PATIENCE)
}

// Runs a contender once on this process, after a barrier; returns the result and each process's
// cost.
fn once(
    contender: &Contender,
    job: &Job,
    request: &RunRequest<'_>,
) -> Result<(Option<JobResult>, Vec<Cost>), ContenderError> {
    usage::reset_peak_rss();
    let before = Usage::now();
    request.launch.barrier();
    let clock = Clock::start();
    let ended = contender.run(job, request, &clock)?;
    if let Some(ended) = ended.as_ref().filter(|ended| !ended.outcome.lost.is_empty()) {
        return Err(ContenderError::Lost(escape::some(&ended.outcome.errors, "; ")));
    }
    let usage = job.meter.used().unwrap_or_else(|| Usage::now().since(&before));
    // What other programs held is not known.
    let peak = usage::peak_rss_bytes().filter(|_| !contender.is_program());
    let peak_rss_bytes = peak.unwrap_or(0);
    let setup = job.meter.made_ready().processor_time();
    Ok((ended, request.launch.gather(Cost { usage, setup, peak_rss_bytes })))
}

// The job of a contender. In one repetition all contenders have the same payload; it is another one
// in each, so that nothing can be left over from the run before.
fn job(
    (launch, scenario, entry): (&Launch, &BenchScenario, &PlannedContender),
    inputs: Arc<[PeerInput]>,
    repetition: u32,
) -> Job {
    let share = launch.core_share(scenario.workload.peers);
    Job {
        seed: scenario.workload.seed.wrapping_add(repetition.into()),
        config: entry.switches.config(scenario.segment_bytes, launch.has_links()),
        verify_threads: entry.switches.verify.unwrap_or_default().threads(share.workers()),
        has_own_core: share.has_own_core(),
        trace: entry.trace.then(TraceLog::default),
        ..Job::new(Inputs::Made(inputs), scenario.segment_bytes)
    }
}

fn inputs(scenario: &BenchScenario) -> Arc<[PeerInput]> {
    if scenario.tree.is_some() {
        return Arc::default();
    }
    manifest::synthesize(&scenario.workload).expect("the plan was checked").into()
}

fn source(scenario: &BenchScenario) -> Result<Option<SourceTree>, BenchError> {
    let made = scenario.tree.as_ref().map(SourceTree::make).transpose();
    made.map_err(|cause| BenchError::Tree { workload: scenario.name.clone(), cause })
}

/// The order in which the contenders of a scenario run in a repetition: a Fisher-Yates shuffle.
pub(crate) fn order(seed: u64, scenario: u32, repetition: u32, contenders: usize) -> Vec<usize> {
    // Distinct for every scenario and repetition: each has its half of the bits. The rotation keeps
    // small seeds and small repetitions from cancelling each other.
    let which = u64::from(scenario) << 32 | u64::from(repetition);
    let mut random = Xoshiro256PlusPlus::seed_from_u64(seed ^ which.rotate_left(17));
    let mut places: Vec<usize> = (0..contenders).collect();
    for last in (1..contenders).rev() {
        // Multiply and shift (D. Lemire, 2019), with a bias below 2^-60 for up to 16 contenders.
        let below = (u128::from(random.next_u64()) * (last as u128 + 1)) >> 64;
        places.swap(last, usize::try_from(below).expect("the product is below `last + 1`"));
    }
    places
}

fn parameters(
    scenario: &BenchScenario,
    entry: &PlannedContender,
) -> serde_json::Map<String, serde_json::Value> {
    let mut parameters = entry.named();
    if entry.trace {
        parameters.insert("trace".to_owned(), true.into());
    }
    parameters.extend(scenario.parameters());
    parameters
}
