//! Stages under `--limit-rate`: they take at least the time that it says, and end well.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};

use super::tree::{bytes, differences};
use super::{Ended, PROGRAM, ended, here, launch, ranks, temp};

/// Bytes of the source.
const SIZE: usize = 8 << 20;

/// Seconds that they take at 4 MiB/s at least: the first 50 ms of it pass in a burst.
const LEAST_S: f64 = 2.0 - 0.05;

fn large(dir: &Path) -> PathBuf {
    let source = dir.join("tree");
    fs::create_dir(&source).expect("a folder");
    fs::write(source.join("large"), bytes(SIZE, 1)).expect("there is room");
    source
}

fn check(ended: &Ended, source: &Path, base: &Path, ranks: u32) {
    let json = ended.is(0).json();
    for rank in 0..ranks {
        let staged = base.join(format!("{rank}/tree"));
        assert_eq!(differences(source, &staged), [""; 0], "rank {rank}");
    }
    let seconds = |name: &str| json[name].as_f64().expect("a number");
    let (makespan, bound) = (seconds("makespan_s"), seconds("bound_s"));
    assert!(makespan >= LEAST_S, "{json}");
    assert!((LEAST_S - 0.01..=makespan).contains(&bound), "{json}");
}

#[test]
fn no_rank_sends_or_receives_more_than_its_limit_and_all_complete() {
    if !launch::can_start_ranks() {
        return;
    }
    let from = temp();
    let source = large(from.path());
    for limit in ["4M", "up=4M", "up=1G,down=4M"] {
        let to = temp();
        // A window of segments takes longer than this: the limit makes it wait, not the patience.
        let options = ["--patience", "request=50ms", "--segment-bytes", "64K", "--limit-rate"];
        let options: Vec<_> = options.into_iter().chain([limit]).map(OsStr::new).collect();
        let ended = ranks(3, to.path(), &[&[source.as_os_str()], &options[..]].concat());
        check(&ended, &source, to.path(), 3);
    }
}

#[test]
fn a_limit_of_one_rank_is_that_of_no_other() {
    if !launch::can_start_ranks() {
        return;
    }
    let from = temp();
    let source = large(from.path());
    // The source, and one that receives.
    for (limited, limit) in [(0, "up=4M"), (1, "down=4M")] {
        let to = temp();
        let mut command = launch::ranks(1, "timeout");
        for rank in 0..3 {
            let start = [":", "-n", "1", "timeout"].map(OsString::from);
            command.args(start.into_iter().filter(|_| rank > 0));
            command.args(["60", PROGRAM, "stage", "--json", "--mkdir", "--to"]);
            command.arg(to.path().join("{rank}")).arg(&source);
            command.args(["--limit-rate", limit].into_iter().filter(|_| rank == limited));
        }
        check(&ended(command.output()), &source, to.path(), 3);
    }
}

#[test]
fn limits_that_hold_nothing_or_too_much_are_refused() {
    let (from, to) = (temp(), temp());
    let source = large(from.path());
    let staged = |limit: &str, run: &dyn Fn(&[&OsStr]) -> Ended| {
        let options = ["--segment-bytes", "8M", "--limit-rate", limit].map(OsStr::new);
        run(&[&[source.as_os_str()], &options[..]].concat())
    };
    let local = |arguments: &[&OsStr]| {
        here(arguments.iter().copied().chain(["--to".as_ref(), to.path().as_os_str()]))
    };
    staged("0", &local).is(2).says("'--limit-rate <RATE>': use a size from 1K to 64T");
    staged("in=3M", &local).is(2).says("type for example 100M, up=100M or up=100M,down=50M");
    assert_eq!(fs::read_dir(to.path()).expect("a folder").count(), 0, "nothing was begun");
    // One rank sends nothing.
    staged("1K", &local).is(0);
    if !launch::can_start_ranks() {
        return;
    }
    let over_mpi = |arguments: &[&OsStr]| ranks(2, to.path(), arguments);
    let ended = staged("down=100K", &over_mpi);
    ended
        .is(2)
        .says("takes 82 s at 102400 bytes")
        .says("use --segment-bytes 4M, or a higher limit");
}
