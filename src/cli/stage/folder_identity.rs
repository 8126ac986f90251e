//! Which folders of several ranks are one, told without writing anything there.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use rustix::fs::statfs;

use crate::escape;

/// File systems that several hosts see: NFS, SMB, CIFS, Ceph, Lustre, GPFS and BeeGFS.
// Their numbers in statfs(2), linux/magic.h and their own sources. Of others, such as FUSE, nobody can tell whether
// they are the same elsewhere: their folders count as those of one host.
const NETWORK: [u64; 7] =
    [0x6969, 0xfe53_4d42, 0xff53_4d42, 0x00c3_6400, 0x0bd0_0bd0, 0x4750_4653, 0x1983_0326];

/// A text that two ranks have in common where their folder is the same; none where that can't be found out.
pub(super) fn folder_identity(dir: &Path, host: &str) -> Option<String> {
    let dir = std::path::absolute(dir).ok()?;
    // A folder that is to be made lies where the nearest one above it does.
    let mut above = dir.ancestors();
    let (above, found) = above.find_map(|above| Some((above, fs::metadata(above).ok()?)))?;
    let below = escape::path(dir.strip_prefix(above).ok()?);
    let kind = statfs(above).ok().and_then(|found| u64::try_from(found.f_type).ok());
    let place = match kind.filter(|kind| NETWORK.contains(kind)) {
        // Hosts number devices each in its own way. Folders of two servers may have one inode number, but hardly one
        // time of their last change, in nanoseconds, too.
        Some(kind) => format!("{kind:x} {}.{}", found.ctime(), found.ctime_nsec()),
        None => format!("{host} {}", found.dev()),
    };
    Some(format!("{place} {} {below}", found.ino()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_has_one_identity_under_all_its_names() {
        let dir = tempfile::tempdir().expect("a folder");
        let one = dir.path().join("one");
        let link = dir.path().join("link");
        fs::create_dir(&one).expect("a folder");
        std::os::unix::fs::symlink(&one, &link).expect("a link");
        let of = |path: &Path| folder_identity(path, "host").expect("it can be looked at");
        assert_eq!(of(&one), of(&link));
        assert_eq!(of(&one.join("new/deep")), of(&link.join("new/deep")), "it is to be made");
        let all = [of(&one), of(dir.path()), of(&one.join("new")), of(&dir.path().join("new"))];
        assert!((1..4).all(|place| !all[..place].contains(&all[place])), "{all:?}");
    }
}
