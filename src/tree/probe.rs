//! Finds out which ranks share a folder: one makes a file with a random name, the others look for it.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Mode, OFlags, openat, statat, unlinkat};

/// How a probe's name begins; 32 hexadecimal digits follow.
// Hidden, and told from what a user has.
const PREFIX: &str = ".mpiswarm-probe-";

/// A file that is there until this is dropped.
#[derive(Debug)]
pub struct Probe {
    folder: OwnedFd,
    name: String,
}

/// Makes a probe in a folder.
///
/// # Errors
///
/// When the folder is not there, or can't be written to.
pub fn probe(dir: &Path) -> io::Result<Probe> {
    let folder = open(dir)?;
    // Nobody can guess it, so that only those who were told find it.
    let name = format!("{PREFIX}{:032x}", rand::random::<u128>());
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(&folder, &*name, flags, Mode::RUSR | Mode::WUSR)?;
    Ok(Probe { folder, name })
}

/// Whether the probe of this name lies in a folder. A name that is none of a probe lies nowhere.
pub fn sees(dir: &Path, name: &str) -> bool {
    let is_name = name.strip_prefix(PREFIX).is_some_and(|random| {
        random.len() == 32 && random.bytes().all(|byte| byte.is_ascii_hexdigit())
    });
    // Never looked for before, so that no client of a network file system remembers its absence.
    is_name
        && open(dir).is_ok_and(|folder| statat(&folder, name, AtFlags::SYMLINK_NOFOLLOW).is_ok())
}

fn open(dir: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(openat(CWD, dir, flags, Mode::empty())?)
}

impl Probe {
    /// Its name, for the others.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        // If it stays, it does no harm: it is empty and hidden.
        let _ = unlinkat(&self.folder, &*self.name, AtFlags::empty());
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
        assert_eq!(std::fs::read_dir(here.path()).expect("it is readable").count(), 0);
    }
}
