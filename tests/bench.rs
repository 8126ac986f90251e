//! Whole measurements by the program: threads, and ranks where there is an `mpirun`.

#[cfg(feature = "mpi")]
mod launch;

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use mpiswarm::harness::environment::{ENVIRONMENT, Environment};
use mpiswarm::harness::records::{self, RECORDS, Record};

const PROGRAM: &str = env!("CARGO_BIN_EXE_mpiswarm");

/// A measurement of moments: real runs of few bytes, beside a mock.
const TINY: &str = "\
purpose = \"a test\"
budget_s = 60
repetitions = { least = 3, most = 3 }

[[workloads]]
name = \"tiny\"
shape = \"all-to-all\"
peers = [2, 3]
files = 3
segments = 5
segment_bytes = 100

[[contenders]]
engine = \"lockfree\"
switches = { window = [1, 8] }

[[contenders]]
engine = \"lockfree\"
switches = { decide = \"peers\" }

[[contenders]]
name = \"pooled\"
engine = \"lockfree\"
switches = { verify = \"pool\", index = \"atomic\" }

[[contenders]]
engine = \"mock\"
times_ms = [5]
";

/// Writes a plan and returns the folder that holds it.
fn planned(text: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a folder");
    fs::write(dir.path().join("plan.toml"), text).expect("a small file");
    dir
}

fn bench(dir: &Path, more: &[&str]) -> Output {
    let mut command = Command::new(PROGRAM);
    command.arg("bench").arg(dir.join("plan.toml")).arg("--out").arg(dir.join("out")).args(more);
    // Long lines stay whole.
    command.env("COLUMNS", "1000");
    command.output().expect("the program starts")
}

fn read(dir: &Path) -> Vec<Record> {
    records::read(&dir.join("out")).expect("the records are whole").records
}

fn check_tiny(records: &[Record], peers: &[usize]) {
    let contenders =
        ["lockfree window=1", "lockfree window=8", "lockfree decide=peers", "pooled", "mock"];
    for &peers in peers {
        for contender in contenders {
            let runs: Vec<_> = records
                .iter()
                .filter(|record| record.run.peers == peers && record.contender == contender)
                .collect();
            let mut repetitions: Vec<_> = runs.iter().map(|record| record.repetition).collect();
            repetitions.sort_unstable();
            assert_eq!(repetitions, [0, 1, 2], "{contender}, {peers} peers");
            for record in runs {
                assert!(record.run.verified, "{record:?}");
                assert!(record.run.makespan_s > 0.0, "{record:?}");
                // Three files of five segments, each with one owner.
                let moved = if contender == "mock" { 0 } else { 15 * (peers as u64 - 1) };
                assert_eq!(record.run.segments, moved, "{record:?}");
            }
        }
    }
    assert_eq!(records.len(), peers.len() * contenders.len() * 3);
    let window = records.iter().find(|record| record.contender == "lockfree window=8");
    assert_eq!(window.expect("it ran").parameters["window"], 8);
    let decide = records.iter().find(|record| record.contender == "lockfree decide=peers");
    assert_eq!(decide.expect("it ran").parameters["decide"], "peers");
}

#[test]
fn a_contender_with_a_trace_leaves_that_of_its_first_run() {
    let traced = TINY.replace("name = \"pooled\"", "name = \"pooled\"\ntrace = true");
    let dir = planned(&traced.replace("peers = [2, 3]", "peers = 2"));
    let output = bench(dir.path(), &[]);
    assert!(output.status.success(), "{output:?}");
    let out = dir.path().join("out");
    let text = fs::read(out.join("trace-w0-c3.json")).expect("a trace of the fourth contender");
    let trace: serde_json::Value = serde_json::from_slice(&text).expect("it is JSON");
    assert_eq!(trace["otherData"]["contender"], "pooled");
    let events = trace["traceEvents"].as_array().expect("an array");
    let is_received =
        |event: &&serde_json::Value| event["name"] == "received" && event["ph"] == "b";
    assert!(events.iter().filter(is_received).count() >= 15, "{trace}");
    let files = fs::read_dir(out).expect("a folder").flatten();
    let traces = files.filter(|file| file.file_name().to_string_lossy().starts_with("trace-"));
    assert_eq!(traces.count(), 1, "of one repetition");
    for record in read(dir.path()) {
        assert_eq!(record.parameters.contains_key("trace"), record.contender == "pooled");
    }
}

#[test]
fn threads_are_measured_and_recorded() {
    let dir = planned(TINY);
    let output = bench(dir.path(), &[]);
    assert!(output.status.success(), "{output:?}");
    let records = read(dir.path());
    check_tiny(&records, &[2, 3]);
    assert!(records.iter().all(|record| record.processes == 1 && record.run.transport == "local"));
    let real = records.iter().filter(|record| record.contender != "mock");
    assert!(real.map(|record| record.cpu_s).sum::<f64>() > 0.0, "work costs time");
    let table = String::from_utf8_lossy(&output.stdout);
    assert!(table.contains("Makespan (workload tiny, segment 100 B)\n"), "{table}");
    for peers in ["2", "3"] {
        for contender in ["lockfree window=1", "lockfree decide=peers", "pooled", "mock"] {
            let start = format!("{peers}  {contender} ");
            assert!(
                table.lines().any(|line| line.trim_start().starts_with(&start)),
                "{start} in {table}"
            );
        }
    }
    assert!(table.contains("5.0 ms") && table.contains("÷ bound"), "{table}");
    let environment = fs::read_to_string(dir.path().join("out").join(ENVIRONMENT));
    let environment: Environment =
        serde_json::from_str(&environment.expect("it is there")).expect("an environment");
    assert_eq!(environment.plan_text, TINY);
    assert_eq!(environment.mpi, None);
    assert_eq!(environment.limits.len(), 1);
}

/// Holders that choose, beside the swarm, where every peer owns files and where each file has two owners; a plan
/// of who sends what has one owner.
fn check_owners(dir: &Path, output: &Output) {
    assert!(output.status.success(), "{output:?}");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("it can only broadcast: use a workload"), "{said}");
    assert!(said.contains("it brings everything to everybody: use a workload"), "{said}");
    let records = read(dir);
    for (workload, owners) in [("each", 1), ("two", 2)] {
        for contender in ["lockfree", "neighbours"] {
            let is_it = |one: &&Record| one.workload == workload && one.contender == contender;
            let run = &records.iter().find(is_it).expect("it ran").run;
            assert!(run.verified, "{workload}, {contender}: {run:?}");
            // Three files of five segments to three peers.
            assert_eq!(run.segments, 15 * (3 - owners), "{workload}, {contender}");
        }
    }
    assert_eq!(records.len(), 5, "chain nowhere, and the drawn workload by the swarm alone");
}

fn owners_plan() -> tempfile::TempDir {
    let workload = |name: &str, more: &str| {
        format!(
            "[[workloads]]\nname = \"{name}\"\nshape = \"all-to-all\"\npeers = 3\nfiles = 3\n\
             segments = 5\nsegment_bytes = 100\n{more}\n"
        )
    };
    let contender = |engine: &str| format!("[[contenders]]\nengine = \"{engine}\"\n");
    let parts = [
        "purpose = \"owners\"\nbudget_s = 60\nrepetitions = { least = 1, most = 1 }\n".to_owned(),
        workload("each", ""),
        workload("two", "owners = 2"),
        workload("drawn", "wanted = 1"),
        contender("lockfree"),
        contender("neighbours"),
        contender("chain"),
    ];
    planned(&parts.concat())
}

#[test]
fn holders_that_choose_are_measured_with_several_owners() {
    let dir = owners_plan();
    let output = bench(dir.path(), &[]);
    check_owners(dir.path(), &output);
}

#[cfg(feature = "mpi")]
#[test]
fn ranks_that_choose_are_measured_with_several_owners() {
    let dir = owners_plan();
    let Some(output) = bench_ranks(dir.path(), 4) else { return };
    check_owners(dir.path(), &output);
}

#[test]
fn what_is_there_is_kept_and_a_cut_line_is_made_again() {
    let dir = planned(TINY);
    assert!(bench(dir.path(), &[]).status.success());
    let whole = read(dir.path());
    let again = bench(dir.path(), &[]);
    assert_eq!(again.status.code(), Some(2), "{again:?}");
    assert!(String::from_utf8_lossy(&again.stderr).contains("--resume"), "{again:?}");
    assert_eq!(read(dir.path()), whole);

    let path = dir.path().join("out").join(RECORDS);
    let text = fs::read_to_string(&path).expect("there are records");
    fs::write(&path, &text[..text.len() - 40]).expect("it can be written");
    let resumed = bench(dir.path(), &["--resume"]);
    assert!(resumed.status.success(), "{resumed:?}");
    let said = String::from_utf8_lossy(&resumed.stderr);
    let kept = whole.len() - 1;
    let cut = format!("line {} of the records was cut off", whole.len());
    assert!(said.contains(&cut), "{said}");
    let records = read(dir.path());
    check_tiny(&records, &[2, 3]);
    assert_eq!(records[..kept], whole[..kept], "what was there is kept");

    fs::write(dir.path().join("plan.toml"), TINY.replace("a test", "another")).expect("a file");
    let other = bench(dir.path(), &["--resume"]);
    assert_eq!(other.status.code(), Some(2), "{other:?}");
    assert!(String::from_utf8_lossy(&other.stderr).contains("the plan was another"), "{other:?}");
}

#[test]
fn a_plan_that_is_wrong_is_refused_before_anything_runs() {
    let dir = planned(&TINY.replace("window", "windows"));
    let output = bench(dir.path(), &[]);
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("plan.toml:15: ") && said.contains("unknown field `windows`"), "{said}");
    assert!(!dir.path().join("out").exists());
}

