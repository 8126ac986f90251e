//! Patterns on a real tree: what they take is what git takes with the same patterns.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::tree::{entries, plant};
use super::{Ended, PROGRAM, ended, here, temp};

/// Stages a tree with flags to a folder of its own.
fn stage(source: &Path, to: &Path, flags: &[&str]) -> Ended {
    let fixed = [source.as_os_str(), OsStr::new("--mkdir"), OsStr::new("--to"), to.as_os_str()];
    here(fixed.into_iter().chain(flags.iter().map(OsStr::new)))
}

/// `verify` or `manifest` with flags.
fn run(command: &str, of: &Path, flags: &[&str]) -> Ended {
    ended(Command::new(PROGRAM).arg(command).arg(of).args(flags).output())
}

fn source(dir: &Path) -> PathBuf {
    let source = dir.join("tree");
    plant(&source, 3);
    for name in ["folder/weights.bin", "folder/deep/weights.bin", "weights.bin", "readme.md"] {
        fs::write(source.join(name), name).expect("there is room");
    }
    source
}

/// All below a folder but folders.
fn files(root: &Path) -> BTreeSet<PathBuf> {
    let found = entries(root).into_keys();
    found
        .filter(|path| !root.join(path).symlink_metadata().expect("it is there").is_dir())
        .collect()
}

/// What git would take of a folder with these lines in its list of what to ignore.
fn taken_by_git(source: &Path, lines: &[String]) -> BTreeSet<PathBuf> {
    let dir = temp();
    let list = dir.path().join("ignored");
    fs::write(&list, lines.join("\n")).expect("there is room");
    let git = |arguments: &[&OsStr]| {
        let mut command = Command::new("git");
        command.arg("--git-dir").arg(dir.path().join("git")).arg("--work-tree").arg(source);
        command.args(arguments).current_dir(source).output().expect("git starts")
    };
    assert!(git(&["init", "--quiet"].map(OsStr::new)).status.success());
    let mut from = OsString::from("--exclude-from=");
    from.push(&list);
    let words = ["ls-files", "-z", "--others"].map(OsStr::new);
    let listed = git(&[&words[..], &[&from]].concat());
    assert!(listed.status.success());
    let names = listed.stdout.split(|&byte| byte == 0).filter(|name| !name.is_empty());
    names.map(|name| PathBuf::from(OsStr::from_bytes(name))).collect()
}

#[test]
fn patterns_take_what_git_takes() {
    if Command::new("git").arg("--version").output().is_err() {
        println!("skipped: no git here");
        return;
    }
    let (from, to) = (temp(), temp());
    let source = source(from.path());
    let cases: [&[&str]; 10] = [
        &["--exclude", "*.bin"],
        &["--exclude", "/weights.bin"],
        &["--exclude", "folder/*.bin"],
        &["--exclude", "deep/"],
        &["--exclude", "link/", "--exclude", "1?"],
        &["--exclude", "*.bin", "--include", "folder/weights.bin"],
        &["--include", "*.bin", "--include", "folder/deep/**", "--exclude", "/weights.bin"],
        &["--exclude", "deep", "--include", "weights.bin"],
        &["--exclude", "*", "--include", "*/", "--include", "*.bin"],
        &["--exclude", "folder/**/[1-3]*", "--exclude", "**/plain"],
    ];
    for (number, flags) in cases.iter().enumerate() {
        let dir = to.path().join(number.to_string());
        stage(&source, &dir, flags).is(0);
        let line = |pair: &[&str]| match pair[0] {
            "--include" => format!("!{}", pair[1]),
            _ => pair[1].to_owned(),
        };
        let mut lines: Vec<String> = flags.chunks(2).map(line).collect();
        if flags[0] == "--include" {
            // What git takes unless it is ignored is left out here unless it is included.
            lines.splice(0..0, ["*".to_owned(), "!*/".to_owned()]);
        }
        assert_eq!(files(&dir.join("tree")), taken_by_git(&source, &lines), "{flags:?}");
        run("verify", &dir, &[]).is(0);
        run("verify", &dir, flags).is(0);
    }
}

