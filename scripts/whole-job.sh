#!/usr/bin/env bash
# Usage: scripts/whole-job.sh [-n ROUNDS] [--peers P,…] [--program NAME=PATH]… [OPTIONS] [FOLDER…] [-- ARGUMENT…]
#
# Whole jobs beside each other, from mpirun's start to its end: an MPI program that does nothing
# (`empty`), `mpiswarm run` with each engine, and other programs of the classic exercise.
#   -n ROUNDS             how often each workload is given to each program; by default 15, after one round
#                         that does not count. The order is drawn anew each time
#   --peers P,…           workloads made for so many peers: `mpiswarm synthesize`, 10 files of 100 segments
#   FOLDER…               workloads, each a folder of in<R>.txt; without --peers by default inputs/classic
#   --program NAME=PATH   a program of the exercise: its rank 0 is the tracker, and rank R reads in<R>.txt and
#                         writes client<R>_<file> in the folder that it is started in
#   --limit SECONDS       how long a job may take; by default 60
#   --seed N              what the orders and the workloads are drawn from; by default 1
#   --out DIR             where the record goes; by default results/whole-job-<UTC date>-<commit>
#   ARGUMENT…             of `mpiswarm run`; by default --segment-bytes 0, as the exercise moves hashes only
# After each job scripts/check-outputs.sh compares the files that it wrote with the inputs. A job fails
# if a file is wrong or missing, if its exit code is not 0, or at the limit. The folder gets
#   environment.txt   machine, MPI, workloads, and the SHA-256 of each program
#   jobs.csv          a line for each job: round, workload, program, seconds, what a run of mpiswarm says
#                     of its makespan_s and its balance (most served ÷ mean), and whether it is ok
#   failures.txt      what was wrong with those that are not, and the end of what they said
#   summary.txt       the medians
# MPIRUN and MPICC choose another MPI; MPISWARM names another binary, which is then not built.

set -euo pipefail
scripts=$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")
# shellcheck source-path=SCRIPTDIR source=mpi.sh
. "$scripts/mpi.sh"
# Points in numbers, bytes in the order of sort.
export LC_ALL=C

rounds=15 limit=60 seed=1 out='' peers=() folders=() names=(empty lockfree mutex)
declare -A paths=()
while (($#)); do
    case $1 in
        -h | --help) usage && exit ;;
        -n) rounds=${2-} && shift ;;
        --peers) IFS=, read -ra peers <<<"${2-}" && shift ;;
        --program)
            [[ ${2-} =~ ^([A-Za-z0-9._@/-]+)=(.+)$ ]] || die "--program: ${2-} is not NAME=PATH, such as classic=/tmp/classic"
            name=${BASH_REMATCH[1]} path=${BASH_REMATCH[2]}
            [[ " ${names[*]} " != *" $name "* ]] || die "--program: there is a program $name already: choose another name"
            [[ -f $path && -x $path ]] || die "--program: no program $path: build it, and name the binary"
            names+=("$name") && shift
            paths[$name]=$(readlink -f "$path")
            ;;
        --limit) limit=${2-} && shift ;;
        --seed) seed=${2-} && shift ;;
        --out) out=${2-} && shift ;;
        --) shift && break ;;
        -*) die "unknown argument $1; see --help" ;;
        *)
            [[ -d $1 && -n $(input_files "$1") ]] || die "$1 has no in<R>.txt: name the folder of the inputs"
            folders+=("$(realpath -s "$1")")
            ;;
    esac
    shift || die "the last option has no value; see --help"
