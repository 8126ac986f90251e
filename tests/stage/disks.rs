//! Disks that are too small, fill up, can't be written to, or go away.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::process::Command;

use super::tree::differences;
use super::{PROGRAM, ended, source, temp};

#[test]
fn what_this_user_can_not_read_is_named_and_the_rest_arrives() {
    let runs_as_other = Command::new("setpriv").args(["--reuid", "65534", "true"]).status();
    let (from, to) = (temp(), temp());
    let is_root = fs::metadata(from.path()).expect("ours").uid() == 0;
    if !is_root || !runs_as_other.is_ok_and(|status| status.success()) {
        println!("skipped: only root can become another user");
        return;
    }
    let source = source(from.path());
    for path in [from.path(), to.path()] {
        fs::set_permissions(path, Permissions::from_mode(0o777)).expect("ours");
    }
    // A small file among others of one segment, a large one, a folder.
    let closed = ["folder/deep/deeper/7", "large", "folder/same as large", "empty folder"];
    for name in closed {
        let mode = Permissions::from_mode(0o000);
        fs::set_permissions(source.join(name), mode).expect("ours");
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid", "65534", "--clear-groups", PROGRAM, "stage", "--json"]);
    command.args(["--transport", "local"]).arg(&source).arg("--to").arg(to.path());
    let ended = ended(command.output());
    ended.is(1);
    for name in closed {
        ended.says(&format!("tree/{name}: Permission denied"));
    }
    let staged = to.path().join("tree");
    let lacking = differences(&source, &staged);
    let names: Vec<_> = lacking.iter().map(|line| line.split(':').next().unwrap_or("")).collect();
    assert_eq!(names, ["empty folder", "folder/deep/deeper/7", "folder/same as large", "large"]);
    assert!(lacking.iter().all(|line| line.ends_with(" None")), "{lacking:?}");
}

#[cfg(feature = "mpi")]
mod mpi {
    use std::ffi::OsStr;
    use std::path::Path;
    use std::thread;

    use super::*;
    use crate::faults::{REST, journal_bytes, large_source};
    use crate::{Ended, launch, ranks};

    /// A file system of its own, until it is dropped.
    struct Mounted<'a>(&'a Path);

    impl<'a> Mounted<'a> {
        /// Mounts a tmpfs; none, with a word, where this user may not.
        #[expect(clippy::print_stdout, reason = "a test that is skipped says why")]
        fn new(dir: &'a Path, options: &str) -> Option<Self> {
            fs::create_dir_all(dir).expect("a folder");
            let mut mount = Command::new("mount");
            let mounted = mount.args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(dir).output();
            let is_mounted = mounted.is_ok_and(|done| done.status.success());
            if !is_mounted {
                println!("skipped: this user can't mount a tmpfs");
            }
            is_mounted.then_some(Self(dir))
        }

        fn make_read_only(&self) {
            let done = Command::new("mount").args(["-o", "remount,ro"]).arg(self.0).status();
            assert!(done.is_ok_and(|done| done.success()));
        }
    }

    impl Drop for Mounted<'_> {
        fn drop(&mut self) {
            let done = Command::new("umount").arg("-l").arg(self.0).status();
            assert!(done.is_ok_and(|done| done.success()));
        }
    }

    /// Whether a rank has the tree; where it has not, it says so with its number.
    fn arrived(ended: &Ended, source: &Path, to: &Path, rank: usize) -> bool {
        let json = ended.json();
        let node = &json["nodes"][rank];
        let staged = to.join(format!("{rank}/tree"));
        if node["state"] == "complete" {
            assert_eq!(differences(source, &staged), [""; 0], "rank {rank}");
            return true;
        }
        assert!(!staged.exists(), "rank {rank} has half a tree: {json}");
        let reason = node["reason"].as_str().expect("a reason");
        ended.says(&format!("(rank {rank}): {reason}"));
        false
    }

    #[test]
    fn a_rank_whose_disk_is_too_small_or_read_only_drops_out_before_the_start() {
        if !launch::can_start_ranks() {
            return;
        }
        let from = temp();
        let source = source(from.path());
        let cases = [
            ("size=1m", false, " bytes are free, "),
            ("size=64m,nr_inodes=100", false, " more files fit, "),
            ("size=64m", true, "Read-only file system"),
        ];
        for (options, is_read_only, why) in cases {
            let to = temp();
            let disk = to.path().join("1");
            let Some(disk) = Mounted::new(&disk, options) else { return };
            if is_read_only {
                disk.make_read_only();
            }
            let ended = ranks(3, to.path(), &[source.as_os_str()]);
            ended.is(1).says(why);
            let have: Vec<_> =
                (0..3).filter(|&rank| arrived(&ended, &source, to.path(), rank)).collect();
            assert_eq!(have, [0, 2], "{options}");
        }
    }

    /// Takes the bytes or files that are left on a disk.
    fn fill(disk: &Path) {
        let mut number = 0;
        while fs::write(disk.join(format!("filler{number}")), [1; 64 << 10]).is_ok() {
            number += 1;
        }
    }

    #[test]
    fn a_rank_whose_disk_fills_up_drops_out_and_the_others_complete() {
        if !launch::can_start_ranks() {
            return;
        }
        let from = temp();
        let source = large_source(from.path());
        // A little more than the tree needs: 330 files, and 28.3 MiB.
        for options in ["size=30m", "size=200m,nr_inodes=400"] {
            // A run that ends before the disk is full says nothing: another is tried.
            let is_told = (0..10).any(|_| {
                let to = temp();
                let disk = to.path().join("1");
                let Some(_disk) = Mounted::new(&disk, options) else { return true };
                let (base, from) = (to.path().to_owned(), source.clone());
                let running = thread::spawn(move || ranks(4, &base, &[from.as_os_str()]));
                // Behind the check of what is free: something is written.
                while journal_bytes(&disk) < 200 && !running.is_finished() {
                    thread::sleep(REST);
                }
                fill(&disk);
                let ended = running.join().expect("it ends");
                let have: Vec<_> =
                    (0..4).filter(|&rank| arrived(&ended, &source, to.path(), rank)).collect();
                if have.contains(&1) {
                    return false;
                }
                assert_eq!(have, [0, 2, 3], "{options}");
                ended.is(1).says("No space left").says("make room there and run again");
                true
            });
            assert!(is_told, "{options}: no run met a full disk");
        }
    }

    #[test]
    fn a_folder_that_is_removed_in_mid_run_is_named_and_the_others_complete() {
        if !launch::can_start_ranks() {
            return;
        }
        let from = temp();
        let source = large_source(from.path());
        // It may be over before the folder is removed.
        for _ in 0..5 {
            let to = temp();
            let (dir, from) = (to.path().to_owned(), source.clone());
            let small = ["--segment-bytes", "16K"].map(OsStr::new);
            let running =
                thread::spawn(move || ranks(3, &dir, &[from.as_os_str(), small[0], small[1]]));
            let removed = to.path().join("1");
            while journal_bytes(&removed) == 0 && !running.is_finished() {
                thread::sleep(REST);
            }
            // Names come while it removes others.
            while removed.exists() && fs::remove_dir_all(&removed).is_err() {}
            let ended = running.join().expect("it ends");
            if ended.code == Some(0) {
                continue;
            }
            let json = ended.is(1).json();
            let reason = json["nodes"][1]["reason"].as_str().expect("a reason");
            assert!(reason.contains("/1/") && reason.contains("No such file"), "{reason}");
            for rank in [0, 2] {
                assert!(arrived(&ended, &source, to.path(), rank), "{json}");
            }
            return;
        }
        panic!("the folder was never removed in time");
    }
}
