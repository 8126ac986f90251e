//! Runs that are disturbed: killed, interrupted, given a source that changes or folders that can't be had.

use std::ffi::OsStr;
use std::fs::{self, File, Permissions};
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::{FileExt as _, PermissionsExt as _, symlink};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use super::tree::{bytes, differences};
use super::{Ended, PROGRAM, ended, here, source, temp};

/// How often a test looks whether something has happened.
pub(crate) const REST: Duration = Duration::from_millis(5);

/// A stage that runs.
pub(crate) struct Running(Child);

impl Running {
    fn start(source: &Path, to: &Path) -> Self {
        Self::with(source, to, &[])
    }

    pub(crate) fn with(source: &Path, to: &Path, options: &[&OsStr]) -> Self {
        let mut command = Command::new(PROGRAM);
        command.args([
            "stage",
            "--transport",
            "local",
            "--json",
            "--quiet",
            "--segment-bytes",
            "64K",
        ]);
        command.arg(source).arg("--to").arg(to).args(options);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        Self(command.spawn().expect("it starts"))
    }

    /// Starts a stage that has listed its source and waits for a destination, until the lock is dropped.
    fn waiting(source: &Path, to: &Path) -> (Self, File) {
        let control = to.join(".mpiswarm");
        fs::create_dir_all(&control).expect("a folder");
        let lock = File::create(control.join("lock")).expect("a file");
        lock.lock().expect("it is free");
        let mut running = Self::start(source, to);
        let line = running.first_line();
        assert!(line.contains("waits for another run"), "{line}");
        (running, lock)
    }

    /// The first line that it says to the user.
    pub(crate) fn first_line(&mut self) -> String {
        let mut line = String::new();
        let stderr = self.0.stderr.as_mut().expect("a pipe");
        // Byte by byte: what follows is read later.
        let read = BufReader::with_capacity(1, stderr).read_line(&mut line);
        assert!(read.is_ok(), "{read:?}");
        line
    }

    pub(crate) fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([name, &self.0.id().to_string()]).status();
        assert!(sent.is_ok_and(|status| status.success()));
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.0.try_wait().expect("it is ours").is_none()
    }

    /// How many threads it has; 0 where it has ended.
    pub(crate) fn threads(&self) -> usize {
        let threads = fs::read_dir(format!("/proc/{}/task", self.0.id()));
        threads.map_or(0, Iterator::count)
    }

    pub(crate) fn end(self) -> Ended {
        ended(self.0.wait_with_output())
    }
}

/// A source of a few hundred segments, larger than what is in flight.
pub(crate) fn large_source(dir: &Path) -> PathBuf {
    let source = source(dir);
    let file = File::create(source.join("larger")).expect("a file");
    for place in 0..24_u64 {
        let bytes = bytes(1 << 20, place);
        file.write_all_at(&bytes, place << 20).expect("there is room");
    }
    source
}

/// Bytes in the journal of a partial tree, if there is one.
pub(crate) fn journal_bytes(to: &Path) -> u64 {
    let names = fs::read_dir(to.join(".mpiswarm")).into_iter().flatten().flatten();
    names.filter_map(|name| fs::metadata(name.path().join("journal")).ok()).map(|m| m.len()).sum()
}

fn partial_trees(to: &Path) -> usize {
    let names = fs::read_dir(to.join(".mpiswarm")).expect("a folder").flatten();
    names.filter(|name| name.file_name().to_string_lossy().ends_with(".partial")).count()
}

#[test]
fn a_run_that_is_killed_goes_on_where_it_was() {
    let from = temp();
    let source = large_source(from.path());
    // Records of segments in the journal that there are at the time of the kill, about.
    for records in [10_u64, 100, 250] {
        let to = temp();
        let running = Running::start(&source, to.path());
        while journal_bytes(to.path()) < records * 45 && !to.path().join("tree").exists() {
            thread::sleep(REST);
        }
        running.signal("-KILL");
        let killed = running.end();
        let staged = to.path().join("tree");
        if staged.exists() {
            assert_eq!(differences(&source, &staged), [""; 0], "whole or not at all");
        }
        let arguments = [source.as_os_str(), "--to".as_ref(), to.path().as_os_str()];
        let json = here(arguments).is(0).json();
        assert_eq!(differences(&source, &staged), [""; 0]);
        assert_eq!(partial_trees(to.path()), 0);
        let number = |name: &str| json[name].as_u64().expect("a number");
        if killed.code.is_none() && number("bytes_kept") == 0 {
            // A record is 45 bytes or more; its segment has 64 KiB, but for packed ones.
            assert!(number("bytes_resumed") > 0, "{json}");
            let read = number("bytes_total") - number("bytes_resumed");
            assert!(number("source_bytes_read") <= read, "{json}");
        }
    }
}

