//! The roster: numbers the files of all registrations, and checks that their owners agree.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::OnceLock;

use unicode_normalization::UnicodeNormalization as _;

use super::late_file::{LateFile, LateFileError};
use super::registration::{Catalogue, Listing};
use super::{OwnedEntry, Registration, UNREAD};
use crate::escape;
use crate::manifest::{FileId, FileName, Geometry, NameError, NodeId, Quoted, SegmentId};
use crate::verify::Digest;

/// A file of the swarm.
#[derive(Debug)]
pub(crate) struct RosterFile {
    pub(crate) name: Box<str>,
    pub(crate) owners: Vec<NodeId>,
    pub(crate) wanted: bool,
}

/// All files of the swarm.
#[derive(Debug)]
pub(crate) struct Roster {
    pub(crate) geometry: Geometry,
    pub(crate) files: Vec<RosterFile>,
    /// By segment; those of a late file come while the swarm runs.
    pub(crate) digests: Vec<OnceLock<Digest>>,
    pub(crate) late: Option<LateFile>,
    pub(crate) named: Vec<Named>,
    /// Names that somebody wants and nobody owns or can read.
    pub(crate) unowned: Vec<Box<str>>,
}

/// The files of one registration, in its order.
#[derive(Debug, Default)]
pub(crate) struct Named {
    owned: Vec<FileId>,
    wanted: Vec<Option<FileId>>,
}

