//! Any tree that is written over any other, interrupted anywhere, is as its source.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

/// A name, what it stands for, and its bytes.
type Plan = Vec<(Vec<usize>, u8, u64, u32)>;

fn plan() -> impl Strategy<Value = Plan> {
    let path = prop::collection::vec(0..4_usize, 1..4);
    let bytes = prop_oneof![Just(0), 1..PART, PART - 2..PART + 3, 1..5 * PART];
    prop::collection::vec((path, 0..7_u8, bytes, 0..6_u32), 0..24)
}

fn source(plan: &Plan) -> TestSource {
    let names: [&[u8]; 4] = [b"a", b"b.c", b"\xff\x01", b"b"];
    let mut source = TestSource::default();
    let (mut folders, mut all) = (BTreeSet::new(), BTreeSet::new());
    source.folder(b"t", 0o755);
    folders.insert(b"t".to_vec());
    let mut last: Option<Vec<u8>> = None;
    for (components, kind, bytes, seed) in plan {
        let (mut path, mut fits) = (b"t".to_vec(), true);
        for (depth, &component) in components.iter().enumerate() {
            path = [&path[..], b"/", names[component]].concat();
            let is_last = depth + 1 == components.len();
            if all.contains(&path) && (is_last || !folders.contains(&path)) {
                fits = false;
                break;
            }
            if !is_last && all.insert(path.clone()) {
                folders.insert(path.clone());
                source.folder(&path, 0o755);
            }
        }
        if !fits {
            continue;
        }
        all.insert(path.clone());
        // Equal seeds, sizes and holes make equal bytes and times, so that some files are kept.
        let mode = [0o644, 0o600, 0o755, 0o444, 0o4755, 0o640][*seed as usize];
        match kind {
            0 => {
                folders.insert(path.clone());
                source.folder(&path, [0o755, 0o700, 0o555][*seed as usize % 3]);
            }
            1 => source.link(&path, format!("to {seed}").as_bytes()),
            2 if last.as_ref().is_some_and(|first| {
                first.split(|&byte| byte == b'/').lt(path.split(|&byte| byte == b'/'))
            }) =>
            {
                source.hard_link(&path, &last.clone().expect("it was just looked at"));
            }
            3 => {
                let data = [0..bytes / 3, bytes / 2..bytes * 2 / 3];
                let data: Vec<_> = data.into_iter().filter(|range| !range.is_empty()).collect();
                source.file(&path, *bytes, Some(&data), mode, seed + 10);
                last = Some(path);
            }
            _ => {
                source.file(&path, *bytes, None, mode, *seed);
                last = Some(path);
            }
        }
    }
    source
}

/// All names below a folder.
fn walk(dir: &Path) -> usize {
    let inner = fs::read_dir(dir).expect("it is readable").map(|entry| {
        let path = entry.expect("it is readable").path();
        let is_folder = fs::symlink_metadata(&path).expect("it is there").is_dir();
        1 + if is_folder { walk(&path) } else { 0 }
    });
    inner.sum()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn any_tree_over_any_other_is_as_its_source(
        plans in prop::collection::vec(plan(), 1..4),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 3),
        delete in any::<bool>(),
        checksum in any::<bool>(),
    ) {
        let dir = dir();
        let options = DestinationOptions { delete, checksum, ..quick() };
        for plan in &plans {
            let source = source(plan);
            let mut written = BTreeSet::new();
            for cut in &cuts {
                let to = source.open(dir.path(), &options);
                let missing: Vec<_> = to.missing().iter().collect();
                prop_assert!(missing.iter().all(|segment| !written.contains(&segment.0)));
                if missing.is_empty() {
                    break;
                }
                for &segment in &missing[..cut.index(missing.len())] {
                    source.write(&to, segment);
                    written.insert(segment.0);
                }
            }
            let to = source.open(dir.path(), &options);
            prop_assert!(to.missing().iter().all(|segment| !written.contains(&segment.0)));
            if checksum {
                source.keep_candidates(&to);
            }
            source.fill(&to);
            source.compare(dir.path());
            if delete {
                prop_assert_eq!(walk(&dir.path().join("t")) + 1, source.entries.len());
            }
        }
        let control = names_in(&dir.path().join(".mpiswarm"));
        prop_assert_eq!(control, ["lock", "t.manifest"]);
    }
}
