//! Real jobs under `mpirun`: what is refused, what fails on the way, and how small and large a job
//! may be. Each ends by itself, within a limit.
#![cfg(feature = "mpi")]

#[path = "ranks/deciding.rs"]
mod deciding;
#[path = "ranks/job.rs"]
mod job;
mod launch;
#[path = "ranks/lost.rs"]
mod lost;

use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Duration;

use job::{Job, PROGRAM, can_start, check_outputs, inputs, names, run, text};
use mpiswarm::manifest::highest_peer;

/// What stands in an input: `segments` hashes, all different.
fn owned(name: &str, segments: u32) -> String {
    let hashes: String = (0..segments).map(|position| format!("{position:032x}\n")).collect();
    format!("{name} {segments}\n{hashes}")
}

fn write(dir: &Path, rank: u32, text: &str) {
    fs::write(dir.join(format!("in{rank}.txt")), text).expect("a small file");
}

/// The exit code that a job on a folder of bad inputs ends with.
fn verdict(name: &str) -> i32 {
    match name {
        "owned-and-wanted" => 0,
        "wanted-by-one-owned-by-none" => 3,
        _ => 2,
    }
}

/// Runs a job on a folder of bad inputs, as its row in their README describes it.
fn check_bad(row: &str) {
    let (name, rest) = row.split_once("` | ").expect("a row has a name");
    let (_, message) = rest.split_once(" | ").expect("a row has three columns");
    let message = message.strip_suffix(" |").expect("a row ends with a bar");
    let message = message.strip_prefix('`').and_then(|message| message.strip_suffix('`'));
    let dir = inputs("bad").join(name);
    let out = tempfile::tempdir().expect("a folder");
    let nodes = highest_peer(&dir).expect("it can be listed").map_or(2, |peer| peer.0 + 1);
    let ended = run(nodes, &["run", text(&dir), "--quiet", "--out", text(out.path())]);
    assert_eq!(ended.code, Some(verdict(name)), "{name}: {ended:?}");
    let errors = ended.errors();
    assert_eq!(errors.len(), 1, "{name}: {ended:?}");
    if let Some(message) = message {
        assert!(errors[0].contains(message), "{name}: {message}: {ended:?}");
    }
    if verdict(name) == 2 {
        assert_eq!(names(out.path()), [""; 0], "{name}: nothing was moved");
    }
}

#[test]
fn every_bad_input_is_one_line_and_an_exit_code() {
    if !can_start() {
        return;
    }
    let readme = fs::read_to_string(inputs("bad/README.md")).expect("the folder has a README");
    let rows: Vec<_> = readme.lines().filter_map(|line| line.strip_prefix("| `")).collect();
    assert!(rows.len() > 30, "the README lists the cases");
    // Jobs of few ranks mostly wait for their launcher: some at a time.
    thread::scope(|scope| {
        for rows in rows.chunks(rows.len().div_ceil(6)) {
            scope.spawn(|| rows.iter().for_each(|row| check_bad(row)));
        }
    });
}

#[test]
fn owners_that_disagree_are_both_named() {
    if !can_start() {
        return;
    }
    let out = tempfile::tempdir().expect("a folder");
    for (name, difference) in [
        ("owners-disagree-on-length", "file1: rank 1 has 2 segments, rank 2 has 3"),
        ("owners-disagree-on-hash", "file1: rank 1 and rank 2 differ first at segment 1: hash "),
    ] {
        let ended = run(3, &["run", text(&inputs("bad").join(name)), "--out", text(out.path())]);
        assert!(ended.errors()[0].starts_with(difference), "{ended:?}");
    }
}

#[test]
fn an_output_folder_that_cannot_be_made_is_named_once() {
    if !can_start() {
        return;
    }
    let dir = tempfile::tempdir().expect("a folder");
    let file = dir.path().join("file");
    fs::write(&file, "").expect("a small file");
    let out = file.join("below");
    let ended = run(5, &["run", text(&inputs("small")), "--quiet", "--out", text(&out)]);
    assert_eq!(ended.code, Some(2), "{ended:?}");
    let expected = format!(
        "ranks 1, 2, 3, 4: {}: Not a directory (os error 20): give another folder with --out",
        out.display()
    );
    assert_eq!(ended.errors(), [expected]);
}