#[test]
fn exit_codes_are_those_that_the_help_states() {
    let help = Command::new(PROGRAM).args(["bench", "--help"]).output().expect("it starts");
    let help = String::from_utf8_lossy(&help.stdout).into_owned();
    assert!(help.contains("Exit codes: 0 measured, 1 nothing or not all was measured"), "{help}");

    let ends = |output: &Output, code: i32, line: &str| {
        let said = [&output.stderr, &output.stdout].map(|text| String::from_utf8_lossy(text));
        assert_eq!(output.status.code(), Some(code), "{said:?}");
        assert!(said.iter().any(|text| text.contains(line)), "{line} is not in {said:?}");
    };
    let only_ranks = "[[contenders]]\nengine = \"mpi-bcast\"\n";
    let skipped = planned(&format!("{}{only_ranks}", &TINY[..TINY.find("[[cont").expect("one")]));
    ends(&bench(skipped.path(), &[]), 1, "nothing measured: no contender can run any workload");
    ends(&bench(planned(TINY).path(), &["--budget", "0.001"]), 1, "raise it with --budget");
    ends(&bench(planned("purpose = 1").path(), &[]), 2, "plan.toml:1: ");

    // A measurement that is whole, and then another one of the same records with one line changed.
    let dir = planned(TINY);
    ends(&bench(dir.path(), &[]), 0, "`target` = ± 5% not reached in ");
    let path = dir.path().join("out").join(RECORDS);
    let whole = fs::read_to_string(&path).expect("there are records");
    let change = |field: &str, value: serde_json::Value| {
        let changed = whole.lines().map(|line| {
            let mut record: serde_json::Value = serde_json::from_str(line).expect("a record");
            let is_it = record["contender"] == "pooled" && record["repetition"] == 0;
            if is_it && record["peers"] == 3 {
                record[field] = value.clone();
            }
            format!("{record}\n")
        });
        fs::write(&path, changed.collect::<String>()).expect("written");
        bench(dir.path(), &["--resume"])
    };
    let beaten =
        "pooled, tiny, 3 peers, 100 B: 1 run faster than the bound: the bound was measured too low";
    ends(&change("makespan_s", 1e-9.into()), 0, beaten);
    ends(&change("verified", false.into()), 1, "1 of 3 runs were incomplete and left out");
    ends(&change("errors", ["wrong bytes"].as_slice().into()), 1, "1 of 3 runs were incomplete");
}

