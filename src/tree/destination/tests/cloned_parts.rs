//! Parts of large files that the file system copies. Where it shares no blocks Linux copies them, in the same call.

use std::fs::{File, OpenOptions};

use super::*;
use crate::tree::{ClonedAt, ListOptions, TreeSource, list};

/// Reads and writes a tree as the threads of a rank do.
struct CloningRank {
    source: TreeSource,
    manifest: Arc<Manifest>,
    layout: Arc<Layout>,
    destinations: Destinations,
}

impl CloningRank {
    fn new(from: &Path, dirs: &[&Path]) -> Self {
        let part = u32::try_from(PART).expect("a small segment");
        let options = ListOptions { segment_bytes: Some(part), ..ListOptions::default() };
        let sources = [from.to_owned()];
        let listed = list(&sources, &options).expect("it is there");
        let manifest = Arc::new(listed.manifest);
        let layout = Arc::new(Layout::new(&manifest).expect("a few segments"));
        let source = TreeSource::open(&sources, Arc::clone(&manifest), Arc::clone(&layout));
        let source = source.expect("it is there").with_identities(&listed.identities);
        let open = |dir: &&Path| {
            let options = DestinationOptions::default();
            let (manifest, layout) = (Arc::clone(&manifest), Arc::clone(&layout));
            let mut to = Destination::open(dir, manifest, layout, &options, &mut |_| {})
                .expect("it is free");
            to.traits.clones = true;
            to
        };
        let destinations = Destinations::new(dirs.iter().map(open).collect());
        Self { source, manifest, layout, destinations }
    }

    fn clone_one(&self, segment: SegmentId, out: &mut [u8]) -> Option<ClonedAt> {
        self.destinations.clone_from(&self.source, segment, out)
    }

    fn write(&self, segment: SegmentId, out: &[u8], cloned: Option<ClonedAt>) -> u64 {
        let payload = &out[..self.layout.bytes_of(segment)];
        let digest = SegmentDigest::of(&self.layout, segment, payload);
        let written = self.destinations.write(segment, payload, &digest, cloned);
        assert!(written.goes_on, "{:?}", self.destinations.messages());
        written.cloned_bytes
    }

    /// Brings what is missing, and publishes; how many bytes were cloned.
    fn fill(&self) -> u64 {
        let mut out = vec![0xaa; self.layout.segment_bytes()];
        let missing = self.destinations.missing();
        let cloned = missing.iter().map(|segment| {
            let cloned = self.clone_one(segment, &mut out);
            if cloned.is_none() {
                self.source.read(segment, &mut out).expect("nobody changes it");
            }
            self.write(segment, &out, cloned)
        });
        let cloned = cloned.sum();
        let published = self.destinations.publish();
        assert!(published.iter().all(Option::is_some), "{:?}", self.destinations.messages());
        cloned
    }
}

/// A folder `tree` with a large file, a sparse one and a small one; the bytes of those that are cut into parts.
fn plant(dir: &Path) -> (PathBuf, u64) {
    let tree = dir.join("tree");
    fs::create_dir(&tree).expect("a folder");
    let content: Vec<u8> = (0..5 * PART + 17).map(|at| (at % 251).to_le_bytes()[0]).collect();
    fs::write(tree.join("large"), &content).expect("room");
    fs::write(tree.join("small"), "a few words").expect("room");
    let sparse = File::create(tree.join("sparse")).expect("room");
    sparse.set_len(1 << 30).expect("room");
    sparse.write_all_at(&content[..100], 1 << 20).expect("room");
    // Where a page begins, and at the end of the file.
    sparse.write_all_at(&content[..4096], (1 << 30) - 4096).expect("room");
    (tree, 5 * PART + 17 + 2 * PART)
}

fn compare(tree: &Path, staged: &Path) {
    for name in ["large", "small"] {
        let read = |dir: &Path| fs::read(dir.join(name)).expect("it is there");
        assert!(read(tree) == read(staged), "{name}");
    }
    let [from, to] = [tree, staged].map(|dir| File::open(dir.join("sparse")).expect("it is there"));
    for at in [0, 1 << 20, (1 << 30) - PART] {
        let read = |file: &File| {
            let mut part = [0; 16 << 10];
            file.read_exact_at(&mut part, at).expect("it is as long");
            part
        };
        assert!(read(&from) == read(&to), "sparse at {at}");
    }
    let [from, to] = [from, to].map(|file| file.metadata().expect("ours"));
    assert_eq!((from.len(), from.mtime_nsec()), (to.len(), to.mtime_nsec()));
    // Room for the part that the file system adds to a file.
    assert!(to.blocks() <= from.blocks() + 64, "{} of {} blocks", to.blocks(), from.blocks());
}

#[test]
fn parts_of_large_files_are_cloned_to_every_destination_and_holes_stay_holes() {
    let dirs = [0; 3].map(|_| tempfile::tempdir().expect("a folder"));
    let [from, first, second] = dirs.each_ref().map(tempfile::TempDir::path);
    let (tree, parts) = plant(from);
    let rank = CloningRank::new(&tree, &[first, second]);
    assert_eq!(rank.fill(), 2 * parts);
    compare(&tree, &first.join("tree"));
    compare(&tree, &second.join("tree"));
}