done
arguments=("$@")
(($#)) || arguments=(--segment-bytes 0)
[[ $rounds =~ ^[1-9][0-9]{0,3}$ ]] || die "-n: $rounds is no number of rounds: use one such as 10"
[[ $limit =~ ^[1-9][0-9]{0,4}$ ]] || die "--limit: $limit is no number of seconds: use one such as 60"
[[ $seed =~ ^[0-9]{1,9}$ ]] || die "--seed: $seed is no seed: use a number such as 1"
for each in "${peers[@]}"; do
    [[ $each =~ ^[1-9][0-9]{0,3}$ ]] || die "--peers: $each is no number of peers: use some such as 4,8"
done
((${#folders[@]} + ${#peers[@]})) || folders=("$root/inputs/classic")
program=${MPISWARM-}
[[ -z $program || -x $program && -f $program ]] || die "MPISWARM: no program $program: build it, or unset MPISWARM"
program=${program:+$(readlink -f "$program")}
have "$mpicc" || die "there is no $mpicc: set MPICC"

# end_job: kills what is left of a job, by the folder that its ranks were started in. A rank that outlives
# its mpirun would slow all jobs that follow.
end_job() {
    local process try left
    for ((try = 0; try < 50; try++)); do
        left=()
        for process in /proc/[0-9]*; do
            [[ $(readlink "$process/cwd" 2>/dev/null) != "$scratch"/* ]] || left+=("${process#/proc/}")
        done
        ((${#left[@]})) || return 0
        kill -KILL "${left[@]}" 2>/dev/null || true
        sleep 0.1
    done
    say "processes are left of a job: ${left[*]}" >&2
}

cd "$root"
commit=$(git rev-parse --short HEAD 2>/dev/null) || commit=unknown
out=$(readlink -m "${out:-$(record_folder whole-job)}")
[[ ! -e $out ]] || die "$out exists already: name another folder"
if [[ -z $program ]]; then
    say "cargo build --release"
    cargo build --release --quiet
    program=$(target_folder)/release/mpiswarm
fi
scratch=$(readlink -f "$(mktemp -d)")
trap 'end_job; rm -rf "$scratch"' EXIT
printf '#include <mpi.h>\nint main(int n, char **v) { MPI_Init(&n, &v); MPI_Finalize(); return 0; }\n' \
    >"$scratch/empty.c"
"$mpicc" -O2 -o "$scratch/empty" "$scratch/empty.c"

for each in "${peers[@]}"; do
    "$program" synthesize "$scratch/peers-$each" --peers "$each" --files 10 --segments 100 --seed "$seed" >/dev/null
    folders+=("$scratch/peers-$each")
done
# The ranks of a workload: the highest R and the tracker.
declare -A ranks=()
workloads=() ranks_max=0
for folder in "${folders[@]}"; do
    workload=${folder##*/}
    [[ $workload =~ ^[A-Za-z0-9._-]+$ ]] || die "$workload: the name of a workload may have letters, digits, points and dashes: link it"
    [[ -z ${ranks[$workload]-} ]] || die "$workload: two workloads have this name: link one of them"
    highest=$(input_files "$folder" | tail -n 1)
    highest=${highest##*/in}
    ranks[$workload]=$((${highest%.txt} + 1))
    ((ranks[$workload] <= ranks_max)) || ranks_max=${ranks[$workload]}
    workloads+=("$workload")
done
mpi_environment "$ranks_max"

mkdir -p "$out"
dirty=$(git status --porcelain --untracked-files=no 2>/dev/null | head -n 1) || dirty=
{
    printf 'date: %s\n' "$(date -u +%Y-%m-%dT%H:%M:%SZ)"
    printf 'commit: %s%s\n' "$commit" "${dirty:+, with changes}"
    printf 'host: %s\n' "$(uname -n -s -r -m)"
    printf 'load: %s\n' "$(cut -d ' ' -f 1-3 /proc/loadavg 2>/dev/null || printf unknown)"
    printf 'mpi: %s\n' "$("$mpirun" --version 2>&1 | head -n 1)"
    for workload in "${workloads[@]}"; do printf 'workload: %s, %s ranks\n' "$workload" "${ranks[$workload]}"; done
    printf 'seed: %s\n' "$seed"
    printf 'limit: %s s\n' "$limit"
    printf 'mpiswarm run: %s\n' "${arguments[*]}"
    printf 'lockfree, mutex: SHA-256 %s\n' "$(sha256 "$program")"
    for name in "${names[@]:3}"; do printf '%s: SHA-256 %s\n' "$name" "$(sha256 "${paths[$name]}")"; done
    lscpu 2>/dev/null || true
} >"$out/environment.txt"

# field KEY: a number of the summary that the last job printed.
field() { sed -n "s/.*\"$1\": *\([0-9][0-9.e-]*\).*/\1/p" "$scratch/stdout" | head -n 1; }

# job ROUND WORKLOAD FOLDER NAME: one job and its line.
job() {
    local round=$1 workload=$2 folder=$3 name=$4 command outputs=$scratch/outputs from to code=0 ok=true
    rm -rf "$outputs"
    mkdir "$outputs"
    case $name in
        empty) command=("$scratch/empty") ;;
        lockfree | mutex) command=("$program" run "$folder" --out "$outputs" --engine "$name" --json "${arguments[@]}") ;;
        *)
            command=("${paths[$name]}")
            input_files "$folder" | xargs -d '\n' cp -t "$outputs"
            ;;
    esac
    mpi_arguments "${ranks[$workload]}"
    from=$EPOCHREALTIME
    # In the foreground, so that an interruption meets the job too.
    (cd "$outputs" && exec timeout --foreground --kill-after=5 "$limit" "$mpirun" "${mpirun_arguments[@]}" "${command[@]}") \
        </dev/null >"$scratch/stdout" 2>"$scratch/stderr" || code=$?
    to=$EPOCHREALTIME
    : >"$scratch/check"
    # mpiswarm ends so when it has delivered all but files that nobody owns.
    [[ $name != lockfree && $name != mutex ]] || ((code != 3)) || code=0
    if ((code != 0)); then
        ok=false
        end_job
        ((${to%.*} - ${from%.*} < limit)) || printf 'no end within %s s\n' "$limit" >"$scratch/check"
    elif [[ $name != empty ]]; then
        "$scripts/check-outputs.sh" "$folder" "$outputs" >"$scratch/check" || ok=false
    fi
    $ok || {
        printf 'round %s, %s, %s: exit code %s\n' "$round" "$workload" "$name" "$code"
        # A program may say much.
        tail -n 5 "$scratch/check" "$scratch/stdout" "$scratch/stderr" | cut -c 1-300 | sed "s#$scratch/##g; s/^/    /"
    } >>"$out/failures.txt"
    [[ $name == lockfree || $name == mutex ]] || : >"$scratch/stdout"
    printf '%s,%s,%s,%s,%s,%s,%s\n' "$round" "$workload" "$name" \
        "$(awk -v from="$from" -v to="$to" 'BEGIN { printf "%.4f", to - from }')" \
        "$(field makespan_s)" "$(field served_max_over_mean)" "$ok" >>"$out/jobs.csv"
}

# drawn ROUND WORKLOAD: the programs in the order of this round, the same everywhere.
drawn() {
    local name
    for name in "${names[@]}"; do
        printf '%s %s\n' "$(printf '%s' "$seed $1 $2 $name" | sha256sum | cut -c 1-16)" "$name"
    done | sort | cut -d ' ' -f 2
}

printf 'round,workload,program,seconds,makespan_s,balance,ok\n' >"$out/jobs.csv"
for ((round = 0; round <= rounds; round++)); do
    say "round $round of $rounds"
    for index in "${!workloads[@]}"; do
        mapfile -t order < <(drawn "$round" "${workloads[index]}")
        for name in "${order[@]}"; do job "$round" "${workloads[index]}" "${folders[index]}" "$name"; done
    done
    # Caches are cold.
    ((round)) || sed -i 1q "$out/jobs.csv"
done

# shellcheck disable=SC2016
summary='
function at(share,   place, low) {
    place = 1 + share * (n - 1); low = int(place)
    return sorted[low] + (place - low) * (sorted[low < n ? low + 1 : low] - sorted[low])
}
function add(x,   i) {
    for (i = ++n; i > 1 && sorted[i - 1] > x; i--) sorted[i] = sorted[i - 1]
    sorted[i] = x
}
# The median of what was added, and the quartiles.
function show(format,   text) {
    if (!n) return "-"
    text = sprintf(format, at(0.5))
    return text " [" sprintf(format, at(0.25)) ", " sprintf(format, at(0.75)) "]"
}
function longer(workload, program, round) {
    return seconds[workload, program, round] - seconds[workload, "empty", round]
}
function both(workload, a, b, round) {
    return ((workload, a, round) in seconds) && ((workload, b, round) in seconds)
}
# Fills the sample with how much longer than an empty job.
function sample(workload, program,   round) {
    n = 0
    for (round = 1; round <= rounds; round++)
        if (both(workload, program, "empty", round)) add(longer(workload, program, round))
}
# Of the other programs the fastest, of those that failed least; mutex where there are none.
function best(workload,   i, median, least, found, program) {
    found = "mutex"
    # After empty, lockfree and mutex.
    for (i = 4; i <= programs; i++) {
        program = names[i]
        sample(workload, program)
        if (!n) continue
        median = at(0.5)
        if (found == "mutex" || failed[workload, program] < failed[workload, found] || \
            failed[workload, program] == failed[workload, found] && median < least) {
            found = program
            least = median
        }
    }
    return found
}
BEGIN { FS = ","; programs = split(list, names, " ") }
FNR > 1 {
    if (!($2 in seen)) { seen[$2]; workloads[++count] = $2 }
    if ($1 > rounds) rounds = $1
    if ($7 != "true") { failed[$2, $3]++; next }
    seconds[$2, $3, $1] = $4
    if ($6 != "") balance[$2, $3, $1] = $6
}
END {
    print "Seconds longer than an empty MPI program of the same round, and ratios of the same round to the best"
    print "other program (of this difference, and of whole jobs): medians and quartiles of jobs without failure.\n"
    for (w = 1; w <= count; w++) {
        workload = workloads[w]
        base = best(workload)
        n = 0
        for (round = 1; round <= rounds; round++)
            if ((workload, "empty", round) in seconds) add(seconds[workload, "empty", round])
        printf "%s: an empty job takes %s s; ratios to %s\n", workload, show("%.3f"), base
        printf "  %-36s %-24s %-24s %-24s %-22s %s\n", "program", "longer, s", "ratio", "ratio of jobs", "balance", "failed"
        for (p = 2; p <= programs; p++) {
            program = names[p]
            sample(workload, program)
            line = sprintf("  %-36s %-24s", program, show("%.3f"))
            # Shorter than an empty job can only be noise: a ratio to that says nothing.
            n = 0
            for (round = 1; round <= rounds; round++)
                if (both(workload, program, base, round) && ((workload, "empty", round) in seconds))
                    add(longer(workload, base, round) > 0 ? longer(workload, program, round) / longer(workload, base, round) : 1e9)
            line = line sprintf(" %-24s", n && at(0.75) < 1e8 ? show("%.3f") : "-")
            n = 0
            for (round = 1; round <= rounds; round++)
                if (both(workload, program, base, round)) add(seconds[workload, program, round] / seconds[workload, base, round])
            line = line sprintf(" %-24s", show("%.3f"))
            n = 0
            for (round = 1; round <= rounds; round++)
                if ((workload, program, round) in balance) add(balance[workload, program, round])
            print line sprintf(" %-22s %d of %d", show("%.2f"), failed[workload, program], rounds)
        }
        print ""
    }
}'
awk -v list="${names[*]}" "$summary" "$out/jobs.csv" | tee "$out/summary.txt"
say "record: $out"
