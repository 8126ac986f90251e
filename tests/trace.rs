//! Traces of whole runs and stages, as a viewer reads them: threads, and ranks where there is an `mpirun`.

#[cfg(feature = "mpi")]
mod launch;

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

const PROGRAM: &str = env!("CARGO_BIN_EXE_mpiswarm");

/// A rank, and a segment.
type Segments = BTreeMap<(u64, u64), u64>;

/// What a trace holds, once it is as the Trace Event Format says.
#[derive(Debug, Default)]
struct Trace {
    ranks: BTreeSet<u64>,
    /// How often each name occurs.
    names: BTreeMap<String, u64>,
    received: Segments,
    hashed: Segments,
    written: Segments,
}

impl Trace {
    fn read(path: &Path, ranks: u64) -> Self {
        let text = fs::read_to_string(path).expect("there is a trace");
        let file: Value = serde_json::from_str(&text).expect("it is JSON");
        assert_eq!(file["otherData"]["dropped_spans"], 0, "{}", file["otherData"]);
        assert_eq!(file["displayTimeUnit"], "ns");
        let events = file["traceEvents"].as_array().expect("an array");
        let mut trace = Self::default();
        let mut named = BTreeSet::new();
        let mut pairs: BTreeMap<&str, Vec<&Value>> = BTreeMap::new();
        let mut tracks: BTreeMap<(u64, u64), Vec<&Value>> = BTreeMap::new();
        for event in events {
            let [rank, thread] = ["pid", "tid"].map(|field| number(event, field));
            assert!(rank < ranks && event["ts"].as_f64() >= Some(0.0), "{event}");
            let name = event["name"].as_str().expect("a name");
            match event["ph"].as_str().expect("a phase") {
                "M" => drop(named.insert((name, rank, thread))),
                "i" => assert_eq!(event["s"], "p", "{event}"),
                "X" => tracks.entry((rank, thread)).or_default().push(event),
                "b" | "e" => {
                    pairs.entry(event["id"].as_str().expect("an id")).or_default().push(event);
                }
                other => panic!("an unknown phase {other}: {event}"),
            }
            trace.ranks.insert(rank);
            if event["ph"] != "M" && event["ph"] != "e" {
                *trace.names.entry(name.to_owned()).or_default() += 1;
            }
        }
        for rank in 0..ranks {
            assert!(named.contains(&("process_name", rank, 0)), "rank {rank} has no name");
        }
        for (&(rank, thread), spans) in &tracks {
            assert!(named.contains(&("thread_name", rank, thread)), "{rank}, {thread}: no name");
            assert_nested(spans);
            spans.iter().for_each(|span| trace.count(span, rank));
        }
        for pair in pairs.values() {
            trace.check_pair(pair, ranks);
        }
        trace
    }

    fn count(&mut self, span: &Value, rank: u64) {
        let of = match span["name"].as_str() {
            Some("hashed") => &mut self.hashed,
            Some("written") => &mut self.written,
            _ => return,
        };
        *of.entry((rank, number(&span["args"], "segment"))).or_default() += 1;
    }

    /// An async event begins once and ends once, and names a rank that exists.
    fn check_pair(&mut self, pair: &[&Value], ranks: u64) {
        let [begin, end] = pair else { panic!("no pair: {pair:?}") };
        assert_eq!((&begin["ph"], &end["ph"]), (&"b".into(), &"e".into()), "{pair:?}");
        let same = ["name", "cat", "pid", "tid"].iter().all(|field| begin[field] == end[field]);
        assert!(same && begin["ts"].as_f64() <= end["ts"].as_f64(), "{pair:?}");
        let (rank, args) = (number(begin, "pid"), &begin["args"]);
        match begin["name"].as_str() {
            Some("received") => {
                let from = number(args, "from");
                assert!(from < ranks && from != rank && number(args, "bytes") > 0, "{begin}");
                *self.received.entry((rank, number(args, "segment"))).or_default() += 1;
            }
            Some("sent") => {
                let to = number(args, "to");
                assert!(to < ranks && to != rank && number(args, "bytes") > 0, "{begin}");
            }
            Some("asked") => {}
            other => panic!("an unknown span {other:?}: {begin}"),
        }
    }

    /// Each of so many delivered segments was received and hashed.
    fn assert_delivered(&self, segments: usize) {
        assert_eq!(self.received.len(), segments);
        for (of, &received) in &self.received {
            // In the end game a segment may come twice, and is then not hashed again.
            let hashed = self.hashed.get(of).copied().unwrap_or_default();
            assert!((1..=received).contains(&hashed), "{of:?}: {received}, {hashed}");
        }
        let twice = self.received.values().sum::<u64>() - segments as u64;
        assert!(twice <= segments as u64 / 10, "{twice} of {segments} came twice");
        let of = |name: &str| self.names.get(name).copied().unwrap_or_default();
        assert!(of("asked") > 0 && of("sent") >= segments as u64, "{:?}", self.names);
        let waits = ["idle", "waits for the tracker", "waits for a holder", "waits for the disk"];
        assert!(waits.into_iter().any(|wait| of(wait) > 0), "{:?}", self.names);
    }
}

