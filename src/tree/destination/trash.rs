//! Removes trees of any depth with a few open files, links not followed.
//!
//! What is to go is renamed into `DIR/.mpiswarm/trash`, out of sight with one call. There each folder is emptied
//! by moving its folders up into the trash, so that no path grows long. A rename never leaves a file system:
//! what is mounted below a tree is not touched, and the removal fails.

use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};

use rustix::fs::{
    AtFlags, CWD, Dir, FileType, Mode, OFlags, chmodat, fchmod, openat, renameat, unlinkat,
};
use rustix::io::Errno;

use super::folder_cache::{allow, open_folder};
use super::look::{COMPOSED, stat, type_of};
use super::{KEY_DIGITS, make_folder};

/// The name of the folder of what is to be removed.
// No root meets it: trees lie in folders beside it.
const NAME: &[u8] = b"trash";

/// The folder of what is to be removed, within that of this program.
#[derive(Debug)]
pub(super) struct Trash<'a> {
    control: &'a OwnedFd,
    folder: OwnedFd,
}

impl<'a> Trash<'a> {
    pub(super) fn open(control: &'a OwnedFd) -> io::Result<Self> {
        Ok(Self { control, folder: make_folder(control, NAME)? })
    }

    /// An open folder whose contents [`Trash::empty`] removes.
    pub(super) fn folder(&self) -> &OwnedFd {
        &self.folder
    }

    /// Takes what has this name away from a folder. It is removed by [`Trash::empty`].
    pub(super) fn take(&self, from: &OwnedFd, name: &[u8]) -> io::Result<()> {
        take(from, name, &self.folder)
    }

    /// Removes what earlier runs left in the folder of this program, but for partial trees that are not
    /// `is_gone`. Returns how many of these went.
    pub(super) fn clear_control(&self, is_gone: impl Fn(&str) -> bool) -> io::Result<usize> {
        let mut count = 0;
        for name in names(self.control)? {
            let Ok(text) = std::str::from_utf8(&name) else { continue };
            if is_partial(text) && is_gone(text) {
                self.take(self.control, &name)?;
                count += 1;
            } else if text
                .strip_prefix(".mpiswarm-")
                .and_then(|rest| rest.strip_suffix(".part"))
                .is_some_and(|key| is_key(key.strip_suffix(COMPOSED).unwrap_or(key)))
            {
                // A manifest that was not finished, or what tried out the file system.
                let _ = unlinkat(self.control, &*name, AtFlags::empty());
            }
        }
        self.empty()?;
        Ok(count)
    }

    /// Removes all that is in it.
    pub(super) fn empty(&self) -> io::Result<()> {
        loop {
            let all = names(&self.folder)?;
            if all.is_empty() {
                return Ok(());
            }
            for name in all {
                let is_folder = stat(&self.folder, &name)?
                    .is_some_and(|found| type_of(&found) == FileType::Directory);
                if is_folder {
                    self.remove_folder(&name)?;
                } else {
                    unlinkat(&self.folder, &*name, AtFlags::empty())?;
                }
            }
        }
    }

    /// Removes a folder in the trash; the folders in it come to lie beside it.
    fn remove_folder(&self, name: &[u8]) -> io::Result<()> {
        let at = open_folder(&self.folder, name)?;
        let listed = match names(&at) {
            // Read-only folders, or ones that can't be listed.
            Err(cause) if cause.kind() == io::ErrorKind::PermissionDenied => {
                allow(&at)?;
                names(&at)?
            }
            listed => listed?,
        };
        for inner in listed {
            let removed = remove_inner(&at, &inner, &self.folder);
            if removed.as_ref().is_err_and(|cause| cause.kind() == io::ErrorKind::PermissionDenied)
            {
                allow(&at)?;
                remove_inner(&at, &inner, &self.folder)?;
            } else {
                removed?;
            }
        }
        Ok(unlinkat(&self.folder, name, AtFlags::REMOVEDIR)?)
    }
}

impl Drop for Trash<'_> {
    fn drop(&mut self) {
        // Where something is left in it, the next run removes it.
        let _ = unlinkat(self.control, NAME, AtFlags::REMOVEDIR);
    }
}

fn is_key(key: &str) -> bool {
    key.len() == KEY_DIGITS && key.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Whether this is the name of the folder of an attempt.
pub(super) fn is_partial(name: &str) -> bool {
    name.strip_suffix(".partial").is_some_and(is_key)
}

fn remove_inner(folder: &OwnedFd, name: &[u8], trash: &OwnedFd) -> io::Result<()> {
    match unlinkat(folder, name, AtFlags::empty()) {
        // Linux says EISDIR, POSIX EPERM.
        Err(Errno::ISDIR | Errno::PERM) => take(folder, name, trash),
        removed => Ok(removed?),
    }
}

fn take(from: &OwnedFd, name: &[u8], trash: &OwnedFd) -> io::Result<()> {
    let random = format!("{:032x}", rand::random::<u128>());
    match renameat(from, name, trash, random.as_str()) {
        // To move a folder changes its `..`: it has to be writable itself (rename(2)).
        Err(Errno::ACCESS) => {
            allow(&open_folder(from, name)?)?;
            Ok(renameat(from, name, trash, random.as_str())?)
        }
        renamed => Ok(renamed?),
    }
}

/// Sets the mode of a file or folder.
pub(super) fn set_mode(at: &OwnedFd, name: &[u8], mode: u32) -> io::Result<()> {
    let mode = Mode::from_raw_mode(mode & 0o7777);
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    match openat(at, name, flags | OFlags::RDONLY, Mode::empty()) {
        Err(Errno::ACCESS) => {
            let open = openat(at, name, flags | OFlags::PATH, Mode::empty())?;
            let path = format!("/proc/self/fd/{}", open.as_raw_fd());
            Ok(chmodat(CWD, path, mode, AtFlags::empty())?)
        }
        open => Ok(fchmod(open?, mode)?),
    }
}

/// The names in a folder, in any order.
pub(super) fn names(folder: &OwnedFd) -> io::Result<Vec<Box<[u8]>>> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let mut names = Vec::new();
    for entry in Dir::new(openat(folder, ".", flags, Mode::empty())?)? {
        let name: Box<[u8]> = entry?.file_name().to_bytes().into();
        if &*name != b"." && &*name != b".." {
            names.push(name);
        }
    }
    Ok(names)
}
