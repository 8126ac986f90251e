//! Manifests that nobody wrote in earnest: refused by line and reason, in bounded memory and time.

use std::fs::{self, File};
use std::path::Path;
use std::process::Command;

use super::{Ended, PROGRAM, ended, temp};

/// Address space of the program, KiB: far more than it needs, and far less than the numbers in the manifests.
const MEMORY_KIB: &str = "4000000";

fn header(entries: u64, files: u64, bytes: u64) -> String {
    format!(
        r#"{{"format":"mpiswarm manifest","version":1,"segment_bytes":65536,"sources":["t"],"entries":{entries},"files":{files},"bytes":{bytes}}}"#
    )
}

fn entry(path: &str, rest: &str) -> String {
    format!(
        r#"{{"path":"{path}",{rest},"mode":"0755","modified":{{"seconds":-9223372036854775808,"nanos":0}}}}"#
    )
}

const FOLDER: &str = r#""type":"folder""#;

/// `stage --manifest` and `verify --manifest` of a tree `t`.
fn both(dir: &Path, manifest: &Path) -> [Ended; 2] {
    let (tree, to) = (dir.join("t"), dir.join("to"));
    let run = |arguments: &[&std::ffi::OsStr]| {
        let mut command = Command::new("sh");
        command.args(["-c", "ulimit -v \"$1\"; shift; exec timeout 20 \"$@\"", "sh", MEMORY_KIB]);
        ended(command.arg(PROGRAM).args(arguments).arg("--manifest").arg(manifest).output())
    };
    let local = ["stage", "--transport", "local", "--to"].map(AsRef::as_ref);
    [
        run(&[&local[..], &[to.as_ref(), tree.as_ref()]].concat()),
        run(&["verify".as_ref(), tree.as_ref()]),
    ]
}

fn folder() -> tempfile::TempDir {
    let dir = temp();
    fs::create_dir_all(dir.path().join("t/a")).expect("room");
    fs::write(dir.path().join("t/f"), "x").expect("room");
    fs::create_dir(dir.path().join("to")).expect("room");
    dir
}

