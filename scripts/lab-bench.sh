#!/usr/bin/env bash
# Usage: scripts/lab-bench.sh [--runs N] [--segment-bytes BYTES] [--tree-mib N] [--tree-files N] [--keep-memory]
#                             [--out DIR] [STUDY…]
#
# Measures mpiswarm on hosts with shaped links that scripts/lab.sh makes of this machine, beside what
# the links allow. Needs root; takes the laboratory up and down itself.
#   equal-8     one owner, 8 hosts: 32 and 128 MiB at 100 and 200 Mbit/s
#   equal-16    16 hosts at 50 Mbit/s, 32 MiB
#   sizes       8 hosts at 200 Mbit/s, 128 MiB in segments of 64 KiB, 256 KiB and 1 MiB
#   slow-one    8 hosts at 200 Mbit/s, one of them at a tenth
#   slow-two    8 hosts at 200 Mbit/s, one at a half and one at a quarter
#   all-to-all  each of 8 hosts at 100 Mbit/s owns an eighth of 64 MiB and wants the rest
#   many-files  8 hosts at 200 Mbit/s, 1,000 files of 64 KiB from one owner
#   cut         8 hosts at 100 Mbit/s, one of which loses its cable in mid-run
#   stage       `mpiswarm stage`: one of 8 hosts at 200 Mbit/s has a tree of 256 MiB (--tree-mib) in 2,000
#               files (--tree-files), which goes to the memory of every host; beside it rsync from that host
#               to all at once, to a daemon on each, and an MPI job that does nothing
#   stage-slow  the same with one host at a tenth
# By default all. --runs (5) are repetitions, in which the contenders take turns: `mpiswarm run` with
# each engine. The mutex engine takes several times as long: it has every second turn, and none with
# 128 MiB. Where there is an inputs/plans/lab-CASE.toml, all that it names follows, and for
# equal-8-200-32 MPI_Bcast with each of Open MPI's algorithms. Segments have mpiswarm's own size unless
# --segment-bytes says another.
#
# --keep-memory is for a virtual machine that gives free memory back to its host within seconds (free page
# reporting): touching it anew costs processor time that hosts of their own have. Its kernel keeps free memory while
# this measures (page_reporting_order), and has its setting back at the end. environment.txt says so.
#
# --out is by default results/lab-bench-<UTC date>-<commit>. Each case gets a folder there:
#   links.txt       rates, and the payload that TCP carries between two hosts, before and after
#   runs.jsonl      one line per run: contender, exit code, and the output of `mpiswarm run --json`
#   log.txt         output of the runs
#   bench*/         the records of the plan, if there is one, and of MPI_Bcast by algorithm
# and table.txt lies beside them: the medians. Column `bound` is the makespan ÷ the shortest that is
# possible; `slow` the same of the slow hosts, where `bound` is that of all others; `copies` are those
# that the original owner sent; `balance` is the most bytes served ÷ the mean; `last` is the last finish
# of equal hosts ÷ the median. MPISWARM names another binary, which is then not built.

set -euo pipefail
scripts=$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$scripts/lib.sh"
# Points in numbers.
export LC_ALL=C

all_studies=(equal-8 equal-16 sizes slow-one slow-two all-to-all many-files cut stage stage-slow)
mib=$((1 << 20))
runs=5 segment_bytes='' tree_mib=256 tree_files=2000 out='' studies=() keeps_memory=false

# laboratory WORD…
laboratory() { "$scripts/lab.sh" "$@"; }

# payload_rate: bytes a second between two hosts of the common rate.
payload_rate() { laboratory rate h1 h2 | cut -d ' ' -f 1; }

# study NAME: all its cases.
study() {
    local rate bytes
    case $1 in
        equal-8)
            for rate in 100 200; do
                for bytes in 32 128; do broadcast "$1" 8 "$rate" "$bytes"; done
            done
            ;;
        equal-16) broadcast "$1" 16 50 32 ;;
        sizes)
            for bytes in 65536 262144 1048576; do
                segment_bytes=$bytes broadcast "$1-$bytes" 8 200 128
            done
            ;;
        slow-one) broadcast "$1" 8 200 32 h5:20 ;;
        slow-two) broadcast "$1" 8 200 32 h4:100 h6:50 ;;
        all-to-all) measure "$1" 8 100 8 $((8 * mib)) 1 ;;
        many-files) measure "$1" 8 200 1000 65536 first ;;
        cut) cut_off ;;
        stage) stage_tree "$1" 8 200 ;;
        stage-slow) stage_tree "$1" 8 200 h5:20 ;;
    esac
}

