//! One list of what several ranks have under the same sources.

use std::collections::hash_map::Entry::{Occupied, Vacant};
use std::fmt;

use rayon::prelude::*;
use rustc_hash::FxHashMap;

use super::{Entry, EntryKind, EntrySet, Manifest};

/// Two ranks have different things under one name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{path}: rank {first} has {first_kind}, rank {second} has {second_kind}: give one of them another name, or \
     leave it out with --exclude"
)]
#[expect(missing_docs, reason = "the message says what the fields are")]
pub struct NameClash {
    pub path: String,
    pub first: usize,
    pub first_kind: String,
    pub second: usize,
    pub second_kind: String,
}

/// The lists of all ranks, by rank.
struct Lists<'a>(&'a [Manifest]);

impl<'a> Lists<'a> {
    fn entry(&self, (rank, index): (usize, u32)) -> &'a Entry {
        &self.0[rank].entries[index as usize]
    }

    /// The first name of a file, and else the entry itself.
    fn first(&self, (rank, index): (usize, u32)) -> (usize, u32) {
        match self.entry((rank, index)).kind {
            EntryKind::HardLink { first } => (rank, first),
            EntryKind::Folder | EntryKind::File { .. } | EntryKind::Link { .. } => (rank, index),
        }
    }

    /// What it is, whatever other names it has.
    fn kind(&self, place: (usize, u32)) -> &'a EntryKind {
        &self.entry(self.first(place)).kind
    }
}

/// What a message calls it.
struct KindName<'a>(&'a EntryKind);

impl fmt::Display for KindName<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            EntryKind::Folder => f.write_str("a folder"),
            EntryKind::File { bytes, .. } => write!(f, "a file of {bytes} B"),
            EntryKind::Link { .. } | EntryKind::HardLink { .. } => f.write_str("a link"),
        }
    }
}

/// Whether two can be one: folders merge, links say the same, files have one size.
fn fit(one: &EntryKind, other: &EntryKind) -> bool {
    match (one, other) {
        (EntryKind::Folder, EntryKind::Folder) => true,
        (EntryKind::File { bytes, .. }, EntryKind::File { bytes: others, .. }) => bytes == others,
        (EntryKind::Link { target }, EntryKind::Link { target: others }) => target == others,
        _ => false,
    }
}

/// All that the ranks have, by rank; of one name the mode, time and attributes of the lowest rank. Names are of one
/// file where the same ranks have all of them, and each has one file under them; elsewhere they become files of their
/// own. Files of one name and size count as one: the caller compares them.
///
/// # Errors
///
/// Ranks have different things under one name.
pub fn merge_lists(lists: &[Manifest]) -> Result<Manifest, NameClash> {
    let all = Lists(lists);
    let mut places: Vec<(usize, u32)> = Vec::new();
    for (rank, list) in lists.iter().enumerate() {
        places.extend((0_u32..).zip(&list.entries).map(|(index, _)| (rank, index)));
    }
    let path = |place: (usize, u32)| &all.entry(place).path;
    places.par_sort_by(|&one, &other| {
        path(one).components().cmp(path(other).components()).then(one.cmp(&other))
    });
    let same_name = |one: &(usize, u32), other: &(usize, u32)| path(*one) == path(*other);
    let mut merged = Manifest::default();
    // Where the first name of a file is in the merged list, by what has it: the file of each rank.
    let mut firsts: FxHashMap<Vec<(usize, u32)>, u32> = FxHashMap::default();
    for same in places.chunk_by(same_name) {
        check(&all, same)?;
        let place = same[0];
        let here = u32::try_from(merged.entries.len()).unwrap_or(u32::MAX);
        let kind = match all.kind(place) {
            EntryKind::File { bytes, data } => {
                let same_holes = same.iter().all(|&other| {
                    matches!(all.kind(other), EntryKind::File { data: others, .. } if others == data)
                });
                match firsts.entry(same.iter().map(|&one| all.first(one)).collect()) {
                    Occupied(first) => EntryKind::HardLink { first: *first.get() },
                    // Where the holes differ, all of it is read.
                    Vacant(first) => {
                        first.insert(here);
                        let data = data.clone().filter(|_| same_holes);
                        EntryKind::File { bytes: *bytes, data }
                    }
                }
            }
            other @ (EntryKind::Folder | EntryKind::Link { .. } | EntryKind::HardLink { .. }) => {
                other.clone()
            }
        };
        merged.entries.push(Entry { kind, ..all.entry(place).clone() });
    }
    Ok(merged)
}

/// Whether all that have one name fit.
fn check(all: &Lists<'_>, same: &[(usize, u32)]) -> Result<(), NameClash> {
    let kind = all.kind(same[0]);
    let Some(&other) = same.iter().find(|&&other| !fit(kind, all.kind(other))) else {
        return Ok(());
    };
    let is_link = |kind| matches!(kind, &EntryKind::Link { .. });
    let both = is_link(kind) && is_link(all.kind(other));
    let second =
        if both { "another link".to_owned() } else { KindName(all.kind(other)).to_string() };
    Err(NameClash {
        path: all.entry(other).path.to_string(),
        first: same[0].0,
        first_kind: KindName(kind).to_string(),
        second: other.0,
        second_kind: second,
    })
}

/// What a rank has of a merged list.
#[derive(Clone, Debug, Default)]
pub struct OwnEntries {
    /// Its files and their other names.
    pub files: EntrySet,
    /// By entry of the merged list, where it is in the own one, for files and their other names.
    pub places: Vec<Option<u32>>,
}

