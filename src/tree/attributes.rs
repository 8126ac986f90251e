//! Owners and extended attributes of files and folders, where they are kept.
//!
//! Of extended attributes those of users (`user.*`) are kept: others mean something to one system only, and
//! need rights to be set. Symbolic links have none (xattr(7)).

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt as _;

use rustix::fd::AsFd;
use rustix::fs::{
    Gid, Mode, Stat, Uid, XattrFlags, fchmod, fchown, fgetxattr, flistxattr, fremovexattr,
    fsetxattr, fstat,
};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use crate::escape;

/// Bytes of an extended attribute, and of all names of a file, at most.
// `XATTR_SIZE_MAX` and `XATTR_LIST_MAX` of Linux.
const XATTR_BYTES_MAX: usize = 65_536;

/// Bytes of the name of an extended attribute, at most.
// `XATTR_NAME_MAX` of Linux.
const XATTR_NAME_BYTES_MAX: usize = 255;

/// What the names of users' attributes begin with.
const PREFIX: &[u8] = b"user.";

/// Whom something belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names say what they hold")]
pub struct FileOwner {
    pub uid: u32,
    pub gid: u32,
}

/// An extended attribute.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names say what they hold")]
pub struct Xattr {
    pub name: Box<[u8]>,
    pub value: Box<[u8]>,
}

/// What of an entry is kept beside mode and time; none of what was not asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attributes {
    /// Whom it belongs to.
    pub owner: Option<FileOwner>,
    /// Its extended attributes, ascending by name.
    pub xattrs: Option<Box<[Xattr]>>,
}

/// Which attributes are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say what they hold")]
pub struct KeptAttributes {
    pub owner: bool,
    pub xattrs: bool,
}

impl FileOwner {
    pub(super) fn of(stat: &Stat) -> Self {
        Self { uid: stat.st_uid, gid: stat.st_gid }
    }

    /// The numbers as chown(2) takes them; one that stands for "leave it" there is none.
    pub(super) fn ids(self) -> (Option<Uid>, Option<Gid>) {
        let is_id = |id: &u32| *id != u32::MAX;
        let uid = Some(self.uid).filter(is_id).map(Uid::from_raw);
        (uid, Some(self.gid).filter(is_id).map(Gid::from_raw))
    }
}

impl Attributes {
    /// What is wrong with what another node or a file says.
    pub(super) fn problem(&self) -> Option<&'static str> {
        let xattrs = self.xattrs.as_deref().unwrap_or_default();
        let is_right = |one: &Xattr| {
            one.name.starts_with(PREFIX)
                && one.name.len() > PREFIX.len()
                && one.name.len() <= XATTR_NAME_BYTES_MAX
                && !one.name.contains(&0)
                && one.value.len() <= XATTR_BYTES_MAX
        };
        let is_owner = self.owner.is_none_or(|owner| ![owner.uid, owner.gid].contains(&u32::MAX));
        match () {
            () if !is_owner => Some("an owner that there can't be"),
            () if !xattrs.iter().all(is_right) => {
                Some("an extended attribute that is not a user's")
            }
            () if !xattrs.is_sorted_by(|left, right| left.name < right.name) => {
                Some("extended attributes twice, or not in order")
            }
            () => None,
        }
    }

    /// Whether nothing that both know differs.
    pub fn agrees_with(&self, other: &Self) -> bool {
        (self.owner.is_none() || other.owner.is_none() || self.owner == other.owner)
            && (self.xattrs.is_none() || other.xattrs.is_none() || self.xattrs == other.xattrs)
    }

    /// Gives an open file or folder these attributes. Returns whether its mode has to be set again: a new owner
    /// takes set-user-id away, and attributes can be set only where its owner may write.
    pub(super) fn apply(&self, file: impl AsFd) -> io::Result<bool> {
        if *self == Self::default() {
            return Ok(false);
        }
        let stat = fstat(&file)?;
        let mut has_changed = false;
        if let Some(wanted) = &self.xattrs {
            let found = xattrs_of(&file)?;
            if found != *wanted {
                fchmod(&file, Mode::from_raw_mode(stat.st_mode & 0o777 | 0o700))?;
                set_xattrs(&file, &found, wanted)?;
                has_changed = true;
            }
        }
        if let Some(owner) = self.owner.filter(|owner| *owner != FileOwner::of(&stat)) {
            let (uid, gid) = owner.ids();
            fchown(&file, uid, gid)?;
            has_changed = true;
        }
        Ok(has_changed)
    }
}

