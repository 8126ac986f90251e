//! Threads whose peers decide what goes from whom to whom.

use super::*;

/// Quiet neighbours are found in a moment.
const SOON: [&str; 4] = ["--decide", "peers", "--patience", "request=200ms"];

fn decide(inputs: &str, out: &Path, more: &[&str]) -> Output {
    run("lockfree", inputs, out, &[&SOON[..], more].concat())
}

#[test]
fn peers_that_decide_deliver_every_file() {
    for (name, segment_bytes) in [("small", "65536"), ("classic", "1024"), ("classic", "0")] {
        let out = tempfile::tempdir().expect("a folder");
        let more = ["--segment-bytes", segment_bytes, "--seed", "5"];
        let output = decide(&inputs(name), out.path(), &more);
        assert!(output.status.success(), "{output:?}");
        let summary = summary(&output);
        assert_eq!(summary["verified"], true);
        if name == "classic" {
            assert_eq!(summary["segments"], 11_000);
            assert_eq!(summary["files"], 110);
            let served = summary["served_bytes"].as_array().expect("a table by rank");
            assert_eq!(served[0], 0, "rank 0 moves nothing");
            let finished = summary["finished_s"].as_array().expect("a table by rank");
            assert!(finished[1..].iter().all(|at| at.as_f64() > Some(0.0)), "{finished:?}");
        }
        check_outputs(&inputs(name), out.path());
    }
}

/// With 32 peers nobody has all others as neighbours. Each file has two owners, and most peers want a few.
#[test]
fn thirty_three_nodes_deliver_what_each_wants() {
    for shape in [&["--owners", "2", "--wanted", "3"][..], &["--owners", "first"]] {
        let dir = tempfile::tempdir().expect("a folder");
        let (folder, out) = (dir.path().join("inputs"), dir.path().join("out"));
        let folder = folder.to_str().expect("it is text");
        let size = ["--peers", "32", "--files", "16", "--segments", "9", "--quiet"];
        let made =
            Command::new(PROGRAM).args(["synthesize", folder]).args(size).args(shape).output();
        assert!(made.expect("the program starts").status.success());
        let output = decide(folder, &out, &["--segment-bytes", "3000"]);
        assert!(output.status.success(), "{output:?}");
        check_outputs(folder, &out);
    }
}

#[test]
fn deciding_peers_fetch_corrupt_segments_elsewhere() {
    let out = tempfile::tempdir().expect("a folder");
    let more = ["--inject", "corrupt:0.02", "--segment-bytes", "1024"];
    let output = decide(&inputs("classic"), out.path(), &more);
    let summary = summary(&output);
    assert!(summary["corrupt_segments"].as_u64() > Some(0), "{summary}");
    assert!(output.status.success(), "{output:?}");
    check_outputs(&inputs("classic"), out.path());
}

#[test]
fn deciding_peers_report_files_of_which_every_copy_is_corrupt() {
    let out = tempfile::tempdir().expect("a folder");
    let output = decide(
        &inputs("small"),
        out.path(),
        &["--inject", "corrupt:1", "--patience", "silence=5s"],
    );
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let summary = summary(&output);
    assert_eq!(summary["segments"], 0);
    assert_eq!(summary["unavailable_files"].as_array().map(Vec::len), Some(0), "{summary}");
    let errors = summary["errors"].as_array().expect("a list");
    let line = "rank 1: segment 0 of note from rank 4 does not match its digest, 3 times";
    assert_eq!(errors.iter().filter(|error| **error == line).count(), 1, "{summary}");
}

#[test]
fn what_deciding_peers_have_no_use_for_is_refused() {
    for more in [
        &["--selection", "random"][..],
        &["--tracker-threads", "1"],
        &["--window", "4"],
        &["--inject", "drop:0.1"],
    ] {
        let out = tempfile::tempdir().expect("a folder");
        let output = decide(&inputs("small"), out.path(), more);
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(text.contains("--decide peers") && text.contains(more[0]), "{text}");
        let tracker = [&["--decide", "tracker"][..], more].concat();
        assert!(run("lockfree", &inputs("small"), out.path(), &tracker).status.success());
    }
    let out = tempfile::tempdir().expect("a folder");
    let output = run("mutex", &inputs("small"), out.path(), &SOON[..2]);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
}
