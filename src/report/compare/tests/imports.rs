//! Results of other tools, as those write them.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use crate::report::compare::html::Page;
use crate::report::compare::import::{ImportError, read};
use crate::report::compare::{
    CompareError, Figure, Observation, Question, Scenario, Screen, Set, compare, table,
};
use crate::time::Clock;

// Two runs of a benchmark of point to point, with what a launcher prints before.
const LATENCY: &str = "\
Warning: no slots
# OSU MPI Latency Test v7.4
# Datatype: MPI_CHAR.
# Size       Avg Latency(us)
1                       0.21
65536                   6.60

# OSU MPI Latency Test v7.4
# Size          Latency (us)
1                       0.23
65536                   6.80
";
const BCAST: &str = "\
# OSU MPI Broadcast Latency Test v7.4
# Size       Avg Latency(us)   Min Latency(us)   Max Latency(us)  Iterations
1048576               219.07            180.21            260.33         100
";
const RATES_TITLE: &str = "MPI Multiple Bandwidth / Message Rate Test";
const RATES: &str = "\
# OSU MPI Multiple Bandwidth / Message Rate Test v5.8
# [ pairs: 2 ] [ window size: 64 ]
# Size                  MB/s        Messages/s
64                    198.40        3100000.00
";

#[test]
fn texts_of_osu_are_read() {
    let dir = tempfile::tempdir().expect("a folder");
    for (name, text) in [("latency.txt", LATENCY), ("bcast.txt", BCAST), ("rate.out", RATES)] {
        fs::write(dir.path().join(name), text).expect("written");
    }
    let set = read(dir.path()).expect("three texts");
    let size = |workload: &str, bytes| Scenario {
        workload: workload.to_owned(),
        segment_bytes: Some(bytes),
        parameters: if workload == RATES_TITLE { "[ pairs: 2 ] [ window size: 64 ]" } else { "" }
            .to_owned(),
        ..Scenario::default()
    };
    let values = |workload: &str, bytes, figure| -> Vec<f64> {
        let runs = set.series(&size(workload, bytes), "osu");
        runs.iter().map(|run| run.values[&figure]).collect()
    };
    let close = |values: Vec<f64>, expected: &[f64]| {
        assert_eq!(values.len(), expected.len());
        for (value, expected) in values.iter().zip(expected) {
            assert!((value / expected - 1.0).abs() < 1e-12, "{value} is not {expected}");
        }
    };
    close(values("MPI Latency Test", 65536, Figure::MessageLatency), &[6.6e-6, 6.8e-6]);
    close(values("MPI Broadcast Latency Test", 1 << 20, Figure::MessageLatency), &[219.07e-6]);
    close(values(RATES_TITLE, 64, Figure::Bandwidth), &[198.4e6]);
    close(values(RATES_TITLE, 64, Figure::MessageRate), &[3.1e6]);
}

/// The set of a folder with these files.
fn folder(files: &[(&str, &str)]) -> (tempfile::TempDir, Result<Set, ImportError>) {
    let dir = tempfile::tempdir().expect("a folder");
    for (name, text) in files {
        let path = dir.path().join(name);
        fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        fs::write(path, text).expect("written");
    }
    let set = read(dir.path());
    (dir, set)
}

/// Each result as `workload, parameters, size: runs` in the order of names.
fn results(set: &Set) -> Vec<String> {
    let line = |(scenario, contender)| {
        let scenario: &Scenario = scenario;
        let runs = set.series(scenario, contender).len();
        [&scenario.workload, &scenario.parameters, &scenario.size(), &runs.to_string()]
            .map(String::as_str)
            .join("|")
    };
    set.keys().into_iter().map(line).collect()
}

const HEAD: &str = "# OSU MPI Latency Test v5.8\n# Size          Latency (us)\n";

