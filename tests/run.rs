//! Whole runs of the program: threads, and ranks where there is an `mpirun`.

#[cfg(feature = "mpi")]
mod launch;

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

const PROGRAM: &str = env!("CARGO_BIN_EXE_mpiswarm");

fn inputs(name: &str) -> String {
    format!("{}/inputs/{name}", env!("CARGO_MANIFEST_DIR"))
}

fn run(inputs: &str, out: &Path, more: &[&str]) -> Output {
    let mut command = Command::new(PROGRAM);
    command.args(["run", inputs, "--transport", "local", "--json", "--out"]).arg(out).args(more);
    command.output().expect("the program starts")
}

fn summary(output: &Output) -> serde_json::Value {
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(text.lines().count(), 1, "one object and nothing else: {text}");
    serde_json::from_str(&text).expect("the summary is JSON")
}

/// What an owner has must be what a peer gets.
fn check_outputs(inputs: &str, out: &Path) {
    let script = format!("{}/scripts/check-outputs.sh", env!("CARGO_MANIFEST_DIR"));
    let checked = Command::new("bash").arg(script).arg(inputs).arg(out).output();
    let checked = checked.expect("bash starts");
    assert!(checked.status.success(), "{checked:?}");
}

#[test]
fn threads_deliver_every_file() {
    for (name, segment_bytes) in [("small", "65536"), ("classic", "1024"), ("classic", "0")] {
        let out = tempfile::tempdir().expect("a folder");
        let output = run(&inputs(name), out.path(), &["--segment-bytes", segment_bytes]);
        assert!(output.status.success(), "{output:?}");
        assert_eq!(summary(&output)["verified"], true);
        check_outputs(&inputs(name), out.path());
    }
}

#[test]
fn the_classic_workload_is_eleven_thousand_segments() {
    let out = tempfile::tempdir().expect("a folder");
    let output = run(&inputs("classic"), out.path(), &["--segment-bytes", "1024"]);
    let summary = summary(&output);
    assert_eq!(summary["segments"], 11_000);
    assert_eq!(summary["bytes_delivered"], 11_000 * 1024);
    assert_eq!(summary["served_bytes"].as_array().map(Vec::len), Some(13));
    // Every peer owns files and wants others: only what it sends of its own counts, and that is
    // each segment once, and again only while nobody else has it.
    let copies = summary["origin_copies"].as_f64().expect("something was wanted");
    assert!((1.0..2.0).contains(&copies), "{copies} copies");
}

#[test]
fn checks_on_a_pool_deliver_the_same() {
    let out = tempfile::tempdir().expect("a folder");
    let output = run(&inputs("small"), out.path(), &["--verify-threads", "1"]);
    assert!(output.status.success(), "{output:?}");
    check_outputs(&inputs("small"), out.path());
}

#[test]
fn corrupt_segments_are_noticed_and_never_written() {
    let out = tempfile::tempdir().expect("a folder");
    let more = ["--inject", "corrupt:0.02", "--segment-bytes", "1024"];
    let output = run(&inputs("classic"), out.path(), &more);
    let summary = summary(&output);
    assert!(summary["corrupt_segments"].as_u64() > Some(0), "{summary}");
    if output.status.success() {
        check_outputs(&inputs("classic"), out.path());
    }
}

#[test]
fn an_input_that_is_missing_or_superfluous_is_named() {
    let dir = tempfile::tempdir().expect("a folder");
    let out = dir.path().join("out");
    fs::write(dir.path().join("in2.txt"), "0\n0\n").expect("a small file");
    let output = run(&dir.path().to_string_lossy(), &out, &[]);
    assert_eq!(output.status.code(), Some(2));
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(text.contains("in1.txt"), "{text}");
    let output = run(&inputs("small"), &out, &["--nodes", "3"]);
    assert_eq!(output.status.code(), Some(2));
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(text.contains("in4.txt") && text.contains("start 5"), "{text}");
}

#[test]
fn a_file_that_nobody_owns_is_reported_and_the_rest_completes() {
    let dir = tempfile::tempdir().expect("a folder");
    let out = dir.path().join("out");
    fs::write(dir.path().join("in1.txt"), "1\na 1\n00112233\n0\n").expect("a small file");
    fs::write(dir.path().join("in2.txt"), "0\n2\na\nnowhere\n").expect("a small file");
    let output = run(&dir.path().to_string_lossy(), &out, &[]);
    assert_eq!(output.status.code(), Some(3), "{output:?}");
    assert_eq!(summary(&output)["unavailable_files"][0], "nowhere");
    assert_eq!(fs::read_to_string(out.join("client2_a")).expect("it is whole"), "00112233\n");
}

/// One peer gets 8 segments, each two thirds of a second after the one before.
#[test]
fn a_long_run_says_how_far_it_is_unless_it_is_quiet() {
    let dir = tempfile::tempdir().expect("a folder");
    let hashes: String = (0..8).map(|position| format!("{position:08x}\n")).collect();
    fs::write(dir.path().join("in1.txt"), format!("1\na 8\n{hashes}0\n")).expect("a small file");
    fs::write(dir.path().join("in2.txt"), "0\n1\na\n").expect("a small file");
    let slowly = |more: &[&str]| {
        let args = [&["--window", "1", "--inject", "delay:660"], more].concat();
        let output = run(&dir.path().to_string_lossy(), &dir.path().join("out"), &args);
        assert!(output.status.success(), "{output:?}");
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let (told, quiet) = std::thread::scope(|scope| {
        let quiet = scope.spawn(|| slowly(&["--quiet"]));
        (slowly(&[]), quiet.join().expect("it ends well"))
    });
    let lines: Vec<_> = told.lines().filter(|line| line.contains(" of 8 segments, ")).collect();
    assert!((1..=3).contains(&lines.len()), "one every few seconds: {told}");
    assert_eq!(quiet, "");
}

#[cfg(feature = "mpi")]
#[test]
fn ranks_deliver_every_file() {
    if !launch::can_start_ranks() {
        return;
    }
    let out = tempfile::tempdir().expect("a folder");
    let output = launch::ranks(13, PROGRAM)
        .args(["run", &inputs("classic"), "--json"])
        .args(["--segment-bytes", "1024", "--out"])
        .arg(out.path())
        .output()
        .expect("mpirun starts");
    assert!(output.status.success(), "{output:?}");
    assert_eq!(summary(&output)["verified"], true);
    check_outputs(&inputs("classic"), out.path());
}
