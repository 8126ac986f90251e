#!/usr/bin/env bash
# Usage: scripts/start-up.sh [-n ROUNDS] [--out DIR] [-- ARGUMENT…]
#
# How much longer a whole job takes than an MPI program that does nothing: an empty program and
# `mpiswarm run` are started in turn under mpirun, with as many ranks, and timed from outside.
#   -n ROUNDS   pairs of runs; by default 15, after one that does not count
#   --out DIR   where the record goes; by default results/start-up-<UTC date>-<commit>
#   ARGUMENT…   of `mpiswarm run`; by default inputs/classic --segment-bytes 1024
# The folder gets environment.txt and rounds.csv: a line a round, the seconds of both programs and
# what the run says of its own makespan. The output files are written, and deleted again.

set -euo pipefail
scripts=$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")
# shellcheck source-path=SCRIPTDIR source=mpi.sh
. "$scripts/mpi.sh"

rounds=15 out=''
while (($#)); do
    case $1 in
        -h | --help) usage && exit ;;
        -n) rounds=${2-} && shift ;;
        --out) out=${2-} && shift ;;
        --) shift && break ;;
        *) die "unknown argument $1; see --help" ;;
    esac
    shift || die "the last option has no value; see --help"
done
[[ $rounds =~ ^[1-9][0-9]*$ ]] || die "-n: $rounds is no number of rounds: use one such as 10"
(($#)) || set -- "$root/inputs/classic" --segment-bytes 1024
[[ -d $1 ]] || die "$1 is no folder: the folder of the inputs comes first after --"

cd "$root"
commit=$(git rev-parse --short HEAD 2>/dev/null) || commit=unknown
out=${out:-$(record_folder start-up)}
[[ ! -e $out ]] || die "$out exists already: name another folder"

say "cargo build --release"
cargo build --release --quiet
program=$(target_folder)/release/mpiswarm
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
printf '#include <mpi.h>\nint main(int n, char **v) { MPI_Init(&n, &v); MPI_Finalize(); return 0; }\n' \
    >"$scratch/empty.c"
"$mpicc" -O2 -o "$scratch/empty" "$scratch/empty.c"

files=$(input_files "$1")
highest=${files##*/in}
ranks=$((${highest%.txt} + 1))
mpi_environment "$ranks"
mpi_arguments "$ranks"

mkdir -p "$out"
dirty=$(git status --porcelain --untracked-files=no 2>/dev/null | head -n 1) || dirty=
{
    printf 'date: %s\n' "$(date -u +%Y-%m-%dT%H:%M:%SZ)"
    printf 'commit: %s%s\n' "$commit" "${dirty:+, with changes}"
    printf 'host: %s\n' "$(uname -n -s -r -m)"
    printf 'load: %s\n' "$(cut -d ' ' -f 1-3 /proc/loadavg 2>/dev/null || printf unknown)"
    printf 'mpi: %s\n' "$("$mpirun" --version 2>&1 | head -n 1)"
    printf 'ranks: %s\n' "$ranks"
    printf 'command: mpiswarm run %s\n' "${*/#"$root/"/}"
    lscpu 2>/dev/null || true
} >"$out/environment.txt"

# seconds COMMAND…: how long it takes, from outside.
seconds() {
    local from=$EPOCHREALTIME
    "$@" >"$scratch/stdout" 2>"$scratch/stderr" ||
        { cat "$scratch/stderr" >&2 && die "${*: -3} failed"; }
    awk -v from="$from" -v to="$EPOCHREALTIME" 'BEGIN { printf "%.4f", to - from }'
}

printf 'round,empty_s,job_s,makespan_s\n' >"$out/rounds.csv"
for ((round = 0; round <= rounds; round++)); do
    empty=$(seconds "$mpirun" "${mpirun_arguments[@]}" "$scratch/empty")
    job=$(seconds "$mpirun" "${mpirun_arguments[@]}" "$program" run "$@" --out "$scratch/out" --json)
    makespan=$(sed -n 's/.*"makespan_s": *\([0-9.e-]*\).*/\1/p' "$scratch/stdout")
    rm -rf "$scratch/out"
    ((round == 0)) || printf '%s,%s,%s,%s\n' "$round" "$empty" "$job" "$makespan" >>"$out/rounds.csv"
done

# The median, and what the quarters on both sides of it end with.
summary=$(awk -F, 'NR > 1 { printf "%.4f\n", $3 - $2 }' "$out/rounds.csv" | sort -n | awk '
    { value[NR] = $1 }
    function at(share,  place, low) {
        place = 1 + share * (NR - 1); low = int(place)
        return value[low] + (place - low) * (value[low < NR ? low + 1 : low] - value[low])
    }
    END {
        printf "%.3f s in the median of %d rounds; half of them %.3f to %.3f, all %.3f to %.3f",
            at(0.5), NR, at(0.25), at(0.75), value[1], value[NR]
    }')
say "$ranks ranks, longer than an empty job: $summary"
say "record: $out"
