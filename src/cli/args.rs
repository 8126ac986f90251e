//! The command line.

use std::fmt::{self, Display};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args as ClapArgs, Parser, Subcommand, ValueEnum};

use super::show;
use crate::config::{
    Admission, Balance, Buffers, Config, CounterKind, IndexKind, Selection, Verify,
};
use crate::driver::injection::Fault;
use crate::driver::job::{Inputs, Job};
use crate::harness;
use crate::manifest::{Owners, Popularity, Wanted};
use crate::report::compare::Figure;

/// Copies files across the ranks of an MPI job as a swarm.
#[derive(Debug, Parser)]
#[command(
    version,
    about,
    after_help = "Exit codes: 0 all delivered, 1 something failed, \
    2 input refused, 3 all delivered but files that nobody could provide"
)]
pub(super) struct Args {
    #[command(subcommand)]
    pub(super) command: Command,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Share the files that in<R>.txt name: rank 0 tracks, ranks 1.. are peers
    Run(RunArgs),
    /// Write a workload as in<R>.txt files
    Synthesize(SynthesizeArgs),
    /// Run many peers in virtual time, and say what limits them
    Simulate(SimulateArgs),
    /// Run contenders on workloads in turn, and compare them with each other and with the bound
    Bench(BenchArgs),
    /// Say what changed between measurements, or between contenders, by how much, and if it is real
    Compare(CompareArgs),
}

/// What carries messages and segments.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Via {
    /// MPI when started by mpirun or srun, else local.
    Auto,
    /// Threads of one process.
    Local,
    /// Ranks of an MPI job.
    Mpi,
}

/// Who moves the segments.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Engine {
    /// One communicating thread a rank, many requests under way.
    Lockfree,
    /// The classic one that it is measured against: two threads a rank, locks, one request at a
    /// time.
    Mutex,
}

impl Engine {
    /// Its name in a summary.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Lockfree => "lockfree",
            Self::Mutex => "mutex",
        }
    }
}

/// One run.
#[derive(Clone, Debug, Parser)]
pub(super) struct RunArgs {
    /// Folder that holds in1.txt, in2.txt, …
    #[arg(default_value = ".")]
    pub(super) inputs: PathBuf,
    /// Folder for client<R>_<file>
    #[arg(long, default_value = ".")]
    pub(super) out: PathBuf,
    /// Beside each finished file write client<R>_<file>.sha256: the SHA-256 of each segment's
    /// payload as it lies in memory, hashed once more, one a line
    #[arg(long)]
    pub(super) digests: bool,
    /// Nodes, the tracker included [default: from the highest in<R>.txt; under MPI the ranks]
    #[arg(long)]
    pub(super) nodes: Option<u32>,
    /// Payload of a segment; 0 moves the hash alone
    #[arg(long, default_value_t = 32 << 10)]
    pub(super) segment_bytes: usize,
    /// all payload and all random choices follow from it
    #[arg(long, default_value_t = 1)]
    pub(super) seed: u64,
    /// What carries messages and segments
    #[arg(long, value_enum, default_value_t = Via::Auto)]
    pub(super) transport: Via,
    /// Who moves the segments
    #[arg(long, value_enum, default_value_t = Engine::Lockfree)]
    pub(super) engine: Engine,
    /// Segments that a peer keeps outstanding, at most [default: by segment size]
    #[arg(long, value_parser = clap::value_parser!(u8).range(1..=64))]
    pub(super) window: Option<u8>,
    /// Segments in one handout, at most [default: 16]
    #[arg(long, value_parser = clap::value_parser!(u8).range(1..=16))]
    pub(super) handout: Option<u8>,
    #[command(flatten)]
    pub(super) choices: Choices,
    /// Print the summary as one JSON object on stdout, and nothing else there
    #[arg(long)]
    pub(super) json: bool,
    /// Write the summary as JSON to this file too
    #[arg(long, value_name = "FILE")]
    pub(super) report: Option<PathBuf>,
    /// Show no progress and no summary
    #[arg(long)]
    pub(super) quiet: bool,
    /// Faults on purpose: corrupt:RATE, drop:RATE, delay:MS
    #[arg(long, hide = true)]
    pub(super) inject: Vec<Fault>,
}

impl RunArgs {
    /// What every node of this run starts from, where there are links between nodes or none.
    pub(super) fn job(&self, has_links: bool) -> Job {
        Job {
            out: Some(self.out.clone()),
            digests: self.digests,
            seed: self.seed,
            config: self.config(has_links),
            verify_threads: self.choices.verify_threads(),
            faults: self.inject.clone(),
            warn: show::error,
            ..Job::new(Inputs::Folder(self.inputs.clone()), self.segment_bytes)
        }
    }