# broadcast STUDY HOSTS MBIT MIB [HOST:MBIT]…: one file of one owner.
broadcast() { measure "$1" "$2" "$3" 1 "$(($4 * mib))" first "${@:5}"; }

# prepare STUDY HOSTS MBIT FILES FILE_BYTES OWNERS [HOST:MBIT]…: the laboratory is up and the case's
# folder and inputs are there.
prepare() {
    hosts=$2 mbit=$3 files=$4 file_bytes=$5 owners=$6 slow=("${@:7}")
    case=$1-$mbit
    ((files > 1)) || case+=-$((file_bytes / mib))
    folder=$out/$case inputs=$work/$case
    segments=$(((file_bytes + segment_bytes - 1) / segment_bytes))
    say "$case: $files files of $file_bytes bytes, $hosts hosts at $mbit Mbit/s ${slow[*]}"
    mkdir "$folder"
    "$MPISWARM" synthesize "$inputs" --peers "$hosts" --files "$files" --segments "$segments" \
        --owners "$owners" --wanted all --seed 1 >/dev/null
    bring_up
}

# The laboratory with these hosts, at these rates.
bring_up() {
    local each arguments=()
    for each in "${slow[@]}"; do arguments+=(--slow "${each}mbit"); done
    laboratory up "$hosts" --rate "${mbit}mbit" "${arguments[@]}" >"$folder/links.txt"
    laboratory status >>"$folder/links.txt"
}

# measure: as prepare; runs all contenders in turn.
measure() {
    local run engine code
    prepare "$@"
    link=$(payload_rate)
    printf 'TCP payload between two hosts, before: %s bytes/s\n' "$link" >>"$folder/links.txt"
    for ((run = 1; run <= runs; run++)); do
        for engine in "${engines[@]}"; do
            [[ $engine != mutex ]] || ((run % 2 && file_bytes < 128 * mib)) || continue
            code=0
            execute "$engine" >"$work/summary.json" 2>>"$folder/log.txt" || code=$?
            record "$engine" "$run" "$code"
        done
    done
    planned "$root/inputs/plans/lab-$case.toml" bench ''
    [[ $case != equal-8-200-32 ]] || broadcasts
    printf 'after: %s bytes/s\n' "$(payload_rate)" >>"$folder/links.txt"
    laboratory down >/dev/null
}

