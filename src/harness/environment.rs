//! On what were the figures measured? The machine, the program, the MPI and its settings.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::path::Path;
use std::process::Command;

use serde::{Deserialize, Serialize};

use super::switches::ContenderKind;
use super::{Launch, Plan};
use crate::config::Verify;
use crate::report::limits::bounds;
use crate::report::{Limits, MpiLimits, Summary};
use crate::time;

/// The file that holds it, in a folder of records.
// Part of the format: `compare` looks for it.
pub const ENVIRONMENT: &str = "environment.json";

// Prefixes of the variables that choose how an MPI moves bytes.
// Open MPI's frameworks for transports and collectives, libfabric, MPICH and UCX; and the size of the
// thread pool that verifies.
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
#[expect(missing_docs, reason = "the names say what they hold")]
pub struct Environment {
    pub environment_schema: u32,
    pub began: String,
    pub host: String,
    pub machine: Machine,
    /// Load averages over 1, 5 and 15 minutes when it began; none where unknown.
    pub load_at_start: Option<[f64; 3]>,
    pub program: Program,
    pub mpi: Option<Mpi>,
    /// Variables that choose how an MPI moves bytes.
    pub tuning: BTreeMap<String, String>,
    /// Limits of one core when it began, for each segment size.
    pub limits: Vec<LimitsAt>,
    /// Limits of all cores together; none in older records.
    #[serde(default)]
    pub all_cores: Vec<LimitsAt>,
    pub plan: String,
    pub plan_text: String,
}

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

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names say what they hold")]
pub struct Program {
    pub version: String,
    /// Current commit of the tree that it was built in; none where the tree is gone.
    pub commit: Option<String>,
    /// Whether that tree has uncommitted changes.
    pub dirty: Option<bool>,
    /// Whether the tree has source that is newer than the program.
    pub older_than_source: Option<bool>,
    pub compiler: String,
    pub flags: String,
    pub profile: String,
    pub target: String,
}

/// The MPI that carried the bytes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names say what they hold")]
pub struct Mpi {
    pub library: String,
    pub standard: String,
    pub ranks: u32,
    /// Ranks on the machine of rank 0.
    pub ranks_here: u32,
    pub threading: String,
    /// Its measured limits; none in older records.
    #[serde(default)]
    pub limits: Option<MpiLimits>,
}

/// The measured limits of the machine and its MPI.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Calibration {
    /// One core, for each segment size.
    pub one_core: Vec<LimitsAt>,
    /// All cores together, for each segment size.
    pub all_cores: Vec<LimitsAt>,
    /// The MPI; none with threads.
    pub mpi: Option<MpiLimits>,
}

/// Limits for one segment size.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names say what they hold")]
pub struct LimitsAt {
    pub segment_bytes: usize,
    #[serde(flatten)]
    pub limits: Limits,
    /// Messages per second that all ranks together receive; none with threads.
    #[serde(default)]
    pub messages_per_second: Option<f64>,
}

impl LimitsAt {
    /// The bound of a run, seconds: the longer of the time for its cores and the time for the messages
    /// of its MPI.
    pub(crate) fn bound_s(&self, run: &Summary, verification: Verify) -> Option<f64> {
        let is_checked = verification != Verify::Off;
        let cores = bounds::one_machine(run.bytes_delivered, run.cores, &self.limits, is_checked)?;
        // A broadcast of the whole file does not send a message for each segment.
        let is_whole = run.engine == ContenderKind::MpiBcast.name();
        let rate = self.messages_per_second.filter(|&rate| rate > 0.0 && !is_whole);
        Some(rate.map_or(cores, |rate| cores.max(bounds::messages(run.segments, rate))))
    }
}

impl Environment {
    /// Reads the environment of this process.
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
            tuning: std::env::vars_os()
                .filter_map(|(name, value)| {
                    Some((name.into_string().ok()?, value.to_string_lossy().into()))
                })
                .filter(|(name, _)| TUNING.iter().any(|tuning| name.starts_with(tuning)))
                .collect(),
            limits: one_core,
            all_cores,
            plan: plan.name.clone(),
            plan_text: plan.text.clone(),
        }
    }

    /// `<plan>-<UTC date>-<short commit>`, a name for the folder of a record.
    pub fn folder(&self, plan: &Path) -> String {
        let plan = plan.file_stem().map_or_else(|| "plan".into(), OsStr::to_string_lossy);
        let date = self.began.get(..10).unwrap_or("undated");
        let commit = self.program.commit.as_deref().and_then(|commit| commit.get(..7));
        let name = format!("{plan}-{date}-{}", commit.unwrap_or("unknown"));
        name.chars().map(|c| if c.is_alphanumeric() || c == '-' { c } else { '_' }).collect()
    }

    /// Whether all nodes were on the machine of rank 0.
    pub fn is_one_machine(&self) -> bool {
        self.mpi.as_ref().is_none_or(|mpi| mpi.ranks_here == mpi.ranks)
    }

    /// Compares what must be equal to continue a measurement; the first difference, in words.
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

/// The word in brackets, as in `always [madvise] never`.
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

/// The output of git in the tree at `source`; none without tree or git.
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
    use crate::harness::records::tests::example;

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

    #[test]
    fn small_segments_are_bounded_by_messages() {
        let mut run = example(0).run;
        (run.segments, run.bytes_delivered) = (1000, 40_000_000);
        let limits = Limits { copy_bytes_per_second: 40e9, hash_bytes_per_second: 40e9 };
        let at = LimitsAt { segment_bytes: 1024, limits, messages_per_second: None };
        let cores = at.bound_s(&run, Verify::Inline).expect("limits are known");
        assert_eq!(at.bound_s(&run, Verify::Off), Some(cores / 2.0), "nobody hashes");
        let rate = 1000.0 / cores;
        let of = |rate| LimitsAt { messages_per_second: Some(rate), ..at };
        assert_eq!(of(2.0 * rate).bound_s(&run, Verify::Inline), Some(cores));
        let bound = of(rate / 2.0).bound_s(&run, Verify::Inline).expect("limits are known");
        assert!((bound - 2.0 * cores).abs() < 1e-12);
        run.engine = "mpi-bcast".to_owned();
        assert_eq!(of(rate / 2.0).bound_s(&run, Verify::Inline), Some(cores));
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
