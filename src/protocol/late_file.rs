//! The late file of a swarm: what its sources and those that have parts of it already registered.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use super::Registration;
use super::registration::LateEntry;
use crate::config::LATE_SEGMENTS_MAX;
use crate::escape;
use crate::manifest::{FileName, NameError, NodeId, Quoted, SegmentId, SegmentSet};
use crate::verify::Digest;

/// A file whose digests are found while the swarm runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct LateFile {
    pub(crate) name: Box<str>,
    /// How many segments its sources count.
    pub(crate) count: u32,
    /// Who can read it, or parts of it.
    pub(crate) sources: Vec<NodeId>,
    /// Who takes part, ascending.
    pub(crate) peers: Vec<LatePeer>,
    /// Digests that sources know, by position, and who said so first.
    pub(crate) digests: BTreeMap<u32, (NodeId, Digest)>,
}

/// A peer of a late file. Its sets are of positions, and made for no segment where they are empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LatePeer {
    pub(crate) node: NodeId,
    /// What it has already.
    pub(crate) held: SegmentSet,
    /// What it does not want.
    pub(crate) unwanted: SegmentSet,
    /// What it can't read, as a source.
    pub(crate) lacking: SegmentSet,
}

impl LatePeer {
    /// Whether it wants a segment that it has not.
    pub(crate) fn wants(&self, position: SegmentId) -> bool {
        !self.held.contains(position) && !self.unwanted.contains(position)
    }

    /// What it has already, or does not want.
    fn done(&self) -> impl Iterator<Item = SegmentId> + '_ {
        let others = self.unwanted.iter().filter(|&position| !self.held.contains(position));
        self.held.iter().chain(others)
    }
}

/// Registrations of a late file that contradict each other.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the message of each says what its fields are")]
pub enum LateFileError {
    #[error(
        "{}: {first} reads {first_count} segments, {second} reads {second_count}; give both the same \
         source",
        escape::terminal(name)
    )]
    SourcesDiffer {
        name: Box<str>,
        first: NodeId,
        first_count: u32,
        second: NodeId,
        second_count: u32,
    },
    #[error(
        "{}: {first} and {second} know different digests of segment {position}; give both the same \
         source",
        escape::terminal(name)
    )]
    DigestsDiffer { name: Box<str>, first: NodeId, second: NodeId, position: u32 },
    #[error(
        "{}: {node} registered segments or digests that the file has not",
        escape::terminal(name)
    )]
    NoSuchSegments { name: Box<str>, node: NodeId },
    #[error(
        "{}: {node} reads {count} segments, of at most {LATE_SEGMENTS_MAX}; use larger segments",
        escape::terminal(name)
    )]
    TooMany { name: Box<str>, node: NodeId, count: u32 },
    #[error(
        "{first} wants {} and {second} wants {}, but one file can be read while the swarm runs",
        escape::terminal(first_name),
        escape::terminal(second_name)
    )]
    Two { first: NodeId, first_name: Box<str>, second: NodeId, second_name: Box<str> },
    #[error("{node}: {name}: {cause}")]
    Name { node: NodeId, name: Quoted, cause: NameError },
}

impl LateFile {
    /// The late file of these registrations; none where nobody wants one, or nobody can read it.
    pub(crate) fn of(
        registrations: &[(NodeId, Registration)],
    ) -> Result<Option<Self>, LateFileError> {
        let entries = || {
            registrations.iter().filter_map(|(node, registration)| {
                if let Registration::Late(entry) = registration {
                    Some((*node, entry))
                } else {
                    None
                }
            })
        };
        let Some((first, LateEntry { name, .. })) = entries().next() else { return Ok(None) };
        if let Err(cause) = FileName::parse(name) {
            return Err(LateFileError::Name { node: first, name: Quoted::new(name), cause });
        }
        let mut late = Self { name: name.clone(), ..Self::default() };
        for (node, entry) in entries() {
            late.add_source(first, node, entry)?;
        }
        for (node, entry) in entries() {
            late.add_peer(node, entry)?;
        }
        Ok((!late.sources.is_empty()).then_some(late))
    }