/// Rank 1 waits for its input: a pipe without a writer stands for a file server that is down.
#[test]
fn a_rank_that_never_registers_is_named_and_ends_the_job() {
    if !can_start() {
        return;
    }
    let dir = tempfile::tempdir().expect("a folder");
    write(dir.path(), 2, "0\n1\nfile\n");
    let pipe = Command::new("mkfifo").arg(dir.path().join("in1.txt")).status();
    assert!(pipe.expect("mkfifo starts").success());
    let args = ["run", text(dir.path()), "--quiet", "--patience", "registration=3s", "--out"];
    for engine in [&[][..], &["--engine", "mutex"]] {
        let ended = run(3, &[&args[..], &[text(&dir.path().join("out"))], engine].concat());
        assert_eq!(ended.code, Some(1), "{ended:?}");
        assert!(ended.stderr.contains("rank 1 "), "{ended:?}");
    }
}

#[test]
fn a_wrong_option_is_explained_once() {
    if !can_start() {
        return;
    }
    for args in [&["run", "--bogus"][..], &["run", "--inject", "never:1"], &["walk"]] {
        let ended = run(4, args);
        assert_eq!(ended.code, Some(2), "{ended:?}");
        assert_eq!(ended.stderr.matches("error: ").count(), 1, "{ended:?}");
    }
    let ended = run(4, &["--help"]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_eq!(ended.stdout.matches("Usage:").count(), 1, "{ended:?}");
}

#[test]
fn a_wrong_option_of_some_ranks_is_named_with_them() {
    if !can_start() {
        return;
    }
    let small = inputs("small");
    let run_small = ["run", text(&small), "--quiet"];
    let wrong = |option| [&run_small[..], &[option]].concat();
    let apart = |count| [":", "-n", count, PROGRAM];
    let same = "found: start all ranks with the same program and options";
    let explained = |args: &[&[&str]], expected: &[&str]| {
        let ended = run(1, &args.concat());
        assert_eq!(ended.code, Some(2), "{ended:?}");
        let expected: Vec<_> = expected.iter().map(|line| format!("{line} {same}")).collect();
        assert_eq!(ended.errors(), expected, "{ended:?}");
        ended
    };
    explained(
        &[&run_small, &apart("4"), &wrong("--nonsense")],
        &["ranks 1, 2, 3, 4: unexpected argument '--nonsense'"],
    );
    explained(
        &[&run_small, &apart("1"), &wrong("--other"), &apart("3"), &wrong("--nonsense")],
        &[
            "ranks 2, 3, 4: unexpected argument '--nonsense'",
            "rank 1: unexpected argument '--other'",
        ],
    );
    // Rank 0 says its own as the usage has it.
    let ended = explained(
        &[&wrong("--first"), &apart("2"), &run_small, &apart("1"), &wrong("--other")],
        &["rank 3: unexpected argument '--other'"],
    );
    assert_eq!(ended.stderr.matches("error: ").count(), 1, "{ended:?}");
    assert!(ended.stderr.contains("error: unexpected argument '--first'"), "{ended:?}");
}

#[test]
fn inputs_for_more_or_fewer_ranks_are_one_line_and_no_abort() {
    if !can_start() {
        return;
    }
    for (nodes, file) in [(3, "in4.txt"), (8, "in5.txt"), (1, "one node alone")] {
        let ended = run(nodes, &["run", text(&inputs("small")), "--quiet"]);
        assert_eq!(ended.code, Some(2), "{ended:?}");
        assert_eq!(ended.errors().len(), 1, "{ended:?}");
        assert!(ended.errors()[0].contains(file), "{ended:?}");
        assert!(!ended.stderr.contains("MPI_ABORT"), "{ended:?}");
    }
}

#[test]
fn ranks_with_other_options_are_named_and_nothing_is_moved() {
    if !can_start() {
        return;
    }
    for engine in ["lockfree", "mutex"] {
        for (more, what) in [
            (&["--segment-bytes", "65536"][..], "--segment-bytes is not 1K as on rank 0"),
            (&["--seed", "9"], "--seed is not 1 as on rank 0"),
            (&["--trace", "/nowhere/trace"], "the command is not run as on rank 0"),
            (&["--patience", "ask=1s"], "--patience is not registration=600s,silence=60s,"),
            (
                &["--engine", if engine == "mutex" { "lockfree" } else { "mutex" }],
                "--engine is not ",
            ),
            (&["--verify", "off"], "--verify is not the default, auto as on rank 0"),
            (&["--limit-rate", "up=1M"], "--limit-rate is not unlimited as on rank 0"),
        ] {
            let out = tempfile::tempdir().expect("a folder");
            let small = inputs("small");
            let own = ["run", text(&small), "--quiet", "--out", text(out.path())];
            // A flag can be given once.
            let first = if more[0] == "--engine" { &[][..] } else { &["--engine", engine] };
            let ours = ["--engine", engine];
            let rest = ["-n", "3", PROGRAM];
            let args = [&own[..], &ours, &[":"], &rest, &own, first, more].concat();
            let ended = run(2, &args);
            assert_eq!(ended.code, Some(2), "{ended:?}");
            assert_eq!(ended.errors().len(), 1, "{ended:?}");
            let expected = format!("ranks 2, 3, 4: {what}");
            assert!(ended.errors()[0].starts_with(&expected), "{ended:?}");
            assert_eq!(names(out.path()), [""; 0], "nothing was moved");
        }
    }
}

#[test]
fn a_corrupt_copy_is_named_with_its_rank() {
    if !can_start() {
        return;
    }
    // One rank alone has what rank 1 wants: had others wanted it too, they could be named as its holders.
    let dir = tempfile::tempdir().expect("a folder");
    write(dir.path(), 1, "0\n1\nnote\n");
    write(dir.path(), 2, &format!("1\n{}0\n", owned("data", 3)));
    write(dir.path(), 3, "0\n1\ndata\n");
    write(dir.path(), 4, &format!("1\n{}0\n", owned("note", 1)));
    for engine in ["lockfree", "mutex"] {
        let out = tempfile::tempdir().expect("a folder");
        let inputs = text(dir.path());
        let own = ["run", inputs, "--quiet", "--engine", engine, "--out", text(out.path())];
        // What rank 1 receives arrives wrong; the others get their files.
        let wrong = [&own[..], &["--inject", "corrupt:1"]].concat();
        let args = [&own[..], &[":", "-n", "1", PROGRAM], &wrong, &[":", "-n", "3", PROGRAM], &own];
        let ended = run(1, &args.concat());
        assert_eq!(ended.code, Some(1), "{ended:?}");
        let expected = "rank 1: segment 0 of note from rank 4 does not match its digest, 3 times";
        assert_eq!(ended.errors(), [expected], "{ended:?}");
        assert!(names(out.path()).iter().any(|name| name.starts_with("client3_")), "{ended:?}");
    }
}

/// A job of five ranks, of which one sends what can't be.
fn check_faulty_messages(engine: &str, faulty: u32, fault: &str) {
    let out = tempfile::tempdir().expect("a folder");
    let small = inputs("small");
    let own = ["run", text(&small), "--quiet", "--engine", engine, "--out", text(out.path())];
    let wrong = [&own[..], &["--inject", fault]].concat();
    let mut args: Vec<&str> = Vec::new();
    for rank in 0..5 {
        // The first rank is that of `run`.
        let start = [":", "-n", "1", PROGRAM];
        args.extend(if rank == 0 { &[][..] } else { &start });
        args.extend(if rank == faulty { &wrong[..] } else { &own });
    }
    let ended = run(1, &args);
    assert_eq!(ended.code, Some(1), "{engine} {fault}: {ended:?}");
    let named = format!("rank {faulty} sent ");
    let is_named = |line: &&str| line.contains(&named);
    assert!(ended.errors().iter().any(is_named), "{engine}, rank {faulty}, {fault}: {ended:?}");
    let is_bug = |line: &&str| line.contains("this is a bug");
    assert!(!ended.errors().iter().any(is_bug), "{engine}, rank {faulty}, {fault}: {ended:?}");
    assert!(!ended.stderr.contains("MPI_ERR_"), "{engine}, rank {faulty}, {fault}: {ended:?}");
}

#[test]
fn a_rank_that_sends_what_cannot_be_is_named_and_ends_the_job() {
    if !can_start() {
        return;
    }
    // From the first message on, and in the middle of the run.
    let faults = ["garble", "invalidate", "lengthen"].map(|kind| [(kind, "1"), (kind, "0.3")]);
    // Jobs of few ranks mostly wait for their launcher: some at a time.
    thread::scope(|scope| {
        for (engine, faulty) in [("lockfree", 0), ("lockfree", 2), ("mutex", 0), ("mutex", 2)] {
            let faults = faults.as_flattened();
            scope.spawn(move || {
                // Rank 0 speaks first, and to all.
                let fits = |(_, rate): &&(&str, &str)| faulty != 0 || *rate == "1";
                faults.iter().filter(fits).for_each(|(kind, rate)| {
                    check_faulty_messages(engine, faulty, &format!("{kind}:{rate}"));
                });
            });
        }
    });
}

#[test]
fn two_ranks_are_a_job() {
    if !can_start() {
        return;
    }
    let (dir, out) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("one"));
    write(dir.path(), 1, &format!("1\n{}0\n", owned("a", 3)));
    let args = ["run", text(dir.path()), "--json", "--out", text(out.path())];
    let ended = run(2, &args);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_eq!(ended.summary()["segments"], 0);
    write(dir.path(), 1, "0\n1\nnowhere\n");
    let ended = run(2, &args);
    assert_eq!(ended.code, Some(3), "{ended:?}");
    assert_eq!(ended.summary()["unavailable_files"][0], "nowhere");
}

