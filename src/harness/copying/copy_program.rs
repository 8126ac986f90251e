//! What people copy a tree with instead of a stage: programs of the system.

use std::env;
use std::ffi::OsStr;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use rustix::fs::{Access, access};

use super::source_tree::TREE;
use crate::config::choice;
use crate::escape;

// Bytes of what programs say that are kept.
// The first lines name the cause.
const SAID_BYTES_MAX: u64 = 2048;

choice! {
    /// A program that copies a tree.
    pub(crate) enum CopyProgram {
        /// `cp -a`.
        Cp = "cp",
        /// `rsync -a`.
        Rsync = "rsync",
        /// One `tar` that packs, and one that unpacks, with a pipe between.
        Tar = "tar",
    }
}

/// Why a program did not copy.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProgramError {
    #[error("{program} can't be run: {cause}")]
    Io { program: CopyProgram, cause: io::Error },
    #[error("{program}: {status}: {said}")]
    Failed { program: CopyProgram, status: ExitStatus, said: String },
}

impl CopyProgram {
    /// Whether it can be found.
    pub(crate) fn is_installed(self) -> bool {
        let is_program = |path: PathBuf| path.is_file() && access(&path, Access::EXEC_OK).is_ok();
        let found = |path: &OsStr| {
            env::split_paths(path).any(|folder| is_program(folder.join(self.name())))
        };
        env::var_os("PATH").is_some_and(|path| found(&path))
    }

    /// Whether names of one file are names of one file in the copy too.
    pub(super) fn keeps_hard_links(self) -> bool {
        match self {
            Self::Cp | Self::Tar => true,
            // That is -H, which takes it longer, and which few give.
            Self::Rsync => false,
        }
    }

    /// Copies the tree in the folder `from` into the folder `to`.
    ///
    /// # Errors
    ///
    /// It can't be run, or says that it failed.
    pub(super) fn copy(self, from: &Path, to: &Path) -> Result<(), ProgramError> {
        let failed = |cause| ProgramError::Io { program: self, cause };
        let (ended, said) = run(self.commands(from, to)).map_err(failed)?;
        // A packing tar ends by a signal where the unpacking one has failed, which says why.
        match ended.into_iter().rfind(|status| !status.success()) {
            Some(status) => Err(ProgramError::Failed { program: self, status, said }),
            None => Ok(()),
        }
    }

    /// Those that run at once; each reads what the one before it writes.
    fn commands(self, from: &Path, to: &Path) -> Vec<Command> {
        let mut first = Command::new(self.name());
        match self {
            // A copy that shares its blocks with the source moves no byte.
            Self::Cp => first.args(["-a", "--reflink=never", "--"]).arg(from.join(TREE)).arg(to),
            Self::Rsync => first.args(["-a", "--"]).arg(from.join(TREE)).arg(to),
            // Only this format has times to the nanosecond.
            Self::Tar => first.args(["--format=posix", "-C"]).arg(from).args(["-cf", "-", TREE]),
        };
        let mut commands = vec![first];
        if self == Self::Tar {
            let mut unpack = Command::new(self.name());
            unpack.arg("-C").arg(to).args(["-xpf", "-"]);
            commands.push(unpack);
        }
        commands
    }
}

/// Runs commands at once, each with what the one before it writes. Returns how each ended, and the beginning of what
/// they said.
fn run(mut commands: Vec<Command>) -> io::Result<(Vec<ExitStatus>, String)> {
    let (mut hears, says) = io::pipe()?;
    let last = commands.len() - 1;
    let mut input = Stdio::null();
    let mut children = Vec::new();
    for (place, command) in commands.iter_mut().enumerate() {
        let (output, next) = if place == last {
            (Stdio::null(), Stdio::null())
        } else {
            let (reads, writes) = io::pipe()?;
            (writes.into(), reads.into())
        };
        command.env("LC_ALL", "C").stdin(input).stdout(output).stderr(says.try_clone()?);
        input = next;
        children.push(command.spawn());
    }
    // A pipe ends when nobody holds its other end: a program whose neighbour did not start ends, too.
    drop((commands, input, says));
    let mut said = Vec::new();
    (&mut hears).take(SAID_BYTES_MAX).read_to_end(&mut said)?;
    io::copy(&mut hears, &mut io::sink())?;
    let wait = |child: io::Result<Child>| child.and_then(|mut child| child.wait());
    // All are waited for, whatever became of the first.
    let ended: Vec<_> = children.into_iter().map(wait).collect();
    let said = String::from_utf8_lossy(&said).trim().replace('\n', "; ");
    Ok((ended.into_iter().collect::<Result<_, _>>()?, escape::terminal(&said)))
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn commands_run_at_once_and_what_they_say_is_kept() {
        let much = "head -c 300000 /dev/zero | tr '\\0' x >&2; exit 3";
        let (ended, said) = run(vec![shell(much)]).expect("it runs");
        assert_eq!(ended[0].code(), Some(3));
        assert_eq!(said.len() as u64, SAID_BYTES_MAX);
        let piped = vec![shell("echo one; echo two >&2"), shell("read -r got; echo \"$got\" >&2")];
        let (ended, said) = run(piped).expect("they run");
        assert!(ended.iter().all(ExitStatus::success));
        assert!(["two; one", "one; two"].contains(&&*said), "{said}");
    }

    #[test]
    fn a_command_that_is_not_there_ends_the_one_before_it() {
        let missing = Command::new("no-such-program-anywhere");
        let endless = shell("while echo more; do :; done 2>/dev/null");
        let error = run(vec![endless, missing]).expect_err("the second is missing");
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn a_program_that_fails_says_why() {
        let dir = tempfile::tempdir().expect("a folder");
        let error = CopyProgram::Cp.copy(&dir.path().join("nowhere"), dir.path());
        let error = error.expect_err("there is no tree").to_string();
        assert!(error.starts_with("cp: exit status: 1: cp: cannot stat"), "{error}");
        assert!(CopyProgram::Cp.is_installed());
    }
}
