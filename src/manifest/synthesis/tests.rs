use std::collections::HashSet;

use super::*;
use crate::manifest::{Popularity, highest_peer};

fn workload(peers: u32, files: u32, owners: &str, wanted: &str) -> Workload {
    Workload {
        peers,
        files,
        segments: 3,
        owners: owners.parse().expect("the tests name valid owners"),
        wanted: wanted.parse().expect("the tests name a valid wish"),
        popularity: Popularity::Uniform,
        seed: 1,
    }
}

fn made(workload: &Workload) -> Vec<PeerInput> {
    synthesize(workload).expect("the numbers fit")
}

fn owned(input: &PeerInput) -> Vec<&str> {
    input.owned.iter().map(|file| file.name.as_str()).collect()
}

fn wishes(input: &PeerInput) -> Vec<&str> {
    input.wanted.iter().map(FileName::as_str).collect()
}

#[test]
fn one_hot_file_has_one_owner_and_all_others_want_it() {
    let inputs = made(&workload(5, 1, "first", "all"));
    assert_eq!(owned(&inputs[0]), ["file1"]);
    assert!(inputs[0].wanted.is_empty());
    for input in &inputs[1..] {
        assert!(input.owned.is_empty());
        assert_eq!(wishes(input), ["file1"]);
    }
}

#[test]
fn all_to_all_deals_the_files_in_turn() {
    let inputs = made(&workload(3, 4, "1", "all"));
    assert_eq!(owned(&inputs[0]), ["file1", "file4"]);
    assert_eq!(owned(&inputs[1]), ["file2"]);
    assert_eq!(wishes(&inputs[0]), ["file2", "file3"]);
    assert_eq!(wishes(&inputs[2]), ["file1", "file2", "file4"]);
}

#[test]
fn several_owners_are_dealt_like_cards() {
    let inputs = made(&workload(3, 3, "2", "all"));
    assert_eq!(owned(&inputs[0]), ["file1", "file2"]);
    assert_eq!(owned(&inputs[1]), ["file1", "file3"]);
    assert_eq!(owned(&inputs[2]), ["file2", "file3"]);
    assert_eq!(wishes(&inputs[1]), ["file2"]);
    assert_eq!(inputs[0].owned[0].hashes, inputs[1].owned[0].hashes);
}

#[test]
fn every_file_has_its_owners_and_nobody_wants_what_it_has() {
    for (peers, files) in [(1, 1), (1, 7), (7, 1), (5, 12), (12, 5), (6, 4)] {
        for owners in ["first", "1", "2", "5"] {
            let workload = workload(peers, files, owners, "all");
            let Ok(inputs) = synthesize(&workload) else {
                assert!(workload.check().is_err());
                continue;
            };
            let copies: usize = inputs.iter().map(|input| input.owned.len()).sum();
            let each: usize = owners.parse().unwrap_or(1);
            assert_eq!(copies, each * files as usize);
            for input in &inputs {
                let all: HashSet<_> = owned(input).into_iter().chain(wishes(input)).collect();
                assert_eq!(all.len(), files as usize);
                assert_eq!(input.owned.len() + input.wanted.len(), files as usize);
            }
        }
    }
}

#[test]
fn hashes_are_distinct_and_lowercase() {
    let inputs = made(&Workload { segments: 1000, ..workload(4, 10, "1", "all") });
    let hashes: Vec<_> =
        inputs.iter().flat_map(|input| &input.owned).flat_map(|file| file.hashes.iter()).collect();
    assert_eq!(hashes.iter().collect::<HashSet<_>>().len(), 10_000);
    let lowercase = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    assert!(hashes.iter().all(|hash| hash.len() == 32 && hash.bytes().all(lowercase)));
}

#[test]
fn the_seed_decides() {
    let base = Workload { popularity: Popularity::Zipf(1.0), ..workload(6, 40, "1", "8") };
    assert_eq!(made(&base), made(&base));
    let other = made(&Workload { seed: 2, ..base.clone() });
    assert_ne!(made(&base)[0].owned, other[0].owned);
    assert_ne!(made(&base)[0].wanted, other[0].wanted);
}

#[test]
fn a_draw_has_no_repetition_and_ends_with_what_is_lacking() {
    let inputs = made(&workload(3, 10, "first", "4"));
    assert!(inputs[0].wanted.is_empty());
    for input in &inputs[1..] {
        assert_eq!(input.wanted.iter().collect::<HashSet<_>>().len(), 4);
    }
    assert_ne!(inputs[1].wanted, inputs[2].wanted);
}

#[test]
fn popularity_follows_its_law() {
    let peers = 40_000;
    let base = workload(peers, 11, "first", "1");
    let share = |popularity, file: &str| {
        let inputs = made(&Workload { segments: 0, popularity, ..base.clone() });
        let wishes = inputs.iter().filter(|input| wishes(input) == [file]).count();
        wishes as f64 / f64::from(peers - 1)
    };
    let harmonic: f64 = (1..=11).map(|rank| 1.0 / f64::from(rank)).sum();
    for (popularity, file, expected) in [
        (Popularity::Uniform, "file1", 1.0 / 11.0),
        (Popularity::Uniform, "file11", 1.0 / 11.0),
        (Popularity::Zipf(1.0), "file1", 1.0 / harmonic),
        (Popularity::Zipf(1.0), "file2", 0.5 / harmonic),
        (Popularity::Zipf(1e300), "file1", 1.0),
    ] {
        let share = share(popularity, file);
        assert!((share - expected).abs() < 0.01, "{popularity} {file}: {share}");
    }
}

#[test]
fn what_is_written_is_what_was_made() {
    let folder = tempfile::tempdir().expect("the system has room for a folder");
    let dir = folder.path().join("deep/down");
    let inputs = made(&workload(3, 4, "2", "1"));
    write_all(&dir, &inputs, false).expect("the folder is writable");
    for (peer, input) in (1..).map(NodeId).zip(&inputs) {
        assert_eq!(&PeerInput::read(&dir, peer).expect("the input is valid"), input);
    }
}

#[test]
fn a_workload_is_replaced_only_on_request_and_then_whole() {
    let folder = tempfile::tempdir().expect("the system has room for a folder");
    let dir = folder.path();
    write_all(dir, &made(&workload(12, 4, "1", "all")), false).expect("the folder is writable");
    let smaller = made(&workload(3, 4, "1", "all"));
    let error = write_all(dir, &smaller, false).expect_err("inputs are there").to_string();
    assert_eq!(
        error,
        format!(
            "{}/in1.txt: the input exists already: add --overwrite, or name another folder",
            dir.display()
        )
    );
    assert_eq!(highest_peer(dir).expect("readable"), Some(NodeId(12)));
    write_all(dir, &smaller, true).expect("the folder is writable");
    assert_eq!(highest_peer(dir).expect("readable"), Some(NodeId(3)));
}

#[test]
fn a_folder_that_cannot_be_made_is_named() {
    let folder = tempfile::tempdir().expect("the system has room for a folder");
    let file = folder.path().join("file");
    fs::write(&file, "").expect("writable");
    let error = write_all(&file, &[], false).expect_err("a file is in the way").to_string();
    assert!(error.starts_with(&format!("{}: ", file.display())), "{error}");
}
