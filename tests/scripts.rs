//! The scripts keep their promises: each explains itself, and the check of a run's outputs accepts
//! what is right and nothing else.
#![cfg(unix)]

#[path = "scripts/stage.rs"]
mod stage;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

/// Peer 1 owns `data` and `big file`, peer 2 owns `data` too; the lines of peer 2 end as on Windows,
/// with blanks and empty lines between them.
const INPUTS: [(u32, &str); 3] = [
    (1, "2\ndata 2\naa11\nbb22\nbig file 1\ncc33\n0\n"),
    (2, "1\r\ndata 2 \r\n\r\naa11\r\nbb22\t\r\n1\r\nbig file\r\n"),
    (3, "0\n3\ndata\nbig file\nnowhere\n"),
];

/// What those inputs must lead to.
const OUTPUTS: [(&str, &str); 3] = [
    ("client2_big file", "cc33\n"),
    ("client3_data", "aa11\nbb22\n"),
    ("client3_big file", "cc33\n"),
];

struct Job {
    folder: TempDir,
}

impl Job {
    /// Good inputs and good outputs in a temporary folder.
    fn new() -> Self {
        let job = Self { folder: tempfile::tempdir().expect("a temporary folder can be made") };
        fs::create_dir(job.inputs()).expect("the folder is new");
        fs::create_dir(job.outputs()).expect("the folder is new");
        for (rank, text) in INPUTS {
            job.input(rank, text);
        }
        for (name, text) in OUTPUTS {
            job.output(name, text);
        }
        job
    }

    fn inputs(&self) -> PathBuf {
        self.folder.path().join("inputs")
    }

    fn outputs(&self) -> PathBuf {
        self.folder.path().join("outputs")
    }

    fn input(&self, rank: u32, text: &str) {
        let path = self.inputs().join(format!("in{rank}.txt"));
        fs::write(path, text).expect("a temporary folder is writable");
    }

    fn output(&self, name: &str, text: &str) {
        fs::write(self.outputs().join(name), text).expect("a temporary folder is writable");
    }

    /// The exit code and the lines of `scripts/check-outputs.sh`.
    fn check(&self) -> (Option<i32>, Vec<String>) {
        let output = run(script("check-outputs.sh").arg(self.inputs()).arg(self.outputs()));
        let text = String::from_utf8_lossy(&output.stdout);
        (output.status.code(), text.lines().map(str::to_owned).collect())
    }
}

fn scripts() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts")
}

fn script(name: &str) -> Command {
    Command::new(scripts().join(name))
}

fn run(command: &mut Command) -> Output {
    command.output().expect("the script can be started")
}

const UNOWNED: &str = "note: nobody owns nowhere, which in3.txt wants";

#[test]
fn good_outputs_pass_and_unowned_files_are_noted() {
    let (code, lines) = Job::new().check();
    assert_eq!(lines, [UNOWNED, "checked: 3 files identical"]);
    assert_eq!(code, Some(0));
}

#[test]
fn white_space_within_a_line_does_not_count() {
    let job = Job::new();
    job.output("client3_data", "aa11 \r\n b b22");
    let (code, lines) = job.check();
    assert_eq!(lines, [UNOWNED, "checked: 3 files identical"]);
    assert_eq!(code, Some(0));
}

#[test]
fn a_missing_output_fails() {
    let job = Job::new();
    fs::remove_file(job.outputs().join("client3_data")).expect("the job wrote it");
    let (code, lines) = job.check();
    let expected = [
        "missing: client3_data",
        UNOWNED,
        "checked: 2 files identical",
        "failed: 1 missing, 0 different",
    ];
    assert_eq!(lines, expected);
    assert_eq!(code, Some(1));
}

#[test]
fn wrong_short_long_and_swapped_outputs_fail() {
    let cases = [
        ("aa11\nbb23\n", "line 2"),
        ("bb22\naa11\n", "line 1"),
        ("aa11\n", "ends after line 1 of 2"),
        ("", "ends after line 0 of 2"),
        ("aa11\nbb22\ncc33\n", "line 3"),
        ("aa11\n\nbb22\n", "line 2"),
    ];
    for (text, fault) in cases {
        let job = Job::new();
        job.output("client3_data", text);
        let (code, lines) = job.check();
        assert_eq!(
            lines[0],
            format!("differs: client3_data: {fault} (owner: in1.txt)"),
            "{text:?}"
        );
        assert_eq!(lines[3], "failed: 0 missing, 1 different", "{text:?}");
        assert_eq!(code, Some(1), "{text:?}");
    }
}

