//! Runs that are killed, wait for each other, or find a full disk.

use std::process::Command;
use std::sync::mpsc;
use std::thread;

use super::*;

/// Where the journal of the only attempt lies.
fn journal_of(dir: &Path) -> PathBuf {
    let control = dir.join(".mpiswarm");
    let names = names_in(&control);
    let partial = names.iter().find(|name| name.ends_with(".partial")).expect("an attempt");
    control.join(partial).join("journal")
}

/// Writes half of the segments, and is gone.
fn half(source: &TestSource, dir: &Path) -> usize {
    let to = source.open(dir, &quick());
    let missing: Vec<_> = to.missing().iter().collect();
    missing[..missing.len() / 2].iter().for_each(|&segment| source.write(&to, segment));
    assert!(matches!(to.publish(), Err(DestinationError::Incomplete { .. })));
    missing.len() - missing.len() / 2
}

#[test]
fn a_rerun_goes_on_and_fresh_starts_over() {
    let dir = dir();
    let source = sample();
    let left = half(&source, dir.path());
    assert_eq!(names_in(dir.path()), [".mpiswarm"], "nothing has a final name");
    let to = source.open(dir.path(), &quick());
    assert_eq!(to.missing().len(), left);
    assert!(to.resumed_bytes() > 0 && to.messages().is_empty());
    drop(to);
    let fresh = source.open(dir.path(), &DestinationOptions { fresh: true, ..quick() });
    assert_eq!(
        (fresh.missing().len(), fresh.resumed_bytes()),
        (fresh.layout.segment_count() as usize, 0)
    );
    source.fill(&fresh);
    source.compare(dir.path());
}

#[test]
fn what_other_sources_left_is_removed_and_told() {
    let dir = dir();
    half(&sample(), dir.path());
    let control = dir.path().join(".mpiswarm");
    for name in ["precious.partial", "0123456789abcdef0123456789abcdef.part", "mine.part"] {
        fs::write(control.join(name), "").expect("a file");
    }
    let mut other = TestSource::default();
    other.small(b"t", 5, 99);
    let to = other.open(dir.path(), &quick());
    assert!(to.messages()[0].contains("removed what 1 runs"), "{:?}", to.messages());
    assert_eq!(to.missing().len(), to.layout.segment_count() as usize);
    other.fill(&to);
    for name in ["precious.partial", "0123456789abcdef0123456789abcdef.part", "mine.part"] {
        assert!(control.join(name).exists(), "{name}");
    }
}

/// What is not missing has the digests of the source.
fn check_known(source: &TestSource, to: &Destination) {
    let missing = to.missing();
    for segment in (0..to.layout.segment_count()).map(SegmentId) {
        if !missing.contains(segment) {
            let payload = source.payload(&to.manifest, &to.layout, segment);
            let digest = SegmentDigest::of(&to.layout, segment, &payload);
            assert_eq!(to.known(segment), Some(digest));
        }
    }
}

/// A source, and the same with some changes.
fn changed() -> [TestSource; 2] {
    [1, 2].map(|version| {
        let mut source = TestSource::default();
        source.folder(b"t", 0o755);
        for index in 0..60_u32 {
            let folder = format!("t/{}", index % 4);
            if index < 4 {
                source.folder(folder.as_bytes(), 0o555);
            }
            // One has other bytes, one is new, one has gone, and one became a folder.
            let seed = if index == 13 { version } else { 100 + index };
            let path = format!("{folder}/{index}").into_bytes();
            match (index, version) {
                (1, 1) | (22, 2) => {}
                (31, 2) => source.folder(&path, 0o755),
                _ => source.small(&path, 300 * u64::from(index), seed),
            }
        }
        let data = [PART * 2 + 5..PART * 3, PART * 7..PART * 9 + 1];
        source.file(b"t/0/holes", 11 * PART, Some(&data), 0o444, 5);
        source.small(b"t/1/large", 9 * PART + 3, 6);
        source.small(b"t/2/other", 5 * PART, 7 * version);
        source
    })
}

#[test]
fn what_an_earlier_list_has_in_common_with_this_one_is_taken_over() {
    let [old, new] = changed();
    let count = old.open(dir().path(), &quick()).layout.segment_count();
    for written in [0, 1, count / 3, count * 2 / 3, count - 1, count] {
        let dir = dir();
        let to = old.open(dir.path(), &quick());
        (0..written).for_each(|segment| old.write(&to, SegmentId(segment)));
        drop(to);
        for other in [&new, &old] {
            let to = other.open(dir.path(), &quick());
            check_known(other, &to);
            let resumed = to.resumed_bytes();
            let said = to.messages().concat();
            assert_eq!(said.contains("took over"), resumed > 0, "{said}");
            if written > count / 3 {
                assert!(resumed > u64::from(written) * PART / 2, "{resumed} of {written}");
            }
        }
        let to = new.open(dir.path(), &quick());
        check_known(&new, &to);
        new.fill(&to);
        drop(to);
        new.compare(dir.path());
        assert_eq!(names_in(&dir.path().join(".mpiswarm")), ["lock", "t.manifest"]);
    }
}

