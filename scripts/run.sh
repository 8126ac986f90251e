#!/usr/bin/env bash
# Usage: scripts/run.sh [-n RANKS] [--inputs DIR] [--out DIR] [--no-stage] [more arguments for `mpiswarm run`]
#
# The main job: builds mpiswarm, runs it under mpirun, and checks what it wrote against the inputs. Then it
# stages real folders, src and inputs of this repository, to four ranks, and compares what each has with
# the source.
#   -n RANKS      the tracker and the peers; by default the highest R of in<R>.txt, plus one
#   --inputs DIR  the folder of the in<R>.txt; by default inputs/small
#   --out DIR     where the run goes; by default results/run-<UTC date and time>
#   --no-stage    only the run
# The run's folder gets outputs/client<R>_<name>, summary.json and summary.txt, and of the stage
# stage/<rank> and stage.txt.
# MPIRUN and MPICC choose another MPI; MPISWARM another binary, which is then not built.

set -euo pipefail
scripts=$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")
# shellcheck source-path=SCRIPTDIR source=mpi.sh
. "$scripts/mpi.sh"

ranks='' inputs=$root/inputs/small out='' stages=true more=()
while (($#)); do
    case $1 in
        -h | --help) usage && exit ;;
        -n) ranks=${2-} && shift ;;
        --inputs) inputs=${2-} && shift ;;
        --inputs=*) inputs=${1#*=} ;;
        --out) out=${2-} && shift ;;
        --out=*) out=${1#*=} ;;
        --no-stage) stages=false ;;
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
for folder in "$out/outputs" "$out/stage"; do
    [[ ! -d $folder || -z $(ls -A "$folder") ]] || die "$folder is not empty; name another folder"
done

"$scripts/setup.sh" build
if [[ -z ${MPISWARM-} ]]; then
    say "cargo build --release"
    (cd "$root" && cargo build --release)
    MPISWARM=$(target_folder)/release/mpiswarm
fi
mpi_environment "$ranks"
mpi_arguments "$ranks"
mkdir -p "$out/outputs"

# execute WHAT FILE COMMAND…: what it prints goes to that file too. What runs is shown as a line for a shell.
execute() {
    local what=$1 file=$2 code
    shift 2
    printf '+ %s\n' "$(mpi_command_line "$@")"
    "$@" | tee "$out/$file" || {
        code=$?
        say "the $what failed (exit code $code); its files so far are in $out" >&2
        exit "$code"
    }
}

execute run summary.txt "$mpirun" "${mpirun_arguments[@]}" "$MPISWARM" run "$inputs" --out "$out/outputs" \
    --report "$out/summary.json" "${more[@]}"
say "checking $out/outputs"
"$scripts/check-outputs.sh" "$inputs" "$out/outputs"
[[ -s $out/summary.json ]] || { say "$out/summary.json was not written" >&2 && exit 1; }

if $stages; then
    mpi_environment 4
    mpi_arguments 4
    sources=("$root/src" "$root/inputs")
    execute stage stage.txt "$mpirun" "${mpirun_arguments[@]}" "$MPISWARM" stage "${sources[@]}" \
        --to "$out/stage/{rank}" --mkdir
    say "checking $out/stage"
    for rank in 0 1 2 3; do
        for source in "${sources[@]}"; do
            "$scripts/check-tree.sh" "$source" "$out/stage/$rank/${source##*/}" ||
                { say "$out/stage/$rank/${source##*/} differs from $source" >&2 && exit 1; }
        done
    done
    printf 'checked: %s are identical on all 4 ranks\n' "$(printf '%s and ' "${sources[@]##*/}" | sed 's/ and $//')"
fi
say "report: $out/summary.json (beside it: what was printed, and the files)"