#[test]
fn a_run_that_is_killed_goes_on_when_a_few_files_have_changed() {
    let from = temp();
    let source = large_source(from.path());
    // A run that ends before it is killed says nothing: another is tried.
    for attempt in 0..10 {
        let to = temp();
        let running = Running::start(&source, to.path());
        // About half of the segments: a record of a small file has 32 bytes, one of a segment 45 more.
        while journal_bytes(to.path()) < 311 * 32 + 230 * 45 && !to.path().join("tree").exists() {
            thread::sleep(REST);
        }
        running.signal("-KILL");
        running.end();
        if to.path().join("tree").exists() {
            continue;
        }
        fs::write(source.join("small"), format!("other words {attempt}")).expect("a file");
        fs::write(source.join("folder/deep/a new one"), bytes(9_000, attempt)).expect("a file");
        let staged = to.path().join("tree");
        let to = to.path().as_os_str();
        // The size of a segment follows the size of the tree: as the first run had it.
        let arguments = [source.as_os_str(), "--to".as_ref(), to, "--segment-bytes".as_ref()];
        let ended = here([&arguments[..], &["64K".as_ref()]].concat());
        let json = ended.is(0).says("took over").json();
        assert_eq!(differences(&source, &staged), [""; 0]);
        assert_eq!(partial_trees(to.as_ref()), 0);
        let number = |name: &str| json[name].as_u64().expect("a number");
        assert!(number("bytes_resumed") > 8 << 20, "{json}");
        let read = number("source_bytes_read") + number("bytes_resumed");
        assert!(read <= number("bytes_total"), "{json}");
        return;
    }
    panic!("every run ended before it was killed");
}

#[test]
fn a_signal_ends_a_run_with_a_word() {
    for (name, number) in [("INT", 2), ("TERM", 15)] {
        let (from, to) = (temp(), temp());
        let source = source(from.path());
        let (running, lock) = Running::waiting(&source, to.path());
        running.signal(&format!("-{name}"));
        let output = running.0.wait_with_output().expect("it ends");
        assert_eq!(output.status.signal(), Some(number));
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(
            said.contains(&format!("interrupted (SIG{name}): what is there is kept")),
            "{said}"
        );
        drop(lock);
        here([source.as_os_str(), "--to".as_ref(), to.path().as_os_str()]).is(0);
        assert_eq!(differences(&source, &to.path().join("tree")), [""; 0]);
    }
}

#[test]
fn a_source_that_changes_is_named_and_nothing_gets_a_final_name() {
    type Change = fn(&Path);
    let grow: Change = |file| {
        let file = File::options().append(true).open(file).expect("a file");
        file.write_all_at(b"more", 0).expect("there is room");
    };
    let changes: [(&str, Change); 9] = [
        // Other bytes of the same size and time: into the file, and by one rename.
        ("it changed", |file| {
            let file = File::options().write(true).open(file).expect("a file");
            let modified = file.metadata().and_then(|found| found.modified()).expect("a time");
            file.write_all_at(b"other", 0).expect("there is room");
            file.set_modified(modified).expect("it is ours");
        }),
        ("it changed", |file| {
            let found = fs::metadata(file).expect("a file");
            let other = file.with_extension("new");
            fs::copy(file, &other).expect("there is room");
            let opened = File::options().write(true).open(&other).expect("a file");
            opened.write_all_at(b"other", 0).expect("there is room");
            opened.set_modified(found.modified().expect("a time")).expect("it is ours");
            fs::rename(other, file).expect("it is ours");
        }),
        ("it changed", |file| {
            let touched = File::options().append(true).open(file);
            let now = std::time::UNIX_EPOCH + Duration::new(1_700_000_000, 1);
            touched.and_then(|file| file.set_modified(now)).expect("it is ours");
        }),
        // Other bytes of the same size, by one rename.
        ("it changed", |file| {
            let size = usize::try_from(fs::metadata(file).expect("a file").len()).expect("few");
            let other = file.with_extension("new");
            fs::write(&other, bytes(size, 99)).expect("there is room");
            fs::rename(other, file).expect("it is ours");
        }),
        ("it changed", |file| fs::write(file, "short").expect("a file")),
        ("it is gone", |file| fs::remove_file(file).expect("it is there")),
        ("it changed", grow),
        ("it changed", |file| {
            fs::remove_file(file).expect("it is there");
            symlink("/etc/passwd", file).expect("a link");
        }),
        ("it changed", |file| {
            fs::remove_file(file).expect("it is there");
            fs::create_dir(file).expect("a folder");
        }),
    ];
    for name in ["folder/plain", "sparse"] {
        for (says, change) in changes {
            let (from, to) = (temp(), temp());
            let source = source(from.path());
            let (running, lock) = Running::waiting(&source, to.path());
            change(&source.join(name));
            drop(lock);
            let ended = running.end();
            let json = ended.is(1).says(name).says(says).says("rank 0").json();
            assert_eq!(json["nodes"][0]["state"], "failed", "{json}");
            assert!(!to.path().join("tree").exists(), "nothing has a final name");
        }
    }
}

