//! A source on the file system of its destinations, where files can share blocks.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::tree::{bytes, differences, plant};
use super::{here, temp};

// mkfs.xfs makes nothing smaller than 300 MB. It is a file with holes.
const DISK_BYTES: u64 = 400 << 20;

/// A file system in a file, mounted until it is dropped.
struct LoopDisk {
    dir: tempfile::TempDir,
}

impl LoopDisk {
    /// None, with a word, where it can't be made or mounted.
    #[expect(clippy::print_stdout, reason = "a test that is skipped says why")]
    fn new(make: &[&str]) -> Option<Self> {
        let dir = temp();
        let (image, at) = (dir.path().join("image"), dir.path().join("mounted"));
        File::create(&image).and_then(|file| file.set_len(DISK_BYTES)).expect("room");
        fs::create_dir(&at).expect("a folder");
        let succeeds =
            |command: &mut Command| command.output().is_ok_and(|done| done.status.success());
        let is_made = succeeds(Command::new(make[0]).args(&make[1..]).arg(&image));
        let mut mount = Command::new("mount");
        if !is_made || !succeeds(mount.args(["-o", "loop"]).args([&image, &at])) {
            println!("skipped: {} is not here, or this user can't mount what it makes", make[0]);
            return None;
        }
        Some(Self { dir })
    }

    fn at(&self) -> PathBuf {
        self.dir.path().join("mounted")
    }

    /// Blocks in use, when all is written.
    fn used_bytes(&self) -> u64 {
        let folder = File::open(self.at()).expect("it is mounted");
        rustix::fs::syncfs(&folder).expect("it is a file system");
        let found = rustix::fs::fstatvfs(&folder).expect("it tells");
        (found.f_blocks - found.f_bfree) * found.f_frsize
    }
}

impl Drop for LoopDisk {
    fn drop(&mut self) {
        let done = Command::new("umount").arg("-l").arg(self.at()).status();
        assert!(done.is_ok_and(|done| done.success()));
    }
}

/// A tree of every kind, and 40 MiB beside.
fn large_tree(dir: &Path) -> PathBuf {
    let tree = dir.join("tree");
    plant(&tree, 1);
    fs::write(tree.join("very large"), bytes(40 << 20, 9)).expect("room");
    tree
}

fn stage(source: &Path, dirs: &[PathBuf]) -> serde_json::Value {
    let mut arguments = vec![source.as_os_str(), OsStr::new("--mkdir")];
    for dir in dirs {
        arguments.extend([OsStr::new("--to"), dir.as_os_str()]);
    }
    here(arguments).is(0).json()
}

fn check_on(make: &[&str]) {
    let Some(disk) = LoopDisk::new(make) else { return };
    let source = large_tree(&disk.at());
    let dirs = ["one", "two"].map(|name| disk.at().join(name));
    let before = disk.used_bytes();
    let json = stage(&source, &dirs);
    for dir in &dirs {
        assert_eq!(differences(&source, &dir.join("tree")), [""; 0]);
    }
    // What is larger than a segment: 64 KiB in a tree of this size.
    let cloned = json["nodes"][0]["cloned_bytes"].as_u64().expect("a number");
    assert!((2 * (42 << 20)..2 * (44 << 20)).contains(&cloned), "{cloned} {json}");
    let more = disk.used_bytes().saturating_sub(before);
    assert!(more < 20 << 20, "{more} bytes more for two copies of 43 MiB");
    // What is written to one of them is in no other.
    let staged = File::options().write(true).open(dirs[0].join("tree/very large")).expect("ours");
    staged.write_all_at(b"other", 1 << 20).expect("room");
    let read = |file: PathBuf| fs::read(file).expect("it is there");
    let original = bytes(40 << 20, 9);
    assert!(read(dirs[1].join("tree/very large")) == original);
    assert!(read(source.join("very large")) == original);
    // A source elsewhere.
    let from = temp();
    let source = large_tree(from.path());
    let json = stage(&source, &[disk.at().join("three")]);
    assert_eq!(json["nodes"][0]["cloned_bytes"], 0, "{json}");
    assert_eq!(differences(&source, &disk.at().join("three/tree")), [""; 0]);
}

#[test]
fn on_xfs_what_is_staged_shares_the_blocks_of_its_source() {
    check_on(&["mkfs.xfs", "-q", "-m", "reflink=1"]);
}

#[test]
fn on_btrfs_what_is_staged_shares_the_blocks_of_its_source() {
    check_on(&["mkfs.btrfs", "-q"]);
}
