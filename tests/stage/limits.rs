//! What a stage of several ranks may cost, as the kernel counts it: bytes read, memory, bytes moved again.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use super::tree::{bytes, differences};
use super::{Ended, PROGRAM, ended, here, launch, temp};

const RANKS: u32 = 4;

/// How often a test looks at ranks that run.
const REST: Duration = Duration::from_millis(5);

/// A rank within a shell that leaves its process number in `$0/pid.RANK`, and in `$0/io.RANK` what the kernel
/// has counted when the rank has ended: a shell has the input and output of the children that it waited for.
const WATCHED: &str = r#"
rank=${PMIX_RANK:-$PMI_RANK}
"$@" &
echo $! >"$0/pid.$rank"
wait $!
code=$?
cat /proc/$$/io >"$0/io.$rank"
exit $code
"#;

/// A stage by ranks that are watched; rank R writes into the folder R of `base`.
struct Watched {
    job: Child,
    /// Where the shells leave what they know.
    notes: tempfile::TempDir,
}

impl Watched {
    fn start(source: &Path, base: &Path, options: &[&str]) -> Self {
        let notes = temp();
        let mut command = launch::ranks(RANKS, "timeout");
        command.args(["300", "sh", "-c", WATCHED]).arg(notes.path());
        command.args([PROGRAM, "stage", "--json", "--quiet", "--mkdir", "--to"]);
        command.arg(base.join("{rank}")).args(options).arg(source);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        Self { job: command.spawn().expect("it starts"), notes }
    }

    /// Bytes that all ranks have read.
    fn end(self) -> (Ended, u64) {
        let ended = ended(self.job.wait_with_output());
        let read = (0..RANKS).map(|rank| {
            let io = fs::read_to_string(self.notes.path().join(format!("io.{rank}")));
            number(&io.expect("each rank leaves it"), "rchar:").expect("the kernel counts")
        });
        let read = read.sum();
        (ended, read)
    }

    /// The process of a rank, once it has begun.
    fn process(&self, rank: u32) -> Option<u32> {
        let text = fs::read_to_string(self.notes.path().join(format!("pid.{rank}"))).ok()?;
        text.trim().parse().ok()
    }

    /// The most memory that each rank has had, bytes: its own, and its share of what ranks share (PSS).
    fn memory(&mut self) -> Vec<u64> {
        let mut most = vec![0; RANKS as usize];
        while self.job.try_wait().expect("it is ours").is_none() {
            for (rank, most) in (0..).zip(&mut most) {
                let now = self.process(rank).and_then(|process| {
                    let path = format!("/proc/{process}/smaps_rollup");
                    number(&fs::read_to_string(path).ok()?, "Pss:")
                });
                *most = now.unwrap_or_default().max(*most);
            }
            thread::sleep(REST);
        }
        most.iter().map(|kibibytes| kibibytes << 10).collect()
    }
}

/// The number behind a word at the beginning of a line.
fn number(text: &str, word: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(word))?;
    line.split_whitespace().next()?.parse().ok()
}

/// A source of one file.
fn large(dir: &Path, mebibytes: u64) -> PathBuf {
    let source = dir.join("tree");
    fs::create_dir(&source).expect("a folder");
    let file = fs::File::create(source.join("large")).expect("a file");
    for place in 0..mebibytes {
        file.write_all_at(&bytes(1 << 20, place), place << 20).expect("there is room");
    }
    source
}

fn check(source: &Path, base: &Path) {
    for rank in 0..RANKS {
        let staged = base.join(format!("{rank}/tree"));
        assert_eq!(differences(source, &staged), [""; 0], "rank {rank}");
    }
}

#[test]
fn the_kernel_counts_that_a_shared_source_is_read_once_in_all() {
    if !launch::can_start_ranks() {
        return;
    }
    let (from, empty, to) = (temp(), temp(), temp());
    let total = 24_u64;
    let read = |source: &Path, base: &Path| {
        let (ended, read) = Watched::start(source, base, &["--from", "all"]).end();
        ended.is(0);
        read
    };
    let source = large(from.path(), total);
    let without = read(&large(empty.path(), 0), &to.path().join("empty"));
    let base = to.path().join("full");
    let with = read(&source, &base);
    check(&source, &base);
    let share = (with - without) as f64 / (total << 20) as f64;
    assert!((1.0..=1.02).contains(&share), "{share} x the source: {with} - {without}");
}