#[test]
fn what_is_no_row_is_passed_over_with_a_note() {
    let text = format!("{HEAD}8 1.5\n[node1:04711] 3 more processes\n8 nan\n16\n32 1 2\n64 1.7\n");
    let (_dir, set) = folder(&[("latency.txt", &text), ("README", "of \"# OSU\""), ("more/x", "")]);
    let set = set.expect("two rows");
    assert_eq!(results(&set), ["MPI Latency Test||8 B|1", "MPI Latency Test||64 B|1"]);
    let expected = [
        "lines that are no rows of a table: 4 lines from latency.txt:4 on",
        "passed over, for there is no text of an OSU benchmark in it: README",
        "not read, for it is no file: more",
    ];
    assert_eq!(set.warnings, expected);
    // Where nothing is left, that is why.
    let (_dir, none) = folder(&[("latency.txt", HEAD)]);
    let sentence = none.expect_err("no row").to_string();
    let expected = ": no result that can be read; benchmarks without a table that is read: MPI Latency Test at \
                    latency.txt:1";
    assert!(sentence.ends_with(expected), "{sentence}");
}

#[test]
fn a_benchmark_without_a_table_does_not_hide_the_next() {
    let log = "mpi@4.1 osu_hello\n# OSU MPI Hello World Test v5.6.3\nThis is a test with 2 processes\n\
               # OSU MPI Barrier Latency Test v7.3\n# Avg Latency(us)\n             1.51\n\
               # OSU MPI Multiple Bandwidth / Message Rate Test v5.6.3\n# [ pairs: 1 ] [ window size: varied ]\n\
               # Uni-directional Bandwidth (MB/sec)\n#   1   2\n1   3.4   5.6\n";
    let (_dir, set) = folder(&[("ci.log", log)]);
    let set = set.expect("a barrier");
    assert_eq!(results(&set), ["MPI Barrier Latency Test|||1"]);
    assert_eq!(set.observations[0].values[&Figure::MessageLatency], 1.51e-6);
    let expected = "benchmarks without a table that is read: MPI Hello World Test at ci.log:2, MPI Multiple \
                    Bandwidth / Message Rate Test at ci.log:7";
    assert_eq!(set.warnings, [expected]);
}

#[test]
fn validation_is_no_number_and_its_failure_is_said() {
    let text = "# OSU MPI Allreduce Latency Test v7.4\n# Datatype: MPI_INT.\n\
                # Size       Avg Latency(us)        Validation\n1  1.63  Pass\n16  1.71  Fail\n";
    let (_dir, set) = folder(&[("allreduce.txt", text)]);
    let set = set.expect("two rows");
    let of = "MPI Allreduce Latency Test|Datatype: MPI_INT";
    assert_eq!(results(&set), [format!("{of}|1 B|1"), format!("{of}|16 B|1")]);
    assert_eq!(set.warnings, ["validation failed: allreduce.txt:5"]);
}

#[test]
fn what_differs_in_its_comments_is_not_one_result() {
    let test = |comment: &str| format!("{}{comment}{}0 2.5\n", &HEAD[..28], &HEAD[27..]);
    let comments = [
        "# [ pairs: 2 ]",
        "# [ pairs: 48 ]",
        "# Send Buffer on DEVICE (D) and Receive Buffer on HOST (H)",
        "# Window creation: MPI_Win_allocate\n# Synchronization: MPI_Win_flush",
        "# Datatype: MPI_CHAR.",
    ];
    let texts = comments.map(test);
    let all = texts.concat() + &texts[0];
    let (_dir, set) = folder(&[("osu.o12345", &all)]);
    let set = set.expect("five results");
    let of = |comment: &str, runs| format!("MPI Latency Test|{comment}|0 B|{runs}");
    let expected = [
        // Older versions send MPI_CHAR and do not say so.
        of("", 1),
        of("Send Buffer on DEVICE (D) and Receive Buffer on HOST (H)", 1),
        of("Window creation: MPI_Win_allocate, Synchronization: MPI_Win_flush", 1),
        of("[ pairs: 2 ]", 2),
        of("[ pairs: 48 ]", 1),
    ];
    assert_eq!(results(&set), expected);
    // Which ranks took part is in no text of a collective call.
    let two = [("a-16", texts[0].as_str()), ("a-64.dat", &texts[0]), ("osu_bw-4.1", &texts[1])];
    let (_dir, set) = folder(&two);
    let warnings = set.expect("three files").warnings;
    assert_eq!(warnings.len(), 1);
    assert!(warnings[0].ends_with("MPI Latency Test of a-16 and a-64.dat"), "{warnings:?}");
}

