#!/usr/bin/env bash
# Usage: scripts/cluster/sweep.sh --ranks R,… --segment-bytes B,… [OPTIONS] [-- SBATCH OPTIONS…]
#
# A study of ranks × segment size on a Slurm cluster: one job for each pair, each with a record folder
# of its own and several launches of the plan; waits for all of them and compares what they found.
#   --ranks R,…          numbers of ranks, the tracker included
#   --segment-bytes B,…  segment sizes, put in place of the `segment_bytes` of the plan
#   --plan FILE          by default inputs/plans/sweep.toml
#   --into DIR           by default results/sweep-<UTC date and time>
#   --together           let jobs of the study run at the same time, even on the same network; by
#                        default one starts when another has ended, so that none measures another
#   --poll SECONDS       how often to look whether the jobs have ended; by default 10
# What follows `--` goes to every sbatch, as in `-- --exclusive --partition=long --time=60`. Number of
# launches, modules, launcher and the like: scripts/cluster/job.sh --help.
#
# Called again with the same --into it submits only what has no good record yet and is not queued:
# after an interruption, after a failure, or to add ranks and sizes. It may be interrupted at any
# time; the jobs stay.
#
# Exit code: 0 all have good records, 1 some have not, 2 wrong call.

set -euo pipefail
scripts=$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/..
# shellcheck source-path=SCRIPTDIR source=../lib.sh
. "$scripts/lib.sh"

plan=$root/inputs/plans/sweep.toml into='' together=false poll=10 ranks=() sizes=() options=()
while (($#)); do
    case $1 in
        -h | --help) usage && exit ;;
        --ranks) IFS=, read -ra ranks <<<"${2-}" ;;
        --segment-bytes) IFS=, read -ra sizes <<<"${2-}" ;;
        --plan) plan=${2-} ;;
        --into) into=${2-} ;;
        --poll) poll=${2-} ;;
        --together) together=true && shift && continue ;;
        --) options=("${@:2}") && break ;;
        *) die "unknown argument $1; see --help" ;;
    esac
    shift 2 || die "the last option has no value; see --help"
done
((${#ranks[@]} && ${#sizes[@]})) || die "add --ranks and --segment-bytes; see --help"
for number in "${ranks[@]}" "${sizes[@]}" "$poll"; do
    [[ $number =~ ^[1-9][0-9]*$ ]] || die "--ranks, --segment-bytes: $number is no number: use numbers such as 4,8"
done
grep -qE '^ *segment_bytes *=' "$plan" || die "$plan has no line segment_bytes = …: add one"
have sbatch || die "sbatch is missing: run this on a Slurm cluster"
mpiswarm=${MPISWARM:-$root/target/release/mpiswarm}
[[ -x $mpiswarm ]] || die "$mpiswarm is missing: build it with the MPI of the jobs (cargo build --release)"

into=$(readlink -m "${into:-$root/results/sweep-$(date -u +%Y%m%dT%H%M%SZ)}")
# One name for all jobs: Slurm's `singleton` runs jobs of one name in turn, and squeue finds them.
name=mpiswarm-$(basename "$into")
mkdir -p "$into/plans"

# queued: ids and comments, which are the pairs, of this study's jobs that have not ended.
queued() { squeue --noheader --me --name="$name" --format='%A %k'; }

succeeded() { [[ $(cat "$into/$1/exit-code" 2>/dev/null) == 0 ]]; }

# submit RANKS SIZE PAIR
submit() {
    local record=$into/$3 plan_here=$into/plans/segments-$2.toml arguments
    sed -E "s/^( *segment_bytes *=).*/\1 $2/" "$plan" >"$plan_here"
    # What came of an earlier attempt is kept, under another name.
    [[ ! -e $record ]] || mv "$record" "$record.failed-$(date -u +%Y%m%dT%H%M%SZ)-$$"
    arguments=(--parsable --job-name="$name" --comment="$3" --ntasks="$1" --output="$into/$3.slurm-%j.log")
    $together || arguments+=(--dependency=singleton)
    say "$3: job $(
        MPISWARM_ROOT=$root MPISWARM=$mpiswarm MPISWARM_RECORD=$record \
            sbatch "${arguments[@]}" "${options[@]}" "$scripts/cluster/bench.sbatch" "$plan_here"
    )"
}

pairs=()
waiting=$(queued)
for count in "${ranks[@]}"; do
    for size in "${sizes[@]}"; do
        pair=ranks-$count-segments-$size
        pairs+=("$pair")
        if succeeded "$pair"; then
            say "$pair: has its record"
        elif grep -q " $pair\$" <<<"$waiting"; then
            say "$pair: is queued already"
        else
            submit "$count" "$size" "$pair"
        fi
    done
done

say "waiting; you may interrupt, and call again with --into $into"
# The controller may not answer for a while: retry.
until waiting=$(queued) && [[ -z $waiting ]]; do sleep "$poll"; done

good=() failed=()
for pair in "${pairs[@]}"; do
    if succeeded "$pair"; then good+=("$into/$pair"); else failed+=("$pair"); fi
done
say "${#good[@]} of ${#pairs[@]} have good records in $into"
for pair in "${failed[@]}"; do say "$pair: failed; see $into/$pair*.log" >&2; done
if ((${#good[@]} > 1)); then
    # A line for each: ranks and segment sizes differ, so that none is the base of another.
    # In a file, which has room for all columns.
    COLUMNS=1000 "$mpiswarm" compare --history "${good[@]/%//bench}" | tee "$into/comparison.txt"
fi
((${#failed[@]} == 0))