#[test]
fn names_that_no_file_can_have_are_passed_over() {
    let job = Job::new();
    let long = "n".repeat(239);
    job.input(4, &format!("2\n{long} 1\ndd44\n../up 1\nee55\n0\n"));
    job.input(5, &format!("0\n2\n{long}\n../up\n"));
    let (code, lines) = job.check();
    assert_eq!(lines[1], format!("note: passed over, not the name of a file: {long}"));
    assert_eq!(lines[2], "note: passed over, not the name of a file: ../up");
    assert_eq!(lines[3], "checked: 3 files identical");
    assert_eq!(code, Some(0));
}

#[test]
fn inputs_that_make_no_sense_are_refused() {
    let cases = [
        ("", "an in<R>.txt is empty"),
        ("1\ndata 2\naa11\n", "in4.txt ends too early"),
        ("0\n2\ndata\n", "in4.txt ends too early"),
        ("one\n", "in4.txt, line 1: a number is expected, not \"one\""),
        ("1\n2\naa11\nbb22\n0\n", "in4.txt, line 2: a name and a count are expected"),
        ("1\ndata 1\naa11\n0\n", "in4.txt, line 2: data has another length in in1.txt"),
        ("1\ndata 2\naa11\nXX\n0\n", "in4.txt, line 4: data is another file in in1.txt"),
    ];
    for (text, fault) in cases {
        let job = Job::new();
        job.input(4, text);
        let (code, lines) = job.check();
        assert_eq!(lines, [format!("bad input: {fault}")], "{text:?}");
        assert_eq!(code, Some(2), "{text:?}");
    }
}

#[test]
fn a_folder_without_inputs_is_refused() {
    let job = Job::new();
    let output = run(script("check-outputs.sh").arg(job.outputs()).arg(job.outputs()));
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("has no in<R>.txt"));
}

/// Recipes of package managers are no scripts.
const RECIPES: [&str; 4] = ["mpiswarm.def", "package.py", "recipe.yaml", "variants.yaml"];

