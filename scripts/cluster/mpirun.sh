#!/usr/bin/env bash
# Usage: scripts/cluster/mpirun.sh [OPTIONS] run [INPUTS] [arguments for `mpiswarm run`]
#        scripts/cluster/mpirun.sh [OPTIONS] -n RANKS bench PLAN [arguments for `mpiswarm bench`]
#
# A run, or the benchmarks of a plan, on hosts that no batch system hands out.
#   -H HOST[:RANKS],…    the hosts; by default this one. The first carries the tracker
#   --hostfile FILE      the hosts, one a line, as mpirun reads it
#   -n RANKS             the tracker and the peers; for a run by default what its inputs ask for
#   --interface NAME     the only network interface to use
#   --agent COMMAND      what is called in place of ssh
# Each host needs a login by ssh without a password, and this folder and the MPI under the same paths.
# A host more often in the list, or with `:2`, carries more ranks: `-H a:2,b,c` puts the tracker, which
# moves no bytes, beside the first peer. The record is results/run-<UTC date and time>-mpirun-<process>.
# Modules, number of launches and the like: scripts/cluster/job.sh --help.

set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=job.sh
. "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/job.sh"

# These are for mpi_arguments.
# shellcheck disable=SC2034
while (($#)); do
    case $1 in
        -h | --help) usage && exit ;;
        -H) mpi_hosts=${2-} ;;
        --hostfile) mpi_hostfile=${2-} ;;
        -n) MPISWARM_RANKS=${2-} ;;
        --interface) mpi_interface=${2-} ;;
        --agent) mpi_agent=${2-} ;;
        run | bench) break ;;
        *) die "unknown argument $1; see --help" ;;
    esac
    shift 2 || die "the last option has no value; see --help"
done
(($#)) || die "say what to do: run or bench; see --help"
[[ ${MPISWARM_RANKS-1} =~ ^[1-9][0-9]*$ ]] || die "-n: $MPISWARM_RANKS is no number of ranks: use one such as 4"
[[ $1 == run || -n ${2-} ]] || die "bench: add a plan, such as inputs/plans/ranks.toml; see --help"
[[ $1 == run || -n ${MPISWARM_RANKS-} ]] || die "bench: add -n RANKS; see --help"

job_begin "$1" mpirun $$ '' mpirun
job_note nodes "${mpi_hosts-}${mpi_hostfile-}"
"job_$1" "${2:-$root/inputs/small}" "${@:3}"
