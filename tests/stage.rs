//! Real trees, staged by real processes: without MPI to several folders of this machine, and by ranks of
//! an MPI job.

#[path = "stage/tree.rs"]
mod tree;
#[path = "stage/cloning.rs"]
mod cloning;
#[path = "stage/disks.rs"]
mod disks;
#[path = "stage/dry_run.rs"]
mod dry_run;
#[cfg(feature = "mpi")]
#[path = "stage/compressed.rs"]
mod compressed;
#[cfg(feature = "mpi")]
#[path = "stage/each.rs"]
mod each;
#[path = "stage/deciding.rs"]
mod deciding;
#[path = "stage/faults.rs"]
mod faults;
#[path = "stage/handout_threads.rs"]
mod handout_threads;
#[path = "stage/manifests.rs"]
mod manifests;
#[path = "stage/observed.rs"]
mod observed;
#[path = "stage/parts.rs"]
mod parts;
#[cfg(feature = "mpi")]
#[path = "stage/random.rs"]
mod random;
#[path = "stage/attributes.rs"]
mod attributes;
#[path = "stage/links.rs"]
mod links;
#[path = "stage/selection.rs"]
mod selection;
#[cfg(feature = "mpi")]
#[path = "stage/resuming.rs"]
mod resuming;
#[path = "stage/together.rs"]
mod together;
#[path = "stage/folding.rs"]
mod folding;
#[path = "stage/writers.rs"]
mod writers;
#[cfg(feature = "mpi")]
mod launch;
#[cfg(feature = "mpi")]
#[path = "stage/limits.rs"]
mod limits;
#[cfg(feature = "mpi")]
#[path = "stage/rates.rs"]
mod rates;

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::{FileExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tree::{differences, entries, plant};

const PROGRAM: &str = env!("CARGO_BIN_EXE_mpiswarm");

struct Ended {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

impl Ended {
    fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|error| panic!("{error}: {}{}", self.stdout, self.stderr))
    }

    fn is(&self, code: i32) -> &Self {
        assert_eq!(self.code, Some(code), "{}{}", self.stdout, self.stderr);
        self
    }

    fn says(&self, what: &str) -> &Self {
        assert!(self.stderr.contains(what), "{what}: {}", self.stderr);
        self
    }
}

fn ended(output: std::io::Result<Output>) -> Ended {
    let output = output.expect("it starts");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ended { code: output.status.code(), stdout: text(&output.stdout), stderr: text(&output.stderr) }
}

/// Stages within one process.
fn here<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>) -> Ended {
    let mut command = Command::new("timeout");
    command.args(["60", PROGRAM, "stage", "--transport", "local", "--json"]);
    ended(command.args(arguments).output())
}

/// Stages by ranks, each with the folder `{rank}` of `base`.
#[cfg(feature = "mpi")]
fn ranks(count: u32, base: &Path, arguments: &[&OsStr]) -> Ended {
    let mut command = launch::ranks(count, "timeout");
    command.args(["60", PROGRAM, "stage", "--json", "--to"]).arg(base.join("{rank}"));
    ended(command.arg("--mkdir").args(arguments).output())
}

fn temp() -> tempfile::TempDir {
    tempfile::tempdir().expect("a folder")
}

/// A source `tree` in a folder, with something of every kind.
fn source(dir: &Path) -> PathBuf {
    let source = dir.join("tree");
    plant(&source, 1);
    source
}

#[test]
fn a_tree_of_every_kind_arrives_bit_for_bit() {
    let (from, to) = (temp(), temp());
    let source = source(from.path());
    let ended = here([source.as_os_str(), OsStr::new("--to"), to.path().as_os_str()]);
    let json = ended.is(0).json();
    assert_eq!(differences(&source, &to.path().join("tree")), [""; 0]);
    assert_eq!(
        (&json["verified"], &json["bytes_unverified"]),
        (&serde_json::json!(true), &serde_json::json!(0))
    );
    assert_eq!(json["schema"], 1);
    let node = json["nodes"][0].as_object().expect("an object");
    assert_eq!(node["state"], "complete");
    let names: Vec<_> = node.keys().map(String::as_str).collect();
    let expected = "cloned_bytes complete_destinations destinations host kept_bytes moved_bytes rank reason resumed_bytes \
        sent_bytes served_bytes source_read_bytes state tree_bytes written_by";
    assert_eq!(names.join(" "), expected);
    assert_eq!(node["source_read_bytes"], json["source_bytes_read"]);
    let manifest = to.path().join(".mpiswarm/tree.manifest");
    assert!(manifest.is_file(), "the done marker is there");
}