fn number(value: &Value, field: &str) -> u64 {
    value[field].as_u64().unwrap_or_else(|| panic!("no number {field}: {value}"))
}

/// Complete events of one track lie one within another, or apart. They come in the order of their begins.
fn assert_nested(spans: &[&Value]) {
    let ns = |value: &Value| (value.as_f64().expect("a number") * 1e3).round();
    let mut open: Vec<f64> = Vec::new();
    let mut last = 0.0;
    for span in spans {
        let (begin, dur) = (ns(&span["ts"]), ns(&span["dur"]));
        assert!(begin >= last && dur >= 0.0, "{span}");
        last = begin;
        open.retain(|&end| end > begin);
        assert!(open.iter().all(|&end| begin + dur <= end), "{span} ends after one around it");
        open.push(begin + dur);
    }
}

fn mpiswarm(arguments: &[&OsStr]) -> Output {
    Command::new(PROGRAM).args(arguments).output().expect("the program starts")
}

fn temp() -> tempfile::TempDir {
    tempfile::tempdir().expect("a folder")
}

/// Inputs of three peers in `folder/in`.
fn synthesize(folder: &Path) {
    let dir = folder.join("in");
    let words = ["--peers", "3", "--files", "4", "--segments", "30", "--owners", "1"];
    let named = [OsStr::new("synthesize"), dir.as_os_str()];
    let words = [&named[..], &words.map(OsStr::new)].concat();
    assert!(mpiswarm(&words).status.success());
}

/// The arguments of a run of those inputs.
fn run<'a>(paths: &'a [std::path::PathBuf; 3], more: &[&'a str]) -> Vec<&'a OsStr> {
    let [inputs, out, trace] = paths.each_ref().map(|path| path.as_os_str());
    let plain = ["--json", "--segment-bytes", "100K"].map(OsStr::new);
    let [run, out_flag, trace_flag] = ["run", "--out", "--trace"].map(OsStr::new);
    let named = [run, inputs, out_flag, out, trace_flag, trace];
    let more: Vec<&OsStr> = more.iter().map(|&word| OsStr::new(word)).collect();
    [&named[..], &plain, &more].concat()
}

fn paths(folder: &Path) -> [std::path::PathBuf; 3] {
    ["in", "out", "trace.json"].map(|name| folder.join(name))
}

fn segments(output: &Output) -> usize {
    assert!(output.status.success(), "{output:?}");
    let summary: Value = serde_json::from_slice(&output.stdout).expect("the summary is JSON");
    usize::try_from(number(&summary, "segments")).expect("a few")
}

#[test]
fn a_run_of_threads_leaves_a_trace() {
    for more in [&["--verify", "inline"][..], &["--verify", "pool", "--verify-threads", "2"]] {
        let folder = temp();
        synthesize(folder.path());
        let paths = paths(folder.path());
        let local = [&["--transport", "local"][..], more].concat();
        let segments = segments(&mpiswarm(&run(&paths, &local)));
        let trace = Trace::read(&paths[2], 4);
        assert_eq!(trace.ranks.len(), 4);
        trace.assert_delivered(segments);
        assert!(trace.names["file written"] >= 4, "{:?}", trace.names);
        assert_eq!(trace.names["the swarm opens"], 4);
    }
}

#[test]
fn what_a_limit_makes_wait_has_its_own_name() {
    let folder = temp();
    let paths = paths(folder.path());
    fs::create_dir(&paths[0]).expect("a folder");
    let hashes: String = (0..8).map(|position| format!("{position:08x}\n")).collect();
    fs::write(paths[0].join("in1.txt"), format!("1\na 8\n{hashes}0\n")).expect("a small file");
    fs::write(paths[0].join("in2.txt"), "0\n1\na\n").expect("a small file");
    // A segment takes a tenth of a second then, and many are asked for at once.
    let local = ["--transport", "local", "--limit-rate", "down=1M"];
    let segments = segments(&mpiswarm(&run(&paths, &local)));
    let trace = Trace::read(&paths[2], 3);
    trace.assert_delivered(segments);
    assert!(trace.names.contains_key("waits for --limit-rate"), "{:?}", trace.names);
}

#[cfg(feature = "mpi")]
#[test]
fn a_run_of_ranks_leaves_a_trace_of_all_of_them() {
    if !launch::can_start_ranks() {
        return;
    }
    let folder = temp();
    synthesize(folder.path());
    let paths = paths(folder.path());
    let output = launch::ranks(4, PROGRAM).args(run(&paths, &[])).output().expect("it starts");
    let segments = segments(&output);
    let trace = Trace::read(&paths[2], 4);
    assert_eq!(trace.ranks.len(), 4);
    trace.assert_delivered(segments);
}

#[test]
fn a_trace_that_cannot_be_written_is_refused_before_the_work() {
    let folder = temp();
    synthesize(folder.path());
    let mut paths = paths(folder.path());
    paths[2] = folder.path().join("none/trace.json");
    let refused = |arguments: &[&OsStr], why: &str| {
        let output = mpiswarm(arguments);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        assert!(said.contains(why) && output.stdout.is_empty(), "{output:?}");
    };
    let place =
        "none/trace.json: No such file or directory (os error 2): name another place to write to";
    refused(&run(&paths, &["--transport", "local"]), place);
    assert!(!paths[1].exists(), "nothing was begun");
    let to = folder.path().join("to");
    let arguments = stage(&paths[0], &to, &paths[2]);
    refused(&arguments, &format!("--trace {}", folder.path().join(place).display()));
    assert!(!to.exists(), "nothing was begun");
    paths[2] = folder.path().join("trace.json");
    let mutex = ["--transport", "local", "--engine", "mutex"];
    refused(&run(&paths, &mutex), "--trace: the mutex engine keeps none: leave it out");
    let dry = [&stage(&paths[0], &to, &paths[2])[..], &[OsStr::new("--dry-run")]].concat();
    refused(&dry, "--dry-run");
    assert!(!paths[2].exists(), "no file is left behind");
}

fn stage<'a>(source: &'a Path, to: &'a Path, trace: &'a Path) -> Vec<&'a OsStr> {
    let [to, trace] = [to, trace].map(Path::as_os_str);
    let [stage, to_flag, trace_flag] = ["stage", "--to", "--trace"].map(OsStr::new);
    let named = [stage, source.as_os_str(), to_flag, to, trace_flag, trace];
    let plain = ["--json", "--mkdir", "--segment-bytes", "16K"].map(OsStr::new);
    [&named[..], &plain].concat()
}