#[test]
fn a_destination_without_room_beside_another_drops_out_and_the_others_complete() {
    let (from, to) = (temp(), temp());
    let source = large_source(from.path());
    let other = to.path().join("other");
    let small = to.path().join("small");
    fs::create_dir(&small).expect("a folder");
    // Two destinations of one small file system: each would have room alone.
    let script = "mount -t tmpfs -o size=48m tmpfs \"$1\" || exit 77; shift; exec \"$@\"";
    let mut command = Command::new("unshare");
    command.args(["--mount", "--map-root-user", "sh", "-c", script, "sh"]).arg(&small);
    command.args([PROGRAM, "stage", "--transport", "local", "--json", "--mkdir"]).arg(&source);
    for dir in [small.join("a"), other.clone(), small.join("b")] {
        command.arg("--to").arg(dir);
    }
    let Ok(output) = command.output() else { return };
    let ended = ended(Ok(output));
    if ended.code == Some(77) || ended.stderr.starts_with("unshare:") {
        return;
    }
    ended.is(1).says("small/b: ").says(" for other folders of this file system: make room");
    assert_eq!(differences(&source, &other.join("tree")), [""; 0]);
}

#[test]
fn a_folder_that_is_given_twice_is_written_once() {
    let (from, to) = (temp(), temp());
    let source = source(from.path());
    let link = to.path().join("link");
    let real = to.path().join("real");
    fs::create_dir(&real).expect("a folder");
    symlink(&real, &link).expect("a link");
    let arguments = [&*source, "--to".as_ref(), &*real, "--to".as_ref(), &*link];
    here(arguments).is(0);
    assert_eq!(differences(&source, &real.join("tree")), [""; 0]);
}