#[test]
fn a_broken_list_or_tree_of_an_earlier_attempt_costs_work_and_no_more() {
    let [old, new] = changed();
    let written = |dir: &Path| {
        let to = old.open(dir, &quick());
        to.missing().iter().for_each(|segment| old.write(&to, segment));
        drop(to);
        journal_of(dir)
    };
    let spoils: [fn(&Path); 6] = [
        |journal| fs::remove_file(journal).expect("ours"),
        |journal| fs::write(journal.with_file_name("manifest"), "none").expect("room"),
        |journal| {
            let list = journal.with_file_name("manifest");
            let mut bytes = fs::read(&list).expect("it is there");
            bytes[20] ^= 1;
            fs::write(list, bytes).expect("room");
        },
        |journal| {
            let list = fs::File::options().write(true).open(journal.with_file_name("manifest"));
            list.and_then(|list| list.set_len(1 << 40)).expect("holes take no room");
        },
        |journal| fs::remove_dir_all(journal.with_file_name("tree/t/1")).expect("ours"),
        |journal| {
            let large = journal.with_file_name("tree/t/1/large");
            fs::remove_file(&large).expect("ours");
            std::os::unix::fs::symlink("/etc/passwd", large).expect("a link");
        },
    ];
    for spoil in spoils {
        let dir = dir();
        spoil(&written(dir.path()));
        let to = new.open(dir.path(), &quick());
        check_known(&new, &to);
        new.fill(&to);
        drop(to);
        new.compare(dir.path());
    }
}

#[test]
fn a_broken_journal_costs_work_and_no_more() {
    let dir = dir();
    let source = sample();
    half(&source, dir.path());
    let path = journal_of(dir.path());
    let whole = fs::read(&path).expect("a journal");
    let all = (0..whole.len()).step_by(29);
    let cut = all.clone().map(|at| whole[..at].to_vec());
    let flipped = all.map(|at| {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x55;
        bytes
    });
    let longer = [vec![0; 9], vec![1; 100], vec![2; 8], [&[1][..], &[255; 64]].concat()];
    let longer = longer.into_iter().map(|more| [&whole[..], &more].concat());
    for bytes in cut.chain(flipped).chain(longer) {
        fs::write(&path, &bytes).expect("there is room");
        check_known(&source, &source.open(dir.path(), &quick()));
    }
    fs::write(&path, &whole[..whole.len() / 2]).expect("there is room");
    source.stage(dir.path(), &quick());
}

#[test]
fn a_publication_that_failed_can_be_repeated() {
    let dir = dir();
    let source = sample();
    let to = source.open(dir.path(), &quick());
    to.missing().iter().for_each(|segment| source.write(&to, segment));
    let tree = journal_of(dir.path()).with_file_name("tree");
    fs::remove_file(tree.join("single")).expect("ours");
    let failed = to.publish().expect_err("a file is gone").to_string();
    assert!(failed.contains("single"), "{failed}");
    let single = SegmentId(to.layout.segments_of(0).start);
    to.discard(single).expect("there is room");
    assert_eq!(to.missing().iter().collect::<Vec<_>>(), [single]);
    source.write(&to, single);
    // What has come meanwhile is nobody's to replace.
    let place = dir.path().join("t");
    fs::create_dir(&place).expect("a folder");
    fs::write(place.join("file"), "mine").expect("a file");
    assert!(matches!(to.publish(), Err(DestinationError::Appeared { path }) if path == place));
    assert_eq!(names_in(&place), ["file"]);
    fs::remove_dir_all(place).expect("ours");
    source.fill(&to);
    source.compare(dir.path());
}

#[test]
fn files_of_the_attempt_that_are_gone_are_written_again() {
    let dir = dir();
    let source = sample();
    let left = half(&source, dir.path());
    let tree = journal_of(dir.path()).with_file_name("tree");
    fs::remove_dir_all(tree.join("t/read-only")).expect("ours");
    assert!(source.open(dir.path(), &quick()).missing().len() > left);
    source.stage(dir.path(), &quick());
}

