//! Staging as the first step of a job: each node has the tree before the rest of the job begins, or there is
//! no rest.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::slurm::{self, Slurm, utf8};
use super::{PROGRAM, Record, as_a_job, has_mpirun, root, script};

/// How long all jobs of a test may take: each takes some seconds.
const LIMIT: Duration = Duration::from_secs(120);

/// What the rest of a job prints on each node whose copy is right.
const REST: &str = "rest of the job on";

/// A source, results, and jobs on a Slurm of this test's own.
struct Cluster {
    slurm: Slurm,
    folder: tempfile::TempDir,
}

impl Cluster {
    fn up() -> Option<Self> {
        let slurm = Slurm::up()?;
        let folder = tempfile::tempdir().expect("a folder");
        plant(folder.path());
        Some(Self { slurm, folder })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Submits a job of four nodes: these lines of a shell.
    fn submit(&self, program: &Path, lines: &str) -> String {
        let mut sbatch = self.slurm.command("sbatch");
        sbatch.args(["--parsable", "--nodes=4", "--ntasks-per-node=1", "--chdir"]).arg(root());
        sbatch.arg("--output").arg(self.path("slurm-%j.log"));
        sbatch.env("MPISWARM", program).env("MPISWARM_RESULTS", self.path("results"));
        sbatch.env("MPISWARM_ROOT", root()).env("FOLDER", self.folder.path());
        sbatch.env("STAGE", script("stage.sbatch"));
        let lines = format!("#!/bin/bash\n{lines}\n");
        let job = self.path("job.sh");
        fs::write(&job, lines).expect("a small file");
        slurm::text(sbatch.arg(job).output())
    }

    /// The record of each of these jobs, once all have ended.
    fn records<const N: usize>(&self, jobs: [&str; N]) -> [Record; N] {
        self.slurm.wait(LIMIT);
        jobs.map(|job| {
            let mut records = Record::all(&self.path("results")).into_iter();
            let record = records.find(|record| record.noted("job") == job);
            record.unwrap_or_else(|| panic!("job {job} has no record: {}", self.log(job)))
        })
    }

    fn log(&self, job: &str) -> String {
        fs::read_to_string(self.path(&format!("slurm-{job}.log"))).unwrap_or_default()
    }
}

/// Makes a small tree `trees/v2` in this folder, the link `model` to it, and `rest.sh`, which a job may go on
/// with: it compares the copy of the node that it runs on, `$1`.
fn plant(folder: &Path) {
    let tree = folder.join("trees/v2");
    fs::create_dir_all(tree.join("layers/empty")).expect("folders");
    for number in 0..20_usize {
        let content = vec![u8::try_from(number).expect("it is small"); number * number * 1000];
        fs::write(tree.join(format!("layers/{number}")), content).expect("a file");
    }
    symlink("layers/3", tree.join("link")).expect("a link");
    symlink(&tree, folder.join("model")).expect("a link");
    let check = root().join("scripts/check-tree.sh");
    let rest = format!(
        "#!/bin/sh\n'{}' '{}' \"$1\" && echo '{REST}' $(hostname)\n",
        check.display(),
        tree.display()
    );
    program(&folder.join("rest.sh"), &rest);
}

fn program(path: &Path, text: &str) {
    fs::write(path, text).expect("a small file");
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("it is ours");
}

/// The nodes on which the rest of a job found a right copy.
fn rest_on(record: &Record) -> Vec<&str> {
    let nodes = record.log.lines().filter_map(|line| line.strip_prefix(REST)).map(str::trim);
    let mut nodes: Vec<_> = nodes.collect();
    nodes.sort_unstable();
    nodes
}

const ALL: [&str; 4] = ["n1", "n2", "n3", "n4"];

#[test]
fn every_node_has_the_tree_before_the_rest_of_a_job() {
    let Some(cluster) = Cluster::up() else {
        return;
    };
    let program = Path::new(PROGRAM);
    // The source is a link: its copy has the link's name, and so has the manifest.
    let stage = "exec $STAGE $FOLDER/model --to /dev/shm/$SLURM_JOB_ID --mkdir \
                 -- srun -N4 -n4 $FOLDER/rest.sh /dev/shm/$SLURM_JOB_ID/model";
    let jobs = [
        cluster.submit(program, stage),
        cluster.submit(program, &format!("export MPISWARM_LAUNCHER=mpirun\n{stage}")),
    ];
    let records = cluster.records([&jobs[0], &jobs[1]]);
    for (record, launcher) in records.iter().zip(["srun --mpi=pmix", "mpirun -n 4"]) {
        assert_eq!((record.exit_code.as_str(), rest_on(record)), ("0", ALL.into()), "{record:?}");
        assert_eq!((record.noted("ranks"), record.noted("nodes")), ("4", "n[1-4]"));
        assert!(record.noted("command").starts_with(launcher), "{record:?}");
        assert!(record.log.contains("all 4 ranks have everything, verified"), "{record:?}");
    }
}

#[test]
fn without_everything_on_every_node_the_rest_of_a_job_is_left_out() {
    let Some(cluster) = Cluster::up() else {
        return;
    };
    let lacks_one = "srun -N4 -n4 sh -c 'test $(hostname) = n3 || mkdir /dev/shm/some'
        exec $STAGE $FOLDER/model --to /dev/shm/some -- echo 'rest of the job on' all";
    let refused = "exec $STAGE $FOLDER/nothing --to /dev/shm -- echo 'rest of the job on' all";
    // It says that it has done all, and has done nothing: the done markers tell.
    let liar = cluster.path("liar.sh");
    program(&liar, "#!/bin/sh\necho 'mpiswarm 0'\n");
    let lie = "exec $STAGE $FOLDER/model --to=/dev/shm -- echo 'rest of the job on' all";
    let (honest, liar) = (Path::new(PROGRAM), liar.as_path());
    let jobs = [
        cluster.submit(honest, lacks_one),
        cluster.submit(honest, refused),
        cluster.submit(liar, lie),
    ];
    let records = cluster.records([&jobs[0], &jobs[1], &jobs[2]]);
    let said = [
        ("1", "n3 (rank 2): --to /dev/shm/some: "),
        ("2", "/nothing: "),
        ("1", "n4: no /dev/shm/.mpiswarm/model.manifest"),
    ];
    for ((record, job), (code, word)) in records.iter().zip(&jobs).zip(said) {
        assert_eq!((record.exit_code.as_str(), rest_on(record)), (code, vec![]), "{record:?}");
        assert!(record.log.contains(word), "{word}: {record:?}");
        assert!(cluster.log(job).contains("the rest of the job is left out"), "{record:?}");
    }
}

#[test]
fn jobs_of_pbs_and_flux_stage_to_each_of_their_nodes() {
    let Some(cluster) = Cluster::up() else {
        return;
    };
    // What those systems promise a job, on nodes of Slurm.
    fs::create_dir(cluster.path("bin")).expect("the folder is new");
    let flux = "#!/bin/sh
        case $1 in
            getattr) [ $2 = size ] && echo 4; exit ;;
            run) [ \"$6 $7\" = '-o cpu-affinity=off' ] && shift 7 && exec srun --mpi=pmix -N4 -n4 \"$@\" ;;
        esac
        exit 1";
    program(&cluster.path("bin/flux"), flux);
    let pbs = "printf '%s\\n' n1 n1 n2 n3 n3 n4 >$FOLDER/nodes
        export PBS_JOBID=$SLURM_JOB_ID PBS_O_WORKDIR=$PWD PBS_NODEFILE=$FOLDER/nodes
        export MPISWARM_ARGUMENTS=\"$FOLDER/model --to /dev/shm/pbs --mkdir \
         -- srun -N4 -n4 $FOLDER/rest.sh /dev/shm/pbs/model\"
        exec ${STAGE%.sbatch}.pbs";
    let flux = "export PATH=$FOLDER/bin:$PATH FLUX_URI=local:///none
        ${STAGE%.sbatch}.flux $FOLDER/model --to /dev/shm/flux --mkdir \
         -- srun -N4 -n4 $FOLDER/rest.sh /dev/shm/flux/model";
    let honest = Path::new(PROGRAM);
    let jobs = [cluster.submit(honest, pbs), cluster.submit(honest, flux)];
    let record = &cluster.records([&jobs[0]])[0];
    assert_eq!((record.exit_code.as_str(), rest_on(record)), ("0", ALL.into()), "{record:?}");
    assert_eq!((record.noted("ranks"), record.noted("nodes")), ("4", "n1,n2,n3,n4"));
    let records = Record::all(&cluster.path("results"));
    let record = records.iter().find(|record| record.noted("scheduler") == "flux");
    let record = record.unwrap_or_else(|| panic!("{}", cluster.log(&jobs[1])));
    assert_eq!((record.exit_code.as_str(), rest_on(record)), ("0", ALL.into()), "{record:?}");
    assert!(record.noted("command").starts_with("flux run -N 4 -n 4 "), "{record:?}");
}

