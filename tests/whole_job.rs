//! `scripts/whole-job.sh` gives each program the same workloads, and counts as failed what does not
//! deliver.
#![cfg(all(feature = "mpi", unix))]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

const PROGRAM: &str = env!("CARGO_BIN_EXE_mpiswarm");

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Runs the script with a record in `folder`; none where there is no MPI.
#[expect(clippy::print_stdout, reason = "a test that is skipped says why")]
fn whole_job(folder: &Path, arguments: &[&str]) -> Option<Output> {
    if Command::new("mpicc").arg("--version").output().is_err() {
        println!("skipped: no mpicc here");
        return None;
    }
    let mut script = Command::new(root().join("scripts/whole-job.sh"));
    script.arg("--out").arg(folder.join("record")).args(arguments).env("MPISWARM", PROGRAM);
    Some(script.output().expect("the script can be started"))
}

/// A program of the exercise, called `name`: its rank 0 delivers all, then does `more`.
fn program(folder: &Path, name: &str, more: &str) -> String {
    let path = folder.join(name);
    let text = format!(
        "#!/bin/sh\n[ \"${{OMPI_COMM_WORLD_RANK-$PMI_RANK}}\" = 0 ] || exit 0\n\
        '{PROGRAM}' run . --transport local --quiet || exit\n{more}\n"
    );
    fs::write(&path, text).expect("a small file");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("it was just made");
    format!("{name}={}", path.display())
}

fn read(folder: &Path, name: &str) -> String {
    fs::read_to_string(folder.join("record").join(name)).expect("the script wrote it")
}

/// The fields of a line, by program.
fn fields<'a>(jobs: &'a str, program: &str) -> Vec<&'a str> {
    let lines = jobs.lines().map(|line| line.split(',').collect::<Vec<_>>());
    let mut of_program = lines.filter(|fields| fields[2] == program);
    let found = of_program.next().unwrap_or_else(|| panic!("{program} has no line: {jobs}"));
    assert!(of_program.next().is_none(), "{program} has two lines: {jobs}");
    found
}

