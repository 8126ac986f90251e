#!/usr/bin/env bash
# Usage: scripts/test-matrix.sh [FLAVOUR…]
#
# Builds mpiswarm with each MPI that scripts/mpi.sh knows, or only with those named, runs the tests
# that start ranks, and prints a table. Each has a build folder of its own, so that a second call
# builds little. What an MPI said is in target/mpi/FLAVOUR/build.log and tests.log.
#
# Exit code: 0 all passed, 1 something failed with one of them.

set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=mpi.sh
. "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/mpi.sh"

case ${1-} in
    -h | --help) usage && exit ;;
esac
(($#)) || set -- "${mpi_flavours[@]}"
cd "$root"

# All tests in files that start ranks; optimised as in the gate, because some have limits of time.
mapfile -t selected < <(grep -l '^mod launch;' tests/*.rs | sed -E 's|tests/(.*)\.rs|--test\n\1|')

# logged NAME FLAVOUR COMMAND…: into that flavour's log of that name; how long it took is in `took`.
logged() {
    local log began=$SECONDS code=0
    log=$(target_folder)/mpi/$2/$1.log
    mkdir -p "$(dirname "$log")"
    nice "$root/scripts/mpi.sh" "${@:2}" >"$log" 2>&1 || code=$?
    took="$((SECONDS - began)) s"
    return "$code"
}

# try FLAVOUR: adds its line to the table.
try() {
    local flavour=$1 version=- build tests=- took log
    say "$flavour"
    log=$(target_folder)/mpi/$flavour/tests.log
    if logged build "$flavour" cargo nextest run --cargo-profile gate "${selected[@]}" --no-run; then
        build=$took
        version=$("$root/scripts/mpi.sh" "$flavour" mpirun --version 2>/dev/null |
            sed -nE 's/.*\((Open MPI|OpenRTE)\) (.*)/Open MPI \2/p; s/^ *Version: *(.*)/MPICH \1/p' | head -n 1)
        logged tests "$flavour" cargo nextest run --cargo-profile gate "${selected[@]}" --no-fail-fast || failed+=("$flavour: $log")
        tests=$(grep -E 'Summary' "$log" | sed -E 's/.*\] *//' || echo "failed in $took")
    else
        build=failed
        failed+=("$flavour: $(target_folder)/mpi/$flavour/build.log")
    fi
    table+=("$(printf '%-10s %-16s %-8s %s' "$flavour" "$version" "$build" "$tests")")
}

table=("$(printf '%-10s %-16s %-8s %s' MPI version build tests)") failed=()
for flavour in "$@"; do try "$flavour"; done
printf '%s\n' "${table[@]}"
((${#failed[@]} == 0)) || { printf 'failed: %s\n' "${failed[@]}" >&2 && exit 1; }
