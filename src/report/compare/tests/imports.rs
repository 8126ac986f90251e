//! Results of other tools, as those write them.

use std::fs;

use crate::report::compare::import::{ImportError, osu, read};
use crate::report::compare::{Figure, Scenario};

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
    let rates = "MPI Multiple Bandwidth / Message Rate Test";
    close(values(rates, 64, Figure::Bandwidth), &[198.4e6]);
    close(values(rates, 64, Figure::MessageRate), &[3.1e6]);
}

#[test]
fn broken_texts_have_their_line() {
    let dir = tempfile::tempdir().expect("a folder");
    let sentence = |text: &str| {
        let path = dir.path().join("osu.txt");
        fs::write(&path, text).expect("written");
        let error = osu::read_files(&[path]).expect_err("broken").to_string();
        error.split_once("osu.txt:").expect("the file is named").1.to_owned()
    };
    let heading = "# OSU MPI Latency Test v7.4\n";
    let columns = "# Size          Latency (us)\n";
    assert_eq!(
        sentence(&format!("{heading}1 2\n")),
        "2: not a line of an OSU benchmark: numbers before `# Size …`"
    );
    assert_eq!(
        sentence(&format!("{heading}{columns}8 nan\n")),
        "3: not a line of an OSU benchmark: 8 nan"
    );
    assert_eq!(sentence(&format!("{heading}{columns}8\n")), "3: not a line of an OSU benchmark: 8");
    assert!(sentence(&format!("{heading}{columns}")).ends_with("it ends before the first size"));
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
    assert!(error.contains("sample.json:2: not a file of criterion"), "{error}");
    fs::write(new.join("sample.json"), r#"{"iters":[0.0],"times":[1.0]}"#).expect("written");
    assert!(read(dir.path()).expect_err("no number").to_string().contains("is not a number"));
}

#[test]
fn anything_else_is_refused() {
    let dir = tempfile::tempdir().expect("a folder");
    let error = read(dir.path()).expect_err("an empty folder");
    assert!(matches!(error, ImportError::Unknown { .. }), "{error}");
    let error = read(&dir.path().join("missing")).expect_err("nothing there").to_string();
    assert!(error.contains("missing: No such file"), "{error}");
}
