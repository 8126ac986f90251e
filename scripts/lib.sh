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