impl OwnEntries {
    /// Finds the own files in a list that was merged of this one and others.
    pub fn find(merged: &Manifest, own: &Manifest) -> Self {
        let mut places = vec![None; merged.entries.len()];
        // Both have one order.
        let mut at = 0;
        for (index, entry) in (0_u32..).zip(&own.entries) {
            let is_file = matches!(entry.kind, EntryKind::File { .. } | EntryKind::HardLink { .. });
            let before = |other: &Entry| other.path.components().lt(entry.path.components());
            while merged.entries.get(at).is_some_and(before) {
                at += 1;
            }
            let is_here = merged.entries.get(at).is_some_and(|other| other.path == entry.path);
            if is_file && is_here {
                places[at] = Some(index);
            }
        }
        let marks: Vec<bool> = places.iter().map(Option::is_some).collect();
        Self { files: EntrySet::of(&marks), places }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Attributes, FileTime, TreePath};
    use super::*;

    fn entry(path: &str, kind: EntryKind, seconds: i64) -> Entry {
        Entry {
            path: TreePath::new(path.as_bytes()).expect("a path"),
            kind,
            mode: 0o755,
            modified: FileTime { seconds, nanos: 0 },
            attributes: Attributes::default(),
        }
    }

    fn list(seconds: i64, entries: &[(&str, EntryKind)]) -> Manifest {
        let all = [("t", EntryKind::Folder)].into_iter().chain(entries.iter().cloned());
        let entries = all.map(|(path, kind)| entry(path, kind, seconds)).collect();
        Manifest { entries, segment_bytes: 1 << 14, ..Manifest::default() }
    }

    fn file(bytes: u64) -> EntryKind {
        EntryKind::File { bytes, data: None }
    }

    fn link(target: &[u8]) -> EntryKind {
        EntryKind::Link { target: target.into() }
    }

    fn shown(merged: &Manifest) -> Vec<String> {
        let one =
            |entry: &Entry| format!("{} {:?} {}", entry.path, entry.kind, entry.modified.seconds);
        merged.entries.iter().map(one).collect()
    }

    #[test]
    fn folders_merge_and_the_lowest_rank_names_mode_and_time() {
        let tied = EntryKind::HardLink { first: 2 };
        let lists = [
            list(1, &[("t/b", file(2)), ("t/x", EntryKind::Folder), ("t/x/0", file(5))]),
            list(2, &[("t/a", file(1)), ("t/b", file(2)), ("t/c", tied.clone())]),
            list(
                3,
                &[("t/d", file(9)), ("t/e", file(4)), ("t/f", tied), ("t/x", EntryKind::Folder)],
            ),
            Manifest { segment_bytes: 1 << 14, ..Manifest::default() },
        ];
        let mut merged = merge_lists(&lists).expect("they fit");
        merged.segment_bytes = 1 << 14;
        merged.check().expect("it keeps the rules");
        let expected = [
            "t Folder 1",
            "t/a File { bytes: 1, data: None } 2",
            "t/b File { bytes: 2, data: None } 1",
            // Another rank has one of its names, too.
            "t/c File { bytes: 2, data: None } 2",
            "t/d File { bytes: 9, data: None } 3",
            "t/e File { bytes: 4, data: None } 3",
            "t/f HardLink { first: 5 } 3",
            "t/x Folder 1",
            "t/x/0 File { bytes: 5, data: None } 1",
        ];
        assert_eq!(shown(&merged), expected);
        let own = OwnEntries::find(&merged, &lists[1]);
        assert_eq!(own.places, [None, Some(1), Some(2), Some(3), None, None, None, None, None]);
        assert!(own.files.contains(3) && !own.files.contains(4));
        assert_eq!(OwnEntries::find(&merged, &lists[3]).files, EntrySet::of(&[false; 9]));
    }

    #[test]
    fn names_of_one_file_on_all_ranks_that_have_them_stay_so() {
        let tied = || EntryKind::HardLink { first: 1 };
        let both = [("t/a", file(2)), ("t/b", tied()), ("t/c", tied())];
        let kinds = |lists: &[Manifest]| -> Vec<EntryKind> {
            let merged = merge_lists(lists).expect("they fit");
            merged.entries.into_iter().skip(1).map(|entry| entry.kind).collect()
        };
        let whole = [file(2), tied(), tied()];
        assert_eq!(kinds(&[list(1, &both), list(2, &[]), list(3, &both)]), whole);
        // On one rank `b` is another file.
        let other = [("t/a", file(2)), ("t/b", file(2)), ("t/c", tied())];
        assert_eq!(kinds(&[list(1, &both), list(2, &other)]), [file(2), file(2), tied()]);
        // One rank has no `c`.
        assert_eq!(kinds(&[list(1, &both), list(2, &both[..2])]), [file(2), tied(), file(2)]);
    }

    #[test]
    fn what_does_not_fit_is_named_with_both_ranks() {
        let clash = |one: EntryKind, other: EntryKind| {
            let lists = [list(1, &[]), list(1, &[("t/a", one)]), list(1, &[("t/a", other)])];
            merge_lists(&lists).expect_err("they differ").to_string()
        };
        let said = clash(file(1), file(2));
        assert!(said.starts_with("t/a: rank 1 has a file of 1 B, rank 2 has a file of 2 B: "));
        assert!(clash(file(1), EntryKind::Folder).contains("rank 2 has a folder"));
        assert!(clash(link(b"x"), link(b"y")).contains("has a link, rank 2 has another link"));
        let holes =
            |data: &[std::ops::Range<u64>]| EntryKind::File { bytes: 9, data: Some(data.into()) };
        let both = [holes(&[1..2, 4..5]), holes(&[1..3, 4..5])];
        let lists = both.map(|file| list(1, &[("t/a", file)]));
        let merged = merge_lists(&lists).expect("holes are no content");
        assert_eq!(merged.entries[1].kind, file(9), "all of it is read");
    }
}
