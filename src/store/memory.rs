//! How much memory can be had without swapping?

use std::fs;
use std::path::{Path, PathBuf};

#[cfg(feature = "mpi")]
use crate::verify::Digest;

/// Bytes that this process can allocate now: the least of what the machine has and what its control
/// groups allow; `u64::MAX` where the system does not say.
pub(crate) fn available_bytes() -> u64 {
    available_below(Path::new("/"))
}

/// Stands for the control groups of this process: where two processes have the same, they share what
/// [`available_bytes`] says.
#[cfg(feature = "mpi")]
pub(crate) fn group_word() -> u64 {
    let groups = fs::read("/proc/self/cgroup").unwrap_or_default();
    let Digest([a, b, c, d, e, f, g, h, ..]) = Digest::of(&groups);
    u64::from_le_bytes([a, b, c, d, e, f, g, h])
}

fn available_below(root: &Path) -> u64 {
    machine_bytes(root).min(group_bytes(root))
}

// `MemAvailable` (Linux 3.14, proc(5)) counts the page cache that can be dropped, which `MemFree`
// leaves out: on a machine that has read files, `MemFree` says far too little.
fn machine_bytes(root: &Path) -> u64 {
    let meminfo = fs::read_to_string(root.join("proc/meminfo")).unwrap_or_default();
    field(&meminfo, "MemAvailable:").map_or(u64::MAX, |kibibytes| kibibytes.saturating_mul(1024))
}

/// The least that a control group of this process and those around it leave. Slurm nests a job, a step
/// and a task; any of them may have the limit.
fn group_bytes(root: &Path) -> u64 {
    let read = |name| fs::read_to_string(root.join(name)).unwrap_or_default();
    let (groups, mounts) = (read("proc/self/cgroup"), read("proc/self/mountinfo"));
    let mut least = u64::MAX;
    for line in groups.lines() {
        // proc(5): `0::/path` is of version 2; `4:memory:/path` is of version 1.
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(group)) = (parts.next(), parts.next()) else { continue };
        let version = match controllers {
            "" => &VERSION_2,
            _ if controllers.split(',').any(|one| one == "memory") => &VERSION_1,
            _ => continue,
        };
        let Some((top, mut folder)) = version.find(root, &mounts, group) else { continue };
        while folder.starts_with(&top) {
            least = least.min(version.left(&folder));
            if !folder.pop() {
                break;
            }
        }
    }
    least
}

/// Where a version of control groups says what.
struct Version {
    file_system: &'static str,
    limit: &'static str,
    usage: &'static str,
    // The page cache that can be dropped counts as used.
    cache: [&'static str; 2],
}

// Documentation/admin-guide/cgroup-v2.rst of Linux.
const VERSION_2: Version = Version {
    file_system: "cgroup2",
    limit: "memory.max",
    usage: "memory.current",
    cache: ["active_file ", "inactive_file "],
};

// Documentation/admin-guide/cgroup-v1/memory.rst of Linux.
const VERSION_1: Version = Version {
    file_system: "cgroup",
    limit: "memory.limit_in_bytes",
    usage: "memory.usage_in_bytes",
    cache: ["total_active_file ", "total_inactive_file "],
};

impl Version {
    /// The folders of the topmost group that can be seen here and of `group`.
    fn find(&self, root: &Path, mounts: &str, group: &str) -> Option<(PathBuf, PathBuf)> {
        mounts.lines().find_map(|line| {
            // proc(5): `36 35 98:0 /root /mount/point options - type source options`.
            let (mount, kind) = line.split_once(" - ")?;
            let mut kind = kind.split(' ');
            let has_memory = self.file_system == VERSION_2.file_system
                || kind.clone().next_back()?.split(',').any(|option| option == "memory");
            if kind.next()? != self.file_system || !has_memory {
                return None;
            }
            let mut fields = mount.split(' ').skip(3);
            let (shown, point) = (fields.next()?, fields.next()?);
            let top = root.join(point.trim_start_matches('/'));
            // In a container that shows less than the whole tree its own group is the topmost.
            let below = Path::new(group).strip_prefix(shown).unwrap_or(Path::new(""));
            let folder = if below.as_os_str().is_empty() { top.clone() } else { top.join(below) };
            Some((top, folder))
        })
    }

