//! Owners and extended attributes of real files.

use std::collections::BTreeMap;
use std::ffi::{CString, OsStr};
use std::fs::{self, Permissions};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown, lchown, symlink};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::fs::{XattrFlags, lgetxattr, llistxattr, lremovexattr, lsetxattr};

use super::tree::{bytes, differences, entries};
use super::{Ended, PROGRAM, ended, here, temp};

/// A user who is not root, and owns nothing that matters.
const NOBODY: u32 = 65_534;

#[derive(Debug, PartialEq, Eq)]
struct Kept {
    owner: (u32, u32),
    mode: u32,
    xattrs: Vec<(CString, Vec<u8>)>,
}

/// Owner, mode and extended attributes of everything below a folder.
fn kept(root: &Path) -> BTreeMap<PathBuf, Kept> {
    let one = |path: PathBuf| {
        let full = root.join(&path);
        let found = full.symlink_metadata().expect("it is there");
        let mut names = vec![0; 4096];
        let count = llistxattr(&full, &mut names[..]).unwrap_or(0);
        let names = names[..count].split(|&byte| byte == 0).filter(|name| !name.is_empty());
        let xattrs = names.filter(|name| name.starts_with(b"user.")).map(|name| {
            let mut value = vec![0; 4096];
            let bytes = lgetxattr(&full, name, &mut value[..]).expect("it is there");
            value.truncate(bytes);
            (CString::new(name).expect("no NUL"), value)
        });
        let mut xattrs: Vec<_> = xattrs.collect();
        xattrs.sort();
        (path, Kept { owner: (found.uid(), found.gid()), mode: found.mode(), xattrs })
    };
    entries(root).into_keys().map(one).collect()
}

fn source(dir: &Path) -> PathBuf {
    let source = dir.join("tree");
    fs::create_dir_all(source.join("folder/read only")).expect("folders");
    let write = |name: &str, count: usize, mode: u32| {
        let path = source.join(name);
        fs::write(&path, bytes(count, 5)).expect("there is room");
        fs::set_permissions(path, Permissions::from_mode(mode)).expect("it is ours");
    };
    write("small", 70, 0o644);
    write("large", 700_000, 0o640);
    write("empty", 0, 0o444);
    write("set-user-id", 900, 0o4755);
    write("folder/read only/private", 100, 0o400);
    write("folder/plain", 5000, 0o644);
    symlink("small", source.join("link")).expect("a link");
    fs::hard_link(source.join("small"), source.join("folder/same as small")).expect("a link");
    fs::set_permissions(source.join("folder/read only"), Permissions::from_mode(0o555))
        .expect("it is ours");
    source
}

const NAMES: [&str; 7] =
    ["", "small", "large", "empty", "folder/read only", "folder/read only/private", "set-user-id"];

/// Gives some entries attributes; false where the file system has none.
fn set_xattrs(source: &Path) -> bool {
    NAMES.iter().enumerate().all(|(number, name)| {
        let path = if name.is_empty() { source.to_owned() } else { source.join(name) };
        let set =
            |key: &str, value: &[u8]| lsetxattr(&path, key, value, XattrFlags::empty()).is_ok();
        let key = OsStr::from_bytes(b"user.\xff odd");
        set("user.b", &bytes(number * 100, 3))
            && set("user.a", name.as_bytes())
            && lsetxattr(&path, key, b"", XattrFlags::empty()).is_ok()
    })
}

fn stage(source: &Path, to: &Path, flags: &[&str]) -> Ended {
    let fixed = [source.as_os_str(), OsStr::new("--to"), to.as_os_str()];
    here(fixed.into_iter().chain(flags.iter().map(OsStr::new)))
}

fn verify(dir: &Path) -> Ended {
    ended(Command::new(PROGRAM).arg("verify").arg(dir).output())
}

fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|found| found.uid() == 0)
}

#[test]
fn owners_are_kept_and_compared() {
    if !is_root() {
        println!("skipped: only root may give files away");
        return;
    }
    let (from, to) = (temp(), temp());
    let source = source(from.path());
    let names = entries(&source).into_keys().map(|path| source.join(path));
    for (number, path) in (1000..).zip(names) {
        let mode = path.symlink_metadata().expect("it is there").mode();
        lchown(&path, Some(number), Some(number + 500)).expect("we are root");
        if mode & 0o4000 != 0 {
            fs::set_permissions(&path, Permissions::from_mode(mode & 0o7777)).expect("we are root");
        }
    }
    let flags = ["--owner", "--segment-bytes", "64K"];
    stage(&source, to.path(), &flags).is(0);
    let staged = to.path().join("tree");
    assert_eq!(differences(&source, &staged), [""; 0]);
    assert_eq!(kept(&source), kept(&staged));
    verify(&staged).is(0);
    for name in ["large", "set-user-id", "folder"] {
        chown(staged.join(name), Some(7), Some(8)).expect("we are root");
    }
    lchown(staged.join("link"), Some(7), None).expect("we are root");
    let verified = verify(&staged);
    assert!(verified.is(1).stdout.contains("large: owner: 7:8, not "), "{}", verified.stdout);
    let json = stage(&source, to.path(), &flags).is(0).json();
    assert_eq!(json["source_bytes_read"], 0, "{json}");
    assert_eq!(kept(&source), kept(&staged));
    let other = temp();
    stage(&source, other.path(), &[]).is(0);
    assert_eq!(kept(&other.path().join("tree"))[Path::new("large")].owner.0, 0);
}