#[test]
fn what_is_spoilt_after_a_stage_is_named_and_mended() {
    let (from, to) = (temp(), temp());
    let source = source(from.path());
    let staged = to.path().join("tree");
    let arguments = [source.as_os_str(), "--to".as_ref(), to.path().as_os_str()];
    here(arguments).is(0);
    let verify = || {
        let verified = Command::new(PROGRAM).arg("verify").arg(to.path()).output();
        let output = verified.expect("it starts");
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    assert_eq!(verify().0, Some(0));
    // Size and time stay: only the content tells.
    for name in ["large", "folder/plain"] {
        let file = File::options().write(true).open(staged.join(name)).expect("a file");
        let modified = file.metadata().and_then(|found| found.modified()).expect("it has a time");
        file.write_all_at(b"spoilt", 1_000).expect("there is room");
        file.set_modified(modified).expect("it is ours");
    }
    let (code, said) = verify();
    assert!(code == Some(1) && said.contains("folder/plain: content"), "{said}");
    here(arguments).is(0);
    assert_eq!(verify().0, Some(1), "size and time are the same");
    let checking = [&arguments[..], &["--checksum".as_ref()]].concat();
    here(checking).is(0);
    assert_eq!(verify().0, Some(0));
    assert_eq!(differences(&source, &staged), [""; 0]);
    fs::write(staged.join("large"), "short").expect("a file");
    fs::remove_file(staged.join("small")).expect("it is there");
    let (code, said) = verify();
    assert!(code == Some(1) && said.contains("small: missing"), "{said}");
    here(arguments).is(0);
    assert_eq!(verify().0, Some(0));
}

#[test]
fn nothing_is_deleted_where_the_source_can_not_be_listed() {
    // Root reads everything; another user can't be had without it.
    let runs_as_other = Command::new("setpriv").args(["--reuid", "65534", "true"]).status();
    if !runs_as_other.is_ok_and(|status| status.success()) {
        return;
    }
    let (from, to) = (temp(), temp());
    let source = source(from.path());
    let open = |path: &Path| fs::set_permissions(path, Permissions::from_mode(0o777));
    for path in [from.path(), to.path()] {
        open(path).expect("it is ours");
    }
    let stage = || {
        let mut command = Command::new("setpriv");
        command.args(["--reuid", "65534", "--clear-groups", PROGRAM, "stage", "--delete"]);
        command.args(["--transport", "local", "--json"]).arg(&source);
        ended(command.arg("--to").arg(to.path()).output())
    };
    stage().is(0);
    let closed = source.join("folder");
    fs::set_permissions(&closed, Permissions::from_mode(0o0)).expect("it is ours");
    stage().is(1).says("nothing is deleted").says("Permission denied");
    assert!(to.path().join("tree/folder/plain").exists());
}

#[test]
fn no_folder_is_made_within_the_source() {
    let from = temp();
    let source = source(from.path());
    let inside = source.join("new/folder");
    let arguments = [&*source, "--to".as_ref(), &*inside, "--mkdir".as_ref()];
    here(arguments).is(2).says("inside");
    assert!(!source.join("new").exists());
}

#[test]
fn a_source_with_the_name_of_what_a_destination_keeps_leaves_nothing() {
    let (from, to) = (temp(), temp());
    let new = to.path().join("new");
    for name in [".mpiswarm", ".MPIswarm"] {
        let source = from.path().join(name);
        fs::create_dir(&source).expect("a folder");
        for to in [to.path(), &new] {
            let mut command = Command::new(PROGRAM);
            command.args(["stage", "--transport", "local", "--mkdir", "--to"]).arg(to);
            ended(command.arg(&source).output()).is(2).says("give the source another");
            // The same folder by a name that does not say it.
            command.arg(".").current_dir(&source);
            ended(command.output()).is(2).says("give the source another");
        }
        assert_eq!(fs::read_dir(to.path()).expect("ours").count(), 0, "{name}");
        #[cfg(feature = "mpi")]
        if crate::launch::can_start_ranks() {
            crate::ranks(2, &new, &[source.as_os_str()]).is(2).says("give the source another");
            assert_eq!(fs::read_dir(to.path()).expect("ours").count(), 0, "{name}");
        }
    }
}

#[cfg(feature = "mpi")]
mod mpi {
    use super::*;
    use crate::{launch, ranks};

    #[test]
    fn ranks_write_each_folder_once_whoever_names_it() {
        if !launch::can_start_ranks() {
            return;
        }
        let (from, to) = (temp(), temp());
        let source = source(from.path());
        let both = to.path().join("both");
        let arguments = [source.as_os_str(), "--to".as_ref(), both.as_os_str()];
        ranks(3, to.path(), &arguments).is(0);
        for name in ["0", "1", "2", "both"] {
            let staged = to.path().join(name).join("tree");
            assert_eq!(differences(&source, &staged), [""; 0], "{name}");
        }
    }

    #[test]
    fn who_shares_a_folder_that_can_not_be_had_fails_too() {
        if !launch::can_start_ranks() {
            return;
        }
        let (from, to) = (temp(), temp());
        let source = source(from.path());
        symlink("elsewhere", to.path().join(".mpiswarm")).expect("a link");
        let mut command = launch::ranks(2, "timeout");
        command.args(["60", PROGRAM, "stage", "--json", "--to"]).arg(to.path()).arg(&source);
        let json = ended(command.output()).is(2).says("a link").json();
        assert_eq!(json["nodes"][1]["state"], "failed", "{json}");
    }

    #[test]
    fn ranks_end_when_the_source_changes_and_none_has_half_a_tree() {
        if !launch::can_start_ranks() {
            return;
        }
        let (from, to) = (temp(), temp());
        let source = source(from.path());
        // Rank 1 waits for its folder, and the others for rank 1.
        let control = to.path().join("1/.mpiswarm");
        fs::create_dir_all(&control).expect("a folder");
        let lock = File::create(control.join("lock")).expect("a file");
        lock.lock().expect("it is free");
        let (dir, from) = (to.path().to_owned(), source.clone());
        let running = thread::spawn(move || ranks(3, &dir, &[from.as_os_str()]));
        // Folders are locked when the source has been listed.
        let locked = to.path().join("0/.mpiswarm/lock");
        while !locked.exists() && !running.is_finished() {
            thread::sleep(REST);
        }
        assert!(locked.exists());
        fs::write(source.join("large"), "short").expect("a file");
        drop(lock);
        let ended = running.join().expect("it ends");
        let json = ended.is(1).says("large: it changed").json();
        for rank in 0..3 {
            assert_eq!(json["nodes"][rank]["state"], "failed", "{json}");
            assert!(!to.path().join(format!("{rank}/tree")).exists(), "rank {rank}");
        }
    }
}