    /// What the engine has no use for, as a sentence.
    pub(super) fn contradiction(&self) -> Option<&'static str> {
        if self.engine == Engine::Lockfree {
            return None;
        }
        if self.window.is_some() {
            return Some("--window: the mutex engine has one request under way: leave it out");
        }
        if self.handout.is_some() || self.choices != Choices::default() {
            return Some(
                "--handout, --index, --counters, --selection, --balance, --admission, --buffers and \
                 --verify are choices of the lockfree engine: leave them out",
            );
        }
        let drops = |fault: &Fault| matches!(fault, Fault::Drop(_));
        self.inject.iter().any(drops).then_some(
            "--inject drop: the mutex engine waits without a limit for what is never sent: leave it out",
        )
    }

    /// How the nodes of this run behave.
    fn config(&self, has_links: bool) -> Config {
        let mut config = Config::defaults(self.segment_bytes, has_links);
        if let Some(window) = self.window {
            config.window = window.into();
        }
        if let Some(handout) = self.handout {
            config.handout = handout.into();
        }
        self.choices.set(&mut config);
        config
    }
}

/// What can be set back in the lockfree engine, each by itself, to see what it buys.
#[derive(Clone, Debug, Default, PartialEq, Eq, ClapArgs)]
#[command(next_help_heading = "Choices of the lockfree engine")]
pub(super) struct Choices {
    /// Where the tracker keeps who has what
    #[arg(long, value_enum, default_value_t = IndexKind::default())]
    index: IndexKind,
    /// How the tracker counts what was asked of each node
    #[arg(long, value_enum, default_value_t = CounterKind::default())]
    counters: CounterKind,
    /// Which segments a peer is told to fetch next
    #[arg(long, value_enum, default_value_t = Selection::default())]
    selection: Selection,
    /// Which of a segment's holders is asked
    #[arg(long, value_enum, default_value_t = Balance::default())]
    balance: Balance,
    /// What becomes of requests beyond those that a holder serves at a time
    #[arg(long, value_enum, default_value_t = Admission::default())]
    admission: Admission,
    /// Where a peer receives to
    #[arg(long, value_enum, default_value_t = Buffers::default())]
    buffers: Buffers,
    /// Who checks what a peer receives
    #[arg(long, value_enum, default_value_t = Verify::default())]
    verify: Verify,
    /// Threads of a rank that check, with --verify pool [default: as many as cores]
    #[arg(long, value_name = "N")]
    verify_threads: Option<NonZeroUsize>,
}

impl Choices {
    fn set(&self, config: &mut Config) {
        config.index = self.index;
        config.counters = self.counters;
        config.selection = self.selection;
        config.balance = self.balance;
        config.admission = self.admission;
        config.buffers = self.buffers;
        config.verify = self.verify;
    }

    /// Threads of a rank that check beside its own.
    fn verify_threads(&self) -> usize {
        match (self.verify, self.verify_threads) {
            (Verify::Pool, threads) => threads.map_or_else(harness::cores, NonZeroUsize::get),
            (Verify::Inline | Verify::Off, _) => 0,
        }
    }
}

/// A workload.
#[derive(Clone, Debug, ClapArgs)]
pub(super) struct SynthesizeArgs {
    /// Folder to write to
    pub(super) dir: PathBuf,
    /// Peers
    #[arg(long)]
    pub(super) peers: u32,
    /// Files
    #[arg(long)]
    pub(super) files: u32,
    /// Segments of each file
    #[arg(long)]
    pub(super) segments: u32,
    /// Owners of each file, dealt to the peers in turn, or `first`: peer 1 owns everything
    #[arg(long, default_value = "1")]
    pub(super) owners: Owners,
    /// `all` that a peer lacks, or how many files of those
    #[arg(long, default_value = "all")]
    pub(super) wanted: Wanted,
    /// How wanted files are drawn: `uniform` or `zipf:S`
    #[arg(long, default_value = "uniform")]
    pub(super) popularity: Popularity,
    /// All random choices follow from it
    #[arg(long, default_value_t = 1)]
    pub(super) seed: u64,
    /// Replace inputs that are there, those of higher ranks included
    #[arg(long)]
    pub(super) overwrite: bool,
}

/// How the rates of links are drawn.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Rates {
    /// All are the same.
    Equal,
    /// Their logarithms have a normal distribution of this deviation, the median being 1.
    LogNormal(f64),
}

