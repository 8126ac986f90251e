//! Every number of every flag and plan has a range: hostile values are refused with it, or run to the
//! end. New flags and keys are found by asking the program, so that none can be forgotten.
#![cfg(unix)]

use std::fs;
use std::path::Path;
use std::process::Command;

/// What no range holds.
const NEVER: [&str; 5] = ["-1", "nan", "inf", "1e300", "99999999999999999999999"];

/// A plan of moments that has every key, a line each.
const PLAN: &str = "\
purpose = \"a test\"
seed = 1
warm_up = 0
budget_s = 20
target = 0.05
ladder = false
repetitions.least = 1
repetitions.most = 1
[[workloads]]
name = \"w\"
shape = \"all-to-all\"
peers = 2
files = 2
segments = 2
file_bytes_max = 1000
segment_bytes = 10
owners = 1
wanted = 1
seed = 1
[[contenders]]
name = \"m\"
engine = \"mock\"
times_ms = 1
[[contenders]]
engine = \"lockfree\"
trace = true
switches.window = 4
switches.handout = 4
switches.tracker_threads = 1
switches.decide = \"tracker\"
switches.index = \"mutex\"
switches.counters = \"mutex\"
switches.buffers = \"fresh\"
switches.selection = \"random\"
switches.balance = \"random\"
switches.admission = \"queue\"
switches.verify = \"inline\"
[tracker]
peers = 2
segments = 10
service_threads = 1
handout = 4
index = \"mutex\"
counters = \"mutex\"
seconds = 0.01
loads = 1
";

// Flags that take a path: any text is one.
const PATHS: [&str; 4] = ["out", "report", "trace", "folder"];
// What only trees have, which stand in no plan with other shapes; tests of `bench` have them.
const OF_TREES: [&str; 3] = ["bytes", "folder", "stage"];

/// Runs the program in a folder. It has a minute, which is far more than anything here takes.
fn run(folder: &Path, arguments: &[String]) -> (Option<i32>, String) {
    let mut command = Command::new("timeout");
    command.args(["60", env!("CARGO_BIN_EXE_mpiswarm")]).args(arguments).current_dir(folder);
    let output = command.output().expect("the program starts");
    let said = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8_lossy(&said).into_owned())
}

fn words(line: &str) -> Vec<String> {
    line.split_whitespace().map(str::to_owned).collect()
}

/// Every flag of a command that takes a value, as the help lists them.
fn flags(folder: &Path, command: &str) -> Vec<String> {
    let (_, help) = run(folder, &words(&format!("{command} --help")));
    let flags = help.lines().filter_map(|line| line.trim_start().strip_prefix("--"));
    flags.filter_map(|flag| Some(flag.split_once(" <")?.0.to_owned())).collect()
}

#[test]
fn hostile_numbers_of_flags_are_refused_by_name() {
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("plan.toml"), bench_plan(PLAN)).expect("a small file");
    let inputs = concat!(env!("CARGO_MANIFEST_DIR"), "/inputs/small");
    let run_line = format!("run {inputs} --out=o --transport=local --verify=pool --quiet");
    for (line, flags_least) in [
        (run_line.as_str(), 13),
        ("synthesize made --overwrite --peers=2 --files=2 --segments=2", 7),
        ("simulate --peers=2 --segments=4", 7),
        ("bench plan.toml --out=records", 1),
    ] {
        let all = flags(folder.path(), line.split(' ').next().unwrap_or_default());
        let all = all.into_iter().filter(|flag| !PATHS.contains(&flag.as_str()));
        let all: Vec<_> = all.collect();
        assert!(all.len() >= flags_least, "{line}: {all:?}");
        for flag in all {
            let with = |value: &str| {
                let given = format!("--{flag}=");
                let others = words(line).into_iter().filter(|word| !word.starts_with(&given));
                others.chain([format!("{given}{value}")]).collect::<Vec<_>>()
            };
            for value in NEVER {
                let (code, said) = run(folder.path(), &with(value));
                assert_eq!(code, Some(2), "{:?}: {said}", with(value));
                assert!(said.contains(&format!("--{flag}")), "{:?}: {said}", with(value));
            }
            let (code, said) = run(folder.path(), &with("0"));
            assert!(matches!(code, Some(0 | 2)), "{:?}: {code:?} {said}", with("0"));
        }
    }
}

