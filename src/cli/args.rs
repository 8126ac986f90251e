//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args as ClapArgs, Parser, Subcommand, ValueEnum};

use super::flags::{HEADING, OverrideFlags, choice};
use super::node_flags::NodeFlags;
use super::stage_args::StageArgs;
use super::via::Via;
use crate::config::ranges::{
    BudgetSeconds, Files, LatencyMicroseconds, LinkGbit, MessageMicroseconds, Peers, Seed,
    SegmentBytes, Segments, SimulatedPeers, SimulatedSegmentBytes, SimulatedSegments, ThreadNodes,
    Threads, TreeBytes,
};
use crate::config::{Engine, Verify};
use crate::driver::injection::Fault;
use crate::driver::job::{Inputs, Job};
use crate::harness;
use crate::harness::scale_study::{Rates, ScaleStudy};
use crate::manifest::{Owners, Popularity, Wanted};
use crate::report::compare::Figure;

/// Copies files to all ranks of an MPI job as a swarm, and measures that.
#[derive(Debug, Parser)]
#[command(
    bin_name = "mpiswarm",
    version,
    about,
    after_help = "Exit codes: 0 all delivered, 1 something failed, \
    2 input refused, 3 all delivered except files that no rank could provide"
)]
pub(super) struct Args {
    #[command(subcommand)]
    pub(super) command: Command,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Share the files that in<R>.txt lists: rank 0 is the tracker, ranks 1 and up are peers
    Run(RunArgs),
    /// Bring files and folders to every node, verified: one rank reads, all pass on what they have
    Stage(StageArgs),
    /// List files and folders with the roots of their content (BitTorrent v2), as JSON lines
    Manifest(ManifestArgs),
    /// Compare staged files and folders with their manifests
    Verify(VerifyArgs),
    /// Write a workload as in<R>.txt files, or a tree of files
    Synthesize(SynthesizeArgs),
    /// Simulate many peers in virtual time, and show what limits them
    Simulate(SimulateArgs),
    /// Measure contenders on workloads, and compare them with each other and with the bound
    Bench(BenchArgs),
    /// Compare measurements, or the contenders of one: what changed, how much, and whether it is noise
    Compare(CompareArgs),
}

/// One run.
#[derive(Clone, Debug, Parser)]
pub(super) struct RunArgs {
    /// Folder with in1.txt, in2.txt, …
    #[arg(default_value = ".")]
    pub(super) inputs: PathBuf,
    /// Folder to write client<R>_<file> to
    #[arg(long, default_value = ".")]
    pub(super) out: PathBuf,
    /// Also write client<R>_<file>.sha256: the SHA-256 of each segment's payload, hashed again
    /// from memory, one per line
    #[arg(long)]
    pub(super) digests: bool,
    /// Replace files at --out that mpiswarm did not write, or that were changed since
    #[arg(long)]
    pub(super) overwrite: bool,
    /// Number of nodes, tracker included [default: highest R of in<R>.txt + 1; with MPI, the ranks]
    #[arg(long)]
    pub(super) nodes: Option<ThreadNodes>,
    /// Payload of a segment, bytes; 0 moves only its hash
    #[arg(long, default_value_t)]
    pub(super) segment_bytes: SegmentBytes,
    #[command(flatten)]
    pub(super) shared: NodeFlags,
    /// Which program design moves the segments
    #[arg(long, value_parser = choice::<Engine>(), default_value_t)]
    pub(super) engine: Engine,
    #[command(flatten)]
    overrides: OverrideFlags,
    /// Threads of a rank that verify, with --verify pool [default: one per core]
    #[arg(long, value_name = "N", help_heading = HEADING)]
    verify_threads: Option<Threads>,
    /// Also write the summary as JSON to this file
    #[arg(long, value_name = "FILE")]
    pub(super) report: Option<PathBuf>,
    /// Inject faults: corrupt:RATE, drop:RATE, delay:MS; over MPI garble:RATE, lengthen:RATE, invalidate:RATE
    #[arg(long, hide = true)]
    pub(super) inject: Vec<Fault>,
}

impl RunArgs {
    /// The job that every node of this run starts from. `has_links`: the nodes are on several hosts.
    /// `warn` shows a line about something odd in an input.
    pub(super) fn job(&self, has_links: bool, warn: fn(&str)) -> Job {
        let segment_bytes = self.segment_bytes.get();
        let mut config = self.overrides.0.config(segment_bytes, has_links);
        self.shared.apply(&mut config);
        Job {
            out: Some(self.out.clone()),
            digests: self.digests,
            overwrite: self.overwrite,
            seed: self.shared.seed.get(),
            config,
            verify_threads: self.verify_threads(),
            faults: self.inject.clone(),
            warn,
            ..Job::new(Inputs::Folder(self.inputs.clone()), segment_bytes)
        }
    }

