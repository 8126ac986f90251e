//! One workload, three ways: in virtual time, as threads, and as ranks where there is an `mpirun`.
//! Every peer ends with the same bytes of every file that it wants.
//!
//! The simulated nodes start from what the real ones register. What real nodes end with is read
//! from `--digests`: the payload as it lies in memory at the end, hashed once more.

#[cfg(feature = "mpi")]
mod launch;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use mpiswarm::driver;
use mpiswarm::manifest::{FileName, NodeId, PeerInput, highest_peer};
use mpiswarm::protocol::Registration;
use mpiswarm::simulation::{World, WorldConfig};

const PROGRAM: &str = env!("CARGO_BIN_EXE_mpiswarm");
const SEED: u64 = 7;
const DESIGNS: [&[&str]; 3] =
    [&["--engine", "lockfree"], &["--engine", "mutex"], &["--decide", "peers"]];

/// By peer from rank 1 on, by wanted file in the order of the input: the digests of its segments.
type Contents = Vec<Vec<Vec<String>>>;

/// A folder of inputs, and how long its segments are.
struct Case {
    dir: PathBuf,
    segment_bytes: usize,
    seed: u64,
    inputs: Vec<PeerInput>,
}

impl Case {
    fn new(name: &str, segment_bytes: usize) -> Self {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("inputs").join(name);
        let peers = highest_peer(&dir).expect("the folder can be listed").expect("it has peers");
        let read = |peer| PeerInput::read(&dir, NodeId(peer)).expect("the input is valid");
        let inputs = (1..=peers.0).map(read).collect();
        Self { dir, segment_bytes, seed: SEED, inputs }
    }

    fn registrations(&self) -> Vec<Registration> {
        let register = |(rank, input): (u32, &PeerInput)| {
            driver::registration(NodeId(rank), input.clone(), self.segment_bytes, self.seed)
                .expect("a little memory")
        };
        (1..).zip(&self.inputs).map(register).collect()
    }

    /// What each peer must end with: what the owners registered.
    fn registered(&self) -> Contents {
        let registrations = self.registrations();
        let digests = |name: &FileName| -> Vec<String> {
            let owned = registrations.iter().flat_map(|registration| match registration {
                Registration::Ready { owned, .. } => owned,
                Registration::Refused { reason } => panic!("{reason}"),
                Registration::Late(_) => panic!("its digests are registered"),
            });
            let entry = owned.into_iter().find(|entry| &*entry.name == name.as_str());
            let entry = entry.expect("every file of these inputs is owned");
            entry.digests.iter().map(ToString::to_string).collect()
        };
        self.inputs.iter().map(|input| input.wanted.iter().map(digests).collect()).collect()
    }

    fn simulated(&self) -> Contents {
        let scenario =
            WorldConfig { keep_contents: true, ..WorldConfig::of(self.registrations(), self.seed) };
        let run = World::new(scenario).run();
        assert_eq!(run.outcome.errors, [""; 0]);
        let text = |file: Option<Vec<_>>| -> Vec<String> {
            file.expect("every file arrives").iter().map(ToString::to_string).collect()
        };
        let peers = run.contents.into_iter().skip(1);
        peers.map(|files| files.into_iter().map(text).collect()).collect()
    }

    /// Runs the program in a way of its own, and reads what the peers wrote.
    fn run(&self, start: &mut Command, choices: &[&str]) -> Contents {
        let out = tempfile::tempdir().expect("a folder");
        let (bytes, seed) = (self.segment_bytes.to_string(), self.seed.to_string());
        let ended = start
            .arg("run")
            .arg(&self.dir)
            .args(choices)
            .args(["--quiet", "--digests", "--segment-bytes", &bytes, "--seed", &seed, "--out"])
            .arg(out.path())
            .output()
            .expect("the program starts");
        assert!(ended.status.success(), "{ended:?}");
        let read = |peer, name: &FileName| -> Vec<String> {
            let path = out.path().join(name.digests_name(peer));
            let text = fs::read_to_string(path).expect("the digests lie beside the file");
            text.lines().map(str::to_owned).collect()
        };
        let peers = (1..).map(NodeId).zip(&self.inputs);
        peers.map(|(p, input)| input.wanted.iter().map(|name| read(p, name)).collect()).collect()
    }

    fn threads(&self, choices: &[&str]) -> Contents {
        self.run(&mut Command::new(PROGRAM), choices)
    }

    #[cfg(feature = "mpi")]
    fn ranks(&self, choices: &[&str]) -> Contents {
        let peers = u32::try_from(self.inputs.len()).expect("few peers");
        self.run(&mut launch::ranks(peers + 1, PROGRAM), choices)
    }
}

fn cases() -> [Case; 2] {
    [Case::new("small", 5000), Case::new("classic", 100)]
}

#[test]
fn simulated_peers_end_with_what_owners_registered() {
    for case in cases() {
        assert_eq!(case.simulated(), case.registered());
    }
}

#[test]
fn threads_end_with_the_same_bytes_as_simulated_peers() {
    for case in cases() {
        let simulated = case.simulated();
        for design in DESIGNS {
            assert_eq!(case.threads(design), simulated, "{design:?}");
        }
    }
}

#[cfg(feature = "mpi")]
#[test]
fn ranks_end_with_the_same_bytes_as_simulated_peers() {
    if !launch::can_start_ranks() {
        return;
    }
    for case in cases() {
        let simulated = case.simulated();
        for design in DESIGNS {
            assert_eq!(case.ranks(design), simulated, "{design:?}");
        }
    }
}

/// Runs cases with several service threads at the tracker, with each index and several seeds.
fn check_tracker_threads(run: impl Fn(&Case, &[&str]) -> Contents) {
    for (seed, index) in (1..).zip(["dashmap", "mutex", "atomic"]) {
        let case = Case { seed, ..Case::new("small", 1000) };
        let registered = case.registered();
        for threads in ["0", "1", "3"] {
            let choices = ["--tracker-threads", threads, "--index", index];
            assert_eq!(run(&case, &choices), registered, "seed {seed}: {choices:?}");
        }
    }
    let case = Case::new("classic", 1024);
    assert_eq!(run(&case, &["--tracker-threads", "3"]), case.registered());
}

#[test]
fn threads_end_with_the_same_bytes_whichever_threads_compute_handouts() {
    check_tracker_threads(Case::threads);
}

#[cfg(feature = "mpi")]
#[test]
fn ranks_end_with_the_same_bytes_whichever_threads_compute_handouts() {
    if launch::can_start_ranks() {
        check_tracker_threads(Case::ranks);
    }
}
