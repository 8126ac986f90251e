//! The command line of `stage`.

use std::fmt::{self, Display};
use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args as ClapArgs, ValueEnum};

use super::flags;
use super::limit_rate::LimitRate;
use super::node_flags::NodeFlags;
use super::selection_flags::{AttributeFlags, Links, OnlyPattern, SelectionFlags};
#[cfg(feature = "mpi")]
use crate::config::Config;
use crate::config::ranges::{HandoutThreads, MemoryBytes, Threads, TreeSegmentBytes};
use crate::config::{Compress, Decider, RateLimits};
#[cfg(feature = "mpi")]
use crate::escape;

/// Which ranks read the sources.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SourceRank {
    /// This rank alone has them.
    Rank(u32),
    /// Every rank sees the same, as on a shared file system; each part is read once in all.
    All,
    /// Every rank adds what it has.
    Each,
}

impl FromStr for SourceRank {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "all" => Ok(Self::All),
            "each" => Ok(Self::Each),
            _ => {
                let wrong = |_| "use a rank such as 0, or all, or each".to_owned();
                text.parse().map(Self::Rank).map_err(wrong)
            }
        }
    }
}

impl Display for SourceRank {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rank(rank) => rank.fmt(f),
            Self::All => f.write_str("all"),
            Self::Each => f.write_str("each"),
        }
    }
}

/// Files and folders that go to every node.
#[derive(Clone, Debug, ClapArgs)]
#[command(
    after_help = "Exit codes: 0 every node has everything, 1 not every node has, 2 refused, nothing was begun\n\n\
    DIR/<last name of SRC> is the result on each node. A new tree appears whole, by one rename; an \
    existing one is brought up to date file by file. DIR/.mpiswarm/<last name of SRC>.manifest is written \
    last. After an interruption, run the same command again: it goes on from there.\n\n\
    With --dry-run: 0 told for every node, 1 not for every node, 2 refused.\n\n\
    Examples, with one rank a node:\n  \
    srun --ntasks-per-node=1 mpiswarm stage /shared/model --to /local/scratch\n  \
    mpirun --map-by ppr:1:node --bind-to none \\\n    \
    mpiswarm stage /shared/model --to /local/scratch"
)]
pub(super) struct StageArgs {
    /// Files and folders to stage
    #[arg(required = true, value_name = "SRC")]
    pub(super) sources: Vec<PathBuf>,
    /// Folder of each node to write to; {rank} and {host} are filled in. May be given several times; one folder counts
    /// once, whatever its names
    #[arg(long, required = true, value_name = "DIR")]
    pub(super) to: Vec<PathBuf>,
    /// Which rank reads the sources; `all`: every rank sees them, and they share the reading; `each`: every rank
    /// adds what it has under SRC, which it may lack. A name that several ranks have must have the same content,
    /// which is compared first; mode and time are those of the lowest rank that has it
    #[arg(long, value_name = "RANK", default_value = "0")]
    pub(super) from: SourceRank,
    #[command(flatten)]
    pub(super) selection: SelectionFlags,
    /// Stage only what matches on this rank; {rank} and {host} are filled in. Patterns as for --include; one match
    /// is enough. With --delete, files that do not match are left alone. Ranks that share a DIR take what any of
    /// them takes. May be given several times
    #[arg(long, value_name = "GLOB", value_parser = OnlyPattern::new)]
    pub(super) only: Vec<OnlyPattern>,
    /// What becomes of symbolic links within SRC
    #[arg(long, value_enum, value_name = "HOW", default_value_t = Links::Copy)]
    pub(super) links: Links,
    #[command(flatten)]
    pub(super) attributes: AttributeFlags,
    /// Make DIR where it is missing
    #[arg(long)]
    pub(super) mkdir: bool,
    /// Compare files that are there already, and what an interrupted attempt wrote, by content, not by size and time
    #[arg(long)]
    pub(super) checksum: bool,
    /// Delete what is in DIR/<name> and not in the source
    #[arg(long)]
    pub(super) delete: bool,
    /// Say what would be sent, replaced, kept and deleted, and write nothing. What an interrupted attempt has
    /// written counts as not there yet
    #[arg(long)]
    pub(super) dry_run: bool,
    /// Do not wait until all is on the disk: a node that crashes soon may lose some of it
    #[arg(long)]
    pub(super) no_sync: bool,
    /// Start over instead of resuming an interrupted attempt
    #[arg(long)]
    pub(super) fresh: bool,
    /// Refuse sources that are not as this manifest says, content included (see `mpiswarm manifest`)
    #[arg(long, value_name = "FILE")]
    pub(super) manifest: Option<PathBuf>,
    /// Size of a segment, a power of two from 16K to 1G (K, M, G: powers of 1024) [default: up to 8M, so that there are 1024 or more
    /// segments, between hosts 8192, if each has 64K, between hosts 32K]
    #[arg(long, value_name = "BYTES")]
    pub(super) segment_bytes: Option<TreeSegmentBytes>,
    /// Memory of a rank for segments, 1M to 64T [default: 64M or 128 segments, whichever is more; the ranks of a
    /// host together at most 1G, or a quarter of what is available if that is less]
    #[arg(long, value_name = "BYTES")]
    pub(super) memory: Option<MemoryBytes>,
    /// Threads of a rank that read, hash and write, 1 to 1024 [default: its share of the cores, less one; one
    /// more than it has DIRs, if that is more; at least 2, at most 8]
    #[arg(long, value_name = "N")]
    pub(super) workers: Option<Threads>,
    /// Who decides which segment goes from whom to whom. Where peers do, rank 0 hands out what is to be read, and tells
    /// the digests; all ranks take the whole tree then
    #[arg(long, value_name = "WHO", value_parser = flags::choice::<Decider>(), default_value_t)]
    pub(super) decide: Decider,
    /// Threads of rank 0 that compute who fetches what from whom, 0 to 64; with 0 the one that talks to the other
    /// ranks does
    #[arg(long, value_name = "N", default_value_t)]
    pub(super) tracker_threads: HandoutThreads,
    /// Most bytes of segments a second that each rank sends to others, and receives from them, also within one
    /// host: such as 100M for each direction, or up=100M,down=50M (K, M, G: powers of 1024) [default: no limit]
    #[arg(long, value_name = "RATE")]
    pub(super) limit_rate: Option<LimitRate>,
    /// Which segments cross compressed, by zstd; what is verified is what they were before. It needs memory for 6 to
    /// 24 segments more
    #[arg(long, value_name = "WHEN", value_parser = flags::choice::<Compress>(), default_value_t)]
    pub(super) compress: Compress,
    /// How progress is shown on stderr; `json`: a line a second with phase (listing, moving, writing), elapsed_s,
    /// verified_bytes, wanted_bytes, bytes_per_second, left_s, ranks_complete, ranks, behind
    #[arg(long, value_enum, default_value_t = ProgressFormat::Auto, value_name = "FORMAT", conflicts_with = "quiet")]
    pub(super) progress: ProgressFormat,
    /// Keep this file up to date with how far the stage is, and how it ended, in the OpenMetrics text format, as
    /// for the textfile collector of Prometheus; rank 0 writes it
    #[arg(long, value_name = "FILE", conflicts_with = "dry_run")]
    pub(super) metrics: Option<PathBuf>,
    /// Write what each rank asked, read, received, hashed, sent and wrote when, and for whom it waited, to this file,
    /// which ui.perfetto.dev and chrome://tracing open; rank 0 writes it. Each buffer holds 65536 spans; the file
    /// says how many were dropped
    #[arg(long, value_name = "FILE", conflicts_with = "dry_run")]
    pub(super) trace: Option<PathBuf>,
    #[command(flatten)]
    pub(super) shared: NodeFlags,
}

