//! The committed inputs: the good ones are what their README says, the bad ones fail as it says.

use std::path::{Path, PathBuf};

use mpiswarm::manifest::{
    NodeId, PeerInput, Popularity, Wanted, Workload, highest_peer, synthesize,
};

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("inputs").join(name)
}

fn read_all(dir: &Path) -> Vec<PeerInput> {
    let last = highest_peer(dir).expect("the folder can be listed").map_or(0, |peer| peer.0);
    (1..=last)
        .map(|peer| PeerInput::read(dir, NodeId(peer)).unwrap_or_else(|error| panic!("{error}")))
        .collect()
}

fn segments_wanted(inputs: &[PeerInput]) -> usize {
    let segments = |name| {
        let mut owned = inputs.iter().flat_map(|input| &input.owned);
        owned.find(|file| &file.name == name).map_or(0, |file| file.hashes.len())
    };
    inputs.iter().flat_map(|input| &input.wanted).map(segments).sum()
}

#[test]
fn the_classic_inputs_come_from_their_command_line() {
    let workload = Workload {
        peers: 12,
        files: 10,
        segments: 100,
        owners: "1".parse().expect("a number of owners"),
        wanted: Wanted::All,
        popularity: Popularity::Uniform,
        seed: 1,
    };
    let inputs = read_all(&folder("classic"));
    assert_eq!(inputs, synthesize(&workload).expect("the numbers fit"));
    assert_eq!(segments_wanted(&inputs), 11_000);
}

#[test]
fn the_small_inputs_are_varied() {
    let inputs = read_all(&folder("small"));
    assert_eq!(inputs.len(), 4);
    assert!(inputs.iter().all(|input| !input.wanted.is_empty() && input.warnings.is_empty()));
    let files = || inputs.iter().flat_map(|input| &input.owned);
    assert_eq!(files().count(), 7);
    let mut lengths: Vec<_> = files().map(|file| file.hashes.len()).collect();
    lengths.sort_unstable();
    assert_eq!(lengths, [0, 1, 5, 12, 12, 20, 37]);
    let is_upper = |hash: &str| hash.bytes().any(|byte| byte.is_ascii_uppercase());
    assert!(files().any(|file| file.hashes.iter().any(is_upper)));
    let twice: Vec<_> = files().filter(|file| file.hashes.len() == 12).collect();
    assert_eq!((&twice[0].name, &twice[0].hashes), (&twice[1].name, &twice[1].hashes));
}

/// The table of the README lists, for each case that does not parse, the message after the path.
#[test]
fn the_bad_inputs_fail_as_their_readme_says() {
    let dir = folder("bad");
    let readme = std::fs::read_to_string(dir.join("README.md")).expect("the folder has a README");
    let mut folders = 0;
    for entry in std::fs::read_dir(&dir).expect("the folder can be listed") {
        let case = entry.expect("the folder can be listed");
        if !case.path().is_dir() {
            continue;
        }
        folders += 1;
        let name = case.file_name().into_string().expect("the cases have plain names");
        let row = readme.lines().find(|line| line.starts_with(&format!("| `{name}` |")));
        let row = row.unwrap_or_else(|| panic!("the README has no row for {name}"));
        let told = match PeerInput::read(&case.path(), NodeId(1)) {
            Err(error) => {
                let prefix = format!("{}/", case.path().display());
                error.to_string().replacen(&prefix, "", 1)
            }
            Ok(input) => match input.warnings.first() {
                Some(warning) => warning.to_string(),
                None => continue,
            },
        };
        assert!(row.contains(&format!("| `{told}` |")), "{name}: {told}\n{row}");
    }
    assert_eq!(folders, readme.lines().filter(|line| line.starts_with("| `")).count());
}
