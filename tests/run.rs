//! Whole runs of the program: threads, and ranks where there is an `mpirun`.

#[path = "run/deciding.rs"]
mod deciding;
#[cfg(feature = "mpi")]
mod launch;

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

const PROGRAM: &str = env!("CARGO_BIN_EXE_mpiswarm");
const ENGINES: [&str; 2] = ["lockfree", "mutex"];

fn inputs(name: &str) -> String {
    format!("{}/inputs/{name}", env!("CARGO_MANIFEST_DIR"))
}

fn run(engine: &str, inputs: &str, out: &Path, more: &[&str]) -> Output {
    let mut command = Command::new(PROGRAM);
    command.args(["run", inputs, "--engine", engine, "--transport", "local", "--json", "--out"]);
    command.arg(out).args(more);
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
    for engine in ENGINES {
        for (name, segment_bytes) in [("small", "65536"), ("classic", "1024"), ("classic", "0")] {
            let out = tempfile::tempdir().expect("a folder");
            let more = ["--segment-bytes", segment_bytes];
            let output = run(engine, &inputs(name), out.path(), &more);
            assert!(output.status.success(), "{output:?}");
            let summary = summary(&output);
            assert_eq!(summary["verified"], true);
            let bytes = summary["bytes_delivered"].as_u64().expect("a number");
            let has_bound = summary["ratio_to_bound"].is_number() && summary["bound_s"].is_number();
            assert_eq!(
                has_bound,
                bytes >= 16 << 20,
                "a ratio of what caches hold says nothing: {bytes}"
            );
            check_outputs(&inputs(name), out.path());
        }
    }
}

#[test]
fn the_classic_workload_is_eleven_thousand_segments() {
    // Every peer owns files and wants others: only what it sends of its own counts. In the lockfree
    // engine that is each segment once, and again only while nobody else has it; the classic one
    // spares nobody.
    for (engine, copies_max) in ENGINES.into_iter().zip([2.0, 11.0]) {
        let out = tempfile::tempdir().expect("a folder");
        let output = run(engine, &inputs("classic"), out.path(), &["--segment-bytes", "1024"]);
        let summary = summary(&output);
        assert_eq!(summary["engine"], engine);
        assert_eq!(summary["segments"], 11_000);
        assert_eq!(summary["files"], 110);
        assert_eq!(summary["bytes_delivered"], 11_000 * 1024);
        let served = summary["served_bytes"].as_array().expect("a table by rank");
        assert_eq!(served.len(), 13);
        // A segment that is late is asked for twice.
        let sum = served.iter().filter_map(serde_json::Value::as_u64).sum::<u64>();
        assert!((11_000 * 1024..11_550 * 1024).contains(&sum), "{sum} bytes served");
        let copies = summary["origin_copies"].as_f64().expect("something was wanted");
        assert!((1.0..=copies_max).contains(&copies), "{copies} copies");
        let finished = summary["finished_s"].as_array().expect("a table by rank");
        assert!(finished[1..].iter().all(|at| at.as_f64() > Some(0.0)), "{finished:?}");
        let shares = summary["time_shares"].as_object().expect("an object").values();
        let sum: f64 = shares.filter_map(serde_json::Value::as_f64).sum();
        assert!((sum - 1.0).abs() < 1e-9, "the shares add up to {sum}");
    }
}

#[test]
fn checks_on_a_pool_deliver_the_same() {
    let out = tempfile::tempdir().expect("a folder");
    let output = run(
        "lockfree",
        &inputs("small"),
        out.path(),
        &["--verify", "pool", "--verify-threads", "1"],
    );
    assert!(output.status.success(), "{output:?}");
    check_outputs(&inputs("small"), out.path());
}

#[test]
fn corrupt_segments_are_noticed_and_never_written() {
    for engine in ENGINES {
        let out = tempfile::tempdir().expect("a folder");
        let more = ["--inject", "corrupt:0.02", "--segment-bytes", "1024"];
        let output = run(engine, &inputs("classic"), out.path(), &more);
        let summary = summary(&output);
        assert!(summary["corrupt_segments"].as_u64() > Some(0), "{summary}");
        // What one holder sent wrong another had right.
        assert!(output.status.success(), "{output:?}");
        check_outputs(&inputs("classic"), out.path());
    }
}

