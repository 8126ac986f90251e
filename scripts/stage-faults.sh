#!/usr/bin/env bash
# Usage: scripts/stage-faults.sh kill|kill-all|pause|stop|term|full|flip|all [TIMES] [--seed N] [-- OPTIONS OF mpiswarm stage]
#
# Stages one tree again and again, disturbs the run at a random moment, and checks how it ends, what it left,
# and what a second run has to do.
#
#   kill      kills a rank (SIGKILL): the job ends with an error, unless all ranks had their trees
#   kill-all  kills all ranks at once, as a power switch or a batch system does: likewise
#   term      a signal (SIGTERM) to all ranks, as of a batch system: a sentence, and an error
#   pause     stops a rank for half a second: all arrives
#   stop      stops a rank for good: the job ends by itself with an error, and names that rank
#   full      another program fills the disk of a rank (as root): an error names the rank, the others have all
#   flip      kills all ranks, and flips a bit of what lies on their disks; the second run has --checksum
#   all       each of them so many times
#
# After each: no final name has half a tree, and where the exit code is 0 each rank has its tree; a second run
# completes all trees, resumes what the first had written, and leaves no partial tree.
#
# RANKS is the number of ranks (default 4; 1: one process without MPI). MPISWARM names the program, MPIRUN the
# launcher with its options. --seed repeats a series (default 1). Exit code: 0 all as it should be, 1 a run
# ended otherwise, 2 the command line makes no sense.

set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/lib.sh"

faults=(kill kill-all pause stop term full flip)
if [[ ${1-} == all ]]; then
    code=0
    for fault in "${faults[@]}"; do "$0" "$fault" "${@:2}" || code=$?; done
    exit "$code"
fi
ranks=${RANKS:-4}
fault_series "${faults[*]}" 20 "$@"
[[ $ranks =~ ^[1-9][0-9]*$ ]] || die "RANKS=$ranks is no number of ranks; see --help"

