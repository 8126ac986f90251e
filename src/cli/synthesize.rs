//! `mpiswarm synthesize`.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use crate::config::ranges::{Peers, Segments, TreeBytes};
use crate::escape;
use crate::manifest::{self, PeerInput, Workload};
use crate::store::available_bytes;
use crate::tree::SyntheticTree;

use super::args::SynthesizeArgs;
use super::{FAILED, OK, REFUSED, show, writable};

pub(super) fn synthesize(args: &SynthesizeArgs) -> u8 {
    match (&args.tree, &args.dir) {
        (Some(tree), _) => tree_of_files(args, tree),
        (None, Some(dir)) => inputs(args, dir),
        (None, None) => {
            show::error("name a folder to write to");
            REFUSED
        }
    }
}

fn tree_of_files(args: &SynthesizeArgs, dir: &Path) -> u8 {
    let tree = SyntheticTree {
        files: args.files.get(),
        bytes: args.bytes.map_or(0, TreeBytes::get),
        has_holes: true,
        seed: args.seed.get(),
    };
    if let Err(refusal) = can_make(&tree, dir) {
        show::error(&refusal);
        return REFUSED;
    }
    if let Err(cause) = tree.write(dir) {
        show::error(&format!("{}: {cause}", escape::path(dir)));
        return FAILED;
    }
    if !args.quiet {
        show::line(&format!(
            "{} files of {} bytes in {}",
            tree.files,
            tree.bytes,
            escape::path(dir)
        ));
    }
    OK
}

/// Whether the tree has room in memory, and the folder nothing else in it.
fn can_make(tree: &SyntheticTree, dir: &Path) -> Result<(), String> {
    let (needed, available) = (tree.memory_bytes(), available_bytes());
    if needed > available {
        return Err(format!(
            "the tree needs about {needed} bytes of memory, {available} are available: use fewer --files"
        ));
    }
    let is_new = match fs::read_dir(dir) {
        Ok(mut entries) => entries.next().is_none(),
        Err(cause) => cause.kind() == ErrorKind::NotFound,
    };
    if !is_new {
        return Err(format!("{}: it is not a new folder: name another", escape::path(dir)));
    }
    writable::folder(dir)
}

fn inputs(args: &SynthesizeArgs, dir: &Path) -> u8 {
    let workload = Workload {
        peers: args.peers.map_or(0, Peers::get),
        files: args.files.get(),
        segments: args.segments.map_or(0, Segments::get),
        owners: args.owners,
        wanted: args.wanted,
        popularity: args.popularity,
        seed: args.seed.get(),
    };
    let inputs = match made(args, dir, &workload) {
        Ok(inputs) => inputs,
        Err(refusal) => {
            show::error(&refusal);
            return REFUSED;
        }
    };
    if let Err(error) = manifest::write_all(dir, &inputs, args.overwrite) {
        show::error(&error.to_string());
        return FAILED;
    }
    if !args.quiet {
        show::line(&format!("{} inputs in {}", inputs.len(), escape::path(dir)));
    }
    OK
}

/// The inputs; an error where they can't be made, or the folder can't take them.
fn made(args: &SynthesizeArgs, dir: &Path, workload: &Workload) -> Result<Vec<PeerInput>, String> {
    workload.check().map_err(|error| error.to_string())?;
    writable::folder(dir)?;
    manifest::inputs_present(dir, args.overwrite).map_err(|error| error.to_string())?;
    let (needed, available) = (workload.input_bytes(), available_bytes());
    if needed > available {
        return Err(format!(
            "the inputs need about {needed} bytes of memory, {available} are available: use fewer \
             --peers, --files or --segments"
        ));
    }
    manifest::synthesize(workload).map_err(|error| error.to_string())
}