impl FromStr for Rates {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let sigma = text.strip_prefix("log-normal:").and_then(|sigma| sigma.parse().ok());
        match sigma {
            _ if text == "equal" => Ok(Self::Equal),
            Some(sigma) if sigma > 0.0 && sigma <= 2.0 => Ok(Self::LogNormal(sigma)),
            _ => Err("`equal`, or `log-normal:SIGMA` with a SIGMA up to 2".to_owned()),
        }
    }
}

impl Display for Rates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Equal => f.write_str("equal"),
            Self::LogNormal(sigma) => write!(f, "log-normal:{sigma}"),
        }
    }
}

/// Worlds of one owner and many peers.
#[derive(Clone, Debug, ClapArgs)]
pub(super) struct SimulateArgs {
    /// Peers that want the file, a run for each number
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "30,100",
        value_parser = clap::value_parser!(u32).range(1..=1_000_000)
    )]
    pub(super) peers: Vec<u32>,
    /// Segments of the file
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(super) segments: u32,
    /// Payload of a segment, bytes
    #[arg(long, default_value_t = 8 << 20)]
    pub(super) segment_bytes: usize,
    /// What a link carries, Gbit/s
    #[arg(long, default_value_t = 100.0, value_parser = positive)]
    pub(super) link_gbit: f64,
    /// Rates of links beside that: `equal` or `log-normal:SIGMA`
    #[arg(long, value_delimiter = ',', default_value = "equal")]
    pub(super) rates: Vec<Rates>,
    /// How long the tracker is busy with one message, µs
    #[arg(long, default_value_t = 3.5, value_parser = positive)]
    pub(super) message_us: f64,
    /// How long a message takes one way, µs
    #[arg(long, default_value_t = 5.0, value_parser = positive)]
    pub(super) latency_us: f64,
    /// All random choices follow from it
    #[arg(long, default_value_t = 1)]
    pub(super) seed: u64,
    /// Folder for scale.jsonl, table.txt and scale.svg
    #[arg(long)]
    pub(super) out: Option<PathBuf>,
}

/// A number above 0 and below a billion.
fn positive(text: &str) -> Result<f64, String> {
    let number = text.parse().ok().filter(|&number: &f64| number > 0.0 && number < 1e9);
    number.ok_or_else(|| "a number above 0".to_owned())
}

/// A measurement.
#[derive(Clone, Debug, ClapArgs)]
pub(super) struct BenchArgs {
    /// What to run: see inputs/plans
    pub(super) plan: PathBuf,
    /// Folder for the records [default: results/<UTC date>-<commit>-<host>]
    #[arg(long)]
    pub(super) out: Option<PathBuf>,
    /// Time for all of it, in place of the plan's
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..))]
    pub(super) budget: Option<u64>,
    /// Go on with the records in --out, where a measurement was cut off
    #[arg(long)]
    pub(super) resume: bool,
}

/// How a comparison is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// A table for a terminal.
    Text,
    /// Markdown.
    Md,
    /// Raw numbers, a line a result.
    Csv,
    /// Everything, for programs.
    Json,
    /// One page with figures, in a file of its own.
    Html,
}

/// A comparison.
#[derive(Clone, Debug, ClapArgs)]
#[command(after_help = "Exit codes: 0 compared, 1 the gate failed, 2 input refused\n\n\
    \"~\" is a difference that cannot be told from noise.")]
pub(super) struct CompareArgs {
    /// Folders of records, criterion's target/criterion, or texts of OSU benchmarks: all are
    /// compared with the first; of a single one, its contenders
    #[arg(required_unless_present = "history")]
    pub(super) folders: Vec<PathBuf>,
    /// Within one folder: the base [default: the mutex engine, or the first by name]
    #[arg(long, value_name = "NAME")]
    pub(super) contender: Option<String>,
    /// Within one folder: what is compared with the base [default: all others]
    #[arg(long, value_name = "NAME")]
    pub(super) against: Vec<String>,
    /// What is compared: makespan, rate, latency-p99, cpu, memory, … [default: makespan]
    #[arg(long = "figure", value_name = "NAME")]
    pub(super) figures: Vec<Figure>,
    /// How it is shown
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub(super) format: Format,
    /// Write to this file instead of stdout
    #[arg(long, value_name = "FILE")]
    pub(super) out: Option<PathBuf>,
    /// Results of other tools to show beside ours in a page
    #[arg(long, value_name = "PATH")]
    pub(super) beside: Vec<PathBuf>,
    /// Exit with 1 when something is worse by more than this plan allows, beyond doubt
    #[arg(long, value_name = "PLAN", conflicts_with = "history")]
    pub(super) gate: Option<PathBuf>,
    /// Each figure over all folders of records in a folder [default: results]
    #[arg(long)]
    pub(super) history: bool,
}
