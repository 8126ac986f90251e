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
    assert!(output.status.success(), "{output:?}");
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

/// A measurement of eight launches that all gave the records of the one that was made, each makespan
/// later by so many seconds.
fn launches(name: &str, later: f64) -> String {
    let root = MEASURED.with_file_name(name);
    let records = fs::read_to_string(MEASURED.join("records.jsonl")).expect("records");
    let slow = records.lines().map(|line| {
        let mut record: serde_json::Value = serde_json::from_str(line).expect("a record");
        let makespan = record["makespan_s"].as_f64().expect("a number");
        record["makespan_s"] = (later + makespan).into();
        format!("{record}\n")
    });
    let slow = slow.collect::<String>();
    for number in 1..=8 {
        let launch = root.join(format!("threads/launch-{number}"));
        fs::create_dir_all(&launch).expect("a folder");
        for file in ["environment.json", "summary.json", "histograms.hlog"] {
            fs::copy(MEASURED.join(file), launch.join(file)).expect("copied");
        }
        fs::write(launch.join("records.jsonl"), &slow).expect("written");
    }
    root.display().to_string()
}

fn gated(words: &[&str], effect: &str) -> (Option<i32>, String, String) {
    let gate = MEASURED.with_file_name(format!("{effect}.toml"));
    fs::write(&gate, format!("effect = {effect}\n")).expect("written");
    let gate = gate.to_str().expect("text");
    let mut command = mpiswarm(&["compare"]);
    let output = command.args(words).args(["--gate", gate]).output().expect("it starts");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

#[test]
fn launches_beside_themselves_are_the_same_and_pass_a_gate() {
    let folder = launches("same", 0.0);
    let (code, text, said) = gated(&[&folder, &folder], "0.01");
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(text.matches("  ~\n").count(), 12, "{text}");
    assert!(said.contains("12 results judged, 0 failures"), "{said}");
    assert!(said.contains("8 launches show a loss of"), "{said}");
}

#[test]
fn a_gate_fails_with_its_exit_code() {
    let (before, after) = (launches("before", 0.0), launches("after", 10.0));
    let (code, _, said) = gated(&[&before, &after], "0.05");
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("12 results judged, 12 failures"), "{said}");
    // One launch on each side shows nothing, so that it passes nothing.
    let one = MEASURED.display().to_string();
    let (code, text, said) = gated(&[&one, &one], "0.5");
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("no result could be judged"), "{said}");
    assert!(text.contains("1 launch: no verdict beyond them"), "{text}");
    assert!(text.contains("! the gate fails: no result could be judged: "), "{text}");
    for format in ["md", "html", "json"] {
        let (_, text, _) = gated(&[&one, &one, "--format", format], "0.5");
        assert!(text.contains("the gate fails: no result could be judged: "), "{format}: {text}");
    }
}

#[test]
fn a_folder_of_launches_is_one_measurement_everywhere() {
    let folder = launches("measurement", 0.0);
    let words = ["compare", &folder, "--contender", "lockfree", "--against", "lockfree window=1"];
    let text = stdout(&mpiswarm(&words).output().expect("it starts"));
    assert!(text.contains("Makespan: lockfree → lockfree window=1"), "{text}");
    assert!(!text.contains("this launch only") && !text.contains("no verdict beyond"), "{text}");
    let words = ["compare", &folder, &folder, "--format", "html"];
    let page = stdout(&mpiswarm(&words).output().expect("it starts"));
    assert!(page.contains("960 runs of 8 launches"), "{}", &page[..2000]);
    let words = ["compare", &folder, &folder, "--control", "lockfree"];
    let text = stdout(&mpiswarm(&words).output().expect("it starts"));
    assert!(text.contains("the control lockfree moved by 1.000 ×"), "{text}");
    assert_eq!(text.matches("  control\n").count(), 4, "{text}");
}

