//! What is on disk is listed, and read again as it is.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use proptest::prelude::*;
use rustix::fs::{CWD, FileType, Mode, OFlags, mkdirat, mknodat, openat};

use super::*;
use crate::manifest::SegmentId;

// The smallest: small files then have several.
const SEGMENT: u32 = 16 << 10;

fn listed(source: &Path) -> Listed {
    list(
        &[source.to_owned()],
        &ListOptions { segment_bytes: Some(SEGMENT), ..ListOptions::default() },
    )
    .expect("it is there")
}

fn paths(listed: &Listed) -> Vec<String> {
    listed.manifest.entries.iter().map(|entry| entry.path.to_string()).collect()
}

fn opened(sources: &[PathBuf], manifest: &Manifest) -> (TreeSource, Arc<Layout>) {
    let layout = Arc::new(Layout::new(manifest).expect("few segments"));
    let source = TreeSource::open(sources, Arc::new(manifest.clone()), Arc::clone(&layout));
    (source.expect("the sources are there"), layout)
}

/// The bytes of all segments, one behind the other.
fn read(source: &TreeSource, layout: &Layout) -> Result<Vec<u8>, SourceError> {
    let mut all = Vec::new();
    for segment in (0..layout.segment_count()).map(SegmentId) {
        let mut out = vec![0xaa; layout.segment_bytes()];
        let bytes = source.read(segment, &mut out)?;
        assert_eq!(bytes, layout.bytes_of(segment));
        all.extend(&out[..bytes]);
    }
    Ok(all)
}

/// Waits until a change of a file has another time than its last one.
fn next_tick(file: &Path) {
    let changed = |path: &Path| fs::metadata(path).map(|found| (found.ctime(), found.ctime_nsec()));
    let clock = tempfile::NamedTempFile::new_in(file.parent().expect("a folder")).expect("room");
    while changed(clock.path()).expect("ours") <= changed(file).expect("ours") {
        clock.as_file().set_modified(SystemTime::UNIX_EPOCH).expect("ours");
    }
}

fn folder() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().expect("a folder");
    let tree = dir.path().join("tree");
    fs::create_dir(&tree).expect("a folder");
    (dir, tree)
}

#[test]
fn every_kind_of_entry_is_listed() {
    let (_dir, tree) = folder();
    fs::create_dir(tree.join("empty")).expect("a folder");
    fs::create_dir(tree.join("a")).expect("a folder");
    fs::write(tree.join("a/file"), "12345").expect("a file");
    fs::set_permissions(tree.join("a/file"), PermissionsExt::from_mode(0o4711)).expect("ours");
    let time = SystemTime::UNIX_EPOCH + Duration::new(1_234_567_890, 123_456_789);
    File::open(tree.join("a/file")).and_then(|file| file.set_modified(time)).expect("ours");
    // "a-b" comes before "a/file" byte by byte, but not component by component.
    fs::write(tree.join("a-b"), "").expect("a file");
    fs::hard_link(tree.join("a/file"), tree.join("name 2")).expect("a link");
    symlink("../else where", tree.join("link")).expect("a link");
    symlink("a", tree.join("link to a folder")).expect("a link");
    fs::write(tree.join(OsStr::from_bytes(b"\xff\n")), "x").expect("a file");
    fs::write(tree.join("n".repeat(255)), "y").expect("a file");
    let _socket = UnixListener::bind(tree.join("socket")).expect("a socket");
    mknodat(CWD, tree.join("pipe"), FileType::Fifo, Mode::RUSR, 0).expect("a pipe");
    let listed = listed(&tree);
    let long = format!("tree/{}", "n".repeat(255));
    let expected = [
        "tree",
        "tree/a",
        "tree/a/file",
        "tree/a-b",
        "tree/empty",
        "tree/link",
        "tree/link to a folder",
        "tree/name 2",
        &long,
        r"tree/\xff\n",
    ];
    assert_eq!(paths(&listed), expected);
    assert_eq!(listed.notes, ["tree/pipe: a pipe, left out", "tree/socket: a socket, left out"]);
    assert_eq!(listed.unreadable, [""; 0]);
    let entries = &listed.manifest.entries;
    let (file, link) = (&entries[2], &entries[5]);
    assert_eq!(file.kind, EntryKind::File { bytes: 5, data: None });
    assert_eq!(file.mode, 0o4711);
    assert_eq!(file.modified, FileTime { seconds: 1_234_567_890, nanos: 123_456_789 });
    assert_eq!(link.kind, EntryKind::Link { target: (*b"../else where").into() });
    assert_eq!(entries[7].kind, EntryKind::HardLink { first: 2 });
    assert_eq!(entries[3].kind, EntryKind::File { bytes: 0, data: None });
}

