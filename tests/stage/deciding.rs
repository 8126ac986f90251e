//! Stages whose peers decide what goes from whom to whom.

use std::ffi::OsStr;
use std::fs;

use super::tree::differences;
use super::{here, source, temp};
#[cfg(feature = "mpi")]
use super::{launch, ranks};

const PEERS: [&str; 2] = ["--decide", "peers"];

#[test]
fn a_process_that_is_alone_decides_too() {
    let (from, to) = (temp(), temp());
    let source = source(from.path());
    let to_dir = [OsStr::new("--to"), to.path().as_os_str()];
    here([&[source.as_os_str()], &to_dir[..], &PEERS.map(OsStr::new)].concat()).is(0);
    assert_eq!(differences(&source, &to.path().join("tree")), [""; 0]);
}

#[test]
fn what_deciding_peers_of_a_stage_can_not_do_is_refused() {
    for (wrong, says) in [
        (&["--tracker-threads", "1"][..], "nobody hands out: leave it out"),
        (&["--only", "*.txt"], "leave it out, or use --decide tracker"),
        (&["--from", "each"], "leave it out, or use --decide tracker"),
    ] {
        let (from, to) = (temp(), temp());
        let source = source(from.path());
        let to_dir = [OsStr::new("--to"), to.path().as_os_str()];
        let wrong: Vec<_> = PEERS.iter().chain(wrong).map(OsStr::new).collect();
        here([&[source.as_os_str()], &to_dir[..], &wrong].concat()).is(2).says(says);
        assert_eq!(fs::read_dir(to.path()).expect("a folder").count(), 0);
    }
}

/// The second time all is kept but what one rank has lost.
#[cfg(feature = "mpi")]
#[test]
fn five_ranks_that_decide_end_with_the_same_tree_whoever_reads_it() {
    if !launch::can_start_ranks() {
        return;
    }
    let from = temp();
    let source = source(from.path());
    for reader in ["0", "3", "all"] {
        let to = temp();
        let options = [&PEERS[..], &["--from", reader, "--segment-bytes", "16K"]].concat();
        let mut arguments = vec![source.as_os_str()];
        arguments.extend(options.iter().map(OsStr::new));
        for lost in [None, Some("2")] {
            if let Some(rank) = lost {
                fs::remove_dir_all(to.path().join(rank)).expect("ours");
            }
            let json = ranks(5, to.path(), &arguments).is(0).json();
            for rank in 0..5 {
                let staged = to.path().join(format!("{rank}/tree"));
                assert_eq!(differences(&source, &staged), [""; 0], "rank {rank}, from {reader}");
            }
            let number = |name: &str| json[name].as_u64().expect("a number");
            assert!(number("source_bytes_read") <= number("bytes_moved").max(1 << 24), "{json}");
        }
    }
}
