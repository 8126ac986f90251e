//! The readers of files, for fuzz targets: whatever a file holds, the answer is a value or one line.

use std::path::Path;

use crate::harness::{Plan, measured};
use crate::report::compare::import;

/// Reads a plan.
///
/// # Errors
///
/// What is wrong in it.
pub fn plan(text: &str) -> Result<(), String> {
    let plan = Plan::parse(Path::new("plan.toml"), text.to_owned(), Some(3));
    plan.map(drop).map_err(|error| error.to_string())
}

/// Reads a folder of records.
///
/// # Errors
///
/// What is wrong in it.
pub fn measured(dir: &Path) -> Result<(), String> {
    measured::read(dir).map(drop).map_err(|error| error.to_string())
}

/// Reads the results of another tool.
///
/// # Errors
///
/// What is wrong in them.
pub fn import(path: &Path) -> Result<(), String> {
    import::read(path).map(drop).map_err(|error| error.to_string())
}