#[test]
fn large_folders_are_listed_whole() {
    let (_dir, tree) = folder();
    for folder in 0..3 {
        let folder = tree.join(format!("{folder}"));
        fs::create_dir(&folder).expect("room");
        for file in 0..1000 {
            fs::write(folder.join(format!("{file:03}")), "x").expect("room");
        }
    }
    let paths = paths(&listed(&tree));
    assert_eq!(paths.len(), 1 + 3 * 1001);
    assert_eq!((&*paths[2], &*paths[3003]), ("tree/0/000", "tree/2/999"));
}

#[test]
fn a_source_has_its_last_name() {
    let (dir, tree) = folder();
    fs::create_dir(tree.join("sub")).expect("a folder");
    fs::write(dir.path().join("file"), "f").expect("a file");
    symlink("tree", dir.path().join("current")).expect("a link");
    symlink("file", dir.path().join("to file")).expect("a link");
    let names = [
        ("tree", "tree"),
        ("tree/", "tree"),
        ("tree/.", "tree"),
        ("tree/sub/..", "tree"),
        ("file", "file"),
        ("current", "current"),
        ("current/", "current"),
        ("current/sub", "sub"),
        ("to file", "to file"),
    ];
    for (written, name) in names {
        let listed = listed(&dir.path().join(written));
        assert_eq!(listed.manifest.roots(), [name.as_bytes()], "{written}");
        let is_file = name.ends_with("file");
        let kind = &listed.manifest.entries[0].kind;
        assert_eq!(matches!(kind, EntryKind::File { bytes: 1, .. }), is_file, "{written}");
        let (source, layout) = opened(&[dir.path().join(written)], &listed.manifest);
        let expected: &[u8] = if is_file { b"f" } else { b"" };
        assert_eq!(read(&source, &layout).expect("nothing changed"), expected);
    }
}

#[test]
fn sources_that_can_not_be_told_apart_or_copied_are_refused() {
    let (dir, tree) = folder();
    let other = dir.path().join("other/tree");
    fs::create_dir_all(&other).expect("a folder");
    mknodat(CWD, dir.path().join("pipe"), FileType::Fifo, Mode::RUSR, 0).expect("a pipe");
    let said = |sources: &[&Path]| {
        let sources: Vec<PathBuf> = sources.iter().map(|path| path.to_path_buf()).collect();
        list(&sources, &ListOptions::default()).expect_err("refused").to_string()
    };
    let twice = said(&[&tree, &other]);
    assert!(twice.contains("/tree and ") && twice.contains("/other/tree have one name, tree: "));
    assert!(said(&[Path::new("/")]).starts_with("/: it has no name"));
    assert!(said(&[&dir.path().join("pipe")]).ends_with("is a pipe: name a file or a folder"));
    assert!(said(&[&dir.path().join("none")]).contains("/none: No such file"));
    let odd = ListOptions { segment_bytes: Some(100_000), ..ListOptions::default() };
    assert!(matches!(list(&[tree], &odd), Err(ListError::Manifest(_))));
}

