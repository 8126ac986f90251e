//! Trees that are made up, written, and compared with what lies on disk.

use std::collections::BTreeMap;
use std::fs;
use std::ops::Range;
use std::os::unix::fs::{FileExt as _, MetadataExt as _, PermissionsExt as _};

mod cloned_parts;
mod hostile_names;
mod interrupted;
mod other_bytes;
mod random_trees;

use super::super::Attributes;
use super::*;
use crate::escape;
use crate::tree::EntryKind;
use crate::tree::{Destinations, Entry, Extent, FileTime, StoredManifest, TreePath};
use crate::verify::merkle;

/// What a destination lacks on a file system that it has for itself.
fn shortage(to: &Destination) -> Option<String> {
    let room = to.room(&SegmentSet::default()).expect("it tells");
    shortages([((), Some(room))]).pop().flatten().map(|shortage| shortage.to_string())
}

/// The smallest segment, so that a few kilobytes are many.
const PART: u64 = 16 << 10;

/// A source that lies in memory.
#[derive(Clone, Debug, Default)]
struct TestSource {
    entries: Vec<Entry>,
    contents: BTreeMap<Box<[u8]>, Vec<u8>>,
    /// Other names of files, and their first names.
    others: BTreeMap<Box<[u8]>, Box<[u8]>>,
}

impl TestSource {
    fn add(&mut self, path: &[u8], kind: EntryKind, mode: u32, nanos: u32) {
        let path = TreePath::new(path).expect("a path");
        let modified = FileTime { seconds: 1_600_000_000 + i64::from(nanos % 977), nanos };
        let attributes = Attributes::default();
        self.entries.push(Entry { path, kind, mode, modified, attributes });
    }

    fn folder(&mut self, path: &[u8], mode: u32) {
        self.add(path, EntryKind::Folder, mode, 5);
    }

    fn link(&mut self, path: &[u8], target: &[u8]) {
        self.add(path, EntryKind::Link { target: target.into() }, 0o777, 6);
    }

    fn hard_link(&mut self, path: &[u8], first: &[u8]) {
        self.others.insert(path.into(), first.into());
        self.add(path, EntryKind::HardLink { first: 0 }, 0o644, 7);
    }

    /// A file whose bytes follow from `seed`, zero outside of `data`.
    fn file(&mut self, path: &[u8], bytes: u64, data: Option<&[Range<u64>]>, mode: u32, seed: u32) {
        let is_data =
            |at: &u64| data.is_none_or(|data| data.iter().any(|range| range.contains(at)));
        let byte = |at: u64| {
            let mixed = (at + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15 ^ u64::from(seed));
            mixed.to_le_bytes()[5]
        };
        let content = (0..bytes).map(|at| if is_data(&at) { byte(at) } else { 0 }).collect();
        self.contents.insert(path.into(), content);
        let data = data.map(|data| data.to_vec().into());
        self.add(path, EntryKind::File { bytes, data }, mode, seed);
    }

    fn small(&mut self, path: &[u8], bytes: u64, seed: u32) {
        self.file(path, bytes, None, 0o644, seed);
    }

    fn manifest(&self) -> Manifest {
        let mut entries = self.entries.clone();
        entries.sort_by(|left, right| left.path.components().cmp(right.path.components()));
        for index in 0..entries.len() {
            if let Some(first) = self.others.get(entries[index].path.as_bytes()) {
                let first = entries.iter().position(|entry| entry.path.as_bytes() == &**first);
                let first = u32::try_from(first.expect("it was added")).expect("a few entries");
                entries[index].kind = EntryKind::HardLink { first };
            }
        }
        let segment_bytes = u32::try_from(PART).expect("a small segment");
        let manifest = Manifest { entries, segment_bytes, ..Manifest::default() };
        manifest.check().expect("the source keeps the rules");
        manifest
    }

    fn payload(&self, manifest: &Manifest, layout: &Layout, segment: SegmentId) -> Vec<u8> {
        let mut payload = Vec::new();
        for Extent { entry, offset, bytes } in layout.extents(segment) {
            let content = &self.contents[manifest.entries[entry as usize].path.as_bytes()];
            let offset = usize::try_from(offset).expect("it lies in memory");
            payload.extend(&content[offset..offset + bytes]);
        }
        payload
    }