/// A number of the environment, for larger runs by hand.
fn from_environment(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// By hand, as large as the disk allows: `STAGE_TREE_MIB=8192 STAGE_MEMORY_MIB=256 TMPDIR=/a/disk cargo nextest
/// run --cargo-profile gate --test stage --no-capture -E 'test(memory_of_a_rank)'`.
#[test]
fn the_memory_of_a_rank_does_not_grow_with_the_tree() {
    if !launch::can_start_ranks() {
        return;
    }
    let (from, empty, to) = (temp(), temp(), temp());
    let memory = from_environment("STAGE_MEMORY_MIB", 16);
    let source = large(from.path(), from_environment("STAGE_TREE_MIB", 128));
    let most = |source: &Path, base: &Path| {
        let mut watched = Watched::start(source, base, &["--memory", &format!("{memory}M")]);
        let most = watched.memory();
        watched.end().0.is(0);
        most
    };
    let without = most(&large(empty.path(), 0), &to.path().join("empty"));
    let base = to.path().join("full");
    let with = most(&source, &base);
    let pairs = with.iter().zip(&without);
    let beyond: Vec<u64> =
        pairs.map(|(with, without)| with.saturating_sub(*without) >> 20).collect();
    println!("MiB of each rank beyond that of an empty tree: {beyond:?}");
    assert!(with.iter().all(|&most| most > 0), "each was seen: {with:?}");
    let allowed = memory + 64;
    assert!(beyond.iter().all(|&most| most <= allowed), "{beyond:?} MiB, {allowed} are allowed");
    let staged = to.path().join("full/3/tree/large");
    let length = |path: &Path| fs::metadata(path).expect("a file").len();
    assert_eq!(length(&staged), length(&source.join("large")));
}

/// Bytes in the journal of an attempt that has not ended, if there is one.
fn journal_bytes(to: &Path) -> u64 {
    let names = fs::read_dir(to.join(".mpiswarm")).into_iter().flatten().flatten();
    names.filter_map(|name| fs::metadata(name.path().join("journal")).ok()).map(|m| m.len()).sum()
}

#[test]
fn a_rerun_moves_what_the_killed_run_has_not() {
    if !launch::can_start_ranks() {
        return;
    }
    let (mebibytes, options) = (16_u64, ["--segment-bytes", "64K"]);
    let from = temp();
    let source = large(from.path(), mebibytes);
    // Records of half the segments: kind, number, digest, and checksum (`tree/destination/journal.rs`).
    let half = (mebibytes << 20) / (64 << 10) / 2 * (1 + 4 + 32 + 8);
    // It takes some seconds, so that it can be killed in the middle, on a busy machine too; and its source has memory
    // to read a quarter of the tree ahead, so that it is not whole long before the others.
    let slowly = [&options[..], &["--limit-rate", "8M", "--memory", "8M"]].concat();
    // A run that ends before it is killed says nothing: another is tried.
    for _ in 0..10 {
        let to = temp();
        let mut watched = Watched::start(&source, to.path(), &slowly);
        let folders: Vec<_> = (0..RANKS).map(|rank| to.path().join(rank.to_string())).collect();
        while watched.job.try_wait().expect("it is ours").is_none() {
            if folders.iter().all(|folder| journal_bytes(folder) >= half) {
                break;
            }
            thread::sleep(REST);
        }
        for process in (0..RANKS).filter_map(|rank| watched.process(rank)) {
            let kill = Command::new("kill").args(["-KILL", &process.to_string()]).output();
            kill.expect("it starts");
        }
        drop(watched.job.wait_with_output());
        if folders.iter().any(|folder| folder.join("tree").exists()) {
            continue;
        }
        let ended = Watched::start(&source, to.path(), &options).end().0;
        let json = ended.is(0).json();
        check(&source, to.path());
        let (moved, resumed) = (json["bytes_moved"].as_u64(), json["bytes_resumed"].as_u64());
        // Without the first run, rank 0 reads all, and the others are sent all.
        let whole = u64::from(RANKS - 1) * (mebibytes << 20);
        assert!(moved.is_some_and(|moved| moved <= whole * 55 / 100), "{json}");
        let kept = u64::from(RANKS) * (mebibytes << 20) * 45 / 100;
        assert!(resumed.is_some_and(|resumed| resumed >= kept), "{json}");
        return;
    }
    panic!("every run ended before it was killed");
}

#[test]
fn memory_for_too_few_segments_is_refused() {
    let (from, to) = (temp(), temp());
    let source = large(from.path(), 1);
    let mut arguments = vec![source.as_os_str(), "--to".as_ref(), to.path().as_os_str()];
    arguments.extend(["--memory", "16M", "--segment-bytes", "8M"].map(OsStr::new));
    here(arguments).is(2).says("--memory 16777216: segments of 8388608 bytes need ");
    assert_eq!(fs::read_dir(to.path()).expect("a folder").count(), 0);
}

#[test]
fn ranks_of_one_host_share_what_is_free_on_a_file_system() {
    if !launch::can_start_ranks() {
        return;
    }
    let (from, small) = (temp(), temp());
    let source = large(from.path(), 8);
    // Each of the two would have room alone.
    let script = r#"mount -t tmpfs -o size=12m tmpfs "$0" || exit 77; "$@"; code=$?
                    cmp "$0/0/tree/large" "$TREE/large" || exit 78; exit $code"#;
    let staging = launch::ranks(2, PROGRAM);
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", script]).arg(small.path()).env("TREE", &source);
    command.arg(staging.get_program()).args(staging.get_args());
    command
        .args(["stage", "--json", "--mkdir", "--to"])
        .arg(small.path().join("{rank}"))
        .arg(&source);
    let ended = ended(command.output());
    if ended.code == Some(77) || ended.stderr.starts_with("unshare:") {
        return;
    }
    let json = ended.is(1).says(" for other folders of this file system: make room").json();
    assert_eq!(json["nodes"][0]["state"], "complete", "{json}");
    assert_eq!(json["nodes"][1]["state"], "failed", "{json}");
}
