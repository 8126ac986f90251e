//! What programs see of a stage: lines of JSON, and a file of metrics.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::path::Path;

use serde_json::Value;

use super::{Ended, here, source, temp};

/// The metrics of a file, read as strictly as the OpenMetrics 1.0 text format says.
fn metrics(path: &Path) -> BTreeMap<String, f64> {
    let text = fs::read_to_string(path).expect("the metrics are there");
    let lines = text.strip_suffix("# EOF\n").expect("it ends with # EOF and a line feed");
    let mut found = BTreeMap::new();
    let mut family = ("", false);
    for line in lines.lines() {
        let words: Vec<_> = line.splitn(4, ' ').collect();
        match words[..] {
            ["#", "TYPE", name, "gauge"] => {
                assert!(!found.contains_key(name), "{name} comes twice");
                let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
                assert!(name.chars().all(is_name), "{name}");
                family = (name, false);
            }
            ["#", "UNIT", name, unit] => {
                assert!(name == family.0 && name.ends_with(&format!("_{unit}")), "{line}");
            }
            ["#", "HELP", name, help] => {
                assert!(name == family.0 && !help.is_empty() && !family.1, "{line}");
                family.1 = true;
            }
            [name, value] => {
                assert!(name == family.0, "no TYPE before {line}");
                let value = value.parse::<f64>().expect("a number");
                assert!(
                    value.is_finite() && found.insert(name.to_owned(), value).is_none(),
                    "{line}"
                );
            }
            _ => panic!("no line of the format: {line:?}"),
        }
    }
    found
}

fn of(metrics: &BTreeMap<String, f64>, name: &str) -> f64 {
    metrics[&format!("mpiswarm_stage_{name}")]
}

/// The lines of stderr, all of which are objects.
fn lines(ended: &Ended) -> Vec<Value> {
    let line =
        |line: &str| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    ended.stderr.lines().map(line).collect()
}

fn observed(source: &Path, to: &Path, prom: &Path) -> Ended {
    let words = ["--to", "", "--progress", "json", "--metrics", ""].map(OsStr::new);
    let mut arguments = words.to_vec();
    (arguments[1], arguments[5]) = (to.as_os_str(), prom.as_os_str());
    arguments.push(source.as_os_str());
    here(arguments)
}

#[test]
fn programs_are_told_how_far_a_stage_is_and_how_it_ended() {
    let (from, to) = (temp(), temp());
    let source = source(from.path());
    let prom = from.path().join("stage.prom");
    let ended = observed(&source, to.path(), &prom);
    let summary = ended.is(0).json();
    let lines = lines(&ended);
    let moving: Vec<_> = lines.iter().filter(|line| line["phase"] != "listing").collect();
    assert!(!moving.is_empty() && moving.iter().all(|line| line["schema"] == 1), "{lines:?}");
    let last = moving[moving.len() - 1];
    assert_eq!((&last["phase"], &last["ranks"]), (&"writing".into(), &1.into()), "{last}");
    assert_eq!(last["verified_bytes"], last["wanted_bytes"]);
    let found = metrics(&prom);
    assert_eq!((of(&found, "running"), of(&found, "success")), (0.0, 1.0));
    assert_eq!(Some(of(&found, "tree_bytes")), summary["bytes_total"].as_f64());
    assert_eq!(Some(of(&found, "elapsed_seconds")), summary["makespan_s"].as_f64());
    // Nothing of the writing stays beside it.
    let names: Vec<_> = fs::read_dir(from.path()).expect("a folder").flatten().collect();
    assert_eq!(names.len(), 2, "{names:?}");
}

#[test]
fn metrics_tell_a_failure_and_are_refused_where_they_can_not_be_written() {
    let (from, to) = (temp(), temp());
    let source = source(from.path());
    let missing = from.path().join("none/stage.prom");
    observed(&source, to.path(), &missing).is(2).says("name another place to write to");
    observed(&source, to.path(), to.path()).is(2).says("it is not a file");
    observed(&source, to.path(), Path::new("/dev/null")).is(2).says("it is not a file");
    assert_eq!(fs::read_dir(to.path()).expect("a folder").count(), 0, "nothing was begun");
    // Once it has begun, the file says that it failed.
    let prom = from.path().join("stage.prom");
    let ends = [
        (from.path().join("missing"), to.path().to_owned()),
        (source.clone(), to.path().join("missing")),
    ];
    for (source, to) in ends {
        fs::write(&prom, "# EOF\n").expect("a small file");
        observed(&source, &to, &prom).is(2);
        let found = metrics(&prom);
        assert_eq!((of(&found, "running"), of(&found, "success")), (0.0, 0.0), "{source:?}");
    }
    let quiet = [source.as_os_str(), "--to".as_ref(), to.path().as_os_str()];
    let quiet = quiet.into_iter().chain(["--quiet", "--progress", "json"].map(OsStr::new));
    here(quiet).is(2).says("--quiet");
}

#[cfg(feature = "mpi")]
#[test]
fn rank_0_tells_it_of_all_ranks() {
    let (from, to) = (temp(), temp());
    let source = source(from.path());
    let prom = from.path().join("stage.prom");
    let more = ["--progress", "json", "--metrics"].map(OsStr::new);
    let arguments = [&[source.as_os_str()], &more[..], &[prom.as_os_str()]].concat();
    super::ranks(3, to.path(), &arguments).is(0);
    let found = metrics(&prom);
    let ranks = ["ranks", "ranks_complete", "ranks_failed"].map(|name| of(&found, name));
    assert_eq!((ranks, of(&found, "success")), ([3.0, 3.0, 0.0], 1.0));
    let nothing = from.path().join("missing");
    let missing = [&[nothing.as_os_str()], &arguments[1..]].concat();
    super::ranks(3, to.path(), &missing).is(2);
    let found = metrics(&prom);
    assert_eq!((of(&found, "running"), of(&found, "success")), (0.0, 0.0));
    // A rank that can't write is one that failed.
    fs::remove_dir_all(to.path().join("1")).expect("ours");
    fs::write(to.path().join("1"), "in the way").expect("a small file");
    super::ranks(3, to.path(), &arguments).is(1);
    let found = metrics(&prom);
    let ranks = ["ranks", "ranks_complete", "ranks_failed"].map(|name| of(&found, name));
    assert_eq!((ranks, of(&found, "success")), ([3.0, 2.0, 1.0], 0.0));
}
