//! Finds out which ranks share a folder: one makes a file with a random name, the others look for it.

use std::path::{Path, PathBuf};
use std::{fs, io};

use super::temporary;

/// A file that is there until this is dropped.
// Named as temporary files of outputs are: one that a killed run leaves is removed with them.
#[derive(Debug)]
pub struct Probe(PathBuf);

/// Makes a probe in a folder.
///
/// # Errors
///
/// When the folder is not there, or can't be written to.
pub fn probe(dir: &Path) -> io::Result<Probe> {
    // Nobody can guess it, so that only those who were told find it.
    temporary::create(dir).map(|(path, _)| Probe(path))
}

/// Whether the probe of this name lies in a folder. A name that is none of a probe lies nowhere.
pub fn sees(dir: &Path, name: &str) -> bool {
    // Never looked for before, so that no client of a network file system remembers its absence.
    temporary::is_name(name) && fs::symlink_metadata(dir.join(name)).is_ok()
}

impl Probe {
    /// Its name, for the others.
    pub fn name(&self) -> &str {
        let name = self.0.file_name().and_then(|name| name.to_str());
        name.expect("names of temporary files are ASCII")
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        // If it stays, the next run removes it.
        drop(fs::remove_file(&self.0));
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_probe_is_seen_where_it_lies_until_it_is_dropped() {
        let (here, there) = (tempfile::tempdir(), tempfile::tempdir());
        let (here, there) = (here.expect("a folder"), there.expect("another"));
        let link = there.path().join("link");
        std::os::unix::fs::symlink(here.path(), &link).expect("a link");
        let probe = probe(here.path()).expect("it is writable");
        let name = probe.name().to_owned();
        assert!(sees(here.path(), &name) && sees(&link, &name));
        assert!(!sees(there.path(), &name) && !sees(Path::new("/no/such"), &name));
        assert!(!sees(here.path(), "..") && !sees(here.path(), &format!("../{name}")));
        drop(probe);
        assert!(!sees(here.path(), &name));
        assert_eq!(fs::read_dir(here.path()).expect("it is readable").count(), 0);
    }

    #[test]
    fn the_probe_of_a_killed_run_is_removed_by_the_next_one() {
        let dir = tempfile::tempdir().expect("a folder");
        let mine = probe(dir.path()).expect("it is writable");
        let process = format!("-{}-", std::process::id());
        let dead = dir.path().join(mine.name().replace(&process, &format!("-{}-", u32::MAX)));
        fs::write(&dead, "").expect("a small file");
        temporary::remove_left_over(dir.path());
        assert!(!dead.exists() && sees(dir.path(), mine.name()));
    }
}
