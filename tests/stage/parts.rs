//! Nodes that take parts of a tree, compared byte for byte.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::tree::{bytes, entries};
use super::{Ended, PROGRAM, ended, here, temp};

/// A checkpoint of so many shards, with what goes with them.
pub(super) fn checkpoint(dir: &Path, shards: u64) -> PathBuf {
    let source = dir.join("ckpt");
    fs::create_dir_all(source.join("logs/old")).expect("folders");
    for shard in 0..shards {
        let length = 300_000 + 70_000 * usize::try_from(shard).expect("few");
        let name = format!("shard-{shard}.bin");
        fs::write(source.join(name), bytes(length, shard)).expect("there is room");
        let name = format!("logs/small-{shard}");
        fs::write(source.join(name), bytes(5_000, 100 + shard)).expect("there is room");
    }
    fs::write(source.join("config.json"), bytes(3_000, 77)).expect("there is room");
    fs::write(source.join("logs/old/empty"), "").expect("there is room");
    source
}

/// The files below a folder, with their bytes.
pub(super) fn files(root: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let found = entries(root).into_keys().filter(|path| root.join(path).is_file());
    found.map(|path| (path.clone(), fs::read(root.join(&path)).expect("a file"))).collect()
}

/// These files of a folder.
pub(super) fn some(root: &Path, names: &[&str]) -> BTreeMap<PathBuf, Vec<u8>> {
    let read = |name: &&str| (PathBuf::from(name), fs::read(root.join(name)).expect("a file"));
    names.iter().map(read).collect()
}

pub(super) fn verify(dir: &Path) -> Ended {
    verify_with(dir, &[], None)
}

/// The rank is what a launcher would say.
fn verify_with(dir: &Path, flags: &[&str], rank: Option<&str>) -> Ended {
    let mut command = Command::new(PROGRAM);
    command.arg("verify").arg(dir).args(flags);
    let variables = std::env::vars_os().map(|(name, _)| name);
    let is_of_launcher = |name: &OsString| {
        name.to_str().is_some_and(|name| name.contains("RANK") || name.contains("PROCID"))
    };
    variables.filter(is_of_launcher).for_each(|name| {
        command.env_remove(name);
    });
    command.envs(rank.map(|rank| ("PMIX_RANK", rank)));
    ended(command.output())
}

fn stage(source: &Path, to: &Path, flags: &[&str]) -> Ended {
    let fixed = [source.as_os_str(), OsStr::new("--mkdir"), OsStr::new("--to"), to.as_os_str()];
    here(fixed.into_iter().chain(flags.iter().map(OsStr::new)))
}

const SHARD: [&str; 4] = ["--only", "shard-{rank}.bin", "--only", "config.json"];

#[test]
fn one_node_takes_what_matches_and_nothing_else_counts() {
    let (from, to) = (temp(), temp());
    let source = checkpoint(from.path(), 3);
    let json = stage(&source, to.path(), &SHARD).is(0).json();
    let staged = to.path().join("ckpt");
    assert_eq!(files(&staged), some(&source, &["config.json", "shard-0.bin"]));
    assert!(!staged.join("logs").exists(), "no folder in which nothing is taken");
    assert_eq!(json["nodes"][0]["tree_bytes"], 303_000, "{json}");
    assert_eq!(json["source_bytes_read"], 303_000, "{json}");
    verify(to.path()).is(0);
    let again = stage(&source, to.path(), &SHARD).is(0).json();
    assert_eq!((&again["source_bytes_read"], &again["bytes_kept"]), (&0.into(), &303_000.into()));
    let by_content = stage(&source, to.path(), &[&SHARD[..], &["--checksum"]].concat());
    assert_eq!(by_content.is(0).json()["source_bytes_read"], 0);
}

#[test]
fn folders_above_what_is_taken_exist_and_globs_are_those_of_include() {
    let (from, to) = (temp(), temp());
    let source = checkpoint(from.path(), 3);
    let flags = ["--only", "logs/old/", "--only", "small-[12]", "--exclude", "small-2"];
    stage(&source, to.path(), &flags).is(0);
    let found: Vec<PathBuf> = entries(&to.path().join("ckpt")).into_keys().collect();
    let expected = ["", "logs", "logs/old", "logs/old/empty", "logs/small-1"];
    assert_eq!(found, expected.map(PathBuf::from));
}