#[test]
fn several_destinations_of_one_process_get_the_same() {
    let (from, to) = (temp(), temp());
    let source = source(from.path());
    let dirs: Vec<_> = (0..3).map(|number| to.path().join(number.to_string())).collect();
    let mut arguments = vec![source.clone().into_os_string(), "--mkdir".into()];
    for dir in &dirs {
        arguments.extend(["--to".into(), dir.clone().into_os_string()]);
    }
    let json = here(&arguments).is(0).json();
    for dir in &dirs {
        assert_eq!(differences(&source, &dir.join("tree")), [""; 0]);
    }
    let (read, total) = (&json["source_bytes_read"], &json["bytes_total"]);
    assert!(read.as_u64() <= total.as_u64(), "read once: {json}");
    assert_eq!(json["nodes"][0]["complete_destinations"], 3, "{json}");
    // They are what a person is told of, and not the one rank.
    let told = |code: i32, verdict: &str| {
        let mut command = Command::new(PROGRAM);
        command.args(["stage", "--transport", "local"]).args(&arguments);
        let ended = ended(command.output());
        assert!(ended.is(code).stdout.contains(&format!("\n{verdict}")), "{}", ended.stdout);
    };
    told(0, "all 3 folders of 1 rank have everything, verified, but for ");
    fs::remove_dir_all(&dirs[1]).expect("it is there");
    fs::write(&dirs[1], "no folder").expect("there is room");
    told(1, "2 of 3 folders of 1 rank have everything; 1 failed");
    let json = here(&arguments).is(1).json();
    assert_eq!(json["nodes"][0]["complete_destinations"], 2, "{json}");
}

#[test]
fn what_is_named_twice_is_staged_once() {
    let (from, to) = (temp(), temp());
    let source = source(from.path());
    let (dir, link) = (to.path().join("dir"), to.path().join("link"));
    std::os::unix::fs::symlink(&dir, &link).expect("a link");
    fs::create_dir(&dir).expect("a folder");
    let mut arguments = vec![source.clone(), source.join("."), "--mkdir".into()];
    for dir in [dir.join("new"), link.join("new"), dir.join("./new"), dir.join("other")] {
        arguments.extend(["--to".into(), dir]);
    }
    let json = here(&arguments).is(0).json();
    let node = &json["nodes"][0];
    assert_eq!(node["destinations"].as_array().map(Vec::len), Some(2), "{json}");
    assert_eq!(node["complete_destinations"], 2, "{json}");
    for name in ["new", "other"] {
        assert_eq!(differences(&source, &dir.join(name).join("tree")), [""; 0]);
    }
    // Names that differ are two, though they lead to one folder.
    let alias = from.path().join("alias");
    std::os::unix::fs::symlink(&source, &alias).expect("a link");
    here([source.as_os_str(), alias.as_os_str(), OsStr::new("--to"), dir.as_os_str()]).is(0);
    assert_eq!(differences(&source, &dir.join("alias")), [""; 0]);
    // And one name of two folders stands for neither.
    let twin = from.path().join("deeper/tree");
    fs::create_dir_all(&twin).expect("a folder");
    let ended = here([source.as_os_str(), twin.as_os_str(), OsStr::new("--to"), dir.as_os_str()]);
    assert!(ended.is(2).stderr.contains("have one name"), "{}", ended.stderr);
}