#[test]
fn several_short_segments_come_in_a_message() {
    if !can_start() {
        return;
    }
    let (dir, out) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("one"));
    write(dir.path(), 1, &format!("1\n{}0\n", owned("file", 4_000)));
    [2, 3].into_iter().for_each(|rank| write(dir.path(), rank, "0\n1\nfile\n"));
    for (segment_bytes, each) in [("64", 4), ("1024", 2), ("77", 4)] {
        let size = ["--segment-bytes", segment_bytes, "--overwrite"];
        let args = ["run", text(dir.path()), "--json", "--out", text(out.path())];
        let ended = run(4, &[&args[..], &size].concat());
        let summary = ended.summary();
        let count = |name: &str| summary[name].as_u64().expect("a count");
        assert_eq!((&summary["verified"], count("segments")), (&true.into(), 8_000));
        assert!(count("payload_messages") * each < count("segments"), "{ended:?}");
    }
}

#[test]
fn sixty_four_ranks_are_a_job() {
    if !can_start() {
        return;
    }
    let (dir, out) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("one"));
    let dir = dir.path().join("inputs");
    let workload = ["--peers", "63", "--files", "7", "--segments", "9", "--seed", "3"];
    let made = Command::new(PROGRAM).arg("synthesize").arg(&dir).args(workload).output();
    assert!(made.expect("the program starts").status.success());
    let args = ["run", text(&dir), "--segment-bytes", "1024", "--json", "--out", text(out.path())];
    let ended = Job::start(64, &args, Duration::from_secs(180)).end();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let summary = ended.summary();
    assert_eq!((&summary["verified"], &summary["segments"]), (&true.into(), &(7 * 62 * 9).into()));
    check_outputs(&dir, out.path());
}