    fn open(&self, dir: &Path, options: &DestinationOptions) -> Destination {
        let manifest = Arc::new(self.manifest());
        let layout = Arc::new(Layout::new(&manifest).expect("a few segments"));
        Destination::open(dir, manifest, layout, options, &mut |_| {}).expect("it is free")
    }

    fn write(&self, to: &Destination, segment: SegmentId) {
        let payload = self.payload(&to.manifest, &to.layout, segment);
        let digest = SegmentDigest::of(&to.layout, segment, &payload);
        to.write(segment, &payload, &digest).expect("there is room");
        assert_eq!(to.known(segment), Some(digest));
    }

    /// Writes what is missing, and publishes.
    fn fill(&self, to: &Destination) -> Published {
        to.missing().iter().for_each(|segment| self.write(to, segment));
        self.check_segments(to);
        let published = to.publish().expect("all is there");
        self.check_segments(to);
        published
    }

    fn stage(&self, dir: &Path, options: &DestinationOptions) -> Published {
        let published = self.fill(&self.open(dir, options));
        self.compare(dir);
        published
    }

    /// Keeps what has the right bytes; how many segments that are.
    fn keep_candidates(&self, to: &Destination) -> usize {
        let mut out = vec![0; to.layout.segment_bytes()];
        let candidates = to.candidates();
        let same = candidates.iter().filter(|&segment| {
            let bytes = to.read(segment, &mut out).expect("it is there");
            let digest = SegmentDigest::of(&to.layout, segment, &out[..bytes]);
            let payload = self.payload(&to.manifest, &to.layout, segment);
            let is_same = digest == SegmentDigest::of(&to.layout, segment, &payload);
            if is_same {
                to.keep(segment, &digest);
            }
            is_same
        });
        same.count()
    }

    fn check_segments(&self, to: &Destination) {
        for segment in (0..to.layout.segment_count()).map(SegmentId) {
            let mut out = vec![1; to.layout.segment_bytes()];
            let bytes = to.read(segment, &mut out).expect("it is there");
            assert!(out[..bytes] == self.payload(&to.manifest, &to.layout, segment), "{segment:?}");
        }
    }

    /// Compares the tree on disk with the source; names that only the disk has are allowed.
    fn compare(&self, dir: &Path) {
        let manifest = self.manifest();
        for entry in &manifest.entries {
            let path = dir.join(entry.path.as_os_str());
            let found = fs::symlink_metadata(&path).expect("it has its name");
            let shown = entry.path.to_string();
            let (time, mode) = (
                FileTime {
                    seconds: found.mtime(),
                    nanos: u32::try_from(found.mtime_nsec()).expect("below a second"),
                },
                found.mode() & 0o7777,
            );
            match &entry.kind {
                EntryKind::Folder => {
                    assert!(found.is_dir(), "{shown}");
                    assert_eq!((mode, time), (entry.mode, entry.modified), "{shown}");
                }
                EntryKind::File { bytes, data } => {
                    assert!(found.is_file() && found.len() == *bytes, "{shown}");
                    assert_eq!((mode, time), (entry.mode, entry.modified), "{shown}");
                    let content = fs::read(&path).expect("root reads all, others their own");
                    assert!(content == self.contents[entry.path.as_bytes()], "{shown}");
                    if let Some(data) = data {
                        let pages =
                            data.iter().map(|range| range.end.div_ceil(4096) - range.start / 4096);
                        let most = pages.sum::<u64>() * 8 + 64;
                        assert!(found.blocks() <= most, "{shown}: {} blocks", found.blocks());
                    }
                }
                EntryKind::Link { target } => {
                    let there = fs::read_link(&path).expect("a link");
                    assert_eq!(there.as_os_str().as_encoded_bytes(), &**target);
                    assert_eq!(time, entry.modified, "{shown}");
                }
                EntryKind::HardLink { first } => {
                    let first = &manifest.entries[*first as usize].path;
                    let first = fs::symlink_metadata(dir.join(first.as_os_str())).expect("a name");
                    assert_eq!((found.dev(), found.ino()), (first.dev(), first.ino()), "{shown}");
                }
            }
        }
    }
}