#[test]
fn several_sources_are_one_manifest() {
    let (dir, tree) = folder();
    fs::write(tree.join("a"), "aa").expect("a file");
    fs::write(dir.path().join("before"), "b").expect("a file");
    // Names of one file in two sources are two files: each source is copied by itself.
    fs::hard_link(tree.join("a"), dir.path().join("z")).expect("a link");
    let sources = ["tree", "z", "before"].map(|name| dir.path().join(name));
    let listed = list(&sources, &ListOptions::default()).expect("they are there");
    assert_eq!(paths(&listed), ["before", "tree", "tree/a", "z"]);
    assert_eq!(listed.manifest.segment_bytes, 64 << 10);
    let between_hosts = ListOptions { is_over_links: true, ..ListOptions::default() };
    let over_links = list(&sources, &between_hosts).expect("they are there");
    assert_eq!(over_links.manifest.segment_bytes, 32 << 10);
    let (source, layout) = opened(&sources, &listed.manifest);
    assert_eq!(read(&source, &layout).expect("nothing changed"), b"baaaa");
    let lacking = TreeSource::open(&sources[..1], Arc::new(listed.manifest), layout);
    let said = lacking.expect_err("refused").to_string();
    assert_eq!(said, "no source is called before: name the same sources on each rank");
}

#[test]
fn holes_are_found_and_huge_files_listed() {
    let (_dir, tree) = folder();
    let file = File::create(tree.join("holes")).expect("a file");
    let size = 5 << 30;
    file.set_len(size).expect("a sparse file");
    std::os::unix::fs::FileExt::write_all_at(&file, b"data", 1 << 20).expect("room");
    File::create(tree.join("nothing")).and_then(|file| file.set_len(1 << 20)).expect("a file");
    if file.metadata().expect("a file").blocks() * 512 >= size {
        // This file system has no holes.
        return;
    }
    let listed = listed(&tree);
    let EntryKind::File { bytes, data: Some(data) } = &listed.manifest.entries[1].kind else {
        panic!("a sparse file: {listed:?}");
    };
    assert_eq!(*bytes, size);
    assert!(data.iter().any(|data| data.contains(&(1 << 20))), "{data:?}");
    let nothing = EntryKind::File { bytes: 1 << 20, data: Some(Box::default()) };
    assert_eq!(listed.manifest.entries[2].kind, nothing);
    let (source, layout) = opened(&[tree], &listed.manifest);
    assert!(layout.bytes() < 1 << 20);
    assert!(read(&source, &layout).expect("nothing changed").starts_with(b"data"));
}

#[test]
fn paths_may_be_longer_than_the_system_takes_at_once() {
    let (_dir, tree) = folder();
    let mut folder = openat(CWD, &tree, OFlags::PATH, Mode::empty()).expect("a folder");
    let name = "d".repeat(200);
    for _ in 0..40 {
        mkdirat(&folder, &name, Mode::RWXU).expect("a folder");
        folder = openat(&folder, &name, OFlags::PATH, Mode::empty()).expect("a folder");
    }
    let file = openat(&folder, "file", OFlags::CREATE | OFlags::WRONLY, Mode::RWXU);
    rustix::io::write(file.expect("a file"), b"deep").expect("room");
    let listed = listed(&tree);
    assert_eq!(listed.manifest.entries.len(), 42);
    let (source, layout) = opened(&[tree], &listed.manifest);
    assert_eq!(read(&source, &layout).expect("nothing changed"), b"deep");
}