/// A tree of moments, in the folder of the plan.
fn tree_plan() -> tempfile::TempDir {
    let dir = planned("");
    fs::create_dir(dir.path().join("trees")).expect("a folder");
    let engines = ["cp", "rsync", "tar", "lockfree"]
        .map(|engine| format!("[[contenders]]\nengine = \"{engine}\"\n"));
    let text = format!(
        "purpose = \"a test\"\nbudget_s = 100\nrepetitions = {{ least = 1, most = 1 }}\n\
         [[workloads]]\nname = \"small\"\nshape = \"tree\"\nfiles = 120\nbytes = 3000000\npeers = 3\n\
         folder = {folder:?}\n\
         [[contenders]]\nengine = \"stage\"\nstage = {{ workers = [1, 2], segment_bytes = \"16K\" }}\n\
         [[contenders]]\nname = \"packed\"\nengine = \"stage\"\nswitches = {{ handout = 2 }}\n\
         stage = {{ compress = \"always\", memory = \"4M\", sync = false }}\n{}",
        engines.concat(),
        folder = dir.path().join("trees"),
    );
    fs::write(dir.path().join("plan.toml"), text).expect("a small file");
    dir
}

fn check_trees(dir: &Path, output: &Output, transport: &str) {
    assert!(output.status.success(), "{output:?}");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("it moves segments that are made up"), "{said}");
    let records = read(dir);
    let staged =
        ["stage segment_bytes=16384 workers=1", "stage segment_bytes=16384 workers=2", "packed"];
    for contender in staged.into_iter().chain(["cp", "rsync", "tar"]) {
        if said.contains(&format!("`{contender}` is not in PATH")) {
            continue;
        }
        let is_it = |one: &&Record| one.contender == contender;
        let record = records.iter().find(is_it).unwrap_or_else(|| panic!("{contender}: {said}"));
        let run = &record.run;
        assert_eq!((run.files, run.bytes_delivered), (3 * 120, 3 * 3_000_000), "{contender}");
        assert_eq!((run.peers, run.transport.as_str()), (3, transport), "{contender}");
        assert!(run.finished_s.iter().skip(1).all(Option::is_some), "{contender}: {run:?}");
        assert!(run.makespan_s > 0.0 && record.cpu_s > 0.0, "{contender}: {record:?}");
        assert_eq!(run.verified, staged.contains(&contender), "{contender}");
        assert_eq!(record.parameters["bytes"], 3_000_000, "{contender}");
        // A stage reads the tree once, and peers pass it on.
        let served = run.served_bytes.iter().sum::<u64>();
        let expected = if run.verified { 2 * 3_000_000 } else { 0 };
        assert!(served >= expected && (served == 0) == (expected == 0), "{contender}: {run:?}");
    }
    assert!(records.iter().any(|one| one.contender == "cp"), "{said}");
    assert_eq!(records[0].parameters["folder"], dir.join("trees").display().to_string());
    let table = String::from_utf8_lossy(&output.stdout);
    assert!(table.contains("Makespan (workload small, peers 3)\n"), "{table}");
    let left: Vec<_> = fs::read_dir(dir.join("trees")).expect("a folder").flatten().collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn trees_are_staged_and_copied_by_threads() {
    let dir = tree_plan();
    let output = bench(dir.path(), &[]);
    check_trees(dir.path(), &output, "local");
    let compared = Command::new(PROGRAM)
        .args(["compare", "--figure", "files", "--format", "html"])
        .arg(dir.path().join("out"))
        .output();
    let page = compared.expect("the program starts");
    assert!(page.status.success(), "{page:?}");
    assert!(String::from_utf8_lossy(&page.stdout).contains("Delivered files a second"));
}

