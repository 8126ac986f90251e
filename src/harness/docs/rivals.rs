//! `mpiswarm stage` and what people do instead, as `scripts/stage-bench.sh` measured them: two tables of Markdown
//! and a picture.
//!
//! Each tree has the record with the most contenders; of several the newest. Records of scaled trees don't count.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::report::compare::html::staging_times::{self, StagingTime};
use crate::report::statistics::quartiles;
use crate::report::units;

// The documents beside it link to it.
pub(super) const PICTURE: &str = "rivals.svg";
// A comment of HTML, which no page shows.
const BEGIN: &str = "<!--# rivals -->\n";
// The order of columns: those that the script makes, then those that it copies.
const TREES: [&str; 5] = ["large", "small", "one", "toolchain", "python"];
// The contenders of the script, what they do, and whether they check what they wrote. rsync compares a checksum of
// what was sent with one of what was received, and keeps none.
const CONTENDERS: [(&str, &str, &str); 10] = [
    ("stage-ranks", "`mpirun -n 4 mpiswarm stage`", "yes"),
    ("stage-process", "`mpiswarm stage`, one process, four `--to`", "yes"),
    ("libtorrent", "libtorrent, five processes", "yes"),
    ("rsync", "`rsync -a`, four at once", "in transit"),
    ("cp", "`cp -a`, four at once", "no"),
    ("tar", "`tar \\| tar`, four at once", "no"),
    ("tar-tee", "one `tar`, `tee` to four", "no"),
    ("tar-bcast", "`tar` through `MPI_Bcast`", "no"),
    ("sbcast", "`tar`, `sbcast`, `srun tar`", "no"),
    ("empty", "an empty MPI job", "-"),
];
// The script delivers each tree to so many folders.
const COPIES: u64 = 4;

/// A line of `rounds.csv`.
#[derive(Debug, Deserialize)]
struct StageRound {
    round: u32,
    tree: String,
    contender: String,
    seconds: f64,
    bytes: u64,
    files: u64,
    ok: String,
}

/// A line of `leftovers.csv`.
#[derive(Debug, Deserialize)]
struct Leftover {
    tree: String,
    contender: String,
    disturbance: String,
    exit_code: i32,
    incomplete: u64,
    missing: u64,
}

#[derive(Debug, Default)]
struct MeasuredTree {
    name: String,
    record: String,
    date: String,
    bytes: u64,
    files: u64,
    /// Of each contender the seconds of its counted runs that succeeded.
    seconds: BTreeMap<String, Vec<f64>>,
    failed: BTreeMap<String, usize>,
    leftovers: Vec<Leftover>,
}

#[derive(Debug)]
pub(super) struct Rivals {
    trees: Vec<MeasuredTree>,
}

impl Rivals {
    pub(super) fn read(records: &Path) -> Result<Self, String> {
        let entries = fs::read_dir(records).map_err(|error| error.to_string())?;
        let names = entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned());
        let names: BTreeSet<_> = names.filter(|name| name.starts_with("stage-bench-")).collect();
        let mut best = BTreeMap::<String, MeasuredTree>::new();
        for name in names {
            for tree in read_record(&records.join(&name), &name)? {
                let rank = |tree: &MeasuredTree| (tree.seconds.len(), tree.date.clone());
                if best.get(&tree.name).is_none_or(|known| rank(known) < rank(&tree)) {
                    best.insert(tree.name.clone(), tree);
                }
            }
        }
        let trees = TREES.iter().filter_map(|name| best.remove(*name)).collect();
        Ok(Self { trees })
    }

    /// The text with what stands between the marks made anew.
    pub(super) fn renewed(&self, text: &str) -> Result<String, String> {
        super::replaced(text, BEGIN, &self.tables())
    }

    pub(super) fn picture(&self) -> String {
        let trees: Vec<_> = self.trees.iter().map(|tree| (tree.title(), tree.bars())).collect();
        staging_times::bars(&trees)
    }

    fn tables(&self) -> String {
        let head = |first: &[&str], titles: &dyn Fn(&MeasuredTree) -> String| {
            let cells = first.iter().map(ToString::to_string).chain(self.trees.iter().map(titles));
            let cells: Vec<_> = cells.collect();
            format!("{}| {} |\n", row(&cells), vec!["---"; cells.len()].join(" | "))
        };
        let mut out = format!("![Seconds until all have the tree]({PICTURE})\n\n");
        out += &head(&["contender", "verified"], &MeasuredTree::title);
        for (name, what, verified) in CONTENDERS {
            if self.trees.iter().any(|tree| tree.seconds.contains_key(name)) {
                let cells = self.trees.iter().map(|tree| tree.time(name));
                out += &row([what.to_owned(), verified.to_owned()].into_iter().chain(cells));
            }
        }
        let link = |tree: &MeasuredTree| format!("[{}]({})", tree.date, tree.record);
        let links = self.trees.iter().map(link);
        out += &row(["record".to_owned(), String::new()].into_iter().chain(links));
        if self.trees.iter().all(|tree| tree.leftovers.is_empty()) {
            return out;
        }
        out += "\nWhat lies in the four folders after one of their disks was full, or after all processes were \
                killed at half time: files under a final name that are not as in the source (wrong), and files \
                that are missing.\n\n";
        out += &head(&["contender", "what happened"], &|tree| tree.name.clone());
        for (name, what, _) in CONTENDERS {
            for (disturbance, said) in [("full", "a disk full"), ("killed", "killed")] {
                let cells: Vec<_> =
                    self.trees.iter().map(|tree| tree.left(name, disturbance)).collect();
                if cells.iter().any(|cell| !cell.is_empty()) {
                    out += &row([what.to_owned(), said.to_owned()].into_iter().chain(cells));
                }
            }
        }
        out
    }
}

