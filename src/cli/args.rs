//! The command line.

use std::path::PathBuf;

use clap::{Args as ClapArgs, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

use super::colour::colour_of_helps;
use super::flags::{HEADING, OverrideFlags, choice};
#[cfg(feature = "mpi")]
use super::limit_rate;
use super::limit_rate::LimitRate;
use super::node_flags::NodeFlags;
use super::selection_flags::{AttributeFlags, Links, SelectionFlags};
use super::stage_args::StageArgs;
use super::verify_args::VerifyArgs;
use super::version::long_version;
use super::via::Via;
#[cfg(feature = "mpi")]
use crate::config::Config;
use crate::config::ranges::{
    BudgetTime, Files, LatencyTime, LinkGbit, MessageTime, Peers, Seed, SegmentBytes, Segments,
    SimulatedPeers, SimulatedSegmentBytes, SimulatedSegments, ThreadNodes, Threads, TreeBytes,
    VanishingPart,
};
use crate::config::{Decider, Engine, OVERRIDES, Override, RateLimits};
use crate::driver::injection::Fault;
use crate::driver::job::{Inputs, Job};
use crate::driver::prepare::slot_bytes;
use crate::harness::scale_study::{self, Decide, Rates, ScaleStudy};
use crate::manifest::{Owners, Popularity, Wanted};
use crate::metrics::cores::CoreShare;
use crate::metrics::trace::TraceLog;
use crate::report::compare::Figure;
use crate::simulation::Racks;

/// The whole command line. What the help says first is the description in `Cargo.toml`.
#[derive(Debug, Parser)]
#[command(
    bin_name = "mpiswarm",
    color = colour_of_helps(),
    version,
    long_version = long_version(),
    about,
    after_help = "Try: mpiswarm stage SRC --to DIR. Each command has its exit codes in its own help; 2 always \
    means that nothing was begun.\nSizes: 64K, 4M, 1G; K, KB and KiB are all 1024 bytes. Times: 200ms, 2s, 5m, 1h.\nWithout arguments, under mpirun: mpiswarm run, in the current folder."
)]
pub(super) struct Args {
    #[command(subcommand)]
    pub(super) command: Command,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Put files and folders on every node, verified: one rank reads, all pass on what they have
    Stage(StageArgs),
    /// Compare staged files and folders with their manifests
    Verify(VerifyArgs),
    /// List files and folders with the roots of their content (BitTorrent v2), as JSON lines
    Manifest(ManifestArgs),
    /// The classic exercise: share the files that in<R>.txt lists; rank 0 is the tracker, the others are peers
    Run(RunArgs),
    /// Write a workload as in<R>.txt files, or a tree of files
    Synthesize(SynthesizeArgs),
    /// Simulate many peers in virtual time, and show what limits them
    Simulate(SimulateArgs),
    /// Measure contenders on workloads, and compare them with each other and with the bound
    Bench(BenchArgs),
    /// Compare measurements, or the contenders of one: what changed, how much, and whether it is noise
    Compare(CompareArgs),
    /// Print what a shell needs to complete commands and flags: bash, zsh, fish, elvish or powershell
    #[command(after_help = "Example:\n  \
        mpiswarm completions bash \\\n    \
        > ~/.local/share/bash-completion/completions/mpiswarm")]
    Completions {
        /// The shell
        shell: Shell,
    },
    /// Print the manual page of mpiswarm, or of a command
    #[command(
        after_help = "Example: mpiswarm man stage > ~/.local/share/man/man1/mpiswarm-stage.1"
    )]
    Man {
        /// A command, such as stage
        #[arg(value_name = "COMMAND")]
        of: Option<String>,
    },
}

