//! Runs that stage into one folder at once.

use std::fs;
use std::path::Path;
use std::thread;

use super::faults::{REST, Running, journal_bytes, large_source};
use super::tree::differences;
use super::{here, temp};

/// Two trees of one name, which share some files.
fn two_sources() -> [tempfile::TempDir; 2] {
    let sources = [temp(), temp()];
    for dir in &sources {
        large_source(dir.path());
    }
    let second = sources[1].path().join("tree");
    fs::write(second.join("small"), "of the second").expect("ours");
    fs::remove_file(second.join("folder/plain")).expect("it is there");
    fs::write(second.join("of the second alone"), vec![9; 500_000]).expect("room");
    sources
}

fn is_there(to: &Path) -> bool {
    journal_bytes(to) > 0 || to.join("tree").exists()
}

#[test]
fn of_two_runs_one_waits_and_both_complete() {
    let sources = two_sources();
    let trees = sources.each_ref().map(|dir| dir.path().join("tree"));
    let to = temp();
    let running =
        trees.each_ref().map(|tree| Running::with(tree, to.path(), &["--delete".as_ref()]));
    let waited = running.map(|running| {
        let ended = running.end();
        ended.is(0);
        ended.stderr.contains("waits for another run")
    });
    let staged = to.path().join("tree");
    let same = trees.each_ref().map(|tree| differences(tree, &staged).is_empty());
    assert!(same[0] != same[1], "it is one of the two: {same:?}");
    // Who waited came last.
    assert!(waited == same || waited == [false; 2], "{waited:?}");
}

#[test]
fn who_waits_goes_on_when_the_other_is_killed() {
    let sources = two_sources();
    let [first_tree, second_tree] = sources.each_ref().map(|dir| dir.path().join("tree"));
    let to = temp();
    let first = Running::with(&first_tree, to.path(), &[]);
    while !is_there(to.path()) {
        thread::sleep(REST);
    }
    first.signal("-STOP");
    let mut second = Running::with(&second_tree, to.path(), &[]);
    let waits = second.first_line();
    first.signal("-KILL");
    first.end();
    second.end().is(0);
    assert!(waits.contains("waits for another run") || waits.is_empty(), "{waits}");
    assert_eq!(differences(&second_tree, &to.path().join("tree")), [""; 0]);
}

#[test]
fn runs_with_several_folders_in_another_order_do_not_wait_for_each_other() {
    let from = temp();
    let source = large_source(from.path());
    let (to, other) = (temp(), temp());
    for _ in 0..3 {
        let forth = Running::with(&source, to.path(), &["--to".as_ref(), other.path().as_os_str()]);
        let back = Running::with(&source, other.path(), &["--to".as_ref(), to.path().as_os_str()]);
        forth.end().is(0);
        back.end().is(0);
    }
    for dir in [&to, &other] {
        assert_eq!(differences(&source, &dir.path().join("tree")), [""; 0]);
    }
    here([source.as_os_str(), "--to".as_ref(), to.path().as_os_str()]).is(0);
}

#[test]
fn folders_that_stay_in_use_are_named_after_one_wait_and_the_rest_completes() {
    let from = temp();
    let source = large_source(from.path());
    let to = ["a", "b", "c", "d"].map(|_| temp());
    let locks = to.each_ref().map(|dir| {
        let control = dir.path().join(".mpiswarm");
        fs::create_dir(&control).expect("a folder");
        fs::File::create(control.join("lock")).expect("a file")
    });
    for lock in &locks[..3] {
        lock.lock().expect("it is free");
    }
    let mut arguments = vec![source.as_os_str(), "--patience".as_ref(), "registration=3s".as_ref()];
    for dir in &to {
        arguments.extend(["--to".as_ref(), dir.path().as_os_str()]);
    }
    let ended = here(&arguments);
    ended.is(1).says("another run stages here").says("did not end in 3 s");
    assert_eq!(ended.stderr.matches("waits for another run").count(), 1, "{}", ended.stderr);
    assert_eq!(differences(&source, &to[3].path().join("tree")), [""; 0]);
    assert!(to[..3].iter().all(|dir| !dir.path().join("tree").exists()));
}

#[cfg(feature = "mpi")]
#[test]
fn two_jobs_into_the_folders_of_all_ranks_do_not_wait_for_each_other() {
    use crate::{launch, ranks};

    if !launch::can_start_ranks() {
        return;
    }
    let sources = two_sources();
    let to = temp();
    let jobs = sources.each_ref().map(|dir| {
        let (source, to) = (dir.path().join("tree"), to.path().to_owned());
        thread::spawn(move || ranks(3, &to, &[source.as_os_str(), "--delete".as_ref()]))
    });
    for job in jobs {
        job.join().expect("it ends").is(0);
    }
    let trees = sources.each_ref().map(|dir| dir.path().join("tree"));
    let last: Vec<_> = (0..3)
        .map(|rank| {
            let staged = to.path().join(format!("{rank}/tree"));
            trees.each_ref().map(|tree| differences(tree, &staged).is_empty())
        })
        .collect();
    assert!(last.iter().all(|same| *same == last[0] && same[0] != same[1]), "{last:?}");
}

#[cfg(feature = "mpi")]
#[test]
fn a_folder_of_one_rank_that_stays_in_use_is_named_and_the_other_ranks_complete() {
    use crate::{launch, ranks};

    if !launch::can_start_ranks() {
        return;
    }
    let from = temp();
    let source = large_source(from.path());
    let to = temp();
    let control = to.path().join("1/.mpiswarm");
    fs::create_dir_all(&control).expect("a folder");
    let lock = fs::File::create(control.join("lock")).expect("a file");
    lock.lock().expect("it is free");
    let patience = ["--patience".as_ref(), "registration=3s".as_ref()];
    let ended = ranks(3, to.path(), &[&[source.as_os_str()], &patience[..]].concat());
    ended.is(1).says("(rank 1)").says("did not end in 3 s");
    for rank in [0, 2] {
        let staged = to.path().join(format!("{rank}/tree"));
        assert_eq!(differences(&source, &staged), [""; 0]);
    }
}