/// How progress is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum ProgressFormat {
    /// A bar on a terminal, elsewhere a line every 10 s.
    Auto,
    /// One JSON object a line.
    Json,
}

impl StageArgs {
    /// What this rank may move.
    pub(super) fn limits(&self) -> RateLimits {
        self.limit_rate.map_or_else(RateLimits::default, |limit| limit.0)
    }

    /// Whether links within the sources become what they lead to.
    pub(super) fn follows_links(&self) -> bool {
        self.links == Links::Follow
    }

    /// Whether ranks have, or take, different parts of the tree.
    pub(super) fn has_parts(&self) -> bool {
        !self.only.is_empty() || self.from == SourceRank::Each
    }

    /// The first option that peers that decide have no use for, or can't do, as a sentence.
    pub(super) fn contradiction(&self) -> Option<String> {
        if self.decide == Decider::Tracker {
            None
        } else if self.tracker_threads.get() > 0 {
            let why = "with --decide peers nobody hands out: leave it out";
            Some(format!("--tracker-threads: {why}"))
        } else if self.has_parts() {
            let flag = if self.only.is_empty() { "--from each" } else { "--only" };
            let why = "with --decide peers all ranks have and take the same";
            Some(format!("{flag}: {why}: leave it out, or use --decide tracker"))
        } else {
            None
        }
    }

    /// The options in which all ranks must agree, each with its value.
    #[cfg(feature = "mpi")]
    pub(super) fn agreed(&self) -> Vec<(String, String)> {
        let sources = self.sources.iter().map(|source| escape::path(source).to_string());
        let bytes = self.segment_bytes.map_or("the default".to_owned(), |bytes| bytes.to_string());
        let AttributeFlags { owner, xattrs } = self.attributes;
        let plain = [
            // All ranks keep a trace, or none does.
            ("the command", self.trace.as_ref().map_or("stage", |_| "stage --trace").to_owned()),
            ("SRC", sources.collect::<Vec<_>>().join(" ")),
            ("--from", self.from.to_string()),
            ("--segment-bytes", bytes),
            ("--include and --exclude", self.selection.0.text()),
            ("--only", OnlyPattern::texts(&self.only)),
            ("--compress", self.compress.to_string()),
            ("--links", format!("{:?}", self.links).to_lowercase()),
            ("--owner", owner.to_string()),
            ("--xattrs", xattrs.to_string()),
            ("--delete", self.delete.to_string()),
            ("--dry-run", self.dry_run.to_string()),
            ("--checksum", self.checksum.to_string()),
            ("--fresh", self.fresh.to_string()),
            ("--decide", self.decide.to_string()),
            ("--tracker-threads", self.tracker_threads.to_string()),
        ];
        let mut config = Config::for_segments_of(1);
        self.shared.apply(&mut config);
        let all = plain.into_iter().chain(self.shared.agreed(&config));
        all.map(|(name, value)| (name.to_owned(), value)).collect()
    }
}
