//! Reruns of ranks of which some have files already: who serves whom.

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use super::faults::large_source;
use super::tree::differences;
use super::{launch, ranks, temp};

const RANKS: u32 = 4;

fn number(json: &serde_json::Value, name: &str) -> u64 {
    json[name].as_u64().unwrap_or_else(|| panic!("{name}: {json}"))
}

/// Writes other bytes into a file, and leaves size and time as they were.
fn spoil(file: &Path) {
    let file = File::options().write(true).open(file).expect("a file");
    let found = file.metadata().expect("it is there");
    for place in (0..found.len()).step_by(8_000) {
        file.write_all_at(b"x", place).expect("there is room");
    }
    file.set_modified(found.modified().expect("it has a time")).expect("it is ours");
}

#[test]
fn ranks_that_have_files_serve_those_that_lack_them() {
    if !launch::can_start_ranks() {
        return;
    }
    let (from, to) = (temp(), temp());
    let source = large_source(from.path());
    let stage = || ranks(RANKS, to.path(), &[source.as_os_str()]).is(0).json();
    let served = |json: &serde_json::Value| -> Vec<u64> {
        (0..RANKS as usize).map(|rank| number(&json["nodes"][rank], "served_bytes")).collect()
    };
    stage();
    let json = stage();
    assert_eq!(served(&json), [0; 4], "all in place: {json}");
    assert_eq!((number(&json, "source_bytes_read"), number(&json, "bytes_moved")), (0, 0));
    fs::remove_dir_all(to.path().join("3")).expect("ours");
    let json = stage();
    assert_eq!(differences(&source, &to.path().join("3/tree")), [""; 0]);
    let by = served(&json);
    let moved = number(&json, "bytes_moved");
    assert!(moved > 24 << 20 && by.iter().sum::<u64>() >= moved, "{by:?} of {moved}");
    assert!(by[0] <= moved / 2 && by[1] > 0 && by[2] > 0 && by[3] == 0, "{by:?} of {moved}");
    assert!(number(&json, "source_bytes_read") <= moved, "no more than the digests need: {json}");
}

#[test]
fn holders_with_other_bytes_of_the_same_size_and_time_do_no_harm() {
    if !launch::can_start_ranks() {
        return;
    }
    let (from, to) = (temp(), temp());
    let source = large_source(from.path());
    let all = ["--from".as_ref(), "all".as_ref()];
    let (one, all) = ([source.as_os_str()], [&[source.as_os_str()], &all[..]].concat());
    ranks(RANKS, to.path(), &one).is(0);
    for rank in 0..3 {
        for name in ["larger", "large", "folder/plain", "folder/deep/medium"] {
            spoil(&to.path().join(format!("{rank}/tree/{name}")));
        }
    }
    for arguments in [&one[..], &all] {
        fs::remove_dir_all(to.path().join("3")).expect("ours");
        ranks(RANKS, to.path(), arguments).is(0);
        assert_eq!(differences(&source, &to.path().join("3/tree")), [""; 0]);
    }
}