#[test]
fn deleting_leaves_alone_what_the_node_does_not_take() {
    let (from, to) = (temp(), temp());
    let source = checkpoint(from.path(), 3);
    stage(&source, to.path(), &[]).is(0);
    let staged = to.path().join("ckpt");
    fs::write(staged.join("mine"), "not of the source").expect("there is room");
    for name in ["shard-0.bin", "shard-1.bin", "logs/small-1"] {
        fs::remove_file(source.join(name)).expect("it is there");
    }
    let flags = ["--only", "shard-{rank}.bin", "--only", "config.json", "--delete"];
    let told = stage(&source, to.path(), &[&flags[..], &["--dry-run"]].concat());
    // Nothing of the first pattern is left in the source.
    told.is(2).says("--only shard-{rank}.bin: nothing of the sources matches");
    let flags = ["--only", "shard-[02].bin", "--delete"];
    let told = stage(&source, to.path(), &[&flags[..], &["--dry-run"]].concat()).is(0).json();
    let deleted = &told["nodes"][0]["destinations"][0]["deleted"];
    assert_eq!(deleted["names"], serde_json::json!(["ckpt/shard-0.bin"]), "{told}");
    stage(&source, to.path(), &flags).is(0);
    let is_there = |name: &str| staged.join(name).exists();
    assert!(!is_there("shard-0.bin"), "the node takes it, and the source has it no longer");
    assert!(is_there("shard-1.bin") && is_there("logs/small-1") && is_there("mine"));
}

#[test]
fn a_dry_run_tells_of_the_nodes_own_part() {
    let (from, to) = (temp(), temp());
    let source = checkpoint(from.path(), 3);
    let told = stage(&source, to.path(), &[&SHARD[..], &["--dry-run"]].concat()).is(0).json();
    let run = &told["nodes"][0]["destinations"][0];
    assert_eq!((&run["sent"]["bytes"], &run["moved_bytes"]), (&303_000.into(), &303_000.into()));
    let names = serde_json::json!(["ckpt", "ckpt/config.json", "ckpt/shard-0.bin"]);
    assert_eq!(run["sent"]["names"], names);
    assert!(!to.path().join("ckpt").exists());
}

#[test]
fn a_pattern_that_is_wrong_or_matches_nothing_is_refused() {
    let (from, to) = (temp(), temp());
    let source = checkpoint(from.path(), 2);
    for wrong in ["[a", "a//b", "../x", "{rank"] {
        stage(&source, to.path(), &["--only", wrong]).is(2).says("--only");
    }
    let nothing = stage(&source, to.path(), &["--only", "config.json", "--only", "{host}-{rank}"]);
    nothing.is(2).says("--only {host}-{rank}: nothing of the sources matches on any rank");
    assert!(!to.path().join("ckpt").exists());
}

#[test]
fn a_node_that_took_a_part_verifies_it_with_the_manifest_of_all() {
    let (from, to) = (temp(), temp());
    let source = checkpoint(from.path(), 3);
    let list = from.path().join("all.manifest");
    let mut listing = Command::new(PROGRAM);
    listing.arg("manifest").arg(&source).arg("--out").arg(&list);
    ended(listing.output()).is(0);
    stage(&source, to.path(), &SHARD).is(0);
    let list = list.to_str().expect("a name");
    let check = |only: &[&str], rank: Option<&str>| {
        let flags = [&["--manifest", list, "--all"], only].concat();
        verify_with(&to.path().join("ckpt"), &flags, rank)
    };
    let all = check(&[], None);
    assert!(all.is(1).stdout.contains("shard-1.bin: missing"), "{}", all.stdout);
    let part = check(&SHARD, None);
    assert!(part.is(0).stdout.contains("3 entries, all as in the manifest"), "{}", part.stdout);
    // A launcher says the rank: that of rank 1 is not here.
    let other = check(&SHARD, Some("1"));
    assert!(other.is(1).stdout.contains("ckpt/shard-1.bin: missing"), "{}", other.stdout);
    assert!(!other.stdout.contains("shard-0.bin"), "not extra: {}", other.stdout);
    // What lies outside the part may be as it likes; within it nothing may.
    let staged = to.path().join("ckpt");
    fs::write(staged.join("shard-1.bin"), "wrong").expect("there is room");
    fs::write(staged.join("mine"), "not of the source").expect("there is room");
    // A new name changes the time of the folder, which is in every part.
    let same = check(&SHARD, None);
    let lines: Vec<&str> =
        same.stdout.lines().filter(|line| !line.contains(": modified: ")).collect();
    assert_eq!(lines.len(), 1, "{}", same.stdout);
    fs::write(staged.join("config.json"), bytes(3_000, 78)).expect("there is room");
    let wrong = check(&SHARD, None);
    assert!(wrong.is(1).stdout.contains("ckpt/config.json: content"), "{}", wrong.stdout);
    // Together with --exclude it takes what both take.
    let both = check(&["--only", "config.json", "--exclude", "*.json"], None);
    assert!(!both.stdout.contains("config.json: content"), "{}", both.stdout);
}

