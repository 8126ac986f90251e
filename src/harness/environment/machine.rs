//! The machine: processor, caches, memory, kernel.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

/// What the nodes of rank 0 run on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Machine {
    /// Model of the processor; empty where unknown.
    pub cpu: String,
    /// Cores that this process may use.
    pub cores: usize,
    /// Caches of the first core: `L3 Unified 32768K, cores 0-1`.
    pub caches: Vec<String>,
    /// The cores of each NUMA node.
    pub numa: BTreeMap<String, String>,
    /// RAM, bytes; 0 where unknown.
    pub memory_bytes: u64,
    /// The kernel and its version.
    pub kernel: String,
    /// The mode of transparent huge pages.
    pub transparent_hugepages: Option<String>,
    /// Frequency governor of the first core.
    pub frequency_governor: Option<String>,
}

impl Machine {
    pub(super) fn capture(kernel: String, cores: usize) -> Self {
        let text = |path: &str| fs::read_to_string(path).ok().map(|text| text.trim().to_owned());
        let huge = "/sys/kernel/mm/transparent_hugepage/enabled";
        let governor = "/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor";
        let memory = field("/proc/meminfo", "MemTotal")
            .and_then(|total| total.strip_suffix("kB")?.trim_end().parse::<u64>().ok());
        Self {
            cpu: field("/proc/cpuinfo", "model name").unwrap_or_default(),
            cores,
            caches: caches(Path::new("/sys/devices/system/cpu/cpu0/cache")),
            numa: numa(Path::new("/sys/devices/system/node")),
            memory_bytes: memory.unwrap_or(0) * 1024,
            kernel,
            transparent_hugepages: text(huge).as_deref().and_then(chosen),
            frequency_governor: text(governor),
        }
    }
}

/// The value of the first line `name : value` of a file.
fn field(path: &str, name: &str) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    let values = text.lines().filter_map(|line| line.split_once(':'));
    let mut named = values.filter(|(key, _)| key.trim() == name);
    named.next().map(|(_, value)| value.trim().to_owned())
}

/// The word in brackets, as in `always [madvise] never`.
pub(super) fn chosen(text: &str) -> Option<String> {
    Some(text.split_once('[')?.1.split_once(']')?.0.to_owned())
}

pub(super) fn load() -> Option<[f64; 3]> {
    let text = fs::read_to_string("/proc/loadavg").ok()?;
    let mut numbers = text.split_whitespace().map_while(|word| word.parse().ok());
    Some([numbers.next()?, numbers.next()?, numbers.next()?])
}

fn caches(dir: &Path) -> Vec<String> {
    let cache = |dir: &Path| {
        let text = |name| Some(fs::read_to_string(dir.join(name)).ok()?.trim().to_owned());
        let (level, kind, size) = (text("level")?, text("type")?, text("size")?);
        Some(format!("L{level} {kind} {size}, cores {}", text("shared_cpu_list")?))
    };
    let mut caches: Vec<_> =
        folders(dir, "index").into_iter().filter_map(|name| cache(&dir.join(name))).collect();
    caches.sort();
    caches
}

fn numa(dir: &Path) -> BTreeMap<String, String> {
    let nodes = folders(dir, "node").into_iter();
    nodes
        .filter_map(|name| {
            let cores = fs::read_to_string(dir.join(&name).join("cpulist")).ok()?;
            Some((name, cores.trim().to_owned()))
        })
        .collect()
}

/// The names in a folder that are `prefix` and a number.
fn folders(dir: &Path, prefix: &str) -> Vec<String> {
    let names = fs::read_dir(dir).into_iter().flatten().flatten();
    names
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| name.strip_prefix(prefix).is_some_and(|rest| rest.parse::<u32>().is_ok()))
        .collect()
}
