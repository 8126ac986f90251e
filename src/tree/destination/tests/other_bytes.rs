//! Bytes that are not where, or what, they should be.

use super::*;
use crate::tree::CorruptAt;

#[test]
fn data_where_the_list_has_holes_arrives_too() {
    let dir = dir();
    let mut source = TestSource::default();
    source.folder(b"t", 0o755);
    source.file(
        b"t/large",
        3 * PART,
        Some(&[5..10, PART..2 * PART, 2 * PART + 7..3 * PART]),
        0o600,
        1,
    );
    source.file(b"t/small", 9_000, Some(&[8_500..8_600, 8_700..8_800]), 0o640, 2);
    for (name, at) in [("t/large", 11), ("t/large", 2 * PART + 6), ("t/small", 8_999)] {
        let content = source.contents.get_mut(name.as_bytes()).expect("it was added");
        content[usize::try_from(at).expect("a small file")] = 1;
    }
    source.stage(dir.path(), &quick());
    source.compare(dir.path());
}

#[test]
fn what_is_read_back_with_other_bytes_is_written_again_or_fails() {
    let source = sample();
    let layout = Layout::new(&source.manifest()).expect("a few segments");
    let segments = || (0..layout.segment_count()).map(SegmentId);
    for has_right in [true, false] {
        let dirs = [dir(), dir()];
        let all = dirs.each_ref().map(|dir| source.open(dir.path(), &quick()));
        all.iter().for_each(|to| segments().for_each(|segment| source.write(to, segment)));
        let control = dirs[0].path().join(".mpiswarm");
        let names = names_in(&control);
        let partial = names.iter().find(|name| name.ends_with(".partial")).expect("an attempt");
        for name in ["t/z", "single"] {
            let path = control.join(partial).join("tree").join(name);
            let file = fs::OpenOptions::new().write(true).open(path).expect("it is staged");
            file.write_all_at(b"spoilt", 3).expect("there is room");
        }
        let all = Destinations::new(all.into());
        let mut out = vec![0; layout.segment_bytes()];
        for segment in segments() {
            let payload = source.payload(&source.manifest(), &layout, segment);
            let mut corrupt = Vec::new();
            let read = all.read(segment, &mut out, |found| found == payload, &mut corrupt);
            assert_eq!(read, Some(payload.len()), "the other one has it");
            all.mend(segment, &corrupt, has_right.then_some(&payload));
        }
        assert_eq!(all.messages().len(), usize::from(!has_right), "{:?}", all.messages());
        assert_eq!(all.publish().iter().flatten().count(), 1 + usize::from(has_right));
        source.compare(dirs[1].path());
        if has_right {
            source.compare(dirs[0].path());
            // Too late to be written again.
            all.mend(SegmentId(0), &corrupt_at_first(&all), Some(&[]));
            assert!(all.messages()[0].contains("other bytes than were written"));
        } else {
            assert!(all.messages()[0].contains("other bytes than were written"));
            assert_eq!(names_in(dirs[0].path()), [".mpiswarm"], "nothing has a final name");
            drop(all);
            let missing = source.open(dirs[0].path(), &quick()).missing();
            assert!(missing.len() == 1, "a rerun writes it again: {missing:?}");
        }
    }
}

/// The first destination, as if it had other bytes of the first segment.
fn corrupt_at_first(all: &Destinations) -> Vec<CorruptAt> {
    let (mut out, mut corrupt) = (vec![0; 2 << 14], Vec::new());
    assert_eq!(all.read(SegmentId(0), &mut out, |_| false, &mut corrupt), None);
    corrupt.truncate(1);
    corrupt
}

#[test]
fn what_could_not_be_synced_is_never_believed_nor_published() {
    let dir = dir();
    let source = sample();
    let to = source.open(dir.path(), &quick());
    let missing: Vec<_> = to.missing().iter().collect();
    let (synced, rest) = missing.split_at(3);
    synced.iter().for_each(|&segment| source.write(&to, segment));
    to.journal.sync(&to.control).expect("it is a disk");
    let (lost, last) = rest.split_at(rest.len() - 1);
    lost.iter().for_each(|&segment| source.write(&to, segment));
    to.discard(synced[0]).expect("there is room");
    let failing = || Err(io::Error::from(Errno::DQUOT));
    // One that began before, and ends after it, says nothing either.
    let during = to.journal.sync_by(|| {
        let failed = to.journal.sync_by(failing).expect_err("the disk fails");
        assert_eq!(failed.kind(), io::ErrorKind::QuotaExceeded);
        Ok(())
    });
    assert!(during.is_err());
    // The kernel has told it once; everybody here is told again.
    for _ in 0..3 {
        let payload = source.payload(&to.manifest, &to.layout, last[0]);
        let digest = SegmentDigest::of(&to.layout, last[0], &payload);
        let failed = to.write(last[0], &payload, &digest);
        assert!(matches!(failed, Err(DestinationError::Full { .. })), "{failed:?}");
        let failed = to.journal.sync(&to.control).expect_err("it failed before");
        assert_eq!(failed.kind(), io::ErrorKind::QuotaExceeded);
    }
    drop(to);
    let to = source.open(dir.path(), &quick());
    assert_eq!(to.resumed().iter().collect::<Vec<_>>(), synced[1..]);
    source.fill(&to);
    source.compare(dir.path());
}

#[test]
fn what_was_discarded_is_not_believed_by_a_rerun() {
    let dir = dir();
    let source = sample();
    let to = source.open(dir.path(), &quick());
    let missing: Vec<_> = to.missing().iter().collect();
    missing[..3].iter().for_each(|&segment| source.write(&to, segment));
    to.discard(missing[0]).expect("there is room");
    to.discard(missing[1]).expect("there is room");
    source.write(&to, missing[1]);
    drop(to);
    let to = source.open(dir.path(), &quick());
    assert_eq!(to.resumed().iter().collect::<Vec<_>>(), missing[1..3]);
    drop(to);
    source.stage(dir.path(), &quick());
}