#[test]
fn verifying_a_pattern_that_is_wrong_or_matches_nothing_is_refused() {
    let (from, to) = (temp(), temp());
    let source = checkpoint(from.path(), 1);
    stage(&source, to.path(), &[]).is(0);
    verify_with(to.path(), &["--only", "[a"], None).is(2).says("--only");
    let nothing = verify_with(to.path(), &["--only", "shard-9.bin"], None);
    nothing.is(2).says("--only shard-9.bin: nothing of the manifest matches");
    // That another rank may take.
    let other = verify_with(to.path(), &["--only", "shard-{rank}.bin"], Some("9"));
    other.is(0).says("on rank 9: no file was compared");
    // No rank has a name of that kind.
    for wrong in ["shrd-{rank}.bin", "shard-{rank}.bin/{host}", "{rank}"] {
        let nothing = verify_with(to.path(), &["--only", wrong], Some("9"));
        nothing.is(2).says("nothing of the manifest matches for any rank");
    }
    let one_is_right = ["--only", "shrd-{rank}.bin", "--only", "config.json"];
    verify_with(to.path(), &one_is_right, Some("9")).is(0);
}

#[test]
fn what_other_patterns_have_brought_is_kept() {
    let (from, to) = (temp(), temp());
    let source = checkpoint(from.path(), 3);
    stage(&source, to.path(), &SHARD).is(0);
    let json = stage(&source, to.path(), &[]).is(0).json();
    // Of small files of which others are lacking the segment is read again.
    assert_eq!(json["bytes_kept"], 300_000, "{json}");
    assert_eq!(files(&to.path().join("ckpt")), files(&source));
    verify(to.path()).is(0);
}

#[cfg(feature = "mpi")]
mod mpi {
    use super::super::{launch, ranks};
    use super::*;

