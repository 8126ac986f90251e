//! One peer's input: the files that it owns, with their hashes, and the files that it wants.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use super::quote::Quoted;
use super::{FileName, Hashes, NodeId, ParseError, read_bounded};
use crate::escape;

/// Bytes of an input, at most.
// 130 million segments with a classic hash: more than MPI has tags for.
const INPUT_BYTES_MAX: u64 = 4 << 30;

/// What one peer owns and wants.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PeerInput {
    /// The files that the peer has from the start, each once, in the order of the input.
    pub owned: Vec<OwnedFile>,
    /// The files that it downloads, each once and none of them owned, in the order of the input.
    pub wanted: Vec<FileName>,
    /// What is odd about the input, though it can be used.
    pub warnings: Vec<InputWarning>,
}

impl PeerInput {
    /// Reads and parses the input of `peer` in the folder `dir`.
    ///
    /// # Errors
    ///
    /// The file cannot be read, its text breaks the grammar, or two wanted files would get the same
    /// name when they are finished.
    pub fn read(dir: &Path, peer: NodeId) -> Result<Self, InputError> {
        let path = input_path(dir, peer);
        // Bytes, not text: the parser names the line of a byte that is not UTF-8.
        match read_bounded(&path, INPUT_BYTES_MAX) {
            Err(cause) => Err(InputError::Read { path, cause }),
            Ok(text) => Self::parse(&text)
                .and_then(|input| input.check_outputs(peer, &text))
                .map_err(|cause| InputError::Parse { path, cause }),
        }
    }

    /// Writes the input as text, which parses to the same files when the fields keep their rules.
    ///
    /// Each line is a call or two of `sink`: give it a buffer.
    ///
    /// # Errors
    ///
    /// What `sink` reports.
    pub fn write(&self, sink: &mut impl io::Write) -> io::Result<()> {
        writeln!(sink, "{}", self.owned.len())?;
        for file in &self.owned {
            writeln!(sink, "{} {}", file.name, file.hashes.len())?;
            for hash in file.hashes.iter() {
                sink.write_all(hash.as_bytes())?;
                sink.write_all(b"\n")?;
            }
        }
        writeln!(sink, "{}", self.wanted.len())?;
        self.wanted.iter().try_for_each(|name| writeln!(sink, "{name}"))
    }

    /// Whether both describe the same files, wherever these stood in their texts.
    pub fn same_files(&self, other: &Self) -> bool {
        self.owned.len() == other.owned.len()
            && self.wanted == other.wanted
            && std::iter::zip(&self.owned, &other.owned)
                .all(|(left, right)| left.name == right.name && left.hashes == right.hashes)
    }
}

/// A file that a peer has from the start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnedFile {
    /// Its name.
    pub name: FileName,
    /// The line of its header in the input, counted from 1.
    pub line: usize,
    /// The hash of each segment, in order.
    pub hashes: Hashes,
}

/// A file that is owned and wanted: there is nothing to do, and it was dropped from the wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InputWarning {
    /// The line that wants the file, counted from 1.
    pub line: usize,
    /// Its name.
    pub name: FileName,
}

impl fmt::Display for InputWarning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = Quoted::new(self.name.as_str());
        write!(f, "line {}: {name} is wanted, but owned already: nothing to do", self.line)
    }
}

/// Why an input could not be used: one line that names the file, the line and the cause.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the message of each says what its fields are")]
pub enum InputError {
    #[error("{}: {cause}", escape::path(path))]
    Read { path: PathBuf, cause: io::Error },
    // In the form `file:line: cause`, which editors can follow.
    #[error("{}:{}: {}", escape::path(path), cause.line, cause.cause)]
    Parse { path: PathBuf, cause: ParseError },
}

/// How many segments all peers together hold once each has what it wants.
pub fn segments_held(inputs: &[PeerInput]) -> usize {
    let owned = || inputs.iter().flat_map(|input| &input.owned);
    let counts: HashMap<_, _> = owned().map(|file| (&file.name, file.hashes.len())).collect();
    let wanted = inputs.iter().flat_map(|input| &input.wanted);
    wanted.filter_map(|name| counts.get(name)).sum::<usize>()
        + owned().map(|file| file.hashes.len()).sum::<usize>()
}

/// Where the input of `peer` lies in the folder `dir`: `in<R>.txt`.
pub fn input_path(dir: &Path, peer: NodeId) -> PathBuf {
    dir.join(format!("in{}.txt", peer.0))
}

