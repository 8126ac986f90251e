//! Reads a measurement: a folder of launches, each a folder of records.

use std::fs;
use std::path::{Path, PathBuf};

use super::{has_records, read};
use crate::harness::records::RecordsError;
use crate::report::compare::Set;

// How far below the folder of a measurement its launches lie at most.
// `ranks-5/launch-1` is two below; one more is left for a folder of a day or a build.
const DEPTH_MAX: usize = 3;

/// Reads all launches of a folder as one set; none if it has none. A folder with records is itself a
/// launch.
pub(crate) fn read_launches(dir: &Path) -> Result<Option<Set>, RecordsError> {
    if has_records(dir) {
        return read(dir).map(Some);
    }
    let mut launches = Vec::new();
    for folder in launches_in(dir)? {
        let name = folder.strip_prefix(dir).unwrap_or(&folder).to_string_lossy().into_owned();
        launches.push((name, read(&folder)?));
    }
    let real = dir.canonicalize().unwrap_or_else(|_| dir.to_owned());
    let label = real.file_name().unwrap_or_default().to_string_lossy().into_owned();
    Ok((!launches.is_empty()).then(|| Set::of_launches(label, dir, launches)))
}

/// The folders of records below a folder, sorted by path; none in what is no folder.
pub(super) fn launches_in(root: &Path) -> Result<Vec<PathBuf>, RecordsError> {
    let (mut folders, mut found) = (vec![(root.to_owned(), 0)], Vec::new());
    while let Some((folder, depth)) = folders.pop() {
        if has_records(&folder) {
            found.push(folder);
        } else if depth < DEPTH_MAX && folder.is_dir() {
            let refused = RecordsError::at(&folder);
            for entry in fs::read_dir(&folder).map_err(&refused)? {
                let path = entry.map_err(&refused)?.path();
                if path.is_dir() && !path.is_symlink() {
                    folders.push((path, depth + 1));
                }
            }
        }
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use rand_xoshiro::Xoshiro256PlusPlus;
    use rand_xoshiro::rand_core::{Rng as _, SeedableRng as _};

    use super::*;
    use crate::report::compare::gate::GatePlan;
    use crate::report::compare::{Question, compare};

    /// Which folder of launches of one build to draw from.
    const POOL: &str = "MPISWARM_LAUNCHES";
    /// How many pairs of sets are drawn, and the launches on each side.
    const DRAWS: usize = 1000;
    const SIDE: usize = 8;

    #[test]
    fn launches_lie_up_to_three_folders_below() {
        let dir = tempfile::tempdir().expect("a folder");
        let places = ["ranks-5/launch-1", "launch-2", "a/b/c", "a/b/d/too-deep", "launch-2/inside"];
        for place in places {
            let folder = dir.path().join(place);
            fs::create_dir_all(&folder).expect("a folder");
            fs::write(folder.join("records.jsonl"), "").expect("written");
        }
        fs::create_dir_all(dir.path().join("empty")).expect("a folder");
        let found = launches_in(dir.path()).expect("readable");
        let found: Vec<_> = found.iter().map(|path| path.strip_prefix(dir.path())).collect();
        let expected = ["a/b/c", "launch-2", "ranks-5/launch-1"].map(|path| Ok(Path::new(path)));
        assert_eq!(found, expected);
        // One that can't be read is named; it is not left out.
        let error = read_launches(dir.path()).expect_err("no runs").to_string();
        assert!(error.contains("a/b/c/records.jsonl: no runs"), "{error}");
        assert_eq!(
            read_launches(&dir.path().join("empty")).expect("nothing").map(|set| set.label),
            None
        );
        assert!(launches_in(&dir.path().join("nowhere")).expect("nothing").is_empty());
    }

    /// Draws sets of eight launches from launches of one build: they must not differ.
    ///
    /// `MPISWARM_LAUNCHES=DIR cargo test --lib draws_of_real_launches -- --ignored --nocapture`
    #[test]
    #[ignore = "needs a folder with at least 60 real launches of one build"]
    fn draws_of_real_launches_are_not_different() {
        let root = PathBuf::from(std::env::var_os(POOL).expect("MPISWARM_LAUNCHES names a folder"));
        // Jobs of one size are drawn from each other.
        let mut pools: BTreeMap<PathBuf, Vec<Set>> = BTreeMap::new();
        for folder in launches_in(&root).expect("a folder of launches") {
            let mut launch = read(&folder).expect("records");
            launch.latencies.clear();
            launch.observations.iter_mut().for_each(|one| one.run = None);
            pools.entry(folder.parent().unwrap_or(&root).to_owned()).or_default().push(launch);
        }
        let launches: usize = pools.values().map(Vec::len).sum();
        assert!(launches >= 60, "{launches} launches are too few to draw from");
        assert!(pools.values().all(|pool| pool.len() >= 2 * SIDE), "a job was launched too rarely");
        let strict = tempfile::NamedTempFile::new().expect("a file");
        fs::write(&strict, "effect = 0.000_1").expect("written");
        let plan = GatePlan::read(strict.path()).expect("a plan");
        let mut random = Xoshiro256PlusPlus::seed_from_u64(20_260_101);
        let (mut failed, mut told, mut void, mut results) = (0, 0, 0, 0);
        for _ in 0..DRAWS {
            let mut sides = [Vec::new(), Vec::new()];
            for pool in pools.values() {
                let mut left: Vec<&Set> = pool.iter().collect();
                for side in &mut sides {
                    for _ in 0..SIDE {
                        let place = random.next_u64() % left.len() as u64;
                        let drawn = left.swap_remove(usize::try_from(place).expect("a place"));
                        side.push((String::new(), drawn.clone()));
                    }
                }
            }
            let mut names = ["base", "other"].into_iter();
            let sets = sides.map(|side| {
                Set::of_launches(names.next().unwrap_or_default().to_owned(), &root, side)
            });
            let comparison = compare(&sets, &Question::default()).expect("results in common");
            failed += usize::from(!plan.judge(&comparison).failures.is_empty());
            let verdicts = || {
                let rows = comparison.pairings.iter().flat_map(|pairing| &pairing.rows);
                rows.map(|row| row.verdict.name())
            };
            told += usize::from(verdicts().any(|verdict| ["better", "worse"].contains(&verdict)));
            void += verdicts().filter(|verdict| *verdict == "void").count();
            results += verdicts().filter(|verdict| *verdict != "control").count();
        }
        println!(
            "{DRAWS} pairs of {SIDE} of {launches} launches: {failed} false alarms of the gate, {told} tables \
             with a false verdict, {void} of {results} results void"
        );
        assert!(failed * 100 <= DRAWS, "more than 1% false alarms");
        assert!(told * 100 <= DRAWS, "more than 1% of tables with a false verdict");
        assert!(void * 5 <= results, "more than 20% void");
    }
}