#[test]
fn where_every_holder_is_corrupt_files_are_reported_and_the_run_ends() {
    for engine in ENGINES {
        let out = tempfile::tempdir().expect("a folder");
        let output = run(engine, &inputs("small"), out.path(), &["--inject", "corrupt:1"]);
        // Absent files are exit code 3: a corrupt one is not absent.
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        let summary = summary(&output);
        assert_eq!(summary["segments"], 0);
        assert_eq!(summary["unavailable_files"].as_array().map(Vec::len), Some(0), "{summary}");
        let errors = summary["errors"].as_array().expect("a list");
        let note = |line: &&serde_json::Value| {
            *line == "rank 1: segment 0 of note from rank 4 does not match its digest, 3 times"
        };
        assert_eq!(errors.iter().filter(note).count(), 1, "{summary}");
        assert!(errors.len() > 5, "{summary}");
        let names = fs::read_dir(out.path()).expect("the folder was made");
        let files = names.filter_map(|name| name.ok()?.file_name().into_string().ok());
        let whole = files.filter(|name| name.starts_with("client"));
        // A file without segments has none that could be wrong.
        assert_eq!(summary["files"], whole.count());
    }
}

#[test]
fn segments_that_come_late_still_come() {
    for engine in ENGINES {
        let out = tempfile::tempdir().expect("a folder");
        let output = run(engine, &inputs("small"), out.path(), &["--inject", "delay:2"]);
        assert!(output.status.success(), "{output:?}");
        let latency = summary(&output)["segment_latency_ns"]["p50"].as_u64();
        assert!(latency > Some(2_000_000), "{latency:?}");
        check_outputs(&inputs("small"), out.path());
    }
}

#[test]
fn what_the_classic_engine_has_no_use_for_is_refused() {
    for (more, word) in [
        (&["--window", "4"][..], "no such choice"),
        (&["--index", "atomic"], "no such choice"),
        (&["--tracker-threads", "1"], "no such choice"),
        (&["--inject", "drop:0.1"], "lost message"),
        (&["--limit-rate", "1G"], "has none"),
    ] {
        let out = tempfile::tempdir().expect("a folder");
        let output = run("mutex", &inputs("small"), out.path(), more);
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(text.contains(word) && text.contains(more[0]), "{text}");
        assert!(run("lockfree", &inputs("small"), out.path(), more).status.success());
    }
}

#[test]
fn both_engines_say_the_same_of_bad_inputs() {
    let bad = fs::read_dir(inputs("bad")).expect("the folder can be listed");
    let bad = bad.map(|entry| entry.expect("the folder can be listed").path());
    let folders: Vec<_> = bad.filter(|path| path.is_dir()).collect();
    assert!(folders.len() > 30, "the cases are there");
    for folder in folders {
        let ended = ENGINES.map(|engine| {
            let out = tempfile::tempdir().expect("a folder");
            let output = run(engine, &folder.to_string_lossy(), out.path(), &["--quiet"]);
            let mut names: Vec<_> = fs::read_dir(out.path())
                .expect("the folder can be listed")
                .map(|entry| entry.expect("the folder can be listed").file_name())
                .collect();
            names.sort_unstable();
            (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned(), names)
        });
        assert_eq!(ended[0], ended[1], "{}", folder.display());
    }
}

#[test]
fn an_input_that_is_missing_or_superfluous_is_named() {
    let dir = tempfile::tempdir().expect("a folder");
    let out = dir.path().join("out");
    fs::write(dir.path().join("in2.txt"), "0\n0\n").expect("a small file");
    let output = run("lockfree", &dir.path().to_string_lossy(), &out, &[]);
    assert_eq!(output.status.code(), Some(2));
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(text.contains("in1.txt"), "{text}");
    let output = run("lockfree", &inputs("small"), &out, &["--nodes", "3"]);
    assert_eq!(output.status.code(), Some(2));
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(text.contains("in4.txt") && text.contains("start 5"), "{text}");
}