/// The highest peer that has an input in the folder `dir`; `None` when no peer has one.
///
/// # Errors
///
/// The folder cannot be listed.
pub fn highest_peer(dir: &Path) -> io::Result<Option<NodeId>> {
    Ok(peers_in(dir)?.into_iter().max())
}

/// The peers that have an input in the folder `dir`, in no order.
///
/// # Errors
///
/// The folder cannot be listed.
pub fn peers_in(dir: &Path) -> io::Result<Vec<NodeId>> {
    let mut peers = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        peers.extend(entry?.file_name().to_str().and_then(peer_of));
    }
    Ok(peers)
}

/// The peer whose input has this name. `in01.txt` is none, or peer 1 could have two; nor is
/// `in0.txt`, as rank 0 tracks.
fn peer_of(file_name: &str) -> Option<NodeId> {
    let number = file_name.strip_prefix("in")?.strip_suffix(".txt")?;
    let is_plain = number.bytes().all(|byte| byte.is_ascii_digit()) && !number.starts_with('0');
    is_plain.then(|| number.parse().ok().map(NodeId)).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "2\nfile1 2\n00112233\nAABBCCDD\nempty 0\n2\nfile2\nfile 3\n";

    fn parse(text: &str) -> PeerInput {
        PeerInput::parse(text.as_bytes()).expect("the text keeps the grammar")
    }

    #[test]
    fn what_is_written_parses_to_the_same() {
        let mut written = Vec::new();
        parse(TEXT).write(&mut written).expect("a vector takes every byte");
        assert_eq!(written, TEXT.as_bytes());
    }

    #[test]
    fn the_same_files_elsewhere_are_the_same_files() {
        let moved = parse(&TEXT.replace('\n', "\n\n"));
        assert_ne!(parse(TEXT), moved);
        assert!(parse(TEXT).same_files(&moved));
        assert!(!parse(TEXT).same_files(&parse(&TEXT.replace("AABB", "aabb"))));
        assert!(!parse(TEXT).same_files(&parse(&TEXT.replace("file2", "file4"))));
        assert!(!parse(TEXT).same_files(&parse("0\n2\nfile2\nfile 3\n")));
    }

    #[test]
    fn a_warning_is_one_sentence() {
        let input = parse("1\nfile1 0\n2\nfile2\nfile1\n");
        assert_eq!(input.wanted.iter().map(FileName::as_str).collect::<Vec<_>>(), ["file2"]);
        let warnings: Vec<_> = input.warnings.iter().map(ToString::to_string).collect();
        assert_eq!(warnings, ["line 5: \"file1\" is wanted, but owned already: nothing to do"]);
    }

    #[test]
    fn an_error_names_file_line_and_cause() {
        let folder = tempfile::tempdir().expect("the system has room for a folder");
        let dir = folder.path();
        std::fs::write(input_path(dir, NodeId(3)), "1\nfile1 1\n0123456\n0\n").expect("writable");
        let error = PeerInput::read(dir, NodeId(3)).expect_err("the hash is short").to_string();
        let expected = format!(
            "{}/in3.txt:3: a hash of 7 characters: an even number from 8 to 128 is expected",
            dir.display()
        );
        assert_eq!(error, expected);
        let error = PeerInput::read(dir, NodeId(4)).expect_err("nothing is there").to_string();
        assert_eq!(
            error,
            format!("{}/in4.txt: No such file or directory (os error 2)", dir.display())
        );
    }

    #[test]
    fn the_highest_peer_is_found_among_other_names() {
        let folder = tempfile::tempdir().expect("the system has room for a folder");
        let dir = folder.path();
        assert_eq!(highest_peer(dir).expect("readable"), None);
        let others = ["in0.txt", "in099.txt", "in.txt", "in-5.txt", "in+6.txt", "in7.txt.bak"];
        let also = ["in99999999999.txt", "win8.txt", "in9.TXT", "in 9.txt"];
        for name in others.iter().chain(&also).chain(&["in2.txt", "in12.txt", "in9.txt"]) {
            std::fs::write(dir.join(name), "").expect("writable");
        }
        assert_eq!(highest_peer(dir).expect("readable"), Some(NodeId(12)));
        assert!(highest_peer(&dir.join("absent")).is_err());
    }

    #[test]
    fn a_good_input_is_read() {
        let folder = tempfile::tempdir().expect("the system has room for a folder");
        std::fs::write(input_path(folder.path(), NodeId(1)), TEXT).expect("writable");
        let input = PeerInput::read(folder.path(), NodeId(1)).expect("the text is valid");
        assert_eq!(input, parse(TEXT));
    }
}
