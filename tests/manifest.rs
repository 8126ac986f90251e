//! `mpiswarm manifest`, `mpiswarm verify` and `mpiswarm synthesize --tree`, from the command line.

#[path = "manifest/torrent.rs"]
mod torrent;

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt, symlink};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const PROGRAM: &str = env!("CARGO_BIN_EXE_mpiswarm");

fn mpiswarm<S: AsRef<OsStr>>(dir: &Path, words: impl IntoIterator<Item = S>) -> Output {
    Command::new(PROGRAM).current_dir(dir).args(words).output().expect("the program starts")
}

/// Exit code, stdout and stderr.
fn run(dir: &Path, line: &str) -> (Option<i32>, String, String) {
    let output = mpiswarm(dir, line.split(' '));
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8 is printed");
    (output.status.code(), text(output.stdout), text(output.stderr))
}

fn lines(text: &str) -> Vec<serde_json::Value> {
    text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

/// A synthetic tree, and a copy of it as `cp` makes it.
fn copied() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().expect("a folder");
    let made = run(dir.path(), "synthesize --tree tree --files 150 --bytes 4000000 --seed 7");
    assert_eq!(made.0, Some(0), "{made:?}");
    fs::create_dir(dir.path().join("dest")).expect("room");
    let copy = Command::new("cp").current_dir(dir.path()).args(["-a", "tree", "dest"]).status();
    assert!(copy.expect("cp starts").success());
    let dest = dir.path().join("dest");
    (dir, dest)
}

/// The path of some file of a tree, of the manifest's lines.
fn some_file(lines: &[serde_json::Value]) -> String {
    let is_plain = |line: &&serde_json::Value| {
        line["type"] == "file" && line["bytes"].as_u64() > Some(10) && line["mode"] == "0644"
    };
    let path = lines.iter().skip(1).find(is_plain).expect("most files are plain")["path"].as_str();
    path.expect("it is UTF-8").to_owned()
}

#[test]
fn a_synthetic_tree_follows_from_its_seed() {
    let dir = tempfile::tempdir().expect("a folder");
    let made = |at: &str, seed: u32| {
        let line = format!("synthesize --tree {at}/t --files 300 --bytes 9000000 --seed {seed}");
        let made = run(dir.path(), &line);
        assert_eq!(made.0, Some(0), "{made:?}");
        let (code, text, said) = run(dir.path(), &format!("manifest {at}/t"));
        assert_eq!(code, Some(0), "{said}");
        text
    };
    let [first, again, other] = [made("a", 1), made("b", 1), made("c", 2)];
    assert_eq!(first, again);
    assert_ne!(first, other);
    let lines = lines(&first);
    let (header, entries) = lines.split_first().expect("a header");
    assert_eq!(header["format"], "mpiswarm manifest");
    assert_eq!(header["files"], 300);
    assert_eq!(header["bytes"], 9_000_000);
    assert_eq!(header["entries"], entries.len());
    assert_eq!(header["sources"], serde_json::json!(["t"]));
    let count =
        |is: &dyn Fn(&serde_json::Value) -> bool| entries.iter().filter(|one| is(one)).count();
    for kind in ["folder", "file", "link", "hard-link"] {
        assert!(count(&|one| one["type"] == kind) >= 6, "{kind}");
    }
    assert!(count(&|one| one["bytes"] == 0) > 0, "an empty file");
    assert!(count(&|one| one["mode"] == "4755") > 0, "set-user-id");
    assert!(count(&|one| one["root"].as_str().is_some_and(|root| root.len() == 64)) > 250);
    let (code, _, said) = run(dir.path(), "synthesize --tree a/t --files 1 --bytes 1");
    assert!(code == Some(2) && said.contains("not a new folder: name another"), "{said}");
}