#[test]
fn a_file_that_nobody_owns_is_reported_and_the_rest_completes() {
    for engine in ENGINES {
        let dir = tempfile::tempdir().expect("a folder");
        let out = dir.path().join("out");
        fs::write(dir.path().join("in1.txt"), "1\na 1\n00112233\n0\n").expect("a small file");
        fs::write(dir.path().join("in2.txt"), "0\n2\na\nnowhere\n").expect("a small file");
        let output = run(engine, &dir.path().to_string_lossy(), &out, &[]);
        assert_eq!(output.status.code(), Some(3), "{output:?}");
        let summary = summary(&output);
        assert_eq!(summary["unavailable_files"][0], "nowhere");
        assert!(summary["finished_s"][1].is_number() && summary["finished_s"][2].is_null());
        assert_eq!(fs::read_to_string(out.join("client2_a")).expect("it is whole"), "00112233\n");
    }
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
        let out = tempfile::tempdir().expect("a folder");
        let output = run("lockfree", &dir.path().to_string_lossy(), out.path(), &args);
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
    for engine in ENGINES {
        let out = tempfile::tempdir().expect("a folder");
        let output = launch::ranks(13, PROGRAM)
            .args(["run", &inputs("classic"), "--json", "--engine", engine])
            .args(["--segment-bytes", "1024", "--out"])
            .arg(out.path())
            .output()
            .expect("mpirun starts");
        assert!(output.status.success(), "{output:?}");
        assert_eq!(summary(&output)["verified"], true);
        check_outputs(&inputs("classic"), out.path());
    }
}

/// Bytes a second that each peer may move, in one direction or both.
const RATE: f64 = (4 << 20) as f64;

/// Peers send and receive as much as there is; each receives, and sends, at most at the rate, and a burst of 50 ms.
fn check_limited(summary: &serde_json::Value) {
    let number = |name: &str| summary[name].as_f64().expect("a number");
    assert_eq!(summary["verified"], true);
    let each = number("bytes_delivered") / number("peers");
    let most = RATE * (number("makespan_s") + 0.05);
    assert!(each <= most, "{each} of {most}: {summary}");
}

#[test]
fn no_peer_moves_more_than_its_limit() {
    for limit in ["4M", "up=4M", "down=4M"] {
        let out = tempfile::tempdir().expect("a folder");
        // The limit makes requests wait longer than this.
        let more = ["--limit-rate", limit, "--patience", "request=50ms"];
        let small = [&more[..], &["--segment-bytes", "64K"]].concat();
        let output = run("lockfree", &inputs("small"), out.path(), &small);
        assert!(output.status.success(), "{output:?}");
        check_limited(&summary(&output));
        check_outputs(&inputs("small"), out.path());
        #[cfg(feature = "mpi")]
        if launch::can_start_ranks() {
            let out = tempfile::tempdir().expect("a folder");
            let mut command = launch::ranks(5, PROGRAM);
            command.args(["run", &inputs("small"), "--json", "--out"]).arg(out.path()).args(&small);
            let output = command.output().expect("mpirun starts");
            assert!(output.status.success(), "{output:?}");
            check_limited(&summary(&output));
            check_outputs(&inputs("small"), out.path());
        }
    }
}

#[test]
fn a_limit_that_a_segment_outlasts_is_refused() {
    let out = tempfile::tempdir().expect("a folder");
    let more = ["--limit-rate", "down=100K", "--segment-bytes", "8M"];
    let output = run("lockfree", &inputs("small"), out.path(), &more);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(text.contains("use --segment-bytes 4M, or a higher limit"), "{text}");
    assert_eq!(fs::read_dir(out.path()).expect("a folder").count(), 0, "nothing was begun");
}