# planned PLAN NAME SUFFIX: a plan of this case, which has contenders of its own; in the table their
# names end in SUFFIX, so that those of two plans differ.
planned() {
    local line contender repetition
    [[ -f $1 ]] || return 0
    laboratory run -- "$MPISWARM" bench "$1" --out "$folder/$2" 2>&1 | sed "s#$root/##g" >>"$folder/log.txt" ||
        say "$case: $1 ends with exit code $?; see $folder/log.txt" >&2
    while read -r line; do
        contender=${line#*\"contender\":\"} contender=${contender%%\"*}
        repetition=${line#*\"repetition\":} repetition=${repetition%%,*}
        printf '%s\n' "$line" >"$work/summary.json"
        record "${contender//, window /-w}$3" "$repetition" 0
    done < <(cat "$folder/$2"/*/records.jsonl "$folder/$2/records.jsonl" 2>/dev/null)
}

# MPI_Bcast with each algorithm of Open MPI's, in segments of 32 KiB where it cuts at all.
broadcasts() {
    local algorithm
    export OMPI_MCA_coll_tuned_use_dynamic_rules=1 OMPI_MCA_coll_tuned_bcast_algorithm_segmentsize=32768
    for algorithm in 1 2 3 4 5 6 7 8 9; do
        OMPI_MCA_coll_tuned_bcast_algorithm=$algorithm \
            planned "$root/inputs/plans/lab-mpi-bcast.toml" "bench-mpi-bcast-$algorithm" "-$algorithm"
    done
    unset OMPI_MCA_coll_tuned_use_dynamic_rules OMPI_MCA_coll_tuned_bcast_algorithm_segmentsize
}

# execute ENGINE: one run; finished files stay in the memory of each host.
execute() {
    # TMPDIR is each host's own.
    # shellcheck disable=SC2016
    laboratory run -- sh -c 'exec "$1" run "$2" --engine "$3" --segment-bytes "$4" --out "$TMPDIR" --json --quiet' \
        run "$MPISWARM" "$inputs" "$1" "$segment_bytes"
}

# record CONTENDER RUN CODE
record() {
    local summary
    summary=$(grep '^{' "$work/summary.json" | tail -n 1) || summary=null
    printf '{"case":"%s","contender":"%s","repetition":%s,"exit_code":%s,"hosts":%s,"mbit":%s,"slow":"%s","files":%s,"file_bytes":%s,"segments":%s,"owners":"%s","link_bytes_per_second":%s,"run":%s}\n' \
        "$case" "$1" "$2" "$3" "$hosts" "$mbit" "${slow[*]}" "$files" "$file_bytes" "$segments" \
        "$owners" "$link" "$summary" >>"$folder/runs.jsonl"
    [[ $3 -eq 0 && $summary != null ]] || say "$case: $1, run $2: exit code $3; see $folder/log.txt" >&2
}

# The last host loses its cable when a third of the time is over: the run must end and name it.
cut_off() {
    local began job code=0 limit=360
    prepare cut 8 100 1 $((32 * mib)) first
    link=$(payload_rate)
    began=$SECONDS
    # shellcheck disable=SC2016
    timeout --kill-after=10 "$limit" "$scripts/lab.sh" run -- sh -c \
        'exec "$1" run "$2" --segment-bytes "$3" --out "$TMPDIR" --json' \
        run "$MPISWARM" "$inputs" "$segment_bytes" >"$work/summary.json" 2>>"$folder/log.txt" &
    job=$!
    await_bytes h8 $((file_bytes * files / 3))
    laboratory cut h8
    wait "$job" || code=$?
    record lockfree 1 "$code"
    printf 'ended %s s after its start with exit code %s; 124: not by itself\n' \
        "$((SECONDS - began))" "$code" >>"$folder/links.txt"
    laboratory down >/dev/null
}

# await_bytes HOST BYTES: until that host has received so much.
await_bytes() {
    local bytes=0 try
    for ((try = 0; try < 300 && bytes < $2; try++)); do
        # /sys would show this machine's own.
        bytes=$(laboratory on "$1" sed -n 's/^ *eth0: *\([0-9]*\).*/\1/p' /proc/net/dev)
        sleep 0.05
    done
    ((bytes >= $2)) || say "$1 received no more than $bytes bytes" >&2
}

# stage_tree STUDY HOSTS MBIT [HOST:MBIT]…: a real tree of h1's, to a folder of every host's own.
stage_tree() {
    local run contender code
    hosts=$2 mbit=$3 slow=("${@:4}") case=$1-$3 owners=first
    folder=$out/$case tree=$work/tree
    say "$case: $tree_files files of $tree_mib MiB in all, $hosts hosts at $mbit Mbit/s ${slow[*]}"
    mkdir "$folder"
    "$MPISWARM" synthesize --tree "$work/holes" --files "$tree_files" --bytes $((tree_mib * mib)) >/dev/null
    # Without holes, which need not be moved: the bound is that of all bytes.
    cp -a --sparse=never "$work/holes" "$tree"
    rm -rf "$work/holes"
    # A tree is one to the links; what its segments are only matters to the bound, a little.
    files=1 file_bytes=$((tree_mib * mib)) segments=1024
    printf '#include <mpi.h>\nint main(int n, char **v) { MPI_Init(&n, &v); MPI_Finalize(); return 0; }\n' >"$work/empty.c"
    "${MPICC:-mpicc}" -o "$work/empty" "$work/empty.c"
    bring_up
    link=$(payload_rate)
    printf 'TCP payload between two hosts, before: %s bytes/s\n' "$link" >>"$folder/links.txt"
    for ((run = 1; run <= runs; run++)); do
        for contender in stage rsync empty; do
            code=0
            : >"$work/said.json"
            "by_$contender" >"$work/said.json" 2>>"$folder/log.txt" || code=$?
            finishes "$contender" >"$work/summary.json" || code=1
            ((run > 1)) || [[ $contender == empty ]] || check_copies "$contender" >>"$folder/log.txt" 2>&1 || code=1
            record "$contender" "$run" "$code"
            # shellcheck disable=SC2016
            on_each 'rm -rf "$TMPDIR"/stage "$TMPDIR"/began "$TMPDIR"/ended*'
        done
    done
    printf 'after: %s bytes/s\n' "$(payload_rate)" >>"$folder/links.txt"
    laboratory down >/dev/null
    rm -rf "$tree"
}

# Pages of at least 2^order are reported as free. No block is larger than that of this one (MAX_PAGE_ORDER).
reporting=/sys/module/page_reporting/parameters/page_reporting_order
largest_order=10

# on_each COMMAND: a shell's, on one host after the other.
on_each() {
    local host
    for ((host = 1; host <= hosts; host++)); do laboratory on "h$host" sh -c "$1"; done
}

by_stage() {
    local options=()
    [[ -z $given_segment_bytes ]] || options=(--segment-bytes "$given_segment_bytes")
    # shellcheck disable=SC2016
    laboratory run --ranks-per-host 1 -- sh -c \
        'date +%s.%N >"$TMPDIR/began"; program=$1; shift; exec "$program" stage "$@" --to "$TMPDIR/stage" --mkdir --json' \
        stage "$MPISWARM" "$tree" "${options[@]}"
}

by_empty() {
    # shellcheck disable=SC2016
    laboratory run --ranks-per-host 1 -- sh -c \
        'date +%s.%N >"$TMPDIR/began"; "$1" && date +%s.%N >"$TMPDIR/ended"' empty "$work/empty"
}

# From h1, to a daemon on each host: without ssh, whose ciphers would take processor time that hosts share here.
by_rsync() {
    local host daemons=() code=0
    printf '%s\n' 'use chroot = no' 'munge symlinks = no' 'reverse lookup = no' 'uid = 0' 'gid = 0' '[here]' 'read only = no' \
        "path = $MPISWARM_LAB_FOLDER/tmp" >"$work/rsyncd.conf"
    # shellcheck disable=SC2016
    on_each 'mkdir "$TMPDIR/stage"'
    for ((host = 2; host <= hosts; host++)); do
        laboratory on "h$host" rsync --daemon --no-detach --config="$work/rsyncd.conf" </dev/null >&2 &
        daemons+=("$!")
    done
    # Until all listen.
    # shellcheck disable=SC2016
    laboratory on h1 bash -c '
        for ((host = 2; host <= $1; host++)); do
            until (: <"/dev/tcp/h$host/873") 2>/dev/null; do sleep 0.05; done
        done
        date +%s.%N >"$TMPDIR/began"
        for ((host = 1; host <= $1; host++)); do
            to=rsync://h$host/here/stage/
            ((host > 1)) || to=$TMPDIR/stage/
            (rsync -a "$2" "$to" && date +%s.%N >"$TMPDIR/ended-$host") &
            pids+=("$!")
        done
        for pid in "${pids[@]}"; do wait "$pid" || code=$?; done
        exit "${code-0}"
    ' rsync "$hosts" "$tree" || code=$?
    kill "${daemons[@]}" 2>/dev/null || true
    wait "${daemons[@]}" 2>/dev/null || true
    return "$code"
}

# finishes CONTENDER: when each host had everything, since the first process of the contender began on any
# host, in the form of a summary of `mpiswarm run`, where the tracker comes first; then what the contender
# says itself. Fails when a host has not everything.
finishes() {
    local times
    # What `stage` writes last is the manifest. All hosts have one clock.
    # shellcheck disable=SC2016
    case $1 in
        stage) times=$(on_each 'echo began $(cat "$TMPDIR/began"); echo ended $(stat -c %.9Y "$TMPDIR/stage/.mpiswarm/tree.manifest")') ;;
        empty) times=$(on_each 'echo began $(cat "$TMPDIR/began"); echo ended $(cat "$TMPDIR/ended")') ;;
        rsync)
            times=$(laboratory on h1 bash -c 'echo began $(cat "$TMPDIR/began")
                for ((host = 1; host <= $1; host++)); do echo ended $(cat "$TMPDIR/ended-$host"); done' times "$hosts")
            ;;
    esac 2>/dev/null
    # Through the environment, because awk -v would read backslashes.
    said=$(grep '^{' "$work/said.json" | tail -n 1) awk -v files="$tree_files" '
        $1 == "began" && NF == 2 && (began == "" || $2 < began) { began = $2 }
        $1 == "ended" { ended[++hosts] = $2; if (NF < 2) lacks = 1; if ($2 > last) last = $2 }
        END {
            printf "{\"tree_files\":%d,\"makespan_s\":%.4f,\"finished_s\":[0", files, last - began
            for (i = 1; i <= hosts; i++) {
                if (ended[i] == "") printf ",null"; else printf ",%.4f", ended[i] - began
            }
            printf "],\"said\":%s}\n", ENVIRON["said"] == "" ? "null" : ENVIRON["said"]
            exit lacks || began == ""
        }' <<<"$times"
}

# check_copies CONTENDER: each host's copy against the source.
check_copies() {
    local host options=()
    [[ $1 != rsync ]] || options=(--no-hard-links)
    for ((host = 1; host <= hosts; host++)); do
        # shellcheck disable=SC2016
        laboratory on "h$host" sh -c 'check=$1; shift; exec "$check" "$@" "$TMPDIR/stage/tree"' check \
            "$scripts/check-tree.sh" "${options[@]}" "$tree" || { say "h$host: the copy differs" && return 1; }
    done
}

# The medians of all records.
# shellcheck disable=SC2016
table='
function number(key,   at) {
    if (!match($0, "\"" key "\":[-+0-9.eE]+")) return ""
    at = length(key) + 3
    return substr($0, RSTART + at, RLENGTH - at) + 0
}
function text(key,   at) {
    match($0, "\"" key "\":\"[^\"]*\"")
    at = length(key) + 4
    return substr($0, RSTART + at, RLENGTH - at - 1)
}
function median(key, n,   i, j, x) {
    for (i = 1; i <= n; i++) sorted[i] = value[key, i]
    for (i = 2; i <= n; i++) {
        x = sorted[i]
        for (j = i - 1; j >= 1 && sorted[j] > x; j--) sorted[j + 1] = sorted[j]
        sorted[j + 1] = x
    }
    return n % 2 ? sorted[(n + 1) / 2] : (sorted[n / 2] + sorted[n / 2 + 1]) / 2
}
# The shortest makespan of equal links.
function bound(wanting, bytes, segments, capacity) {
    return bytes / capacity * (1 + int(log(wanting) / log(2) + 1e-9) / segments)
}
{
    name = text("case") " " text("contender")
    if (!(name in count)) { names[++total] = name; count[name] = 0; failed[name] = 0 }
    if (number("exit_code") != 0 || !match($0, /"finished_s":\[[^]]*\]/)) { failed[name]++; next }
    finishes = substr($0, RSTART + 14, RLENGTH - 15)
    n = ++count[name]
    hosts = number("hosts"); files = number("files"); capacity = number("link_bytes_per_second")
    bytes = number("file_bytes") * files; segments = number("segments") * files
    from = 3
    if (text("owners") != "first") { bytes = bytes * (hosts - 1) / hosts; segments = 1e12; from = 2 }
    split("", slow_part)
    for (i = split(text("slow"), slow, " "); i >= 1; i--) {
        split(slow[i], pair, ":")
        part = pair[2] / number("mbit")
        slow_part[substr(pair[1], 2) + 0] = part
    }
    # finished_s is by rank: the tracker first, then the peer of each host.
    ranks = split(finishes, finish, ",")
    last = 0; slow_ratio = ""; fast = 0
    for (i = from; i <= ranks; i++) {
        host = i - 1
        if (host in slow_part) {
            ratio = finish[i] / (bytes / (capacity * slow_part[host]))
            if (slow_ratio == "" || ratio > slow_ratio) slow_ratio = ratio
        } else {
            value["finish", ++fast] = finish[i] + 0
            if (finish[i] + 0 > last) last = finish[i] + 0
        }
    }
    value[name "bound", n] = last / bound(fast - (from == 2), bytes, segments, capacity)
    value[name "slow", n] = slow_ratio
    value[name "copies", n] = number("origin_copies")
    value[name "balance", n] = number("served_max_over_mean")
    value[name "last", n] = last / median("finish", fast)
    value[name "makespan", n] = number("makespan_s")
}
END {
    printf "%-18s %-18s %4s %6s %10s %7s %7s %7s %8s %7s\n", "case", "contender", "runs", "failed", \
        "makespan", "bound", "slow", "copies", "balance", "last"
    for (t = 1; t <= total; t++) {
        name = names[t]; n = count[name]
        split(name, word, " ")
        printf "%-18s %-18s %4d %6d", word[1], word[2], n, failed[name]
        if (n) {
            printf " %8.3f s", median(name "makespan", n)
            if (word[2] == "empty") { print ""; continue }
            printf " %7.3f", median(name "bound", n)
            if (value[name "slow", 1] == "") printf " %7s", "-"
            else printf " %7.3f", median(name "slow", n)
            # Not all say how much each host sent.
            if (value[name "copies", 1] == "") printf " %7s %8s", "-", "-"
            else printf " %7.3f %8.3f", median(name "copies", n), median(name "balance", n)
            printf " %7.3f", median(name "last", n)
        }
        print ""
    }
}'