#[test]
fn every_command_and_plan_reads_sizes_and_times_with_units() {
    let folder = tempfile::tempdir().expect("a folder");
    let plan = PLAN
        .replace("budget_s = 20", "budget_s = \"20s\"")
        .replace("file_bytes_max = 1000", "file_bytes_max = \"1K\"")
        .replace("segment_bytes = 10", "segment_bytes = [\"10B\", \"1KiB\"]")
        .replace("times_ms = 1", "times_ms = \"1ms\"")
        .replace("seconds = 0.01", "seconds = \"10ms\"");
    fs::write(folder.path().join("plan.toml"), bench_plan(&plan)).expect("a small file");
    let inputs = concat!(env!("CARGO_MANIFEST_DIR"), "/inputs/small");
    let run_line = format!(
        "run {inputs} --out=o --transport=local --segment-bytes=4KiB --patience=registration=1m --json \
         --inject=delay:1ms"
    );
    for (line, expected) in [
        (run_line.as_str(), "\"segment_bytes\":4096"),
        (
            "simulate --peers=2 --segments=4 --segment-bytes=1MB --message-us=1ms --latency-us=2ms",
            "",
        ),
        ("synthesize --tree=t --files=2 --bytes=1M", "1048576 bytes"),
        ("bench plan.toml --out=records --transport=local --budget=1m", "or 60 s"),
        ("stage t --to=u --mkdir --transport=local --segment-bytes=64kib --memory=64MB", ""),
    ] {
        let (code, said) = run(folder.path(), &words(line));
        assert!(code == Some(0) && said.contains(expected), "{line}: {code:?} {said}");
    }
    for (line, expected) in [
        ("run --segment-bytes=64X", "use a size from 0 to 2147483647, such as 64K, not \"64X\""),
        ("bench plan.toml --budget=1d", "use a time from 1ms to 8760h, such as 2s or 200ms, not"),
        ("run --patience=ask=1d", "use a time from 10ms to 24h, such as 2s or 200ms, not"),
    ] {
        let (code, said) = run(folder.path(), &words(line));
        assert!(code == Some(2) && said.contains(expected), "{line}: {code:?} {said}");
    }
}

/// The plan with its numbers of a mock as the list that they are.
fn bench_plan(text: &str) -> String {
    let line = |line: &str| match line.split_once("times_ms = ") {
        Some((_, value)) => format!("times_ms = [{value}]\n"),
        None => format!("{line}\n"),
    };
    text.lines().map(line).collect()
}

/// Runs a plan; returns what came of it.
fn bench(text: &str) -> (Option<i32>, String) {
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("plan.toml"), bench_plan(text)).expect("a small file");
    run(folder.path(), &words("bench plan.toml --out=records --transport=local"))
}

/// The lines of the plan, of which one has another value.
fn changed(number: usize, line: &str) -> String {
    let lines = PLAN.lines().enumerate();
    lines.map(|(at, old)| format!("{}\n", if at == number { line } else { old })).collect()
}

#[test]
fn hostile_numbers_of_plans_are_refused_by_name() {
    let (code, said) = bench(PLAN);
    assert_eq!(code, Some(0), "{said}");
    let lines = PLAN.lines().enumerate();
    let values = lines.filter_map(|(at, line)| Some((at, line.split_once(" = ")?)));
    for (at, (key, value)) in values {
        let name = key.rsplit('.').next().unwrap_or(key);
        for hostile in NEVER {
            let (code, said) = bench(&changed(at, &format!("{key} = {hostile}")));
            assert_eq!(code, Some(2), "{key} = {hostile}: {said}");
            // TOML itself refuses `1e300` and longer numbers where it wants integers, with the line.
            assert!(
                said.contains("plan.toml:") && said.contains(name),
                "{key} = {hostile}: {said}"
            );
        }
        if !value.starts_with('"') {
            let (code, said) = bench(&changed(at, &format!("{key} = 0")));
            assert!(matches!(code, Some(0 | 2)), "{key} = 0: {code:?} {said}");
        }
    }
}

#[test]
fn the_plan_above_has_every_key_there_is() {
    let tables = PLAN.lines().enumerate().filter(|(_, line)| line.starts_with('['));
    let mut strange: Vec<_> =
        tables.map(|(at, line)| (at, format!("{line}\nstrange = 1"))).collect();
    let first = PLAN.lines().next().unwrap_or_default();
    strange.push((0, format!("{first}\nstrange = 1")));
    for prefix in ["repetitions.", "switches."] {
        let at = PLAN.lines().position(|line| line.starts_with(prefix)).expect("it has some");
        let line = PLAN.lines().nth(at).unwrap_or_default();
        strange.push((at, format!("{line}\n{prefix}strange = 1")));
    }
    let is_key = |letter: char| letter.is_ascii_lowercase() || letter == '_';
    let known: Vec<_> = PLAN.split(|letter| !is_key(letter)).collect();
    for (at, line) in strange {
        let (code, said) = bench(&changed(at, &line));
        assert_eq!(code, Some(2), "{said}");
        let (_, expected) = said.split_once("expected ").expect("the keys are listed");
        let keys: Vec<_> = expected.split('`').skip(1).step_by(2).collect();
        assert!(keys.len() > 1, "{said}");
        let missing: Vec<_> =
            keys.iter().filter(|key| !known.contains(*key) && !OF_TREES.contains(*key)).collect();
        assert!(missing.is_empty(), "{missing:?}: {said}");
    }
}

