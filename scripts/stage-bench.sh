#!/usr/bin/env bash
# Usage: scripts/stage-bench.sh [OPTIONS] [TREE…]
#
# Measures `mpiswarm stage` on this machine beside what people do instead, each from beginning to end:
# listing, reading, hashing where it hashes, writing, syncing. All bring one tree to four folders.
#   stage-ranks    mpirun -n 4 mpiswarm stage: four ranks
#   stage-process  mpiswarm stage --to … four times: one process
#   rsync          rsync -a, four at once
#   cp             cp -a, four at once
#   tar            tar | tar, four at once
#   tar-tee        one tar, whose output goes to four
#   tar-bcast      tar through MPI_Bcast in 4 MiB at a time: rank 0 packs, all four ranks unpack
#   libtorrent     a torrent, made and fetched by libtorrent in five processes (scripts/libtorrent.sh)
#   sbcast         with --slurm: tar, sbcast and srun tar, on four nodes of a Slurm on this machine
#   empty          mpirun -n 4 of a program that does nothing: what stage-ranks costs without staging
# Trees, by default the first three, made from the seed; the others are copied:
#   large          1 GiB in 100 files
#   small          400 MB in 100,000 files, 4 KiB each on average
#   one            one file of 1 GiB
#   toolchain      the folder of this Rust (rustc --print sysroot)
#   python         the folder of this python3 (sys.prefix), or --python
#
#   --rounds N     how often each contender runs with each tree; by default 7, after one that does not count
#   --scale X      trees of so many times the bytes; of `small` also the files. By default 1
#   --files N      files of `small`
#   --only NAME    only this contender; may be repeated
#   --seed N       of the trees and of the order in which contenders run; by default 1
#   --in DIR       where trees and copies lie; by default a new folder in /dev/shm
#   --out DIR      where the record goes; by default results/stage-bench-<UTC date>-<commit>
#   --python DIR   the folder of the tree python
#   --disturbed    also what is left in the folders when one is on a disk that is too small (as root), and when
#                  the contender is killed after half of the time that it took: leftovers.csv
#   --quick        all trees or those named, tiny, two rounds, --disturbed: to see that everything works
#   --slurm        with sbcast; needs root, and scripts/cluster/slurm-local.sh
#
# The source is read once before each run, so that it is in the page cache. In the round that does not
# count, each copy is compared with the source by scripts/check-tree.sh. What the rivals write is synced by
# `sync -f`, as part of their time. rsync does not keep hard links here. cp and tar do not hash, and rsync
# compares only what was sent with what was received. Of libtorrent the files alone are compared: the torrent
# has no links, times and empty folders.
# The record: environment.txt; rounds.csv, a line a run (bytes and files are those that all four folders
# get, `verified` says whether the copies were compared with the source, `ok` whether the command succeeded
# and the copies, if compared, are right); log.txt, what failed; summary.txt; leftovers.csv, a line a disturbed
# run (its exit code, in the four folders the files with a final name that are not as in the source, and those
# that are missing). MPISWARM names another binary, which is then not built.
#
# Exit code: 0 all contenders were right, 1 one was not (summary.txt counts them), 2 wrong call.

set -euo pipefail
scripts=$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")
# shellcheck source-path=SCRIPTDIR source=mpi.sh
. "$scripts/mpi.sh"
# Points in numbers.
export LC_ALL=C

made_trees=(large small one)
all_trees=("${made_trees[@]}" toolchain python)
all_contenders=(stage-ranks stage-process rsync cp tar tar-tee tar-bcast libtorrent empty)
copies=4
rounds=7 scale=1 small_files='' seed=1 base='' out='' with_slurm=false contenders=() trees=() python='' disturbed=false quick=false
while (($#)); do
    case $1 in
        -h | --help) usage && exit ;;
        --rounds) rounds=${2-} && shift ;;
        --scale) scale=${2-} && shift ;;
        --files) small_files=${2-} && shift ;;
        --only) contenders+=("${2-}") && shift ;;
        --seed) seed=${2-} && shift ;;
        --in) base=${2-} && shift ;;
        --out) out=${2-} && shift ;;
        --python) python=${2-} && shift ;;
        --disturbed) disturbed=true ;;
        --quick) quick=true disturbed=true rounds=2 scale=0.001 ;;
        --slurm) with_slurm=true ;;
        -*) die "unknown argument $1; see --help" ;;
        *)
            [[ " ${all_trees[*]} " == *" $1 "* ]] || die "unknown tree $1: use one of ${all_trees[*]}"
            trees+=("$1")
            ;;
    esac
    shift || die "the last option has no value; see --help"