#[test]
fn after_a_power_cut_only_what_was_synced_is_believed() {
    let dir = dir();
    let source = sample();
    let to = source.open(dir.path(), &quick());
    let missing: Vec<_> = to.missing().iter().collect();
    missing[..3].iter().for_each(|&segment| source.write(&to, segment));
    to.journal.sync(&to.control).expect("it is a disk");
    missing[3..6].iter().for_each(|&segment| source.write(&to, segment));
    // What was synced was bad, and that came out later.
    to.discard(missing[2]).expect("there is room");
    drop(to);
    let path = journal_of(dir.path());
    let mut bytes = fs::read(&path).expect("a journal");
    // The record of the boot is the first behind the head.
    let record = bytes.iter().position(|&byte| byte == b'\n').expect("a line") + 1 + 32;
    bytes[record + 1] ^= 1;
    let check = Digest::of(&bytes[record..record + 17]).0;
    bytes[record + 17..record + 25].copy_from_slice(&check[..8]);
    fs::write(&path, &bytes).expect("there is room");
    for _ in 0..2 {
        let to = source.open(dir.path(), &quick());
        assert_eq!(to.missing().len(), missing.len() - 2);
    }
    source.stage(dir.path(), &quick());
}

#[test]
fn a_second_run_waits_for_the_first_and_keeps_what_is_there() {
    let dir = dir();
    let source = sample();
    let first = source.open(dir.path(), &quick());
    let open = |limit| {
        let manifest = Arc::new(source.manifest());
        let layout = Arc::new(Layout::new(&manifest).expect("a few segments"));
        let options = DestinationOptions { lock_wait: limit, ..quick() };
        let (told, said) = mpsc::channel();
        let path = dir.path().to_owned();
        let run = move || {
            Destination::open(&path, manifest, layout, &options, &mut |message| {
                // Nobody listens where it is refused.
                let _ = told.send(message.to_owned());
            })
        };
        (thread::spawn(run), said)
    };
    let (refused, _) = open(Duration::from_millis(1));
    let refused = refused.join().expect("no panic").expect_err("it is in use").to_string();
    assert!(refused.contains(&format!("process {}", std::process::id())), "{refused}");
    let (second, said) = open(Duration::from_secs(60));
    let message = said.recv().expect("it waits");
    assert!(message.contains("waits for another run"), "{message}");
    source.fill(&first);
    drop(first);
    let second = second.join().expect("no panic").expect("it is free now");
    assert!(second.missing().is_empty());
}

#[test]
fn a_folder_that_is_missing_is_not_made_unasked() {
    let dir = dir();
    let path = dir.path().join("not/mounted");
    let source = sample();
    let manifest = Arc::new(source.manifest());
    let layout = Arc::new(Layout::new(&manifest).expect("a few segments"));
    let opened = Destination::open(&path, manifest, layout, &quick(), &mut |_| {});
    assert!(opened.expect_err("it is missing").to_string().contains("--mkdir"));
    assert!(!path.exists());
    source.stage(&path, &DestinationOptions { mkdir: true, ..quick() });
}

/// The tree that the child writes, as it was before and as it is to be.
fn versions() -> [TestSource; 2] {
    [1, 2].map(|version| {
        let mut source = TestSource::default();
        source.folder(b"t", 0o755);
        for index in 0..40_u32 {
            let folder = format!("t/{}", index % 4);
            if index < 4 {
                source.folder(folder.as_bytes(), 0o555);
            }
            let path = format!("{folder}/{index}").into_bytes();
            match (index % 5, version) {
                (0, 1) | (1, 2) => source.link(&path, b"somewhere"),
                (1, 1) | (0, 2) => {
                    source.folder(&path, 0o755);
                    source.small(&[&path[..], b"/in"].concat(), 600, index * 2 + version);
                }
                _ => source.small(&path, 1_000 * u64::from(index), index * 2 + version),
            }
        }
        source
    })
}

/// Runs in a process of its own, which [`a_kill_at_any_moment_harms_nothing`] kills.
#[test]
#[ignore = "the process that another test kills"]
fn child() {
    if let Some(dir) = std::env::var_os("MPISWARM_KILLED_DIR") {
        let [_, new] = versions();
        let to = new.open(Path::new(&dir), &quick());
        to.missing().iter().for_each(|segment| new.write(&to, segment));
        println!("publishes");
        to.publish().expect("all is there");
    }
}

