//! What `--version` says: the program, the commit that it was built from, and the MPI that it calls.

use std::sync::OnceLock;

// Digits of the commit.
// Git itself finds 12 enough for repositories as large as Linux.
const COMMIT_DIGITS: usize = 12;

/// The version, in several lines.
pub(super) fn long_version() -> &'static str {
    static TEXT: OnceLock<String> = OnceLock::new();
    TEXT.get_or_init(|| {
        let lines = [Some(env!("CARGO_PKG_VERSION").to_owned()), commit(), Some(mpi())];
        lines.into_iter().flatten().collect::<Vec<_>>().join("\n")
    })
}

/// None where the program was built from sources without git.
fn commit() -> Option<String> {
    let digits = env!("MPISWARM_COMMIT").get(..COMMIT_DIGITS)?;
    let modified = if env!("MPISWARM_DIRTY") == "true" { ", modified" } else { "" };
    Some(format!("commit {digits}{modified}"))
}

#[cfg(feature = "mpi")]
fn mpi() -> String {
    // One of the few calls that are allowed before MPI begins (MPI 3.1, section 8.7.1).
    let library = mpi::environment::library_version().unwrap_or_default();
    format!("MPI: {}", library_name(&library))
}

#[cfg(not(feature = "mpi"))]
fn mpi() -> String {
    "MPI: none, built without the feature `mpi`".to_owned()
}

/// Name and version. Open MPI goes on with who built it, MPICH with lines of configuration.
#[cfg(any(feature = "mpi", test))]
fn library_name(text: &str) -> String {
    let line = text.trim_matches(['\0', '\n']).lines().next().unwrap_or_default();
    let name = line.split(',').next().unwrap_or_default();
    name.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_what_an_mpi_says_name_and_version_are_shown() {
        let open = "Open MPI v4.1.4, package: Debian Open MPI, ident: 4.1.4, May 26, 2022\0";
        let mpich = "MPICH Version:      4.0.2\nMPICH Release date: Thu Apr  7 12:34:45 CDT 2022\n";
        let names = [open, mpich, ""].map(library_name);
        assert_eq!(names, ["Open MPI v4.1.4", "MPICH Version: 4.0.2", ""]);
    }
}
