//! The job scripts under what they are written for: a real Slurm of four nodes on this machine, which
//! `scripts/cluster/slurm-local.sh` starts for this test alone; and, for batch systems that can't be
//! had here, the environment that they give to a job.
#![cfg(all(feature = "mpi", target_os = "linux"))]

#[path = "cluster/slurm.rs"]
mod slurm;
#[path = "cluster/stage.rs"]
mod stage;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use slurm::Slurm;

const PROGRAM: &str = env!("CARGO_BIN_EXE_mpiswarm");

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn script(name: &str) -> PathBuf {
    root().join("scripts/cluster").join(name)
}

/// What a job left in its record folder.
#[derive(Debug)]
struct Record {
    dir: PathBuf,
    exit_code: String,
    job: String,
    log: String,
}

impl Record {
    fn read(dir: &Path) -> Self {
        let text = |name| fs::read_to_string(dir.join(name)).unwrap_or_default();
        let exit_code = text("exit-code").trim().to_owned();
        Self { dir: dir.to_owned(), exit_code, job: text("job.txt"), log: text("log.txt") }
    }

    /// The records below a folder, in the order of their names.
    fn all(results: &Path) -> Vec<Self> {
        let entries = fs::read_dir(results).into_iter().flatten();
        let mut dirs: Vec<_> =
            entries.map(|entry| entry.expect("it can be listed").path()).collect();
        dirs.sort();
        dirs.iter().filter(|dir| dir.join("job.txt").exists()).map(|dir| Self::read(dir)).collect()
    }

    fn noted(&self, key: &str) -> &str {
        let line = self.job.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(": "));
        line.unwrap_or_else(|| panic!("{key} is not noted: {self:?}"))
    }

    /// That this is a good run of `inputs/small` over MPI, checked by the script of its own.
    fn assert_good_run(&self) {
        assert_eq!(self.exit_code, "0", "{self:?}");
        assert!(self.log.contains("checked: 11 files identical"), "{self:?}");
        let summary = fs::read_to_string(self.dir.join("summary.json")).expect("it was written");
        let summary: serde_json::Value = serde_json::from_str(&summary).expect("it is JSON");
        assert_eq!(summary["verified"], true);
        assert_eq!(summary["transport"], "mpi");
        assert_eq!(self.noted("ranks"), "5");
        assert_eq!(self.noted("program"), PROGRAM);
    }
}

#[test]
fn slurm_runs_jobs_and_their_records_are_whole() {
    let Some(slurm) = Slurm::up() else {
        return;
    };
    let results = tempfile::tempdir().expect("a folder");
    let submit = |launcher: &str, args: &[&str]| {
        let mut sbatch = slurm.command("sbatch");
        sbatch.args(["--parsable", "--nodes=4", "--ntasks=5", "--chdir"]).arg(root());
        sbatch.arg("--output").arg(results.path().join("slurm-%j.log"));
        sbatch.env("MPISWARM", PROGRAM).env("MPISWARM_RESULTS", results.path());
        sbatch.env("MPISWARM_LAUNCHER", launcher).env("MPISWARM_ROOT", root());
        slurm::text(sbatch.arg(script("run.sbatch")).args(args).output())
    };
    let jobs = [
        submit("srun", &["inputs/small", "--segment-bytes", "1000"]),
        submit("mpirun", &["inputs/small", "--segment-bytes", "1000"]),
        submit("srun", &["inputs/bad/owned-twice"]),
    ];
    slurm.wait(Duration::from_secs(90));
    let records = Record::all(results.path());
    assert_eq!(records.len(), 3, "a record a job: {records:?}");
    let of = |job: &str| {
        let found = records.iter().find(|record| record.noted("job") == job);
        found.unwrap_or_else(|| panic!("job {job} has no record: {records:?}"))
    };
    for (job, launcher) in [(&jobs[0], "srun --mpi=pmix"), (&jobs[1], "mpirun -n 5")] {
        of(job).assert_good_run();
        assert_eq!(of(job).noted("nodes"), "n[1-4]");
        assert!(of(job).noted("command").starts_with(launcher), "{:?}", of(job));
    }
    let refused = of(&jobs[2]);
    assert_eq!(refused.exit_code, "2", "{refused:?}");
    assert!(refused.log.contains("in2.txt: no such file"), "{refused:?}");
}

/// A plan that takes no time to speak of.
const PLAN: &str = r#"
purpose = "whether jobs run at all"
budget_s = 20
warm_up = 0
repetitions = { least = 2, most = 2 }
workloads = [{ name = "one-owner", shape = "broadcast", segments = 4,
segment_bytes = 512
}]
contenders = [{ engine = "lockfree" }]
"#;

