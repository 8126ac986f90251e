//! Folders as the harness writes them, and broken ones.

use std::fs;
use std::path::Path;
use std::time::Duration;

use super::*;
use crate::harness::environment::Calibration;
use crate::harness::records::Journal;
use crate::harness::records::tests::example;
use crate::harness::{Launch, Plan};
use crate::metrics::{Latency, LatencySummary};

const PLAN: &str = "purpose = \"a test\"\nbudget_s = 1\n\
    [[workloads]]\nname = \"w\"\nshape = \"all-to-all\"\nfiles = 4\nsegments = 4\nsegment_bytes = 1024\n\
    [[contenders]]\nengine = \"lockfree\"\n";

/// A line as the harness writes it.
fn line(repetition: u32, makespan_s: f64) -> String {
    let mut record = example(repetition);
    record.contender = "lockfree".to_owned();
    let parameters = serde_json::json!({"window": 4, "shape": "all-to-all", "files": 4});
    record.parameters = parameters.as_object().expect("an object").clone();
    record.run.makespan_s = makespan_s;
    record.run.ratio_to_bound = Some(2.0);
    record.run.segment_latency_ns = LatencySummary { p50: 1000, p99: 2000, p999: 3000, max: 4000 };
    serde_json::to_string(&record).expect("plain data") + "\n"
}

fn folder(dir: &Path, records: &str) {
    fs::write(dir.join(RECORDS), records).expect("written");
    let plan = Plan::parse(Path::new("quick.toml"), PLAN.to_owned(), None).expect("a plan");
    let mut environment = Environment::capture(&plan, &Launch::Threads, Calibration::default());
    environment.load_at_start = Some([1e3; 3]);
    environment.program.profile = "debug".to_owned();
    let text = serde_json::to_string_pretty(&environment).expect("plain data");
    fs::write(dir.join(ENVIRONMENT), text).expect("written");
}

/// What reading the folder says, from the name of the file on.
fn sentence(dir: &Path) -> String {
    let error = read(dir).expect_err("the folder is broken").to_string();
    error.strip_prefix(&format!("{}/", dir.display())).unwrap_or(&error).to_owned()
}

#[test]
fn records_become_a_set() {
    let dir = tempfile::tempdir().expect("a folder");
    let cut = &line(2, 1.0)[..500];
    folder(dir.path(), &[&line(0, 1.0), &line(1, 1.5), cut].concat());
    let set = read(dir.path()).expect("a measurement");
    let scenario = Scenario {
        workload: "w".to_owned(),
        peers: Some(1),
        segment_bytes: Some(1024),
        parameters: "shape=all-to-all files=4".to_owned(),
        ..Scenario::default()
    };
    let runs = set.series(&scenario, "lockfree");
    let makespans: Vec<f64> = runs.iter().map(|run| run.values[&Figure::Makespan]).collect();
    assert_eq!(makespans, [1.0, 1.5]);
    assert_eq!(runs[0].values[&Figure::LatencyP99], 2e-6);
    assert_eq!(runs[0].switches, BTreeMap::from([("window".to_owned(), "4".to_owned())]));
    let warnings = set.warnings.join("\n");
    for expected in [
        "profile debug",
        "the machine was busy when it began: a load above half of",
        "line 3 of the records is cut off",
    ] {
        assert!(warnings.contains(expected), "{expected} is not in {warnings}");
    }
    assert!(set.commands.iter().any(|command| command.contains("bench quick.toml")));
}

#[test]
fn a_run_that_delivered_less_has_no_makespan() {
    let dir = tempfile::tempdir().expect("a folder");
    // Not one that nobody checked: there is nothing verified in it, and its peers finished.
    let unchecked = line(3, 1.0).replace("\"verified\":true", "\"verified\":false");
    let unchecked = unchecked.replace("\"checked\":true", "\"checked\":false");
    let broken = line(1, 0.1).replace("\"verified\":true", "\"verified\":false");
    let beyond = line(2, 0.1).replace("\"ratio_to_bound\":2.0", "\"ratio_to_bound\":0.2");
    folder(dir.path(), &[line(0, 1.0), broken, beyond, unchecked].concat());
    let set = read(dir.path()).expect("a measurement");
    assert_eq!(set.observations.len(), 3);
    let warnings = set.warnings.join("\n");
    let of = "lockfree, w, 1 peer, 1 KiB: ";
    assert!(warnings.contains(&format!("{of}1 of 4 runs were incomplete")), "{warnings}");
    assert!(warnings.contains(&format!("{of}1 run faster than the bound")), "{warnings}");
    assert_eq!(set.incomplete.into_values().collect::<Vec<_>>(), [1]);
    // A bound that a run beats is wrong, and not the run. A twentieth is the error of measuring.
    for (ratio, warns) in [("0.2", true), ("0.96", false)] {
        let ratio = format!("\"ratio_to_bound\":{ratio}");
        folder(dir.path(), &line(0, 0.1).replace("\"ratio_to_bound\":2.0", &ratio));
        let set = read(dir.path()).expect("a measurement");
        let warned = set.warnings.iter().any(|line| line.contains("faster than the bound"));
        assert_eq!((set.incomplete.len(), warned), (0, warns), "{ratio}");
    }
}

