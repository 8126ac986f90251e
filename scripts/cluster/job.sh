#!/usr/bin/env bash
# Usage: scripts/cluster/job.sh is sourced by the job scripts beside it; on its own it only prints this.
#
# What differs between clusters is said in the environment, all of it optional:
#   MPISWARM_ROOT       the repository, which all nodes see; by default where the job was submitted
#   MPISWARM            the program; by default target/release/mpiswarm, which has to be built before
#   MPISWARM_MODULES    what to `module load`, as in "gcc/13 openmpi/5.0"
#   MPISWARM_SETUP      a file to source after that, for whatever else a site needs
#   MPISWARM_LAUNCHER   srun, mpirun or flux: what starts the ranks
#   MPISWARM_SRUN_MPI   how srun wires them up: pmix (by default), pmi2 for MPICH; `srun --mpi=list`
#   MPISWARM_OPTIONS    more options for the launcher
#   MPISWARM_RANKS      the tracker and the peers; by default as many as the job has tasks
#   MPISWARM_LAUNCHES   how often a plan is launched; by default 8. The time of the job has to be enough for
#                       so many times the plan's budget
#   MPISWARM_AGAINST    another build of mpiswarm: the plan is launched with both in turn, in the order ABBA
#   MPISWARM_RESULTS    where record folders go; by default results/ of the repository
#   MPISWARM_RECORD     the record folder itself; by default a new one below that
#   MPISWARM_OUT        where finished files go; by default outputs/ in the record. A folder on each
#                       node's own disk is filled there and can't be checked from here
#
# A record folder belongs to one job, or to one attempt where the batch system starts a job again:
#   job.txt        what ran where, `key: value` a line
#   log.txt        its output
#   exit-code      written last: without it, the job did not come to its end
# and what the job itself leaves there: of a plan bench/launch-1 and so on, or bench/a/launch-1 and
# bench/b/launch-1, and bench/comparison.txt. A folder that exists is never written to.

root=${MPISWARM_ROOT:-$(dirname "$(dirname "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")")")}
# shellcheck source-path=SCRIPTDIR source=../mpi.sh
. "$root/scripts/mpi.sh"

# job_begin KIND SCHEDULER ID [RANKS] [LAUNCHER]: makes the environment ready and the record folder.
# The id is the batch system's; ranks and launcher are what it implies.
job_begin() {
    local kind=$1 scheduler=$2 id=$3
    job_modules
    [[ -z ${MPISWARM_SETUP-} ]] || job_unguarded . "$MPISWARM_SETUP"
    mpiswarm=${MPISWARM:-$root/target/release/mpiswarm}
    [[ -x $mpiswarm ]] || die "$mpiswarm is missing: build it with the MPI of this job (cargo build --release)"
    ranks=${MPISWARM_RANKS:-${4-}}
    launcher=${MPISWARM_LAUNCHER:-${5:-mpirun}}
    # Many ranks on a machine, each with threads of its own: all of them may run and none spins.
    mpi_environment any
    record=${MPISWARM_RECORD:-${MPISWARM_RESULTS:-$root/results}/$kind-$(date -u +%Y%m%dT%H%M%SZ)-$scheduler-$id}
    mkdir -p "$(dirname "$record")"
    mkdir "$record" || die "$record cannot be made: a record is written once; name another folder"
    job_note scheduler "$scheduler"
    job_note job "$id"
    job_note program "$mpiswarm"
    job_note version "$("$mpiswarm" --version)"
    job_note commit "$(git -C "$root" describe --always --dirty --abbrev=40 --exclude='*' 2>/dev/null || echo unknown)"
    job_note modules "${MPISWARM_MODULES-}"
    say "record: $record"
}

# Code of a site may use unset variables and let commands fail.
job_unguarded() {
    set +eu
    # shellcheck disable=SC1090
    "$@"
    set -eu
}

job_modules() {
    local file modules
    read -ra modules <<<"${MPISWARM_MODULES-}"
    ((${#modules[@]})) || return 0
    # A batch job's shell is no login shell, which would know the command.
    for file in /etc/profile.d/{modules,lmod,z00_lmod}.sh; do
        [[ $(type -t module) == function || ! -e $file ]] || job_unguarded . "$file"
    done
    [[ $(type -t module) == function ]] || die "MPISWARM_MODULES is set, but there is no module command here: unset it"
    for file in "${modules[@]}"; do job_unguarded module load "$file"; done
}

# A command may have several lines; the note of it has one.
job_note() { printf '%s: %s\n' "$1" "${2//$'\n'/ }" >>"$record/job.txt"; }

# srun_mpi: the --mpi of srun, if this Slurm has it.
srun_mpi() {
    local wanted=${MPISWARM_SRUN_MPI:-pmix} known
    known=$(srun --mpi=list 2>&1) || true
    [[ " ${known//[^[:alnum:]_]/ } " == *" $wanted "* ]] ||
        die "this Slurm has no --mpi=$wanted: set MPISWARM_SRUN_MPI to one that your MPI knows (${known//$'\n'/ }), or MPISWARM_LAUNCHER=mpirun"
    printf '%s\n' "$wanted"
}

# Sets `launch`: what to write before a program so that it becomes that many ranks.
job_launch() {
    local options mpi
    read -ra options <<<"${MPISWARM_OPTIONS-}"
    case $launcher in
        srun)
            mpi=$(srun_mpi)
            # Since Slurm 22.05 srun does not take this from the job by itself.
            [[ -z ${SLURM_CPUS_PER_TASK-} ]] || export SRUN_CPUS_PER_TASK=$SLURM_CPUS_PER_TASK
            launch=(srun --mpi="$mpi" --kill-on-bad-exit=1 -n "$ranks")
            ;;
        mpirun)
            mpi_arguments "$ranks"
            launch=("$mpirun" "${mpirun_arguments[@]}")
            ;;
        flux) launch=(flux run -n "$ranks") ;;
        *) die "MPISWARM_LAUNCHER: unknown launcher $launcher: use srun, mpirun or flux" ;;
    esac
    launch+=("${options[@]}")
    job_note ranks "$ranks"
}

