//! On what were the figures measured? The machine, the program, and what surrounded them.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use serde::{Deserialize, Serialize};

use super::{Launch, Plan};
use crate::report::{Limits, MpiLimits};
use crate::time;

/// The name of the file.
pub const ENVIRONMENT: &str = "environment.json";

/// Variables that begin so choose how an MPI moves bytes.
const TUNING: [&str; 10] = [
    "OMPI_MCA_btl",
    "OMPI_MCA_coll",
    "OMPI_MCA_mtl",
    "OMPI_MCA_osc",
    "OMPI_MCA_pml",
    "FI_PROVIDER",
    "MPICH_",
    "MPIR_CVAR_",
    "RAYON_NUM_THREADS",
    "UCX_",
];

/// What a reader must know to judge the figures, or to measure them again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Environment {
    /// The version of this record: 1.
    pub environment_schema: u32,
    /// When the measurement began, UTC.
    pub began: String,
    /// The name of the machine on which rank 0 ran.
    pub host: String,
    /// What that machine is.
    pub machine: Machine,
    /// Load averages over 1, 5 and 15 minutes when it began; none where the system doesn't tell.
    pub load_at_start: Option<[f64; 3]>,
    /// What program was measured.
    pub program: Program,
    /// The MPI; none where the nodes were threads.
    pub mpi: Option<Mpi>,
    /// Variables that choose how an MPI moves bytes.
    pub tuning: BTreeMap<String, String>,
    /// What one core could do when it began, for each size of segment.
    pub limits: Vec<LimitsAt>,
    /// What all cores could do at once, together; none in older records.
    #[serde(default)]
    pub all_cores: Vec<LimitsAt>,
    /// Which plan was carried out.
    pub plan: String,
    /// Its whole text.
    pub plan_text: String,
}

/// A machine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Machine {
    /// The model of the processor; empty where the system doesn't tell.
    pub cpu: String,
    /// Cores that this process may use.
    pub cores: usize,
    /// Caches of the first core: `L3 Unified 32768K, cores 0-1`.
    pub caches: Vec<String>,
    /// The cores of each NUMA node.
    pub numa: BTreeMap<String, String>,
    /// RAM, bytes; 0 where the system doesn't tell.
    pub memory_bytes: u64,
    /// The kernel and its version.
    pub kernel: String,
    /// Whether large pages are given to memory that doesn't ask.
    pub transparent_hugepages: Option<String>,
    /// Who decides the frequency of the first core.
    pub frequency_governor: Option<String>,
}

/// The measured program.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Program {
    /// Its version.
    pub version: String,
    /// The commit of the tree that it was built in, as that stands now; none where the tree is gone.
    pub commit: Option<String>,
    /// Whether that tree differs from the commit.
    pub dirty: Option<bool>,
    /// Whether the tree has source that is younger than the program.
    pub older_than_source: Option<bool>,
    /// What compiled it.
    pub compiler: String,
    /// With what flags beyond the profile's.
    pub flags: String,
    /// `release` or `debug`.
    pub profile: String,
    /// What it was compiled for.
    pub target: String,
}

/// The MPI that carried the bytes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Mpi {
    /// What it calls itself.
    pub library: String,
    /// The version of the standard.
    pub standard: String,
    /// How many ranks there were.
    pub ranks: u32,
    /// How many of them on the machine of rank 0.
    pub ranks_here: u32,
    /// What threads may do: `Funneled`, `Multiple`.
    pub threading: String,
    /// What it carried between the ranks at best; none in older records.
    #[serde(default)]
    pub limits: Option<MpiLimits>,
}

/// What the machine and its MPI can do at best, as it was measured.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Calibration {
    /// One core, for each size of segment.
    pub one_core: Vec<LimitsAt>,
    /// All cores at once, together, for each size of segment.
    pub all_cores: Vec<LimitsAt>,
    /// The MPI; none over threads.
    pub mpi: Option<MpiLimits>,
}

/// What cores can do with segments of one size.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct LimitsAt {
    /// The size, bytes.
    pub segment_bytes: usize,
    /// Bytes that are copied in a second.
    pub copy_bytes_per_second: f64,
    /// Bytes that are hashed in a second.
    pub hash_bytes_per_second: f64,
    /// Messages that all ranks together receive in a second; none over threads.
    #[serde(default)]
    pub messages_per_second: Option<f64>,
}

impl LimitsAt {
    /// From a measurement.
    pub fn new(segment_bytes: usize, limits: Limits) -> Self {
        let Limits { copy_bytes_per_second, hash_bytes_per_second } = limits;
        Self {
            segment_bytes,
            copy_bytes_per_second,
            hash_bytes_per_second,
            messages_per_second: None,
        }
    }

    /// For the report.
    pub fn limits(&self) -> Limits {
        let &Self { copy_bytes_per_second, hash_bytes_per_second, .. } = self;
        Limits { copy_bytes_per_second, hash_bytes_per_second }
    }
}