/// The launches of a plan that a job left, and how many lines of records each has.
fn launches_in(record: &Path, segment_bytes: u32) -> Vec<(String, usize)> {
    let (bench, mut found) = (record.join("bench"), Vec::new());
    for below in ["", "a", "b"] {
        for number in 1..10 {
            let name = Path::new(below).join(format!("launch-{number}"));
            let text = fs::read_to_string(bench.join(&name).join("records.jsonl"));
            let size = format!("\"segment_bytes\":{segment_bytes},");
            let count = |text: String| text.lines().filter(|line| line.contains(&size)).count();
            found.extend(text.map(|text| (slurm::utf8(&name).to_owned(), count(text))));
        }
    }
    found
}

#[test]
fn a_study_is_submitted_waited_for_and_not_repeated() {
    let Some(slurm) = Slurm::up() else {
        return;
    };
    let folder = tempfile::tempdir().expect("a folder");
    let (plan, into) = (folder.path().join("plan.toml"), folder.path().join("study"));
    fs::write(&plan, PLAN).expect("a small file");
    let sweep = |ranks: &str| {
        let mut sweep = slurm.command(slurm::utf8(&script("sweep.sh")));
        sweep.args(["--ranks", ranks, "--segment-bytes", "512,1024", "--poll", "1", "--together"]);
        sweep.arg("--plan").arg(&plan).arg("--into").arg(&into).args(["--", "--nodes=2"]);
        slurm::text(sweep.env("MPISWARM", PROGRAM).env("MPISWARM_LAUNCHES", "2").output())
    };
    let first = sweep("3");
    assert!(first.contains("2 of 2 have good records"), "{first}");
    let second = sweep("3,4");
    assert_eq!(second.matches(": has its record").count(), 2, "{second}");
    assert!(second.contains("4 of 4 have good records"), "{second}");
    for (ranks, bytes) in [(3, 512), (3, 1024), (4, 512), (4, 1024)] {
        let dir = into.join(format!("ranks-{ranks}-segments-{bytes}"));
        let record = Record::read(&dir);
        assert_eq!((record.exit_code.as_str(), record.noted("ranks")), ("0", &*ranks.to_string()));
        let launches = [("launch-1".to_owned(), 2), ("launch-2".to_owned(), 2)];
        assert_eq!(launches_in(&dir, bytes), launches, "{record:?}");
    }
}

#[test]
fn what_down_leaves_is_nothing() {
    let Some(mut slurm) = Slurm::up() else {
        return;
    };
    let folder = slurm.folder().to_owned();
    let again = slurm.script(&["up"]);
    assert_eq!(again.status.code(), Some(2), "one is enough: {again:?}");
    let slept =
        slurm.command("sbatch").args(["--wrap", "sleep 600", "--output=/dev/null"]).output();
    slurm::text(slept);
    slurm.down();
    assert!(!folder.exists());
    let left = slurm::processes_of(&folder);
    assert_eq!(left, [""; 0], "all that belonged to it has ended");
}

/// Runs a job script as a batch system does, with what it would have in its environment.
fn as_a_job(name: &str, results: &Path, variables: &[(&str, &str)], args: &[&str]) -> Output {
    let mut job = Command::new("bash");
    job.arg(script(name)).args(args).current_dir(root());
    job.env("MPISWARM", PROGRAM).env("MPISWARM_RESULTS", results).env("MPISWARM_ROOT", root());
    job.envs(variables.iter().copied()).output().expect("bash starts")
}

#[test]
fn a_job_of_pbs_takes_its_nodes_from_their_list() {
    if !has_mpirun() {
        return;
    }
    let results = tempfile::tempdir().expect("a folder");
    let list = results.path().join("nodes");
    fs::write(&list, "localhost\n".repeat(5)).expect("a small file");
    let variables = [
        ("PBS_JOBID", "7.server"),
        ("PBS_O_WORKDIR", slurm::utf8(root())),
        ("PBS_NODEFILE", slurm::utf8(&list)),
        ("MPISWARM_ARGUMENTS", "--segment-bytes 1000"),
    ];
    for _ in 0..2 {
        let output = as_a_job("run.pbs", results.path(), &variables, &[]);
        assert!(output.status.success(), "{output:?}");
        // Names of folders tell seconds apart.
        std::thread::sleep(Duration::from_millis(1100));
    }
    let records = Record::all(results.path());
    assert_eq!(records.len(), 2, "the same job again has a record of its own: {records:?}");
    for record in &records {
        record.assert_good_run();
        assert_eq!((record.noted("job"), record.noted("nodes")), ("7.server", "localhost"));
    }
}

