//! A Slurm of this test's own, which ends with it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::thread;
use std::time::Duration;

/// Exit code of the script where the machine can't have a Slurm.
pub(crate) const IMPOSSIBLE: i32 = 3;
/// How long to wait before looking again.
const PAUSE: Duration = Duration::from_millis(100);

/// Four nodes that take jobs; taken down when dropped.
pub(crate) struct Slurm {
    folder: PathBuf,
    is_up: bool,
    _parent: tempfile::TempDir,
}

impl Slurm {
    /// Starts it; says so where that is not possible.
    #[expect(clippy::print_stdout, reason = "a test that is skipped says why")]
    pub(crate) fn up() -> Option<Self> {
        let parent = tempfile::tempdir().expect("a folder");
        let mut slurm = Self { folder: parent.path().join("slurm"), is_up: true, _parent: parent };
        // A test that is killed takes nothing down.
        let output = slurm.script(&["up", &std::process::id().to_string()]);
        if output.status.code() == Some(IMPOSSIBLE) {
            println!("skipped: {}", String::from_utf8_lossy(&output.stderr));
            slurm.is_up = false;
            return None;
        }
        assert!(output.status.success(), "{output:?}");
        Some(slurm)
    }

    pub(crate) fn down(&mut self) {
        self.is_up = false;
        let output = self.script(&["down"]);
        assert!(output.status.success(), "{output:?}");
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The script that starts and ends it.
    pub(crate) fn script(&self, args: &[&str]) -> Output {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/cluster/slurm-local.sh");
        let mut command = Command::new(script);
        command.args(args).env("MPISWARM_SLURM_FOLDER", &self.folder);
        command.output().expect("the script starts")
    }

    /// A command of Slurm's that speaks to this one.
    pub(crate) fn command(&self, name: &str) -> Command {
        let mut command = Command::new(name);
        command.env("SLURM_CONF", self.folder.join("slurm.conf"));
        command
    }

    /// Waits until no job is left.
    pub(crate) fn wait(&self, limit: Duration) {
        for _ in 0..limit.as_millis() / PAUSE.as_millis() {
            if text(self.command("squeue").arg("--noheader").output()).is_empty() {
                return;
            }
            thread::sleep(PAUSE);
        }
        let left = text(self.command("squeue").output());
        panic!("jobs don't end:\n{left}");
    }
}

impl Drop for Slurm {
    fn drop(&mut self) {
        if self.is_up {
            self.down();
        }
    }
}

/// What a command that succeeded printed.
pub(crate) fn text(output: io::Result<Output>) -> String {
    let output = output.expect("the command starts");
    assert!(output.status.success(), "{output:?}");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

pub(crate) fn utf8(path: &Path) -> &str {
    path.to_str().expect("the paths of these tests are text")
}

/// The command lines of processes that have to do with this folder.
pub(crate) fn processes_of(folder: &Path) -> Vec<String> {
    let folder = utf8(folder);
    let processes = fs::read_dir("/proc").expect("this is Linux").flatten();
    let read = |path: &Path, file| {
        String::from_utf8_lossy(&fs::read(path.join(file)).unwrap_or_default()).into_owned()
    };
    let text = processes.map(|entry| {
        let path = entry.path();
        (read(&path, "cmdline"), read(&path, "environ"))
    });
    let belong =
        text.filter(|(line, environment)| line.contains(folder) || environment.contains(folder));
    belong.map(|(line, _)| line.replace('\0', " ")).collect()
}
