//! No name of a manifest and no link at a destination leads out of it.

use std::os::unix::fs::symlink;

use super::*;

fn source() -> TestSource {
    let mut source = TestSource::default();
    source.folder(b"t", 0o755);
    source.folder(b"t/sub", 0o755);
    source.small(b"t/sub/passwd", 100, 1);
    source.small(b"t/sub/shadow", 2 * PART + 1, 2);
    source.small(b"t/file", 3 * PART, 3);
    source.small(b"t/small", 30, 4);
    source
}

/// What must stay as it is.
fn outside() -> tempfile::TempDir {
    let outside = dir();
    for name in ["passwd", "shadow", "dear"] {
        fs::write(outside.path().join(name), name).expect("a small file");
    }
    outside
}

fn is_untouched(outside: &Path) -> bool {
    let is_same = |name: &str| fs::read(outside.join(name)).is_ok_and(|all| all == name.as_bytes());
    names_in(outside) == ["dear", "passwd", "shadow"]
        && ["passwd", "shadow", "dear"].into_iter().all(is_same)
}

#[test]
fn links_that_lie_there_are_replaced_and_never_followed() {
    for options in [quick(), DestinationOptions { delete: true, checksum: true, ..quick() }] {
        let (dir, outside) = (dir(), outside());
        fs::create_dir(dir.path().join("t")).expect("a folder");
        symlink(outside.path(), dir.path().join("t/sub")).expect("a link");
        symlink(outside.path().join("passwd"), dir.path().join("t/file")).expect("a link");
        symlink(outside.path().join("dear"), dir.path().join("t/small")).expect("a link");
        symlink(outside.path(), dir.path().join("t/extra")).expect("a link");
        let published = source().stage(dir.path(), &options);
        assert!(is_untouched(outside.path()));
        assert_eq!(published.deleted, u64::from(options.delete));
        assert_eq!(fs::symlink_metadata(dir.path().join("t/extra")).is_ok(), !options.delete);
    }
}

#[test]
fn a_root_that_is_a_link_is_replaced() {
    let (dir, outside) = (dir(), outside());
    symlink(outside.path(), dir.path().join("t")).expect("a link");
    source().stage(dir.path(), &quick());
    assert!(is_untouched(outside.path()));
}

#[test]
fn a_folder_of_ours_that_is_a_link_is_refused() {
    let (dir, outside) = (dir(), outside());
    symlink(outside.path(), dir.path().join(".mpiswarm")).expect("a link");
    let manifest = Arc::new(source().manifest());
    let layout = Arc::new(Layout::new(&manifest).expect("a few segments"));
    let open = || {
        let (manifest, layout) = (Arc::clone(&manifest), Arc::clone(&layout));
        Destination::open(dir.path(), manifest, layout, &quick(), &mut |_| {})
    };
    assert!(matches!(open(), Err(DestinationError::Foreign { .. })));
    fs::remove_file(dir.path().join(".mpiswarm")).expect("ours");
    fs::create_dir(dir.path().join(".mpiswarm")).expect("a folder");
    fs::hard_link(outside.path().join("dear"), dir.path().join(".mpiswarm/lock")).expect("a link");
    assert!(matches!(open(), Err(DestinationError::Foreign { .. })));
    assert!(is_untouched(outside.path()));
}

#[test]
fn a_source_named_like_the_folder_of_ours_is_refused() {
    let dir = dir();
    let mut source = TestSource::default();
    source.folder(b".mpiswarm", 0o755);
    let manifest = Arc::new(source.manifest());
    let layout = Arc::new(Layout::new(&manifest).expect("no segment"));
    let opened = Destination::open(dir.path(), manifest, layout, &quick(), &mut |_| {});
    assert!(matches!(opened, Err(DestinationError::Reserved { .. })));
    assert_eq!(names_in(dir.path()), [""; 0]);
}

#[test]
fn hard_links_to_files_outside_are_not_written_through() {
    let (dir, outside) = (dir(), outside());
    fs::create_dir(dir.path().join("t")).expect("a folder");
    fs::hard_link(outside.path().join("dear"), dir.path().join("t/small")).expect("a link");
    let mut source = source();
    source.stage(dir.path(), &quick());
    assert!(is_untouched(outside.path()));
    // Two files of the source that became one file of the same size and time.
    source.small(b"t/twin", 30, 4);
    fs::hard_link(dir.path().join("t/small"), dir.path().join("t/twin")).expect("a link");
    // A kept file has a name outside of the tree, whose mode must not change.
    let other = dir.path().join("other");
    fs::hard_link(dir.path().join("t/file"), &other).expect("a link");
    let file = source.entries.iter_mut().find(|entry| entry.path.as_bytes() == b"t/file");
    file.expect("it was added").mode = 0o600;
    source.stage(dir.path(), &quick());
    let inode = |name: &str| fs::metadata(dir.path().join(name)).expect("it is there").ino();
    assert_ne!(inode("t/small"), inode("t/twin"));
    assert_eq!(fs::metadata(other).expect("it is there").mode() & 0o7777, 0o644);
}

#[test]
fn a_path_may_be_longer_than_the_system_takes() {
    let dir = dir();
    let mut source = TestSource::default();
    source.folder(b"t", 0o755);
    let mut path = b"t".to_vec();
    for depth in 0..24 {
        path = [&path[..], b"/", &[b'a' + depth; 250]].concat();
        source.folder(&path, 0o755);
    }
    let file = [&path[..], b"/file"].concat();
    source.small(&file, 2 * PART + 1, 1);
    source.small(&[&path[..], b"/small"].concat(), 10, 2);
    // Deeper than the open folders that are kept.
    let mut path = b"t/deep".to_vec();
    source.folder(&path, 0o755);
    for _ in 0..300 {
        path.extend(b"/d");
        source.folder(&path, 0o755);
        source.small(&[&path[..], b"/f"].concat(), 10, 2);
    }
    let to = source.open(dir.path(), &quick());
    source.fill(&to);
    drop(to);
    let again = source.open(dir.path(), &quick());
    assert!(again.missing().is_empty());
    source.check_segments(&again);
    source.fill(&again);
    drop(again);
    // And it goes again: no removal by its path would do.
    let mut empty = TestSource::default();
    empty.folder(b"t", 0o755);
    let published = empty.stage(dir.path(), &DestinationOptions { delete: true, ..quick() });
    assert_eq!(published.deleted, 2);
}
