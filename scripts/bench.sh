#!/usr/bin/env bash
# Usage: scripts/bench.sh [-n RANKS] [--out DIR] [--plan PLAN.toml] [--only BENCH]... [--no-plan]
#
# Measures this machine: runs `cargo bench`, one bench per module boundary, then `mpiswarm bench` with a plan, and
# writes both under results/. Run nothing else on the machine meanwhile.
#   -n RANKS      run the plan under mpirun with RANKS ranks; by default as threads of one process
#   --out DIR     where the results go; by default results/bench-<UTC date>-<commit>
#   --plan FILE   the plan; by default inputs/plans/quick.toml
#   --only BENCH  only this file of benches/, without .rs; may be repeated
#   --no-plan     only `cargo bench`
# The folder gets environment.txt (machine, compiler, commit, load), criterion.txt (what cargo bench
# printed), criterion/ (Criterion's estimates, a JSON file a benchmark) and plan/ (the plan's records).
# MPIRUN and MPICC choose another MPI; without one, benches and plan run without the feature `mpi`.

set -euo pipefail
scripts=$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")
# shellcheck source-path=SCRIPTDIR source=mpi.sh
. "$scripts/mpi.sh"

ranks='' out='' plan=$root/inputs/plans/quick.toml with_plan=true benches=()
while (($#)); do
    case $1 in
        -h | --help) usage && exit ;;
        -n) ranks=${2-} && shift ;;
        --out) out=${2-} && shift ;;
        --plan) plan=${2-} && shift ;;
        --only) benches+=(--bench "${2-}") && shift ;;
        --no-plan) with_plan=false ;;
        *) die "unknown argument $1; see --help" ;;
    esac
    shift || die "the last option has no value; see --help"
done
[[ -z $ranks || $ranks =~ ^[1-9][0-9]*$ ]] || die "-n: $ranks is no number of ranks: use one such as 4"
! $with_plan || [[ -f $plan ]] || die "--plan: no file $plan; name a plan, or use --no-plan"

cd "$root"
commit=$(git rev-parse --short HEAD 2>/dev/null) || commit=unknown
out=${out:-$(record_folder bench)}
[[ ! -e $out ]] || die "$out exists already: name another folder"
mkdir -p "$out"
# The benches are called from elsewhere.
out=$(readlink -f "$out")

features=()
if ! have "$mpicc"; then
    [[ -z $ranks ]] || die "-n needs an MPI, but there is no $mpicc: set MPICC, or leave -n out"
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

if $with_plan; then
    say "cargo build --release"
    cargo build --release "${features[@]}"
    command=("$(target_folder)/release/mpiswarm" bench "$plan" --out "$out/plan")
    if [[ -n $ranks ]]; then
        mpi_environment "$ranks"
        mpi_arguments "$ranks"
        command=("$mpirun" "${mpirun_arguments[@]}" "${command[@]}")
    fi
    say "${command[*]}"
    "${command[@]}" | tee "$out/plan.txt" || die "the plan failed; its records so far are in $out"
fi
say "results: $out"