/// A source of 20 segments.
fn source(folder: &Path) -> std::path::PathBuf {
    let source = folder.join("tree");
    fs::create_dir(&source).expect("it is new");
    let numbers = 0..20 * (16 << 10) / 4_u32;
    let bytes: Vec<u8> = numbers.flat_map(u32::to_le_bytes).collect();
    fs::write(source.join("file"), bytes).expect("a small file");
    source
}

#[test]
fn a_stage_of_one_process_leaves_a_trace() {
    let folder = temp();
    let (source, to) = (source(folder.path()), folder.path().join("to"));
    let path = folder.path().join("trace.json");
    let mut arguments = stage(&source, &to, &path);
    arguments.extend(["--transport", "local"].map(OsStr::new));
    let output = mpiswarm(&arguments);
    assert!(output.status.success(), "{output:?}");
    let trace = Trace::read(&path, 1);
    assert_eq!((trace.names["read"], trace.hashed.len(), trace.written.len()), (20, 20, 20));
    // Nothing is lacking any more.
    let output = mpiswarm(&arguments);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success() && said.contains("it is empty"), "{output:?}");
    let file: Value = serde_json::from_slice(&fs::read(&path).expect("it is there")).expect("JSON");
    assert_eq!(file["traceEvents"], Value::Array(Vec::new()));
}

#[cfg(feature = "mpi")]
#[test]
fn a_stage_of_ranks_leaves_a_trace_of_all_of_them() {
    if !launch::can_start_ranks() {
        return;
    }
    let folder = temp();
    let (source, to) = (source(folder.path()), folder.path().join("to/{rank}"));
    let path = folder.path().join("trace.json");
    let output = launch::ranks(4, PROGRAM).args(stage(&source, &to, &path)).output();
    let output = output.expect("it starts");
    assert!(output.status.success(), "{output:?}");
    let trace = Trace::read(&path, 4);
    assert_eq!((trace.ranks.len(), trace.names["read"], trace.written.len()), (4, 20, 80));
    trace.assert_delivered(60);
    // Another rank reads the source; rank 0 writes the trace, and says that it can't.
    let (again, lost) = (folder.path().join("again/{rank}"), folder.path().join("none/trace.json"));
    let mut arguments = stage(&source, &again, &lost);
    arguments.extend(["--from", "2"].map(OsStr::new));
    let output = launch::ranks(4, PROGRAM).args(arguments).output().expect("it starts");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(said.matches("name another place to write to").count(), 1, "{output:?}");
    assert_eq!(output.status.code(), Some(2), "{output:?}");
}