/// One run.
#[derive(Clone, Debug, Parser)]
#[command(
    after_help = "Exit codes: 0 all delivered, 1 something failed, 2 input refused, 3 all delivered except \
    files that no rank could provide\n\n\
    Examples, with threads of this process, and with a tracker and 12 peers over MPI:\n  \
    mpiswarm run inputs/classic --out /tmp/out\n  \
    mpirun -n 13 mpiswarm run inputs/classic --out /tmp/out"
)]
pub(super) struct RunArgs {
    /// Folder with in1.txt, in2.txt, …
    #[arg(default_value = ".")]
    pub(super) inputs: PathBuf,
    /// Folder to write client<R>_<file> to
    #[arg(long, value_name = "DIR", default_value = ".")]
    pub(super) out: PathBuf,
    /// Also write client<R>_<file>.sha256: the SHA-256 of each segment's payload, hashed again
    /// from memory, one per line
    #[arg(long)]
    pub(super) digests: bool,
    /// Replace files at --out that mpiswarm did not write, or that were changed since
    #[arg(long)]
    pub(super) overwrite: bool,
    /// Number of nodes, tracker included, 2 to 2048 [default: highest R of in<R>.txt + 1; with MPI,
    /// the ranks]
    #[arg(long, value_name = "N")]
    pub(super) nodes: Option<ThreadNodes>,
    /// Payload of a segment, up to 2147483647 bytes, such as 64K (K, M, G: powers of 1024); 0 moves only its hash
    #[arg(long, value_name = "BYTES", default_value_t)]
    pub(super) segment_bytes: SegmentBytes,
    #[command(flatten)]
    pub(super) shared: NodeFlags,
    /// Which program design moves the segments
    #[arg(long, value_parser = choice::<Engine>(), default_value_t)]
    pub(super) engine: Engine,
    #[command(flatten)]
    overrides: OverrideFlags,
    /// Threads of a rank that verify beside the communicating one, 1 to 1024 [default: its share of the cores,
    /// less one]
    #[arg(long, value_name = "N", help_heading = HEADING)]
    verify_threads: Option<Threads>,
    /// Most bytes of segments a second that each peer sends to others, and receives from them, also within one
    /// host: such as 100M for each direction, or up=100M,down=50M (K, M, G: powers of 1024) [default: no limit]
    #[arg(long, value_name = "RATE")]
    pub(super) limit_rate: Option<LimitRate>,
    /// Also write the summary as JSON to this file
    #[arg(long, value_name = "FILE")]
    pub(super) report: Option<PathBuf>,
    /// Write what each rank asked, received, hashed, sent and wrote when, and for whom it waited, to this file, which
    /// ui.perfetto.dev and chrome://tracing open. Each buffer holds 65536 spans; the file says how many were dropped.
    /// Not of the mutex engine
    #[arg(long, value_name = "FILE")]
    pub(super) trace: Option<PathBuf>,
    /// Inject faults: corrupt:RATE, drop:RATE, delay:TIME; over MPI garble:RATE, lengthen:RATE, invalidate:RATE
    #[arg(long, hide = true)]
    pub(super) inject: Vec<Fault>,
}

impl RunArgs {
    /// The job that every node of this run starts from. `has_links`: the nodes are on several hosts.
    /// `warn` shows a line about something odd in an input.
    pub(super) fn job(&self, has_links: bool, warn: fn(&str)) -> Job {
        let segment_bytes = self.segment_bytes.get();
        // What a limit holds back is as slow as a link.
        let limits = self.limits();
        let has_links = has_links || limits.is_limited();
        let mut config = self.overrides.0.config(segment_bytes, has_links);
        self.shared.apply(&mut config);
        let config = config.waiting_for(limits, slot_bytes(segment_bytes));
        Job {
            out: Some(self.out.clone()),
            digests: self.digests,
            overwrite: self.overwrite,
            seed: self.shared.seed.get(),
            config,
            limits,
            faults: self.inject.clone(),
            trace: self.trace.as_ref().map(|_| TraceLog::default()),
            warn,
            ..Job::new(Inputs::Folder(self.inputs.clone()), segment_bytes)
        }
    }

    /// What each peer may move.
    pub(super) fn limits(&self) -> RateLimits {
        self.limit_rate.map_or_else(RateLimits::default, |limit| limit.0)
    }

    /// The options in which all ranks must agree, each with its value. Folders and output may differ.
    #[cfg(feature = "mpi")]
    pub(super) fn agreed(&self) -> Vec<(String, String)> {
        let plain = [
            // All ranks keep a trace, or none does.
            ("the command", self.trace.as_ref().map_or("run", |_| "run --trace").to_owned()),
            ("--engine", self.engine.to_string()),
            ("--segment-bytes", self.segment_bytes.to_string()),
            ("--limit-rate", limit_rate::text(self.limits())),
        ];
        let mut config = Config::for_segments_of(1);
        self.shared.apply(&mut config);
        let shared = self.shared.agreed(&config);
        let plain = plain.into_iter().chain(shared).map(|(name, value)| (name.to_owned(), value));
        let named = self.overrides.0.named();
        let overrides = OVERRIDES.iter().map(|one| {
            let value = named.get(one.name).map(|value| value.to_string().replace('"', ""));
            let value = value.unwrap_or_else(|| format!("the default, {}", (one.default)()));
            (format!("--{}", one.flag), value)
        });
        plain.chain(overrides).collect()
    }

