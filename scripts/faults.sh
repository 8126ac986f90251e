#!/usr/bin/env bash
# Usage: scripts/faults.sh pause|stop|kill [TIMES] [--seed N] [-- OPTIONS OF mpiswarm run]
#
# Runs a job of five ranks again and again under mpirun, disturbs one rank chosen at random at a random
# moment, and checks how the job ends.
#
#   pause  stops a rank for 0.1 to 8 s: all is delivered where that is less than the patience (3 s), and the
#          job names the rank where it is more than any (6 s); between them it may do either
#   stop   stops a rank for good: the job ends by itself with an error, and names that rank, unless the others
#          had ended with all delivered
#   kill   kills a rank: the job ends with an error, unless all is delivered; nothing half-written; a rerun delivers
#          all
#
# MPISWARM names the program, MPIRUN the launcher with its options. --seed repeats a series: the same ranks,
# moments and lengths (default 1). Exit code: 0 all as it should be, 1 a job ended otherwise, 2 the command
# line makes no sense.

set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/lib.sh"
fault_series "pause stop kill" 50 "$@"

# The patience of a running job, and how long a rank may be missed before it registered, or after it: twice the
# patience, as the others wait. Between them a pause may end in time.
silence_ms=3000 most_ms=6000 pause_ms_max=8000
job() {
    timeout -k 5 60 "${launcher[@]}" -n 5 "$program" run "$root/inputs/small" \
        --out "$out/files" --segment-bytes 4194304 --quiet \
        --patience registration=5s,silence=3s,ask=250ms,request=1s "${options[@]}" >"$out/log" 2>&1
}
delivered() { ((code == 0)) && whole; }
named() { ((code != 0)) && grep -qE "rank $rank\b" "$out/log"; }
whole() { "$root/scripts/check-outputs.sh" "$root/inputs/small" "$out/files" >"$out/check" 2>&1; }

failed=0 late=0 whole_jobs=0 named_jobs=0
for ((round = 1; round <= times; round++)); do
    rm -rf "$out/files" && mkdir "$out/files"
    rank=$((RANDOM % 5)) moment=$((RANDOM % 1200)) length=$((100 + RANDOM % (pause_ms_max - 100))) why=
    job &
    running=$!
    sleep "$(seconds $moment)"
    pid=$(ranks_of_job | sed -n "s/^$rank //p")
    if [[ -n $pid ]]; then
        case $fault in
            pause) pause_rank "$pid" $length $running ;;
            stop) stop_rank $rank "$pid" $running ;;
            kill) signal_ranks KILL "$pid" ;;
        esac
    else
        late=$((late + 1))
    fi
    code=0
    wait "$running" || code=$?
    [[ -z $pid || $fault != stop ]] || signal_ranks KILL "$pid"
    if ((code == 124 || code == 137)) && [[ $fault != kill ]]; then
        why="did not end within 60 s"
    elif [[ -z $pid ]] || { [[ $fault == pause ]] && ((length < silence_ms - 500)); }; then
        delivered || why="exit code $code, and not all is delivered"
    elif [[ $fault == pause ]] && ((length <= most_ms)); then
        delivered || named || why="exit code $code, not all is delivered, and rank $rank is not named"
    elif [[ $fault != kill ]]; then
        # A job that had delivered all and was at its end may not have needed the rank any more.
        delivered || named || why="exit code $code, and rank $rank is not named"
    else
        ((code != 124)) || why="did not end within 60 s"
        ((code != 0)) || whole || why="exit code 0, and not all is delivered"
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
    if [[ -z $why && $fault != kill ]]; then
        if ((code == 0)); then whole_jobs=$((whole_jobs + 1)); else named_jobs=$((named_jobs + 1)); fi
    fi
    if [[ -n $why ]]; then
        failed=$((failed + 1))
        echo "round $round, rank $rank at $moment ms$([[ $fault != pause ]] || echo " for $length ms"): $why"
        sed 's/^/    /' "$out/log" | tail -8
    fi
done
[[ $fault == kill ]] || ends=": $whole_jobs delivered all, $named_jobs named the rank"
echo "$fault, seed $seed: $((times - failed)) of $times as they should be${ends-} ($late came before the start" \
    "or after the end)"
((failed == 0))
