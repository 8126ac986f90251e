#!/usr/bin/env bash
# Usage: scripts/lib.sh is sourced by the other scripts; called alone it only prints this.

root=$(dirname "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")")

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

sha256() { sha256sum <"$1" | cut -d ' ' -f 1; }

# Where cargo builds. A relative CARGO_TARGET_DIR counts from the root, where cargo is called.
target_folder() {
    local target=${CARGO_TARGET_DIR:-target}
    [[ $target == /* ]] || target=$root/$target
    printf '%s\n' "$target"
}

# record_folder WHAT: results/WHAT-<UTC date>-<commit>, with a number behind it where that exists.
record_folder() {
    local commit name number=2
    commit=$(git -C "$root" rev-parse --short=7 HEAD 2>/dev/null) || commit=unknown
    name=$root/results/$1-$(date -u +%Y-%m-%d)-$commit
    [[ -e $name ]] || { printf '%s\n' "$name" && return; }
    while [[ -e $name-$number ]]; do ((++number)); done
    printf '%s\n' "$name-$number"
}

# each_launch COUNT A B PLACE…: calls `launch_once PROGRAM FOLDER PLACE` COUNT times for each place, with the
# programs A and, unless it is empty, B. Folders: [a/ or b/][PLACE/ where there are several]launch-<number>.
each_launch() {
    local count=$1 a=$2 b=$3 number place folder
    shift 3
    for ((number = 1; number <= count; number++)); do
        for place in "$@"; do
            folder=launch-$number
            (($# == 1)) || folder=$place/$folder
            if [[ -z $b ]]; then
                launch_once "$a" "$folder" "$place" || return
            # The order ABBA: what drifts slowly in the machine meets both alike.
            elif ((number % 2)); then
                launch_once "$a" "a/$folder" "$place" && launch_once "$b" "b/$folder" "$place" || return
            else
                launch_once "$b" "b/$folder" "$place" && launch_once "$a" "a/$folder" "$place" || return
            fi
        done
    done
}

# fault_series 'FAULT…' TIMES ARGUMENT…: reads the command line of the scripts that disturb ranks: one of those
# faults, how often (TIMES by default), --seed, and behind -- options of the program. Sets what they need.
# shellcheck disable=SC2034  # The scripts use it.
fault_series() {
    local faults=$1
    times=$2 seed=1 fault=${3-}
    [[ $fault == -h || $fault == --help ]] && usage && exit
    [[ $fault =~ ^(${faults// /|})$ ]] || die "name a fault: ${faults// /, }; see --help"
    shift $(($# < 3 ? 2 : 3))
    while (($# > 0)); do
        case $1 in
            --seed) seed=${2-} && shift $(($# < 2 ? 1 : 2)) ;;
            --) shift && break ;;
            *) times=$1 && shift ;;
        esac
    done
    [[ $times =~ ^[0-9]{1,6}$ ]] || die "$times is no number of times; see --help"
    [[ $seed =~ ^[0-9]{1,9}$ ]] || die "--seed: a number of at most 9 digits; see --help"
    options=("$@")
    program=${MPISWARM:-$(target_folder)/release/mpiswarm}
    have "$program" || die "no program $program: build it, or name one (MPISWARM)"
    read -ra launcher <<<"${MPIRUN:-mpirun --oversubscribe}"
    export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
    RANDOM=$seed
    out=$(mktemp -d)
    # A job finds its ranks by it.
    export FAULTS_OUT=$out
    trap 'rm -rf "$out"' EXIT
}

# The ranks of the job that still run, `RANK PID` a line, by what each launcher tells its processes; 0 without one.
ranks_of_job() {
    local dir environment rank
    for dir in $(pgrep -x "$(basename "$program" | cut -c 1-15)" | sed 's|^|/proc/|'); do
        environment=$( (tr '\0' '\n' <"$dir/environ") 2>/dev/null) || continue
        grep -qx "FAULTS_OUT=$out" <<<"$environment" || continue
        rank=$(sed -nE 's/^(OMPI_COMM_WORLD_RANK|PMI_RANK)=//p' <<<"$environment" | head -1)
        printf '%s %s\n' "${rank:-0}" "${dir#/proc/}"
    done
}

# signal_ranks NAME PID…: each may have ended meanwhile.
signal_ranks() { kill "-$1" "${@:2}" 2>/dev/null || true; }

# pause_rank PID MILLISECONDS JOB: for that long, or until the job ends.
pause_rank() {
    local paused
    signal_ranks STOP "$1"
    for ((paused = 0; paused < $2; paused += 100)); do
        kill -0 "$3" 2>/dev/null || break
        sleep 0.1
    done
    signal_ranks CONT "$1"
}

# stop_rank RANK PID JOB: for good. A rank may be stopped when all is done and the others have ended. Then only
# the launcher waits for it, and nobody is left who could end the job: it goes on.
stop_rank() {
    signal_ranks STOP "$2"
    while kill -0 "$3" 2>/dev/null; do
        sleep 0.5
        [[ $(ranks_of_job) != "$1 $2" ]] || signal_ranks CONT "$2"
    done
}

# seconds MILLISECONDS: as sleep takes it.
seconds() { printf '%d.%03d' $(($1 / 1000)) $(($1 % 1000)); }

# Whether apt_update and apt_install may be called here.
can_install() { [[ $EUID -eq 0 ]] && have apt-get; }

# Which program Debian's alternatives make `mpicc` and `mpirun`, as `<name> <path>` a line.
mpi_alternatives() {
    local name path
    for name in mpi mpirun; do
        path=$(readlink "/etc/alternatives/$name" 2>/dev/null) && printf '%s %s\n' "$name" "$path"
    done
    return 0
}

apt_update() {
    say "apt-get update" >&2
    # Old lists may still do; the installation will tell.
    apt-get -qq -o DPkg::Lock::Timeout=120 update >&2 ||
        say "apt-get update failed; using the present lists" >&2
}

# apt_install PACKAGE…: another MPI than before does not become the default by it.
apt_install() {
    local name path before
    before=$(mpi_alternatives)
    say "apt-get install $*" >&2
    DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=120 \
        install -y --no-install-recommends "$@" >/dev/null || return
    while read -r name path; do
        [[ -z $name || $(readlink "/etc/alternatives/$name") == "$path" ]] ||
            update-alternatives --set "$name" "$path" >&2
    done <<<"$before"
}

if [[ ${BASH_SOURCE[0]} == "$0" ]]; then usage; fi