#[test]
fn sbcast_is_measured_on_nodes_of_slurm() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut bench = Command::new(root().join("scripts/stage-bench.sh"));
    bench.args(["--slurm", "--only", "sbcast", "--only", "cp", "--rounds", "1"]);
    bench.args(["--scale", "0.0005", "small", "--in"]).arg(folder.path());
    bench.arg("--out").arg(folder.path().join("record"));
    let output = bench.env("MPISWARM", PROGRAM).output().expect("the script starts");
    if output.status.code() == Some(slurm::IMPOSSIBLE) {
        return;
    }
    assert!(output.status.success(), "{output:?}");
    let rounds = fs::read_to_string(folder.path().join("record/rounds.csv")).expect("the record");
    let right =
        |run: &str| rounds.lines().any(|line| line.starts_with(run) && line.ends_with(",yes"));
    assert!(right("0,small,sbcast,") && right("1,small,sbcast,"), "{rounds}");
}

#[test]
fn a_job_of_pbs_stages_without_slurm() {
    if !has_mpirun() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    plant(folder.path());
    let path = |name: &str| utf8(&folder.path().join(name)).to_owned();
    fs::write(path("nodes"), "localhost\n".repeat(3)).expect("a small file");
    let stage = |arguments: &str| {
        let variables = [
            ("PBS_JOBID", "8.server"),
            ("PBS_O_WORKDIR", utf8(root())),
            ("PBS_NODEFILE", &path("nodes")),
            ("MPISWARM_ARGUMENTS", arguments),
        ];
        let output = as_a_job("stage.pbs", &folder.path().join("results"), &variables, &[]);
        // Names of records tell seconds apart.
        std::thread::sleep(Duration::from_millis(1100));
        output
    };
    let (source, to) = (path("model"), path("to"));
    let rest = format!("-- {} {to}/model", path("rest.sh"));
    let refused = stage(&format!("{source} --to {to} {rest}"));
    assert_eq!(refused.status.code(), Some(2), "the folder is missing: {refused:?}");
    let staged = stage(&format!("{source} --to {to} --mkdir {rest}"));
    assert_eq!(staged.status.code(), Some(0), "{staged:?}");
    let records = Record::all(&folder.path().join("results"));
    let rest: Vec<_> = records.iter().map(|record| rest_on(record).len()).collect();
    assert_eq!(rest, [0, 1], "{records:?}");
    for (arguments, why) in [("--to /tmp", "no source"), (source.as_str(), "no --to")] {
        let output = stage(arguments);
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        assert!(String::from_utf8_lossy(&output.stderr).contains(why), "{output:?}");
    }
}