#[test]
fn a_job_of_flux_asks_flux_for_its_ranks() {
    if !has_mpirun() {
        return;
    }
    let results = tempfile::tempdir().expect("a folder");
    // In place of Flux: what `flux run -n N` promises, by the mpirun that is here.
    let flux = results.path().join("flux");
    let stand_in = format!(
        "#!/bin/sh\n[ \"$1\" = run ] || exit 1\nshift\nexec {} any mpirun \"$@\"\n",
        root().join("scripts/mpi.sh").display()
    );
    fs::write(&flux, stand_in).expect("a small file");
    assert!(Command::new("chmod").arg("+x").arg(&flux).status().is_ok_and(|code| code.success()));
    let path =
        format!("{}:{}", results.path().display(), std::env::var("PATH").unwrap_or_default());
    let variables = [("FLUX_URI", "local:///none"), ("PATH", &path)];
    let args = ["inputs/small", "--segment-bytes", "1000"];
    let output = as_a_job("run.flux", results.path(), &variables, &args);
    assert!(output.status.success(), "{output:?}");
    let records = Record::all(results.path());
    records[0].assert_good_run();
    assert!(records[0].noted("command").starts_with("flux run -n 5 "), "{records:?}");
}

#[test]
fn a_plan_is_launched_several_times_and_beside_another_build_in_turn() {
    if !has_mpirun() {
        return;
    }
    let results = tempfile::tempdir().expect("a folder");
    let (plan, nodes) = (results.path().join("plan.toml"), results.path().join("nodes"));
    fs::write(&plan, PLAN).expect("a small file");
    fs::write(&nodes, "localhost\n".repeat(3)).expect("a small file");
    let variables = [
        ("PBS_JOBID", "7.server"),
        ("PBS_O_WORKDIR", slurm::utf8(root())),
        ("PBS_NODEFILE", slurm::utf8(&nodes)),
        ("MPISWARM_PLAN", slurm::utf8(&plan)),
        ("MPISWARM_AGAINST", PROGRAM),
        ("MPISWARM_LAUNCHES", "2"),
    ];
    let output = as_a_job("run.pbs", results.path(), &variables, &[]);
    assert!(output.status.success(), "{output:?}");
    let record = &Record::all(results.path())[0];
    let launches: Vec<_> = ["a/launch-1", "a/launch-2", "b/launch-1", "b/launch-2"]
        .map(|name| (name.to_owned(), 2))
        .into();
    assert_eq!(launches_in(&record.dir, 512), launches, "{record:?}");
    let begun = record.log.lines().filter(|line| line.starts_with("records in "));
    let places = begun.filter_map(|line| line.rsplit_once("/bench/"));
    let order: Vec<_> = places.map(|(_, name)| name).collect();
    assert_eq!(order, ["a/launch-1", "b/launch-1", "b/launch-2", "a/launch-2"], "{record:?}");
}

#[test]
fn hosts_without_a_batch_system_take_modules_and_report_failures() {
    if !has_mpirun() {
        return;
    }
    let results = tempfile::tempdir().expect("a folder");
    let modules = ("BASH_FUNC_module%%", "() { echo \"module $*\"; }");
    let variables = [("MPISWARM_MODULES", "gcc/13 openmpi/5"), modules];
    let args = ["-H", "localhost:5", "run", "inputs/small", "--segment-bytes", "1000"];
    let output = as_a_job("mpirun.sh", results.path(), &variables, &args);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.starts_with("module load gcc/13\nmodule load openmpi/5\n"), "{output:?}");
    let records = Record::all(results.path());
    records[0].assert_good_run();
    assert_eq!(records[0].noted("modules"), "gcc/13 openmpi/5");
    let record = ("MPISWARM_RECORD", slurm::utf8(&records[0].dir));
    let again = as_a_job("mpirun.sh", results.path(), &[record], &args);
    assert_eq!(again.status.code(), Some(2), "a record is written once: {again:?}");
    let args = ["-n", "3", "run", "inputs/small"];
    let failed = as_a_job("mpirun.sh", results.path(), &[], &args);
    assert_eq!(failed.status.code(), Some(2), "{failed:?}");
    let records = Record::all(results.path());
    assert_eq!(records.iter().filter(|record| record.exit_code == "2").count(), 1, "{records:?}");
}

#[expect(clippy::print_stdout, reason = "a test that is skipped says why")]
fn has_mpirun() -> bool {
    let has = Command::new("mpirun").arg("--version").output().is_ok();
    if !has {
        println!("skipped: no mpirun here");
    }
    has
}