#[test]
fn with_an_include_first_nothing_else_comes_and_no_folder_without_it() {
    let (from, to) = (temp(), temp());
    let source = source(from.path());
    stage(&source, to.path(), &["--include", "weights.bin", "--exclude", "/weights.bin"]).is(0);
    let found: Vec<PathBuf> = entries(&to.path().join("tree")).into_keys().collect();
    let expected = ["", "folder", "folder/deep", "folder/deep/weights.bin", "folder/weights.bin"];
    assert_eq!(found, expected.map(PathBuf::from));
    let listed =
        run("manifest", &source, &["--include", "weights.bin", "--exclude", "/weights.bin"]);
    assert_eq!(listed.is(0).stdout.lines().count(), 1 + expected.len());
}

#[test]
fn deleting_and_verifying_leave_alone_what_is_left_out() {
    let (from, to) = (temp(), temp());
    let source = source(from.path());
    stage(&source, to.path(), &[]).is(0);
    let staged = to.path().join("tree");
    fs::write(staged.join("folder/old.log"), "left out").expect("there is room");
    fs::write(staged.join("folder/old"), "no longer there").expect("there is room");
    fs::remove_file(source.join("weights.bin")).expect("it is there");
    let flags = ["--exclude", "*.log", "--exclude", "*.bin"];
    stage(&source, to.path(), &[&flags[..], &["--delete"]].concat()).is(0);
    let is_there = |name: &str| staged.join(name).exists();
    assert!(is_there("folder/old.log") && is_there("weights.bin") && !is_there("folder/old"));
    let verified = run("verify", &staged, &[]);
    assert!(verified.is(1).stdout.contains("old.log: extra"), "{}", verified.stdout);
    run("verify", &staged, &flags).is(0);
    // The first name of a file is left out: the second is a file of its own.
    stage(&source, to.path(), &["--exclude", "/large", "--delete"]).is(0);
    run("verify", &staged, &["--exclude", "/large"]).is(0);
    assert!(is_there("large") && is_there("folder/same as large"));
}

#[test]
fn patterns_that_are_wrong_or_leave_nothing_are_refused() {
    let (from, to) = (temp(), temp());
    let source = source(from.path());
    stage(&source, to.path(), &["--exclude", "[a"]).is(2).says("--exclude");
    stage(&source, to.path(), &["--include", "a//b"]).is(2).says("--include");
    let nothing = stage(&source, to.path(), &["--include", "no such*"]);
    nothing.is(2).says("--include no such*: nothing of the sources matches");
    run("manifest", &source, &["--include", "no such*"]).is(2);
    // A source that is a file is matched by its name.
    let file = source.join("readme.md");
    stage(&file, to.path(), &["--exclude", "*.md"]).is(2).says("nothing of the sources matches");
    stage(&file, to.path(), &["--include", "*.md"]).is(0);
    assert!(to.path().join("readme.md").is_file());
}

#[cfg(feature = "mpi")]
#[test]
fn ranks_that_share_the_reading_take_and_follow_the_same() {
    if !super::launch::can_start_ranks() {
        return;
    }
    let (from, to) = (temp(), temp());
    let source = from.path().join("tree");
    fs::create_dir_all(source.join("folder")).expect("folders");
    let outside = from.path().join("outside");
    fs::write(&outside, super::tree::bytes(900_000, 9)).expect("there is room");
    std::os::unix::fs::symlink("../outside", source.join("link")).expect("a link");
    fs::write(source.join("folder/left.log"), "left out").expect("there is room");
    let words = ["--from", "all", "--links", "follow", "--exclude", "*.log", "--segment-bytes=64K"];
    let flags: Vec<&OsStr> = words.iter().map(OsStr::new).chain([source.as_os_str()]).collect();
    super::ranks(3, to.path(), &flags).is(0);
    for rank in 0..3 {
        let staged = to.path().join(format!("{rank}/tree"));
        let found: Vec<PathBuf> = entries(&staged).into_keys().collect();
        assert_eq!(found, ["", "folder", "link"].map(PathBuf::from), "rank {rank}");
        let link = staged.join("link");
        assert!(link.symlink_metadata().expect("it is there").is_file());
        assert_eq!(fs::read(link).expect("a file"), fs::read(&outside).expect("a file"));
    }
}