#[test]
fn a_history_leaves_out_what_is_damaged() {
    let root = tempfile::tempdir().expect("a folder");
    let [whole, damaged] = ["whole", "damaged"].map(|name| root.path().join(name));
    for folder in [&whole, &damaged] {
        fs::create_dir(folder).expect("a folder");
        for file in ["environment.json", "records.jsonl"] {
            fs::copy(MEASURED.join(file), folder.join(file)).expect("copied");
        }
    }
    fs::write(damaged.join("environment.json"), "{").expect("written");
    let root = root.path().to_str().expect("text");
    let output = mpiswarm(&["compare", "--history", root]).output().expect("it starts");
    assert!(stdout(&output).contains("Makespan on "), "{output:?}");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(said.matches("left out: ").count(), 1, "{said}");
    assert!(said.contains("damaged/environment.json:1: not a file of a measurement"), "{said}");
    fs::remove_file(whole.join("environment.json")).expect("it is there");
    let output = mpiswarm(&["compare", "--history", root]).output().expect("it starts");
    assert_eq!(output.status.code(), Some(2), "{output:?}");
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

/// A file of so many bytes, which take no room.
fn sparse(path: &Path, bytes: u64) {
    let file = fs::File::create(path).expect("a file");
    file.set_len(bytes).expect("a length");
}

#[test]
fn files_that_are_too_long_or_have_no_end_are_refused_by_name() {
    let dir = tempfile::tempdir().expect("a folder");
    let said = |words: &[&str]| {
        let output = mpiswarm(&[&["compare"], words].concat()).output().expect("it starts");
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        let text = String::from_utf8(output.stderr).expect("text");
        assert_eq!(text.lines().count(), 1, "{text}");
        text
    };
    for (name, most) in [
        ("records.jsonl", 1_u64 << 30),
        ("tracker.jsonl", 1 << 30),
        ("histograms.hlog", 1 << 30),
        ("environment.json", 16 << 20),
        ("summary.json", 16 << 20),
    ] {
        let copy = dir.path().join(name.replace('.', "-"));
        fs::create_dir(&copy).expect("a folder");
        for entry in fs::read_dir(&*MEASURED).expect("it is there") {
            let path = entry.expect("it is listed").path();
            fs::copy(&path, copy.join(path.file_name().expect("a name"))).expect("copied");
        }
        let (copied, file) = (copy.to_str().expect("a plain path"), copy.join(name));
        sparse(&file, most + 1);
        let expected =
            format!("mpiswarm: {}: longer than {most} bytes: use a shorter one\n", file.display());
        assert_eq!(said(&[copied]), expected);
        if name != "records.jsonl" {
            fs::remove_file(&file).expect("it is there");
            std::os::unix::fs::symlink("/dev/zero", &file).expect("a link");
            let text = said(&[copied]);
            assert!(text.contains(&format!("{name}: not a file: ")), "{text}");
        }
    }
    let measured = MEASURED.to_str().expect("a plain path");
    let gate = dir.path().join("gate.toml");
    sparse(&gate, (1 << 20) + 1);
    let text = said(&[measured, "--gate", gate.to_str().expect("a plain path")]);
    assert!(text.contains("gate.toml: longer than 1048576 bytes"), "{text}");
    let osu = dir.path().join("osu.txt");
    sparse(&osu, (64 << 20) + 1);
    let text = said(&[osu.to_str().expect("a plain path")]);
    assert!(text.contains("osu.txt: longer than 67108864 bytes"), "{text}");
    let latest = dir.path().join("criterion/new");
    fs::create_dir_all(&latest).expect("folders");
    for name in ["benchmark.json", "sample.json"] {
        fs::write(latest.join("benchmark.json"), r#"{"group_id": "g"}"#).expect("written");
        sparse(&latest.join("sample.json"), 1);
        sparse(&latest.join(name), (64 << 20) + 1);
        let text = said(&[latest.parent().and_then(Path::to_str).expect("a plain path")]);
        assert!(text.contains(&format!("{name}: longer than 67108864 bytes")), "{text}");
    }
    for device in [&["/dev/zero"][..], &[measured, "--gate", "/dev/zero"]] {
        assert!(said(device).contains("zero: not a file: "));
    }
}