fn names_in(dir: &Path) -> Vec<String> {
    let names = fs::read_dir(dir)
        .expect("it is readable")
        .map(|entry| entry.expect("it is readable").file_name().to_string_lossy().into_owned());
    let mut names: Vec<_> = names.collect();
    names.sort();
    names
}

fn dir() -> tempfile::TempDir {
    tempfile::tempdir().expect("a folder")
}

/// Options without syncing, which only takes time.
fn quick() -> DestinationOptions {
    // A process that another test begins holds our lock until it is another program.
    let lock_wait = Duration::from_secs(20);
    DestinationOptions { sync: false, lock_wait, ..DestinationOptions::default() }
}

/// A bit of everything.
fn sample() -> TestSource {
    let mut source = TestSource::default();
    source.folder(b"t", 0o755);
    source.folder(b"t/empty", 0o700);
    source.folder(b"t/read-only", 0o555);
    source.small(b"t/read-only/a", 10, 1);
    source.small(b"t/read-only/b", 9_000, 2);
    source.file(b"t/read-only/c", 2 * PART + 5, None, 0o444, 3);
    source.file(b"t/set-id", 100, None, 0o4755, 4);
    // Whoever may not read it can't serve it, either.
    let is_root = fs::metadata("/proc/self").expect("Linux").uid() == 0;
    source.file(b"t/hidden", 100, None, if is_root { 0o000 } else { 0o400 }, 5);
    source.small(b"t/nothing", 0, 6);
    source.small(b"t/\xff\n name", 12, 7);
    source.file(
        b"t/holes",
        9 * PART,
        Some(&[5..10, PART - 1..PART + 1, 7 * PART..7 * PART + 3]),
        0o600,
        8,
    );
    source.file(b"t/hole", 5 * PART, Some(&[]), 0o640, 9);
    source.file(b"t/small-hole", 9_000, Some(&[8_500..8_600, 8_700..8_800]), 0o640, 10);
    source.link(b"t/link", b"../../somewhere");
    source.link(b"t/dangling", b"\xfe");
    source.hard_link(b"t/other", b"t/nothing");
    source.hard_link(b"t/read-only/d", b"t/read-only/c");
    source.small(b"t/z", 3 * PART, 11);
    source.small(b"single", 1_000, 12);
    source
}

#[test]
fn a_new_tree_is_as_its_source_and_has_its_roots_beside_it() {
    let dir = dir();
    let source = sample();
    let published = source.stage(dir.path(), &DestinationOptions::default());
    assert_eq!((published.kept, published.deleted), (0, 0));
    let roots = |name: &str| {
        let path = dir.path().join(".mpiswarm").join(name);
        let stored = StoredManifest::read(&path).expect("it was written");
        let of = |(entry, root): (&Entry, &Option<Digest>)| {
            let content = source.contents.get(entry.path.as_bytes()).filter(|all| !all.is_empty());
            assert_eq!(*root, content.map(|all| merkle::root_of(all)), "{}", entry.path);
        };
        stored.manifest.entries.iter().zip(&stored.roots).for_each(of);
        stored
    };
    let (first, single) = (roots("t.manifest"), roots("single.manifest"));
    assert_eq!(first.manifest.entries.len() + single.manifest.entries.len(), source.entries.len());
    // All is kept. Its roots come from the manifest of the first run, or from disk.
    for lost in [false, true] {
        if lost {
            fs::remove_file(dir.path().join(".mpiswarm/t.manifest")).expect("it is there");
        }
        let to = source.open(dir.path(), &quick());
        assert_eq!(to.kept_bytes(), to.layout.bytes());
        assert_eq!(source.fill(&to).written, 0);
        source.compare(dir.path());
        assert_eq!(roots("t.manifest"), first);
    }
    let left: Vec<_> = names_in(&dir.path().join(".mpiswarm"));
    assert_eq!(left, ["lock", "single.manifest", "t.manifest"]);
}

