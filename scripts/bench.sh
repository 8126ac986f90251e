#!/usr/bin/env bash
# Usage: scripts/bench.sh [-n RANKS,…] [--launches N] [--against PROGRAM] [--out DIR] [--plan PLAN.toml]
#                         [--only BENCH]... [--no-benches | --no-plan]
#
# Measures this machine: runs `cargo bench`, one bench per module boundary, then launches `mpiswarm bench`
# with a plan several times, and writes both under results/. Run nothing else on the machine meanwhile.
#   -n RANKS,…         run the plan under mpirun with so many ranks each; by default `threads`, of one process
#   --launches N       how often to launch it; by default 8
#   --against PROGRAM  another build of mpiswarm, launched in turn with this one, in the order ABBA
#   --out DIR          where the results go; by default results/bench-<UTC date>-<commit>
#   --plan FILE        the plan; by default inputs/plans/quick.toml. Its budget is that of one launch
#   --only BENCH       only this file of benches/, without .rs; may be repeated
#   --no-benches       only the plan; --against implies it
#   --no-plan          only `cargo bench`
# The folder gets environment.txt (machine, compiler, commit, load), criterion.txt (what cargo bench
# printed), criterion/ (Criterion's estimates, a JSON file a benchmark), a folder for each launch with its
# records and its table.txt, and comparison.txt (`mpiswarm compare` of all launches). The launches are
#   launch-1 …          or ranks-5/launch-1 …, threads/launch-1 … where -n names several
#   a/…, b/…            with --against: a is this program, b the other; b is compared with a
# MPIRUN and MPICC choose another MPI; without one, benches and plan run without the feature `mpi`.
# MPISWARM names another binary, which is then not built.

set -euo pipefail
scripts=$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")
# shellcheck source-path=SCRIPTDIR source=mpi.sh
. "$scripts/mpi.sh"

places=() count=8 against='' out='' plan=$root/inputs/plans/quick.toml with_plan=true with_benches=true benches=()
while (($#)); do
    case $1 in
        -h | --help) usage && exit ;;
        -n) IFS=, read -ra places <<<"${2-}" && shift ;;
        --launches) count=${2-} && shift ;;
        --against) against=${2-} with_benches=false && shift ;;
        --out) out=${2-} && shift ;;
        --plan) plan=${2-} && shift ;;
        --only) benches+=(--bench "${2-}") && shift ;;
        --no-benches) with_benches=false ;;
        --no-plan) with_plan=false ;;
        *) die "unknown argument $1; see --help" ;;
    esac
    shift || die "the last option has no value; see --help"
done
((${#places[@]})) || places=(threads)
# All launches get the environment that the most ranks need.
ranks_max=0
for index in "${!places[@]}"; do
    place=${places[index]}
    [[ $place != threads ]] || continue
    [[ $place =~ ^[1-9][0-9]{0,5}$ ]] || die "-n: $place is no number of ranks: use some such as 5,9 or threads"
    ((place <= ranks_max)) || ranks_max=$place
    places[index]=ranks-$place
done
[[ -z $(printf '%s\n' "${places[@]}" | sort | uniq -d) ]] || die "-n: ${places[*]}: name each once"
[[ $count =~ ^[1-9][0-9]{0,3}$ ]] || die "--launches: $count is no number of launches: use one such as 8"
[[ -z $against || -x $against && -f $against ]] || die "--against: no program $against: build it, and name the binary"
$with_plan || [[ -z $against ]] || die "--against compares launches of a plan: leave --no-plan out"
$with_plan || $with_benches || die "--no-benches and --no-plan leave nothing to do"
! $with_plan || [[ -f $plan ]] || die "--plan: no file $plan; name a plan, or use --no-plan"

# Tables go to files, which have room for all columns.
export COLUMNS=1000

# launch_once PROGRAM FOLDER PLACE
launch_once() {
    local folder=$out/$2 command=("$1" bench "$plan" --out "$out/$2")
    if [[ $3 != threads ]]; then
        mpi_arguments "${3#ranks-}"
        command=("$mpirun" "${mpirun_arguments[@]}" "${command[@]}")
    fi
    say "${command[*]}"
    mkdir -p "$folder"
    "${command[@]}" >"$folder/table.txt"
}

# compare [PLACE]: all launches there.
compare() {
    local sets=("$out${1:+/$1}")
    [[ -z $against ]] || sets=("$out/a${1:+/$1}" "$out/b${1:+/$1}")
    say "mpiswarm compare ${sets[*]}"
    "$program" compare "${sets[@]}" | tee -a "$out/comparison.txt"
}

program=${MPISWARM-}
[[ -z $program || -x $program && -f $program ]] || die "MPISWARM: no program $program: build it, or unset MPISWARM"
# Another folder is the current one from here on.
plan=$(readlink -f "$plan") program=${program:+$(readlink -f "$program")} against=${against:+$(readlink -f "$against")}
cd "$root"
commit=$(git rev-parse --short HEAD 2>/dev/null) || commit=unknown
out=${out:-$(record_folder bench)}
[[ ! -e $out ]] || die "$out exists already: name another folder"
mkdir -p "$out"
# The benches are called from elsewhere.
out=$(readlink -f "$out")

features=()
if ! have "$mpicc"; then
    ((ranks_max == 0)) || die "-n needs an MPI, but there is no $mpicc: set MPICC, or leave -n out"
    features=(--no-default-features)
fi

dirty=$(git status --porcelain 2>/dev/null | head -n 1) || dirty=
{
    printf 'date: %s\n' "$(date -u +%Y-%m-%dT%H:%M:%SZ)"
    printf 'commit: %s%s\n' "$commit" "${dirty:+, with changes}"
    printf 'host: %s\n' "$(uname -n -s -r -m)"
    printf 'compiler: %s\n' "$(rustc --version)"
    printf 'flags: %s\n' "${RUSTFLAGS-}"
    printf 'load: %s\n' "$(cut -d ' ' -f 1-3 /proc/loadavg 2>/dev/null || printf unknown)"
    lscpu 2>/dev/null || true
} >"$out/environment.txt"

if $with_benches; then
    say "cargo bench"
    # Estimates of earlier runs would be copied as today's.
    estimates=$(target_folder)/criterion
    rm -rf "$estimates"
    cargo bench "${features[@]}" "${benches[@]}" 2>&1 | sed -u "s# ($root)##" | tee "$out/criterion.txt"
    while read -r file; do
        name=${file#"$estimates/"}
        install -D -m 644 "$file" "$out/criterion/${name%/new/estimates.json}.json"
    done < <(find "$estimates" -path '*/new/estimates.json' | sort)
    [[ -d $out/criterion ]] || die "cargo bench left no estimates in $estimates"
fi

if $with_plan; then
    if [[ -z $program ]]; then
        say "cargo build --release"
        cargo build --release "${features[@]}"
        program=$(target_folder)/release/mpiswarm
    fi
    printf 'program: SHA-256 %s\n' "$(sha256 "$program")" >>"$out/environment.txt"
    [[ -z $against ]] || printf 'against: SHA-256 %s\n' "$(sha256 "$against")" >>"$out/environment.txt"
    ((ranks_max == 0)) || mpi_environment "$ranks_max"
    each_launch "$count" "$program" "$against" "${places[@]}" ||
        die "a launch failed (exit code $?); the records so far are in $out"
    # Scenarios of threads and of ranks have the same names.
    if ((${#places[@]} > 1)) && [[ " ${places[*]} " == *" threads "* ]]; then
        for place in "${places[@]}"; do compare "$place"; done
    else
        compare
    fi
fi
say "results: $out"
