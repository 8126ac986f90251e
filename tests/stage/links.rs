//! Links that become what they lead to: the result is what cp(1) makes of them.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::tree::{bytes, differences};
use super::{Ended, PROGRAM, ended, here, temp};

/// A tree with links to files and folders, within it and outside of it.
fn source(dir: &Path) -> PathBuf {
    let (source, outside) = (dir.join("tree"), dir.join("outside"));
    for folder in [source.join("a/b"), source.join("c"), outside.join("deep")] {
        fs::create_dir_all(folder).expect("folders");
    }
    let write = |path: PathBuf, count| fs::write(path, bytes(count, 7)).expect("there is room");
    write(source.join("a/large"), 3_000_000);
    write(source.join("a/b/small"), 77);
    write(outside.join("blob"), 200_000);
    write(outside.join("deep/end"), 5);
    let link = |to: &str, at: &str| symlink(to, source.join(at)).expect("a link");
    link("../outside/blob", "blob");
    link("a/large", "same as large");
    link("blob", "link to a link");
    link("../a/b", "c/folder");
    link("../outside", "elsewhere");
    let shared = fs::File::create(outside.join("sparse")).expect("a file");
    shared.set_len(5 << 20).expect("holes take no room");
    source
}

fn stage(source: &Path, to: &Path, flags: &[&str]) -> Ended {
    let fixed = [source.as_os_str(), OsStr::new("--mkdir"), OsStr::new("--to"), to.as_os_str()];
    here(fixed.into_iter().chain(flags.iter().map(OsStr::new)))
}

fn copied(source: &Path, to: &Path) {
    let copy = Command::new("cp").args(["-rpL", "--"]).arg(source).arg(to).output();
    ended(copy).is(0);
}

#[test]
fn links_become_what_they_lead_to() {
    let (from, to, copy) = (temp(), temp(), temp());
    let source = source(from.path());
    copied(&source, &copy.path().join("tree"));
    let flags = ["--links", "follow", "--segment-bytes", "64K"];
    stage(&source, to.path(), &flags).is(0);
    let staged = to.path().join("tree");
    assert_eq!(differences(&copy.path().join("tree"), &staged), [""; 0]);
    let json = stage(&source, to.path(), &flags).is(0).json();
    assert_eq!(json["source_bytes_read"], 0, "all is kept: {json}");
    ended(Command::new(PROGRAM).arg("verify").arg(&staged).output()).is(0);
    // The manifest of the source with its links followed is that of the copy.
    let manifest = from.path().join("m");
    let mut listing = Command::new(PROGRAM);
    listing.args(["manifest", "--links", "follow", "--out"]).arg(&manifest).arg(&source);
    ended(listing.output()).is(0);
    let compare = ["--manifest", manifest.to_str().expect("plain")];
    stage(&source, to.path(), &[&flags[..], &compare].concat()).is(0);
    stage(&source, to.path(), &compare).is(2).says("differ");
}

#[test]
fn loops_and_dangling_links_are_named_and_the_rest_arrives() {
    let (from, to, copy) = (temp(), temp(), temp());
    let source = source(from.path());
    copied(&source, &copy.path().join("tree"));
    let before =
        fs::metadata(source.join("a/b")).and_then(|found| found.modified()).expect("a time");
    let at_top = fs::metadata(&source).and_then(|found| found.modified()).expect("a time");
    let bad = [("../..", "a/b/up"), ("nowhere", "dangling"), ("itself", "itself"), (".", "here")];
    for (target, at) in bad {
        symlink(target, source.join(at)).expect("a link");
    }
    for (path, time) in [(source.join("a/b"), before), (source.clone(), at_top)] {
        fs::File::open(path).and_then(|folder| folder.set_modified(time)).expect("it is ours");
    }
    let ended = stage(&source, to.path(), &["--links", "follow"]);
    ended.is(1).says("tree/dangling: a link that leads nowhere");
    ended.says("tree/itself: a link that leads back to itself");
    for path in ["tree/a/b/up", "tree/c/folder/up", "tree/here"] {
        ended.says(&format!("{path}: a link to a folder that it lies in"));
    }
    assert_eq!(differences(&copy.path().join("tree"), &to.path().join("tree")), [""; 0]);
    // What is left out can't be wrong.
    let flags = ["--links", "follow", "--exclude", "up", "--exclude", "/here"];
    let rest = ["--exclude", "itself", "--exclude", "dangling"];
    stage(&source, to.path(), &[&flags[..], &rest].concat()).is(0);
}