impl Environment {
    /// Looks around.
    pub(crate) fn capture(plan: &Plan, launch: &Launch, calibration: Calibration) -> Self {
        let Calibration { one_core, all_cores, mpi: mpi_limits } = calibration;
        let uname = rustix::system::uname();
        let [system, release] =
            [uname.sysname(), uname.release()].map(|text| text.to_string_lossy());
        Self {
            environment_schema: 1,
            began: format!("{:.0}", now()),
            host: uname.nodename().to_string_lossy().into_owned(),
            machine: Machine::capture(format!("{system} {release}"), launch.cores().count()),
            load_at_start: load(),
            program: Program::capture(),
            mpi: mpi(launch, mpi_limits),
            tuning: std::env::vars()
                .filter(|(name, _)| TUNING.iter().any(|tuning| name.starts_with(tuning)))
                .collect(),
            limits: one_core,
            all_cores,
            plan: plan.name.clone(),
            plan_text: plan.text.clone(),
        }
    }

    /// `<UTC date>-<short commit>-<host>`, a name for a folder.
    pub fn folder(&self) -> String {
        let date = self.began.get(..10).unwrap_or("undated");
        let commit = self.program.commit.as_deref().and_then(|commit| commit.get(..7));
        let name = format!("{date}-{}-{}", commit.unwrap_or("unknown"), self.host);
        name.chars().map(|c| if c.is_alphanumeric() || c == '-' { c } else { '_' }).collect()
    }

    /// Whether all nodes were on the machine of rank 0, as far as the launcher says so.
    pub fn is_one_machine(&self) -> bool {
        self.mpi.as_ref().is_none_or(|mpi| mpi.ranks_here == mpi.ranks)
    }

    /// What must be equal for a measurement to go on with the records of another: in which it is
    /// not, in words.
    pub fn differs_from(&self, earlier: &Self) -> Option<&'static str> {
        let ranks = |mpi: &Option<Mpi>| mpi.as_ref().map(|mpi| mpi.ranks);
        [
            ("the plan", self.plan_text == earlier.plan_text),
            ("the host", self.host == earlier.host),
            ("the commit", self.program.commit == earlier.program.commit),
            ("the profile", self.program.profile == earlier.program.profile),
            ("the number of ranks", ranks(&self.mpi) == ranks(&earlier.mpi)),
        ]
        .into_iter()
        .find_map(|(what, is_equal)| (!is_equal).then_some(what))
    }
}

/// The time of day, UTC.
fn now() -> jiff::Timestamp {
    jiff::Timestamp::try_from(time::wall_clock()).unwrap_or_default()
}

impl Machine {
    fn capture(kernel: String, cores: usize) -> Self {
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

/// The word in brackets.
fn chosen(text: &str) -> Option<String> {
    Some(text.split_once('[')?.1.split_once(']')?.0.to_owned())
}

fn load() -> Option<[f64; 3]> {
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

impl Program {
    fn capture() -> Self {
        let source = Path::new(env!("CARGO_MANIFEST_DIR"));
        let status = git(source, &["status", "--porcelain", "--untracked-files=no"]);
        Self {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            commit: git(source, &["rev-parse", "HEAD"]),
            dirty: status.map(|status| !status.is_empty()),
            older_than_source: older_than(&source.join("src")),
            compiler: env!("MPISWARM_COMPILER").to_owned(),
            flags: env!("MPISWARM_FLAGS").to_owned(),
            profile: env!("MPISWARM_PROFILE").to_owned(),
            target: env!("MPISWARM_TARGET").to_owned(),
        }
    }
}

/// What git says of the tree at `source`; none where there is no tree, or no git.
fn git(source: &Path, words: &[&str]) -> Option<String> {
    let output = Command::new("git").arg("-C").arg(source).args(words).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}

/// Whether this program is older than a file in the folder.
fn older_than(dir: &Path) -> Option<bool> {
    let built = fs::metadata(std::env::current_exe().ok()?).ok()?.modified().ok()?;
    let mut folders = vec![dir.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).ok()? {
            let entry = entry.ok()?;
            let facts = entry.metadata().ok()?;
            if facts.is_dir() {
                folders.push(entry.path());
            } else if facts.modified().ok()? > built {
                return Some(true);
            }
        }
    }
    Some(false)
}

fn mpi(launch: &Launch, limits: Option<MpiLimits>) -> Option<Mpi> {
    match launch {
        Launch::Threads => {
            let _no_ranks = limits;
            None
        }
        #[cfg(feature = "mpi")]
        Launch::Ranks(ranks) => {
            let library = mpi::environment::library_version().unwrap_or_default();
            let (major, minor) = mpi::environment::version();
            Some(Mpi {
                library: library.trim_end_matches(['\0', '\n']).to_owned(),
                standard: format!("{major}.{minor}"),
                ranks: ranks.peers() + 1,
                ranks_here: ranks.here(),
                threading: format!("{:?}", mpi::environment::threading_support()),
                limits,
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_knows_what_it_was_built_with() {
        let program = Program::capture();
        assert!(program.compiler.starts_with("rustc "), "{program:?}");
        assert!(program.target.contains('-'), "{program:?}");
        assert!(["debug", "release"].contains(&program.profile.as_str()), "{program:?}");
    }

    #[test]
    fn the_word_in_brackets_is_chosen() {
        assert_eq!(chosen("always [madvise] never").as_deref(), Some("madvise"));
        assert_eq!(chosen("always"), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn the_machine_has_memory_and_caches() {
        let machine = Machine::capture("Linux".to_owned(), 2);
        assert!(machine.memory_bytes > 1 << 20, "{machine:?}");
        assert_eq!(machine.cores, 2);
        assert!(load().is_some());
    }
}