#[test]
fn a_second_run_moves_and_reads_nothing() {
    let (from, to) = (temp(), temp());
    let source = source(from.path());
    let arguments = [source.as_os_str(), OsStr::new("--to"), to.path().as_os_str()];
    here(arguments).is(0);
    let manifest = to.path().join(".mpiswarm/tree.manifest");
    let inode = || fs::metadata(&manifest).expect("the done marker is there").ino();
    let before = inode();
    let json = here(arguments).is(0).json();
    assert_eq!(json["source_bytes_read"], 0, "{json}");
    // Nobody has read what is there.
    assert_eq!(
        (&json["verified"], &json["bytes_unverified"]),
        (&serde_json::json!(false), &json["bytes_kept"])
    );
    assert!(json["bytes_kept"].as_u64() > Some(0), "{json}");
    let by_content = here(arguments.into_iter().chain([OsStr::new("--checksum")])).is(0).json();
    assert_eq!(
        (&by_content["verified"], &by_content["bytes_unverified"]),
        (&serde_json::json!(true), &serde_json::json!(0))
    );
    assert_eq!(inode(), before, "what is the same is not written again");
    assert_eq!(differences(&source, &to.path().join("tree")), [""; 0]);
}

#[test]
fn what_changed_is_brought_up_to_date() {
    let (from, to) = (temp(), temp());
    let source = source(from.path());
    let arguments = [source.as_os_str(), OsStr::new("--to"), to.path().as_os_str()];
    here(arguments).is(0);
    fs::write(source.join("small"), "other words").expect("a file");
    fs::remove_file(source.join("folder/plain")).expect("it is there");
    fs::write(source.join("new"), vec![7; 100_000]).expect("a file");
    here(arguments).is(0);
    let staged = to.path().join("tree");
    assert_eq!(fs::read(staged.join("small")).expect("a file"), b"other words");
    assert!(staged.join("folder/plain").exists(), "nothing is deleted unasked");
    let mut deleting = arguments.to_vec();
    deleting.push(OsStr::new("--delete"));
    here(deleting).is(0);
    assert_eq!(differences(&source, &staged), [""; 0]);
}

#[test]
fn a_missing_destination_is_refused_unless_it_may_be_made() {
    let (from, to) = (temp(), temp());
    let source = source(from.path());
    let missing = to.path().join("no/such");
    let ended = here([source.as_os_str(), OsStr::new("--to"), missing.as_os_str()]);
    ended.is(2).says("no/such");
    assert!(!missing.exists());
}

#[test]
fn sources_and_destinations_must_not_contain_each_other() {
    let from = temp();
    let source = source(from.path());
    let inside = source.join("folder");
    let ended = here([source.as_os_str(), OsStr::new("--to"), inside.as_os_str()]);
    ended.is(2).says("inside");
    let ended = here([source.as_os_str(), OsStr::new("--to"), from.path().as_os_str()]);
    ended.is(2);
}

#[test]
fn a_source_that_is_not_as_its_manifest_says_is_refused() {
    let (from, to) = (temp(), temp());
    let source = source(from.path());
    let manifest = from.path().join("m");
    let mut listing = Command::new(PROGRAM);
    listing.arg("manifest").arg(&source).arg("--out").arg(&manifest);
    ended(listing.output()).is(0);
    let mut arguments = vec![source.as_os_str(), OsStr::new("--to"), to.path().as_os_str()];
    arguments.extend([OsStr::new("--manifest"), manifest.as_os_str()]);
    here(&arguments).is(0);
    let file = fs::File::options().write(true).open(source.join("large")).expect("a file");
    let modified = file.metadata().and_then(|found| found.modified()).expect("a time");
    file.write_all_at(b"x", 77).expect("there is room");
    file.set_modified(modified).expect("it is ours");
    here(&arguments).is(2).says("large: its content is another");
    fs::remove_file(source.join("small")).expect("it is there");
    // The folder that lost it comes first, with another time.
    here(&arguments).is(2).says("--manifest: tree: ");
}

#[test]
fn little_memory_is_enough_for_much() {
    let (from, to) = (temp(), temp());
    let source = from.path().join("tree");
    fs::create_dir(&source).expect("a folder");
    let file = fs::File::create(source.join("large")).expect("a file");
    for place in 0..64_u64 {
        let bytes = tree::bytes(1 << 20, place);
        file.write_all_at(&bytes, place << 20).expect("there is room");
    }
    let mut arguments = vec![source.as_os_str(), OsStr::new("--to"), to.path().as_os_str()];
    arguments.extend(["--memory", "4M", "--segment-bytes", "256K"].map(OsStr::new));
    here(arguments).is(0);
    assert_eq!(differences(&source, &to.path().join("tree")), [""; 0]);
}