#[test]
fn programs_that_are_missing_are_named_and_skipped() {
    let dir = tree_plan();
    let empty = dir.path().join("empty");
    fs::create_dir(&empty).expect("a folder");
    let mut command = Command::new(PROGRAM);
    command.arg("bench").arg(dir.path().join("plan.toml")).arg("--out").arg(dir.path().join("out"));
    let output = command.env("PATH", &empty).output().expect("the program starts");
    assert!(output.status.success(), "{output:?}");
    let said = String::from_utf8_lossy(&output.stderr);
    for program in ["cp", "rsync", "tar"] {
        assert!(said.contains(&format!("`{program}` is not in PATH: install it")), "{said}");
    }
    assert_eq!(read(dir.path()).len(), 3, "only the stages ran");
}

#[test]
fn a_tree_without_room_or_folder_is_refused_before_anything_runs() {
    let dir = tree_plan();
    let nowhere = dir.path().join("nowhere");
    let output = bench(dir.path(), &["--folder", nowhere.to_str().expect("a plain name")]);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    let said = String::from_utf8_lossy(&output.stderr);
    let begins = "workload \"small\", 3 peers, 120 files, 2.86 MiB: ";
    assert!(said.contains(begins) && said.contains("name another folder with --folder"), "{said}");
    assert!(!dir.path().join("out").join(RECORDS).exists(), "nothing was begun");
}