/// Every script, by its path from `scripts`.
fn names() -> Vec<String> {
    let (mut names, mut folders) = (Vec::new(), vec![scripts()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("scripts/ is part of the repository") {
            let path = entry.expect("scripts/ can be read").path();
            if path.is_dir() {
                folders.push(path);
            } else if !RECIPES.iter().any(|recipe| path.ends_with(recipe)) {
                let name = path.strip_prefix(scripts()).expect("the walk began there");
                names.push(name.to_string_lossy().into_owned());
            }
        }
    }
    names
}

#[test]
fn every_script_is_executable_and_explains_itself() {
    let names = names();
    assert!(names.iter().any(|name| name.contains('/')), "folders were read too");
    for name in names {
        let path = scripts().join(&name);
        let mode = fs::metadata(&path).expect("it was just listed").permissions().mode();
        assert_eq!(mode & 0o111, 0o111, "{name} is not executable");
        // From elsewhere and through a link: a script finds its neighbours all the same.
        let elsewhere = tempfile::tempdir().expect("a temporary folder can be made");
        let link = elsewhere.path().join("link.sh");
        std::os::unix::fs::symlink(&path, &link).expect("the folder is new");
        let output = run(Command::new(&link).arg("--help").current_dir(&elsewhere));
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{name} --help fails");
        let opening = text.lines().next().unwrap_or_default();
        assert!(opening.starts_with("Usage: "), "{name} --help: {text}");
        assert!(opening.contains(&format!("scripts/{name}")), "{name} --help: {text}");
    }
}

#[test]
fn a_command_line_that_is_shown_can_be_pasted_into_another_shell() {
    let commands = tempfile::tempdir().expect("a temporary folder can be made");
    let program = commands.path().join("my mpirun");
    let text = "#!/bin/sh\nprintf '<%s>' \"$OMPI_MCA_mpi_yield_when_idle\" \"$@\"\n";
    fs::write(&program, text).expect("a small file");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("it was just made");
    let show = ". \"$1\"/mpi.sh && export OMPI_MCA_mpi_yield_when_idle=0 && \
                mpi_command_line \"$PWD/my mpirun\" -n 2 '{rank}' '' '$HOME *' \"it's\" \"$PWD/out\"";
    let mut command = Command::new("bash");
    command.args(["-c", show, "bash"]).arg(scripts()).current_dir(&commands);
    command.env_remove("MPISWARM_MPI_READY");
    let shown = run(&mut command);
    let line = String::from_utf8(shown.stdout).expect("text");
    assert!(shown.status.success() && line.lines().count() == 1, "{line}");
    assert!(!line.contains("OMPI") && line.ends_with(" ./out\n"), "{line}");
    let path = std::env::var("PATH").expect("commands are found by it");
    for shell in ["bash", "sh"] {
        let mut pasted = Command::new(shell);
        pasted.env_clear().env("PATH", &path).args(["-c", &line]).current_dir(&commands);
        let said = String::from_utf8_lossy(&run(&mut pasted).stdout).into_owned();
        assert_eq!(said, "<1><-n><2><{rank}><><$HOME *><it's><./out>", "{shell}: {line}");
    }
}

#[test]
fn slurm_decides_how_many_ranks_only_while_its_job_runs() {
    let commands = tempfile::tempdir().expect("a temporary folder can be made");
    let squeue = commands.path().join("squeue");
    fs::write(&squeue, "#!/bin/sh\n[ \"$3\" = 7 ] && echo RUNNING\n").expect("a small file");
    fs::set_permissions(&squeue, fs::Permissions::from_mode(0o755)).expect("it was just made");
    let path = std::env::var("PATH").expect("commands are found by it");
    let path = format!("{}:{path}", commands.path().display());
    let cores = |variables: &[(&str, &str)]| {
        let mut command = Command::new("bash");
        command
            .args(["-c", ". \"$1\" && cores", "bash"])
            .arg(scripts().join("mpi.sh"))
            .env("PATH", &path);
        command.env_remove("SLURM_JOB_ID").env_remove("SLURM_NTASKS");
        let output = run(command.envs(variables.iter().copied()));
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    };
    let machine = cores(&[]);
    assert_ne!(machine, "987");
    let left_over = [("SLURM_NTASKS", "987")];
    assert_eq!(cores(&left_over), machine, "no job");
    assert_eq!(cores(&[left_over[0], ("SLURM_JOB_ID", "8")]), machine, "a job that has ended");
    assert_eq!(cores(&[left_over[0], ("SLURM_JOB_ID", "7")]), "987", "a job that runs");
    assert_eq!(cores(&[("SLURM_NTASKS", "x"), ("SLURM_JOB_ID", "7")]), machine, "no number");
}

/// Programs in place of `mpiswarm` and `mpirun`, which note what they are called with.
struct StandIns(TempDir);

impl StandIns {
    fn new() -> Self {
        let stand_ins = Self(tempfile::tempdir().expect("a temporary folder can be made"));
        let calls = stand_ins.path("calls");
        let note = |what: &str| format!("echo \"{what}\" >>'{calls}'");
        let mpirun = "[ \"$1\" != --version ] || exec echo 'mpirun (Open MPI) 4.1.4'\n\
            ranks=$2\nshift 2\n[ \"$1\" != -x ] || shift 2\n";
        for (name, text) in [
            ("new", note("new $*")),
            ("old", note("old $*")),
            ("broken", "exit 1".to_owned()),
            ("mpirun", format!("{mpirun}{}\nexec \"$@\"", note("$ranks ranks:"))),
            ("mpicc", String::new()),
            ("plan.toml", String::new()),
        ] {
            let path = stand_ins.path(name);
            fs::write(&path, format!("#!/bin/sh\n{text}\n")).expect("a small file");
            let executable = fs::Permissions::from_mode(0o755);
            fs::set_permissions(&path, executable).expect("it was just made");
        }
        stand_ins
    }

    fn path(&self, name: &str) -> String {
        self.0.path().join(name).to_str().expect("temporary folders are text").to_owned()
    }

    /// The exit code and the errors of `scripts/bench.sh` with a plan.
    fn bench(&self, arguments: &[&str]) -> (Option<i32>, String) {
        let mut bench = script("bench.sh");
        bench.args(["--launches", "2", "--plan", &self.path("plan.toml")]);
        bench.args(["--out", &self.path("out")]).args(arguments);
        for (variable, name) in [("MPISWARM", "new"), ("MPIRUN", "mpirun"), ("MPICC", "mpicc")] {
            bench.env(variable, self.path(name));
        }
        let output = run(&mut bench);
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    }

    /// What was called, with names in place of paths.
    fn calls(&self) -> Vec<String> {
        let calls = fs::read_to_string(self.path("calls")).unwrap_or_default();
        calls.replace(&self.path(""), "").lines().map(str::to_owned).collect()
    }
}

#[test]
fn a_bench_launches_its_plan_several_times() {
    let stand_ins = StandIns::new();
    assert_eq!(stand_ins.bench(&["--no-benches"]), (Some(0), String::new()));
    let calls = [
        "new bench plan.toml --out out/launch-1",
        "new bench plan.toml --out out/launch-2",
        "new compare out",
    ];
    assert_eq!(stand_ins.calls(), calls);
}

#[test]
fn two_builds_are_launched_in_turn_at_each_place() {
    let stand_ins = StandIns::new();
    let arguments = ["-n", "threads,5", "--against", &stand_ins.path("old")];
    assert_eq!(stand_ins.bench(&arguments), (Some(0), String::new()));
    let calls = [
        "new bench plan.toml --out out/a/threads/launch-1",
        "old bench plan.toml --out out/b/threads/launch-1",
        "5 ranks:",
        "new bench plan.toml --out out/a/ranks-5/launch-1",
        "5 ranks:",
        "old bench plan.toml --out out/b/ranks-5/launch-1",
        "old bench plan.toml --out out/b/threads/launch-2",
        "new bench plan.toml --out out/a/threads/launch-2",
        "5 ranks:",
        "old bench plan.toml --out out/b/ranks-5/launch-2",
        "5 ranks:",
        "new bench plan.toml --out out/a/ranks-5/launch-2",
        // Runs by threads and by ranks are no runs of one kind.
        "new compare out/a/threads out/b/threads",
        "new compare out/a/ranks-5 out/b/ranks-5",
    ];
    assert_eq!(stand_ins.calls(), calls);
}

#[test]
fn a_bench_that_cannot_be_measured_ends() {
    let stand_ins = StandIns::new();
    let (broken, missing) = (stand_ins.path("broken"), stand_ins.path("missing"));
    let no_program = format!("--against: no program {missing}: build it, and name the binary");
    for (arguments, error) in [
        (["-n", "5,five"], "-n: five is no number of ranks: use some such as 5,9 or threads"),
        (["-n", "5,5"], "-n: ranks-5 ranks-5: name each once"),
        (["--launches", "0"], "--launches: 0 is no number of launches: use one such as 8"),
        (["--no-plan", "--no-benches"], "--no-benches and --no-plan leave nothing to do"),
        (["--against", &missing], &no_program),
    ] {
        assert_eq!(stand_ins.bench(&arguments), (Some(2), format!("bench: {error}\n")));
    }
    assert!(stand_ins.calls().is_empty());
    let (code, error) = stand_ins.bench(&["--against", &broken]);
    assert_eq!(code, Some(2), "{error}");
    assert!(
        error.starts_with("bench: a launch failed (exit code 1); the records so far"),
        "{error}"
    );
    assert_eq!(stand_ins.calls(), ["new bench plan.toml --out out/a/launch-1"]);
}

#[test]
fn series_of_faults_that_make_no_sense_are_refused() {
    for name in ["faults", "stage-faults"] {
        let cases: [(&[&str], &str); 7] = [
            (&[], "name a fault: "),
            (&["hurt"], "name a fault: "),
            (&["pause stop"], "name a fault: "),
            (&["kill", "few"], "few is no number of times; see --help"),
            (&["kill", "--seed"], "--seed: a number of at most 9 digits; see --help"),
            (&["kill", "--seed", "1", "-1"], "-1 is no number of times; see --help"),
            (&["kill", "1"], "no program /nowhere/mpiswarm: build it, or name one (MPISWARM)"),
        ];
        for (arguments, why) in cases {
            let mut series = script(&format!("{name}.sh"));
            let output = run(series.args(arguments).env("MPISWARM", "/nowhere/mpiswarm"));
            let said = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(2), "{name} {arguments:?}: {said}");
            assert!(said.starts_with(&format!("{name}: {why}")), "{name} {arguments:?}: {said}");
        }
    }
}
