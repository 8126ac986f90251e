//! How the ranks of a job find out which part of the tree each takes, and has.

use std::error::Error;
use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::own_list::{
    self, OwnList, OwnListSaid, SharedRoots, compare_roots, merged, shared_roots,
};
use super::parts::{self, PartClaim, PartGroups};
use super::ranks::StageJob;
use super::source_list::SourceList;
use super::staged_tree::StagedTree;
use super::{refusal, terminal};
use crate::cli::stage_args::SourceRank;
use crate::config::RateLimits;
use crate::transport::TransportError;
use crate::transport::mpi::Meeting;
use crate::tree::{EntrySet, OwnEntries};
use crate::verify::Digest;

impl StageJob<'_> {
    /// The tree as this rank stages it; none where it is refused, and rank 0 has said why. `written_here`: the ranks
    /// with a destination that this rank writes.
    pub(super) fn tree(
        &self,
        dirs: &[PathBuf],
        lowest: RateLimits,
        (host, written_here): (&str, &[(u32, String)]),
    ) -> Result<Option<StagedTree>, Box<dyn Error>> {
        let (listed, own) = if self.args.from == SourceRank::Each {
            self.list_each(dirs, lowest)?
        } else {
            (self.list(dirs, lowest)?.ok(), None)
        };
        let Some(mut list) = listed else { return Ok(None) };
        let own = own.map(|own| (own.entries(&list.manifest), own));
        let reads = self.args.from == SourceRank::All || self.is_lister();
        if !self.args.has_parts() {
            return Ok(Some(StagedTree::whole(self.args, list, reads)?));
        }
        let taken = parts::taken(self.args, &list.manifest, written_here);
        let me = (self.rank(), host.to_owned());
        let owned = own.as_ref().map(|(entries, _)| entries.files.clone());
        let claim = taken
            .as_ref()
            .map_err(Clone::clone)
            .and_then(|taken| PartClaim::new(self.args, &list.manifest, me, taken, owned));
        let agreed = self.agree(&list, &claim)?;
        let (Ok(taken), Some(PartGroups { groups, shared })) = (taken, agreed) else {
            return Ok(None);
        };
        list.manifest.groups = groups;
        list.manifest.check().map_err(|_| TransportError::BrokenOff)?;
        let mut tree = StagedTree::whole(self.args, list, reads)?;
        tree.take(self.args, &taken, written_here)?;
        if let Some((entries, own)) = &own {
            tree.reads = own.source(&tree, entries);
            if !self.is_same(&tree, &shared, entries)? {
                return Ok(None);
            }
        }
        let hashes = own.is_some() || self.is_lister();
        let is_whole = !self.args.checksum || self.hash(&mut tree, hashes)?;
        Ok(is_whole.then_some(tree))
    }

    /// What all ranks have together, and this one alone; nothing where it is refused, and rank 0 has said why.
    fn list_each(
        &self,
        dirs: &[PathBuf],
        lowest: RateLimits,
    ) -> Result<(Option<SourceList>, Option<OwnList>), TransportError> {
        let links = (self.has_links(), lowest);
        let refused = refusal(&self.args.sources, dirs);
        let own = match refused.or_else(|| own_list::refusal(self.args)) {
            Some(refusal) => Err(refusal),
            None => {
                let args = self.args;
                self.work(|| OwnList::read(args, links))
            }
        };
        let said = own.as_ref().map(OwnList::said);
        let listed = self.agreed(&said, |all: Vec<Result<OwnListSaid, String>>| {
            merged(self.args, links, by_rank(all)?)
        })?;
        if listed.as_ref().is_some_and(|list: &SourceList| list.manifest.check().is_err()) {
            return Err(TransportError::BrokenOff);
        }
        Ok((listed, own.ok()))
    }

    /// Whether files that several ranks have are the same.
    fn is_same(
        &self,
        tree: &StagedTree,
        shared: &EntrySet,
        own: &OwnEntries,
    ) -> Result<bool, TransportError> {
        if shared.is_empty() {
            return Ok(true);
        }
        let args = self.args;
        let mine = self.work(|| shared_roots(args, tree, shared, own));
        let same = self.agreed(&mine, |all: Vec<Result<SharedRoots, String>>| {
            compare_roots(&tree.manifest, &by_rank(all)?)
        })?;
        Ok(same.is_some())
    }

    /// Makes groups of the files by what ranks take and have; none where that is refused.
    fn agree(
        &self,
        list: &SourceList,
        claim: &Result<PartClaim, String>,
    ) -> Result<Option<PartGroups>, TransportError> {
        self.agreed(claim, |claims: Vec<Result<PartClaim, String>>| {
            let claims: Vec<PartClaim> = by_rank(claims)?;
            parts::agree(self.args, &list.manifest, &claims)
        })
    }

    /// Tells all ranks the digests of all segments. False where some can't be read.
    fn hash(&self, tree: &mut StagedTree, hashes: bool) -> Result<bool, TransportError> {
        let args = self.args;
        let hash = || if hashes { tree.hash(args) } else { Ok(Vec::new()) };
        let mine = self.work(hash);
        let count = tree.layout.segment_count() as usize;
        let digests = self.agreed(&mine, |all: Vec<Result<Vec<(u32, Digest)>, String>>| {
            let mut digests = vec![None; count];
            for (segment, digest) in by_rank(all)?.into_iter().flatten() {
                if let Some(known) = digests.get_mut(segment as usize) {
                    *known = Some(digest);
                }
            }
            let digests: Option<Vec<Digest>> = digests.into_iter().collect();
            digests.ok_or_else(|| "a part of the source that no rank has read".to_owned())
        })?;
        let is_there = digests.is_some();
        tree.digests = digests.unwrap_or_default();
        Ok(is_there)
    }

    /// What rank 0 makes of what each rank says; where it refuses, it says why, and all get nothing.
    pub(super) fn agreed<T: DeserializeOwned, A: Serialize + DeserializeOwned>(
        &self,
        mine: &impl Serialize,
        answer: impl FnOnce(Vec<T>) -> Result<A, String>,
    ) -> Result<Option<A>, TransportError> {
        let mine = postcard::to_allocvec(mine).expect("plain data can be serialized");
        let mut all = Vec::new();
        self.roll_call(Duration::ZERO).meet(Meeting::Parts, &mine, |said| {
            all = said;
            Vec::new()
        })?;
        let mut answered: Option<A> = None;
        if self.rank() == 0 {
            let read = all.iter().map(|bytes| postcard::from_bytes(bytes).ok());
            let read: Option<Vec<T>> = read.collect();
            match answer(read.ok_or(TransportError::BrokenOff)?) {
                Ok(answer) => answered = Some(answer),
                Err(refusal) => terminal::error(&refusal),
            }
        }
        let bytes = postcard::to_allocvec(&answered).expect("plain data can be serialized");
        let spread = self.roll_call(Duration::ZERO).spread(Meeting::Parts, 0, bytes)?;
        postcard::from_bytes(&spread).map_err(|_| TransportError::BrokenOff)
    }
}

/// What all ranks say, or what is wrong on the first that can't say it.
fn by_rank<T>(all: Vec<Result<T, String>>) -> Result<Vec<T>, String> {
    let named = (0_u32..).zip(all);
    named.map(|(rank, said)| said.map_err(|error| format!("rank {rank}: {error}"))).collect()
}
