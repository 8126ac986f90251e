//! `--dry-run`: what would be done is told, and nothing is.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};

use super::{Ended, here, source, temp};

/// Everything below a folder, with what would change if it were written to.
fn state(dir: &Path) -> Vec<(PathBuf, i64, i64, u64, u64)> {
    let mut all = Vec::new();
    let mut folders = vec![dir.to_owned()];
    while let Some(path) = folders.pop() {
        let found = fs::symlink_metadata(&path).expect("it is there");
        all.push((path.clone(), found.ctime(), found.ctime_nsec(), found.ino(), found.size()));
        if found.is_dir() {
            let entries = fs::read_dir(&path).expect("a folder");
            folders.extend(entries.map(|entry| entry.expect("an entry").path()));
        }
    }
    all.sort();
    all
}

/// A dry run, after which all is as before.
fn dry(source: &Path, to: &Path, more: &[&str]) -> Ended {
    let before = state(to.parent().expect("it lies in a folder"));
    let mut arguments: Vec<OsString> =
        vec![source.into(), "--to".into(), to.into(), "--dry-run".into()];
    arguments.extend(more.iter().map(OsString::from));
    let ended = here(&arguments);
    assert_eq!(state(to.parent().expect("as before")), before, "nothing was written");
    ended
}

fn stage(source: &Path, to: &Path, more: &[&str]) {
    let mut arguments: Vec<&OsStr> = vec![source.as_os_str(), "--to".as_ref(), to.as_os_str()];
    arguments.extend(more.iter().map(OsStr::new));
    here(&arguments).is(0);
}

/// Entries sent, replaced, kept and deleted.
fn entries(destination: &Value) -> [u64; 4] {
    ["sent", "replaced", "kept", "deleted"]
        .map(|what| destination[what]["entries"].as_u64().expect("a number"))
}

#[test]
fn a_new_folder_would_get_everything() {
    let (from, to) = (temp(), temp());
    let (source, to) = (source(from.path()), to.path().join("new"));
    dry(&source, &to, &[]).is(1).says("no such folder");
    let json = dry(&source, &to, &["--mkdir"]).is(0).json();
    let all = super::entries(&source).len() as u64;
    let destination = &json["nodes"][0]["destinations"][0];
    assert_eq!((&json["schema"], &json["dry_run"]), (&json!(1), &json!(true)));
    assert_eq!(entries(destination), [all, 0, 0, 0], "{json}");
    let names = destination["sent"]["names"].as_array().expect("a list");
    assert_eq!(names.len() as u64, all);
    assert_eq!(destination["sent"]["bytes"], json["bytes_total"]);
    stage(&source, &to, &["--mkdir"]);
    let json = dry(&source, &to, &[]).is(0).json();
    let destination = &json["nodes"][0]["destinations"][0];
    assert_eq!(entries(destination), [0, 0, all, 0], "{json}");
    assert_eq!(destination["moved_bytes"], 0);
}

#[test]
fn what_a_dry_run_tells_is_what_a_run_then_does() {
    let (from, to) = (temp(), temp());
    let source = from.path().join("tree");
    for (name, bytes) in [("a/kept", 10), ("a/changed", 200_000), ("gone/x", 5), ("late", 7)] {
        let path = source.join(name);
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        fs::write(path, vec![b'.'; bytes]).expect("a small file");
    }
    let to = to.path().join("to");
    stage(&source, &to, &["--mkdir"]);
    fs::write(source.join("a/changed"), vec![b'+'; 200_001]).expect("a small file");
    fs::write(source.join("a/new"), "new").expect("a small file");
    fs::remove_dir_all(source.join("gone")).expect("ours");
    fs::write(to.join("tree/a/extra"), "1234").expect("a small file");
    let json = dry(&source, &to, &["--delete"]).is(0).json();
    let destination = &json["nodes"][0]["destinations"][0];
    let names = |what: &str| destination[what]["names"].clone();
    assert_eq!(names("sent"), json!(["tree/a/new"]));
    assert_eq!(names("replaced"), json!(["tree/a/changed"]));
    assert_eq!(names("kept"), json!(["tree", "tree/a", "tree/a/kept", "tree/late"]));
    assert_eq!(names("deleted"), json!(["tree/a/extra", "tree/gone"]));
    assert_eq!(destination["deleted"]["bytes"], 4 + 5, "{json}");
    let kept = dry(&source, &to, &[]).is(0).json();
    assert_eq!(kept["nodes"][0]["destinations"][0]["deleted"]["entries"], 0);
    // Not by name, but in bytes: the run fetches what was foretold.
    let run = here([source.as_os_str(), "--to".as_ref(), to.as_os_str(), "--delete".as_ref()]);
    assert_eq!(run.is(0).json()["source_bytes_read"], destination["moved_bytes"]);
    assert!(!to.join("tree/gone").exists() && !to.join("tree/a/extra").exists());
}

