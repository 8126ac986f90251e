//! What a killed process leaves, and what is made of it.

use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};

use super::*;

/// A record of the repetition `repetition`, as a run leaves it.
pub(crate) fn example(repetition: u32) -> Record {
    let mut record = serde_json::json!({
        "record_schema": 1, "workload": "w", "contender": "a b,c", "parameters": {"window": 4},
        "repetition": repetition, "ended_at_s": 12.5, "verification": "inline",
        "verification_s": 0.5, "cpu_s": 1.25, "cpu_system_s": 0.25, "cpu_setup_s": 0.75,
        "peak_rss_bytes": 4096,
        "processes": 1, "voluntary_switches": 7, "involuntary_switches": 8,
    });
    let of_run = serde_json::json!({
        "peers": 1, "segment_bytes": 1024, "seed": 3, "files": 1, "makespan_s": 0.25,
        "finished_s": [null, 0.25], "bound_s": null, "ratio_to_bound": null, "segments": 0,
        "bytes_delivered": 0,
    });
    let summary = serde_json::to_value(crate::report::example::summary()).expect("plain data");
    for fields in [summary, of_run] {
        let fields = fields.as_object().expect("an object").clone();
        record.as_object_mut().expect("an object").extend(fields);
    }
    serde_json::from_value(record).expect("a record")
}

fn latency() -> Latency {
    let mut latency = Latency::new();
    (1..=100).for_each(|us| latency.record(Duration::from_micros(us)));
    latency
}

/// A folder with `count` records.
fn written(count: u32) -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a folder");
    let mut journal = Journal::begin(dir.path()).expect("nothing is there");
    (0..count).for_each(|number| {
        journal.add(&example(number), &latency()).expect("the folder can be written to");
    });
    dir
}

fn change(dir: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = std::fs::read(dir.join(RECORDS)).expect("there are records");
    change(&mut bytes);
    std::fs::write(dir.join(RECORDS), bytes).expect("the folder can be written to");
}

#[test]
fn records_are_read_as_they_were_written() {
    let dir = written(3);
    let recovered = read(dir.path()).expect("records");
    assert_eq!(recovered.records, [0, 1, 2].map(example));
    assert_eq!(recovered.cut_off, None);
}

#[test]
fn a_record_is_one_object_with_the_names_of_a_run() {
    let dir = written(1);
    let text = std::fs::read_to_string(dir.path().join(RECORDS)).expect("there are records");
    assert_eq!(text.lines().count(), 1);
    let value: serde_json::Value = serde_json::from_str(&text).expect("an object");
    assert_eq!(value["makespan_s"], 0.25);
    assert_eq!(value["schema"], 1);
    assert_eq!(value["parameters"]["window"], 4);
}

#[test]
fn wherever_the_last_line_is_cut_the_others_are_read() {
    let dir = written(2);
    let bytes = std::fs::read(dir.path().join(RECORDS)).expect("there are records");
    let second = bytes.iter().position(|&byte| byte == b'\n').expect("two lines") + 1;
    for cut in [second + 1, second + 20, bytes.len() - 1] {
        std::fs::write(dir.path().join(RECORDS), &bytes[..cut]).expect("it can be written");
        let recovered = read(dir.path()).expect("one record");
        assert_eq!(recovered.records, [example(0)]);
        assert_eq!(recovered.cut_off, Some(2));
        assert_eq!(recovered.whole_bytes, second as u64);
    }
}

#[test]
fn what_follows_a_cut_line_replaces_it() {
    let dir = written(2);
    change(dir.path(), |bytes| bytes.truncate(bytes.len() - 30));
    let log = dir.path().join(HISTOGRAMS);
    let bytes = std::fs::read(&log).expect("there is a log");
    std::fs::write(&log, &bytes[..bytes.len() - 30]).expect("it can be written");
    let (mut journal, recovered) = Journal::resume(dir.path()).expect("one record");
    assert_eq!(recovered.records, [example(0)]);
    journal.add(&example(1), &latency()).expect("the folder can be written to");
    assert_eq!(read(dir.path()).expect("records").records, [example(0), example(1)]);
    assert_eq!(intervals(dir.path()).len(), 2);
}

#[test]
fn damage_is_named_with_its_file_and_line() {
    let dir = written(3);
    change(dir.path(), |bytes| bytes[0] = b'?');
    let said = read(dir.path()).expect_err("the first line is damaged").to_string();
    let place = format!("{}:1: not a record: ", dir.path().join(RECORDS).display());
    assert!(said.starts_with(&place), "{said}");
    assert!(Journal::resume(dir.path()).is_err());
}

#[test]
fn records_of_later_programs_are_refused() {
    let dir = written(1);
    change(dir.path(), |bytes| {
        let text =
            String::from_utf8_lossy(bytes).replace("\"record_schema\":1", "\"record_schema\":9");
        *bytes = text.into_bytes();
    });
    let said = read(dir.path()).expect_err("another version").to_string();
    assert!(said.ends_with(":1: a record of version 9; this program reads 1"), "{said}");
}

#[test]
fn records_are_never_begun_twice() {
    let dir = written(1);
    let error = Journal::begin(dir.path()).expect_err("they are there");
    assert!(error.to_string().contains(RECORDS), "{error}");
    assert_eq!(read(dir.path()).expect("records").records.len(), 1);
}

/// The tag, the start in ms and the length in ms of each interval.
fn intervals(dir: &Path) -> Vec<(String, u128, u128)> {
    let bytes = std::fs::read(dir.join(HISTOGRAMS)).expect("there is a log");
    IntervalLogIterator::new(&bytes)
        .filter_map(|entry| match entry.expect("the log is well formed") {
            LogEntry::Interval(interval) => Some((
                interval.tag().expect("every interval has one").as_str().to_owned(),
                interval.start_timestamp().as_millis(),
                interval.duration().as_millis(),
            )),
            LogEntry::StartTime(_) | LogEntry::BaseTime(_) => None,
        })
        .collect()
}

#[test]
fn latencies_are_read_by_the_reader_of_the_format() {
    let dir = written(2);
    let expected = ("w/1024/1/a;b;c".to_owned(), 12_250, 250);
    assert_eq!(intervals(dir.path()), [expected.clone(), expected]);
}
