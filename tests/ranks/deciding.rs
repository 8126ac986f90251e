//! Jobs under `mpirun` whose peers decide what goes from whom to whom.

use std::fs;
use std::path::Path;
use std::time::Duration;

use super::job::{Job, can_start, check_outputs, inputs, names, run, text};
use super::lost::{lose_for_a_while, signal_after_short_file};
use super::{owned, write};

/// Silence is noticed within seconds.
const SOON: [&str; 4] = ["--decide", "peers", "--patience", "silence=2s,ask=200ms,request=400ms"];

#[test]
fn five_ranks_that_decide_deliver_every_file() {
    if !can_start() {
        return;
    }
    let (small, out) = (inputs("small"), tempfile::tempdir().expect("a folder"));
    for segment_bytes in ["0", "1500", "300000"] {
        let sizes = ["--segment-bytes", segment_bytes, "--json"];
        let args = ["run", text(&small), "--overwrite", "--out", text(out.path())];
        let ended = run(5, &[&args[..], &["--decide", "peers"], &sizes].concat());
        assert_eq!(ended.code, Some(0), "{ended:?}");
        assert_eq!(ended.summary()["verified"], true);
        check_outputs(&small, out.path());
    }
}

#[test]
fn five_ranks_that_decide_fetch_corrupt_segments_elsewhere() {
    if !can_start() {
        return;
    }
    let dir = tempfile::tempdir().expect("a folder");
    let (folder, out) = (dir.path().join("inputs"), dir.path().join("out"));
    fs::create_dir(&folder).expect("a folder");
    write(&folder, 1, &format!("1\n{}0\n", owned("file", 300)));
    (2..5).for_each(|rank| write(&folder, rank, "0\n1\nfile\n"));
    let faults = ["--inject", "corrupt:0.1", "--segment-bytes", "2500", "--json"];
    let args = ["run", text(&folder), "--out", text(&out)];
    let ended = run(5, &[&args[..], &SOON, &faults].concat());
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(ended.summary()["corrupt_segments"].as_u64() > Some(0), "{ended:?}");
    check_outputs(&folder, &out);
}

/// Something happens to a rank while the long file is on its way.
fn lose(happens: impl Fn(&Job, &Path)) -> (super::job::JobResult, Vec<String>) {
    let (dir, out) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("one"));
    write(dir.path(), 1, &format!("2\n{}{}0\n", owned("short", 5), owned("long", 1_000)));
    write(dir.path(), 2, "0\n2\nshort\nlong\n");
    write(dir.path(), 3, "0\n1\nlong\n");
    let slowly = ["--segment-bytes", "0", "--inject", "delay:50"];
    let args = ["run", text(dir.path()), "--quiet", "--out", text(out.path())];
    let job = Job::start(4, &[&args[..], &SOON, &slowly].concat(), Duration::from_secs(180));
    happens(&job, out.path());
    let ended = job.end();
    let finished = names(out.path()).into_iter().filter(|name| name.starts_with("client"));
    (ended, finished.collect())
}

#[test]
fn a_stopped_rank_is_named_and_the_others_that_decide_complete() {
    if !can_start() || !Path::new("/proc/self/environ").exists() {
        return;
    }
    for rank in [0, 1, 3] {
        let (ended, finished) = lose(|_, out| signal_after_short_file("-STOP", rank, out));
        assert_eq!(ended.code, Some(1), "{ended:?}");
        let named = format!("rank {rank} is lost");
        assert!(ended.errors().iter().any(|error| error.contains(&named)), "{ended:?}");
        if rank == 3 {
            assert_eq!(finished, ["client2_long", "client2_short"], "{ended:?}");
        }
    }
}

#[test]
fn a_killed_rank_ends_the_job_of_deciding_ranks() {
    if !can_start() || !Path::new("/proc/self/environ").exists() {
        return;
    }
    let (ended, finished) = lose(|_, out| signal_after_short_file("-KILL", 3, out));
    assert_ne!(ended.code, Some(0), "{ended:?}");
    assert_eq!(finished, ["client2_short"], "{ended:?}");
}

#[test]
fn a_rank_that_was_lost_and_comes_back_does_not_end_the_job_of_deciding_ranks() {
    if !can_start() || !Path::new("/proc/self/environ").exists() {
        return;
    }
    let (ended, finished) = lose(|job, out| lose_for_a_while(job, 3, out));
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.errors().iter().any(|error| error.contains("rank 3 is lost")), "{ended:?}");
    assert_eq!(finished, ["client2_long", "client2_short"], "{ended:?}");
}
