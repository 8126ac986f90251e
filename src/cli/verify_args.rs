//! The command line of `verify`.

use std::path::PathBuf;

use clap::Args as ClapArgs;

use super::selection_flags::{OnlyPattern, SelectionFlags};

/// A comparison of what lies on disk with its manifest.
#[derive(Clone, Debug, ClapArgs)]
#[command(after_help = "Exit codes: 0 the same, 1 something differs, 2 input refused")]
pub(super) struct VerifyArgs {
    /// A staged file or folder, or the folder --to that all were staged to
    pub(super) dir: PathBuf,
    /// Compare with this manifest instead of that which staging left
    #[arg(long, value_name = "FILE")]
    pub(super) manifest: Option<PathBuf>,
    #[command(flatten)]
    pub(super) selection: SelectionFlags,
    /// Compare only what matches, where a node took a part (`stage --only`): what does not match is neither missing
    /// nor extra. Patterns as for --include; one match is enough. {rank} and {host} are filled in: the rank that a
    /// launcher such as srun or mpirun tells this process, or 0. May be given several times
    #[arg(long, value_name = "GLOB", value_parser = OnlyPattern::new)]
    pub(super) only: Vec<OnlyPattern>,
    /// Show all differences, not only the first 20
    #[arg(long)]
    pub(super) all: bool,
    /// Print one JSON object, and nothing else, to stdout
    #[arg(long)]
    pub(super) json: bool,
    /// Show no progress and no differences: the exit code tells
    #[arg(long, conflicts_with = "all")]
    pub(super) quiet: bool,
}