#[test]
fn what_one_destination_has_is_cloned_only_to_the_other() {
    let dirs = [0; 3].map(|_| tempfile::tempdir().expect("a folder"));
    let [from, first, second] = dirs.each_ref().map(tempfile::TempDir::path);
    let (tree, parts) = plant(from);
    assert_eq!(CloningRank::new(&tree, &[second]).fill(), parts);
    assert_eq!(CloningRank::new(&tree, &[second, first]).fill(), parts);
    compare(&tree, &first.join("tree"));
    assert_eq!(CloningRank::new(&tree, &[first, second]).fill(), 0);
}

#[test]
fn what_shares_the_blocks_of_the_source_needs_no_room() {
    let dirs = [0; 2].map(|_| tempfile::tempdir().expect("a folder"));
    let [from, to] = dirs.each_ref().map(tempfile::TempDir::path);
    let (tree, parts) = plant(from);
    let rank = CloningRank::new(&tree, &[to]);
    let needed = |source| {
        let room = rank.destinations.rooms(source).pop().flatten();
        room.expect("it tells").bytes_needed()
    };
    let (written, cloned) = (needed(None), needed(Some(&rank.source)));
    assert!(written >= cloned + parts, "{written} and {cloned} bytes");
    assert!(cloned > 0, "the small file is written");
    let Ok(elsewhere) = tempfile::tempdir_in("/dev/shm") else { return };
    let device = |dir: &Path| dir.metadata().expect("it is there").dev();
    if device(elsewhere.path()) != device(from) {
        let rank = CloningRank::new(&tree, &[elsewhere.path()]);
        let room = |source| rank.destinations.rooms(source);
        assert_eq!(room(Some(&rank.source)), room(None));
    }
}

#[test]
fn what_is_published_is_what_was_hashed_whatever_becomes_of_the_source() {
    let dirs = [0; 2].map(|_| tempfile::tempdir().expect("a folder"));
    let [from, to] = dirs.each_ref().map(tempfile::TempDir::path);
    let (tree, _) = plant(from);
    let before = fs::read(tree.join("large")).expect("it is there");
    let rank = CloningRank::new(&tree, &[to]);
    let mut out = vec![0; rank.layout.segment_bytes()];
    let mut hashed = Vec::new();
    for segment in rank.destinations.missing().iter() {
        let cloned = rank.clone_one(segment, &mut out);
        if cloned.is_none() {
            rank.source.read(segment, &mut out).expect("only another file changes");
        }
        hashed.push((segment, out.clone(), cloned));
    }
    // The times stay: nothing but the bytes tells.
    let large = OpenOptions::new().write(true).open(tree.join("large")).expect("ours");
    large.write_all_at(&vec![0xee; before.len()], 0).expect("room");
    for (segment, out, cloned) in hashed {
        rank.write(segment, &out, cloned);
    }
    assert!(rank.destinations.publish()[0].is_some());
    assert!(fs::read(to.join("tree/large")).expect("it is there") == before);
}

#[test]
fn a_source_that_has_changed_is_not_cloned() {
    let dirs = [0; 2].map(|_| tempfile::tempdir().expect("a folder"));
    let [from, to] = dirs.each_ref().map(tempfile::TempDir::path);
    let (tree, _) = plant(from);
    let rank = CloningRank::new(&tree, &[to]);
    let of = |name: &str| {
        let is_it = |segment: &SegmentId| {
            let entry = rank.layout.extents(*segment).next().map(|extent| extent.entry as usize);
            let path = entry.map(|entry| &rank.manifest.entries[entry].path);
            path.is_some_and(|path| path.to_string() == name)
        };
        (0..rank.layout.segment_count()).map(SegmentId).find(is_it).expect("it has segments")
    };
    let (large, sparse) = (of("tree/large"), of("tree/sparse"));
    File::options().write(true).open(tree.join("large")).expect("ours").set_len(9).expect("ours");
    let mut out = vec![0; rank.layout.segment_bytes()];
    assert_eq!(rank.clone_one(large, &mut out), None);
    let refused = rank.source.read(large, &mut out).expect_err("it is shorter");
    assert!(refused.to_string().contains("changed"), "{refused}");
    assert!(rank.clone_one(sparse, &mut out).is_some(), "that one has not");
}

#[test]
fn a_source_on_another_file_system_is_read_and_written() {
    let (Ok(from), Ok(to)) = (tempfile::tempdir_in("/dev/shm"), tempfile::tempdir()) else {
        println!("skipped: there is no /dev/shm");
        return;
    };
    let (tree, parts) = plant(from.path());
    let rank = CloningRank::new(&tree, &[to.path()]);
    // Linux 5.3 to 5.18 copied between file systems, too.
    assert!([0, parts].contains(&rank.fill()));
    compare(&tree, &to.path().join("tree"));
}
