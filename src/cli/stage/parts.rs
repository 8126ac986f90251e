//! Which part of the tree each rank takes, and has.
//!
//! Each rank says it of each entry; rank 0 makes groups of files by that, so that what a rank takes or has
//! consists of whole segments.

use rustc_hash::FxHashSet;
use serde::{Deserialize, Serialize};

use super::super::selection_flags::OnlyPattern;
use super::super::stage_args::StageArgs;
use crate::tree::{EntrySet, FilterRule, Manifest, NameFilter, groups};

/// What a rank says of its part.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct PartClaim {
    /// What it takes, by entry.
    taken: EntrySet,
    /// What it has; none where whoever reads the source has all.
    owned: Option<EntrySet>,
    /// By `--only`, whether that takes anything on this rank.
    matched: Vec<bool>,
}

/// What rank 0 answers.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct PartGroups {
    /// For [`Manifest::groups`].
    pub(super) groups: Vec<u32>,
    /// Files that several ranks have.
    pub(super) shared: EntrySet,
}

/// What the destinations of a rank take of a manifest, by entry. It writes for `ranks`: itself, and those with the
/// same destinations; for nobody where another rank writes for it.
pub(super) fn taken(
    args: &StageArgs,
    manifest: &Manifest,
    ranks: &[(u32, String)],
) -> Result<Vec<bool>, String> {
    if ranks.is_empty() {
        return Ok(vec![false; manifest.entries.len()]);
    }
    Ok(OnlyPattern::filter(&args.only, ranks)?.taken_of(manifest))
}

impl PartClaim {
    pub(super) fn new(
        args: &StageArgs,
        manifest: &Manifest,
        mine: (u32, String),
        taken: &[bool],
        owned: Option<EntrySet>,
    ) -> Result<Self, String> {
        let (rank, host) = mine;
        let matches = args.only.iter().map(|only| {
            let rule = (FilterRule::Include, only.filled(rank, &host)?);
            Ok(NameFilter::new(vec![rule])?.takes_any(manifest))
        });
        let matched = matches.collect::<Result<_, String>>()?;
        Ok(Self { taken: EntrySet::of(taken), owned, matched })
    }
}

/// Makes groups of what all ranks say.
pub(super) fn agree(
    args: &StageArgs,
    manifest: &Manifest,
    claims: &[PartClaim],
) -> Result<PartGroups, String> {
    let matches = |index: usize| claims.iter().any(|claim| claim.matched.get(index) == Some(&true));
    if let Some((_, only)) = (0..).zip(&args.only).find(|&(index, _)| !matches(index)) {
        return Err(format!(
            "{only}: nothing of the sources matches on any rank: use another pattern"
        ));
    }
    let owned: Vec<&EntrySet> = claims.iter().filter_map(|claim| claim.owned.as_ref()).collect();
    let is_shared = |&entry: &u32| owned.iter().filter(|set| set.contains(entry)).count() > 1;
    let count = u32::try_from(manifest.entries.len()).unwrap_or(u32::MAX);
    let marks: Vec<bool> = (0..count).map(|entry| is_shared(&entry)).collect();
    // Most ranks take the same. The first of each, in order: the numbers of groups are in the key of the journal.
    let mut seen = FxHashSet::default();
    let all = claims.iter().map(|claim| &claim.taken).chain(owned);
    let sets: Vec<EntrySet> = all.filter(|set| seen.insert(*set)).cloned().collect();
    Ok(PartGroups { groups: groups(manifest, &sets), shared: EntrySet::of(&marks) })
}