done
! $with_slurm || all_contenders+=(sbcast)
if ((${#trees[@]} == 0)); then
    trees=("${made_trees[@]}")
    ! $quick || trees=("${all_trees[@]}")
fi
((${#contenders[@]})) || contenders=("${all_contenders[@]}")
for name in "${contenders[@]}"; do
    [[ " ${all_contenders[*]} " == *" $name "* ]] || die "--only: unknown contender $name: use one of ${all_contenders[*]}"
done
for number in "$rounds" "$seed" "${small_files:-1}"; do
    [[ $number =~ ^[1-9][0-9]{0,6}$ ]] || die "--rounds, --seed, --files: \"$number\" is no number: use one such as 5"
done
[[ $scale =~ ^[0-9]{1,3}(\.[0-9]{1,6})?$ && $scale =~ [1-9] ]] || die "--scale: \"$scale\" is no factor: use one such as 0.1"

# scaled NUMBER: times --scale, at least 1.
scaled() { awk -v number="$1" -v scale="$scale" 'BEGIN { n = int(number * scale); printf "%.0f", n < 1 ? 1 : n }'; }

# tree_folder TREE: where a tree is copied from; nothing for one that is made.
tree_folder() {
    local folder
    case $1 in
        toolchain)
            folder=$(rustc --print sysroot)
            ! $quick || folder=$folder/lib/rustlib/etc
            ;;
        python)
            folder=$python
            [[ -n $folder ]] || folder=$(python3 -c 'import sys; print(sys.prefix)')
            ! $quick || folder=$(python3 -c 'import json, os; print(os.path.dirname(json.__file__))')
            ;;
        *) return 0 ;;
    esac
    [[ -d $folder ]] || die "$1: no folder $folder: name another (--python), or leave it out"
    readlink -f "$folder"
}

# tree_files TREE, tree_bytes TREE: what it is made of.
tree_files() {
    case $1 in
        toolchain | python) find "$(tree_folder "$1")" -printf x | wc -c ;;
        large) echo 100 ;;
        small) echo "${small_files:-$(scaled 100000)}" ;;
        one) echo 1 ;;
    esac
}
tree_bytes() {
    case $1 in
        toolchain | python) du -sb "$(tree_folder "$1")" | cut -f 1 ;;
        large | one) scaled $((1 << 30)) ;;
        small) echo $(($(tree_files small) * 4096)) ;;
    esac
}

# Whether the source and its copies have room. A small file takes a page or block, and its name some more.
check_room() {
    local tree needed most=0 times=$((copies + 1)) available memory
    # An archive here and one on each node.
    ! chosen sbcast || times=$((2 * times))
    for tree in "${trees[@]}"; do
        needed=$(($(tree_bytes "$tree") + $(tree_files "$tree") * 8192))
        ((needed <= most)) || most=$needed
    done
    needed=$((most * times + (64 << 20)))
    available=$(df --output=avail -B1 "$base" | tail -n 1)
    if [[ $(stat -f -c %T "$base") == tmpfs ]]; then
        # What lies in tmpfs is memory, and the contenders need some too.
        memory=$(awk '/^MemAvailable:/ { printf "%.0f", $2 * 1024 * 0.8 }' /proc/meminfo)
        ((memory >= available)) || available=$memory
    fi
    ((needed <= available)) ||
        die "${base%/*} has room for $((available >> 20)) MiB, but $((needed >> 20)) are needed: use --scale, fewer --files or another --in"
}