    /// The options in which all ranks must agree, each with its value. Folders and output may differ.
    #[cfg(feature = "mpi")]
    pub(super) fn agreed(&self) -> Vec<(String, String)> {
        use crate::config::OVERRIDES;
        let plain = [
            ("the command", "run".to_owned()),
            ("--engine", self.engine.to_string()),
            ("--segment-bytes", self.segment_bytes.to_string()),
        ];
        let shared = self.shared.agreed(&self.job(false, |_| ()).config);
        let plain = plain.into_iter().chain(shared).map(|(name, value)| (name.to_owned(), value));
        let named = self.overrides.0.named();
        let overrides = OVERRIDES.iter().map(|one| {
            let value = named.get(one.name).map(|value| value.to_string().replace('"', ""));
            let value = value.unwrap_or_else(|| format!("the default, {}", (one.default)()));
            (format!("--{}", one.name), value)
        });
        plain.chain(overrides).collect()
    }

    /// The first flag that the mutex engine has no use for, as a sentence.
    pub(super) fn contradiction(&self) -> Option<String> {
        if self.engine == Engine::Lockfree {
            return None;
        }
        if let Some(flag) = self.overrides.0.named().keys().next() {
            return Some(format!("--{flag}: the mutex engine has no such choice: leave it out"));
        }
        if self.verify_threads.is_some() {
            return Some("--verify-threads: the mutex engine has none: leave it out".to_owned());
        }
        let drops = |fault: &Fault| matches!(fault, Fault::Drop(_));
        self.inject.iter().any(drops).then(|| {
            "--inject drop: the mutex engine repeats no lost message: leave it out".to_owned()
        })
    }

    /// Threads of a rank that verify beside its own.
    fn verify_threads(&self) -> usize {
        if self.overrides.0.verify != Some(Verify::Pool) {
            return 0;
        }
        self.verify_threads.map_or_else(harness::cores, Threads::get)
    }
}

/// A list of files and folders.
#[derive(Clone, Debug, ClapArgs)]
#[command(
    after_help = "Exit codes: 0 all listed, 1 something could not be read, 2 input refused\n\n\
    SRC, SRC/ and a symbolic link to a folder mean the folder. A symbolic link keeps its own name; inside \
    a folder it is listed as a link."
)]
pub(super) struct ManifestArgs {
    /// Files and folders to list
    #[arg(required = true, value_name = "SRC")]
    pub(super) sources: Vec<PathBuf>,
    /// Write to this file instead of stdout
    #[arg(long, value_name = "FILE")]
    pub(super) out: Option<PathBuf>,
}

/// A comparison of what lies on disk with its manifest.
#[derive(Clone, Debug, ClapArgs)]
#[command(after_help = "Exit codes: 0 the same, 1 something differs, 2 input refused")]
pub(super) struct VerifyArgs {
    /// A staged file or folder, or the folder --to that all were staged to
    pub(super) dir: PathBuf,
    /// Compare with this manifest instead of that which staging left
    #[arg(long, value_name = "FILE")]
    pub(super) manifest: Option<PathBuf>,
    /// Show all differences, not only the first 20
    #[arg(long)]
    pub(super) all: bool,
    /// Print one JSON object, and nothing else, to stdout
    #[arg(long)]
    pub(super) json: bool,
}

/// A workload.
#[derive(Clone, Debug, ClapArgs)]
pub(super) struct SynthesizeArgs {
    /// Folder to write in<R>.txt to
    #[arg(required_unless_present = "tree", conflicts_with = "tree")]
    pub(super) dir: Option<PathBuf>,
    /// Make a tree of files here instead: a new folder
    #[arg(long, value_name = "DIR", requires = "bytes", conflicts_with_all = ["peers", "segments", "owners", "wanted", "popularity", "overwrite"])]
    pub(super) tree: Option<PathBuf>,
    /// Bytes of all files of the tree
    #[arg(long, requires = "tree")]
    pub(super) bytes: Option<TreeBytes>,
    /// Number of peers
    #[arg(long, required_unless_present = "tree")]
    pub(super) peers: Option<Peers>,
    /// Number of files
    #[arg(long)]
    pub(super) files: Files,
    /// Segments per file
    #[arg(long, required_unless_present = "tree")]
    pub(super) segments: Option<Segments>,
    /// Owners per file, assigned round-robin; or `first`: peer 1 owns everything
    #[arg(long, default_value = "1")]
    pub(super) owners: Owners,
    /// Files that each peer wants of those it lacks: `all`, or a number
    #[arg(long, default_value = "all")]
    pub(super) wanted: Wanted,
    /// Distribution of the wanted files: `uniform` or `zipf:S`
    #[arg(long, default_value = "uniform")]
    pub(super) popularity: Popularity,
    /// Seed of all random choices
    #[arg(long, default_value_t)]
    pub(super) seed: Seed,
    /// Replace all in<R>.txt in the folder, those of higher ranks included
    #[arg(long)]
    pub(super) overwrite: bool,
}

