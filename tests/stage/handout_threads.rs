//! Stages whose handouts are computed by threads beside the one that talks to the other ranks.

use std::ffi::OsStr;
use std::thread;

use super::faults::{REST, Running, large_source};
use super::tree::differences;
use super::{here, source, temp};
#[cfg(feature = "mpi")]
use super::{launch, ranks};

#[test]
fn so_many_threads_are_started_and_the_tree_is_the_same() {
    let (from, to) = (temp(), temp());
    let source = large_source(from.path());
    // More than the program has otherwise, whatever the cores of the machine.
    let count = 60;
    let options = ["--tracker-threads", "60", "--workers", "2"].map(OsStr::new);
    let mut running = Running::with(&source, to.path(), &options);
    let mut most = 0;
    while running.is_running() {
        most = most.max(running.threads());
        thread::sleep(REST);
    }
    running.end().is(0);
    assert!(most > count, "{most} threads at most");
    assert_eq!(differences(&source, &to.path().join("tree")), [""; 0]);
}

#[cfg(feature = "mpi")]
#[test]
fn ranks_end_with_the_same_tree_whichever_threads_compute_handouts() {
    if !launch::can_start_ranks() {
        return;
    }
    let from = temp();
    let source = source(from.path());
    for (threads, from) in [("0", "0"), ("1", "1"), ("3", "0"), ("3", "all"), ("2", "each")] {
        let to = temp();
        let options = ["--tracker-threads", threads, "--from", from, "--segment-bytes", "16K"];
        let mut arguments = vec![source.as_os_str()];
        arguments.extend(options.map(OsStr::new));
        ranks(4, to.path(), &arguments).is(0);
        for rank in 0..4 {
            let staged = to.path().join(format!("{rank}/tree"));
            assert_eq!(differences(&source, &staged), [""; 0], "rank {rank}: {options:?}");
        }
    }
}

#[test]
fn a_number_of_threads_out_of_its_range_is_refused() {
    let (from, to) = (temp(), temp());
    let source = source(from.path());
    for wrong in ["65", "-1", "1.5", "many", ""] {
        let flag = format!("--tracker-threads={wrong}");
        let to = to.path().as_os_str();
        let ended = here([source.as_os_str(), OsStr::new("--to"), to, OsStr::new(&flag)]);
        ended.is(2).says("--tracker-threads").says("use a whole number from 0 to 64");
    }
    assert_eq!(std::fs::read_dir(to.path()).expect("a folder").count(), 0);
}
