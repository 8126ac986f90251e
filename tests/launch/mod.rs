//! Ranks of a program, by whichever MPI the tests run with: `scripts/mpi.sh` knows them apart.

use std::ffi::OsStr;
use std::path::Path;
use std::process::Command;

/// What starts `nodes` ranks of a program; its arguments are still to come.
pub(crate) fn ranks(nodes: u32, program: impl AsRef<OsStr>) -> Command {
    let mut command = mpirun();
    command.args(["-n", &nodes.to_string()]).arg(program);
    command
}

/// Whether ranks can be started here; says so where not.
#[expect(clippy::print_stdout, reason = "a test that is skipped says why")]
pub(crate) fn can_start_ranks() -> bool {
    let can = mpirun().arg("--version").output().is_ok_and(|output| output.status.success());
    if !can {
        println!("skipped: no mpirun here");
    }
    can
}

fn mpirun() -> Command {
    let mut command = Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/mpi.sh"));
    command.args(["any", "mpirun"]);
    command
}
