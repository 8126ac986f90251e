#!/usr/bin/env bash
# Usage: flux batch [FLUX OPTIONS] scripts/cluster/run.flux [INPUTS] [arguments for `mpiswarm run`]
#        flux batch [FLUX OPTIONS] scripts/cluster/run.flux PLAN.toml [arguments for `mpiswarm bench`]
#
# One run, or the benchmarks of a plan, as a Flux job, submitted from the root of the repository:
#   flux batch -N 8 -n 13 scripts/cluster/run.flux inputs/classic --segment-bytes 1048576
#   MPISWARM_RANKS=9 flux batch -N 8 -n 9 -t 20m scripts/cluster/run.flux inputs/plans/quick.toml
# As many ranks as the inputs ask for, or MPISWARM_RANKS. An Open MPI of version 5 wants PMIx, from
# the plugin flux-pmix: MPISWARM_OPTIONS="-o pmi=pmix". Its record is
# results/run-<UTC date and time>-flux-<job>, or bench-…. Modules, number of launches and the like:
# scripts/cluster/job.sh --help.

#flux: --job-name=mpiswarm-run
#flux: -n 5
#flux: -t 10m

set -euo pipefail
# Flux runs a copy of this file, in the folder that it was submitted from.
if [[ -n ${FLUX_URI-} ]]; then submitted=$PWD; else submitted=$(dirname "$(readlink -f "$0")")/../..; fi
MPISWARM_ROOT=${MPISWARM_ROOT:-$submitted}
[[ -r $MPISWARM_ROOT/scripts/cluster/job.sh ]] || {
    echo "no mpiswarm in $MPISWARM_ROOT: submit from the root of the clone, or set MPISWARM_ROOT to it" >&2
    exit 2
}
# shellcheck source-path=SCRIPTDIR source=job.sh
. "$MPISWARM_ROOT/scripts/cluster/job.sh"
if [[ ${1-} == -h || ${1-} == --help ]]; then usage && exit; fi
[[ -n ${FLUX_URI-} ]] || die "this is a job script: flux batch $0; see --help"

kind=run
[[ ${1-} != *.toml ]] || kind=bench
job_begin "$kind" flux "$(flux getattr jobid 2>/dev/null || echo "$$")" '' flux
job_note nodes "$(flux getattr hostlist 2>/dev/null || echo unknown)"
"job_$kind" "${1:-$root/inputs/small}" "${@:2}"
