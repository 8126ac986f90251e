//! How segments cross between ranks of one host: out of the holder's memory, and in messages where that
//! can't be had.
#![cfg(feature = "mpi")]

#[path = "ranks/job.rs"]
mod job;
mod launch;

use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Duration;

use job::{Job, JobResult, PROGRAM, can_start, check_outputs, inputs, names, run, text};

/// Segments of 64 KiB are copied, and those of a few hundred bytes are not.
const SEGMENT_BYTES: [&str; 2] = ["65536", "256"];

fn delivered(ended: &JobResult) -> (u64, u64) {
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let summary = ended.summary();
    assert_eq!(summary["verified"], true, "{summary}");
    let number = |name: &str| summary[name].as_u64().expect("a count of bytes");
    (number("bytes_delivered"), number("shared_bytes"))
}

#[test]
fn long_segments_are_copied_once_and_everything_is_delivered_either_way() {
    if !can_start() {
        return;
    }
    let small = inputs("small");
    for (way, bytes) in
        ["shared", "messages"].iter().flat_map(|way| SEGMENT_BYTES.map(|b| (*way, b)))
    {
        let out = tempfile::tempdir().expect("a folder");
        let args = ["run", text(&small), "--json", "--within-host", way, "--segment-bytes", bytes];
        let (all, shared) = delivered(&run(5, &[&args[..], &["--out", text(out.path())]].concat()));
        check_outputs(&small, out.path());
        let is_copied = way == "shared" && bytes == SEGMENT_BYTES[0];
        assert_eq!(shared, if is_copied { all } else { 0 }, "{way}, {bytes} bytes");
    }
}

#[test]
fn slots_that_find_no_room_in_shared_memory_are_sent_in_messages() {
    if !can_start() {
        return;
    }
    let (small, out) = (inputs("small"), tempfile::tempdir().expect("a folder"));
    // No file may be longer than 24 MiB, nor any shared memory: MPI needs 5 MiB, and the spare slots of a
    // rank alone 32 MiB.
    let program = "ulimit -f 49152; exec \"$0\" \"$@\"";
    let args = ["-c", program, PROGRAM, "run", text(&small), "--json", "--out", text(out.path())];
    let args = [&args[..], &["--segment-bytes", "262144", "--within-host", "shared"]].concat();
    let ended = Job::start_of("sh", 5, &args, Duration::from_secs(180)).end();
    let (all, shared) = delivered(&ended);
    check_outputs(&small, out.path());
    assert!(shared < all, "{shared} of {all}: {ended:?}");
}

#[test]
fn a_receiver_that_is_stopped_keeps_no_holder_from_ending() {
    if !can_start() || !Path::new("/proc/self/environ").exists() {
        return;
    }
    let (dir, out) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("one"));
    let owned = |name: &str, segments: u32| {
        let hashes: String = (0..segments).map(|place| format!("{place:032x}\n")).collect();
        format!("{name} {segments}\n{hashes}")
    };
    let write = |rank: u32, text: String| {
        fs::write(dir.path().join(format!("in{rank}.txt")), text).expect("a small file");
    };
    write(1, format!("2\n{}{}0\n", owned("short", 5), owned("long", 600)));
    write(2, "0\n2\nshort\nlong\n".to_owned());
    write(3, "0\n1\nlong\n".to_owned());
    // At most 16 segments are under way to a peer: the long file takes seconds.
    let slowly = ["--segment-bytes", "65536", "--window", "16", "--inject", "delay:150"];
    let shared = ["--within-host", "shared", "--patience", "silence=10s,ask=1s"];
    let args = ["run", text(dir.path()), "--out", text(out.path())];
    let job = Job::start(4, &[&args[..], &shared, &slowly].concat(), Duration::from_secs(180));
    let has_short = |_| {
        thread::sleep(Duration::from_millis(20));
        out.path().join("client2_short").exists()
    };
    assert!((0..5000).any(has_short), "the short file comes");
    let victim = job::process_of(3, out.path()).expect("the rank runs");
    let stopped = Command::new("kill").args(["-STOP", &victim.to_string()]).status();
    assert!(stopped.expect("kill starts").success());
    let ended = job.end();
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.errors().iter().any(|line| line.contains("rank 3")), "{ended:?}");
    let finished = names(out.path());
    assert!(finished.contains(&"client2_long".to_owned()), "the others end: {ended:?}");
}
