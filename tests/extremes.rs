//! Workloads far beyond what the format is known for: they run to the end, and what they cost
//! grows with their size and no faster.
//!
//! Only the hash of each segment moves. Without optimization these tests take minutes.

use std::fs;
use std::path::Path;

use mpiswarm::driver::job::{Inputs, Job, JobResult, run_threads};
use mpiswarm::manifest::{
    FileName, Hashes, NAME_BYTES_MAX, NodeId, OwnedFile, Owners, PeerInput, Popularity, Wanted,
    Workload, synthesize,
};
use mpiswarm::time::Clock;

/// Peer 1 has everything, two others want it.
fn broadcast(files: u32, segments: u32) -> Vec<PeerInput> {
    let workload = Workload {
        peers: 3,
        files,
        segments,
        owners: Owners::First,
        wanted: Wanted::All,
        popularity: Popularity::Uniform,
        seed: 1,
    };
    synthesize(&workload).expect("the numbers fit")
}

/// Runs it to the end, and says how long the swarm took, in seconds.
fn run(inputs: Vec<PeerInput>, out: Option<&Path>) -> (JobResult, f64) {
    let nodes = u32::try_from(inputs.len()).expect("a few peers") + 1;
    let job = Job { out: out.map(Path::to_owned), ..Job::new(Inputs::Made(inputs.into()), 0) };
    let ended = run_threads(&job, nodes, &Clock::start(), |_| ()).expect("no node breaks");
    assert_eq!(ended.outcome.errors, [""; 0]);
    assert_eq!(ended.progress.segments_verified, ended.progress.segments_wanted);
    let opened = ended.outcome.opened.expect("the swarm opened");
    let last = ended.outcome.finished.iter().flatten().max().expect("all have finished");
    let seconds = last.since(opened).as_secs_f64();
    (ended, seconds)
}

/// Runs a small and a large workload, the second `times` as large as the first. Twice its time a
/// segment may be chance, and memory further away; four times would be another law.
fn check_growth(small: Vec<PeerInput>, large: Vec<PeerInput>, times: u32) -> String {
    let (_, few) = run(small, None);
    let (ended, many) = run(large, None);
    let wanted = ended.progress.segments_wanted;
    let text = format!("{few:.2} s, then {wanted} segments in {many:.2} s: {times} times as many");
    assert!(many < 4.0 * f64::from(times) * few.max(0.1), "{text}");
    text
}

#[test]
#[cfg_attr(debug_assertions, ignore = "takes minutes without optimization")]
fn a_hundred_thousand_files() {
    println!("{}", check_growth(broadcast(12_500, 1), broadcast(100_000, 1), 8));
}

#[test]
#[cfg_attr(debug_assertions, ignore = "takes minutes without optimization")]
fn a_million_segments_of_one_file() {
    println!("{}", check_growth(broadcast(1, 125_000), broadcast(1, 1_000_000), 8));
}

#[test]
fn names_of_255_bytes() {
    let name = |number: u32| {
        let name = format!("{number:05}{}", "n".repeat(NAME_BYTES_MAX - 5));
        FileName::parse(&name).expect("it is as long as a name may be")
    };
    let hash = |number: u32| format!("{number:032x}");
    let owned = (0..200).map(|number| {
        let mut hashes = Hashes::with_capacity(1, 32);
        hashes.push(&hash(number));
        OwnedFile { name: name(number), line: 0, hashes }
    });
    let owner = PeerInput { owned: owned.collect(), ..PeerInput::default() };
    let other = PeerInput { wanted: (0..200).map(name).collect(), ..PeerInput::default() };
    let out = tempfile::tempdir().expect("a folder");
    run(vec![owner, other.clone(), other], Some(out.path()));
    for (peer, number) in [(2, 0), (2, 199), (3, 7)] {
        let path = out.path().join(name(number).output_name(NodeId(peer)));
        assert_eq!(fs::read_to_string(path).expect("it is whole"), hash(number) + "\n");
    }
    let names =
        fs::read_dir(out.path()).expect("readable").flatten().map(|entry| entry.file_name());
    assert_eq!(names.filter(|name| name.as_encoded_bytes().starts_with(b"client")).count(), 400);
}
