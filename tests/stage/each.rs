//! Ranks that add what each of them has, compared byte for byte.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::parts::{files, verify};
use super::tree::{bytes, entries};
use super::{Ended, PROGRAM, ended, launch, temp};

/// Writes a file of `ckpt` of a rank.
fn put(base: &Path, rank: usize, name: &str, content: &[u8]) {
    let path = base.join(format!("{rank}/ckpt/{name}"));
    fs::create_dir_all(path.parent().expect("it has one")).expect("folders");
    fs::write(path, content).expect("there is room");
}

/// Each rank has a file for each rank, large and small, and all but the last the same one.
fn shards(ranks: usize) -> tempfile::TempDir {
    let base = temp();
    for from in 0..ranks {
        for to in 0..ranks {
            let (length, seed) = (100_000 * (from + 1) + to, 10 * from as u64 + to as u64);
            put(base.path(), from, &format!("from-{from}/to-{to}.bin"), &bytes(length, seed));
            put(base.path(), from, &format!("small/{from}-{to}"), &bytes(700 + from, 500 + seed));
        }
        if from + 1 < ranks {
            put(base.path(), from, "config.json", &bytes(3_000, 99));
        }
    }
    base
}

/// What all ranks have, by name.
fn union(base: &Path, ranks: usize) -> BTreeMap<PathBuf, Vec<u8>> {
    let of_ranks = (0..ranks).map(|rank| base.join(format!("{rank}/ckpt")));
    of_ranks.filter(|folder| folder.exists()).flat_map(|folder| files(&folder)).collect()
}

/// Stages `ckpt`, which each rank has in a folder of its own.
fn stage(ranks: usize, base: &Path, to: &Path, flags: &[&str]) -> Ended {
    let mut command = launch::ranks(u32::try_from(ranks).expect("few"), "timeout");
    let enter = "cd \"$0/${OMPI_COMM_WORLD_RANK:-$PMI_RANK}\" && exec \"$@\"";
    for rank in 0..ranks {
        fs::create_dir_all(base.join(rank.to_string())).expect("a folder");
    }
    command.args(["90", "sh", "-c", enter]).arg(base).arg(PROGRAM);
    command.args(["stage", "ckpt", "--from", "each", "--json", "--mkdir", "--to"]);
    ended(command.arg(to.join("{rank}")).args(flags).output())
}

#[test]
fn each_rank_takes_its_files_from_whoever_has_them() {
    if !launch::can_start_ranks() {
        return;
    }
    let (base, to) = (shards(4), temp());
    let flags = ["--only", "to-{rank}.bin", "--only", "small/*-{rank}", "--only", "config.json"];
    let flags = [&flags[..], &["--segment-bytes", "64K"]].concat();
    let json = stage(4, base.path(), to.path(), &flags).is(0).json();
    let all = union(base.path(), 4);
    for rank in 0..4 {
        let dir = to.path().join(format!("{rank}"));
        let ends = [format!("to-{rank}.bin"), format!("-{rank}"), "config.json".to_owned()];
        let is_taken = |path: &Path| {
            let path = path.to_str().expect("text");
            ends.iter().any(|end| path.ends_with(end.as_str()))
        };
        let expected: BTreeMap<_, _> =
            all.clone().into_iter().filter(|(path, _)| is_taken(path)).collect();
        assert_eq!(expected.len(), 9);
        assert_eq!(files(&dir.join("ckpt")), expected, "rank {rank}");
        verify(&dir).is(0);
        let own = expected.values().map(Vec::len).sum::<usize>();
        assert_eq!(json["nodes"][rank]["tree_bytes"], own, "{json}");
    }
    let total = all.values().map(Vec::len).sum::<usize>();
    assert_eq!((&json["bytes_total"], &json["source_bytes_read"]), (&total.into(), &total.into()));
    let again = stage(4, base.path(), to.path(), &flags).is(0).json();
    assert_eq!((&again["bytes_moved"], &again["source_bytes_read"]), (&0.into(), &0.into()));
    let by_content = [&flags[..], &["--checksum"]].concat();
    let again = stage(4, base.path(), to.path(), &by_content).is(0).json();
    assert_eq!(again["bytes_moved"], 0, "{again}");
}

