//! Opens what lies below an open folder, however long its path, and through no symbolic link unless they are
//! to be followed.

use std::sync::LazyLock;

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat, openat2};
use rustix::io;

/// How a folder on the way is opened.
const WAY: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// The most bytes of a path that one call is given.
// `PATH_MAX` of Linux, less the NUL byte.
const CALL_BYTES_MAX: usize = 4095;

/// Whether the system can refuse links on the way (Linux 5.6). Containers may forbid the call.
static REFUSES_LINKS: LazyLock<bool> =
    LazyLock::new(|| openat2(CWD, ".", WAY, Mode::empty(), ResolveFlags::NO_SYMLINKS).is_ok());

/// Opens `path`, components with `/` between them, below `folder`; `folder` itself if it is empty.
pub(super) fn open_beneath(folder: impl AsFd, path: &[u8], flags: OFlags) -> io::Result<OwnedFd> {
    open_along(folder, path, flags | OFlags::NOFOLLOW)
}

/// The same through symbolic links, wherever they lead.
pub(super) fn open_following(folder: impl AsFd, path: &[u8], flags: OFlags) -> io::Result<OwnedFd> {
    open_along(folder, path, flags)
}

fn open_along(folder: impl AsFd, path: &[u8], flags: OFlags) -> io::Result<OwnedFd> {
    let flags = flags | OFlags::CLOEXEC;
    let no_follow = flags & OFlags::NOFOLLOW;
    let (mut rest, mut way) = (path, None::<OwnedFd>);
    loop {
        let from = way.as_ref().map_or(folder.as_fd(), AsFd::as_fd);
        let step = step(rest, no_follow.is_empty());
        if step == rest.len() {
            return open_step(from, if rest.is_empty() { b"." } else { rest }, flags);
        }
        way = Some(open_step(from, &rest[..step], WAY | no_follow)?);
        rest = &rest[step + 1..];
    }
}

/// How much of a path one call takes.
fn step(path: &[u8], follows: bool) -> usize {
    if follows || *REFUSES_LINKS {
        if path.len() <= CALL_BYTES_MAX {
            return path.len();
        }
        if let Some(end) = memchr::memrchr(b'/', &path[..=CALL_BYTES_MAX]) {
            return end;
        }
    }
    memchr::memchr(b'/', path).unwrap_or(path.len())
}

fn open_step(from: BorrowedFd<'_>, path: &[u8], flags: OFlags) -> io::Result<OwnedFd> {
    if !flags.contains(OFlags::NOFOLLOW) || memchr::memchr(b'/', path).is_none() {
        return openat(from, path, flags, Mode::empty());
    }
    openat2(from, path, flags, Mode::empty(), ResolveFlags::NO_SYMLINKS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    #[test]
    fn a_link_is_followed_nowhere() {
        let dir = tempfile::tempdir().expect("a folder");
        fs::create_dir_all(dir.path().join("a/b")).expect("folders");
        fs::write(dir.path().join("a/b/c"), "c").expect("a small file");
        symlink("a", dir.path().join("way")).expect("a link");
        symlink("c", dir.path().join("a/b/end")).expect("a link");
        let folder = fs::File::open(dir.path()).expect("a folder");
        let opens = |path: &str| open_beneath(&folder, path.as_bytes(), OFlags::RDONLY).is_ok();
        assert!(opens("a/b/c") && opens("a/b") && opens(""));
        assert!(!opens("way/b/c") && !opens("a/b/end") && !opens("way"));
        let follows = |path: &str| open_following(&folder, path.as_bytes(), OFlags::RDONLY).is_ok();
        assert!(follows("way/b/c") && follows("way/b/end") && follows("") && !follows("way/c"));
        let long = "b/../".repeat(2000);
        assert!(follows(&format!("way/{long}b/end")) && opens(&format!("a/{long}b/c")));
    }
}
