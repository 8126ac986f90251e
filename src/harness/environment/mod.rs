//! On what were the figures measured? The machine, the program, the MPI and its settings.

mod machine;
mod program;
mod source_digest;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::Path;

pub use machine::Machine;
pub use program::Program;
use serde::{Deserialize, Serialize};

use super::plan;
use super::switches::ContenderKind;
use super::{Launch, Plan};
use crate::config::Verify;
use crate::report::limits::bounds;
use crate::report::units::count;
use crate::report::{Limits, MpiLimits, Summary};
use crate::time;

/// The file that holds it, in a folder of records.
// Part of the format: `compare` looks for it.
pub const ENVIRONMENT: &str = "environment.json";

// Prefixes of the variables that choose how an MPI moves bytes.
// Open MPI's frameworks for transports and collectives, its idle mode and where it binds ranks; libfabric,
// Intel MPI, MPICH and UCX; and the size of the thread pool that verifies. Not all of `OMPI_MCA_`:
// mpirun passes names of files and jobs in those, which differ in each launch, and whether there are more
// ranks than cores, which their numbers say.
const TUNING: [&str; 17] = [
    "OMPI_MCA_btl",
    "OMPI_MCA_coll",
    "OMPI_MCA_hwloc_base_binding_policy",
    "OMPI_MCA_mpi_leave_pinned",
    "OMPI_MCA_mpi_preconnect",
    "OMPI_MCA_mpi_yield_when_idle",
    "OMPI_MCA_mtl",
    "OMPI_MCA_opal_",
    "OMPI_MCA_osc",
    "OMPI_MCA_pml",
    "OMPI_MCA_rmaps_base_mapping_policy",
    "FI_",
    "I_MPI_",
    "MPICH_",
    "MPIR_CVAR_",
    "RAYON_NUM_THREADS",
    "UCX_",
];

// The variable in which `scripts/lab.sh` says how it shaped the links between its hosts: a process can't
// see that.
const LINKS: &str = "MPISWARM_LINKS";

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
    /// How the links between the hosts were shaped; none where nobody said, and in older records.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub links: Option<String>,
    /// Limits of one core when it began, for each segment size.
    pub limits: Vec<LimitsAt>,
    /// Limits of all cores together; none in older records.
    #[serde(default)]
    pub all_cores: Vec<LimitsAt>,
    pub plan: String,
    pub plan_text: String,
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
    /// Ranks on each host, that of rank 0 first; empty in older records.
    #[serde(default)]
    pub ranks_by_host: Vec<u32>,
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
            load_at_start: machine::load(),
            program: Program::capture(),
            mpi: mpi(launch, mpi_limits),
            tuning: std::env::vars_os()
                .filter_map(|(name, value)| {
                    Some((name.into_string().ok()?, value.to_string_lossy().into()))
                })
                .filter(|(name, _)| TUNING.iter().any(|tuning| name.starts_with(tuning)))
                .collect(),
            links: std::env::var(LINKS).ok().filter(|links| !links.is_empty()),
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

    /// Compares what must be equal to continue a measurement; the name of the first
    /// difference.
    pub fn differs_from(&self, earlier: &Self) -> Option<&'static str> {
        if self.plan_text != earlier.plan_text {
            return Some("plan");
        }
        if self.program.commit != earlier.program.commit {
            return Some("commit");
        }
        let both = self.conditions().into_iter().zip(earlier.conditions());
        both.into_iter().find_map(|((name, now), (_, then))| (now != then).then_some(name))
    }

    /// Under what the runs stood, by name: `report::compare` puts results under different conditions in
    /// no series.
    pub(crate) fn conditions(&self) -> [(&'static str, String); 10] {
        let Self { machine, mpi, tuning, .. } = self;
        let tuning: Vec<_> = tuning.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let (transport, ranks) = mpi.as_ref().map_or_else(
            || ("threads of one process".to_owned(), "none".to_owned()),
            |mpi| (format!("{}, threads {}", mpi.named(), mpi.threading), mpi.ranks_on_hosts()),
        );
        [
            ("plan", format!("{} ({})", self.plan, plan::fingerprint(&self.plan_text))),
            ("transport", transport),
            ("ranks", ranks),
            ("MPI tuning", none_if_empty(&tuning.join(" "))),
            ("links", none_if_empty(self.links.as_deref().unwrap_or_default())),
            ("host", self.host.clone()),
            ("processor", machine.cpu.clone()),
            ("cores", machine.cores.to_string()),
            ("kernel", machine.kernel.clone()),
            ("profile", self.program.profile.clone()),
        ]
    }
}

impl Mpi {
    /// Name and version: `Open MPI v4.1.4`. MPICH tells how it was built on further lines.
    fn named(&self) -> String {
        let name = self.library.lines().next().unwrap_or_default();
        let name = name.split(',').next().unwrap_or_default();
        name.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    /// `13 on one host`, `9 on 8 hosts: 2, 1, 1, 1, 1, 1, 1, 1`.
    fn ranks_on_hosts(&self) -> String {
        let Self { ranks, ranks_here: here, ranks_by_host: by_host, .. } = self;
        if ranks == here {
            return format!("{ranks} on one host");
        }
        if by_host.is_empty() {
            return format!("{ranks} on several hosts, {here} on the first");
        }
        let hosts = count(by_host.len() as u64, "host");
        let by_host: Vec<_> = by_host.iter().map(ToString::to_string).collect();
        format!("{ranks} on {hosts}: {}", by_host.join(", "))
    }
}

pub(super) fn none_if_empty(text: &str) -> String {
    if text.is_empty() { "none".to_owned() } else { text.to_owned() }
}

fn now() -> jiff::Timestamp {
    jiff::Timestamp::try_from(time::wall_clock()).unwrap_or_default()
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
                ranks_by_host: ranks.by_host().to_vec(),
                threading: format!("{:?}", mpi::environment::threading_support()),
                limits,
            })
        }
    }
}
