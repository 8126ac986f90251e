#!/usr/bin/env bash
# Usage: scripts/faults.sh pause|stop|kill [TIMES] [-- OPTIONS OF mpiswarm run]
#
# Runs a job of five ranks again and again under mpirun, disturbs one rank chosen at random at a random
# moment, and checks how the job ends.
#
#   pause  stops a rank for half a second, less than the patience: all is delivered
#   stop   stops a rank for good: the job ends by itself with an error, and names that rank, unless the others
#          had ended with all delivered
#   kill   kills a rank: the job ends with an error; nothing half-written; a rerun delivers all
#
# MPISWARM names the program, MPIRUN the launcher with its options. The seed of the random choices is SEED
# (default 1). Exit code: 0 all as it should be, 1 a job ended otherwise, 2 the command line makes no sense.

set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/lib.sh"
root=$(dirname "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")")

fault=${1-} times=${2-50}
[[ $fault == -h || $fault == --help ]] && usage && exit
[[ $fault =~ ^(pause|stop|kill)$ ]] || die "name a fault: pause, stop or kill; see --help"
[[ $times =~ ^[0-9]+$ ]] || die "$times is no number of times; see --help"
shift $(($# < 2 ? $# : 2))
[[ ${1-} == -- ]] && shift
options=("$@")
program=${MPISWARM:-$root/target/release/mpiswarm}
read -ra launcher <<<"${MPIRUN:-mpirun --oversubscribe}"
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
RANDOM=${SEED:-1}

out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
# The ranks of the job that still run, `RANK PID` a line, by what each launcher tells its processes.
ranks() {
    local dir environment
    for dir in /proc/[0-9]*; do
        [[ $(readlink "$dir/exe" 2>/dev/null) == "$(readlink -f "$program")" ]] || continue
        environment=$( (tr '\0' '\n' <"$dir/environ") 2>/dev/null) || continue
        grep -qx "FAULTS_OUT=$out" <<<"$environment" || continue
        sed -nE "s/^(OMPI_COMM_WORLD_RANK|PMI_RANK)=(.*)/\\2 ${dir#/proc/}/p" <<<"$environment" | head -1
    done
}
job() {
    FAULTS_OUT=$out timeout -k 5 60 "${launcher[@]}" -n 5 "$program" run "$root/inputs/small" \
        --out "$out/files" --segment-bytes 4194304 --quiet \
        --patience registration=5s,silence=3s,ask=250ms,request=1s "${options[@]}" >"$out/log" 2>&1
}
# It may have ended meanwhile.
signal() { kill "-$1" "$pid" 2>/dev/null || true; }
whole() { "$root/scripts/check-outputs.sh" "$root/inputs/small" "$out/files" >"$out/check" 2>&1; }

failed=0 late=0
for ((round = 1; round <= times; round++)); do
    rm -rf "$out/files" && mkdir "$out/files"
    rank=$((RANDOM % 5)) moment=$((RANDOM % 1200)) why=
    job &
    running=$!
    sleep "$((moment / 1000)).$(printf %03d $((moment % 1000)))"
    pid=$(ranks | sed -n "s/^$rank //p")
    if [[ -n $pid ]]; then
        case $fault in
            pause)
                signal STOP
                sleep 0.5
                signal CONT
                ;;
            stop)
                signal STOP
                # A rank may be stopped when all is done and the others have ended. Then only the launcher
                # waits for it, and nobody is left who could end the job.
                while kill -0 "$running" 2>/dev/null; do
                    sleep 0.5
                    [[ $(ranks) != "$rank $pid" ]] || signal CONT
                done
                ;;
            kill) signal KILL ;;
        esac
    else
        late=$((late + 1))
    fi
    code=0
    wait "$running" || code=$?
    [[ -z $pid || $fault != stop ]] || signal KILL
    if ((code == 124 || code == 137)) && [[ $fault != kill ]]; then
        why="did not end within 60 s"
    elif [[ $fault == pause || -z $pid ]]; then
        { ((code == 0)) && whole; } || why="exit code $code, and not all is delivered"
    elif [[ $fault == stop ]]; then
        # A job that had delivered all and was at its end may not have needed the rank any more.
        { ((code == 0)) && whole; } || { ((code != 0)) && grep -qE "rank $rank\b" "$out/log"; } ||
            why="exit code $code, and rank $rank is not named"
    else
        ((code != 124)) || why="did not end within 60 s"
        for file in "$out"/files/client*; do
            [[ -e $file ]] || continue
            whole_name=$(basename "$file")
            cp "$file" "$out/before-$whole_name"
        done
        job || why="the rerun failed: $(tail -1 "$out/log")"
        whole || why="after the rerun: $(tail -1 "$out/check")"
        for file in "$out"/before-client*; do
            [[ -e $file ]] || continue
            name=${file##*/before-}
            cmp -s "$file" "$out/files/$name" || why="$name was half-written"
            rm "$file"
        done
        leftover=$(find "$out/files" -name '.mpiswarm-*.part' | wc -l)
        ((leftover == 0)) || why="$leftover temporary files are left after the rerun"
    fi
    if [[ -n $why ]]; then
        failed=$((failed + 1))
        echo "round $round, rank $rank at $moment ms: $why"
        sed 's/^/    /' "$out/log" | tail -8
    fi
done
echo "$fault: $((times - failed)) of $times as they should be ($late came before the start or after the end)"
((failed == 0))