/// Registrations that contradict each other.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the names say what they hold")]
pub enum RosterError {
    /// Two owners have different numbers of segments.
    #[error(
        "{}: {first} has {first_count} segments, {second} has {second_count}; \
         give both the same file",
        escape::terminal(name)
    )]
    CountsDiffer {
        name: Box<str>,
        first: NodeId,
        /// How many segments that one has.
        first_count: usize,
        second: NodeId,
        /// How many segments that one has.
        second_count: usize,
    },
    /// Two owners have different hashes or payloads.
    #[error(
        "{}: {first} and {second} differ first at segment {position}: {what}; \
         give both the same file",
        escape::terminal(name)
    )]
    SegmentsDiffer {
        name: Box<str>,
        first: NodeId,
        second: NodeId,
        /// The first segment, from 0, that differs.
        position: usize,
        what: Box<str>,
    },
    /// An owner's registration has more hashes than digests, or fewer.
    #[error("{}: {owner} registered {hashes} hashes and {digests} digests", escape::terminal(name))]
    LengthsDiffer { name: Box<str>, owner: NodeId, hashes: usize, digests: usize },
    /// Names are printed and become paths: no rank is believed to have checked its own.
    #[error("{node}: {name}: {cause}")]
    Name { node: NodeId, name: Quoted, cause: NameError },
    #[error("{node} registered {name} twice")]
    NamedTwice { node: NodeId, name: Box<str> },
    #[error("{name}: {owner} registered what is no hash")]
    NoHash { name: Box<str>, owner: NodeId },
    #[error("{}: {owner} registered a segment with the digest of none", escape::terminal(name))]
    NoDigest { name: Box<str>, owner: NodeId },
    #[error(transparent)]
    Late(#[from] LateFileError),
    #[error("the files have {0}")]
    TooMany(#[from] crate::manifest::TooManySegments),
}

impl Roster {
    /// Numbers the files of all registrations; rank 0 registers nothing.
    // Files of different owners take turns in the numbering, so that peers that fetch in file order
    // use the uplinks of all owners at once.
    pub(crate) fn new(registrations: &[(NodeId, Registration)]) -> Result<Self, RosterError> {
        let mut entries: Vec<(usize, NodeId, &OwnedEntry)> = Vec::new();
        for (node, registration) in registrations {
            if let Registration::Ready { owned, wanted } = registration {
                check_names(*node, owned, wanted)?;
                entries.extend(owned.iter().enumerate().map(|(turn, entry)| (turn, *node, entry)));
            }
        }
        // Round robin over the owners: the n-th file of each comes before the (n+1)-th of any.
        entries.sort_by_key(|&(turn, node, _)| (turn, node));
        let mut numbers: HashMap<&str, FileId> = HashMap::new();
        let mut firsts: Vec<&OwnedEntry> = Vec::new();
        let mut files: Vec<RosterFile> = Vec::new();
        for (_, node, entry) in entries {
            check_even(node, entry)?;
            let next = FileId(u32::try_from(files.len()).unwrap_or(u32::MAX));
            let number = *numbers.entry(&entry.name).or_insert(next);
            if number == next {
                firsts.push(entry);
                let name = entry.name.clone();
                files.push(RosterFile { name, owners: vec![node], wanted: false });
            } else {
                let file = &mut files[number.index()];
                compare(file.owners[0], firsts[number.index()], node, entry)?;
                file.owners.push(node);
            }
        }
        let late = LateFile::of(registrations)?;
        if let Some(late) = &late {
            let next = FileId(u32::try_from(files.len()).unwrap_or(u32::MAX));
            let (node, name) = (late.sources[0], late.name.clone());
            if *numbers.entry(late_name(registrations)).or_insert(next) != next {
                return Err(RosterError::NamedTwice { node, name });
            }
            files.push(RosterFile { name, owners: late.sources.clone(), wanted: true });
        }
        let counts = firsts.iter().map(|e| u32::try_from(e.digests.len()).unwrap_or(u32::MAX));
        let geometry = Geometry::new(counts.chain(late.as_ref().map(|late| late.count)))?;
        let registered = firsts.iter().flat_map(|entry| entry.digests.iter().copied());
        let mut digests: Vec<_> = registered.map(OnceLock::from).collect();
        digests.extend(late.iter().flat_map(LateFile::known));
        let (named, unowned) = names(registrations, &numbers, &mut files);
        Ok(Self { geometry, files, digests, late, named, unowned })
    }

    /// How the files of `peer` are numbered.
    pub(crate) fn catalogue(&self, peer: NodeId) -> Catalogue {
        let listing = |file: FileId| {
            let segments = self.geometry.segments_of(file);
            Listing { file, first: segments.start, count: segments.end - segments.start }
        };
        let named = &self.named[peer.index()];
        Catalogue {
            segments: self.geometry.segment_count(),
            owned: named.owned.iter().map(|&file| listing(file)).collect(),
            wanted: named.wanted.iter().map(|file| file.map(listing)).collect(),
        }
    }

    /// By file, the peers that own or want it, ascending.
    pub(crate) fn sharers(&self) -> Vec<Vec<NodeId>> {
        let mut sharers = vec![Vec::new(); self.files.len()];
        for (node, named) in (0..).map(NodeId).zip(&self.named) {
            for file in named.owned.iter().chain(named.wanted.iter().flatten()) {
                sharers[file.index()].push(node);
            }
        }
        sharers
    }

    /// Segments wanted and not there already, summed over peers.
    pub(crate) fn wanted_segments(&self) -> u64 {
        (0..).take(self.named.len()).map(|rank| self.wanted_by(NodeId(rank))).sum()
    }

    /// Segments that `peer` wants and has not already.
    pub(crate) fn wanted_by(&self, peer: NodeId) -> u64 {
        let wanted = self.named.get(peer.index()).map_or(&[][..], |named| &named.wanted);
        let segments = |&file: &FileId| self.geometry.segments_of(file).len();
        let done = self.late.as_ref().map_or(0, |late| late.done_by(peer));
        (wanted.iter().flatten().map(segments).sum::<usize>() - done) as u64
    }

    /// Bytes of all files that somebody wants, each counted once, at `segment_bytes` a segment.
    pub(crate) fn distinct_bytes_wanted(&self, segment_bytes: usize) -> u64 {
        let files = (0..).map(FileId).zip(&self.files);
        let wanted = files.filter(|(_, file)| file.wanted);
        let segments = wanted.map(|(id, _)| self.geometry.segments_of(id).len());
        segments.sum::<usize>() as u64 * segment_bytes as u64
    }

    /// Whether `peer` wants a file that nobody owns.
    pub(crate) fn lacks_unowned(&self, peer: NodeId) -> bool {
        self.named[peer.index()].wanted.iter().any(Option::is_none)
    }

    /// Names that nobody owns, each with an owner's name that has the same characters in other code points.
    pub(crate) fn lookalikes(&self) -> Vec<(String, NodeId, String)> {
        let normalized = |name: &str| name.nfc().collect::<String>();
        let wanted = self.unowned.iter().filter(|name| !name.is_ascii());
        let wanted: HashMap<String, &str> =
            wanted.map(|name| (normalized(name), &**name)).collect();
        if wanted.is_empty() {
            return Vec::new();
        }
        let owned = self.files.iter().filter(|file| !file.name.is_ascii());
        let alike = owned.filter_map(|file| {
            let name = wanted.get(&normalized(&file.name))?;
            Some(((*name).to_owned(), file.owners[0], file.name.to_string()))
        });
        alike.collect()
    }

    /// The digest of a segment, or [`UNREAD`].
    pub(crate) fn digest(&self, segment: SegmentId) -> Digest {
        self.digests[segment.index()].get().copied().unwrap_or(UNREAD)
    }

    /// The number of the late file.
    pub(crate) fn late_file(&self) -> Option<FileId> {
        let last = u32::try_from(self.files.len()).ok()?.checked_sub(1)?;
        self.late.as_ref().map(|_| FileId(last))
    }

    pub(crate) fn name(&self, file: FileId) -> &str {
        &self.files[file.index()].name
    }
}

/// The name of the late file; empty where nobody registered one.
fn late_name(registrations: &[(NodeId, Registration)]) -> &str {
    let mut names = registrations.iter().filter_map(|(_, registration)| {
        if let Registration::Late(entry) = registration { Some(&*entry.name) } else { None }
    });
    names.next().unwrap_or_default()
}

fn names(
    registrations: &[(NodeId, Registration)],
    numbers: &HashMap<&str, FileId>,
    files: &mut [RosterFile],
) -> (Vec<Named>, Vec<Box<str>>) {
    let ranks = registrations.iter().map(|(node, _)| node.index() + 1).max().unwrap_or(0);
    let mut named: Vec<Named> = (0..ranks).map(|_| Named::default()).collect();
    let mut unowned: BTreeMap<Box<str>, ()> = BTreeMap::new();
    for (node, registration) in registrations {
        let entry = &mut named[node.index()];
        let wanted = match registration {
            Registration::Ready { owned, wanted } => {
                entry.owned = owned.iter().map(|file| numbers[&*file.name]).collect();
                &wanted[..]
            }
            Registration::Late(late) => std::slice::from_ref(&late.name),
            Registration::Refused { .. } => continue,
        };
        for name in wanted {
            let number = numbers.get(&**name).copied();
            match number {
                Some(file) => files[file.index()].wanted = true,
                None => drop(unowned.insert(name.clone(), ())),
            }
            entry.wanted.push(number);
        }
    }
    (named, unowned.into_keys().collect())
}

/// Whether each name is one, and stands there once.
fn check_names(node: NodeId, owned: &[OwnedEntry], wanted: &[Box<str>]) -> Result<(), RosterError> {
    let mut seen = HashSet::with_capacity(owned.len() + wanted.len());
    for name in owned.iter().map(|entry| &entry.name).chain(wanted) {
        if let Err(cause) = FileName::parse(name) {
            return Err(RosterError::Name { node, name: Quoted::new(name), cause });
        }
        if !seen.insert(&**name) {
            return Err(RosterError::NamedTwice { node, name: name.clone() });
        }
    }
    Ok(())
}

fn check_even(owner: NodeId, entry: &OwnedEntry) -> Result<(), RosterError> {
    if !entry.hashes.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'\n') {
        return Err(RosterError::NoHash { name: entry.name.clone(), owner });
    }
    // Peers would wait for one that never comes.
    if entry.digests.contains(&UNREAD) {
        return Err(RosterError::NoDigest { name: entry.name.clone(), owner });
    }
    let (hashes, digests) = (entry.hashes.lines().count(), entry.digests.len());
    if hashes == digests {
        return Ok(());
    }
    Err(RosterError::LengthsDiffer { name: entry.name.clone(), owner, hashes, digests })
}