[[ $fault != full ]] || ((EUID == 0)) || die "full: only root can mount a disk for it"
# A full disk is mounted.
remove_copies() {
    local folder
    for folder in "$out"/to/*; do ! mountpoint -q "$folder" || umount "$folder"; done
    rm -rf "$out/to"
}
trap 'remove_copies; rm -rf "$out"' EXIT

# Large files, small ones, links: text, so that each run stages the same.
tree=$out/source/tree
mkdir -p "$tree/small/deep"
for number in 1 2 3; do seq "$number" 3 2800000 >"$tree/large$number"; done
seq 800000 | split --lines=400 --suffix-length=4 - "$tree/small/deep/"
ln -s large1 "$tree/link"
ln "$tree/large2" "$tree/small/same"
total=$(cat "$tree"/large* "$tree"/small/deep/* | wc -c)

stage() {
    local command=("$program" stage "$tree" --to "$out/to/{rank}" --mkdir --json --quiet
        --segment-bytes 256K --patience "registration=10s,silence=3s,ask=250ms,request=1s" "${options[@]}" "$@")
    ((ranks == 1)) || command=("${launcher[@]}" -n "$ranks" "${command[@]}")
    exec timeout --foreground -k 5 120 "${command[@]}"
}
# The sum of a number of the summary of run $1.
number() { sed -nE "s/.*\"$2\":([0-9]+).*/\\1/p" "$out/$1.json" | head -1; }
same() { diff -r --no-dereference "$tree" "$1" >"$out/diff" 2>&1; }
partial_bytes() {
    local dirs
    shopt -s nullglob
    dirs=("$out"/to/*/.mpiswarm)
    shopt -u nullglob
    ((${#dirs[@]} > 0)) || { echo 0 && return; }
    # A sparse file has fewer blocks than bytes, the last block of a small one is not full, and a file with
    # several names is there once.
    find "${dirs[@]}" -path '*.partial/tree/*' -type f -printf '%i %b %s\n' | sort -u |
        awk '{ sum += $2 * 512 < $3 ? $2 * 512 : $3 } END { printf "%d\n", sum }'
}
# fill RANK: what is left of its disk.
fill() { head -c "$((4 * total))" /dev/zero >"$out/to/$1/other" 2>/dev/null || true; }
# A bit of a random file on the disks of the ranks. Its time stays, as when a disk fails silently.
flip() {
    local files file place byte time
    mapfile -t files < <(find "$out/to" -type f -size +0 ! -name '*lock*' | sort)
    ((${#files[@]})) || return 0
    file=${files[RANDOM % ${#files[@]}]}
    place=$(((RANDOM * 32768 + RANDOM) % $(stat -c %s "$file"))) time=$(stat -c %y "$file")
    byte=$(od -A n -t u1 -j "$place" -N 1 "$file")
    # shellcheck disable=SC2059  # The format is the byte.
    printf "\\x$(printf %02x $((byte ^ 1 << RANDOM % 8)))" |
        dd of="$file" bs=1 seek="$place" conv=notrunc status=none
    touch -d "$time" "$file"
    flipped="bit flipped at $place of ${file#"$out/to/"}"
}
# What is wrong after a run that was disturbed, and ended with exit code $1.
half_done() {
    local rank
    for ((rank = 0; rank < ranks; rank++)); do
        if [[ -e $out/to/$rank/tree ]]; then
            same "$out/to/$rank/tree" || echo "rank $rank has half a tree: $(head -1 "$out/diff")"
        elif (($1 == 0)); then
            echo "exit code 0, and rank $rank has no tree"
        fi
    done
}
# What is wrong after the second run.
rerun_fails() {
    local code=0 rank partial done_trees moved resumed
    partial=$(partial_bytes)
    done_trees=0
    for ((rank = 0; rank < ranks; rank++)); do [[ ! -e $out/to/$rank/tree ]] || ((++done_trees)); done
    (stage "${again_with[@]}") >"$out/second.json" 2>"$out/second.log" || code=$?
    ((code == 0)) || { echo "the second run: exit code $code: $(tail -2 "$out/second.log")" && return; }
    for ((rank = 0; rank < ranks; rank++)); do
        same "$out/to/$rank/tree" || { echo "rank $rank lacks: $(head -1 "$out/diff")" && return; }
    done
    ! compgen -G "$out/to/*/.mpiswarm/*.partial" >/dev/null || echo "a partial tree is left"
    # A bit may spoil all that is known of a rank.
    [[ $fault != flip ]] || return 0
    moved=$(number second bytes_moved) resumed=$(number second bytes_resumed)
    # What had been written is not moved again: all but a few segments a rank that were under way, and files
    # that share a segment with them.
    ((resumed + ranks * 16 * 262144 >= partial * 9 / 10)) ||
        echo "$partial bytes had been written, $resumed were resumed"
    ((moved <= total * ranks - resumed - total * done_trees)) ||
        echo "moved $moved of $((total * ranks)) although $resumed were there and $done_trees trees whole"
    again=$((again + moved + $(number second source_bytes_read))) had=$((had + resumed))
}

# A disk that fails silently is seen only by who reads it again.
again_with=()
[[ $fault != flip ]] || again_with=(--checksum)

# How long it takes undisturbed, in ms.
began=$(date +%s%3N)
(stage) >"$out/first.json" 2>"$out/first.log" || die "an undisturbed run fails: $(tail -3 "$out/first.log")"
lasts=$(($(date +%s%3N) - began))
fresh=$(($(number first bytes_moved) + $(number first source_bytes_read)))

failed=0 late=0 again=0 had=0 hung=0 wrong=0 lost=0
for ((round = 1; round <= times; round++)); do
    remove_copies
    rank=$((RANDOM % ranks)) moment=$((RANDOM % (lasts * 9 / 10))) why='' flipped=''
    if [[ $fault == full ]]; then
        mkdir -p "$out/to/$rank"
        mount -t tmpfs -o "size=$((total * 3 / 2 + (16 << 20)))" tmpfs "$out/to/$rank"
    fi
    start=$SECONDS
    (stage) >"$out/first.json" 2>"$out/first.log" &
    running=$!
    sleep "$(seconds $moment)"
    all=$(ranks_of_job)
    mapfile -t pids < <(cut -d ' ' -f 2 <<<"$all")
    pid=$(sed -n "s/^$rank //p" <<<"$all")
    [[ -n $pid ]] || late=$((late + 1))
    if [[ -n $pid ]]; then
        case $fault in
            kill) signal_ranks KILL "$pid" ;;
            kill-all | flip) signal_ranks KILL "${pids[@]}" ;;
            term) signal_ranks TERM "${pids[@]}" ;;
            pause) pause_rank "$pid" 500 $running ;;
            stop) stop_rank $rank "$pid" $running ;;
            full) fill "$rank" ;;
        esac
    fi
    code=0
    wait "$running" 2>/dev/null || code=$?
    [[ -z $pid || $fault != stop ]] || signal_ranks KILL "$pid"
    ((SECONDS - start < 120)) || why="did not end within 120 s"
    problem=$(half_done $code)
    [[ $fault != full ]] || rm -f "$out/to/$rank/other"
    [[ $fault != flip || -z $pid ]] || flip
    why=${why:-$problem}
    [[ -n $pid || $code == 0 ]] || why=${why:-"undisturbed, exit code $code"}
    if [[ -n $pid && -z $why ]]; then
        case $fault in
            pause) ((code == 0)) || why="exit code $code" ;;
            term)
                ((code == 0)) || grep -q interrupted "$out/first.log" || why="exit code $code without a word"
                ;;
            full)
                if ((code)); then
                    grep -qE "rank $rank\b" "$out/first.log" || ((ranks == 1)) || why="rank $rank is not named"
                    for ((other = 0; other < ranks; other++)); do
                        ((other == rank)) || same "$out/to/$other/tree" || why="rank $other has not all"
                    done
                fi
                ;;
            stop) ((code == 0)) || grep -qE "rank $rank\b" "$out/first.log" || why="rank $rank is not named" ;;
        esac
    fi
    if [[ -z $why ]]; then
        rerun_fails >"$out/why"
        why=$(cat "$out/why")
    fi
    if [[ -n $why ]]; then
        failed=$((failed + 1))
        case $why in
            *"did not end"* | *"exit code 124"*) ((++hung)) ;;
            *"half a tree"* | *lacks:*) ((++wrong)) ;;
            "the second run"*) ((++lost)) ;;
        esac
        echo "round $round, rank $rank at $moment of $lasts ms${flipped:+, $flipped}: $why"
        sed 's/^/    /' "$out/first.log" | tail -6
    fi
done
echo "$fault, seed $seed: $((times - failed)) of $times as they should be ($late came before the start or after the end);" \
    "$hung did not end, $wrong had wrong files under final names, $lost were not completed by a second run;" \
    "an undisturbed run reads and moves $fresh bytes, second runs $((again / (times > 0 ? times : 1))) on" \
    "average, with $((had / (times > 0 ? times : 1))) resumed"
((failed == 0))