#[test]
fn a_copy_is_the_same_until_something_changes() {
    let (dir, dest) = copied();
    let (code, _, said) = run(dir.path(), "manifest tree --out list.manifest");
    assert_eq!((code, &*said), (Some(0), ""));
    let text = fs::read_to_string(dir.path().join("list.manifest")).expect("it was written");
    assert_eq!(text, run(dir.path(), "manifest dest/tree").1, "cp copies everything");
    for place in ["dest", "dest/tree", "dest/tree/", "tree"] {
        let (code, text, said) =
            run(dir.path(), &format!("verify {place} --manifest list.manifest"));
        assert_eq!(code, Some(0), "{place}: {text}{said}");
        assert!(text.ends_with("all as in the manifest\n"), "{text}");
    }
    let path = some_file(&lines(&text));
    let before = fs::metadata(dest.join(&path)).and_then(|found| found.modified()).expect("ours");
    let mut bytes = fs::read(dest.join(&path)).expect("ours");
    bytes[5] ^= 1;
    fs::write(dest.join(&path), bytes).expect("ours");
    let file = fs::File::open(dest.join(&path)).expect("ours");
    file.set_modified(before).expect("ours");
    let (code, text, _) = run(dir.path(), "verify dest/tree --manifest list.manifest");
    assert_eq!(code, Some(1));
    assert_eq!(text.lines().count(), 2, "{text}");
    assert!(text.contains(": content: ") && text.ends_with(" entries, 1 difference\n"), "{text}");
    let (code, text, _) = run(dir.path(), "verify dest --manifest list.manifest --json");
    assert_eq!(code, Some(1));
    let json: serde_json::Value = serde_json::from_str(&text).expect("one object");
    assert_eq!(json["same"], false);
    assert_eq!(json["differences"][0]["path"], path);
    assert_eq!(json["differences"][0]["what"], "content");
}

#[test]
fn manifests_beside_staged_trees_are_found() {
    let (dir, dest) = copied();
    fs::write(dest.join("single"), "one file").expect("room");
    fs::create_dir(dest.join(".mpiswarm")).expect("room");
    for name in ["tree", "single"] {
        let line = format!("manifest dest/{name} --out dest/.mpiswarm/{name}.manifest");
        assert_eq!(run(dir.path(), &line).0, Some(0));
    }
    for place in ["dest", "dest/", "dest/tree", "dest/single"] {
        let (code, text, said) = run(dir.path(), &format!("verify {place}"));
        assert_eq!(code, Some(0), "{place}: {text}{said}");
    }
    assert_eq!(run(&dest.join("tree"), "verify .").0, Some(0));
    assert_eq!(run(&dest, "verify .").0, Some(0));
    fs::write(dest.join("single"), "another").expect("ours");
    assert_eq!(run(dir.path(), "verify dest/tree").0, Some(0));
    assert_eq!(run(dir.path(), "verify dest/single").0, Some(1));
    assert_eq!(run(dir.path(), "verify dest").0, Some(1));
    fs::remove_dir_all(dest.join("tree")).expect("ours");
    let (code, text, _) = run(dir.path(), "verify dest");
    assert_eq!(code, Some(1));
    // 20 are shown, then how many more there are, and the sum.
    assert_eq!(text.lines().count(), 22, "{text}");
    assert!(text.contains(" more (--all shows them)"), "{text}");
    let all = run(dir.path(), "verify dest --all").1;
    assert!(all.lines().count() > 150 && !all.contains("more (--all"), "{all}");
}