#[test]
fn hostile_manifests_are_refused_by_line_and_reason() {
    let dir = folder();
    let path = dir.path().join("m");
    let file = |bytes: u64| format!(r#""type":"file","bytes":{bytes}"#);
    let link = r#""type":"link","target":"/etc""#;
    let long = "n".repeat(10 << 20);
    let top = entry("t", FOLDER);
    let two = |second: String| format!("{}\n{top}\n{second}\n", header(2, 0, 0));
    let three =
        |second: String, third: String| format!("{}\n{top}\n{second}\n{third}\n", header(3, 0, 0));
    let cases = [
        (two(entry("t/../x", FOLDER)), 3, "a component `.` or `..`"),
        (two(entry("/etc", FOLDER)), 3, "an empty component"),
        (three(entry("t/l", link), entry("t/l/passwd", FOLDER)), 4, "lies in no folder"),
        (three(entry("t/f", &file(1)), entry("t/f/x", FOLDER)), 4, "lies in no folder"),
        (three(entry("t/a", FOLDER), entry("t/a", FOLDER)), 4, "comes twice"),
        (two(entry("u", FOLDER)), 1, "sources, entries, files or bytes"),
        (two(entry("t/f", r#""type":"file","bytes":18446744073709551616"#)), 3, "invalid type"),
        (two(entry("t/f", r#""type":"file","bytes":-1"#)), 3, "invalid value"),
        (two(entry("t/f", FOLDER).replace("\"nanos\":0", "\"nanos\":-1")), 3, "invalid value"),
        (two(entry(&format!("t/{long}"), FOLDER)), 3, "a component of more than 255 bytes"),
        (two(entry("t/a", FOLDER).replace("path", &long)), 3, "missing field `path`"),
        (format!("{}\n{top}\n", header(1_000_000_000, 0, 0)), 1, "more than 67108864 entries"),
        (format!("{}\n{top}\n", header(2, 0, 0)), 3, "the file was cut off"),
    ];
    for (text, line, why) in cases {
        fs::write(&path, text).expect("room");
        for ended in both(dir.path(), &path) {
            ended.is(2).says(&format!("m:{line}: ")).says(why);
            assert!(ended.stderr.len() < 4000, "{why}: {} bytes", ended.stderr.len());
        }
    }
    assert_eq!(fs::read_dir(dir.path().join("to")).expect("ours").count(), 0, "nothing is written");
}

#[test]
fn sizes_and_times_beyond_all_files_are_differences() {
    let dir = folder();
    let path = dir.path().join("m");
    for bytes in [1 << 63, u64::MAX] {
        let file = entry("t/f", &format!(r#""type":"file","bytes":{bytes}"#));
        let text = format!("{}\n{}\n{file}\n", header(2, 1, bytes), entry("t", FOLDER));
        fs::write(&path, text).expect("room");
        let [staged, verified] = both(dir.path(), &path);
        staged.is(2).says("--manifest: t: ");
        assert!(verified.is(1).stdout.contains(&format!("t/f: size: 1 bytes, not {bytes} bytes")));
        assert!(verified.stdout.contains("not -9223372036854775808.000000000 s"));
    }
}

#[test]
fn what_never_ends_is_no_manifest() {
    let dir = folder();
    let fifo = dir.path().join("fifo");
    let made = Command::new("mkfifo").arg(&fifo).status();
    assert!(made.is_ok_and(|status| status.success()));
    for path in [&fifo, Path::new("/dev/zero")] {
        for ended in both(dir.path(), path) {
            ended.is(2).says(": not a file: name a manifest");
        }
    }
    // A file that goes on behind what its header says, in one line and in many.
    let endless = dir.path().join("endless");
    let text = format!("{}\n{}\n", header(1, 0, 0), entry("t", FOLDER));
    fs::write(&endless, &text).expect("room");
    let file = File::options().write(true).open(&endless).expect("ours");
    file.set_len(1 << 40).expect("holes take no room");
    for ended in both(dir.path(), &endless) {
        ended.is(2).says("endless:3: a line of more than 16777216 bytes");
    }
    fs::write(&endless, text + &"{}\n".repeat(100_000)).expect("room");
    for ended in both(dir.path(), &endless) {
        ended.is(2).says("endless:1: sources, entries, files or bytes");
    }
}

#[test]
fn a_file_that_is_all_hole_takes_no_memory_whatever_its_size() {
    // Most file systems end at 16 TiB; a tmpfs does not.
    let Ok(dir) = tempfile::tempdir_in("/dev/shm") else {
        println!("skipped: no /dev/shm here");
        return;
    };
    let tree = dir.path().join("t");
    fs::create_dir(&tree).expect("room");
    for name in ["a", "b"] {
        let file = File::create(tree.join(name)).expect("room");
        if file.set_len(i64::MAX.unsigned_abs()).is_err() {
            println!("skipped: /dev/shm has no files of 2^63 bytes");
            return;
        }
    }
    let run = |arguments: &[&std::ffi::OsStr]| {
        let mut command = Command::new("sh");
        command.args(["-c", "ulimit -v \"$1\"; shift; exec timeout 60 \"$@\"", "sh", MEMORY_KIB]);
        ended(command.arg(PROGRAM).args(arguments).output())
    };
    let [x, y] = ["x", "y"].map(|name| dir.path().join(name));
    let options = ["stage", "--transport", "local", "--mkdir", "--to"].map(AsRef::as_ref);
    let stage = [&options[..], &[x.as_ref(), "--to".as_ref(), y.as_ref(), tree.as_ref()]].concat();
    run(&stage).is(0);
    let staged = |name: &str| fs::metadata(x.join("t").join(name)).expect("it is there");
    assert_eq!(staged("a").len(), i64::MAX.unsigned_abs());
    run(&["verify".as_ref(), x.as_ref()]).is(0);
    // Without the manifest of the first run the files that are kept are hashed again.
    fs::remove_file(x.join(".mpiswarm/t.manifest")).expect("ours");
    run(&stage).is(0);
    run(&["verify".as_ref(), x.as_ref()]).is(0);
    run(&["manifest".as_ref(), tree.as_ref()]).is(0);
}
