#!/usr/bin/env bash
# Usage: flux batch [FLUX OPTIONS] scripts/cluster/stage.flux SRC… --to DIR [OPTIONS of `mpiswarm stage`] [-- COMMAND…]
#
# Staging as the first step of a Flux job: brings files and folders to the local disk of every node, one
# rank a node, and then runs the command:
#   flux batch -N 8 scripts/cluster/stage.flux /shared/model --to /local/scratch -- \
#       flux run -n 64 ./train --model /local/scratch/model
# More of it: scripts/cluster/stage.sbatch --help. An Open MPI of version 5 wants PMIx, from the plugin
# flux-pmix: MPISWARM_OPTIONS="-o pmi=pmix". Its record is
# results/stage-<UTC date and time>-flux-<job>. Modules and the like: scripts/cluster/job.sh --help.

#flux: --job-name=mpiswarm-stage
#flux: -N 2
#flux: -t 30m

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

# A batch job is an instance of Flux, with a broker on each of its nodes.
nodes=$(flux getattr size) || die "flux getattr size fails: how many nodes has this job?"
job_begin stage flux "$(flux getattr jobid 2>/dev/null || echo "$$")" "$nodes" flux
job_note nodes "$(flux getattr hostlist 2>/dev/null || echo unknown)"
job_stage "$nodes" "$@"
