//! The scripts about `stage`: the comparison of two trees, and the measurement beside rivals.

use std::ffi::OsStr;
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{run, script};

const PROGRAM: &str = env!("CARGO_BIN_EXE_mpiswarm");

/// All that `check-tree.sh` calls where there is no rsync.
const WITHOUT_RSYNC: [&str; 9] =
    ["bash", "env", "dirname", "readlink", "find", "sort", "diff", "sed", "cat"];

/// A tree and a copy of it, in a temporary folder, and a folder of programs without rsync.
struct Twins(tempfile::TempDir);

impl Twins {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let tree = folder.path().join("tree");
        fs::create_dir_all(tree.join("folder/empty")).expect("the folder is new");
        fs::write(tree.join("file"), "words").expect("a small file");
        fs::write(tree.join("folder/other\nfile"), "more words").expect("a small file");
        fs::hard_link(tree.join("file"), tree.join("same")).expect("a link");
        symlink("file", tree.join("link")).expect("a link");
        let copied =
            Command::new("cp").arg("-a").args([&tree, &folder.path().join("copy")]).status();
        assert!(copied.is_ok_and(|code| code.success()));
        let programs = folder.path().join("programs");
        fs::create_dir(&programs).expect("the folder is new");
        for program in WITHOUT_RSYNC {
            symlink(found(program), programs.join(program)).expect("a link");
        }
        Self(folder)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// The exit codes of the check, with rsync, if it is there, and without.
    fn check(&self, options: &[&str]) -> [Option<i32>; 2] {
        let programs = self.path("programs").into_os_string();
        let all = std::env::var_os("PATH").unwrap_or_default();
        [all, programs].map(|path| {
            let mut check = script("check-tree.sh");
            check.args(options).args([self.path("tree"), self.path("copy")]).env("PATH", path);
            run(&mut check).status.code()
        })
    }
}

/// Where a program is.
fn found(program: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut candidates = std::env::split_paths(&path).map(|folder| folder.join(program));
    candidates.find(|path| path.exists()).unwrap_or_else(|| panic!("no {program} here"))
}

/// Changes a copy.
type Change = fn(&Path);

#[test]
fn trees_are_the_same_only_if_all_is() {
    assert_eq!(Twins::new().check(&[]), [Some(0); 2]);
    let changes: [(&str, Change); 8] = [
        ("other content", |copy| fs::write(copy.join("file"), "worse").expect("a file")),
        ("a file less", |copy| fs::remove_file(copy.join("link")).expect("it is there")),
        ("a file more", |copy| fs::write(copy.join("folder/more"), "").expect("a file")),
        ("a folder less", |copy| fs::remove_dir(copy.join("folder/empty")).expect("it is there")),
        ("another mode", |copy| {
            let mode = Permissions::from_mode(0o600);
            fs::set_permissions(copy.join("file"), mode).expect("it is ours");
        }),
        ("a nanosecond", |copy| {
            let file = fs::File::options().write(true).open(copy.join("file")).expect("a file");
            let time = file.metadata().and_then(|found| found.modified()).expect("its time");
            file.set_modified(time + std::time::Duration::from_nanos(1)).expect("it is ours");
        }),
        ("another link", |copy| {
            fs::remove_file(copy.join("link")).expect("it is there");
            symlink("same", copy.join("link")).expect("a link");
        }),
        ("a hard link less", |copy| {
            fs::rename(copy.join("same"), copy.join("first")).expect("it is there");
            let mut split = Command::new("cp");
            split.arg("-a").args([copy.join("first"), copy.join("same")]);
            assert!(split.status().is_ok_and(|code| code.success()));
            fs::remove_file(copy.join("first")).expect("it is there");
        }),
    ];
    for (what, change) in changes {
        let twins = Twins::new();
        change(&twins.path("copy"));
        assert_eq!(twins.check(&[]), [Some(1); 2], "{what}");
    }
}