    fn arguments<'a>(source: &'a Path, flags: &'a [&'a str]) -> Vec<&'a OsStr> {
        [source.as_os_str()].into_iter().chain(flags.iter().map(OsStr::new)).collect()
    }

    #[test]
    fn each_rank_takes_its_shard() {
        if !launch::can_start_ranks() {
            return;
        }
        let (from, to) = (temp(), temp());
        let source = checkpoint(from.path(), 4);
        for from in ["0", "2", "all"] {
            let to = to.path().join(from);
            fs::create_dir(&to).expect("a folder");
            let flags = [&SHARD[..], &["--from", from, "--segment-bytes", "64K"]].concat();
            let flags = arguments(&source, &flags);
            let json = ranks(4, &to, &flags).is(0).json();
            for rank in 0..4 {
                let dir = to.join(rank.to_string());
                let shard = format!("shard-{rank}.bin");
                let expected = some(&source, &["config.json", &shard]);
                assert_eq!(files(&dir.join("ckpt")), expected, "rank {rank}");
                let own = expected.values().map(Vec::len).sum::<usize>();
                let node = &json["nodes"][rank];
                assert_eq!(node["tree_bytes"], own, "rank {rank}: {json}");
                assert!(node["moved_bytes"].as_u64() <= Some(own as u64), "rank {rank}: {json}");
                verify(&dir).is(0);
            }
            let shards: usize = (0..4).map(|shard| 300_000 + 70_000 * shard).sum();
            assert_eq!(json["source_bytes_read"], shards + 3_000, "each byte once: {json}");
            let again = ranks(4, &to, &flags).is(0).json();
            assert_eq!(
                (&again["bytes_moved"], &again["source_bytes_read"]),
                (&0.into(), &0.into())
            );
        }
    }

    #[test]
    fn a_rank_may_take_nothing_and_ranks_with_one_folder_take_what_any_does() {
        if !launch::can_start_ranks() {
            return;
        }
        let (from, to) = (temp(), temp());
        let source = checkpoint(from.path(), 2);
        let flags = arguments(&source, &["--only", "shard-{rank}.bin", "--checksum"]);
        let json = ranks(3, to.path(), &flags).is(0).json();
        assert_eq!(json["nodes"][2]["tree_bytes"], 0, "{json}");
        assert_eq!(json["nodes"][2]["moved_bytes"], 0, "{json}");
        let nothing: Vec<PathBuf> = entries(&to.path().join("2/ckpt")).into_keys().collect();
        assert_eq!(nothing, [PathBuf::new()]);
        verify(&to.path().join("2")).is(0);
        let one = to.path().join("one");
        fs::create_dir(&one).expect("a folder");
        let mut command = launch::ranks(3, "timeout");
        command.args(["60", PROGRAM, "stage", "--json", "--to"]).arg(&one).args(&flags);
        ended(command.output()).is(0);
        assert_eq!(files(&one.join("ckpt")), some(&source, &["shard-0.bin", "shard-1.bin"]));
    }

    #[test]
    fn a_source_that_can_write_nowhere_reads_for_others_and_fetches_nothing() {
        if !launch::can_start_ranks() {
            return;
        }
        let from = temp();
        let source = checkpoint(from.path(), 3);
        let tree: usize = files(&source).values().map(Vec::len).sum();
        for flags in [&["--from", "0"][..], &["--from", "all"], &["--from", "each"]] {
            for broken in [0, 1] {
                let to = temp();
                fs::write(to.path().join(broken.to_string()), "no folder").expect("room");
                let flags = [flags, &["--segment-bytes", "64K"]].concat();
                let json = ranks(3, to.path(), &arguments(&source, &flags)).is(1).json();
                assert_eq!(json["nodes"][broken]["moved_bytes"], 0, "{flags:?}: {json}");
                if flags[1] != "each" {
                    assert_eq!(json["source_bytes_read"], tree, "{flags:?}: {json}");
                }
                for rank in (0..3).filter(|&rank| rank != broken) {
                    let staged = to.path().join(format!("{rank}/ckpt"));
                    assert_eq!(files(&staged), files(&source), "{flags:?}, rank {rank}");
                }
            }
        }
    }

    #[test]
    fn names_of_one_file_go_to_whoever_takes_them() {
        if !launch::can_start_ranks() {
            return;
        }
        let (from, to) = (temp(), temp());
        let source = checkpoint(from.path(), 2);
        fs::write(source.join("name-0"), bytes(9_000, 5)).expect("there is room");
        fs::write(source.join("other-1"), bytes(4_000, 6)).expect("there is room");
        for link in ["name-1", "name-2"] {
            fs::hard_link(source.join("name-0"), source.join(link)).expect("it has links");
        }
        let flags = ["--only", "name-{rank}", "--only", "other-{rank}", "--only", "name-2"];
        let json = ranks(3, to.path(), &arguments(&source, &flags)).is(0).json();
        assert_eq!(json["source_bytes_read"], 13_000, "{json}");
        let expected: [&[&str]; 3] =
            [&["name-0", "name-2"], &["name-1", "name-2", "other-1"], &["name-2"]];
        for (rank, expected) in (0..).zip(expected) {
            let dir = to.path().join(format!("{rank}"));
            assert_eq!(files(&dir.join("ckpt")), some(&source, expected), "rank {rank}");
            verify(&dir).is(0);
        }
    }
}