    /// The first flag that the mutex engine or peers that decide have no use for, as a sentence.
    pub(super) fn contradiction(&self) -> Option<String> {
        let named = self.overrides.0.named();
        let drops = |fault: &Fault| matches!(fault, Fault::Drop(_));
        if let Some(Override { flag, .. }) = self.overrides.0.idle() {
            return Some(format!("--{flag}: with --decide peers nobody hands out: leave it out"));
        }
        if self.overrides.0.decide == Some(Decider::Peers) && self.inject.iter().any(drops) {
            let why = "with --decide peers no request is repeated: leave it out";
            return Some(format!("--inject drop: {why}"));
        }
        if self.engine == Engine::Lockfree {
            return None;
        }
        if let Some(Override { flag, .. }) =
            OVERRIDES.iter().find(|one| named.contains_key(one.name))
        {
            return Some(format!("--{flag}: the mutex engine has no such choice: leave it out"));
        }
        if self.verify_threads.is_some() {
            return Some("--verify-threads: the mutex engine has none: leave it out".to_owned());
        }
        if self.limit_rate.is_some() {
            return Some("--limit-rate: the mutex engine has none: leave it out".to_owned());
        }
        if self.trace.is_some() {
            return Some("--trace: the mutex engine keeps none: leave it out".to_owned());
        }
        self.inject.iter().any(drops).then(|| {
            "--inject drop: the mutex engine repeats no lost message: leave it out".to_owned()
        })
    }

    /// The job on nodes that have so many cores each.
    pub(super) fn on_cores(&self, job: Job, share: CoreShare) -> Job {
        let spare = self.verify_threads.map_or(share.workers(), Threads::get);
        let verify_threads = job.config.verify.threads(spare);
        Job { verify_threads, has_own_core: share.has_own_core(), ..job }
    }
}

/// A list of files and folders.
#[derive(Clone, Debug, ClapArgs)]
#[command(
    after_help = "Exit codes: 0 all listed, 1 something could not be read, 2 input refused\n\n\
    SRC, SRC/ and a symbolic link to a folder mean the folder. A symbolic link keeps its own name; inside \
    a folder it is listed as a link.\n\
    A torrent has names, content, links within it and the right to execute; no other modes, no times, no empty \
    folders."
)]
pub(super) struct ManifestArgs {
    /// Files and folders to list
    #[arg(required = true, value_name = "SRC")]
    pub(super) sources: Vec<PathBuf>,
    /// Write to this file instead of stdout
    #[arg(long, value_name = "FILE")]
    pub(super) out: Option<PathBuf>,
    #[command(flatten)]
    pub(super) selection: SelectionFlags,
    /// What becomes of symbolic links within SRC
    #[arg(long, value_enum, value_name = "HOW", default_value_t = Links::Copy)]
    pub(super) links: Links,
    #[command(flatten)]
    pub(super) attributes: AttributeFlags,
    /// Write the metainfo file of a torrent (BitTorrent v2, BEP 52) that holds SRC, one file or folder, to this
    /// file. The list is then written only with --out
    #[arg(long, value_name = "FILE")]
    pub(super) torrent: Option<PathBuf>,
    /// Show no progress
    #[arg(long)]
    pub(super) quiet: bool,
}

/// A workload.
#[derive(Clone, Debug, ClapArgs)]
#[command(
    override_usage = "mpiswarm synthesize <DIR> --peers <N> --files <N> --segments <N> [FLAGS]\n       \
    mpiswarm synthesize --tree <DIR> --files <N> --bytes <BYTES> [--seed <N>]",
    after_help = "Exit codes: 0 written, 1 writing failed, 2 refused"
)]
pub(super) struct SynthesizeArgs {
    /// Folder to write in<R>.txt to; it is made if it is missing
    #[arg(required_unless_present = "tree", conflicts_with = "tree")]
    pub(super) dir: Option<PathBuf>,
    /// Make a tree of files instead, in this folder, which is new or empty
    #[arg(long, value_name = "DIR", requires = "bytes", conflicts_with_all = ["peers", "segments", "owners", "wanted", "popularity", "overwrite"])]
    pub(super) tree: Option<PathBuf>,
    /// Size of all files of the tree together, such as 100M (K, M, G: powers of 1024)
    #[arg(long, value_name = "BYTES", requires = "tree")]
    pub(super) bytes: Option<TreeBytes>,
    /// Number of peers, 1 to 1000000
    #[arg(long, value_name = "N", required_unless_present = "tree")]
    pub(super) peers: Option<Peers>,
    /// Number of files, of all peers together
    #[arg(long, value_name = "N")]
    pub(super) files: Files,
    /// Segments per file
    #[arg(long, value_name = "N", required_unless_present = "tree")]
    pub(super) segments: Option<Segments>,
    /// Owners per file, assigned round-robin; or `first`: peer 1 owns everything
    #[arg(long, value_name = "N", default_value = "1")]
    pub(super) owners: Owners,
    /// How many of the files that it lacks each peer wants: `all`, or a number
    #[arg(long, value_name = "N", default_value = "all")]
    pub(super) wanted: Wanted,
    /// Which files they want: `uniform`, all equally likely, or `zipf:S`, file k with weight 1/k^S
    #[arg(long, value_name = "DISTRIBUTION", default_value = "uniform")]
    pub(super) popularity: Popularity,
    /// Seed of all random choices
    #[arg(long, value_name = "N", default_value_t)]
    pub(super) seed: Seed,
    /// Replace all in<R>.txt in the folder, those of higher ranks included
    #[arg(long)]
    pub(super) overwrite: bool,
    /// Do not say what was written
    #[arg(long)]
    pub(super) quiet: bool,
}