/// A file system of so few bytes that a disk is soon full; taken away at the end.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn mount(size: &str) -> Option<Self> {
        let folder = tempfile::tempdir().expect("a folder");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"]).arg(folder.path());
        let mounted = mount.output().is_ok_and(|mounted| mounted.status.success());
        mounted.then_some(Self(folder))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        drop(Command::new("umount").arg(self.0.path()).status());
    }
}

#[test]
fn a_full_disk_is_named_and_what_fits_is_whole() {
    if !can_start() {
        return;
    }
    let Some(disk) = SmallDisk::mount("64k") else {
        println!("skipped: a small disk can't be mounted here");
        return;
    };
    let dir = tempfile::tempdir().expect("a folder");
    // 33 bytes a hash: 330, 99,000 and 660 bytes.
    let files = [owned("first", 10), owned("large", 3_000), owned("last", 20)].concat();
    write(dir.path(), 1, &format!("3\n{files}0\n"));
    write(dir.path(), 2, "0\n3\nfirst\nlarge\nlast\n");
    let out = disk.0.path();
    let args = ["run", text(dir.path()), "--segment-bytes", "0", "--json", "--out", text(out)];
    let ended = run(3, &args);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    let large = out.join("client2_large");
    let expected = format!("rank 2: {}: No space left on device (os error 28)", large.display());
    assert_eq!(ended.errors(), [expected]);
    let expected = [".mpiswarm-2.outputs", "client2_first", "client2_last"];
    assert_eq!(names(out), expected, "and nothing half-written");
    for (name, segments) in [("first", 10), ("last", 20)] {
        let written = fs::read_to_string(out.join(format!("client2_{name}"))).expect("it is whole");
        assert_eq!(format!("{name} {segments}\n{written}"), owned(name, segments));
    }
}