#[test]
fn ranks_that_a_launcher_put_before_lines_are_taken_off() {
    for prefix in
        ["[0] ", "[0]", "0: ", " 3: ", "[1,0]<stdout>:", "[prterun-node1-7@1,0]<stdout>: "]
    {
        let text = format!("noise\n{HEAD}1                       1.72\n");
        let text: String = text.lines().map(|line| format!("{prefix}{line}\n")).collect();
        let (_dir, set) = folder(&[("out", &text)]);
        let set = set.expect("a row");
        assert_eq!(
            (results(&set).as_slice(), &set.warnings),
            (&["MPI Latency Test||1 B|1".to_owned()][..], &Vec::new())
        );
    }
}

#[test]
fn folders_of_criterion_are_read() {
    let dir = tempfile::tempdir().expect("a folder");
    let new = dir.path().join("index/atomic/4/new");
    fs::create_dir_all(&new).expect("made");
    let benchmark = r#"{"group_id":"index","function_id":"atomic","value_str":"4","throughput":null,
        "full_id":"index/atomic/4","directory_name":"index/atomic/4","title":"index/atomic/4"}"#;
    fs::write(new.join("benchmark.json"), benchmark).expect("written");
    let samples = r#"{"sampling_mode":"Linear","iters":[10.0,20.0],"times":[1000.0,2200.0]}"#;
    fs::write(new.join("sample.json"), samples).expect("written");
    let set = read(dir.path()).expect("one benchmark");
    assert_eq!(set.contenders(), ["atomic"]);
    let times: Vec<f64> =
        set.observations.iter().map(|one| one.values[&Figure::Iteration]).collect();
    assert!((times[0] - 1e-7).abs() < 1e-18 && (times[1] - 1.1e-7).abs() < 1e-18, "{times:?}");
    assert_eq!(set.observations[0].scenario.parameters, "4");

    fs::write(new.join("sample.json"), "{\"iters\":[1.0],\n\"times\":[}").expect("written");
    let error = read(dir.path()).expect_err("broken").to_string();
    let expected = "it can't be read: index/atomic/4/new/sample.json:2: not a file of criterion";
    assert!(error.contains(expected), "{error}");
    fs::write(new.join("sample.json"), r#"{"iters":[0.0],"times":[1.0]}"#).expect("written");
    assert!(read(dir.path()).expect_err("no number").to_string().contains("is not a number"));
}

