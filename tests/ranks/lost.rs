//! Ranks that are killed or stopped while a job runs.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Duration;

use super::job::{Job, JobResult, can_start, names, text};
use super::{owned, write};

/// The process of one rank of the job that writes to `out`.
fn process_of(rank: u32, out: &Path) -> Option<u32> {
    let variables = ["OMPI_COMM_WORLD_RANK", "PMI_RANK"].map(|name| format!("{name}={rank}"));
    let has = |path: &Path, file: &str, wanted: &str| {
        let read = fs::read(path.join(file)).unwrap_or_default();
        read.split(|&byte| byte == 0).any(|part| part == wanted.as_bytes())
    };
    fs::read_dir("/proc").ok()?.filter_map(|entry| Some(entry.ok()?.path())).find_map(|path| {
        let pid = path.file_name()?.to_str()?.parse().ok()?;
        let fits = has(&path, "cmdline", text(out))
            && variables.iter().any(|wanted| has(&path, "environ", wanted));
        fits.then_some(pid)
    })
}

fn send_signal(signal: &str, process: u32) {
    let sent = Command::new("kill").args([signal, &process.to_string()]).status();
    assert!(sent.expect("kill starts").success());
}

/// The process of a rank, once the short file is there.
fn process_after_short_file(rank: u32, out: &Path) -> u32 {
    let has_short = |_| {
        thread::sleep(Duration::from_millis(20));
        out.join("client2_short").exists()
    };
    assert!((0..5000).any(has_short), "the short file comes");
    process_of(rank, out).expect("the rank runs")
}

/// Sends a signal to a rank once the short file is there.
pub(crate) fn signal_after_short_file(signal: &str, rank: u32, out: &Path) {
    send_signal(signal, process_after_short_file(rank, out));
}

/// Stops a rank until it counts as lost, and has it go on, once the short file is there.
pub(crate) fn lose_for_a_while(job: &Job, rank: u32, out: &Path) {
    stop_until_it_counts_as_lost(job, rank, process_after_short_file(rank, out));
}

fn stop_until_it_counts_as_lost(job: &Job, rank: u32, process: u32) {
    // Only the rank itself says meanwhile that it counts as lost: on a busy machine it may have to be stopped again.
    let is_told = |_| {
        send_signal("-STOP", process);
        thread::sleep(Duration::from_secs(3));
        send_signal("-CONT", process);
        thread::sleep(Duration::from_millis(500));
        job.said().contains(&format!("rank {rank} was silent"))
    };
    assert!((0..20).any(is_told), "it is told that it counts as lost: {}", job.said());
}

/// Inputs of three peers, and a folder for outputs: the first has a short and a long file, the third wants the long one.
fn short_and_long(wanted_by_second: &[&str]) -> (tempfile::TempDir, tempfile::TempDir) {
    let (dir, out) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("one"));
    write(dir.path(), 1, &format!("2\n{}{}0\n", owned("short", 5), owned("long", 6_000)));
    let wanted = wanted_by_second.join("\n");
    write(dir.path(), 2, &format!("0\n{}\n{wanted}\n", wanted_by_second.len()));
    write(dir.path(), 3, "0\n1\nlong\n");
    (dir, out)
}

#[test]
fn a_rank_that_is_killed_ends_the_job_and_finished_files_are_whole() {
    if !can_start() || !Path::new("/proc/self/environ").exists() {
        return;
    }
    let (dir, out) = short_and_long(&["short"]);
    // At most 16 segments are under way to a peer: the long file takes a minute.
    let slowly = ["--segment-bytes", "0", "--window", "16", "--inject", "delay:150"];
    let args = [&["run", text(dir.path()), "--quiet", "--out", text(out.path())], &slowly[..]];
    let args = args.concat();
    let job = Job::start(4, &args, Duration::from_secs(180));
    signal_after_short_file("-KILL", 3, out.path());
    let ended = job.end();
    assert_ne!(ended.code, Some(0), "{ended:?}");
    let finished: Vec<_> =
        names(out.path()).into_iter().filter(|name| name.starts_with("client")).collect();
    assert_eq!(finished, ["client2_short"]);
    let written = fs::read_to_string(out.path().join("client2_short")).expect("it is whole");
    assert_eq!(format!("short 5\n{written}"), owned("short", 5));
}

/// Stops a rank while the long file is on its way.
fn stop(rank: u32, choices: &[&str]) -> JobResult {
    let (dir, out) = short_and_long(&["short", "long"]);
    let slowly = ["--patience", "silence=2s", "--inject", "delay:50"];
    let args = ["run", text(dir.path()), "--quiet", "--out", text(out.path())];
    let job = Job::start(4, &[&args[..], &slowly, choices].concat(), Duration::from_secs(180));
    signal_after_short_file("-STOP", rank, out.path());
    let ended = job.end();
    assert_eq!(ended.code, Some(1), "{ended:?}");
    ended
}