#[test]
fn who_is_not_root_is_told_that_owners_can_not_be_kept() {
    if !is_root() {
        println!("skipped: only root may give files away");
        return;
    }
    let (from, to) = (temp(), temp());
    let source = source(from.path());
    fs::set_permissions(from.path(), Permissions::from_mode(0o755)).expect("it is ours");
    chown(to.path(), Some(NOBODY), Some(NOBODY)).expect("we are root");
    let mut command = Command::new(PROGRAM);
    command.args(["stage", "--transport", "local", "--owner", "--to"]).arg(to.path());
    let ended = ended(command.arg(source.join("folder/plain")).uid(NOBODY).gid(NOBODY).output());
    ended.is(2).says("--owner: files are not root's here: run as root, or without --owner");
    assert!(!to.path().join("plain").exists());
}

#[test]
fn extended_attributes_are_kept_and_compared() {
    let (from, to) = (temp(), temp());
    let source = source(from.path());
    if !set_xattrs(&source) {
        println!("skipped: no extended attributes here");
        return;
    }
    let flags = ["--xattrs", "--segment-bytes", "64K"];
    stage(&source, to.path(), &flags).is(0);
    let staged = to.path().join("tree");
    assert_eq!(differences(&source, &staged), [""; 0]);
    let without_owner = |root: &Path| -> Vec<_> {
        kept(root).into_iter().map(|(path, one)| (path, one.mode, one.xattrs)).collect()
    };
    assert_eq!(without_owner(&source), without_owner(&staged));
    assert_eq!(without_owner(&staged).iter().filter(|(.., xattrs)| xattrs.len() == 3).count(), 8);
    verify(&staged).is(0);
    lremovexattr(staged.join("large"), "user.a").expect("it is there");
    let changed = lsetxattr(staged.join("folder"), "user.c", b"new", XattrFlags::empty());
    changed.expect("there is room");
    lsetxattr(staged.join("small"), "user.a", b"x", XattrFlags::empty()).expect("there is room");
    let verified = verify(&staged);
    assert!(verified.is(1).stdout.contains("folder: xattrs: user.c="), "{}", verified.stdout);
    assert!(verified.stdout.contains("3 differences"), "{}", verified.stdout);
    stage(&source, to.path(), &flags).is(0);
    assert_eq!(without_owner(&source), without_owner(&staged));
    // A manifest without attributes says nothing about them.
    let manifest = from.path().join("m");
    let list = |flags: &[&str]| {
        let mut command = Command::new(PROGRAM);
        ended(command.arg("manifest").args(flags).arg("--out").arg(&manifest).arg(&source).output())
    };
    let compare = ["--xattrs", "--manifest", manifest.to_str().expect("plain")];
    list(&[]).is(0);
    stage(&source, to.path(), &compare).is(0);
    list(&["--xattrs"]).is(0);
    lremovexattr(source.join("large"), "user.b").expect("it is there");
    stage(&source, to.path(), &compare)
        .is(2)
        .says("large: kind, size, mode, time or attributes differ");
}

#[test]
fn who_is_not_root_keeps_attributes_of_files_that_nobody_may_write() {
    if !is_root() {
        println!("skipped: only root may give files away");
        return;
    }
    let (from, to) = (temp(), temp());
    let source = source(from.path());
    if !set_xattrs(&source) {
        println!("skipped: no extended attributes here");
        return;
    }
    fs::set_permissions(from.path(), Permissions::from_mode(0o755)).expect("it is ours");
    for path in entries(&source).into_keys() {
        lchown(source.join(path), Some(NOBODY), Some(NOBODY)).expect("we are root");
    }
    chown(to.path(), Some(NOBODY), Some(NOBODY)).expect("we are root");
    for _ in 0..2 {
        let mut command = Command::new(PROGRAM);
        command.args(["stage", "--transport", "local", "--xattrs", "--to"]).arg(to.path());
        ended(command.arg(&source).uid(NOBODY).gid(NOBODY).output()).is(0);
        assert_eq!(kept(&source), kept(&to.path().join("tree")));
        // The second run has to set them where it may not write.
        for name in ["empty", "folder/read only/private", "folder/read only"] {
            lremovexattr(to.path().join("tree").join(name), "user.b").expect("it is there");
        }
    }
}