#[test]
fn content_decides_with_checksum_and_links_and_kinds_count() {
    let (from, to) = (temp(), temp());
    let source = from.path().join("tree");
    fs::create_dir_all(source.join("folder")).expect("a folder");
    fs::write(source.join("same"), vec![1; 300_000]).expect("a small file");
    fs::write(source.join("other"), vec![2; 300_000]).expect("a small file");
    let to = to.path().join("to");
    stage(&source, &to, &["--mkdir"]);
    let touched = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
    for name in ["same", "other"] {
        let file = File::options().write(true).open(to.join("tree").join(name)).expect("a file");
        file.set_modified(touched).expect("ours");
    }
    let of = |more: &[&str]| {
        let json = dry(&source, &to, more).is(0).json();
        let destination = &json["nodes"][0]["destinations"][0];
        (entries(destination), destination["replaced"]["names"].clone())
    };
    assert_eq!(of(&[]), ([0, 2, 2, 0], json!(["tree/other", "tree/same"])));
    assert_eq!(of(&["--checksum"]), ([0, 0, 4, 0], json!([])));
    fs::write(to.join("tree/other"), vec![3; 300_000]).expect("a small file");
    assert_eq!(of(&["--checksum"]), ([0, 1, 3, 0], json!(["tree/other"])));
    fs::remove_dir(to.join("tree/folder")).expect("ours");
    std::os::unix::fs::symlink("same", to.join("tree/folder")).expect("a link");
    assert_eq!(of(&["--checksum"]).1, json!(["tree/folder", "tree/other"]));
    fs::remove_dir_all(to.join("tree")).expect("ours");
    std::os::unix::fs::symlink("/", to.join("tree")).expect("a link");
    assert_eq!(of(&["--delete"]), ([3, 1, 0, 0], json!(["tree"])));
}

#[cfg(feature = "mpi")]
#[test]
fn every_rank_tells_what_it_would_do() {
    let (from, to) = (temp(), temp());
    let source = source(from.path());
    let base = to.path();
    super::ranks(2, base, &[source.as_os_str()]).is(0);
    fs::remove_dir_all(base.join("1/tree")).expect("ours");
    let before = state(base);
    let json = super::ranks(2, base, &[source.as_os_str(), "--dry-run".as_ref()]).is(0).json();
    assert_eq!(state(base), before, "nothing was written");
    let all = super::entries(&source).len() as u64;
    let of = |rank: usize| entries(&json["nodes"][rank]["destinations"][0]);
    assert_eq!([of(0), of(1)], [[0, 0, all, 0], [all, 0, 0, 0]], "{json}");
}

#[cfg(feature = "mpi")]
#[test]
fn what_ranks_share_is_told_once_as_it_is_done() {
    let (from, to) = (temp(), temp());
    let source = from.path().join("tree");
    fs::create_dir(&source).expect("a folder");
    for rank in 0..3 {
        fs::write(source.join(format!("part-{rank}")), vec![rank; 100_000]).expect("a small file");
    }
    // Two names of one folder, for ranks 0 and 2 and for rank 1; and one that is to be made.
    let one = to.path().join("one");
    fs::create_dir(&one).expect("a folder");
    for (rank, place) in ["one", "one/../one", "one"].iter().enumerate() {
        std::os::unix::fs::symlink(to.path().join(place), to.path().join(rank.to_string()))
            .expect("a link");
    }
    for dir in ["{rank}", "{rank}/new/deep"] {
        let staged = |more: &[&str]| {
            let mut command = super::launch::ranks(3, "timeout");
            command.args(["60", super::PROGRAM, "stage", "--json", "--mkdir", "--to"]);
            command
                .arg(to.path().join(dir))
                .arg(&source)
                .args(["--only", "part-{rank}"])
                .args(more);
            super::ended(command.output()).is(0).json()
        };
        let before = state(to.path());
        let told = staged(&["--dry-run"]);
        assert_eq!(state(to.path()), before, "nothing was written");
        let nodes = told["nodes"].as_array().expect("a list");
        let writers: Vec<_> = nodes.iter().map(|node| node["written_by"].as_u64()).collect();
        assert_eq!(writers, [None, Some(0), Some(0)], "{told}");
        let of = |node: usize| nodes[node]["destinations"].as_array().map(Vec::len);
        assert_eq!([of(0), of(1), of(2)], [Some(1), Some(0), Some(0)], "{told}");
        let run = &nodes[0]["destinations"][0];
        assert_eq!(run["moved_bytes"], 300_000, "what any of them takes: {told}");
        let done = staged(&[]);
        assert_eq!(done["nodes"][0]["tree_bytes"], run["sent"]["bytes"], "{done}");
        let done = done["nodes"].as_array().expect("a list");
        let wrote: Vec<_> = done.iter().map(|node| node["written_by"].as_u64()).collect();
        assert_eq!(wrote, writers);
    }
}

#[test]
fn what_patterns_leave_out_would_not_be_deleted() {
    let (from, to) = (temp(), temp());
    let (source, to) = (from.path().join("tree"), to.path().join("disk"));
    for folder in [&source, &to] {
        fs::create_dir(folder).expect("a folder");
    }
    fs::write(source.join("a"), "a").expect("a file");
    stage(&source, &to, &[]);
    let there = to.join("tree");
    fs::create_dir_all(there.join("logs/old")).expect("folders");
    fs::create_dir(there.join("more")).expect("a folder");
    for name in ["x.log", "y.dat", "logs/z.dat", "logs/old/w.dat", "more/u.log"] {
        fs::write(there.join(name), name).expect("a file");
    }
    let flags = ["--delete", "--exclude", "*.log", "--exclude", "logs"];
    let json = dry(&source, &to, &flags).is(0).json();
    // `y.dat`, and the folder `more` with all that is in it.
    assert_eq!(entries(&json["nodes"][0]["destinations"][0])[3], 2, "{json}");
    stage(&source, &to, &flags);
    let left = ["x.log", "y.dat", "logs/old/w.dat", "more"].map(|name| there.join(name).exists());
    assert_eq!(left, [true, false, true, false]);
}