while (($#)); do
    case $1 in
        -h | --help) usage && exit ;;
        --runs) runs=${2-} && shift ;;
        --segment-bytes) segment_bytes=${2-} && shift ;;
        --tree-mib) tree_mib=${2-} && shift ;;
        --tree-files) tree_files=${2-} && shift ;;
        --out) out=${2-} && shift ;;
        --keep-memory) keeps_memory=true ;;
        -*) die "unknown argument $1; see --help" ;;
        *)
            [[ " ${all_studies[*]} " == *" $1 "* ]] || die "unknown study $1: use one of ${all_studies[*]}"
            studies+=("$1")
            ;;
    esac
    shift || die "the last option has no value; see --help"
done
[[ $runs =~ ^[1-9][0-9]{0,3}$ ]] || die "--runs: \"$runs\" is no number: use one from 1 to 9999"
[[ -z $segment_bytes || $segment_bytes =~ ^[1-9][0-9]{0,9}$ ]] || die "--segment-bytes: \"$segment_bytes\" is no size: use bytes, such as 65536"
for number in "$tree_mib" "$tree_files"; do
    [[ $number =~ ^[1-9][0-9]{0,6}$ ]] || die "--tree-mib, --tree-files: \"$number\" is no number: use one such as 256"
done
((${#studies[@]})) || studies=("${all_studies[@]}")
[[ $keeps_memory == false || -w $reporting ]] || die "--keep-memory: there is no $reporting to write to: leave it out"
[[ $EUID -eq 0 ]] || die "not root: network namespaces need it"

"$scripts/setup.sh" build
if [[ -z ${MPISWARM-} ]]; then
    say "cargo build --release"
    (cd "$root" && cargo build --release)
    MPISWARM=$(target_folder)/release/mpiswarm
fi
MPISWARM=$(readlink -f "$MPISWARM")
if [[ " ${studies[*]} " == *" stage"* ]]; then
    have rsync || die "rsync is missing: the studies of stage need it (on Debian: apt-get install rsync)"
fi
help=$("$MPISWARM" run --help)
given_segment_bytes=$segment_bytes
# The default of mpiswarm.
segment_bytes=${segment_bytes:-$(sed -n '/--segment-bytes/,/default:/s/.*\[default: \([0-9]*\)\].*/\1/p' <<<"$help")}
segment_bytes=${segment_bytes:-32768}
engines=(lockfree)
[[ $help != *mutex:* ]] || engines+=(mutex)

commit=$(git -C "$root" describe --always --dirty --abbrev=7 --exclude='*' 2>/dev/null || echo unknown)
out=$(readlink -m "${out:-$(record_folder lab-bench)}")
[[ ! -e $out ]] || die "$out exists already: name another folder"
mkdir -p "$out"
work=$(mktemp -d)
export MPISWARM_LAB_FOLDER=/run/mpiswarm-lab-bench-$$
order=$(cat "$reporting" 2>/dev/null || echo none)
# clean_up: leaves the machine as it was.
# shellcheck disable=SC2317
clean_up() {
    laboratory down >/dev/null
    rm -rf "$work"
    [[ $keeps_memory == false ]] || echo "$order" >"$reporting"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP
{
    printf 'commit: %s\nprogram: %s\nkernel: %s\ncores: %s\nload at start: %s\nsegment bytes: %s\n' "$commit" \
        "$("$MPISWARM" --version)" "$(uname -sr)" "$(nproc)" "$(cut -d ' ' -f 1-3 /proc/loadavg)" "$segment_bytes"
    printf 'page reporting order: %s, while measuring: ' "$order"
    [[ $keeps_memory == false ]] || echo $largest_order >"$reporting"
    cat "$reporting" 2>/dev/null || echo none
} >"$out/environment.txt"

for name in "${studies[@]}"; do study "$name"; done
cat "$out"/*/runs.jsonl | awk "$table" | tee "$out/table.txt"
say "records: $out"