/// Worlds of one owner and many peers.
#[derive(Clone, Debug, ClapArgs)]
#[command(after_help = "Exit codes: 0 simulated, 1 a simulation or writing failed, 2 refused\n\n\
    Example: 50 GB to 64 nodes, links of 100 Gbit/s\n  \
    mpiswarm simulate --peers 64 --segments 6000")]
pub(super) struct SimulateArgs {
    /// Numbers of peers that want the file, each 1 to 100000; one run for each
    #[arg(long, value_name = "N,…", value_delimiter = ',', default_value = "30,100")]
    pub(super) peers: Vec<SimulatedPeers>,
    /// Segments of the file, 1 to 1000000
    #[arg(long, value_name = "N", default_value = "1000")]
    pub(super) segments: SimulatedSegments,
    /// Payload of a segment, 1 to 2147483647 bytes, such as 64K (K, M, G: powers of 1024)
    #[arg(long, value_name = "BYTES", default_value_t)]
    pub(super) segment_bytes: SimulatedSegmentBytes,
    /// Median rate of a link, Gbit/s
    #[arg(long, value_name = "GBIT", default_value_t)]
    pub(super) link_gbit: LinkGbit,
    /// Who decides what goes from whom to whom; one run for each
    #[arg(long, value_name = "WHO,…", value_delimiter = ',', value_parser = choice::<Decide>(),
        default_value = "tracker")]
    pub(super) decide: Vec<Decide>,
    /// Distributions of link rates, each `equal`, `log-normal:SIGMA`, or `slow:FRACTION:FACTOR`: each
    /// peer is slower by that factor with that probability; one run for each
    #[arg(long, value_name = "DISTRIBUTION,…", value_delimiter = ',', default_value = "equal")]
    pub(super) rates: Vec<Rates>,
    /// Racks of so many hosts each, in the order of the ranks. The link of a rack carries what its hosts do
    /// together ÷ OVERSUBSCRIPTION, up and down [default: no such limit]
    #[arg(long, value_name = "HOSTS:OVERSUBSCRIPTION", value_parser = scale_study::racks)]
    pub(super) racks: Option<Racks>,
    /// Part of the peers that vanish at random moments before the bound, 0.00001 to 0.9. Nobody is told, and the
    /// table shows the others. Plans can't lose a node [default: none]
    #[arg(long, value_name = "FRACTION")]
    pub(super) vanish: Option<VanishingPart>,
    /// Time that the tracker needs for one message, µs, or with a unit
    #[arg(long, value_name = "TIME", default_value_t)]
    pub(super) message_us: MessageTime,
    /// One-way latency of a message, µs, or with a unit
    #[arg(long, value_name = "TIME", default_value_t)]
    pub(super) latency_us: LatencyTime,
    /// Seed of all random choices
    #[arg(long, value_name = "N", default_value_t)]
    pub(super) seed: Seed,
    /// Folder to write scale.jsonl, table.txt and scale.svg to [default: none]
    #[arg(long, value_name = "DIR")]
    pub(super) out: Option<PathBuf>,
    /// Show all columns of the table, however wide. Without it the table fits its terminal, or COLUMNS, or 80
    /// columns where there is neither, and these are left out, in this order: took, memory, control bytes,
    /// p99.9, last fast, median finish, p99, messages, copies, uplinks, vanished, saturation, tracker busy, ÷ bound. The
    /// table.txt of --out has all
    #[arg(long)]
    pub(super) wide: bool,
    /// Do not say which run is under way
    #[arg(long)]
    pub(super) quiet: bool,
}

