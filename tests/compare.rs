//! `mpiswarm compare` from the command line: records of a real, small measurement become tables,
//! a verdict, and a page that a browser opens.

#[path = "compare/browser.rs"]
mod browser;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::LazyLock;

use assert_cmd::Command;

/// A few seconds of two contenders on three sizes and two numbers of peers.
const PLAN: &str = r#"
purpose = "Records for a page"
budget_s = 60
target = 10.0
warm_up = 0
repetitions = { least = 10, most = 10 }

[[workloads]]
name = "classic"
shape = "all-to-all"
files = 4
segments = 8
peers = [2, 4]
segment_bytes = [1024, 4096]

[[contenders]]
name = "lockfree"
engine = "lockfree"

[[contenders]]
engine = "lockfree"
switches = { window = 1 }

[[contenders]]
engine = "lockfree"
switches = { selection = "file-order" }
"#;

/// The folder of a measurement that all tests of this process share.
static MEASURED: LazyLock<PathBuf> = LazyLock::new(|| {
    let root =
        Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("compare-{}", std::process::id()));
    fs::create_dir_all(&root).expect("a folder for this process");
    let plan = root.join("small.toml");
    fs::write(&plan, PLAN).expect("written");
    let out = root.join("measured");
    let mut bench = mpiswarm(&["bench"]);
    let output = bench.arg(&plan).arg("--out").arg(&out).output().expect("it starts");
    // A bound that noise has beaten is said with exit code 1; the records are there all the same.
    assert!(output.status.code().is_some_and(|code| code < 2), "{output:?}");
    out
});

fn mpiswarm(words: &[&str]) -> Command {
    let mut command = Command::cargo_bin("mpiswarm").expect("the program is built");
    command.args(words).env_remove("NO_COLOR");
    command
}

/// Compares, with more words after the folder.
fn compare(words: &[&str]) -> Output {
    mpiswarm(&["compare"]).arg(&*MEASURED).args(words).output().expect("it starts")
}

fn stdout(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    String::from_utf8(output.stdout.clone()).expect("text")
}

#[test]
fn contenders_of_a_folder_stand_in_every_format() {
    let words = ["--contender", "lockfree", "--against", "lockfree window=1"];
    let text = stdout(&compare(&words));
    assert!(text.contains("Makespan: lockfree → lockfree window=1"), "{text}");
    let is_row = |line: &&str| !line.starts_with('!') && line.contains("classic");
    assert_eq!(
        text.lines().filter(is_row).count(),
        1,
        "what all rows say stands in the heading: {text}"
    );
    assert!(!text.contains('\u{1b}'), "no colour in a pipe");
    let format = |name| stdout(&compare(&[words.as_slice(), &["--format", name]].concat()));
    assert!(format("md").contains("| classic | 2 | 1 KiB |"));
    let csv = format("csv");
    assert_eq!(csv.lines().count(), 5);
    let json: serde_json::Value = serde_json::from_str(&format("json")).expect("JSON");
    let row = &json["pairings"][0]["rows"][0];
    assert_eq!(row["base"]["values"].as_array().map(Vec::len), Some(10));
    assert_eq!(row["paired"], true);
}

#[test]
fn a_folder_beside_itself_is_the_same_and_passes_a_gate() {
    let gate = MEASURED.with_file_name("gate.toml");
    fs::write(&gate, "effect = 0.01\n").expect("written");
    let other = MEASURED.display().to_string();
    let output = compare(&[&other, "--gate", gate.to_str().expect("text")]);
    let text = stdout(&output);
    assert_eq!(text.matches("  ~\n").count(), 12, "{text}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("12 results judged, 0 failures"));
}

#[test]
fn a_gate_fails_with_its_exit_code() {
    let slower = MEASURED.with_file_name("slower");
    fs::create_dir_all(&slower).expect("a folder");
    for file in ["environment.json", "summary.json"] {
        fs::copy(MEASURED.join(file), slower.join(file)).expect("copied");
    }
    let records = fs::read_to_string(MEASURED.join("records.jsonl")).expect("records");
    let slow = records.lines().map(|line| {
        let mut record: serde_json::Value = serde_json::from_str(line).expect("a record");
        let makespan = record["makespan_s"].as_f64().expect("a number");
        record["makespan_s"] = (10.0 + makespan).into();
        format!("{record}\n")
    });
    fs::write(slower.join("records.jsonl"), slow.collect::<String>()).expect("written");
    let gate = MEASURED.with_file_name("strict.toml");
    fs::write(&gate, "effect = 0.05\n").expect("written");
    let slower = slower.display().to_string();
    let output = compare(&[&slower, "--gate", gate.to_str().expect("text")]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("12 results judged, 12 failures"), "{said}");
}

#[test]
fn broken_input_is_refused_in_a_sentence() {
    let refused = |words: &[&str], sentence: &str| {
        let output = mpiswarm(&["compare"]).args(words).output().expect("it starts");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(2) && said.contains(sentence), "{words:?}: {said}");
    };
    refused(&["nowhere"], "nowhere: No such file");
    refused(&[], "required");
    let measured = MEASURED.display().to_string();
    refused(&[&measured, "--contender", "mutex"], "has no contender \"mutex\"");
    refused(&[&measured, "--figure", "speed"], "`speed` is not one of makespan,");
    let empty = tempfile::tempdir().expect("a folder");
    refused(&["--history", empty.path().to_str().expect("text")], "no folder of records");
}

#[test]
fn a_page_opens_in_a_browser_at_any_width() {
    let Some(browser) = browser::find() else {
        println!("skipped: there is no chromium, by none of its names");
        return;
    };
    let page = MEASURED.with_file_name("report.html");
    let path = page.to_str().expect("text");
    stdout(&compare(&["--contender", "lockfree", "--format", "html", "--out", path]));
    browser::check(browser, &page);
    let history = MEASURED.with_file_name("history.html");
    let path = history.to_str().expect("text");
    stdout(&compare(&["--history", "--format", "html", "--out", path]));
    browser::check(browser, &history);
}