#[test]
fn hard_links_do_not_count_unless_they_should() {
    let twins = Twins::new();
    let copy = twins.path("copy");
    fs::remove_dir_all(&copy).expect("it is there");
    // As `rsync -a` does it.
    let copied = Command::new("cp")
        .args(["-r", "--no-dereference", "--preserve=mode,timestamps"])
        .args([twins.path("tree"), copy])
        .status();
    assert!(copied.is_ok_and(|code| code.success()));
    assert_eq!(twins.check(&[]), [Some(1); 2]);
    assert_eq!(twins.check(&["--no-hard-links"]), [Some(0); 2]);
}

#[test]
fn what_can_not_be_compared_is_refused() {
    let twins = Twins::new();
    fs::remove_dir_all(twins.path("copy")).expect("it is there");
    assert_eq!(twins.check(&[]), [Some(2); 2]);
    fs::write(twins.path("copy"), "").expect("a file");
    assert_eq!(twins.check(&[]), [Some(1); 2], "a folder is no file");
}

/// The exit code of a tiny measurement with this program, what it said, and its record.
fn bench(program: &Path, arguments: &[&str]) -> (Option<i32>, String, tempfile::TempDir) {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let mut bench = script("stage-bench.sh");
    bench.args(["--rounds", "1", "--scale", "0.0005", "--in"]).arg(folder.path());
    bench.arg("--out").arg(folder.path().join("record")).args(arguments);
    let output = run(bench.env("MPISWARM", program));
    let said = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8_lossy(&said).into_owned(), folder)
}

fn lines(folder: &tempfile::TempDir, name: &str) -> Vec<String> {
    let text = fs::read_to_string(folder.path().join("record").join(name));
    text.expect("the record has it").lines().map(str::to_owned).collect()
}

const HERE: [&str; 4] = ["--only", "stage-process", "--only", "cp"];

#[test]
fn a_measurement_beside_rivals_is_whole_and_leaves_nothing_else() {
    let arguments = [&HERE[..], &["--only", "tar-tee", "small", "one"]].concat();
    let (code, said, folder) = bench(Path::new(PROGRAM), &arguments);
    assert_eq!(code, Some(0), "{said}");
    let rounds = lines(&folder, "rounds.csv");
    assert_eq!(rounds.len(), 1 + 2 * 3 * 2, "a line a run: {rounds:?}");
    for line in &rounds[1..] {
        let fields: Vec<_> = line.split(',').collect();
        let verified = if fields[0] == "0" { "yes" } else { "no" };
        assert_eq!(fields[6..], [verified, "yes"], "{line}");
        let bytes = if fields[1] == "one" { 536_870 * 4 } else { 50 * 4096 * 4 };
        assert_eq!(fields[4].parse(), Ok(bytes), "{line}");
    }
    let summary = lines(&folder, "summary.txt");
    let of_one: Vec<_> = summary.iter().filter(|line| line.starts_with("one ")).collect();
    assert_eq!(of_one.len(), 3, "{summary:?}");
    let left = fs::read_dir(folder.path()).expect("a folder").count();
    assert_eq!(left, 1, "only the record is left");
}

#[test]
fn what_disturbed_contenders_leave_is_counted() {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    fs::write(folder.path().join("first"), vec![1; 100_000]).expect("a small file");
    fs::write(folder.path().join("second"), vec![2; 100_000]).expect("a small file");
    let tree = folder.path().to_str().expect("temporary folders have plain names");
    let arguments = [&HERE[..], &["--disturbed", "--python", tree, "python"]].concat();
    let (code, said, record) = bench(Path::new(PROGRAM), &arguments);
    assert_eq!(code, Some(0), "{said}");
    let lines = lines(&record, "leftovers.csv");
    let killed = lines.iter().filter(|line| line.contains(",killed,")).count();
    assert_eq!(killed, 2, "{lines:?}");
    for line in &lines[1..] {
        let fields: Vec<_> = line.split(',').collect();
        let [_, name, disturbance, code, incomplete, missing] = fields[..] else {
            panic!("{line}");
        };
        // A small disk needs root. It is the last of four; both files have no room there.
        if disturbance == "full" {
            assert_eq!(code, "1", "{line}");
            let left = if name == "cp" { ["1", "0"] } else { ["0", "2"] };
            assert_eq!([incomplete, missing], left, "{line}");
        } else if name == "stage-process" {
            assert_eq!(incomplete, "0", "{line}");
        }
    }
    let left = fs::read_dir(record.path()).expect("a folder").count();
    assert_eq!(left, 1, "only the record is left");
}