/// Runs with the variables of a launcher that are not a job's own, and returns code and errors.
fn run_under(variables: &[(&str, &str)], args: &[&str]) -> (Option<i32>, String) {
    let out = tempfile::tempdir().expect("a folder");
    let mut command = Command::new(PROGRAM);
    command.args(args).arg("--out").arg(out.path()).envs(variables.iter().copied());
    let output = command.output().expect("the program starts");
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn a_slurm_step_without_mpi_is_refused_once_with_what_to_type() {
    let small = inputs("small");
    for rank in ["0", "1"] {
        let step = [("SLURM_STEP_ID", "0"), ("SLURM_NTASKS", "4"), ("SLURM_PROCID", rank)];
        let (code, errors) = run_under(&step, &["run", &small, "--quiet"]);
        assert_eq!(code, Some(2), "{errors}");
        assert_eq!(errors.contains("srun --mpi=pmix"), rank == "0", "{errors}");
        let (code, errors) = run_under(&step, &["run", &small, "--quiet", "--transport", "local"]);
        assert_eq!(code, Some(0), "{errors}");
    }
}

#[test]
fn variables_that_a_shell_kept_do_no_harm() {
    let small = inputs("small");
    for variables in
        [[("PMI_RANK", "0"), ("PMI_SIZE", "1")], [("SLURM_NTASKS", "64"), ("SLURM_PROCID", "0")]]
    {
        let (code, errors) = run_under(&variables, &["run", &small, "--quiet"]);
        assert_eq!(code, Some(0), "{variables:?}: {errors}");
    }
    let (code, _) = run_under(&[("PMI_RANK", "3"), ("PMI_SIZE", "4")], &["run", "--bogus"]);
    assert_eq!(code, Some(2), "a wrong command line never succeeds");
}

#[test]
fn a_full_stdout_is_an_error_and_no_panic() {
    let Ok(full) = fs::OpenOptions::new().write(true).open("/dev/full") else { return };
    let out = tempfile::tempdir().expect("a folder");
    let small = inputs("small");
    for engine in ENGINES {
        let mut command = Command::new(PROGRAM);
        command.args([
            "run",
            &small,
            "--engine",
            engine,
            "--transport",
            "local",
            "--json",
            "--out",
        ]);
        command.arg(out.path()).stdout(full.try_clone().expect("a handle can be copied"));
        let output = command.output().expect("the program starts");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{errors}");
        assert_eq!(errors.lines().count(), 1, "{errors}");
        assert!(errors.starts_with("mpiswarm: stdout: "), "{errors}");
    }
}

#[test]
fn the_version_names_commit_and_mpi() {
    let said = |flag: &str| {
        let output = Command::new(PROGRAM).arg(flag).output().expect("the program starts");
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).expect("text")
    };
    let short = concat!("mpiswarm ", env!("CARGO_PKG_VERSION"), "\n");
    assert_eq!(said("-V"), short);
    let long = said("--version");
    let more: Vec<_> = long.strip_prefix(short).expect("the same first").lines().collect();
    let [commit @ .., mpi] = &more[..] else { panic!("{long}") };
    // Sources without git have no commit.
    let digits = |line: &str| line.strip_prefix("commit ").map(|rest| rest[..12].to_owned());
    let is_hexadecimal = |text: String| text.chars().all(|c| c.is_ascii_hexdigit());
    assert!(commit.iter().all(|line| digits(line).is_some_and(is_hexadecimal)), "{long}");
    assert!(mpi.strip_prefix("MPI: ").is_some_and(|name| !name.is_empty()), "{long}");
}

#[test]
fn shells_and_man_are_told_of_every_command() {
    let said = |arguments: &[&str]| {
        let output = Command::new(PROGRAM).args(arguments).output().expect("the program starts");
        let text = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8(text).expect("text"))
    };
    let commands =
        ["stage", "verify", "manifest", "run", "synthesize", "simulate", "bench", "compare"];
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let (code, script) = said(&["completions", shell]);
        assert_eq!(code, Some(0), "{script}");
        let lacks = |name: &&&str| !script.contains(**name);
        assert_eq!(commands.iter().find(lacks), None, "{shell}");
        assert!(script.contains("dry-run"), "{shell}");
    }
    let out = tempfile::tempdir().expect("a folder");
    let path = out.path().join("completions");
    fs::write(&path, said(&["completions", "bash"]).1).expect("a small file");
    let read = Command::new("bash").arg("-n").arg(&path).status().expect("bash starts");
    assert!(read.success(), "bash can read it");
    let (code, page) = said(&["man"]);
    assert!(code == Some(0) && page.contains(".TH mpiswarm 1"), "{page}");
    for name in commands {
        let (code, page) = said(&["man", name]);
        let head = format!(".TH mpiswarm-{name} 1");
        assert!(code == Some(0) && page.contains(&head), "{page}");
    }
    assert!(said(&["man", "stage"]).1.contains("dry\\-run"));
    let (code, wrong) = said(&["man", "walk"]);
    assert!(code == Some(2) && wrong.contains("walk: no such command"), "{wrong}");
}