    /// The digests of its segments in order, as far as sources know them.
    pub(crate) fn known(&self) -> impl Iterator<Item = OnceLock<Digest>> + '_ {
        (0..self.count).map(|position| match self.digests.get(&position) {
            Some(&(_, digest)) => OnceLock::from(digest),
            None => OnceLock::new(),
        })
    }

    /// Segments that a peer has already, or does not want.
    pub(crate) fn done_by(&self, peer: NodeId) -> usize {
        self.peer(peer).map_or(0, |peer| peer.done().count())
    }

    pub(crate) fn peer(&self, node: NodeId) -> Option<&LatePeer> {
        let found = self.peers.binary_search_by_key(&node, |peer| peer.node);
        found.ok().map(|found| &self.peers[found])
    }

    /// Whether peers want, or sources have, different parts of it. A source that wants nothing makes no parts.
    pub(crate) fn has_parts(&self) -> bool {
        let wants_all_or_nothing =
            |unwanted: &SegmentSet| unwanted.is_empty() || unwanted.len() == self.count as usize;
        self.peers
            .iter()
            .any(|peer| !wants_all_or_nothing(&peer.unwanted) || !peer.lacking.is_empty())
    }

    /// How many peers want each segment and have it not.
    pub(crate) fn demand(&self) -> Box<[u32]> {
        let everybody = u32::try_from(self.peers.len()).unwrap_or(u32::MAX);
        let mut demand = vec![everybody; self.count as usize].into_boxed_slice();
        for peer in &self.peers {
            peer.done().for_each(|position| demand[position.index()] -= 1);
        }
        demand
    }

    fn add_source(
        &mut self,
        first: NodeId,
        node: NodeId,
        entry: &LateEntry,
    ) -> Result<(), LateFileError> {
        let name = self.name.clone();
        if entry.name != name {
            let second_name = Quoted::new(&entry.name).to_string().into();
            return Err(LateFileError::Two { first, first_name: name, second: node, second_name });
        }
        let Some(count) = entry.source else { return Ok(()) };
        // Before anything is allocated by that number.
        if count > LATE_SEGMENTS_MAX {
            return Err(LateFileError::TooMany { name, node, count });
        }
        match self.sources.first() {
            Some(&first) if self.count != count => {
                let (first_count, second, second_count) = (self.count, node, count);
                Err(LateFileError::SourcesDiffer { name, first, first_count, second, second_count })
            }
            _ => {
                self.count = count;
                self.sources.push(node);
                Ok(())
            }
        }
    }

    fn add_peer(&mut self, node: NodeId, entry: &LateEntry) -> Result<(), LateFileError> {
        let name = self.name.clone();
        let may_know = entry.source.is_some() || entry.digests.is_empty();
        // Without a source nobody knows how many segments there are, and nothing is moved.
        if !may_know || (!self.sources.is_empty() && !entry.fits(self.count)) {
            return Err(LateFileError::NoSuchSegments { name, node });
        }
        for &(position, digest) in &entry.digests {
            let &mut (first, known) = self.digests.entry(position).or_insert((node, digest));
            if known != digest {
                return Err(LateFileError::DigestsDiffer { name, first, second: node, position });
            }
        }
        if entry.source.is_none() && !entry.lacking.is_empty() {
            return Err(LateFileError::NoSuchSegments { name, node });
        }
        let LateEntry { held, unwanted, lacking, .. } = entry.clone();
        self.peers.push(LatePeer { node, held, unwanted, lacking });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::SegmentId;
    use crate::protocol::UNREAD;

    fn late(entries: &[LateEntry]) -> Result<Option<LateFile>, String> {
        let late = |entry: &LateEntry| Registration::Late(entry.clone());
        let registrations: Vec<_> = (1..).map(NodeId).zip(entries.iter().map(late)).collect();
        LateFile::of(&registrations).map_err(|error| error.to_string())
    }

    fn source(count: u32) -> LateEntry {
        LateEntry { name: "tree".into(), source: Some(count), ..LateEntry::default() }
    }

    fn holder(count: u32, held: &[u32]) -> LateEntry {
        let mut set = SegmentSet::none_of(count);
        held.iter().for_each(|&position| assert!(set.insert(SegmentId(position))));
        LateEntry { name: "tree".into(), held: set, ..LateEntry::default() }
    }

    #[test]
    fn sources_that_agree_share_a_file_and_those_that_differ_are_named() {
        let late_file = late(&[source(70), holder(70, &[3, 69]), source(70)]).expect("they agree");
        let late_file = late_file.expect("there is one");
        assert_eq!(late_file.sources, [NodeId(1), NodeId(3)]);
        assert_eq!((late_file.count, late_file.done_by(NodeId(2))), (70, 2));
        let error = late(&[source(70), source(71)]).expect_err("they differ");
        assert_eq!(
            error,
            "tree: rank 1 reads 70 segments, rank 2 reads 71; give both the same source"
        );
        assert_eq!(late(&[]), Ok(None));
    }

    #[test]
    fn who_wants_all_or_nothing_makes_no_parts() {
        let mut one = SegmentSet::none_of(70);
        assert!(one.insert(SegmentId(3)));
        let wants_nothing = LateEntry { unwanted: SegmentSet::all_of(70), ..source(70) };
        let has_parts = |entry: LateEntry| {
            let late = late(&[source(70), entry, holder(70, &[5])]).expect("they agree");
            late.expect("there is one").has_parts()
        };
        assert!(!has_parts(source(70)));
        assert!(!has_parts(wants_nothing));
        assert!(has_parts(LateEntry { unwanted: one.clone(), ..source(70) }));
        assert!(has_parts(LateEntry { lacking: one, ..source(70) }));
    }

    #[test]
    fn what_the_file_has_not_is_refused() {
        let no_such = |rank| {
            Err(format!("tree: rank {rank} registered segments or digests that the file has not"))
        };
        assert_eq!(late(&[source(70), holder(200, &[150])]), no_such(2));
        assert_eq!(late(&[source(70), holder(129, &[3])]), no_such(2), "it thinks of another file");
        let digest = Digest([7; 32]);
        let knows = |digests| LateEntry { digests, ..source(70) };
        assert_eq!(late(&[knows(vec![(70, digest)])]), no_such(1));
        assert_eq!(late(&[knows(vec![(3, digest), (3, digest)])]), no_such(1));
        assert_eq!(late(&[knows(vec![(3, UNREAD)])]), no_such(1));
        let is_no_source = LateEntry { source: None, ..knows(vec![(3, digest)]) };
        assert_eq!(late(&[source(70), is_no_source]), no_such(2));
        assert_eq!(
            late(&[source(u32::MAX)]),
            Err("tree: rank 1 reads 4294967295 segments, of at most 16777216; use larger segments"
                .into())
        );
        let other = LateEntry { digests: vec![(3, Digest([8; 32]))], ..source(70) };
        assert_eq!(
            late(&[knows(vec![(3, digest)]), other]),
            Err("tree: rank 1 and rank 2 know different digests of segment 3; give both the same \
                 source"
                .into())
        );
        let other = LateEntry { name: "wood".into(), ..source(70) };
        let error = late(&[source(70), other]).expect_err("there are two");
        assert!(error.starts_with("rank 1 wants tree and rank 2 wants "), "{error}");
        let error = late(&[LateEntry { name: "../tree".into(), ..source(1) }]);
        assert!(error.expect_err("it is no name").starts_with("rank 1: "));
    }
}
