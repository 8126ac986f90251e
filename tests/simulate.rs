//! `mpiswarm simulate`: worlds of many peers from the command line.

use std::fs;

use assert_cmd::Command;

fn simulate(arguments: &[&str]) -> std::process::Output {
    let mut command = Command::cargo_bin("mpiswarm").expect("the program was built");
    command.arg("simulate").args(arguments).output().expect("it starts")
}

#[test]
fn a_run_for_each_number_of_peers_and_each_kind_of_links_is_filed() {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let out = folder.path().join("scale").display().to_string();
    let arguments = "--peers 4,8 --segments 40 --decide tracker,peers \
                     --rates equal,log-normal:0.3 --wide --out";
    let arguments: Vec<&str> = arguments.split_whitespace().collect();
    let output = simulate(&[&arguments[..], &[&out]].concat());
    assert!(output.status.success(), "{output:?}");
    let lines = fs::read_to_string(folder.path().join("scale/scale.jsonl")).expect("it was filed");
    let runs: Vec<serde_json::Value> =
        lines.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(runs.len(), 8);
    for run in &runs {
        let ratio = run["ratio_to_bound"].as_f64().expect("a number");
        assert!((1.0..1.5).contains(&ratio), "{run}");
        assert!(run["tracker_utilization"].as_f64().is_some_and(|busy| busy > 0.0), "{run}");
        assert!(run["memory_bytes_per_peer"].is_null() || run["memory_bytes_per_peer"].is_number());
        assert!(run["control_bytes_per_byte"].as_f64().is_some_and(|part| part > 0.0), "{run}");
    }
    let table = fs::read_to_string(folder.path().join("scale/table.txt")).expect("it was filed");
    assert_eq!(String::from_utf8_lossy(&output.stdout), table);
    let drawing = fs::read_to_string(folder.path().join("scale/scale.svg")).expect("it was filed");
    assert!(drawing.starts_with("<svg") && drawing.contains("peers, log-normal:0.3"));
}

#[test]
fn plans_and_racks_are_filed() {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let out = folder.path().display().to_string();
    let arguments = "--peers 23 --segments 60 --racks 8:4 --decide peers,tracker,chain,binomial,circulant --out";
    let arguments: Vec<&str> = arguments.split_whitespace().collect();
    let output = simulate(&[&arguments[..], &[&out]].concat());
    assert!(output.status.success(), "{output:?}");
    let lines = fs::read_to_string(folder.path().join("scale.jsonl")).expect("it was filed");
    let runs: Vec<serde_json::Value> =
        lines.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let decided: Vec<_> = runs.iter().filter_map(|run| run["decide"].as_str()).collect();
    assert_eq!(decided, ["peers", "tracker", "chain", "binomial", "circulant"]);
    for run in &runs {
        assert_eq!(run["racks"], "8:4");
        assert!(run["ratio_to_bound"].as_f64().is_some_and(|ratio| ratio >= 1.0), "{run}");
        assert!(run["uplink_bytes_to_least"].as_f64().is_some_and(|ratio| ratio >= 1.0), "{run}");
    }
    let uplinks = |place: usize| runs[place]["uplink_bytes_to_least"].as_f64().expect("a number");
    assert!(2.0 * uplinks(0) < uplinks(1), "near neighbours spare the links between racks");
}

#[test]
fn peers_that_vanish_are_counted_and_nothing_is_lost_among_the_others() {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let out = folder.path().display().to_string();
    let arguments = "--peers 40 --segments 60 --vanish 0.2 --decide peers,tracker --wide --out";
    let arguments: Vec<&str> = arguments.split_whitespace().collect();
    let output = simulate(&[&arguments[..], &[&out]].concat());
    assert!(output.status.success(), "{output:?}");
    let lines = fs::read_to_string(folder.path().join("scale.jsonl")).expect("it was filed");
    for line in lines.lines() {
        let run: serde_json::Value = serde_json::from_str(line).expect("JSON");
        let found = ["vanish", "vanished", "missing_of_rest"].map(|name| run[name].as_f64());
        assert_eq!(found, [Some(0.2), Some(8.0), Some(0.0)], "{run}");
        assert!(run["ratio_to_bound"].as_f64().is_some_and(|ratio| ratio >= 1.0), "{run}");
    }
    assert_eq!(lines.lines().count(), 2);
    let output = simulate(&["--peers", "40", "--vanish", "0.2", "--decide", "peers,chain"]);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("--decide chain: a plan needs each of its nodes"), "{said}");
}

#[test]
fn a_tracker_that_takes_long_is_the_bound() {
    let busy = |message_us| {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let out = folder.path().display().to_string();
        let arguments =
            ["--peers", "8", "--segments", "40", "--message-us", message_us, "--out", &out];
        assert!(simulate(&arguments).status.success());
        let line = fs::read_to_string(folder.path().join("scale.jsonl")).expect("it was filed");
        let run: serde_json::Value = serde_json::from_str(&line).expect("JSON");
        run["ratio_to_bound"].as_f64().expect("a number")
    };
    assert!(busy("1000") > 5.0 * busy("1"));
}

#[test]
fn extreme_worlds_end_with_numbers() {
    for arguments in [
        "--segment-bytes 32768 --latency-us 3000",
        "--segment-bytes 1048576 --latency-us 100000",
        "--segment-bytes 64",
        "--segment-bytes 128",
        "--segment-bytes 13 --latency-us 0.001 --message-us 0.001",
        "--latency-us 10000000 --message-us 1000000",
        "--link-gbit 0.0001 --segment-bytes 2147483647 --rates log-normal:2",
        "--link-gbit 100000",
        "--segment-bytes 13 --segments 300",
    ] {
        let mut all = vec!["--peers", "3", "--segments", "8"];
        if arguments.contains("--segments ") {
            all.truncate(2);
        }
        all.extend(arguments.split(' '));
        let output = simulate(&all);
        assert!(output.status.success(), "{arguments}: {output:?}");
        let table = String::from_utf8_lossy(&output.stdout);
        assert!(!table.contains("inf") && !table.contains("NaN"), "{arguments}: {table}");
    }
}

#[test]
fn what_makes_no_world_is_refused() {
    for arguments in [
        ["--peers", "0"],
        ["--peers", "1000000"],
        ["--peers", "100000,100001"],
        ["--segments", "0"],
        ["--segment-bytes", "1"],
        ["--rates", "normal"],
        ["--message-us", "-1"],
        ["--racks", "32"],
        ["--racks", "0:4"],
        ["--racks", "32:0.5"],
        ["--decide", "ring"],
        ["--vanish", "0"],
        ["--vanish", "1"],
        ["--vanish", "0.001"],
    ] {
        let output = simulate(&arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {output:?}");
        assert!(!output.stderr.is_empty());
    }
    let output = simulate(&["--peers", "100000", "--segments", "1001"]);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("--peers 1 to 99900"), "{said}");
}