#[test]
fn modes_and_times_alone_are_set_in_place() {
    let dir = dir();
    let mut source = sample();
    source.stage(dir.path(), &quick());
    let inode = |path: &str| fs::metadata(dir.path().join(path)).expect("it is there").ino();
    let before = ["t/z", "t/empty", "t/set-id", "t/nothing"].map(inode);
    for entry in &mut source.entries {
        entry.mode = match entry.path.as_bytes() {
            b"t/z" => 0o6710,
            b"t/empty" => 0o1755,
            b"t/set-id" => 0o400,
            _ => entry.mode,
        };
    }
    fs::set_permissions(dir.path().join("t"), fs::Permissions::from_mode(0o777)).expect("ours");
    let published = source.stage(dir.path(), &quick());
    assert_eq!(published.written, 0);
    assert_eq!(["t/z", "t/empty", "t/set-id", "t/nothing"].map(inode), before);
}

#[test]
fn entries_change_their_types_and_what_the_source_lacks_goes_only_where_asked() {
    let dir = dir();
    let mut old = TestSource::default();
    old.folder(b"t", 0o755);
    for (index, name) in (0_u32..).zip(["a", "b", "c", "d", "e", "f"]) {
        let path = format!("t/{name}").into_bytes();
        match index / 2 {
            0 => old.small(&path, 100, index),
            1 => {
                old.folder(&path, 0o500);
                old.folder(&[&path[..], b"/deep"].concat(), 0o500);
                old.small(&[&path[..], b"/deep/file"].concat(), 100, index);
            }
            _ => old.link(&path, b"elsewhere"),
        }
    }
    old.stage(dir.path(), &quick());
    let mut new = TestSource::default();
    new.folder(b"t", 0o755);
    for (path, kind) in [("a", 1), ("b", 2), ("c", 0), ("d", 2), ("e", 0), ("f", 1)] {
        let path = format!("t/{path}").into_bytes();
        match kind {
            0 => new.small(&path, 50_000, 70),
            1 => {
                new.folder(&path, 0o555);
                new.small(&[&path[..], b"/inner"].concat(), 7, 71);
            }
            _ => new.link(&path, b"over there"),
        }
    }
    let extra = dir.path().join("t/extra");
    fs::create_dir_all(extra.join("deeper")).expect("a folder");
    fs::write(extra.join("deeper/file"), "mine").expect("a file");
    fs::write(dir.path().join("beside"), "mine").expect("a file");
    assert_eq!(new.stage(dir.path(), &quick()).deleted, 0);
    assert!(extra.join("deeper/file").exists());
    assert_eq!(new.stage(dir.path(), &DestinationOptions { delete: true, ..quick() }).deleted, 1);
    assert!(!extra.exists() && dir.path().join("beside").exists());
}

#[test]
fn with_checksum_only_what_differs_is_written() {
    let dir = dir();
    let mut source = TestSource::default();
    source.folder(b"t", 0o755);
    source.small(b"t/large", 5 * PART, 1);
    source.file(b"t/holes", 5 * PART, Some(&[0..PART, 3 * PART..4 * PART]), 0o600, 2);
    source.small(b"t/same", 3 * PART, 3);
    source.small(b"t/x", 1_000, 4);
    source.small(b"t/y", 1_000, 5);
    source.stage(dir.path(), &quick());
    // The same sizes and times, and other bytes.
    for (name, at) in [("large", 2 * PART), ("holes", 2 * PART), ("y", 0)] {
        let file = fs::OpenOptions::new().write(true).open(dir.path().join("t").join(name));
        let file = file.expect("it is there");
        let time = file.metadata().and_then(|found| found.modified()).expect("it has a time");
        file.write_all_at(&[1, 2, 3], at).expect("there is room");
        file.set_modified(time).expect("ours");
    }
    let inode = |name: &str| fs::metadata(dir.path().join("t").join(name)).expect("there").ino();
    let before = inode("same");
    let unseen = source.open(dir.path(), &quick());
    assert!(unseen.missing().is_empty(), "size and time agree");
    drop(unseen);
    let to = source.open(dir.path(), &DestinationOptions { checksum: true, ..quick() });
    assert_eq!(source.keep_candidates(&to), 4 + 2 + 3);
    assert_eq!(shortage(&to), None);
    // A part of the large file, and the packed one.
    assert_eq!(to.missing().len(), 2);
    source.fill(&to);
    source.compare(dir.path());
    assert_eq!(inode("same"), before);
}

