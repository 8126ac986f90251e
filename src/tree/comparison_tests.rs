//! Each kind of difference is named.

use std::fs::{self, File};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use rustix::fs::{CWD, FileType, Mode, mknodat};

use super::comparison::verify_tree_in;
use super::time_unit::TimeUnit;
use super::*;

/// A tree with one of each kind, and its manifest.
fn stored(tree: &Path) -> StoredManifest {
    fs::create_dir_all(tree.join("a/empty")).expect("room");
    fs::write(tree.join("a/small"), "small").expect("room");
    fs::write(tree.join("a/small 2"), "other").expect("room");
    fs::write(tree.join("large"), vec![5; 200_000]).expect("room");
    fs::hard_link(tree.join("large"), tree.join("large 2")).expect("room");
    symlink("a/small", tree.join("link")).expect("room");
    let sources = [tree.to_owned()];
    let manifest = list(&sources, &ListOptions::default()).expect("it is there").manifest;
    let (manifest, layout) =
        (Arc::new(manifest.clone()), Arc::new(Layout::new(&manifest).expect("few segments")));
    let source = TreeSource::open(&sources, Arc::clone(&manifest), Arc::clone(&layout));
    let found = roots_of_files(&source.expect("it is there"), &manifest, &layout, |_| ());
    StoredManifest { manifest: (*manifest).clone(), roots: found.roots }
}

/// Keeps the time of a path while it is changed.
fn quietly(path: &Path, change: impl FnOnce(&Path)) {
    let time = |path: &Path| fs::metadata(path).and_then(|found| found.modified()).expect("ours");
    let parent = path.parent().expect("it lies in the tree");
    let (before, parent_before) = (time(path), time(parent));
    change(path);
    for (path, before) in [(path, before), (parent, parent_before)] {
        File::open(path).and_then(|file| file.set_modified(before)).expect("ours");
    }
}

fn differences(change: impl FnOnce(&Path)) -> Vec<String> {
    let dir = tempfile::tempdir().expect("a folder");
    let tree: PathBuf = dir.path().join("tree");
    let stored = stored(&tree);
    assert_eq!(
        verify_tree(&tree, &stored, b"tree", &NameFilter::default(), |_| ()).expect("it is there"),
        []
    );
    change(&tree);
    let found = verify_tree(&tree, &stored, b"tree", &NameFilter::default(), |_| ())
        .expect("it can be listed");
    found.iter().map(ToString::to_string).collect()
}

#[test]
fn each_kind_of_difference_is_named() {
    let content = differences(|tree| {
        quietly(&tree.join("a/small"), |path| fs::write(path, "smalL").expect("ours"));
    });
    let root = |text: &[u8]| crate::verify::merkle::root_of(text);
    assert_eq!(
        content,
        [format!("tree/a/small: content: {}, not {}", root(b"smalL"), root(b"small"))]
    );
    let large = differences(|tree| {
        quietly(&tree.join("large"), |path| {
            let file = File::options().write(true).open(path).expect("ours");
            std::os::unix::fs::FileExt::write_all_at(&file, b"x", 150_000).expect("room");
        });
    });
    assert!(large.len() == 1 && large[0].starts_with("tree/large: content: "), "{large:?}");
    let size = differences(|tree| {
        quietly(&tree.join("a/small"), |path| fs::write(path, "smaller").expect("ours"));
    });
    assert_eq!(size, ["tree/a/small: size: 7 bytes, not 5 bytes"]);
    let mode = differences(|tree| {
        fs::set_permissions(tree.join("a"), PermissionsExt::from_mode(0o700)).expect("ours");
        fs::set_permissions(tree.join("large"), PermissionsExt::from_mode(0o4755)).expect("ours");
    });
    assert!(mode[0].starts_with("tree/a: mode: 0700, not 07"), "{mode:?}");
    assert!(mode.len() == 2 && mode[1].starts_with("tree/large: mode: 4755, not 06"), "{mode:?}");
    let time = differences(|tree| {
        let file = File::open(tree.join("a/small")).expect("ours");
        file.set_modified(SystemTime::UNIX_EPOCH).expect("ours");
    });
    assert!(
        time.len() == 1
            && time[0].starts_with("tree/a/small: modified: 1970-01-01T00:00:00Z, not 20")
    );
}