#[cfg(feature = "mpi")]
#[test]
fn trees_are_staged_and_copied_by_ranks() {
    let dir = tree_plan();
    let Some(output) = bench_ranks(dir.path(), 3) else { return };
    check_trees(dir.path(), &output, "mpi");
}

/// The program as that many ranks; none where ranks can't be started.
#[cfg(feature = "mpi")]
fn bench_ranks(dir: &Path, ranks: u32) -> Option<Output> {
    if !launch::can_start_ranks() {
        return None;
    }
    let mut command = launch::ranks(ranks, PROGRAM);
    command.arg("bench").arg(dir.join("plan.toml")).arg("--out").arg(dir.join("out"));
    Some(command.output().expect("mpirun starts"))
}

#[cfg(feature = "mpi")]
#[test]
fn ranks_are_measured_and_other_numbers_of_peers_skipped() {
    let dir = planned(TINY);
    let Some(output) = bench_ranks(dir.path(), 4) else { return };
    assert!(output.status.success(), "{output:?}");
    let said = String::from_utf8_lossy(&output.stderr);
    let skipped = "skipped 1 workload for other than 3 peers: tiny, 2 peers, segments of 100 B";
    assert!(said.contains(skipped), "{said}");
    let records = read(dir.path());
    check_tiny(&records, &[3]);
    assert!(records.iter().all(|record| record.processes == 4 && record.run.transport == "mpi"));
}

#[cfg(feature = "mpi")]
#[test]
fn ranks_refuse_with_one_line_and_end() {
    let wrong = planned(&TINY.replace("window", "windows"));
    let Some(output) = bench_ranks(wrong.path(), 3) else { return };
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(said.matches("unknown field `windows`").count(), 1, "{said}");
    // Records that are there already are found when the other ranks wait for orders.
    let there = planned(TINY);
    fs::create_dir(there.path().join("out")).expect("a folder");
    fs::write(there.path().join("out").join(RECORDS), "").expect("a small file");
    let output = bench_ranks(there.path(), 3).expect("there is an mpirun");
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(said.matches("use --resume to continue it").count(), 1, "{said}");
    fs::remove_file(there.path().join("plan.toml")).expect("it was written");
    let output = bench_ranks(there.path(), 3).expect("there is an mpirun");
    assert_eq!(output.status.code(), Some(2), "{output:?}");
}

#[cfg(feature = "mpi")]
#[test]
fn ranks_without_memory_are_named_before_anything_is_touched() {
    let huge = "purpose = \"a test\"\nbudget_s = 60\n\n[[workloads]]\nname = \"huge\"\n\
                shape = \"broadcast\"\nsegments = 4000000000\nsegment_bytes = 1048576\n\n\
                [[contenders]]\nengine = \"lockfree\"\n";
    let dir = planned(huge);
    let Some(output) = bench_ranks(dir.path(), 3) else { return };
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    let said = String::from_utf8_lossy(&output.stderr);
    let said: Vec<_> = said.lines().filter_map(|line| line.strip_prefix("mpiswarm: ")).collect();
    // Three ranks with all inputs, and twice 4 PB.
    let begins =
        "rank 0: workload \"huge\", 2 peers, segments of 1 MiB: the 3 ranks of this host need ";
    assert!(said[0].starts_with(begins), "{said:?}");
    assert!(
        said[0].contains(" bytes of memory, ") && said[0].contains(" are available: use fewer")
    );
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(!dir.path().join("out").join(RECORDS).exists(), "nothing was begun");
}