#[test]
fn programs_that_do_not_deliver_have_failed() {
    let temporary = tempfile::tempdir().expect("a temporary folder can be made");
    let folder = temporary.path();
    let programs = [
        program(folder, "right", ""),
        program(folder, "wrong", "for file in client*; do echo x >>\"$file\"; done"),
        program(folder, "missing", "rm client4_*"),
        // Its launcher can't end it.
        program(folder, "stuck", "kill -STOP \"$PPID\"\nsleep 4321\nexit"),
        program(folder, "broken", "exit 7"),
    ];
    let inputs = root().join("inputs/small");
    let mut arguments = vec!["-n", "1", "--limit", "10"];
    programs.iter().for_each(|program| arguments.extend(["--program", program.as_str()]));
    arguments.push(inputs.to_str().expect("the repository's path is text"));
    let Some(output) = whole_job(folder, &arguments) else { return };
    assert!(output.status.success(), "{output:?}");
    let jobs = read(folder, "jobs.csv");
    assert!(jobs.starts_with("round,workload,program,seconds,makespan_s,balance,ok\n"), "{jobs}");
    assert_eq!(jobs.lines().count(), 1 + 8, "{jobs}");
    for name in ["empty", "lockfree", "mutex", "right", "wrong", "missing", "stuck", "broken"] {
        let fields = fields(&jobs, name);
        assert_eq!(fields[..2], ["1", "small"], "{jobs}");
        let delivers = ["empty", "lockfree", "mutex", "right"].contains(&name);
        assert_eq!(fields[6], delivers.to_string(), "{jobs}");
        let seconds: f64 = fields[3].parse().expect("it is a number");
        assert!((name == "stuck") == (seconds >= 10.0), "{jobs}");
        // The others don't say.
        let says = ["lockfree", "mutex"].contains(&name);
        assert_eq!(fields[4..6].iter().all(|field| field.parse::<f64>().is_ok()), says, "{jobs}");
    }
    let failures = read(folder, "failures.txt");
    for (name, why) in [
        ("wrong: exit code 0", "0 missing, 11 different"),
        ("missing: exit code 0", "missing: client4_"),
        ("stuck: exit code 137", "no end within 10 s"),
        ("broken: exit code 7", ""),
    ] {
        let (_, text) = failures
            .split_once(&format!("round 1, small, {name}\n"))
            .unwrap_or_else(|| panic!("{name}: {failures}"));
        let text = text.split("\nround ").next().unwrap_or_default();
        assert!(text.contains(why), "{name}: {failures}");
    }
    let left = fs::read_dir("/proc").into_iter().flatten().flatten().filter(|process| {
        let line = fs::read(process.path().join("cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line).contains(folder.to_str().expect("it is text"))
    });
    assert_eq!(left.count(), 0, "processes of a job are left");
    let summary = read(folder, "summary.txt");
    assert!(summary.contains("ratios to right"), "{summary}");
    assert!(String::from_utf8_lossy(&output.stdout).contains(&summary), "{output:?}");
    let environment = read(folder, "environment.txt");
    assert!(environment.contains("workload: small, 5 ranks\nseed: 1\n"), "{environment}");
    assert!(environment.contains("\nright: SHA-256 "), "{environment}");
    let folder = folder.to_str().expect("it is text");
    assert!(!environment.contains(folder), "a path of this machine: {environment}");
}

#[test]
fn each_round_has_an_order_of_its_own_and_workloads_are_made() {
    let temporary = tempfile::tempdir().expect("a temporary folder can be made");
    let folder = temporary.path();
    let arguments = ["-n", "2", "--peers", "1,3", "--", "--segment-bytes", "16"];
    let Some(output) = whole_job(folder, &arguments) else { return };
    assert!(output.status.success(), "{output:?}");
    let jobs = read(folder, "jobs.csv");
    let order = |round: &str, workload: &str| {
        let begin = format!("{round},{workload},");
        let programs = jobs.lines().filter_map(|line| line.strip_prefix(&begin)?.split(',').next());
        programs.map(str::to_owned).collect::<Vec<_>>()
    };
    // Drawn from the seed: the same on every machine.
    assert_eq!(order("1", "peers-1"), ["empty", "mutex", "lockfree"]);
    assert_eq!(order("1", "peers-3"), ["empty", "lockfree", "mutex"]);
    assert_eq!(order("2", "peers-1"), ["lockfree", "mutex", "empty"]);
    assert_eq!(order("2", "peers-3"), ["lockfree", "empty", "mutex"]);
    assert!(!folder.join("record/failures.txt").exists());
    assert!(read(folder, "summary.txt").contains("ratios to mutex"));
    let environment = read(folder, "environment.txt");
    assert!(environment.contains("\nmpiswarm run: --segment-bytes 16\n"), "{environment}");
}

#[test]
fn what_cannot_be_measured_is_refused() {
    let temporary = tempfile::tempdir().expect("a temporary folder can be made");
    let empty = temporary.path().to_str().expect("it is text");
    for (arguments, error) in [
        (&["--program", "x"][..], "--program: x is not NAME=PATH, such as classic=/tmp/classic"),
        (
            &["--program", "x=/nowhere"],
            "--program: no program /nowhere: build it, and name the binary",
        ),
        (
            &["--program", "mutex=/bin/sh"],
            "--program: there is a program mutex already: choose another name",
        ),
        (&["--peers", "4,x"], "--peers: x is no number of peers: use some such as 4,8"),
        (&["--limit", "0"], "--limit: 0 is no number of seconds: use one such as 60"),
        (&["-n"], "the last option has no value; see --help"),
        (&[empty], &format!("{empty} has no in<R>.txt: name the folder of the inputs")),
    ] {
        let Some(output) = whole_job(temporary.path(), arguments) else { return };
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        assert_eq!(String::from_utf8_lossy(&output.stderr), format!("whole-job: {error}\n"));
    }
}