#[test]
fn what_was_kept_and_turns_out_to_be_wrong_is_missing_again() {
    let dir = dir();
    let source = sample();
    source.stage(dir.path(), &quick());
    for name in ["t/z", "t/read-only/a"] {
        let file = fs::OpenOptions::new().write(true).open(dir.path().join(name));
        let Ok(file) = file else { return };
        let time = file.metadata().and_then(|found| found.modified()).expect("it has a time");
        file.write_all_at(&[1, 2, 3], 5).expect("there is room");
        file.set_modified(time).expect("ours");
    }
    let to = source.open(dir.path(), &quick());
    let mut out = vec![0; to.layout.segment_bytes()];
    for segment in (0..to.layout.segment_count()).map(SegmentId) {
        let bytes = to.read(segment, &mut out).expect("it is there");
        if out[..bytes] != source.payload(&to.manifest, &to.layout, segment) {
            to.discard(segment).expect("there is room");
        }
    }
    assert_eq!(to.missing().len(), 2);
    source.fill(&to);
    source.compare(dir.path());
}

#[test]
fn one_destination_of_several_fails_and_the_others_go_on() {
    let (first, second) = (dir(), dir());
    let source = sample();
    let open = |dir: &tempfile::TempDir| source.open(dir.path(), &quick());
    let all = Destinations::new(vec![open(&first), open(&second)]);
    fs::remove_dir_all(first.path().join(".mpiswarm")).expect("ours");
    let layout = Layout::new(&source.manifest()).expect("a few segments");
    for segment in all.missing().iter() {
        let payload = source.payload(&source.manifest(), &layout, segment);
        let digest = SegmentDigest::of(&layout, segment, &payload);
        assert!(all.write(segment, &payload, &digest, None).goes_on);
        let mut out = vec![0; layout.segment_bytes()];
        assert_eq!(all.read(segment, &mut out, |_| true, &mut Vec::new()), Some(payload.len()));
    }
    let published = all.publish();
    assert!(published[0].is_none() && published[1].is_some());
    assert_eq!(all.working().count(), 1);
    let failures = all.failures();
    let said = failures[0].to_string();
    assert!(failures.len() == 1 && said.contains(&escape::path(first.path())), "{said}");
    source.compare(second.path());
}

#[test]
fn threads_write_and_read_at_once() {
    let dir = dir();
    let mut source = sample();
    for index in 0..200_u32 {
        source.small(format!("t/n{index}").as_bytes(), 100 * u64::from(index), index);
    }
    let to = source.open(dir.path(), &quick());
    let missing: Vec<_> = to.missing().iter().collect();
    std::thread::scope(|scope| {
        for part in missing.chunks(missing.len().div_ceil(4)) {
            let (source, to) = (&source, &to);
            scope.spawn(move || {
                let mut out = vec![0; to.layout.segment_bytes()];
                for &segment in part {
                    source.write(to, segment);
                    to.read(segment, &mut out).expect("it was just written");
                }
            });
        }
    });
    // Segments are read while the tree moves to its place.
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| (0..5).for_each(|_| source.check_segments(&to)));
        to.publish().expect("all is there");
        reader.join().expect("each read gives the right bytes");
    });
    source.compare(dir.path());
}

#[test]
fn a_file_beyond_32_bits_stays_a_hole_but_for_its_data() {
    let dir = dir();
    let at = (5 << 30) - 100;
    let mut source = TestSource::default();
    let range = at..at + 7;
    let data = Some(std::slice::from_ref(&range).into());
    source.add(b"huge", EntryKind::File { bytes: 5 << 30, data }, 0o644, 3);
    let to = source.open(dir.path(), &quick());
    let mut payload = vec![0; to.layout.bytes_of(SegmentId(0))];
    let within = payload.len() - 100;
    payload[within..within + 7].copy_from_slice(b"content");
    let digest = SegmentDigest::of(&to.layout, SegmentId(0), &payload);
    assert_eq!(to.missing().len(), 1);
    to.write(SegmentId(0), &payload, &digest).expect("there is room");
    to.publish().expect("all is there");
    let mut out = vec![1; to.layout.segment_bytes()];
    to.read(SegmentId(0), &mut out).expect("it is there");
    assert!(out == payload);
    let found = fs::metadata(dir.path().join("huge")).expect("it has its name");
    assert!(found.len() == 5 << 30 && found.blocks() < 64, "{} blocks", found.blocks());
    assert_eq!(to.publish().expect("again").written, 0);
}