impl MeasuredTree {
    fn title(&self) -> String {
        let (size, files) = (units::size((self.bytes / COPIES) as f64), self.files / COPIES);
        format!("{}: {size}, {}", self.name, units::count(files, "file"))
    }

    fn time(&self, contender: &str) -> String {
        let seconds = self.seconds.get(contender).and_then(|seconds| quartiles(seconds));
        let seconds =
            seconds.map(|[first, median, third]| format!("{median:.2} [{first:.2}, {third:.2}]"));
        let failed = self.failed.get(contender).map(|count| format!("{count} failed"));
        seconds.into_iter().chain(failed).collect::<Vec<_>>().join(", ")
    }

    fn left(&self, contender: &str, disturbance: &str) -> String {
        let is_it =
            |left: &&Leftover| left.contender == contender && left.disturbance == disturbance;
        let Some(left) = self.leftovers.iter().find(is_it) else { return String::new() };
        let counts = format!("{} wrong, {} missing", left.incomplete, left.missing);
        match (disturbance, left.exit_code) {
            ("full", code) => format!("code {code}: {counts}"),
            // A run may end before half the time of another.
            (_, 0) => "ended before".to_owned(),
            _ => counts,
        }
    }

    fn bars(&self) -> Vec<StagingTime> {
        let bar = |(name, _, verified): &(&str, &str, &str)| {
            let quartiles = quartiles(self.seconds.get(*name)?)?;
            let is_verified = *verified == "yes";
            Some(StagingTime { name: (*name).to_owned(), quartiles, is_verified })
        };
        CONTENDERS.iter().filter_map(bar).collect()
    }
}

fn row(cells: impl IntoIterator<Item = impl AsRef<str>>) -> String {
    let cells = cells.into_iter().map(|cell| format!(" {} |", cell.as_ref()));
    format!("|{}\n", cells.collect::<String>())
}

/// The trees of a record; none where they are scaled.
fn read_record(folder: &Path, record: &str) -> Result<Vec<MeasuredTree>, String> {
    let environment = fs::read_to_string(folder.join("environment.txt"));
    let environment = environment.map_err(|error| format!("{record}: environment.txt: {error}"))?;
    let field = |key: &str| environment.lines().find_map(|line| line.strip_prefix(key));
    if field("scale: ") != Some("1") {
        return Ok(Vec::new());
    }
    let date = field("date: ").ok_or(format!("{record}: environment.txt has no date"))?;
    let mut trees = BTreeMap::<String, MeasuredTree>::new();
    for run in lines::<StageRound>(folder, "rounds.csv")? {
        let tree = trees.entry(run.tree.clone()).or_default();
        if run.ok != "yes" {
            *tree.failed.entry(run.contender.clone()).or_default() += 1;
        }
        let seconds = tree.seconds.entry(run.contender).or_default();
        if run.ok == "yes" && run.round > 0 {
            seconds.push(run.seconds);
        }
        (tree.bytes, tree.files) = (tree.bytes.max(run.bytes), tree.files.max(run.files));
    }
    if folder.join("leftovers.csv").is_file() {
        for left in lines::<Leftover>(folder, "leftovers.csv")? {
            if let Some(tree) = trees.get_mut(&left.tree) {
                tree.leftovers.push(left);
            }
        }
    }
    let named = trees.into_iter().map(|(name, tree)| {
        // To the minute, as two records may be of one day.
        let date = date.get(..16).unwrap_or(date).replace('T', " ");
        MeasuredTree { name, record: record.to_owned(), date, ..tree }
    });
    Ok(named.collect())
}