#[test]
fn times_differ_by_no_less_than_the_unit_of_the_file_system() {
    let dir = tempfile::tempdir().expect("a folder");
    let tree = dir.path().join("tree");
    let stored = stored(&tree);
    let modified = |path: &str| {
        let entries = &stored.manifest.entries;
        let is_it = |entry: &&Entry| entry.path.below_root() == path.as_bytes();
        entries.iter().find(is_it).expect("it is listed").modified
    };
    let at = |seconds: i64| {
        let seconds = u64::try_from(seconds).expect("after 1970");
        SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(seconds)
    };
    // As a file system with whole seconds keeps one; the other is another second.
    for (path, more) in [("a/small", 0), ("large", 1)] {
        let file = File::open(tree.join(path)).expect("ours");
        file.set_modified(at(modified(path).seconds + more)).expect("ours");
    }
    let file = File::open(tree.join("a/small")).expect("ours");
    let kept = FileTime { nanos: 0, ..modified("a/small") };
    assert_eq!(file.metadata().and_then(|it| it.modified()).expect("ours"), at(kept.seconds));
    let second = TimeUnit::of_kept(
        FileTime { seconds: 1, nanos: 123_456_789 },
        FileTime { seconds: 1, nanos: 0 },
    );
    let of = (&stored, &b"tree"[..]);
    let found = verify_tree_in(second, &tree, of, &NameFilter::default(), |_| ());
    let found: Vec<_> = found.expect("it is there").iter().map(ToString::to_string).collect();
    assert!(found.len() == 1 && found[0].starts_with("tree/large: modified: "), "{found:?}");
}

#[test]
fn each_kind_of_entry_may_be_another() {
    let missing = differences(|tree| {
        quietly(&tree.join("a"), |path| fs::remove_dir(path.join("empty")).expect("ours"));
    });
    assert_eq!(missing, ["tree/a/empty: missing: a folder"]);
    let extra = differences(|tree| {
        quietly(&tree.join("a"), |path| {
            fs::write(path.join("new\n"), "").expect("room");
            mknodat(CWD, path.join("pipe"), FileType::Fifo, Mode::RUSR, 0).expect("room");
        });
    });
    assert_eq!(extra, [r"tree/a/new\n: extra: a file", "tree/a/pipe: extra: a pipe"]);
    let kinds = differences(|tree| {
        quietly(&tree.join("a"), |path| {
            fs::remove_dir(path.join("empty")).expect("ours");
            symlink("x", path.join("empty")).expect("room");
        });
    });
    assert_eq!(kinds, ["tree/a/empty: type: a symbolic link, not a folder"]);
    let linked = differences(|tree| {
        quietly(&tree.join("large 2"), |path| {
            fs::copy(path, tree.join("copy")).expect("room");
            fs::rename(tree.join("copy"), path).expect("ours");
        });
    });
    assert_eq!(linked, ["tree/large 2: hard link: a file of its own, not another name of large"]);
    let target = differences(|tree| {
        fs::remove_file(tree.join("link")).expect("ours");
        symlink("a/\u{202e}", tree.join("link")).expect("room");
    });
    assert!(
        target.contains(&r"tree/link: target: a/\u{202e}, not a/small".to_owned()),
        "{target:?}"
    );
    let gone = differences(|tree| fs::remove_dir_all(tree).expect("ours"));
    assert_eq!(gone.len(), 8);
    assert!(gone.iter().all(|one| one.contains(": missing: ")), "{gone:?}");
}

#[test]
fn a_link_or_a_pipe_in_place_of_a_tree_is_none() {
    let linked = differences(|tree| {
        fs::rename(tree, tree.with_file_name("other")).expect("ours");
        symlink("other", tree).expect("room");
    });
    assert_eq!(linked, ["tree: type: a symbolic link, not a folder"]);
    let pipe = differences(|tree| {
        fs::remove_dir_all(tree).expect("ours");
        mknodat(CWD, tree, FileType::Fifo, Mode::RUSR, 0).expect("room");
    });
    assert_eq!(pipe, ["tree: type: a pipe, not a folder"]);
}

#[test]
fn a_copy_under_another_name_is_compared_too() {
    let dir = tempfile::tempdir().expect("a folder");
    let stored = stored(&dir.path().join("tree"));
    fs::rename(dir.path().join("tree"), dir.path().join("copy")).expect("ours");
    let found =
        verify_tree(&dir.path().join("copy"), &stored, b"tree", &NameFilter::default(), |_| ());
    assert_eq!(found.expect("it is there"), []);
}