    /// Bytes that a group leaves; `u64::MAX` where it has no limit.
    fn left(&self, folder: &Path) -> u64 {
        let read = |name| fs::read_to_string(folder.join(name)).unwrap_or_default();
        let number = |name| read(name).trim().parse::<u64>().ok();
        // Version 2 writes `max` where there is none, version 1 the greatest number of pages.
        let Some(limit) = number(self.limit) else { return u64::MAX };
        let statistics = read("memory.stat");
        let cache = self.cache.iter().filter_map(|name| field(&statistics, name)).sum::<u64>();
        let used = number(self.usage).unwrap_or_default().saturating_sub(cache);
        limit.saturating_sub(used)
    }
}

fn field(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn machine(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().expect("a folder");
        for (name, text) in files {
            let path = root.path().join(name);
            fs::create_dir_all(path.parent().expect("a file has a folder")).expect("a folder");
            fs::write(path, text).expect("a small file");
        }
        root
    }

    const MEMINFO: (&str, &str) =
        ("proc/meminfo", "MemTotal: 99 kB\nMemAvailable:    8000000 kB\n");

    #[test]
    fn a_machine_without_groups_has_what_it_has() {
        assert_eq!(available_below(machine(&[MEMINFO]).path()), 8_192_000_000);
        assert_eq!(available_below(machine(&[]).path()), u64::MAX);
    }

    #[test]
    fn the_tightest_of_nested_groups_counts() {
        let mounts = "29 23 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n";
        let slurm = "sys/fs/cgroup/system.slice/slurmstepd.scope/job_7";
        let limits = [
            (format!("{slurm}/memory.max"), "3000000000\n"),
            (format!("{slurm}/memory.current"), "1500000000\n"),
            (
                format!("{slurm}/memory.stat"),
                "anon 9\ninactive_file 300000000\nactive_file 200000000\n",
            ),
            (format!("{slurm}/step_0/memory.max"), "max\n"),
            (format!("{slurm}/step_0/user/task_0/memory.max"), "5000000000\n"),
        ];
        let mut files = vec![
            MEMINFO,
            ("proc/self/mountinfo", mounts),
            ("proc/self/cgroup", "0::/system.slice/slurmstepd.scope/job_7/step_0/user/task_0\n"),
        ];
        files.extend(limits.iter().map(|(name, text)| (name.as_str(), *text)));
        assert_eq!(available_below(machine(&files).path()), 2_000_000_000);
    }

    #[test]
    fn version_1_and_containers_are_read_too() {
        let mounts = "31 30 0:27 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n\
                      32 30 0:28 /docker/ab /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n";
        let of = |group: &str| {
            let group = format!("5:cpu:/x\n4:memory:{group}\n0::/\n");
            let files = [
                MEMINFO,
                ("proc/self/mountinfo", mounts),
                ("proc/self/cgroup", group.as_str()),
                ("sys/fs/cgroup/memory/memory.limit_in_bytes", "1000000000\n"),
                ("sys/fs/cgroup/memory/memory.usage_in_bytes", "400000000\n"),
                ("sys/fs/cgroup/memory/memory.stat", "cache 5\ntotal_inactive_file 100000000\n"),
                ("sys/fs/cgroup/memory/job/memory.limit_in_bytes", "9223372036854771712\n"),
            ];
            available_below(machine(&files).path())
        };
        for group in ["/docker/ab", "/docker/ab/job", "/elsewhere"] {
            assert_eq!(of(group), 700_000_000, "{group}");
        }
    }
}