#[test]
fn what_can_not_be_is_refused() {
    let dir = tempfile::tempdir().expect("a folder");
    fs::create_dir(dir.path().join("tree")).expect("room");
    fs::create_dir_all(dir.path().join("other/tree")).expect("room");
    fs::write(dir.path().join("x.manifest"), "{}\n").expect("room");
    fs::write(dir.path().join("empty"), "").expect("room");
    for (line, cause) in [
        ("manifest none", "none: No such file"),
        ("manifest /", "/: it has no name"),
        ("manifest tree other/tree", "tree and other/tree have one name, tree"),
        ("manifest /dev/null", "/dev/null is a device"),
        ("manifest tree --out /dev/null", "/dev/null: it is not a file"),
        ("manifest tree --out tree", "tree: it is not a file"),
        ("manifest tree --out none/x", "name another place to write to"),
        ("verify tree", "tree: nothing was staged here: name its manifest (--manifest FILE)"),
        ("verify none", "none: No such file"),
        ("verify tree --manifest none", "none: No such file"),
        ("verify tree --manifest tree", "tree: not a file"),
        ("verify tree --manifest /dev/zero", "/dev/zero: not a file"),
        ("verify tree --manifest x.manifest", "x.manifest:1: missing field"),
        ("verify tree --manifest empty", "empty:1: the file was cut off"),
        ("synthesize --tree x --files 1", "--bytes"),
        ("synthesize --tree x --bytes 1", "--files"),
        ("synthesize --tree x --files 1 --bytes 1 --peers 3", "--peers"),
        ("synthesize --files 1", "--peers"),
    ] {
        let (code, text, said) = run(dir.path(), line);
        assert_eq!((code, &*text), (Some(2), ""), "{line}: {said}");
        assert!(said.contains(cause), "{line}: {said}");
    }
    assert!(fs::metadata("/dev/null").is_ok_and(|found| !found.is_file()));
}

#[test]
fn what_can_not_be_read_is_named_and_the_rest_goes_on() {
    let dir = tempfile::tempdir().expect("a folder");
    let tree = dir.path().join("tree");
    fs::create_dir_all(tree.join("closed/inside")).expect("room");
    fs::write(tree.join("open"), "open").expect("room");
    fs::write(tree.join("secret"), "secret").expect("room");
    let closed = ["secret", "closed"].map(|name| tree.join(name));
    for path in &closed {
        fs::set_permissions(path, PermissionsExt::from_mode(0o000)).expect("ours");
    }
    let _socket = std::os::unix::net::UnixListener::bind(tree.join("socket")).expect("a socket");
    fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o755)).expect("ours");
    let program = dir.path().join("mpiswarm");
    fs::copy(PROGRAM, &program).expect("room");
    let mut command = Command::new(program);
    command.arg("manifest").arg(&tree);
    // Root reads everything: here it must be somebody else.
    if fs::metadata(dir.path()).expect("ours").uid() == 0 {
        command.uid(65534).gid(65534);
    }
    let output = command.output().expect("the program starts");
    let said = String::from_utf8_lossy(&output.stderr);
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{said}");
    for name in ["closed", "secret"] {
        assert!(said.contains(&format!("mpiswarm: tree/{name}: Permission denied")), "{said}");
    }
    assert!(said.contains("tree/socket: a socket, left out"), "{said}");
    assert_eq!(said.lines().count(), 3, "{said}");
    let paths: Vec<_> = lines(&text).iter().skip(1).map(|line| line["path"].clone()).collect();
    assert_eq!(paths, ["tree", "tree/open"]);
    for path in &closed {
        fs::set_permissions(path, PermissionsExt::from_mode(0o700)).expect("ours");
    }
}

#[test]
fn names_of_any_bytes_survive_and_are_shown_escaped() {
    let dir = tempfile::tempdir().expect("a folder");
    let tree = dir.path().join("tree");
    fs::create_dir(&tree).expect("room");
    let name = OsStr::from_bytes(b"\xff\x1b[31m\xe2\x80\xae\n");
    fs::write(tree.join(name), "odd").expect("room");
    symlink(name, tree.join("link")).expect("room");
    let (code, text, _) = run(dir.path(), "manifest tree");
    assert_eq!(code, Some(0));
    assert_eq!(text.lines().count(), 4, "{text}");
    assert!(!text.contains(['\u{1b}', '\u{202e}']), "{text}");
    assert!(text.contains(r#""base64":"#), "{text}");
    fs::write(dir.path().join("m"), text).expect("room");
    assert_eq!(run(dir.path(), "verify tree --manifest m").0, Some(0));
    fs::remove_file(tree.join(name)).expect("ours");
    let (code, text, _) = run(dir.path(), "verify tree --manifest m");
    assert_eq!(code, Some(1));
    assert!(text.contains(r"tree/\xff\u{1b}[31m\u{202e}\n: missing: a file"), "{text}");
}