#[test]
fn a_file_that_changed_is_found_when_it_is_read() {
    let large = 3 * SEGMENT as usize;
    type Change = (&'static str, fn(&Path));
    let changes: [Change; 8] = [
        ("changed", |path| {
            let file = File::options().append(true).open(path).expect("ours");
            std::io::Write::write_all(&mut &file, b"more").expect("room");
        }),
        ("changed", |path| {
            File::options().write(true).open(path).and_then(|file| file.set_len(9)).expect("ours")
        }),
        // The same size, and another time.
        ("changed", |path| {
            let bytes = fs::read(path).expect("ours");
            fs::write(path, bytes).expect("ours");
            File::open(path)
                .and_then(|file| file.set_modified(SystemTime::UNIX_EPOCH))
                .expect("ours");
        }),
        // The same size and time.
        ("changed", |path| {
            let modified = fs::metadata(path).and_then(|found| found.modified()).expect("ours");
            let bytes = vec![8; fs::read(path).expect("ours").len()];
            fs::write(path, bytes).expect("ours");
            File::open(path).and_then(|file| file.set_modified(modified)).expect("ours");
        }),
        ("changed", |path| {
            let modified = fs::metadata(path).and_then(|found| found.modified()).expect("ours");
            let other = path.with_file_name("other");
            File::open(&other).and_then(|file| file.set_modified(modified)).expect("ours");
            fs::rename(other, path).expect("ours");
        }),
        ("is gone", |path| fs::remove_file(path).expect("ours")),
        ("changed", |path| {
            fs::remove_file(path).expect("ours");
            symlink("other", path).expect("a link");
        }),
        ("changed", |path| {
            fs::remove_file(path).expect("ours");
            fs::create_dir(path).expect("a folder");
        }),
    ];
    for bytes in [100, large] {
        for (said, change) in changes {
            let (_dir, tree) = folder();
            fs::write(tree.join("file"), vec![7; bytes]).expect("a file");
            fs::write(tree.join("other"), vec![7; bytes]).expect("a file");
            let Listed { manifest, identities, .. } = listed(&tree);
            next_tick(&tree.join("file"));
            change(&tree.join("file"));
            let (source, layout) = opened(&[tree], &manifest);
            let source = source.with_identities(&identities);
            let error = read(&source, &layout).expect_err("it changed");
            assert_eq!((error.entry, &*error.path), (1, "tree/file"));
            assert!(error.to_string().contains(said), "{error}");
        }
    }
}

#[test]
fn a_large_file_that_changes_between_two_segments_is_found() {
    let (_dir, tree) = folder();
    fs::write(tree.join("file"), vec![7; 2 * SEGMENT as usize]).expect("a file");
    let manifest = listed(&tree).manifest;
    let file = File::options().write(true).open(tree.join("file")).expect("ours");
    let same = file.metadata().and_then(|found| found.modified()).expect("it has a time");
    // Whoever has not listed knows a file from when it was opened first.
    for time in [same, SystemTime::UNIX_EPOCH] {
        let (source, layout) = opened(std::slice::from_ref(&tree), &manifest);
        let source = source.without_page_cache();
        let mut out = vec![0; layout.segment_bytes()];
        source.read(SegmentId(0), &mut out).expect("nothing changed");
        next_tick(&tree.join("file"));
        std::os::unix::fs::FileExt::write_all_at(&file, b"8", SEGMENT.into()).expect("room");
        file.set_modified(time).expect("ours");
        source.read(SegmentId(1), &mut out).expect_err("it changed");
    }
}

#[derive(Clone, Debug)]
enum Made {
    File(usize),
    Folder,
    Link,
    HardLink,
}

fn made() -> impl Strategy<Value = Made> {
    prop_oneof![
        4 => (0..3 * SEGMENT as usize).prop_map(Made::File),
        2 => (0..200_usize).prop_map(Made::File),
        3 => Just(Made::Folder),
        1 => Just(Made::Link),
        1 => Just(Made::HardLink),
    ]
}

/// A name, what it is, and in which of the folders before.
fn trees() -> impl Strategy<Value = Vec<(Vec<u8>, Made, usize)>> {
    let byte = prop_oneof![Just(b'a'), Just(b'-'), Just(b'0'), 1..=b'.', b'0'..=255];
    let name = prop::collection::vec(byte, 1..4)
        .prop_filter("a name", |name| name != b"." && name != b"..");
    prop::collection::vec((name, made(), any::<usize>()), 0..30)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn any_tree_is_listed_encoded_cut_and_read(tree in trees()) {
        let (_dir, root) = folder();
        let (mut folders, mut files) = (vec![root.clone()], BTreeMap::new());
        for (place, (name, made, parent)) in tree.into_iter().enumerate() {
            let path = folders[parent % folders.len()].join(OsStr::from_bytes(&name));
            if path.symlink_metadata().is_ok() {
                continue;
            }
            match made {
                Made::File(bytes) => {
                    let bytes: Vec<u8> = (0..=250).cycle().skip(place).take(bytes).collect();
                    fs::write(&path, &bytes).expect("room");
                    files.insert(path, bytes);
                }
                Made::Folder => {
                    fs::create_dir(&path).expect("room");
                    folders.push(path);
                }
                Made::Link => symlink(OsStr::from_bytes(&name), &path).expect("room"),
                Made::HardLink => {
                    if let Some(first) = files.keys().next() {
                        fs::hard_link(first, &path).expect("room");
                    }
                }
            }
        }
        let listed = listed(&root);
        prop_assert!(listed.notes.is_empty() && listed.unreadable.is_empty());
        let manifest = Manifest::decode(&listed.manifest.encode()).expect("it keeps the rules");
        prop_assert_eq!(&manifest, &listed.manifest);
        let count = fs_count(&root);
        prop_assert_eq!(manifest.entries.len(), count + 1);
        let (source, layout) = opened(&[root], &manifest);
        prop_assert_eq!(layout.bytes(), files.values().map(|bytes| bytes.len() as u64).sum::<u64>());
        let all = read(&source, &layout).expect("nothing changed");
        let mut rest = &all[..];
        for segment in (0..layout.segment_count()).map(SegmentId) {
            for extent in layout.extents(segment) {
                let (bytes, behind) = rest.split_at(extent.bytes);
                rest = behind;
                let path = source_path(&manifest, extent.entry, &folders[0]);
                let offset = usize::try_from(extent.offset).expect("small");
                let on_disk = fs::read(path).expect("it is there");
                prop_assert_eq!(bytes, &on_disk[offset..offset + extent.bytes]);
            }
        }
    }
}

fn source_path(manifest: &Manifest, entry: u32, root: &Path) -> PathBuf {
    root.join(OsStr::from_bytes(manifest.entries[entry as usize].path.below_root()))
}

fn fs_count(folder: &Path) -> usize {
    let inside = fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("it is there"));
    inside
        .map(|entry| {
            let is_dir = entry.file_type().expect("it is there").is_dir();
            1 + if is_dir { fs_count(&entry.path()) } else { 0 }
        })
        .sum()
}