/// Worlds of one owner and many peers.
#[derive(Clone, Debug, ClapArgs)]
pub(super) struct SimulateArgs {
    /// Numbers of peers that want the file; one run for each
    #[arg(long, value_delimiter = ',', default_value = "30,100")]
    pub(super) peers: Vec<SimulatedPeers>,
    /// Segments of the file
    #[arg(long, default_value = "1000")]
    pub(super) segments: SimulatedSegments,
    /// Payload of a segment, bytes
    #[arg(long, default_value_t)]
    pub(super) segment_bytes: SimulatedSegmentBytes,
    /// Median rate of a link, Gbit/s
    #[arg(long, default_value_t)]
    pub(super) link_gbit: LinkGbit,
    /// Distribution of link rates: `equal` or `log-normal:SIGMA`; one run for each
    #[arg(long, value_delimiter = ',', default_value = "equal")]
    pub(super) rates: Vec<Rates>,
    /// Time that the tracker needs for one message, µs
    #[arg(long, default_value_t)]
    pub(super) message_us: MessageMicroseconds,
    /// One-way latency of a message, µs
    #[arg(long, default_value_t)]
    pub(super) latency_us: LatencyMicroseconds,
    /// Seed of all random choices
    #[arg(long, default_value_t)]
    pub(super) seed: Seed,
    /// Folder to write scale.jsonl, table.txt and scale.svg to
    #[arg(long)]
    pub(super) out: Option<PathBuf>,
}

impl SimulateArgs {
    /// What all its worlds have in common.
    pub(super) fn study(&self) -> ScaleStudy {
        ScaleStudy {
            segments: self.segments.get(),
            segment_bytes: self.segment_bytes.get(),
            link_bits_per_second: self.link_gbit.get() * 1e9,
            message_time: Duration::from_secs_f64(self.message_us.get() / 1e6),
            latency: Duration::from_secs_f64(self.latency_us.get() / 1e6),
            seed: self.seed.get(),
        }
    }
}

/// A measurement.
#[derive(Clone, Debug, ClapArgs)]
#[command(
    after_help = "Exit codes: 0 measured, 1 nothing or not all was measured, or a run failed or was \
    incomplete, 2 plan or folder refused\n\n\
    A run that is faster than its bound is a warning: the bound was measured too low. So is a result \
    that did not reach the plan's `least` or `target`."
)]
pub(super) struct BenchArgs {
    /// Plan to run, such as inputs/plans/quick.toml
    pub(super) plan: PathBuf,
    /// Folder for the records [default: results/<plan>-<UTC date>-<commit>]
    #[arg(long)]
    pub(super) out: Option<PathBuf>,
    /// Time budget for everything, instead of the plan's `budget_s`
    #[arg(long, value_name = "SECONDS")]
    pub(super) budget: Option<BudgetSeconds>,
    /// Continue a measurement that was cut off, in the folder --out
    #[arg(long)]
    pub(super) resume: bool,
    /// What carries messages and segments
    #[arg(long, value_enum, default_value_t = Via::Auto)]
    pub(super) transport: Via,
}

/// How a comparison is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// A table for a terminal.
    Text,
    /// Markdown.
    Md,
    /// Raw numbers, one line per result.
    Csv,
    /// Everything, for programs.
    Json,
    /// One self-contained page with figures.
    Html,
}

/// A comparison.
#[derive(Clone, Debug, ClapArgs)]
#[command(after_help = "Exit codes: 0 compared, 1 the gate failed, 2 input refused\n\n\
    \"~\" marks a difference that cannot be told from noise.")]
pub(super) struct CompareArgs {
    /// Folders of records, folders of launches that are one each, criterion's target/criterion, or
    /// output of OSU benchmarks. All are compared with the first; for a single folder, its contenders
    /// with each other
    #[arg(required_unless_present = "history")]
    pub(super) folders: Vec<PathBuf>,
    /// Within one folder: the base of the comparison [default: the mutex engine, or the first by name]
    #[arg(long, value_name = "NAME")]
    pub(super) contender: Option<String>,
    /// Within one folder: a contender to compare with the base [default: all others]
    #[arg(long, value_name = "NAME")]
    pub(super) against: Vec<String>,
    /// Between folders: a contender that the change can't touch, or none. Ratios are relative to it
    /// [default: mpi-bcast, where both have it]
    #[arg(long, value_name = "NAME", conflicts_with = "history")]
    pub(super) control: Option<String>,
    /// Figure to compare: makespan, rate, latency-p99, cpu, memory, … [default: makespan]
    #[arg(long = "figure", value_name = "NAME")]
    pub(super) figures: Vec<Figure>,
    /// Output format
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub(super) format: Format,
    /// Write to this file instead of stdout
    #[arg(long, value_name = "FILE")]
    pub(super) out: Option<PathBuf>,
    /// Results of other tools to show in an HTML page
    #[arg(long, value_name = "PATH")]
    pub(super) beside: Vec<PathBuf>,
    /// Exit with 1 if a figure is worse than this plan allows, and that is no noise
    #[arg(long, value_name = "PLAN", conflicts_with = "history")]
    pub(super) gate: Option<PathBuf>,
    /// Show each figure over all measurements in a folder [default: results]
    #[arg(long)]
    pub(super) history: bool,
}