fn set_xattrs(file: impl AsFd, found: &[Xattr], wanted: &[Xattr]) -> io::Result<()> {
    let failed = |one: &Xattr, cause: Errno| {
        let name = escape::path(OsStr::from_bytes(&one.name).as_ref());
        let bytes = one.value.len();
        let cause = io::Error::from(cause);
        io::Error::other(format!("extended attribute {name} of {bytes} bytes: {cause}"))
    };
    for one in found.iter().filter(|one| wanted.iter().all(|wanted| wanted.name != one.name)) {
        fremovexattr(&file, &*one.name).map_err(|cause| failed(one, cause))?;
    }
    for one in wanted.iter().filter(|one| !found.contains(one)) {
        let set = fsetxattr(&file, &*one.name, &one.value, XattrFlags::empty());
        set.map_err(|cause| failed(one, cause))?;
    }
    Ok(())
}

/// The users' attributes of an open file or folder, ascending by name; none where the file system has none.
pub(super) fn xattrs_of(file: impl AsFd) -> Result<Box<[Xattr]>, Errno> {
    let mut buffer = vec![0; XATTR_BYTES_MAX];
    let names = match flistxattr(&file, &mut buffer[..]) {
        Ok(bytes) => buffer[..bytes].to_vec(),
        Err(Errno::NOTSUP) => return Ok(Box::default()),
        Err(cause) => return Err(cause),
    };
    let mut xattrs = Vec::new();
    for name in names.split(|&byte| byte == 0).filter(|name| name.starts_with(PREFIX)) {
        match fgetxattr(&file, name, &mut buffer[..]) {
            Ok(bytes) => xattrs.push(Xattr { name: name.into(), value: buffer[..bytes].into() }),
            // It was removed meanwhile.
            Err(Errno::NODATA) => {}
            Err(cause) => return Err(cause),
        }
    }
    xattrs.sort_unstable_by(|left, right| left.name.cmp(&right.name));
    Ok(xattrs.into())
}

/// Whether the file system of an open file takes users' attributes.
pub(super) fn takes_xattrs(file: impl AsFd) -> bool {
    let set = fsetxattr(file, "user.mpiswarm", b"x", XattrFlags::empty());
    !matches!(set, Err(Errno::NOTSUP | Errno::NOSYS))
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn xattr(name: &str, bytes: usize) -> Xattr {
        Xattr { name: name.as_bytes().into(), value: vec![7; bytes].into() }
    }

    #[test]
    fn a_file_system_without_attributes_is_found_out() {
        // Files of /proc have none, whoever asks.
        let file = std::fs::File::open("/proc/self/comm").expect("Linux has it");
        assert!(!takes_xattrs(&file));
        assert_eq!(xattrs_of(&file), Ok(Box::default()));
    }

    #[test]
    fn hostile_attributes_are_refused() {
        let of = |xattrs: Vec<Xattr>| Attributes { owner: None, xattrs: Some(xattrs.into()) };
        assert_eq!(of(vec![xattr("user.a", 0), xattr("user.b", 65_536)]).problem(), None);
        let bad = [
            vec![xattr("security.capability", 20)],
            vec![xattr("user.", 1)],
            vec![xattr("user.a\0b", 1)],
            vec![xattr(&format!("user.{}", "n".repeat(251)), 1)],
            vec![xattr("user.a", 65_537)],
            vec![xattr("user.b", 1), xattr("user.a", 1)],
            vec![xattr("user.a", 1), xattr("user.a", 2)],
        ];
        for xattrs in bad {
            assert!(of(xattrs.clone()).problem().is_some(), "{xattrs:?}");
        }
        for (uid, gid) in [(u32::MAX, 0), (0, u32::MAX)] {
            let owner = Some(FileOwner { uid, gid });
            assert!(Attributes { owner, xattrs: None }.problem().is_some());
        }
    }
}
