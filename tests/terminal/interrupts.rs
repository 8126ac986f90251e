//! Ctrl-C and SIGTERM during a measurement.

use std::fs;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use super::PROGRAM;

/// Real runs of few bytes, more than anybody waits for.
const LONG: &str = r#"purpose = "a test"
budget_s = 3600
repetitions = { least = 10000, most = 10000 }

[[workloads]]
name = "tiny"
shape = "all-to-all"
peers = 2
files = 2
segments = 2
segment_bytes = 100

[[contenders]]
engine = "lockfree"

[[contenders]]
engine = "mutex"
"#;

/// The program, ended with its test.
struct Measuring(Child);

impl Drop for Measuring {
    fn drop(&mut self) {
        // It may have ended.
        let _ended = self.0.kill();
        let _waited = self.0.wait();
    }
}

fn lines(folder: &Path) -> usize {
    fs::read_to_string(folder.join("it's here/records.jsonl"))
        .map_or(0, |text| text.lines().count())
}

/// Runs a line of a shell until it has recorded more runs; signals it; returns what it said, and its end.
fn interrupted(folder: &Path, line: &str, signal: &str) -> (String, Option<i32>) {
    let before = lines(folder);
    let mut command = Command::new("bash");
    command.args(["-c", &format!("exec {line}")]).current_dir(folder);
    command.stdout(Stdio::null()).stderr(Stdio::piped());
    let mut running = Measuring(command.spawn().expect("bash starts"));
    while lines(folder) < before + 3 {
        assert!(running.0.try_wait().expect("a child").is_none(), "{line}: it ended");
        sleep(Duration::from_millis(20));
    }
    let id = running.0.id().to_string();
    let sent = Command::new("kill").args([&format!("-{signal}"), &id]).status();
    assert!(sent.expect("every Unix has it").success());
    let mut said = String::new();
    let stderr = running.0.stderr.as_mut().expect("it is a pipe");
    std::io::Read::read_to_string(stderr, &mut said).expect("text");
    let ended = running.0.wait().expect("it was started");
    (said, ended.signal())
}

#[test]
fn an_interrupted_bench_says_what_to_type_and_keeps_what_it_has() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    fs::write(folder.join("plan.toml"), LONG).expect("written");
    let mut line = format!("{PROGRAM} bench plan.toml --out \"it's here\"");
    for (signal, number) in [("INT", 2), ("TERM", 15), ("INT", 2)] {
        let (said, ended) = interrupted(folder, &line, signal);
        assert_eq!(ended, Some(number), "{said}");
        let beginning = format!(
            "mpiswarm: interrupted (SIG{signal}): what was measured is kept; go on with --resume: "
        );
        let typed = said.lines().find_map(|line| line.strip_prefix(&beginning));
        line = typed.unwrap_or_else(|| panic!("{beginning} is not in {said}")).to_owned();
        assert_eq!(line.matches("--resume").count(), 1, "{line}");
        assert_eq!(line.matches("--out").count(), 1, "{line}");
    }
    assert!(lines(folder) >= 9);
}