fn compare(
    first: NodeId,
    mine: &OwnedEntry,
    second: NodeId,
    theirs: &OwnedEntry,
) -> Result<(), RosterError> {
    let name = mine.name.clone();
    let (first_count, second_count) = (mine.digests.len(), theirs.digests.len());
    if first_count != second_count {
        return Err(RosterError::CountsDiffer { name, first, first_count, second, second_count });
    }
    let hashes = mine.hashes.lines().zip(theirs.hashes.lines());
    let digests = mine.digests.iter().zip(&theirs.digests);
    for (position, ((hash, other_hash), (digest, other_digest))) in hashes.zip(digests).enumerate()
    {
        let what = if hash != other_hash {
            format!("hash {hash} against {other_hash}")
        } else if digest != other_digest {
            format!("digest {digest} against {other_digest}")
        } else {
            continue;
        };
        let what = what.into();
        return Err(RosterError::SegmentsDiffer { name, first, second, position, what });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owner(rank: u32, name: &str, hashes: &str, digest: u8) -> (NodeId, Registration) {
        let digests = hashes.lines().map(|_| Digest([digest; 32])).collect();
        let owned = vec![OwnedEntry { name: name.into(), hashes: hashes.into(), digests }];
        (NodeId(rank), Registration::Ready { owned, wanted: vec!["other".into()] })
    }

    #[test]
    fn owners_that_agree_share_a_file() {
        let both = [owner(1, "a", "0a0b\n0c0d\n", 1), owner(2, "a", "0a0b\n0c0d\n", 1)];
        let roster = Roster::new(&both).expect("they agree");
        assert_eq!(roster.files[0].owners, [NodeId(1), NodeId(2)]);
        assert_eq!(roster.geometry.segment_count(), 2);
        assert_eq!(roster.unowned, ["other".into()]);
        let listing = Listing { file: FileId(0), first: 0, count: 2 };
        let expected = Catalogue { segments: 2, owned: vec![listing], wanted: vec![None] };
        assert_eq!(roster.catalogue(NodeId(2)), expected);
    }

    #[test]
    fn owners_that_differ_are_named_with_the_first_difference() {
        let error = |second| {
            Roster::new(&[owner(1, "a", "0a0b\n0c0d\n", 1), second]).expect_err("they differ")
        };
        assert_eq!(
            error(owner(4, "a", "0a0b\n0e0d\n", 1)).to_string(),
            "a: rank 1 and rank 4 differ first at segment 1: hash 0c0d against 0e0d; \
             give both the same file"
        );
        assert_eq!(
            error(owner(4, "a", "0a0b\n", 1)).to_string(),
            "a: rank 1 has 2 segments, rank 4 has 1; give both the same file"
        );
        let text = error(owner(4, "a", "0a0b\n0c0d\n", 2)).to_string();
        assert!(text.contains("segment 0: digest 0101"), "{text}");
    }

    #[test]
    fn files_of_different_owners_take_turns() {
        let entry = |name: &str| OwnedEntry {
            name: name.into(),
            hashes: "00\n".into(),
            digests: [Digest([7; 32])].into(),
        };
        let peer = |rank, names: [&str; 2]| {
            let owned = names.map(entry).into();
            (NodeId(rank), Registration::Ready { owned, wanted: Vec::new() })
        };
        let roster = Roster::new(&[peer(1, ["a", "b"]), peer(2, ["c", "d"])]).expect("no overlap");
        let names: Vec<_> = roster.files.iter().map(|file| &*file.name).collect();
        assert_eq!(names, ["a", "c", "b", "d"]);
    }
}