#[test]
fn without_only_every_rank_gets_the_union_and_one_may_have_nothing() {
    if !launch::can_start_ranks() {
        return;
    }
    let (base, to) = (shards(3), temp());
    // Rank 3 has no source at all.
    stage(4, base.path(), to.path(), &["--dry-run"]).is(0);
    assert_eq!(fs::read_dir(to.path()).expect("a folder").count(), 0, "nothing was written");
    stage(4, base.path(), to.path(), &[]).is(0);
    let all = union(base.path(), 4);
    for rank in 0..4 {
        let dir = to.path().join(format!("{rank}"));
        assert_eq!(files(&dir.join("ckpt")), all, "rank {rank}");
        verify(&dir).is(0);
    }
    // What no rank has any longer goes.
    fs::remove_file(base.path().join("1/ckpt/from-1/to-0.bin")).expect("it is there");
    stage(4, base.path(), to.path(), &["--delete"]).is(0);
    assert_eq!(files(&to.path().join("2/ckpt")), union(base.path(), 4));
}

#[test]
fn a_rank_takes_nothing_and_another_has_nothing() {
    if !launch::can_start_ranks() {
        return;
    }
    let (base, to) = (temp(), temp());
    put(base.path(), 0, "for-1", &bytes(200_000, 1));
    put(base.path(), 2, "for-0", &bytes(300_000, 2));
    stage(3, base.path(), to.path(), &["--only", "for-{rank}"]).is(0);
    let expected = [Some(("for-0", 300_000)), Some(("for-1", 200_000)), None];
    for (rank, expected) in (0..).zip(expected) {
        let staged = to.path().join(format!("{rank}/ckpt"));
        let found: Vec<(PathBuf, usize)> =
            files(&staged).into_iter().map(|(path, bytes)| (path, bytes.len())).collect();
        let expected: Vec<_> = expected.into_iter().map(|(name, n)| (name.into(), n)).collect();
        assert_eq!(found, expected, "rank {rank}");
        assert!(entries(&staged).contains_key(Path::new("")), "the folder is there");
    }
}

#[test]
fn two_contents_under_one_name_are_refused_with_both_ranks() {
    if !launch::can_start_ranks() {
        return;
    }
    let to = temp();
    let refused = |what: &str, put_both: &dyn Fn(&Path)| {
        let base = temp();
        put(base.path(), 0, "own", b"of rank 0");
        put_both(base.path());
        stage(3, base.path(), to.path(), &[]).is(2).says(what);
        for rank in 0..3 {
            assert!(!to.path().join(format!("{rank}/ckpt")).exists(), "nothing has begun");
        }
    };
    refused("ckpt/a/b: rank 1 has a file of 5 B, rank 2 has a file of 6 B", &|base| {
        put(base, 1, "a/b", b"first");
        put(base, 2, "a/b", b"second");
    });
    let same_size = "ckpt/a/b: rank 1 and rank 2 have files of one size with different content";
    refused(same_size, &|base| {
        put(base, 0, "a/a", b"same");
        put(base, 1, "a/a", b"same");
        put(base, 1, "a/b", &[7; 200_000]);
        put(base, 2, "a/b", &[8; 200_000]);
    });
    refused("ckpt/a: rank 0 has a file of 4 B, rank 2 has a folder", &|base| {
        put(base, 0, "a", b"file");
        put(base, 2, "a/b", b"in a folder");
    });
}

#[test]
fn a_source_that_no_rank_has_is_refused() {
    if !launch::can_start_ranks() {
        return;
    }
    let (base, to) = (temp(), temp());
    stage(2, base.path(), to.path(), &[]).is(2).says("ckpt: no rank has it");
}

#[test]
fn holders_of_one_content_may_differ_in_its_time_and_its_other_names() {
    if !launch::can_start_ranks() {
        return;
    }
    let (base, to) = (temp(), temp());
    for rank in 0..3 {
        put(base.path(), rank, "same", &bytes(400_000, 3));
    }
    let of_rank = |rank: usize, name: &str| base.path().join(format!("{rank}/ckpt/{name}"));
    fs::hard_link(of_rank(1, "same"), of_rank(1, "again")).expect("it has links");
    put(base.path(), 2, "tied", &bytes(150_000, 4));
    fs::hard_link(of_rank(2, "tied"), of_rank(2, "to this")).expect("it has links");
    let old = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000_000);
    let file = fs::File::options().write(true).open(of_rank(1, "same")).expect("a file");
    file.set_modified(old).expect("it is ours");
    stage(3, base.path(), to.path(), &[]).is(0);
    for rank in 0..3 {
        let dir = to.path().join(format!("{rank}"));
        assert_eq!(files(&dir.join("ckpt")), union(base.path(), 3), "rank {rank}");
        let modified =
            |path: &Path| fs::metadata(path).and_then(|it| it.modified()).expect("a time");
        assert_eq!(modified(&dir.join("ckpt/same")), modified(&of_rank(0, "same")));
        verify(&dir).is(0);
    }
}