fn lines<T: DeserializeOwned>(folder: &Path, name: &str) -> Result<Vec<T>, String> {
    let path = folder.join(name);
    let said = |error: csv::Error| format!("{}: {error}", path.display());
    let mut reader = csv::Reader::from_path(&path).map_err(said)?;
    reader.deserialize().collect::<Result<_, _>>().map_err(said)
}

#[test]
fn docs_take_the_fullest_record_of_each_tree_then_the_newest() {
    let results = tempfile::tempdir().expect("a folder");
    let write = |record: &str, scale: &str, rounds: &str, leftovers: &str| {
        let folder = results.path().join(record);
        fs::create_dir(&folder).expect("a folder");
        let environment = format!("date: {}T10:00:00Z\nscale: {scale}\n", &record[12..22]);
        fs::write(folder.join("environment.txt"), environment).expect("a file");
        let head = "round,tree,contender,seconds,bytes,files,verified,ok\n";
        fs::write(folder.join("rounds.csv"), format!("{head}{rounds}")).expect("a file");
        if !leftovers.is_empty() {
            let head = "tree,contender,disturbance,exit_code,incomplete,missing\n";
            fs::write(folder.join("leftovers.csv"), format!("{head}{leftovers}")).expect("a file");
        }
    };
    let full = "0,one,cp,9,4096,4,yes,yes\n1,one,cp,2,4096,4,no,yes\n2,one,cp,4,4096,4,no,yes\n\
                1,one,stage-ranks,1.5,4096,4,no,yes\n1,one,tar,1,4096,4,no,no\n";
    write("stage-bench-2026-01-01-a", "1", full, "");
    let left =
        "one,cp,full,1,2,0\none,cp,killed,137,1,3\none,tar,killed,0,0,0\nsmall,cp,full,0,0,0\n";
    write("stage-bench-2026-01-02-b", "1", full, left);
    write("stage-bench-2026-01-03-c", "1", "1,one,cp,1,4096,4,no,yes\n", "");
    write("stage-bench-2026-01-04-d", "0.001", full, "");
    let rivals = Rivals::read(results.path()).expect("records");
    let text = format!("before\n{BEGIN}stale\n{}after\n", super::PART_END);
    let new = rivals.renewed(&text).expect("marks");
    for line in [
        "| contender | verified | one: 1 KiB, 1 file |",
        "| `cp -a`, four at once | no | 3.00 [2.50, 3.50] |",
        "| `mpirun -n 4 mpiswarm stage` | yes | 1.50 [1.50, 1.50] |",
        "| `tar \\| tar`, four at once | no | 1 failed |",
        "| record |  | [2026-01-02 10:00](stage-bench-2026-01-02-b) |",
        "| `cp -a`, four at once | a disk full | code 1: 2 wrong, 0 missing |",
        "| `cp -a`, four at once | killed | 1 wrong, 3 missing |",
        "| `tar \\| tar`, four at once | killed | ended before |",
    ] {
        assert!(new.lines().any(|is| is == line), "{line}\n{new}");
    }
    assert!(new.starts_with("before\n") && new.ends_with("after\n") && !new.contains("stale"));
    assert_eq!(rivals.renewed(&new).as_ref(), Ok(&new));
    let picture = rivals.picture();
    assert!(picture.contains("hollow c1") && picture.contains("1.500 s"), "{picture}");
    write("stage-bench-2026-01-05-e", "1", "1,one,cp,fast,4096,4,no,yes\n", "");
    let error = Rivals::read(results.path()).expect_err("a wrong line");
    assert!(error.contains("stage-bench-2026-01-05-e/rounds.csv"), "{error}");
    let error = rivals.renewed(BEGIN).expect_err("no end");
    assert!(error.contains("no end"), "{error}");
}