#[cfg(feature = "mpi")]
mod mpi {
    use super::*;

    #[test]
    fn every_rank_gets_the_tree() {
        if !launch::can_start_ranks() {
            return;
        }
        let (from, to) = (temp(), temp());
        let source = source(from.path());
        let json = ranks(4, to.path(), &[source.as_os_str()]).is(0).json();
        for rank in 0..4 {
            let staged = to.path().join(format!("{rank}/tree"));
            assert_eq!(differences(&source, &staged), [""; 0], "rank {rank}");
        }
        assert_eq!(json["nodes"].as_array().map(Vec::len), Some(4));
        let (read, total) = (json["source_bytes_read"].as_u64(), json["bytes_total"].as_u64());
        assert!(read <= total, "the source is read once: {json}");
    }

    #[test]
    fn all_ranks_read_a_shared_source_once_in_all() {
        if !launch::can_start_ranks() {
            return;
        }
        let (from, to) = (temp(), temp());
        let source = source(from.path());
        let arguments = ["--from", "all"].map(OsStr::new);
        let json = ranks(3, to.path(), &[source.as_os_str(), arguments[0], arguments[1]]);
        let json = json.is(0).json();
        for rank in 0..3 {
            let staged = to.path().join(format!("{rank}/tree"));
            assert_eq!(differences(&source, &staged), [""; 0], "rank {rank}");
        }
        let (read, total) = (json["source_bytes_read"].as_u64(), json["bytes_total"].as_u64());
        assert!(read <= total.map(|total| total + total / 50), "{json}");
    }

    #[test]
    fn one_rank_writes_what_several_share() {
        if !launch::can_start_ranks() {
            return;
        }
        let (from, to) = (temp(), temp());
        let source = source(from.path());
        let mut command = launch::ranks(3, "timeout");
        command.args(["60", PROGRAM, "stage", "--json", "--to"]).arg(to.path()).arg(&source);
        let json = ended(command.output()).is(0).json();
        assert_eq!(differences(&source, &to.path().join("tree")), [""; 0]);
        assert_eq!(json["nodes"][1]["written_by"], 0, "{json}");
    }

    #[test]
    fn a_rank_without_its_folder_drops_out_by_name() {
        if !launch::can_start_ranks() {
            return;
        }
        let (from, to) = (temp(), temp());
        let source = source(from.path());
        for rank in [0, 2] {
            fs::create_dir(to.path().join(rank.to_string())).expect("a folder");
        }
        let mut command = launch::ranks(3, "timeout");
        command.args(["60", PROGRAM, "stage", "--json", "--to"]).arg(to.path().join("{rank}"));
        let ended = ended(command.arg(&source).output());
        let json = ended.is(1).says("rank 1").json();
        assert_eq!(json["nodes"][1]["state"], "failed");
        for rank in [0, 2] {
            let staged = to.path().join(format!("{rank}/tree"));
            assert_eq!(differences(&source, &staged), [""; 0], "rank {rank}");
        }
    }

    #[test]
    fn a_source_that_is_missing_is_refused() {
        if !launch::can_start_ranks() {
            return;
        }
        let to = temp();
        let ended = ranks(3, to.path(), &[OsStr::new("/no/such/source")]);
        ended.is(2).says("/no/such/source");
    }
}

#[test]
fn the_source_stays_as_it_was() {
    let (from, to) = (temp(), temp());
    let source = source(from.path());
    let before = entries(&source);
    here([source.as_os_str(), OsStr::new("--to"), to.path().as_os_str()]).is(0);
    assert_eq!(entries(&source), before);
    let mode = fs::metadata(source.join("small")).expect("a file").permissions().mode();
    assert_ne!(mode, 0);
    assert_ne!(fs::metadata(&source).expect("a folder").ino(), 0);
}