# at_once COMMAND…: with each folder of a copy, all at the same time.
at_once() {
    local copy pids=() pid code=0
    for ((copy = 0; copy < copies; copy++)); do
        "$@" "$base/copies/$copy" &
        pids+=("$!")
    done
    for pid in "${pids[@]}"; do wait "$pid" || code=$?; done
    return "$code"
}

pack() { tar --format=posix -C "${source%/*}" -cf - "${source##*/}"; }
unpack() { tar -C "$1" -xpf -; }
through_pipe() { pack | unpack "$1"; }
unpack_pipe() { unpack "$1" <"$1.pipe"; }

# What people do instead, by its name.
rival() {
    case $1 in
        rsync) at_once rsync -a "$source" ;;
        # On some file systems a copy within one shares its blocks, and moves no byte.
        cp) at_once cp -a --reflink=never "$source" ;;
        tar) at_once through_pipe ;;
        tar-tee)
            local copy packing pipes=()
            for ((copy = 0; copy < copies; copy++)); do pipes+=("$base/copies/$copy.pipe"); done
            mkfifo "${pipes[@]}"
            (pack | tee "${pipes[@]}" >/dev/null) &
            packing=$!
            at_once unpack_pipe && wait "$packing"
            ;;
        tar-bcast)
            export base source
            # shellcheck disable=SC2016
            "$mpirun" "${mpirun_arguments[@]}" "$work/bcast" \
                'tar --format=posix -C "${source%/*}" -cf - "${source##*/}"' 'tar -C "$base/copies/$RANK" -xpf -'
            ;;
        libtorrent) "$scripts/libtorrent.sh" deliver "$source" "$base"/copies/* ;;
    esac && sync -f "$base/copies"
}

# contend NAME: one contender's work, from beginning to end.
contend() {
    local copy to=()
    case $1 in
        stage-ranks)
            "$mpirun" "${mpirun_arguments[@]}" "$MPISWARM" stage "$source" --to "$base/copies/{rank}" \
                --transport mpi --quiet
            ;;
        stage-process)
            for ((copy = 0; copy < copies; copy++)); do to+=(--to "$base/copies/$copy"); done
            "$MPISWARM" stage "$source" "${to[@]}" --transport local --quiet
            ;;
        empty) "$mpirun" "${mpirun_arguments[@]}" "$work/empty" ;;
        sbcast) "$scripts/cluster/slurm-local.sh" run salloc --quiet -N "$copies" --ntasks-per-node=1 "$work/sbcast" ;;
        *) rival "$1" ;;
    esac
}

# The job of sbcast. It times itself: what it waits for its nodes is not its own, and what lies on the nodes
# has to be compared and removed before it ends.
write_sbcast() {
    cat >"$work/sbcast" <<'END'
#!/usr/bin/env bash
set -euo pipefail
on_all() { srun --quiet -N "$copies" -n "$copies" "$@"; }
on_all sh -c 'rm -rf /dev/shm/copy /dev/shm/tree.tar; mkdir /dev/shm/copy'
from=$EPOCHREALTIME
tar --format=posix -C "${source%/*}" -cf "$work/tree.tar" "${source##*/}"
sbcast --force "$work/tree.tar" /dev/shm/tree.tar
on_all sh -c 'tar -C /dev/shm/copy -xpf /dev/shm/tree.tar && sync -f /dev/shm/copy'
to=$EPOCHREALTIME
rm "$work/tree.tar"
code=0
if $compares; then
    # The nodes do not see this /dev/shm, and this machine does not see theirs.
    for node in $(scontrol show hostnames "$SLURM_JOB_NODELIST"); do
        srun --quiet -N 1 -n 1 -w "$node" tar --format=posix -C /dev/shm/copy -cf - "${source##*/}" |
            tar -C "$base/copies/0" -xpf -
        "$check" "$source" "$base/copies/0/${source##*/}" || code=1
        rm -rf "$base/copies/0/${source##*/}"
    done
