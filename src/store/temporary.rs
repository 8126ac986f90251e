//! Temporary files of outputs, and the removal of those that a dead process left behind.
//!
//! The name is `.mpiswarm-<place>-<process>-<start>-<random>.part`. Place, process and its start time
//! tell whose it is, and 128 random bits keep others from planting a link under the name.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use rustix::fs::OFlags;

use crate::verify::Digest;

/// What never follows a link, and never waits at a fifo.
// The types differ: `open(2)` takes an `int`.
#[expect(clippy::cast_possible_wrap, reason = "the flags are low bits")]
pub(super) const NO_LINK: i32 = OFlags::NOFOLLOW.union(OFlags::NONBLOCK).bits() as i32;

/// The place of this process, and its start time; none where the system does not tell.
static OWN: LazyLock<(String, Option<u64>)> =
    LazyLock::new(|| (place(), start_of(std::process::id()).ok().flatten()));

/// Makes a new, empty file under a name that nobody can guess.
pub(super) fn create(dir: &Path) -> io::Result<(PathBuf, File)> {
    let (place, start) = &*OWN;
    let path = dir.join(name(place, std::process::id(), start.unwrap_or(0), rand::random()));
    let mut options = OpenOptions::new();
    // O_EXCL: whatever has this name already is not ours.
    let file = options.read(true).write(true).create_new(true).custom_flags(NO_LINK).open(&path)?;
    Ok((path, file))
}

/// Makes a folder, and checks that files can be made in it.
///
/// # Errors
///
/// They can't.
pub fn probe_folder(dir: &Path) -> io::Result<()> {
    fs::create_dir_all(dir)?;
    let (path, _) = create(dir)?;
    fs::remove_file(path)
}

/// Removes the temporary files that processes of this host and user left when they were killed. Never
/// one of a process that lives, or of another host, whose processes can't be seen from here.
pub fn remove_left_over(dir: &Path) {
    let (place, Some(_)) = &*OWN else { return };
    let (Ok(entries), Ok(own)) = (fs::read_dir(dir), fs::metadata("/proc/self")) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let dead = name.to_str().and_then(parse).is_some_and(|(there, process, start)| {
            // Only where the system says so: any failure to find out counts as a living owner.
            there == place && start_of(process).is_ok_and(|now| now != Some(start))
        });
        // `metadata` of an entry does not follow links. Processes of other users may be hidden (hidepid
        // of proc(5)) and look dead.
        let is_ours = |found: fs::Metadata| found.is_file() && found.uid() == own.uid();
        if dead && entry.metadata().is_ok_and(is_ours) {
            // Another rank may be faster, and a left-over file does no harm.
            drop(fs::remove_file(entry.path()));
        }
    }
}

/// Whether a text is the name of a temporary file.
pub(super) fn is_name(text: &str) -> bool {
    parse(text).is_some()
}

fn name(place: &str, process: u32, start: u64, random: u128) -> String {
    format!(".mpiswarm-{place}-{process}-{start}-{random:032x}.part")
}

/// Place, process and start time in a name; none where the name is not exactly as [`name`] makes it.
fn parse(text: &str) -> Option<(&str, u32, u64)> {
    let mut parts = text.strip_prefix(".mpiswarm-")?.strip_suffix(".part")?.split('-');
    let (place, process, start) = (parts.next()?, parts.next()?.parse().ok()?, parts.next()?);
    let (start, random) = (start.parse().ok()?, u128::from_str_radix(parts.next()?, 16).ok()?);
    let is_place =
        place.len() == PLACE_DIGITS && place.bytes().all(|byte| byte.is_ascii_hexdigit());
    (is_place && name(place, process, start, random) == text).then_some((place, process, start))
}

/// How many hexadecimal digits stand for a place.
// 64 bits: hosts that share a folder are few, and none meets another by chance.
const PLACE_DIGITS: usize = 16;

/// Where a process number means this process: host and PID namespace (containers have their own). The
/// host's name alone would not do, as many are called `localhost`.
fn place() -> String {
    let machine = fs::read_to_string("/etc/machine-id").unwrap_or_default();
    let namespace = fs::read_link("/proc/self/ns/pid").unwrap_or_default();
    let all = format!("{}\n{machine}\n{}", host(), namespace.display());
    Digest::of(all.as_bytes()).to_string()[..PLACE_DIGITS].to_owned()
}

/// The name of this host.
pub(super) fn host() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// When a process started, in ticks since the host did: a later process of the same number has another
/// time. None where there is no such process, or only its exit code is left.
fn start_of(process: u32) -> io::Result<Option<u64>> {
    let stat = match fs::read_to_string(format!("/proc/{process}/stat")) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        read => read?,
    };
    // proc(5): the second field is the program's name in brackets, which may hold blanks and brackets.
    // The third is the state, the 22nd the start time.
    let mut fields = stat.rsplit(')').next().unwrap_or_default().split_ascii_whitespace();
    let state = fields.next().ok_or(io::ErrorKind::InvalidData)?;
    let start = fields.nth(18).and_then(|field| field.parse().ok());
    let start = start.ok_or(io::ErrorKind::InvalidData)?;
    Ok((!matches!(state, "Z" | "X")).then_some(start))
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn only_what_a_dead_process_of_this_host_left_is_removed() {
        let (place, Some(start)) = &*OWN else { return };
        let dir = tempfile::tempdir().expect("a folder");
        let precious = dir.path().join("precious");
        fs::write(&precious, "dear").expect("a small file");
        let own = std::process::id();
        let other = if place.starts_with('0') { "1".repeat(16) } else { "0".repeat(16) };
        // The number of this process with another start time is that of an earlier process.
        let (dead, reused) = (name(place, u32::MAX, 7, 1), name(place, own, start + 1, 2));
        let kept = [
            name(place, own, *start, 3),
            name(&other, u32::MAX, 7, 4),
            dead.replace(".part", ".parts"),
            dead.replace(".part", "0.part"),
            dead.replace("-7-", "-07-"),
            dead.replace("-7-", "-+7-"),
            ".client1_0.part".to_owned(),
        ];
        for file in kept.iter().chain([&dead, &reused]) {
            fs::write(dir.path().join(file), "").expect("a small file");
        }
        let (link, folder) = (name(place, u32::MAX, 7, 5), name(place, u32::MAX, 7, 6));
        symlink(&precious, dir.path().join(&link)).expect("a link");
        fs::create_dir(dir.path().join(&folder)).expect("a folder");
        remove_left_over(dir.path());
        for gone in [&dead, &reused] {
            assert!(!dir.path().join(gone).exists(), "{gone}");
        }
        for stays in kept.iter().chain([&link, &folder]) {
            assert!(dir.path().join(stays).exists(), "{stays}");
        }
        assert_eq!(fs::read(&precious).expect("it is there"), b"dear");
    }

    #[test]
    fn temporary_files_are_new_and_named_after_this_process() {
        let dir = tempfile::tempdir().expect("a folder");
        let (first, _) = create(dir.path()).expect("a file");
        let (second, _) = create(dir.path()).expect("another");
        assert_ne!(first, second);
        let name = first.file_name().and_then(|name| name.to_str()).expect("text");
        let (_, process, _) = parse(name).expect("as every temporary file is named");
        assert_eq!(process, std::process::id());
    }
}
