//! A file by which other ranks find that they have the same destination.

use std::path::{Path, PathBuf};
use std::{fs, io};

use super::refusal;
use crate::cli::stage_args::StageArgs;
use crate::store::{Probe, probe, remove_left_over};

/// Makes a destination, where that is wanted, and puts a file there that others can look for.
pub(super) fn make_probe(args: &StageArgs, dirs: &[PathBuf], dir: &Path) -> io::Result<Probe> {
    // Nothing is made within the source, or for one that the rank that lists it refuses.
    if refusal(&args.sources, dirs).is_none() {
        if args.mkdir {
            fs::create_dir_all(dir)?;
        }
        // Each rank can tell for its own host alone whose runs have ended.
        remove_left_over(dir);
    }
    probe(dir)
}