/// The files of a benchmark in a folder of criterion.
fn benchmark(place: &str, id: &str, title: &str, ns: f64) -> [(String, String); 2] {
    let named = format!(
        r#"{{"group_id":"{id}","function_id":null,"value_str":null,"full_id":"{id}","title":"{title}"}}"#
    );
    let samples = format!(r#"{{"iters":[1.0,2.0],"times":[{ns},{}]}}"#, 2.0 * ns);
    [(format!("{place}/benchmark.json"), named), (format!("{place}/sample.json"), samples)]
}

fn criterion(files: &[[(String, String); 2]]) -> (tempfile::TempDir, Result<Set, ImportError>) {
    let files: Vec<_> =
        files.iter().flatten().map(|(name, text)| (name.as_str(), text.as_str())).collect();
    folder(&files)
}

#[test]
fn benchmarks_of_one_id_stay_apart() {
    let (_dir, set) = criterion(&[
        benchmark("long/new", "long", "long", 100.0),
        benchmark("long_2/new", "long", "long #2", 9e4),
        benchmark("own_3/new", "own #3", "own #3", 9e4),
        // Two crates.
        benchmark("a/criterion/x/new", "x", "x", 1.0),
        benchmark("b/criterion/x/new", "x", "x", 5.0),
    ]);
    let expected =
        ["long|||2", "long|#2||2", "own #3|||2", "x|in a/criterion/x||2", "x|in b/criterion/x||2"];
    assert_eq!(results(&set.expect("five benchmarks")), expected);
}

#[test]
fn a_folder_that_lacks_its_name_hides_no_other() {
    let [_, leftover] = benchmark("old/new", "old", "old", 1.0);
    let [named, samples] = benchmark("now/new", "now", "now", 1.0);
    let [other, _] = benchmark("half/new", "half", "half", 1.0);
    let broken = ("half/new/sample.json".to_owned(), "{".to_owned());
    let (_dir, set) = criterion(&[[named, samples], [leftover.clone(), leftover], [other, broken]]);
    let set = set.expect("one benchmark");
    assert_eq!(results(&set), ["now|||2"]);
    let warning = &set.warnings[0];
    assert!(warning.contains("old/new/benchmark.json: No such file"), "{warning}");
    assert!(warning.contains("half/new/sample.json:1: not a file of criterion"), "{warning}");
}

#[test]
fn a_saved_baseline_is_a_set_of_its_own() {
    let (dir, set) = criterion(&[
        benchmark("x/new", "x", "x", 100.0),
        benchmark("x/before", "x", "x", 200.0),
        benchmark("y/new", "y", "y", 1.0),
    ]);
    assert_eq!(results(&set.expect("the latest")), ["x|||2", "y|||2"]);
    let named = |name: &str| {
        let mut path = dir.path().as_os_str().to_owned();
        path.push(format!("@{name}"));
        read(Path::new(&path))
    };
    let before = named("before").expect("a baseline");
    assert_eq!(results(&before), ["x|||2"]);
    assert!(before.label.ends_with("@before"));
    assert_eq!(before.observations[0].values[&Figure::Iteration], 200.0 / 1e9);
    let sentence = named("befor").expect_err("no such baseline").to_string();
    assert!(
        sentence.ends_with("no baseline \"befor\" of criterion; it has before, new"),
        "{sentence}"
    );
}

/// With a time that grew with the cube of the benchmarks, 200 of them took 27 s, and a page 38 s.
#[test]
fn many_benchmarks_are_compared_in_a_moment() {
    let one = |(group, sample): (u32, u32)| Observation {
        scenario: Scenario { workload: format!("bench{group}"), ..Scenario::default() },
        contender: format!("bench{group}"),
        values: BTreeMap::from([(Figure::Iteration, 1e-7 + f64::from(sample) * 1e-10)]),
        ..Observation::default()
    };
    let runs: Vec<_> =
        (0..400).flat_map(|group| (0..20).map(move |sample| one((group, sample)))).collect();
    let of = |label: &str| Set {
        label: label.to_owned(),
        observations: runs.clone().into(),
        ..Set::default()
    };
    let sets = [of("A"), of("B")];
    let clock = Clock::start();
    let comparison = compare(&sets, &Question::default()).expect("400 results");
    let none = compare(&sets[..1], &Question::default()).expect_err("all differ");
    let page = Page {
        comparison: &comparison,
        everything: &comparison,
        sets: &sets,
        beside: &sets,
        command: "mpiswarm compare",
    };
    let length = page.html().len() + table::text(&comparison, Screen::FILE).len();
    let took = clock.now().0 / 1_000_000;
    assert!(matches!(none, CompareError::NoMatch { .. }) && length > 100_000);
    assert!(took < 20_000, "{took} ms for 400 benchmarks");
}

#[test]
fn anything_else_is_refused() {
    let dir = tempfile::tempdir().expect("a folder");
    let error = read(dir.path()).expect_err("an empty folder");
    assert!(matches!(error, ImportError::Unknown { .. }), "{error}");
    let error = read(&dir.path().join("missing")).expect_err("nothing there").to_string();
    assert!(error.contains("missing: No such file"), "{error}");
}