#[test]
fn a_contender_that_delivers_nothing_is_counted() {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let liar = folder.path().join("liar");
    let text = format!("#!/bin/sh\n[ $1 = stage ] || exec '{PROGRAM}' \"$@\"\n");
    fs::write(&liar, text).expect("a small file");
    fs::set_permissions(&liar, Permissions::from_mode(0o755)).expect("it is ours");
    let (code, said, record) = bench(&liar, &[&HERE[..], &["one"]].concat());
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("one, round 0: stage-process fails"), "{said}");
    let summary = lines(&record, "summary.txt");
    let failed = |name: &str| {
        let line = summary.iter().find(|line| line.contains(name)).expect("it ran");
        line.split_whitespace().nth(3).map(str::to_owned)
    };
    assert_eq!(failed("stage-process").as_deref(), Some("1"));
    assert_eq!(failed(" cp ").as_deref(), Some("0"));
    assert!(lines(&record, "log.txt")[0].contains("exit code"));
}

#[test]
fn measurements_that_make_no_sense_are_refused() {
    let cases: [(&[&str], &str); 7] = [
        (&["--scale", "900"], "are needed: use --scale"),
        (&["--scale", "0"], "--scale: \"0\" is no factor"),
        (&["--rounds", "few"], "\"few\" is no number"),
        (&["--only", "sbcast"], "unknown contender sbcast"),
        (&["huge"], "unknown tree huge"),
        (&["--in", "/nowhere"], "no folder /nowhere"),
        (&["--python", "/nowhere", "python"], "python: no folder /nowhere: name another"),
    ];
    for (arguments, why) in cases {
        let (code, said, folder) = bench(Path::new(PROGRAM), &[&HERE[..], arguments].concat());
        assert_eq!(code, Some(2), "{arguments:?}: {said}");
        assert!(said.contains(why), "{arguments:?}: {said}");
        let left: Vec<_> = fs::read_dir(folder.path()).expect("a folder").flatten().collect();
        assert_eq!(left.len(), 0, "{:?}", left.first().map(|entry| entry.file_name()));
    }
    let output = run(script("check-tree.sh").arg(OsStr::new("one")));
    assert_eq!(output.status.code(), Some(2), "two trees are compared");
}

/// As root all can be read, so that programs that fail stand for trees that can't.
#[test]
fn trees_that_cannot_be_read_are_not_the_same() {
    for (program, fails) in [("diff", "[[ $1 != -r ]] || exit 2"), ("find", "exit 1")] {
        let twins = Twins::new();
        let path = twins.path("programs").join(program);
        fs::remove_file(&path).expect("it is there");
        let real = found(program);
        let text = format!("#!/bin/bash\n{fails}\nexec {} \"$@\"\n", real.display());
        fs::write(&path, text).expect("a small file");
        fs::set_permissions(&path, Permissions::from_mode(0o755)).expect("it is ours");
        assert_eq!(twins.check(&[])[1], Some(2), "{program}");
    }
}

#[test]
fn a_process_that_is_killed_leaves_what_a_second_run_completes() {
    for fault in ["kill", "flip"] {
        let mut series = script("stage-faults.sh");
        series.args([fault, "1", "--seed", "3"]).env("RANKS", "1").env("MPISWARM", PROGRAM);
        let output = run(&mut series);
        let said = String::from_utf8_lossy(&output.stdout);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{said}{errors}");
        assert!(
            said.starts_with(&format!("{fault}, seed 3: 1 of 1 as they should be (")),
            "{said}"
        );
    }
}
