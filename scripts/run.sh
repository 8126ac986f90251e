#!/usr/bin/env bash
# Usage: scripts/run.sh [-n RANKS] [--inputs DIR] [--out DIR] [more arguments for `mpiswarm run`]
#
# The main job: builds mpiswarm, runs it under mpirun, and checks what it wrote against the inputs.
#   -n RANKS      the tracker and the peers; by default the highest R of in<R>.txt, plus one
#   --inputs DIR  the folder of the in<R>.txt; by default inputs/small
#   --out DIR     where the run goes; by default results/run-<UTC date and time>
# The run's folder gets outputs/client<R>_<name>, summary.json and summary.txt.
# MPIRUN and MPICC choose another MPI; MPISWARM another binary, which is then not built.

set -euo pipefail
scripts=$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")
# shellcheck source-path=SCRIPTDIR source=mpi.sh
. "$scripts/mpi.sh"

ranks='' inputs=$root/inputs/small out='' more=()
while (($#)); do
    case $1 in
        -h | --help) usage && exit ;;
        -n) ranks=${2-} && shift ;;
        --inputs) inputs=${2-} && shift ;;
        --inputs=*) inputs=${1#*=} ;;
        --out) out=${2-} && shift ;;
        --out=*) out=${1#*=} ;;
        *) more+=("$1") ;;
    esac
    shift || die "the last option has no value; see --help"
done

[[ -d $inputs ]] || die "no folder $inputs: name the folder of the inputs"
highest=$(input_files "$inputs" | tail -n 1 | sed -E 's|.*/in([0-9]+)\.txt$|\1|') || true
[[ -n $highest ]] || die "$inputs has no in<R>.txt: name the folder of the inputs"
ranks=${ranks:-$((highest + 1))}
[[ $ranks =~ ^[1-9][0-9]*$ ]] || die "-n: $ranks is no number of ranks: use one such as 4"
((ranks > highest)) || die "in$highest.txt needs at least $((highest + 1)) ranks, not $ranks"

if [[ -z $out ]]; then
    out=$root/results/run-$(date -u +%Y%m%dT%H%M%SZ)
    # Two runs in one second.
    [[ ! -e $out ]] || out+=-$$
fi
# Files of an earlier run would pass the check for this one.
[[ ! -d $out/outputs || -z $(ls -A "$out/outputs") ]] || die "$out/outputs is not empty; name another folder"

"$scripts/setup.sh" build
if [[ -z ${MPISWARM-} ]]; then
    say "cargo build --release"
    (cd "$root" && cargo build --release)
    MPISWARM=$(target_folder)/release/mpiswarm
fi
mpi_environment "$ranks"
mpi_arguments "$ranks"
mkdir -p "$out/outputs"

command=("$mpirun" "${mpirun_arguments[@]}" "$MPISWARM" run "$inputs" --out "$out/outputs"
    --report "$out/summary.json" "${more[@]}")
say "${command[*]}"
"${command[@]}" | tee "$out/summary.txt" || {
    code=$?
    say "the run failed (exit code $code); its files so far are in $out" >&2
    exit "$code"
}

say "checking $out/outputs"
"$scripts/check-outputs.sh" "$inputs" "$out/outputs"
[[ -s $out/summary.json ]] || { say "$out/summary.json was not written" >&2 && exit 1; }
say "report: $out/summary.json (outputs, summary.txt beside it)"