#[test]
fn a_kill_at_any_moment_harms_nothing() {
    let [old, new] = versions();
    let this = std::env::current_exe().expect("a test has a path");
    for delay in (0..12).map(|step| Duration::from_micros(700 * step)) {
        let dir = dir();
        old.stage(dir.path(), &quick());
        let mut child = Command::new(&this)
            .args([
                "--exact",
                "tree::destination::tests::interrupted::child",
                "--ignored",
                "--nocapture",
            ])
            .env("MPISWARM_KILLED_DIR", dir.path())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .expect("the test can be run again");
        let out = io::BufReader::new(child.stdout.take().expect("a pipe"));
        let begins =
            io::BufRead::lines(out).map_while(Result::ok).any(|line| line.contains("publishes"));
        assert!(begins);
        thread::park_timeout(delay);
        child.kill().expect("it is ours");
        child.wait().expect("it is ours");
        // Each name stands for its old or its new content, whole.
        for (path, content) in &old.contents {
            let found = fs::read(dir.path().join(std::str::from_utf8(path).expect("text")));
            let is_new = || {
                new.contents
                    .get(path)
                    .is_none_or(|new| found.as_ref().is_ok_and(|found| found == new))
            };
            assert!(found.as_ref().is_ok_and(|found| found == content) || is_new());
        }
        // Its name says that all is whole, the old or the new.
        let is_whole = |source: &TestSource| {
            let path = |path: &[u8]| dir.path().join(std::str::from_utf8(path).expect("text"));
            let mut contents = source.contents.iter();
            contents
                .all(|(name, content)| fs::read(path(name)).is_ok_and(|found| found == *content))
        };
        if dir.path().join(".mpiswarm/t.manifest").exists() {
            assert!(is_whole(&old) || is_whole(&new), "a manifest beside half an update");
        }
        let to = new.open(dir.path(), &quick());
        assert!(to.missing().is_empty(), "what was published or staged is there");
        new.fill(&to);
        new.compare(dir.path());
        assert_eq!(names_in(&dir.path().join(".mpiswarm")), ["lock", "t.manifest"]);
    }
}

/// A small file system; none where this user may not mount one.
struct Mounted(tempfile::TempDir);

impl Mounted {
    fn new(options: &str) -> Option<Self> {
        let dir = dir();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(dir.path());
        mount.output().is_ok_and(|done| done.status.success()).then(|| Self(dir))
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let done = Command::new("umount").arg("-l").arg(self.0.path()).status();
        assert!(done.is_ok_and(|done| done.success()));
    }
}

#[test]
fn a_disk_that_is_too_small_is_refused_before_the_start() {
    let source = sample();
    let Some(few_bytes) = Mounted::new("size=128k") else { return };
    let to = source.open(few_bytes.0.path(), &quick());
    assert!(shortage(&to).is_some_and(|said| said.contains(" bytes are free")));
    drop(to);
    let Some(few_inodes) = Mounted::new("size=16m,nr_inodes=16") else { return };
    let to = source.open(few_inodes.0.path(), &quick());
    assert!(shortage(&to).is_some_and(|said| said.contains(" more files fit")));
    drop(to);
    let Some(enough) = Mounted::new("size=1m") else { return };
    let to = source.open(enough.0.path(), &quick());
    assert_eq!(shortage(&to), None);
    // Each has room alone. Who comes first has it.
    let dirs = ["first", "second"].map(|name| enough.0.path().join(name));
    let quick = DestinationOptions { mkdir: true, ..quick() };
    let filler = to.room(&SegmentSet::default()).expect("it tells").bytes_needed() * 3 / 2;
    let filler = (1 << 20) - usize::try_from(filler).expect("it fits into memory");
    fs::write(enough.0.path().join("filler"), vec![1; filler]).expect("there is room");
    let mut both = Destinations::new(dirs.map(|dir| source.open(&dir, &quick)).into());
    let lacking = shortages(both.rooms(None).into_iter().map(|room| ((), room)));
    let errors = both.remove_without_room(&lacking);
    let [error] = &errors[..] else { panic!("{errors:?}") };
    let said = error.to_string();
    assert!(said.contains("second: ") && said.contains(" beside "), "{said}");
    assert_eq!(both.working().count(), 1);
}

#[test]
fn a_disk_that_fills_up_is_named_and_a_rerun_goes_on() {
    let source = sample();
    let Some(disk) = Mounted::new("size=640k") else { return };
    let dir = disk.0.path();
    let filler = dir.join("filler");
    let to = source.open(dir, &quick());
    fs::write(&filler, vec![1; 500 << 10]).expect("there is room");
    let failed = to.missing().iter().find_map(|segment| {
        let payload = source.payload(&to.manifest, &to.layout, segment);
        let digest = SegmentDigest::of(&to.layout, segment, &payload);
        to.write(segment, &payload, &digest).err()
    });
    let failed = failed.expect("it is full");
    let said = failed.to_string();
    assert!(matches!(failed, DestinationError::Full { written: 1.., .. }), "{said}");
    assert!(said.contains("No space left on device") && said.contains(" bytes:"), "{said}");
    drop(to);
    assert_eq!(names_in(dir), [".mpiswarm", "filler"]);
    fs::remove_file(filler).expect("ours");
    let again = source.open(dir, &quick());
    assert!(again.resumed_bytes() > 0);
    source.fill(&again);
    source.compare(dir);
}