fn check_stopped(rank: u32, choices: &[&str]) {
    let ended = stop(rank, choices);
    let named = format!("rank {rank} is lost");
    assert!(ended.errors().iter().all(|error| error.contains(&named)), "{ended:?}");
    assert_ne!(ended.errors().len(), 0, "{ended:?}");
}

#[test]
fn a_rank_of_the_mutex_engine_that_is_stopped_is_named_and_ends_the_job() {
    if !can_start() || !Path::new("/proc/self/environ").exists() {
        return;
    }
    (0..4).for_each(|rank| check_stopped(rank, &["--engine", "mutex"]));
}

#[test]
fn a_stopped_rank_is_named_and_ends_the_job_where_other_threads_compute_handouts() {
    if !can_start() || !Path::new("/proc/self/environ").exists() {
        return;
    }
    // Peers that wait ask more often than would count as silence. The short file comes first.
    let choices = ["--segment-bytes", "0", "--window", "16", "--selection", "file-order"];
    let threads = ["--tracker-threads", "2", "--patience", "ask=200ms"];
    for rank in [0, 3] {
        check_stopped(rank, &[&choices[..], &threads].concat());
    }
}

/// The others go on after the rank has come back, for longer than it waits for anybody at the end of a run.
#[test]
fn a_rank_that_was_lost_and_comes_back_does_not_end_the_job_of_the_others() {
    if !can_start() || !Path::new("/proc/self/environ").exists() {
        return;
    }
    let (dir, out) = short_and_long(&["short", "long"]);
    let slowly = ["--segment-bytes", "0", "--window", "16", "--inject", "delay:50"];
    let choices = ["--selection", "file-order", "--patience", "silence=2s,ask=200ms"];
    let args = ["run", text(dir.path()), "--quiet", "--out", text(out.path())];
    let job = Job::start(4, &[&args[..], &slowly, &choices].concat(), Duration::from_secs(180));
    lose_for_a_while(&job, 3, out.path());
    let ended = job.end();
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.errors().iter().any(|error| error.contains("rank 3 is lost")), "{ended:?}");
    let finished: Vec<_> =
        names(out.path()).into_iter().filter(|name| name.starts_with("client")).collect();
    assert_eq!(finished, ["client2_long", "client2_short"], "{ended:?}");
}

#[test]
fn a_rank_of_a_stage_that_was_lost_and_comes_back_leaves_the_others_whole() {
    if !can_start() || !Path::new("/proc/self/environ").exists() {
        return;
    }
    let (dir, to) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("one"));
    let source = dir.path().join("tree");
    fs::create_dir(&source).expect("a folder");
    let bytes: Vec<u8> = (1..=250).cycle().take(8 << 20).collect();
    fs::write(source.join("large"), &bytes).expect("there is room");
    let each = to.path().join("{rank}");
    // It takes 16 s.
    let slowly = ["--limit-rate", "512K", "--segment-bytes", "64K"];
    let patience = ["--patience", "silence=2s,ask=200ms,request=400ms"];
    for decide in ["tracker", "peers"] {
        let args = ["stage", text(&source), "--to", text(&each), "--mkdir", "--fresh", "--quiet"];
        let choices = ["--decide", decide];
        let args = [&args[..], &slowly, &patience, &choices].concat();
        let job = Job::start(4, &args, Duration::from_secs(180));
        let process = (0..5000).find_map(|_| {
            thread::sleep(Duration::from_millis(20));
            process_of(3, &each)
        });
        stop_until_it_counts_as_lost(&job, 3, process.expect("the rank runs"));
        let ended = job.end();
        assert_eq!(ended.code, Some(1), "{ended:?}");
        assert!(ended.errors().iter().any(|error| error.contains("rank 3 is lost")), "{ended:?}");
        for rank in 0..3 {
            let staged = to.path().join(format!("{rank}/tree/large"));
            assert!(fs::read(&staged).is_ok_and(|read| read == bytes), "{rank}: {ended:?}");
            fs::remove_file(staged).expect("it is there");
        }
    }
}

#[test]
fn after_a_stopped_rank_there_is_no_trace_and_a_sentence() {
    if !can_start() || !Path::new("/proc/self/environ").exists() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let trace = folder.path().join("trace.json");
    let choices = ["--segment-bytes", "0", "--window", "16", "--selection", "file-order"];
    let asks = ["--patience", "ask=200ms", "--trace", text(&trace)];
    let ended = stop(3, &[&choices[..], &asks].concat());
    let shown = trace.display();
    let why =
        format!("--trace {shown}: not written: a rank is lost, and the others can't be asked");
    assert!(ended.errors().contains(&&*why), "{ended:?}");
    assert!(ended.errors().iter().any(|error| error.contains("rank 3 is lost")), "{ended:?}");
    assert!(!trace.exists());
}
