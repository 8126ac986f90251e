//! Reads a measurement: a folder of launches, each a folder of records.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::{has_records, read};
use crate::harness::records::RecordsError;
use crate::report::compare::Set;

// How far below the folder of a measurement its launches lie at most.
// `ranks-5/launch-1` is two below; one more is left for a folder of a day or a build.
const DEPTH_MAX: usize = 3;

/// Reads all launches of a folder as one set; none if it has none. A folder with records is itself a
/// launch.
pub(crate) fn read_launches(dir: &Path) -> Result<Option<Set>, RecordsError> {
    if has_records(dir) {
        return read(dir).map(Some);
    }
    let mut launches = Vec::new();
    for folder in launches_in(dir).map_err(RecordsError::at(dir))? {
        let name = folder.strip_prefix(dir).unwrap_or(&folder).to_string_lossy().into_owned();
        launches.push((name, read(&folder)?));
    }
    let real = dir.canonicalize().unwrap_or_else(|_| dir.to_owned());
    let label = real.file_name().unwrap_or_default().to_string_lossy().into_owned();
    Ok((!launches.is_empty()).then(|| Set::of_launches(label, dir, launches)))
}

/// The folders of records below a folder, sorted by path; none in what is no folder.
pub(super) fn launches_in(root: &Path) -> io::Result<Vec<PathBuf>> {
    let (mut folders, mut found) = (vec![(root.to_owned(), 0)], Vec::new());
    while let Some((folder, depth)) = folders.pop() {
        if has_records(&folder) {
            found.push(folder);
        } else if depth < DEPTH_MAX && folder.is_dir() {
            for entry in fs::read_dir(&folder)? {
                let path = entry?.path();
                if path.is_dir() && !path.is_symlink() {
                    folders.push((path, depth + 1));
                }
            }
        }
    }
    found.sort();
    Ok(found)
}
