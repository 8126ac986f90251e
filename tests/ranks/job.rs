//! A real job under `mpirun`, which ends in time or is ended.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::launch;

pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_mpiswarm");

/// Exit code of `timeout` where a job had to be ended.
const ENDLESS: i32 = 124;

/// A job that runs.
pub(crate) struct Job {
    child: Child,
    /// What the job writes, which no pipe could hold back.
    folder: tempfile::TempDir,
}

/// A job that has ended by itself.
#[derive(Debug)]
pub(crate) struct JobResult {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// Whether jobs can be started here; says so where not.
#[expect(clippy::print_stdout, reason = "a test that is skipped says why")]
pub(crate) fn can_start() -> bool {
    if Command::new("timeout").arg("--version").output().is_err() {
        println!("skipped: no timeout here");
        return false;
    }
    launch::can_start_ranks()
}

impl Job {
    /// Starts `nodes` ranks of the program, to be ended after `limit`.
    pub(crate) fn start(nodes: u32, args: &[&str], limit: Duration) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let file = |name| fs::File::create(folder.path().join(name)).expect("a file");
        let ranks = launch::ranks(nodes, PROGRAM);
        let child = Command::new("timeout")
            .arg(format!("--kill-after={}", limit.as_secs()))
            .arg(limit.as_secs().to_string())
            .arg(ranks.get_program())
            .args(ranks.get_args())
            .args(args)
            .stdin(Stdio::null())
            .stdout(file("stdout"))
            .stderr(file("stderr"))
            .spawn()
            .expect("timeout starts");
        Self { child, folder }
    }

    /// What it has said on stderr so far.
    pub(crate) fn said(&self) -> String {
        fs::read_to_string(self.folder.path().join("stderr")).expect("it was made, and is text")
    }

    /// Waits for its end.
    pub(crate) fn end(mut self) -> JobResult {
        let status = self.child.wait().expect("timeout ends");
        let read = |name| fs::read(self.folder.path().join(name)).expect("it was made");
        let text = |name| String::from_utf8_lossy(&read(name)).into_owned();
        let ended =
            JobResult { code: status.code(), stdout: text("stdout"), stderr: text("stderr") };
        assert_ne!(ended.code, Some(ENDLESS), "the job did not end: {ended:?}");
        ended
    }
}

impl JobResult {
    /// What the program itself said on stderr; launchers add words of their own.
    pub(crate) fn errors(&self) -> Vec<&str> {
        self.stderr.lines().filter_map(|line| line.strip_prefix("mpiswarm: ")).collect()
    }

    pub(crate) fn summary(&self) -> serde_json::Value {
        assert_eq!(self.stdout.lines().count(), 1, "one object and nothing else: {self:?}");
        serde_json::from_str(&self.stdout).expect("the summary is JSON")
    }
}

/// Runs a job to its end, which comes within minutes, however busy the machine.
pub(crate) fn run(nodes: u32, args: &[&str]) -> JobResult {
    Job::start(nodes, args, Duration::from_secs(180)).end()
}

pub(crate) fn inputs(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("inputs").join(name)
}

pub(crate) fn text(path: &Path) -> &str {
    path.to_str().expect("the paths of these tests are text")
}

/// What an owner has must be what a peer got: for every file that was wanted.
pub(crate) fn check_outputs(inputs: &Path, out: &Path) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/check-outputs.sh");
    let checked = Command::new("bash").arg(script).arg(inputs).arg(out).output();
    let checked = checked.expect("bash starts");
    assert!(checked.status.success(), "{checked:?}");
}

/// Names of the files in a folder, sorted.
pub(crate) fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).expect("the folder can be listed");
    let name = |entry: std::io::Result<fs::DirEntry>| {
        entry.expect("the folder can be listed").file_name().to_string_lossy().into_owned()
    };
    let mut names: Vec<_> = entries.map(name).collect();
    names.sort_unstable();
    names
}