# job_end CODE: closes the record and ends the script.
job_end() {
    job_note ended "$(date -u +%FT%TZ)"
    printf '%s\n' "$1" >"$record/exit-code"
    exit "$1"
}

# job_execute COMMAND…: with its output in the log; returns its exit code.
job_execute() {
    job_note command "$*"
    job_note started "$(date -u +%FT%TZ)"
    "$@" 2>&1 | tee -a "$record/log.txt"
    return "${PIPESTATUS[0]}"
}

# job_run INPUTS [ARGUMENT…]: one run of these inputs, checked against them.
job_run() {
    local inputs=$1 code=0 highest out
    shift
    [[ -d $inputs ]] || die "no folder $inputs: name the folder of the inputs"
    highest=$(input_files "$inputs" | tail -n 1 | sed -E 's|.*/in([0-9]+)\.txt$|\1|') || true
    [[ -n $highest ]] || die "$inputs has no in<R>.txt: name the folder of the inputs"
    ranks=${ranks:-$((highest + 1))}
    out=${MPISWARM_OUT:-$record/outputs}
    job_launch
    job_execute "${launch[@]}" "$mpiswarm" run "$inputs" --transport mpi --out "$out" \
        --report "$record/summary.json" "$@" || code=$?
    if ((code == 0)) && [[ -z ${MPISWARM_OUT-} ]]; then
        job_execute "$root/scripts/check-outputs.sh" "$inputs" "$out" || code=$?
    fi
    job_end "$code"
}

# job_bench PLAN [ARGUMENT…]: all launches of a plan, and their comparison.
job_bench() {
    local count=${MPISWARM_LAUNCHES:-8} against=${MPISWARM_AGAINST-} code=0 sets=("$record/bench")
    plan=("$@")
    [[ -f $1 ]] || die "no file $1: name a plan, such as inputs/plans/ranks.toml"
    [[ -n $ranks ]] || die "MPISWARM_RANKS is not set: set the number of ranks"
    [[ $count =~ ^[1-9][0-9]{0,3}$ ]] || die "MPISWARM_LAUNCHES: $count is no number of launches: use one such as 8"
    [[ -z $against || -x $against ]] || die "MPISWARM_AGAINST: no program $against: build it with the MPI of this job"
    job_launch
    each_launch "$count" "$mpiswarm" "$against" "ranks-$ranks" || code=$?
    if ((code == 0)); then
        [[ -z $against ]] || sets=("$record/bench/a" "$record/bench/b")
        # The measurement is whole, whatever comes of this.
        job_execute "$mpiswarm" compare "${sets[@]}" --out "$record/bench/comparison.txt" || true
    fi
    job_end "$code"
}

