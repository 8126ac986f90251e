//! `--compress`: what ranks send each other may be shorter, and what they write is the same.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use proptest::prelude::*;

use super::tree::{bytes, differences};
use super::{PROGRAM, ended, here, launch, ranks, source, temp};

const RANKS: u32 = 3;

// Each case starts ranks twice.
const CASES: u32 = 4;

fn number(json: &serde_json::Value, name: &str) -> u64 {
    json[name].as_u64().unwrap_or_else(|| panic!("{name}: {json}"))
}

/// Stages to folders of ranks; returns the bytes that were served and those that crossed for them.
fn staged(source: &Path, when: &str) -> (u64, u64) {
    let to = temp();
    let options = ["--segment-bytes", "64K", "--compress", when].map(OsStr::new);
    let arguments: Vec<_> = [source.as_os_str()].into_iter().chain(options).collect();
    let json = ranks(RANKS, to.path(), &arguments).is(0).json();
    for rank in 0..RANKS {
        let staged = to.path().join(format!("{rank}/tree"));
        assert_eq!(differences(source, &staged), [""; 0], "rank {rank}, {when}");
    }
    let sum = |name| (0..RANKS as usize).map(|rank| number(&json["nodes"][rank], name)).sum();
    let (served, sent): (u64, u64) = (sum("served_bytes"), sum("sent_bytes"));
    assert_eq!(sent, number(&json, "bytes_sent"));
    assert!(served >= number(&json, "bytes_moved"), "{json}");
    (served, sent)
}

#[test]
fn a_tree_of_every_kind_arrives_bit_for_bit_and_less_crosses() {
    if !launch::can_start_ranks() {
        return;
    }
    let from = temp();
    let source = source(from.path());
    let text = "the same words again and again\n".repeat(300_000);
    fs::write(source.join("text"), text).expect("room");
    let (served, sent) = staged(&source, "always");
    // The text is two thirds of it at least, and becomes less than a tenth.
    assert!(sent < served * 4 / 10, "{sent} of {served}");
    // All ranks are on one host.
    for when in ["never", "auto"] {
        let (served, sent) = staged(&source, when);
        assert_eq!(served, sent, "{when}");
    }
}

#[test]
fn a_limit_holds_for_what_crosses_and_a_page_of_text_arrives_sooner() {
    if !launch::can_start_ranks() {
        return;
    }
    let from = temp();
    let source = from.path().join("tree");
    fs::create_dir(&source).expect("a folder");
    // 32 s for each rank at half a MiB a second.
    fs::write(source.join("text"), "the same words\n".repeat((16 << 20) / 15)).expect("room");
    for limit in ["up=512K", "down=512K"] {
        let to = temp();
        let options = ["--segment-bytes", "64K", "--compress", "always", "--limit-rate", limit];
        let options = options.map(OsStr::new);
        let arguments: Vec<_> = [source.as_os_str()].into_iter().chain(options).collect();
        let json = ranks(RANKS, to.path(), &arguments).is(0).json();
        let seconds = json["makespan_s"].as_f64().expect("a number");
        // As they are, the bytes would take longer than this on any machine.
        assert!(seconds < 30.0, "{limit}: {json}");
        assert_eq!(differences(&source, &to.path().join("2/tree")), [""; 0]);
    }
}

/// A tree of files of which some become shorter.
fn grow(dir: &Path, files: &[(bool, usize)]) -> PathBuf {
    let root = dir.join("tree");
    fs::create_dir(&root).expect("a folder");
    for (seed, &(is_noise, size)) in (1..).zip(files) {
        let content = if is_noise { bytes(size, seed) } else { bytes(17, seed).repeat(size / 17) };
        fs::write(root.join(seed.to_string()), content).expect("room");
    }
    root
}

#[test]
fn random_files_arrive_as_they_are() {
    if !launch::can_start_ranks() {
        return;
    }
    let config = ProptestConfig {
        cases: CASES,
        failure_persistence: None,
        max_shrink_iters: 0,
        ..ProptestConfig::default()
    };
    let files = prop::collection::vec((any::<bool>(), 0..400_000_usize), 0..12);
    proptest!(config, |(files in files)| {
        let from = temp();
        let source = grow(from.path(), &files);
        for when in ["always", "auto"] {
            let (served, sent) = staged(&source, when);
            prop_assert!(sent <= served);
        }
    });
}

#[test]
fn ranks_must_agree_on_it_and_words_that_are_none_are_refused() {
    let (from, to) = (temp(), temp());
    let source = source(from.path());
    let arguments = |when| {
        [source.as_os_str(), "--to".as_ref(), to.path().as_os_str(), "--compress".as_ref(), when]
    };
    here(arguments(OsStr::new("sometimes"))).is(2).says("never, auto, always");
    // One process sends nothing.
    let json = here(arguments(OsStr::new("always"))).is(0).json();
    assert_eq!(number(&json, "bytes_sent"), 0);
    if !launch::can_start_ranks() {
        return;
    }
    let mut command = launch::ranks(1, "timeout");
    for rank in 0..2 {
        if rank > 0 {
            command.args([":", "-n", "1", "timeout"]);
        }
        command.args(["60", PROGRAM, "stage", "--json", "--mkdir", "--to"]);
        command.arg(to.path().join("{rank}")).arg(&source);
        command.args(["--compress", ["always", "never"][rank]]);
    }
    ended(command.output()).is(2).says("rank 1: --compress is not always as on rank 0");
}

#[test]
fn its_memory_is_part_of_the_limit() {
    let (from, to) = (temp(), temp());
    let source = source(from.path());
    let mut arguments = vec![source.as_os_str(), "--to".as_ref(), to.path().as_os_str()];
    // They have room for 16 segments. 12 are enough; 8 frames and one for each worker are too much beside.
    arguments
        .extend(["--memory", "4M", "--segment-bytes", "256K", "--workers", "4"].map(OsStr::new));
    here(&arguments).is(0);
    arguments.extend(["--compress", "always"].map(OsStr::new));
    here(&arguments).is(2).says("--memory 4194304: segments of 262144 bytes need ");
}
