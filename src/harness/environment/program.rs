//! The program: its commit, and how it was built.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names say what they hold")]
pub struct Program {
    pub version: String,
    /// Current commit of the tree that it was built in; none where the tree is gone.
    pub commit: Option<String>,
    /// Whether that tree has uncommitted changes.
    pub dirty: Option<bool>,
    /// Whether the tree has source that is newer than the program.
    pub older_than_source: Option<bool>,
    pub compiler: String,
    pub flags: String,
    pub profile: String,
    pub target: String,
}

impl Program {
    pub(super) fn capture() -> Self {
        let source = Path::new(env!("CARGO_MANIFEST_DIR"));
        let status = git(source, &["status", "--porcelain", "--untracked-files=no"]);
        Self {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            commit: git(source, &["rev-parse", "HEAD"]),
            dirty: status.map(|status| !status.is_empty()),
            older_than_source: older_than(&source.join("src")),
            compiler: env!("MPISWARM_COMPILER").to_owned(),
            flags: env!("MPISWARM_FLAGS").to_owned(),
            profile: env!("MPISWARM_PROFILE").to_owned(),
            target: env!("MPISWARM_TARGET").to_owned(),
        }
    }
}

/// The output of git in the tree at `source`; none without tree or git.
fn git(source: &Path, words: &[&str]) -> Option<String> {
    let output = Command::new("git").arg("-C").arg(source).args(words).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}

/// Whether this program is older than a file in the folder.
fn older_than(dir: &Path) -> Option<bool> {
    let built = fs::metadata(std::env::current_exe().ok()?).ok()?.modified().ok()?;
    let mut folders = vec![dir.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).ok()? {
            let entry = entry.ok()?;
            let facts = entry.metadata().ok()?;
            if facts.is_dir() {
                folders.push(entry.path());
            } else if facts.modified().ok()? > built {
                return Some(true);
            }
        }
    }
    Some(false)
}
