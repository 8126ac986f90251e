//! Is a program built from the source that lies there? `build.rs` takes this digest when it builds, and the
//! program takes it again when it measures: times of files say nothing after a copy or a checkout.

use std::collections::hash_map::DefaultHasher;
use std::fs;
use std::hash::Hasher as _;
use std::io;
use std::path::{Path, PathBuf};

// What makes the program beside `src`.
const BESIDE: [&str; 3] = ["Cargo.toml", "Cargo.lock", "build.rs"];
// What no program has in it.
const LEFT_OUT: [&str; 4] = ["tests", "tests.rs", "snapshots", "README.md"];

/// The digest of all that makes the program in the tree at `root`, and the files that it is of.
// SipHash: both sides come from one compiler, and nobody forges a source to look like another.
pub(crate) fn source_digest(root: &Path) -> io::Result<(String, Vec<PathBuf>)> {
    let mut files: Vec<_> = BESIDE.iter().map(PathBuf::from).collect();
    let mut folders = vec![PathBuf::from("src")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(root.join(&folder))? {
            let entry = entry?;
            let path = folder.join(entry.file_name());
            if LEFT_OUT.iter().any(|name| entry.file_name() == *name) {
                continue;
            }
            if entry.file_type()?.is_dir() { folders.push(path) } else { files.push(path) }
        }
    }
    files.sort();
    let mut hasher = DefaultHasher::new();
    for file in &files {
        let bytes = fs::read(root.join(file))?;
        for part in [file.as_os_str().as_encoded_bytes(), &bytes] {
            hasher.write_usize(part.len());
            hasher.write(part);
        }
    }
    Ok((format!("{:016x}", hasher.finish()), files))
}