fi
on_all rm -rf /dev/shm/copy /dev/shm/tree.tar
printf '%s %s\n' "$from" "$to" >"$work/times"
exit "$code"
END
    chmod +x "$work/sbcast"
    export source base work copies compares check=$scripts/check-tree.sh
}

# compare NAME: all copies with the source.
compare() {
    local copy options=()
    if [[ $1 == libtorrent ]]; then
        [[ $(left_over) == 0,0 ]]
        return
    fi
    [[ $1 != rsync ]] || options=(--no-hard-links)
    for ((copy = 0; copy < copies; copy++)); do
        "$scripts/check-tree.sh" "${options[@]}" "$source" "$base/copies/$copy/${source##*/}" || return 1
    done
}

# left_over: in the copies, the files under a final name that are not as in the source, and those that are missing.
left_over() {
    local copy to wrong=0 missing=0
    for ((copy = 0; copy < copies; copy++)); do
        to=$base/copies/$copy/${source##*/}
        if [[ -d $to ]]; then
            wrong=$((wrong + $(diff -rq --no-dereference "$source" "$to" 2>/dev/null | grep -c ' differ$' || true)))
        fi
        # Sorted by bytes, as LC_ALL says.
        missing=$((missing + $(comm -z -23 <(names_of "$source") <(names_of "$to") | tr -cd '\0' | wc -c)))
    done
    printf '%s,%s' "$wrong" "$missing"
}
# names_of TREE: its files; none where it is missing.
names_of() { [[ ! -d $1 ]] || find "$1" -type f -printf '%P\0' | sort -z; }

# compile NAME: the C program of stdin.
compile() { "$mpicc" -O2 -x c -o "$work/$1" -; }

compile_empty() {
    compile empty <<'END'
#include <mpi.h>
int main(int n, char **v) { MPI_Init(&n, &v); MPI_Finalize(); return 0; }
END
}

# bcast PACK UNPACK: what the command PACK writes on rank 0, the command UNPACK reads on every rank.
compile_bcast() {
    compile bcast <<'END'
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>
static char buffer[4 << 20];
int main(int n, char **v) {
    int rank, length = 0, wrong = 0;
    char text[16];
    MPI_Init(&n, &v);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    snprintf(text, sizeof text, "%d", rank);
    setenv("RANK", text, 1);
    FILE *in = rank ? NULL : popen(v[1], "r"), *out = popen(v[2], "w");
    do {
        if (!rank) length = fread(buffer, 1, sizeof buffer, in);
        MPI_Bcast(&length, 1, MPI_INT, 0, MPI_COMM_WORLD);
        MPI_Bcast(buffer, length, MPI_BYTE, 0, MPI_COMM_WORLD);
        wrong |= fwrite(buffer, 1, length, out) != (size_t)length;
    } while (length == sizeof buffer);
    if (in) wrong |= pclose(in);
    wrong |= pclose(out);
    MPI_Finalize();
    return !!wrong;
}
END
}

remove() {
    # Nothing in a folder without the right to write can be removed, but by root.
    ((EUID == 0)) || find "$1" -type d -exec chmod u+rwx {} +
    rm -rf "$1"
}

# run_one ROUND TREE NAME: adds a line to rounds.csv.
run_one() {
    local round=$1 tree=$2 name=$3 copy from to code=0 ok=yes verified=no
    for ((copy = 0; copy < copies; copy++)); do mkdir -p "$base/copies/$copy"; done
    find "$source" -type f -exec cat {} + >/dev/null
    # What was removed before is none of this contender's affair.
    sync -f "$base"
    compares=false
    ((round > 0)) || [[ $name == empty ]] || compares=true
    from=$EPOCHREALTIME
    (contend "$name") >"$work/said" 2>&1 || code=$?
    to=$EPOCHREALTIME
    if [[ $name == sbcast && -e $work/times ]]; then
        read -r from to <"$work/times"
        rm "$work/times"
        ! $compares || verified=yes
    elif ((code == 0)) && $compares; then
        verified=yes
        compare "$name" >>"$work/said" 2>&1 || code=$?
    fi
    if ((code)); then
        ok=no
        say "$tree, round $round: $name fails; see $out/log.txt" >&2
        printf '== %s, round %s, %s: exit code %s\n%s\n' "$tree" "$round" "$name" "$code" \
            "$(head -n 50 "$work/said")" >>"$out/log.txt"
    fi
    awk -v from="$from" -v to="$to" -v head="$round,$tree,$name" -v tail="$delivered,$verified,$ok" \
        'BEGIN { printf "%s,%.4f,%s\n", head, to - from, tail }' >>"$out/rounds.csv"
    remove "$base/copies"
}

# disturb TREE NAME: adds two lines to leftovers.csv. The contender is killed with all of its processes, which it
# has in a session of its own.
disturb() {
    local tree=$1 name=$2 copy code pid half
    half=$(awk -F, -v tree="$tree" -v name="$name" \
        '$2 == tree && $3 == name { seconds = $4 } END { printf "%.3f", seconds / 2 }' "$out/rounds.csv")
    for disturbance in full killed; do
        code=0
        for ((copy = 0; copy < copies; copy++)); do mkdir -p "$base/copies/$copy"; done
        if [[ $disturbance == full ]]; then
            mount -t tmpfs -o "size=$((bytes / 2 + 4096))" tmpfs "$base/copies/$((copies - 1))" 2>/dev/null || continue
            (contend "$name") >/dev/null 2>&1 || code=$?
        else
            # Job control gives it a process group of its own.
            set -m
            (contend "$name") >/dev/null 2>&1 &
            pid=$!
            set +m
            sleep "$half"
            kill -KILL -- "-$pid" 2>/dev/null || true
            wait "$pid" 2>/dev/null || code=$?
            # Ranks end when they miss their launcher.
            sleep 1
        fi
        printf '%s,%s,%s,%s,%s\n' "$tree" "$name" "$disturbance" "$code" "$(left_over)" >>"$out/leftovers.csv"
        [[ $disturbance != full ]] || umount "$base/copies/$((copies - 1))"
        remove "$base/copies"
    done
}

# shuffle WORD…: sets `order` (Fisher and Yates), because what RANDOM of a subshell drew would be drawn again.
shuffle() {
    order=("$@")
    local last other word
    for ((last = $# - 1; last > 0; last--)); do
        other=$((RANDOM % (last + 1))) word=${order[last]}
        order[last]=${order[other]} order[other]=$word
    done
}

# measure TREE: all rounds of it.
measure() {
    local tree=$1 round name files bytes folder
    folder=$(tree_folder "$tree")
    if [[ -z $folder ]]; then
        "$MPISWARM" synthesize --tree "$base/holes" --files "$(tree_files "$tree")" \
            --bytes "$(tree_bytes "$tree")" --seed "$seed" >/dev/null
    fi
    # Without holes, which some contenders skip: all move the same bytes.
    cp -a --sparse=never --reflink=never "${folder:-$base/holes}" "$source"
    [[ -n $folder ]] || remove "$base/holes"
    files=$(find "$source" -type f -printf x | wc -c)
    bytes=$(find "$source" -type f -printf '%i %s\n' | sort -u | awk '{ sum += $2 } END { printf "%.0f", sum }')
    printf 'tree %s: %s files, %s bytes\n' "$tree" "$files" "$bytes" >>"$out/environment.txt"
    say "$tree: $files files, $bytes bytes, to $copies folders"
    for ((round = 0; round <= rounds; round++)); do
        shuffle "${contenders[@]}"
        for name in "${order[@]}"; do
            delivered=$((bytes * copies)),$((files * copies))
            [[ $name != empty ]] || delivered=0,0
            run_one "$round" "$tree" "$name"
        done
    done
    for name in "${contenders[@]}"; do
        # The disks of Slurm's nodes are not seen from here.
        ! $disturbed || [[ $name == empty || $name == sbcast ]] || disturb "$tree" "$name"
    done
    remove "$source"
}

# Medians and quartiles of rounds.csv.
# shellcheck disable=SC2016
summary='
function sort(n,   i, j, x) {
    for (i = 2; i <= n; i++) {
        x = value[i]
        for (j = i - 1; j >= 1 && value[j] > x; j--) value[j + 1] = value[j]
        value[j + 1] = x
    }
}
function at(share, n,   place, low) {
    place = 1 + share * (n - 1); low = int(place)
    return value[low] + (place - low) * (value[low < n ? low + 1 : low] - value[low])
}
# Median and quartiles of what is in `value`.
function quartiles(n, digits,   form) {
    if (!n) return "-"
    sort(n)
    form = "%." digits "f (%." digits "f to %." digits "f)"
    return sprintf(form, at(0.5, n), at(0.25, n), at(0.75, n))
}
# How many times as fast as that rival, in the rounds in which both ran.
function faster(tree, name, rival,   r, n) {
    if (name == rival || !((tree, rival) in runs)) return "-"
    for (r = 1; r <= rounds; r++)
        if ((tree, name, r) in time && (tree, rival, r) in time)
            value[++n] = time[tree, rival, r] / time[tree, name, r]
    return quartiles(n, 2)
}
function line(tree, name,   r, n, seconds, median, rates) {
    for (r = 1; r <= rounds; r++) if ((tree, name, r) in time) value[++n] = time[tree, name, r]
    seconds = quartiles(n, 3)
    rates = sprintf("%8s %9s", "-", "-")
    if (n && bytes[tree]) {
        median = at(0.5, n)
        rates = sprintf("%8.3f %9.0f", bytes[tree] / median / 1e9, files[tree] / median)
    }
    if (name == "empty") rates = sprintf("%8s %9s", "-", "-")
    printf "%-7s %-20s %4d %6d  %-25s %s  %-20s  %s\n", tree, name, n, failed[tree, name], seconds, rates, \
        name == "empty" ? "-" : faster(tree, name, "rsync"), name == "empty" ? "-" : faster(tree, name, "cp")
}
NR > 1 {
    tree = $2; name = $3
    if (!(tree in bytes)) trees[++tree_count] = tree
    if (!((tree, name) in runs)) names[tree, ++name_count[tree]] = name
    runs[tree, name]++
    if ($5 > bytes[tree]) { bytes[tree] = $5; files[tree] = $6 }
    bytes[tree] += 0
    if ($8 != "yes") { failed[tree, name]++; next }
    if ($1 == 0) next
    if ($1 > rounds) rounds = $1
    time[tree, name, $1] = $4
}
END {
    printf "%-7s %-20s %4s %6s  %-25s %8s %9s  %-20s  %s\n", "tree", "contender", "runs", "failed", \
        "seconds", "GB/s", "files/s", "as fast as rsync", "as fast as cp"
    for (t = 1; t <= tree_count; t++) {
        tree = trees[t]
        for (i = 1; i <= name_count[tree]; i++) order[i] = names[tree, i]
        # In the order of the names, which is the same for every tree.
        for (i = 2; i <= name_count[tree]; i++) {
            x = order[i]
            for (j = i - 1; j >= 1 && order[j] > x; j--) order[j + 1] = order[j]
            order[j + 1] = x
        }
        for (i = 1; i <= name_count[tree]; i++) {
            line(tree, order[i])
            if (order[i] != "stage-ranks" || !((tree, "empty") in runs)) continue
            for (r = 1; r <= rounds; r++) {
                left = time[tree, "stage-ranks", r] - time[tree, "empty", r]
                if ((tree, "empty", r) in time && left > 0) time[tree, "stage-ranks - empty", r] = left
            }
            runs[tree, "stage-ranks - empty"] = 1
            line(tree, "stage-ranks - empty")
        }
    }
    print "\nMedians, in parentheses the quartiles. GB/s and files/s: what all folders get together. As fast as:"
    print "time of the rival ÷ time of the contender, of each round. stage-ranks - empty: without the time of an empty"
    print "MPI job in the same round. Failed runs have no time."
}'

chosen() { [[ " ${contenders[*]} " == *" $1 "* ]]; }

programs=(awk df find tar tee)
! chosen rsync || programs+=(rsync)
! chosen libtorrent && ! $disturbed || programs+=(comm diff sort)
! $disturbed || programs+=(column)
for name in "${programs[@]}"; do
    have "$name" || die "$name is missing: install it (on Debian: apt-get install $name), or choose others with --only"
done
base=$(readlink -f "${base:-/dev/shm}") || die "--in: no folder $base: name another"
[[ -d $base && -w $base ]] || die "--in: no folder $base that can be written: name another"
[[ -z ${MPISWARM-} ]] || MPISWARM=$(readlink -f "$MPISWARM")
for tree in "${trees[@]}"; do tree_folder "$tree" >/dev/null; done
out=$(readlink -m "${out:-$(record_folder stage-bench)}")
[[ ! -e $out ]] || die "$out exists already: name another folder"

cd "$root"
if [[ -z ${MPISWARM-} ]]; then
    "$scripts/setup.sh" build
    say "cargo build --release"
    cargo build --release
    MPISWARM=$(target_folder)/release/mpiswarm
fi
work=$(mktemp -d)
base=$(mktemp -d "$base/mpiswarm-stage-bench-XXXXXX")
source=$base/source/tree
slurm_down=true
finish() {
    $slurm_down || "$scripts/cluster/slurm-local.sh" down >/dev/null
    # That of a run that was disturbed, and ended by a signal itself.
    umount "$base/copies/$((copies - 1))" 2>/dev/null || true
    remove "$base"
    rm -rf "$work"
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP
check_room
if chosen stage-ranks || chosen empty || chosen tar-bcast; then
    mpi_environment "$copies"
    mpi_arguments "$copies"
fi
! chosen empty || compile_empty
! chosen tar-bcast || compile_bcast
if chosen libtorrent && ! "$scripts/libtorrent.sh" install; then
    say "without libtorrent" >&2
    read -ra contenders <<<"$(printf '%s\n' "${contenders[@]}" | grep -vx libtorrent | paste -sd ' ')"
    ((${#contenders[@]})) || die "no contender is left: choose others with --only"
fi
if chosen sbcast; then
    export MPISWARM_SLURM_FOLDER=$work/slurm
    "$scripts/cluster/slurm-local.sh" up $$
    slurm_down=false
    write_sbcast
fi

mkdir -p "$out" "$base/source"
commit=$(git describe --always --dirty --abbrev=7 --exclude='*' 2>/dev/null) || commit=unknown
{
    printf 'date: %s\n' "$(date -u +%Y-%m-%dT%H:%M:%SZ)"
    printf 'commit: %s\n' "$commit"
    printf 'program: %s\n' "$("$MPISWARM" --version)"
    printf 'host: %s\n' "$(uname -n -s -r -m)"
    printf 'load: %s\n' "$(cut -d ' ' -f 1-3 /proc/loadavg 2>/dev/null || printf unknown)"
    printf 'mpi: %s\n' "$("$mpirun" --version 2>/dev/null | head -n 1)"
    for name in rsync tar cp; do ! have "$name" || printf '%s: %s\n' "$name" "$("$name" --version | head -n 1)"; done
    ! chosen sbcast || slurmctld -V
    printf 'file system: %s\n' "$(stat -f -c %T "$base")"
    printf 'rounds: %s\nscale: %s\nseed: %s\n' "$rounds" "$scale" "$seed"
    lscpu 2>/dev/null || true
} >"$out/environment.txt"
printf 'round,tree,contender,seconds,bytes,files,verified,ok\n' >"$out/rounds.csv"
! $disturbed || printf 'tree,contender,disturbance,exit_code,incomplete,missing\n' >"$out/leftovers.csv"

RANDOM=$seed
for tree in "${trees[@]}"; do measure "$tree"; done
{
    awk -F, "$summary" "$out/rounds.csv"
    ! $disturbed || { echo && column -s , -t "$out/leftovers.csv"; }
} | tee "$out/summary.txt"
say "record: $out"
! grep -q ',no$' "$out/rounds.csv"