impl SimulateArgs {
    /// What all its worlds have in common.
    pub(super) fn study(&self) -> ScaleStudy {
        ScaleStudy {
            segments: self.segments.get(),
            segment_bytes: self.segment_bytes.get(),
            link_bits_per_second: self.link_gbit.get() * 1e9,
            message_time: self.message_us.get(),
            latency: self.latency_us.get(),
            racks: self.racks,
            vanish: self.vanish.map(|part| part.get()),
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
    #[arg(long, value_name = "DIR")]
    pub(super) out: Option<PathBuf>,
    /// Folder for trees and their copies, instead of the plan's `folder` [default: /dev/shm, or TMPDIR without it]
    #[arg(long, value_name = "DIR")]
    pub(super) folder: Option<PathBuf>,
    /// Time for everything, such as 40s or 2h, instead of the plan's `budget_s`
    #[arg(long, value_name = "TIME")]
    pub(super) budget: Option<BudgetTime>,
    /// Continue a measurement that was interrupted, in the folder --out
    #[arg(long)]
    pub(super) resume: bool,
    /// Show all columns of the table, however wide. Without it the table fits its terminal, or COLUMNS, or 80
    /// columns where there is neither: long names lose their middle, then runs, segments, CPU, balance, rate,
    /// cv, ÷ bound, the interval and the ratio are left out, in this order
    #[arg(long)]
    pub(super) wide: bool,
    /// Show no progress and no remarks
    #[arg(long)]
    pub(super) quiet: bool,
    /// How messages and segments travel
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
    /// Every run with its figures, one line of CSV each; nothing is compared.
    Runs,
    /// Everything, for programs.
    Json,
    /// One self-contained page with figures.
    Html,
}

/// A comparison.
#[derive(Clone, Debug, ClapArgs)]
#[command(after_help = "Exit codes: 0 compared, 1 the gate failed, 2 input refused\n\n\
    \"~\" marks a difference that cannot be told from noise.\n\n\
    Examples: what changed between two builds, and two contenders of one measurement\n  \
    mpiswarm compare /tmp/before /tmp/after\n  \
    mpiswarm compare /tmp/quick --contender mutex --against lockfree")]
pub(super) struct CompareArgs {
    /// Folders of records, folders of launches that are one each, criterion's target/criterion, or
    /// output of OSU benchmarks. All are compared with the first; for a single folder, its contenders
    /// with each other. `target/criterion@NAME` is a saved baseline of criterion
    #[arg(required_unless_present = "history")]
    pub(super) folders: Vec<PathBuf>,
    /// Within one folder: the base of the comparison [default: the mutex engine, or the first by name]
    #[arg(long, value_name = "NAME")]
    pub(super) contender: Option<String>,
    /// Within one folder: a contender to compare with the base; may be given several times [default:
    /// all others]
    #[arg(long, value_name = "NAME")]
    pub(super) against: Vec<String>,
    /// Between folders: a contender that the change can't touch, or `none`. Ratios are relative to it
    /// [default: mpi-bcast, where both have it]
    #[arg(long, value_name = "NAME", conflicts_with = "history")]
    pub(super) control: Option<String>,
    /// Figure to compare; may be given several times. Of runs: makespan, rate, segments, files,
    /// bound, latency-p50, latency-p99, latency-p999, balance, origin-copies, cpu, cpu-setup, memory. Of the
    /// tracker alone: handouts, service-p99. Of other tools: iteration, message-latency, bandwidth,
    /// message-rate [default: makespan]
    #[arg(long = "figure", value_name = "NAME")]
    pub(super) figures: Vec<Figure>,
    /// Output format
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub(super) format: Format,
    /// Write to this file instead of stdout; a text then has all columns
    #[arg(long, value_name = "FILE")]
    pub(super) out: Option<PathBuf>,
    /// Show all columns of a text, however wide. Without it a table fits its terminal, or COLUMNS, or 80
    /// columns where there is neither: long names lose their middle, then δ, detects, cv, p, both medians and
    /// the interval are left out, in this order; with --history runs, best, first and the commits
    #[arg(long)]
    pub(super) wide: bool,
    /// Show no remarks of the gate
    #[arg(long)]
    pub(super) quiet: bool,
    /// Results of other tools (Criterion, OSU) to show in an HTML page; may be given several times
    #[arg(long, value_name = "PATH")]
    pub(super) beside: Vec<PathBuf>,
    /// Exit with 1 if a figure is worse than this plan allows, such as inputs/gates/quick.toml, and that
    /// is no noise
    #[arg(long, value_name = "PLAN", conflicts_with = "history")]
    pub(super) gate: Option<PathBuf>,
    /// Show each figure over all measurements in a folder [default: results]
    #[arg(long)]
    pub(super) history: bool,
}