# Sets `launch` for one rank a node, with all of its cores: what moves bytes to the disk of each node.
job_launch_nodes() {
    local options mpi nodes=$1
    read -ra options <<<"${MPISWARM_OPTIONS-}"
    case $launcher in
        srun)
            mpi=$(srun_mpi)
            launch=(srun --mpi="$mpi" --kill-on-bad-exit=0 -N "$nodes" -n "$nodes"
                --ntasks-per-node=1 --cpu-bind=none)
            ;;
        mpirun)
            mpi_arguments "$nodes"
            launch=("$mpirun" "${mpirun_arguments[@]}")
            if [[ $(mpi_launcher) == hydra ]]; then launch+=(-ppn 1); else launch+=(--map-by ppr:1:node --bind-to none); fi
            ;;
        flux) launch=(flux run -N "$nodes" -n "$nodes" -o cpu-affinity=off) ;;
        *) die "MPISWARM_LAUNCHER: unknown launcher $launcher: use srun, mpirun or flux" ;;
    esac
    launch+=("${options[@]}")
    job_note ranks "$nodes"
}

# job_stage NODES ARGUMENT… [-- COMMAND…]: stages, with these arguments of `mpiswarm stage`, and runs the
# command once every node has everything. The command starts where the job script runs: it launches its own
# ranks.
job_stage() {
    local nodes=$1 code=0 arguments=() dirs=() sources=() previous='' word
    shift
    while (($#)) && [[ $1 != -- ]]; do
        if [[ $previous == --to ]]; then dirs+=("$1"); fi
        if [[ $1 == --to=* ]]; then dirs+=("${1#--to=}"); fi
        previous=$1
        arguments+=("$1")
        shift
    done
    (($# == 0)) || shift
    ((${#dirs[@]})) || die "no --to: name the folder of each node to write to"
    # Sources are what comes before the first option.
    for word in "${arguments[@]}"; do
        [[ $word != -* ]] || break
        sources+=("$word")
    done
    ((${#sources[@]})) || die "no source: name files and folders first, then the options"
    job_launch_nodes "$nodes"
    job_execute "${launch[@]}" "$mpiswarm" stage "${arguments[@]}" --transport mpi || code=$?
    if ((code == 0)); then job_markers || code=$?; fi
    ((code == 0)) || { say "not every node has everything: the rest of the job is left out" && job_end "$code"; }
    if (($#)); then job_execute "$@" || code=$?; fi
    job_end "$code"
}

# job_source_name SOURCE: what its copy is called: by the last name as it is written, a link's own too.
job_source_name() {
    local source=$1
    while [[ $source == ?*/ || $source == */. ]]; do source=${source%/} source=${source%/.}; done
    [[ ${source##*/} != . && ${source##*/} != .. ]] || source=$(readlink -f "$source")
    printf '%s\n' "${source##*/}"
}

# Whether each node has the manifest of each source, which is written last. It is what later steps, or
# later jobs on the same nodes, test for.
job_markers() {
    local dir source name markers=()
    for dir in "${dirs[@]}"; do
        # Those differ from node to node.
        [[ $dir != *'{'* ]] || continue
        for source in "${sources[@]}"; do
            name=$(job_source_name "$source")
            markers+=("$dir/.mpiswarm/$name.manifest")
        done
    done
    ((${#markers[@]})) || return 0
    # shellcheck disable=SC2016
    job_execute "${launch[@]}" sh -c 'for m; do test -f "$m" || { echo "$(hostname): no $m" >&2; exit 1; }; done' \
        sh "${markers[@]}"
}

# launch_once PROGRAM FOLDER: for each_launch.
launch_once() {
    mkdir -p "$record/bench/$2"
    job_execute "${launch[@]}" "$1" bench "${plan[@]}" --out "$record/bench/$2"
}

if [[ ${BASH_SOURCE[0]} == "$0" ]]; then usage; fi