#[test]
fn latencies_of_a_series_are_added_up() {
    let dir = tempfile::tempdir().expect("a folder");
    let records: Vec<Record> =
        (0..3).map(|index| serde_json::from_str(&line(index, 1.0)).expect("a record")).collect();
    let mut latency = Latency::new();
    (1..=100).for_each(|us| latency.record(Duration::from_micros(us)));
    let mut journal = Journal::begin(dir.path()).expect("a new folder");
    records.iter().for_each(|record| journal.add(record, &latency).expect("written"));
    let text = fs::read_to_string(dir.path().join(RECORDS)).expect("written");
    folder(dir.path(), &text);
    let set = read(dir.path()).expect("a measurement");
    let (_, all) = set.latencies.iter().next().expect("one series");
    assert_eq!((set.latencies.len(), all.len()), (1, 300));

    let log = dir.path().join(HISTOGRAMS);
    let whole = fs::read_to_string(&log).expect("written");
    let last = whole.lines().count();
    fs::write(&log, whole.replace("HIST", "----")).expect("written");
    let expected = format!("{HISTOGRAMS}:{}: not an interval of an HdrHistogram log", last - 2);
    assert_eq!(sentence(dir.path()), expected);
}

#[test]
fn broken_folders_have_file_and_line() {
    let dir = tempfile::tempdir().expect("a folder");
    let at = dir.path();
    assert!(sentence(at).starts_with("records.jsonl: No such file"));
    folder(at, "");
    assert_eq!(sentence(at), "records.jsonl: no runs");
    let good = line(0, 1.0);
    folder(at, &format!("{good}{{\"half\n{good}"));
    assert!(sentence(at).starts_with("records.jsonl:2: not a record"), "{}", sentence(at));
    folder(at, &format!("{good}{}", good.replace("1.0", "NaN")));
    assert!(sentence(at).starts_with("records.jsonl:2: not a record"), "{}", sentence(at));
    // A later one need not have the fields of this one.
    folder(at, &format!("{good}{{\"record_schema\":9,\"schema\":1}}\n"));
    assert_eq!(sentence(at), "records.jsonl:2: a record of version 9; this program reads 1");
    folder(at, &format!("{good}{}", good.replace("\"schema\":1", "\"schema\":2")));
    assert_eq!(sentence(at), "records.jsonl:2: a record of version 2; this program reads 1");
    folder(at, &good);
    let path = at.join(ENVIRONMENT);
    let environment = fs::read_to_string(&path).expect("written");
    let newer = environment.replace("\"environment_schema\": 1", "\"environment_schema\": 3");
    fs::write(&path, newer).expect("written");
    assert_eq!(sentence(at), "environment.json: an environment of version 3; this program reads 1");
    fs::write(&path, "{\n\"environment_schema\": 1,\n}").expect("written");
    assert!(sentence(at).starts_with("environment.json:3: not a file of a measurement"));
    fs::remove_file(&path).expect("it is there");
    assert!(sentence(at).starts_with("environment.json: No such file"));
}

#[test]
fn loads_of_the_tracker_alone_are_a_measurement_too() {
    let dir = tempfile::tempdir().expect("a folder");
    folder(dir.path(), "");
    let load = |index: &str, repetition: u32| {
        format!(
            "{{\"tracker_schema\":1,\"peers\":16,\"segments\":1000,\"service_threads\":2,\
             \"handout\":10,\"index\":\"{index}\",\"counters\":\"mutex\",\"client_threads\":1,\
             \"repetition\":{repetition},\"handouts_per_second\":5e4,\"segments_per_second\":5e5,\
             \"empty\":0,\"elapsed_s\":0.25,\
             \"latency_ns\":{{\"p50\":1,\"p99\":2,\"p999\":3,\"max\":4}},\
             \"service_ns\":{{\"p50\":1000,\"p99\":2000,\"p999\":3,\"max\":4}}}}\n"
        )
    };
    let path = dir.path().join("tracker.jsonl");
    let both = [load("mutex", 0), load("dashmap", 0)].concat();
    fs::write(&path, format!("{both}{{\"tracker_s")).expect("written");
    let set = read(dir.path()).expect("a measurement");
    assert_eq!(set.contenders(), ["mutex", "dashmap index, mutex counters"]);
    assert_eq!(set.scenarios()[0].to_string(), "tracker, 2 threads, 1000 segments, 16 peers");
    assert_eq!(set.observations[1].values[&Figure::Handouts], 5e4);
    assert_eq!(set.observations[1].values[&Figure::ServiceP99], 2e-6);
    fs::write(&path, format!("{both}{{\"tracker_schema\":2}}\n")).expect("written");
    assert_eq!(
        sentence(dir.path()),
        "tracker.jsonl:3: a record of version 2; this program reads 1"
    );
}
