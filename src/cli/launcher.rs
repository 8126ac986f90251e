//! Which launcher started this process, and as which rank of how many?
//!
//! Launchers tell a process its place in variables, each launcher in its own. Shells that were
//! started by one keep them, so that a variable alone does not prove that there are other ranks.

/// What the environment says about the launcher, before MPI begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Launcher {
    /// The variable that tells, to name it in messages.
    pub(super) variable: &'static str,
    /// This process's rank, where a variable tells.
    pub(super) rank: Option<u32>,
    /// How many processes were started, where a variable tells.
    pub(super) size: Option<u32>,
    /// Whether it offers MPI a way to connect the processes.
    pub(super) offers_mpi: bool,
}

/// Rank and size variables of launchers, the most specific first: `mpirun` inside a Slurm job leaves
/// Slurm's variables in place, so that Slurm comes last. Slurm's `PMI_*` and Hydra's are the same.
const MPI_LAUNCHERS: [(&str, &str); 7] = [
    ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"),
    ("MV2_COMM_WORLD_RANK", "MV2_COMM_WORLD_SIZE"),
    ("PMI_RANK", "PMI_SIZE"),
    ("MPI_LOCALRANKID", "MPI_LOCALNRANKS"),
    ("FLUX_TASK_RANK", "FLUX_JOB_SIZE"),
    ("PALS_RANKID", "PALS_SIZE"),
    ("PMIX_RANK", "PMIX_SIZE"),
];

impl Launcher {
    /// Reads the environment through `variable`.
    pub(super) fn detect(variable: impl Fn(&str) -> Option<String>) -> Option<Self> {
        let number = |name: &str| variable(name)?.trim().parse::<u32>().ok();
        for (rank, size) in MPI_LAUNCHERS {
            let name = [rank, size].into_iter().find(|name| variable(name).is_some());
            if let Some(name) = name {
                let (rank, size) = (number(rank), number(size));
                return Some(Self { variable: name, rank, size, offers_mpi: true });
            }
        }
        // A step of Slurm without MPI's help: `MpiDefault=none`, which is Slurm's own default. Outside
        // a step, as in the script of a batch job, the variables speak of the job.
        variable("SLURM_STEP_ID")?;
        let size = number("SLURM_STEP_NUM_TASKS").or_else(|| number("SLURM_NTASKS"));
        let rank = number("SLURM_PROCID");
        let is_step = rank.is_some() && size.is_some_and(|size| size > 1);
        is_step.then_some(Self { variable: "SLURM_PROCID", rank, size, offers_mpi: false })
    }

    /// What the environment of this process says.
    pub(super) fn of_this_process() -> Option<Self> {
        Self::detect(|name| std::env::var(name).ok())
    }

    /// Whether this process is one of several, as far as the variables tell. A single one runs all
    /// nodes as threads: `PMI_*` and the like stay in the shell of an interactive step. Those of `mpirun`
    /// don't: somebody asked for one rank.
    pub(super) fn started_several(&self) -> bool {
        self.size != Some(1) || self.variable.starts_with("OMPI_")
    }

    /// Whether another process says what all have to say.
    pub(super) fn speaks_elsewhere(&self) -> bool {
        self.started_several() && self.rank.is_some_and(|rank| rank != 0)
    }

    /// Why nothing can run, when the launcher gives MPI no way to connect the ranks.
    pub(super) fn refusal(&self) -> Option<String> {
        if self.offers_mpi {
            return None;
        }
        let size = self.size.unwrap_or_default();
        Some(format!(
            "srun started {size} tasks ({}) without MPI: use srun --mpi=pmix (Open MPI) or srun \
             --mpi=pmi2 (MPICH), or --transport local to run every node in this one process",
            self.variable
        ))
    }

    #[cfg(any(test, feature = "mpi"))]
    /// Why this launcher and an MPI that counts `ranks` ranks do not belong together, if they don't.
    pub(super) fn disagreement(&self, ranks: u32) -> Option<String> {
        let variable = self.variable;
        match self.size {
            Some(size) if size != ranks => Some(format!(
                "the launcher ({variable}) started {size} ranks, this MPI sees {ranks}: they are of \
                 different MPIs: use the mpirun of the MPI that mpiswarm was built with (mpicc \
                 --version there), or srun --mpi=pmix"
            )),
            None if ranks == 1 => Some(format!(
                "{variable} is set, but MPI sees one rank: if it is left over in this shell, use \
                 --transport local; else start at least 2 ranks"
            )),
            Some(_) | None => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn detect(variables: &[(&str, &str)]) -> Option<Launcher> {
        let find = |name: &str| variables.iter().find(|(known, _)| *known == name);
        Launcher::detect(|name| find(name).map(|(_, value)| (*value).to_owned()))
    }

    #[test]
    fn a_plain_shell_has_no_launcher() {
        assert_eq!(detect(&[]), None);
        assert_eq!(detect(&[("SLURM_NTASKS", "64")]), None, "left over from an allocation");
        let batch = [("SLURM_JOB_ID", "7"), ("SLURM_NTASKS", "4"), ("SLURM_PROCID", "0")];
        assert_eq!(detect(&batch), None, "the script of a batch job is no step");
    }

    #[test]
    fn a_step_without_mpi_is_refused_with_what_to_type() {
        let step = [("SLURM_STEP_ID", "0"), ("SLURM_NTASKS", "4"), ("SLURM_PROCID", "2")];
        let launcher = detect(&step).expect("a step of four");
        assert!(launcher.speaks_elsewhere());
        assert!(launcher.refusal().expect("no MPI").contains("srun --mpi=pmix"));
        let shell = [("SLURM_STEP_ID", "0"), ("SLURM_NTASKS", "1"), ("SLURM_PROCID", "0")];
        assert_eq!(detect(&shell), None, "srun --pty bash");
    }

    #[test]
    fn the_own_launcher_comes_before_the_slurm_around_it() {
        let inside = [
            ("SLURM_STEP_ID", "0"),
            ("SLURM_NTASKS", "4"),
            ("SLURM_PROCID", "0"),
            ("OMPI_COMM_WORLD_RANK", "3"),
            ("OMPI_COMM_WORLD_SIZE", "8"),
        ];
        let launcher = detect(&inside).expect("mpirun");
        assert_eq!((launcher.rank, launcher.size, launcher.refusal()), (Some(3), Some(8), None));
    }

    #[test]
    fn variables_of_one_process_are_harmless() {
        let left_over = detect(&[("PMI_RANK", "0"), ("PMI_SIZE", "1")]).expect("variables");
        assert!(!left_over.started_several());
        let garbage = detect(&[("PMI_RANK", "x"), ("PMI_SIZE", "-1")]).expect("variables");
        assert_eq!((garbage.rank, garbage.size), (None, None));
    }

    #[test]
    fn another_mpi_than_the_launchers_is_named() {
        let hydra = detect(&[("PMI_RANK", "0"), ("PMI_SIZE", "4")]).expect("variables");
        assert!(hydra.disagreement(1).expect("4 are not 1").contains("different MPIs"));
        assert_eq!(hydra.disagreement(4), None);
        let pmix = detect(&[("PMIX_RANK", "0")]).expect("a variable");
        assert!(pmix.disagreement(1).expect("one alone").contains("--transport local"));
        assert_eq!(pmix.disagreement(2), None);
    }
}
