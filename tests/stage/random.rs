//! Random trees over ranks, compared by programs that know nothing of this one.
//!
//! `PROPTEST_CASES=1000 cargo nextest run --test stage random` tries more of them.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::{self, File, FileTimes, Permissions};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use proptest::prelude::*;
use proptest::sample::Index;

use super::tree::bytes;
use super::{launch, ranks, temp};

/// Trees in the gate, unless `PROPTEST_CASES` says otherwise.
// Starting three ranks takes a second or two.
const CASES: u32 = 4;

/// What is to lie somewhere.
#[derive(Clone, Debug)]
enum Planned {
    Folder,
    File(usize),
    /// Size, and where data begins.
    Sparse(u64, u64),
    Link(Vec<u8>),
    HardLink(Index),
}

#[derive(Clone, Debug)]
struct PlannedEntry {
    name: Vec<u8>,
    parent: Index,
    what: Planned,
    mode: u32,
    seconds: i64,
    nanos: u32,
}

fn name() -> impl Strategy<Value = Vec<u8>> {
    // Never `/` or NUL.
    let byte = prop_oneof![Just(b'\n'), Just(b'\\'), 1..=b'.', b'0'..=255];
    prop_oneof![
        8 => prop::collection::vec(byte.clone(), 1..12),
        1 => prop::collection::vec(byte, 255..=255),
        1 => Just(b" -rf *\n".to_vec()),
    ]
    .prop_filter("a name", |name| name != b"." && name != b".." && name != b".mpiswarm")
}

fn planned() -> impl Strategy<Value = Planned> {
    let size = prop_oneof![Just(0), 1..200_usize, 16_380..16_390_usize, 65_000..300_000_usize];
    prop_oneof![
        2 => Just(Planned::Folder),
        5 => size.prop_map(Planned::File),
        1 => (1..3_000_000_u64, 0..3_000_000_u64)
            .prop_map(|(bytes, data)| Planned::Sparse(bytes, data)),
        1 => prop::collection::vec(1..=255_u8, 1..300).prop_map(Planned::Link),
        1 => any::<Index>().prop_map(Planned::HardLink),
    ]
}

fn entry() -> impl Strategy<Value = PlannedEntry> {
    let mode = prop_oneof![4 => Just(0o644), 1 => Just(0o7777), 1 => 0..0o1_0000_u32];
    let seconds = prop_oneof![0..2_000_000_000_i64, -2_000_000_000..0_i64];
    (name(), any::<Index>(), planned(), mode, seconds, 0..1_000_000_000_u32).prop_map(
        |(name, parent, what, mode, seconds, nanos)| PlannedEntry {
            name,
            parent,
            what,
            mode,
            seconds,
            nanos,
        },
    )
}

/// Makes what fits together: a name that is taken is left out.
fn grow(root: &Path, plan: &[PlannedEntry]) {
    fs::create_dir(root).expect("it is new");
    let (mut folders, mut files) = (vec![root.to_owned()], Vec::new());
    let mut taken = BTreeSet::new();
    let mut made: Vec<(PathBuf, &PlannedEntry)> = Vec::new();
    for (seed, entry) in (1..).zip(plan) {
        let path = folders[entry.parent.index(folders.len())].join(OsStr::from_bytes(&entry.name));
        if !taken.insert(path.clone()) {
            continue;
        }
        match &entry.what {
            Planned::Folder => {
                fs::create_dir(&path).expect("room");
                folders.push(path.clone());
            }
            Planned::File(size) => fs::write(&path, bytes(*size, seed)).expect("room"),
            Planned::Sparse(size, data) => {
                let file = File::create(&path).expect("room");
                file.set_len(*size).expect("room");
                let end = (data + 9_000).min(*size);
                let payload = bytes(usize::try_from(end.saturating_sub(*data)).expect("few"), seed);
                file.write_all_at(&payload, *data.min(size)).expect("room");
            }
            Planned::Link(target) => {
                symlink(OsStr::from_bytes(target), &path).expect("room");
                // Its own time is set by nothing in std.
                continue;
            }
            Planned::HardLink(first) if !files.is_empty() => {
                let first: &PathBuf = &files[first.index(files.len())];
                fs::hard_link(first, &path).expect("room");
                continue;
            }
            Planned::HardLink(_) => continue,
        }
        if !matches!(entry.what, Planned::Folder) {
            files.push(path.clone());
        }
        made.push((path, entry));
    }
    // Backwards: what lies in a folder comes before its time and mode.
    for (path, PlannedEntry { what, mode, seconds, nanos, .. }) in made.iter().rev() {
        let since = Duration::new(seconds.unsigned_abs(), *nanos);
        let epoch = SystemTime::UNIX_EPOCH;
        let time = if *seconds < 0 { epoch - since } else { epoch + since };
        let file = File::open(path).expect("ours");
        file.set_times(FileTimes::new().set_modified(time)).expect("ours");
        // Whoever is not root could not list a folder that is closed.
        let also = if matches!(what, Planned::Folder) { 0o700 } else { 0o400 };
        fs::set_permissions(path, Permissions::from_mode(mode | also)).expect("ours");
    }
}

/// What rsync and diff say of two trees; nothing where they are the same.
fn judged(left: &Path, right: &Path) -> String {
    let mut rsync = Command::new("rsync");
    rsync.args(["-aHn", "--checksum", "--itemize-changes", "--delete"]);
    rsync.arg(left.join("")).arg(right.join(""));
    let mut diff = Command::new("diff");
    diff.args(["-r", "--no-dereference"]).arg(left).arg(right);
    [rsync, diff]
        .map(|mut judge| {
            let output = judge.output().expect("it was there a moment ago");
            String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
        })
        .concat()
}

#[test]
fn random_trees_arrive_as_they_are() {
    if !launch::can_start_ranks() {
        return;
    }
    let has_rsync = Command::new("rsync").arg("--version").output();
    if !has_rsync.is_ok_and(|output| output.status.success()) {
        println!("skipped: no rsync here (scripts/setup.sh test installs it)");
        return;
    }
    let mut config = ProptestConfig { failure_persistence: None, ..ProptestConfig::default() };
    if std::env::var_os("PROPTEST_CASES").is_none() {
        config.cases = CASES;
    }
    // A case that fails is told as it is: each smaller one would start ranks again.
    config.max_shrink_iters = 0;
    proptest!(config, |(plan in prop::collection::vec(entry(), 0..60))| {
        let (from, to) = (temp(), temp());
        let source = from.path().join("tree");
        grow(&source, &plan);
        ranks(3, to.path(), &[source.as_os_str()]).is(0);
        for rank in 0..3 {
            prop_assert_eq!(judged(&source, &to.path().join(format!("{rank}/tree"))), "");
        }
    });
}