#[test]
fn roots_of_files_do_not_depend_on_the_segments() {
    let (_dir, tree) = folder();
    let sizes = [0, 1, 5000, 16 << 10, 64 << 10, 100_000, (1 << 20) + 1, 3 << 20];
    for bytes in sizes {
        let content: Vec<u8> = (0..=250).cycle().take(bytes).collect();
        fs::write(tree.join(format!("{bytes:08}")), content).expect("room");
    }
    let holes = File::create(tree.join("holes")).expect("room");
    holes.set_len(5 << 20).expect("room");
    std::os::unix::fs::FileExt::write_all_at(&holes, b"data", 3 << 20).expect("room");
    for segment_bytes in [SEGMENT, 64 << 10, 8 << 20] {
        let options = ListOptions { segment_bytes: Some(segment_bytes), ..ListOptions::default() };
        let manifest = list(std::slice::from_ref(&tree), &options).expect("it is there").manifest;
        let (source, layout) = opened(std::slice::from_ref(&tree), &manifest);
        let found = roots_of_files(&source, &manifest, &layout, |_| ());
        assert!(found.errors.is_empty());
        for (entry, root) in manifest.entries.iter().zip(found.roots) {
            let EntryKind::File { bytes, .. } = entry.kind else { continue };
            let path = tree.join(OsStr::from_bytes(entry.path.below_root()));
            let content = fs::read(&path).expect("it is there");
            let expected = (bytes > 0).then(|| crate::verify::merkle::root_of(&content));
            assert_eq!(root, expected, "{}", entry.path);
            let file = File::open(&path).expect("it is there");
            assert_eq!(root_of_file(file, bytes).expect("it is there"), expected);
        }
    }
}

#[test]
fn one_file_that_is_gone_costs_no_other_its_root() {
    let (_dir, tree) = folder();
    for name in ["a", "b", "c"] {
        fs::write(tree.join(name), name).expect("room");
    }
    fs::write(tree.join("large"), vec![1; 3 * SEGMENT as usize]).expect("room");
    let manifest = listed(&tree).manifest;
    for name in ["b", "large"] {
        fs::remove_file(tree.join(name)).expect("ours");
    }
    let (source, layout) = opened(&[tree], &manifest);
    let found = roots_of_files(&source, &manifest, &layout, |_| ());
    let known: Vec<bool> = found.roots.iter().map(Option::is_some).collect();
    assert_eq!(known, [false, true, false, true, false]);
    let wrong: Vec<u32> = found.errors.iter().map(|error| error.entry).collect();
    assert_eq!(wrong, [2, 4]);
}
