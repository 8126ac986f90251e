//! `scripts/lab.sh`: hosts on this machine come up, run ranks, lose their cables, and go without a
//! trace; nothing that was there before is touched. Skipped where there is no root or no network
//! namespaces.
#![cfg(target_os = "linux")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::Duration;

use tempfile::TempDir;

/// Exit code of the script where the machine can't have it.
const IMPOSSIBLE: i32 = 3;
/// How long to wait before looking again.
const PAUSE: Duration = Duration::from_millis(50);
/// How often to look.
const LOOKS: u32 = 400;

/// A laboratory of a test's own, taken down when dropped.
struct Lab {
    folder: PathBuf,
    _parent: TempDir,
}

impl Lab {
    fn new() -> Self {
        let parent = tempfile::tempdir().expect("a temporary folder can be made");
        Self { folder: parent.path().join("lab"), _parent: parent }
    }

    /// One that is up; says so where that is not possible.
    #[expect(clippy::print_stdout, reason = "a test that is skipped says why")]
    fn up(arguments: &[&str]) -> Option<Self> {
        let lab = Self::new();
        let output = lab.call(&[&["up"], arguments].concat());
        if output.status.code() == Some(IMPOSSIBLE) {
            println!("skipped: {}", said(&output));
            return None;
        }
        assert!(output.status.success(), "{output:?}");
        Some(lab)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/lab.sh");
        let mut command = Command::new(script);
        command.args(arguments).env("MPISWARM_LAB_FOLDER", &self.folder).stdin(Stdio::null());
        command
    }

    fn call(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().expect("the script starts")
    }

    /// What a call that succeeds prints.
    fn ask(&self, arguments: &[&str]) -> String {
        let output = self.call(arguments);
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// A run of ranks that would take very long, once they are there; `mark` is theirs alone.
    fn begin_run(&self, mark: &str) -> Child {
        let mut command = self.command(&["run", "--", "sleep", mark]);
        let child = command.stderr(Stdio::null()).spawn().expect("the script starts");
        await_that("the ranks start", || processes_with(mark) >= 3);
        child
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if self.folder.join("laboratory").exists() {
            let output = self.call(&["down"]);
            assert!(output.status.success(), "{output:?}");
        }
    }
}

/// The errors that a script printed.
fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).trim().to_owned()
}

fn await_that(what: &str, mut holds: impl FnMut() -> bool) {
    for _ in 0..LOOKS {
        if holds() {
            return;
        }
        thread::sleep(PAUSE);
    }
    panic!("in vain: {what}");
}

/// How many processes of this machine `sleep` for so long; the scripts that start them don't count.
fn processes_with(mark: &str) -> usize {
    let entries = fs::read_dir("/proc").expect("Linux has it").flatten();
    let lines = entries.filter_map(|entry| fs::read(entry.path().join("cmdline")).ok());
    lines.filter(|line| *line == format!("sleep\0{mark}\0").into_bytes()).count()
}