#[test]
fn a_budget_bounds_a_plan_of_thousands_of_runs() {
    let sizes: Vec<_> = (0..3000).map(|size| size.to_string()).collect();
    let sizes = format!("segment_bytes = [{}]", sizes.join(", "));
    let text =
        PLAN.replace("segment_bytes = 10", &sizes).replace("budget_s = 20", "budget_s = 0.5");
    let (code, said) = bench(&text);
    assert_eq!(code, Some(1), "{said}");
    assert!(
        said.contains("1 loads of the tracker; 3000 workloads for 2 contenders: 6000"),
        "{said}"
    );
    assert!(said.contains("of 3000 workloads not measured"), "{said}");
}

#[test]
fn what_can_not_be_written_is_refused_before_the_work() {
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("plan.toml"), bench_plan(PLAN)).expect("a small file");
    fs::write(folder.path().join("file"), "kept").expect("a small file");
    let inputs = concat!(env!("CARGO_MANIFEST_DIR"), "/inputs/small");
    for line in [
        &format!("run {inputs} --out=o --transport=local --report=/nonexistent/s.json"),
        &format!("run {inputs} --out=o --transport=local --report=."),
        "simulate --peers=3 --segments=8 --out=/proc/x",
        "simulate --peers=3 --segments=8 --out=file",
        "bench plan.toml --out=file",
        "synthesize file --peers=3 --files=2 --segments=8",
        "compare plan.toml --out=/nonexistent/table",
        "manifest plan.toml --out=/nonexistent/list",
    ] {
        let (code, said) = run(folder.path(), &words(line));
        assert_eq!(code, Some(2), "{line}: {said}");
        assert!(said.contains("name another place to write to"), "{line}: {said}");
        assert!(!folder.path().join("o").exists(), "{line}: nothing was moved");
    }
    // A look does not change what is there, and leaves nothing behind.
    let unfit = format!("run {inputs} --nodes=2 --out=o --transport=local --report=");
    for report in ["file", "new"] {
        let (code, said) = run(folder.path(), &words(&format!("{unfit}{report}")));
        assert_eq!(code, Some(2), "{said}");
    }
    assert_eq!(fs::read_to_string(folder.path().join("file")).expect("it is there"), "kept");
    assert!(!folder.path().join("new").exists());
}

#[test]
fn inputs_that_claim_too_much_are_refused_at_once() {
    let good = concat!(env!("CARGO_MANIFEST_DIR"), "/inputs/small/in1.txt");
    let pipe = |path: &Path| {
        let made = Command::new("mkfifo").arg(path).status().expect("mkfifo starts");
        assert!(made.success());
    };
    let link = |to: &str, path: &Path| std::os::unix::fs::symlink(to, path).expect("a link");
    let write = |path: &Path, text: &str| fs::write(path, text).expect("a small file");
    let long = |path: &Path| {
        let file = fs::File::create(path).expect("a file");
        file.set_len(1 << 40).expect("a hole takes no room");
    };
    type Make<'a> = &'a dyn Fn(&Path);
    let cases: [(Make<'_>, &str); 5] = [
        (&|dir| link("/dev/zero", &dir.join("in1.txt")), "not a file"),
        (&|dir| long(&dir.join("in1.txt")), "longer than"),
        (&|dir| link(good, &dir.join("in4294967294.txt")), "in1.txt: No such file"),
        (&|dir| link(good, &dir.join("in4294967295.txt")), "in1.txt: No such file"),
        (
            &|dir| write(&dir.join("in1.txt"), "1\nfile 4294967295\n00112233\n"),
            "announces 4294967295 segments, but the file ends after 1",
        ),
    ];
    for (make, expected) in cases {
        let folder = tempfile::tempdir().expect("a folder");
        make(folder.path());
        let (code, said) = run(folder.path(), &words("run --transport=local --out=o"));
        assert_eq!(code, Some(2), "{expected}: {said}");
        assert!(said.contains(expected), "{expected}: {said}");
    }
    // A pipe may get a writer, but nobody waits for it for ever.
    let folder = tempfile::tempdir().expect("a folder");
    pipe(&folder.path().join("in1.txt"));
    let waits = "run --transport=local --out=o --patience=registration=1s";
    let (code, said) = run(folder.path(), &words(waits));
    assert_eq!((code, said.contains("does a file hang?")), (Some(1), true), "{said}");
}
