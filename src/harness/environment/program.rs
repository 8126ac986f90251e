//! The program: its commit, and how it was built.

use std::path::Path;
use std::process::Command;

use serde::{Deserialize, Serialize};

use super::source_digest::source_digest;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names say what they hold")]
pub struct Program {
    pub version: String,
    /// The commit that has its source: that of the tree now, or, if the source there is another by now,
    /// that at the time of the build.
    pub commit: Option<String>,
    /// Whether the tree had uncommitted changes at that time.
    pub dirty: Option<bool>,
    /// Whether the tree has another source than the program was built from; none where it is gone.
    pub older_than_source: Option<bool>,
    pub compiler: String,
    pub flags: String,
    pub profile: String,
    pub target: String,
}

/// A state of the tree that the program was built in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TreeState {
    pub(super) commit: Option<String>,
    pub(super) dirty: Option<bool>,
}

impl TreeState {
    fn now(root: &Path) -> Self {
        let status = git(root, &["status", "--porcelain", "--untracked-files=no"]);
        Self {
            commit: git(root, &["rev-parse", "HEAD"]),
            dirty: status.map(|status| !status.is_empty()),
        }
    }

    fn at_build() -> Self {
        let commit = Some(env!("MPISWARM_COMMIT")).filter(|commit| !commit.is_empty());
        Self { commit: commit.map(ToOwned::to_owned), dirty: env!("MPISWARM_DIRTY").parse().ok() }
    }

    /// Which of the two has the source of the program. Commits that left the source alone may have
    /// followed the build, and so may the one of the changes that were built.
    pub(super) fn of_program(at_build: Self, now: Self, is_older: Option<bool>) -> Self {
        if is_older == Some(false) && now.commit.is_some() { now } else { at_build }
    }
}

impl Program {
    pub(super) fn capture() -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let digest = source_digest(root).ok().map(|(digest, _)| digest);
        let is_older = digest.map(|digest| digest != env!("MPISWARM_SOURCE"));
        let TreeState { commit, dirty } =
            TreeState::of_program(TreeState::at_build(), TreeState::now(root), is_older);
        Self {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            commit,
            dirty,
            older_than_source: is_older,
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
