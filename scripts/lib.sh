#!/usr/bin/env bash
# Usage: scripts/lib.sh is sourced by the other scripts; on its own it only prints this.
#
# MPICC and MPIRUN choose another MPI than the first on PATH (MPICC=mpicc.mpich MPIRUN=mpirun.mpich);
# give each MPI a build folder of its own through CARGO_TARGET_DIR.

root=$(dirname "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")")
mpicc=${MPICC:-mpicc}
mpirun=${MPIRUN:-mpirun}

# A shell that rustup has not touched yet, as in a fresh container, lacks cargo's folder.
cargo_bin=${CARGO_HOME:-${HOME-}/.cargo}/bin
[[ ! -x $cargo_bin/cargo || :$PATH: == *:$cargo_bin:* ]] || PATH=$cargo_bin:$PATH

script=${0##*/}
say() { printf '%s: %s\n' "${script%.sh}" "$*"; }

die() {
    say "$*" >&2
    exit 2
}

# The comment that opens a script is its help.
usage() { sed -n '2,/^$/s/^# \{0,1\}//p' "$(readlink -f "$0")"; }

have() { command -v "$1" >/dev/null 2>&1; }

# input_files DIR: its in<R>.txt, absolute, in the order of R. Rank 0, the tracker, has none.
input_files() {
    find "$(readlink -f "$1")" -maxdepth 1 -name 'in*.txt' | grep -E '/in[1-9][0-9]*\.txt$' | sort -V
}

# Where cargo builds. A relative CARGO_TARGET_DIR counts from the root, where cargo is called.
target_folder() {
    local target=${CARGO_TARGET_DIR:-target}
    [[ $target == /* ]] || target=$root/$target
    printf '%s\n' "$target"
}

# Cores that ranks may fill. Open MPI counts real cores, nproc counts hardware threads. Inside a
# Slurm job the allocation decides, not the machine that the script happens to run on.
cores() {
    if [[ -n ${SLURM_NTASKS-} ]]; then
        printf '%s\n' "$SLURM_NTASKS"
        return
    fi
    local threads real
    threads=$(nproc)
    real=$(lscpu -p=CORE,SOCKET 2>/dev/null | grep -v '^#' | sort -u | wc -l) || real=0
    printf '%s\n' "$((real > 0 && real < threads ? real : threads))"
}

# The folders that mpicc would bake into a program as places of its libraries.
mpi_library_folders() {
    local flags flag
    if flags=$("$mpicc" --showme:libdirs 2>/dev/null); then
        for flag in $flags; do printf '%s\n' "$flag"; done
        return
    fi
    flags=$("$mpicc" -show 2>/dev/null) || return 0
    for flag in $flags; do
        case $flag in -L*) printf '%s\n' "${flag#-L}" ;; esac
    done
}

# mpi_environment RANKS: makes this shell ready to start that many ranks; mpirun_arguments is what
# to pass to mpirun.
mpi_environment() {
    local ranks=$1 version folder
    mpirun_arguments=(-n "$ranks")

    # The crate `mpi` drops mpicc's rpath, so an MPI outside the loader's own folders is not found.
    while read -r folder; do
        case $folder in
            /lib | /lib64 | /usr/lib | /usr/lib64 | /usr/local/lib | /usr/lib/*-linux-gnu) ;;
            *) [[ :${LD_LIBRARY_PATH-}: == *:$folder:* ]] ||
                export LD_LIBRARY_PATH=$folder${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH} ;;
        esac
    done < <(mpi_library_folders)

    version=$("$mpirun" --version 2>&1) || die "$mpirun --version fails: $version"
    # Hydra, the launcher of MPICH and Intel MPI, needs none of what follows.
    [[ $version == *"Open MPI"* ]] || return 0

    # Open MPI refuses root unless told twice.
    if [[ $EUID -eq 0 ]]; then
        export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
    fi
    # A rank hashes on several threads; bound to one core, as is the default, they would share it.
    mpirun_arguments+=(--bind-to none)
    # Other machines of the job do not inherit the environment by themselves.
    [[ -z ${LD_LIBRARY_PATH-} ]] || mpirun_arguments+=(-x LD_LIBRARY_PATH)
    if ((ranks > $(cores))); then
        mpirun_arguments+=(--oversubscribe)
        # An idle rank that polls without yielding costs its neighbours a thousandfold.
        export OMPI_MCA_mpi_yield_when_idle=1
    fi
}

if [[ ${BASH_SOURCE[0]} == "$0" ]]; then usage; fi
