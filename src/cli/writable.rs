//! Whether results can be written, asked before the work that makes them.

use std::fs::{self, OpenOptions};
use std::io::{self, ErrorKind};
use std::path::Path;

use crate::escape;
use crate::store::probe_folder;

/// Checks that a file can be written. One that is there keeps its bytes, one that is not there is not
/// left behind.
pub(super) fn file(path: &Path) -> Result<(), String> {
    let probed = match OpenOptions::new().write(true).create_new(true).open(path) {
        Ok(_) => fs::remove_file(path),
        Err(cause) if cause.kind() == ErrorKind::AlreadyExists => probe_existing(path),
        Err(cause) => Err(cause),
    };
    probed.map_err(|cause| refusal(path, &cause))
}

// A pipe or a device is left alone: opening a pipe waits for its reader.
fn probe_existing(path: &Path) -> io::Result<()> {
    let metadata = fs::metadata(path)?;
    if metadata.is_file() || metadata.is_dir() {
        OpenOptions::new().append(true).open(path)?;
    }
    Ok(())
}

/// Makes a folder, and checks that files can be made in it.
pub(super) fn folder(path: &Path) -> Result<(), String> {
    probe_folder(path).map_err(|cause| refusal(path, &cause))
}

fn refusal(path: &Path, cause: &io::Error) -> String {
    format!("{}: {cause}: name another place to write to", escape::path(path))
}