/// The interfaces and named namespaces of this machine, with all that can be set on them.
fn surroundings() -> String {
    let read = |arguments: &[&str]| {
        let output = Command::new("ip").args(arguments).output().expect("lab.sh just used it");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    [read(&["-o", "link"]), read(&["-o", "address"]), read(&["netns"])].concat()
}

/// Whether ranks can be started; says so where they can't.
#[expect(clippy::print_stdout, reason = "a test that is skipped says why")]
fn has_mpi() -> bool {
    let mpirun = std::env::var("MPIRUN").unwrap_or_else(|_| "mpirun".to_owned());
    let version = Command::new(&mpirun).arg("--version").output();
    let has = version.is_ok_and(|output| output.status.success());
    if !has {
        println!("skipped: {mpirun} is missing");
    }
    has
}

#[test]
fn hosts_have_what_is_theirs_and_go_without_a_trace() {
    let Some(lab) = Lab::up(&["3", "--rate", "100mbit", "--slow", "h3:20mbit"]) else { return };
    let status = lab.ask(&["status"]);
    let lines: Vec<Vec<_>> = status.lines().map(|l| l.split_whitespace().collect()).collect();
    assert_eq!(lines[0], ["h1", "10.77.0.1", "100mbit", "linked", "0", "processes"]);
    assert_eq!(lines[2], ["h3", "10.77.0.3", "20mbit", "linked", "0", "processes"]);
    assert_eq!(lines.len(), 3, "{status}");

    assert_eq!(lab.ask(&["on", "h2", "hostname"]), "h2\n");
    lab.ask(&["on", "h2", "sh", "-c", "echo mine >/dev/shm/note; echo mine >$TMPDIR/note"]);
    let others = lab.ask(&["on", "h3", "sh", "-c", "ls /dev/shm $TMPDIR"]);
    assert!(!others.contains("note"), "{others}");
    let code = lab.call(&["on", "h1", "sh", "-c", "exit 7"]).status.code();
    assert_eq!(code, Some(7));

    let again = lab.call(&["up", "2"]);
    assert_eq!(again.status.code(), Some(2), "{again:?}");
    assert_eq!(lab.ask(&["down"]), "lab: down\n");
    assert!(!lab.folder.exists());
    assert_eq!(lab.call(&["status"]).status.code(), Some(2));
    assert_eq!(lab.ask(&["down"]), "lab: not up\n");
}

#[test]
fn ranks_are_where_they_should_be() {
    if !has_mpi() {
        return;
    }
    let Some(lab) = Lab::up(&["3"]) else { return };
    let hosts_of = |arguments: &[&str]| {
        let text = lab.ask(&[&["run"], arguments, &["--", "hostname"]].concat());
        let mut hosts: Vec<_> = text.lines().map(str::to_owned).collect();
        hosts.sort();
        hosts
    };
    assert_eq!(hosts_of(&[]), ["h1", "h1", "h2", "h3"]);
    assert_eq!(hosts_of(&["--ranks-per-host", "2"]), ["h1", "h1", "h2", "h2", "h3", "h3"]);
    let code = lab.call(&["run", "--", "false"]).status.code();
    assert_eq!(code, Some(1));
}

#[test]
fn a_link_carries_what_was_said_until_it_is_cut() {
    let Some(lab) = Lab::up(&["2", "--rate", "40mbit"]) else { return };
    let rate = lab.ask(&["rate", "h1", "h2", "3"]);
    let bytes: f64 = rate.split(' ').next().and_then(|n| n.parse().ok()).expect("it comes first");
    // Headers take 4 to 5%. A machine that has no time for it may be slower, never faster.
    assert!((2.5e6..4.95e6).contains(&bytes), "{rate}");

    let connect = ["on", "h1", "timeout", "1", "bash", "-c", ": </dev/tcp/h2/9"];
    let refused = |lab: &Lab| said(&lab.call(&connect)).contains("refused");
    assert!(refused(&lab), "nobody listens there, and the kernel says so");
    lab.ask(&["cut", "h2"]);
    assert!(lab.ask(&["status"]).contains("cut "), "{}", lab.ask(&["status"]));
    assert!(!refused(&lab), "no word comes through");
    lab.ask(&["heal", "h2"]);
    await_that("words come through again", || refused(&lab));
    assert!(!lab.ask(&["status"]).contains("cut "));
}

#[test]
fn a_killed_run_leaves_nothing() {
    if !has_mpi() {
        return;
    }
    let Some(lab) = Lab::up(&["2"]) else { return };
    for (signal, code) in [("INT", Some(130)), ("TERM", Some(143)), ("KILL", None)] {
        // A number that no other test sleeps for.
        let mark = format!("86400.{}{}", std::process::id(), signal.len());
        let mut run = lab.begin_run(&mark);
        let id = run.id().to_string();
        let status = Command::new("kill").args([format!("-{signal}"), id]).status();
        assert!(status.expect("every Unix has it").success());
        assert_eq!(run.wait().expect("it was started").code(), code, "{signal}");
        if signal == "KILL" {
            await_that("ranks end with their run", || processes_with(&mark) == 0);
        }
        assert_eq!(processes_with(&mark), 0, "{signal}");
        assert_eq!(lab.ask(&["status"]).matches(" 0 processes").count(), 2, "{signal}");
    }
}

#[test]
fn what_runs_ends_with_the_laboratory() {
    if !has_mpi() {
        return;
    }
    let Some(lab) = Lab::up(&["2"]) else { return };
    let mark = format!("86401.{}", std::process::id());
    let mut run = lab.begin_run(&mark);
    lab.ask(&["down"]);
    assert_eq!(processes_with(&mark), 0);
    assert!(!run.wait().expect("it was started").success());
}

#[test]
fn a_tree_is_staged_to_hosts_of_which_one_is_slow() {
    let has_rsync = Command::new("rsync").arg("--version").output().is_ok();
    if !cfg!(feature = "mpi")
        || !has_mpi()
        || !has_rsync
        || Lab::up(&["2", "--rate", "40mbit"]).is_none()
    {
        return;
    }
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let record = folder.path().join("record");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/lab-bench.sh");
    let mut bench = Command::new(script);
    bench.args(["--runs", "1", "--tree-mib", "1", "--tree-files", "100", "stage-slow", "--out"]);
    bench.arg(&record).env("MPISWARM", env!("CARGO_BIN_EXE_mpiswarm")).stdin(Stdio::null());
    let output = bench.output().expect("the script starts");
    assert!(output.status.success(), "{output:?}");
    let runs = fs::read_to_string(record.join("stage-slow-200/runs.jsonl")).expect("the record");
    for (contender, line) in ["stage", "rsync", "empty"].iter().zip(runs.lines()) {
        let run: serde_json::Value = serde_json::from_str(line).expect("it is JSON");
        assert_eq!((run["contender"].as_str(), &run["exit_code"]), (Some(*contender), &0.into()));
        let finishes = run["run"]["finished_s"].as_array().expect("it is a list");
        let times: Vec<_> = finishes.iter().filter_map(serde_json::Value::as_f64).collect();
        assert_eq!(times.len(), 9, "a time of each host behind that of nobody: {line}");
        assert!(times[1..].iter().all(|&time| time > 0.0), "{line}");
        // At 20 Mbit/s a MiB takes 0.4 s.
        assert!(*contender == "empty" || times[5] > 0.4, "{line}");
    }
    assert_eq!(runs.lines().count(), 3, "{runs}");
}

#[test]
fn nothing_foreign_is_touched() {
    let Some(lab) = Lab::up(&["2"]) else { return };
    let before = surroundings();
    // Names that are the laboratory's within are others' out here.
    for foreign in ["eth0", "lo", "switch", "h3", "h1/../h2", ""] {
        for word in ["cut", "heal"] {
            let output = lab.call(&[word, foreign]);
            assert_eq!(output.status.code(), Some(2), "{word} {foreign}: {output:?}");
        }
    }
    lab.ask(&["cut", "h1"]);
    lab.ask(&["down"]);
    assert_eq!(surroundings(), before);
}

#[test]
fn a_folder_of_others_is_refused() {
    let lab = Lab::new();
    fs::create_dir(&lab.folder).expect("the folder is new");
    fs::write(lab.folder.join("thesis"), "years of work").expect("the folder is writable");
    for arguments in [&["down"][..], &["up", "2"]] {
        let code = lab.call(arguments).status.code();
        assert!(code == Some(2) || code == Some(IMPOSSIBLE), "{arguments:?}: {code:?}");
    }
    assert!(lab.folder.join("thesis").exists());
}

#[test]
fn calls_that_make_no_sense_are_refused() {
    let calls: [(&[&str], &str); 9] = [
        (&[], "see --help"),
        (&["up"], "from 1 to 250"),
        (&["up", "0"], "from 1 to 250"),
        (&["up", "2", "--rate", "fast"], "--rate: \"fast\" is no rate"),
        (&["up", "2", "--rate", "0mbit"], "--rate: \"0mbit\" is no rate"),
        (&["up", "2", "--slow", "h3:1mbit"], "is no HOST:RATE"),
        (&["up", "2", "--slow"], "is no HOST:RATE"),
        (&["up", "2", "--delay", "2"], "--delay: \"2\" is no time"),
        (&["run", "--ranks-per-host", "none", "--", "true"], "is no number"),
    ];
    let lab = Lab::new();
    for (arguments, fault) in calls {
        let output = lab.call(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {output:?}");
        assert!(said(&output).contains(fault), "{arguments:?}: {output:?}");
    }
}

#[test]
fn a_kernel_without_delays_says_so() {
    let lab = Lab::new();
    let output = lab.call(&["up", "2", "--delay", "2ms"]);
    match output.status.code() {
        Some(0) => drop(lab),
        Some(IMPOSSIBLE) => {
            let text = said(&output);
            let reasons = ["netem", "root", "namespaces", "missing", "kernel"];
            assert!(reasons.iter().any(|reason| text.contains(reason)), "{text}");
        }
        _ => panic!("{output:?}"),
    }
}
