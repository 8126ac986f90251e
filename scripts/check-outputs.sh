#!/usr/bin/env bash
# Usage: scripts/check-outputs.sh [--name-bytes-max N] INPUTS OUTPUTS
#
# Compares every file client<R>_<name> in OUTPUTS with what INPUTS/in<R>.txt asks for and an owner's
# in<R>.txt holds, without any help from mpiswarm itself. White space within a line does not count,
# as in `diff -w`; lines and their order do. Passed over, with a note: files that nobody owns, names
# that could not be a file's (a slash, or more than N bytes; 245 leaves room for `client<R>_`).
#
# Exit code: 0 all identical, 1 a file differs or is missing, 2 the inputs make no sense.

set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/lib.sh"

name_bytes_max=238
folders=()
while (($#)); do
    case $1 in
        -h | --help) usage && exit ;;
        --name-bytes-max) name_bytes_max=${2-} && shift ;;
        -*) die "unknown option $1; see --help" ;;
        *) folders+=("$1") ;;
    esac
    shift || die "the last option has no value; see --help"
done
((${#folders[@]} == 2)) || die "name two folders: INPUTS and OUTPUTS; see --help"
[[ $name_bytes_max =~ ^[0-9]+$ ]] || die "--name-bytes-max: $name_bytes_max is no number: use one such as 245"
inputs=${folders[0]} outputs=${folders[1]}
[[ -d $inputs ]] || die "no folder $inputs: name the folder of the inputs"

# Absolute, so that awk takes no path for an option or an assignment.
mapfile -t files < <(input_files "$inputs")
((${#files[@]})) || die "$inputs has no in<R>.txt: name the folder of the inputs"

# Through the environment, because awk -v would read backslashes in them. In the C locale every awk
# counts bytes and takes any byte for a character.
outputs=$outputs name_bytes_max=$name_bytes_max LC_ALL=C exec awk '
function bad(what) {
    printf "bad input: in%d.txt, line %d: %s\n", rank, FNR, what
    gave_up = 1
    exit 2
}

function number(text) {
    if (text !~ /^[0-9]+$/) bad("a number is expected, not \"" text "\"")
    return text + 0
}

# A file of the inputs ended: is it complete?
function ended() {
    if (rank != "" && (state != "wanted" || left > 0)) {
        printf "bad input: in%d.txt ends too early\n", rank
        gave_up = 1
        exit 2
    }
}

# The next thing to read, now that a file is complete.
function next_state() {
    state = files_left > 0 ? "header" : "wanted_count"
}

FNR == 1 {
    ended()
    files_seen++
    rank = FILENAME
    gsub(/.*\/in|\.txt$/, "", rank)
    state = "owned_count"
    left = 0
}

{ gsub(/^[ \t\r]+|[ \t\r]+$/, "") }

$0 == "" { next }

state == "owned_count" {
    files_left = number($0)
    next_state()
    next
}

state == "header" {
    files_left--
    segments = number($NF)
    name = $0
    sub(/[ \t]*[0-9]+$/, "", name)
    if (name == "") bad("a name and a count are expected")
    again = name in owner
    if (again && count[name] != segments) bad(name " has another length in in" owner[name] ".txt")
    if (!again) {
        owner[name] = rank
        count[name] = segments
    }
    line = 0
    state = "segment"
    if (segments == 0) next_state()
    next
}

state == "segment" {
    gsub(/[ \t\r]/, "")
    line++
    if (again && held[name, line] != $0) bad(name " is another file in in" owner[name] ".txt")
    held[name, line] = $0
    if (line == segments) next_state()
    next
}

state == "wanted_count" {
    left = number($0)
    state = "wanted"
    next
}

left > 0 {
    left--
    if (!((rank, $0) in seen)) {
        seen[rank, $0] = 1
        want_rank[++wants] = rank
        want_name[wants] = $0
    }
}

# What is wrong with the file at `path`, empty when nothing is.
function fault(path, name,    text, read, line) {
    line = 0
    while ((read = (getline text < path)) > 0) {
        line++
        gsub(/[ \t\r]/, "", text)
        if (line > count[name] || text != held[name, line]) {
            close(path)
            return "line " line
        }
    }
    close(path)
    if (read < 0) return "missing"
    return line < count[name] ? "ends after line " line " of " count[name] : ""
}

END {
    if (gave_up) exit 2
    ended()
    if (files_seen != ARGC - 1) {
        print "bad input: an in<R>.txt is empty"
        exit 2
    }
    for (i = 1; i <= wants; i++) {
        rank = want_rank[i]
        name = want_name[i]
        file = "client" rank "_" name
        if (!(name in owner)) {
            printf "note: nobody owns %s, which in%d.txt wants\n", name, rank
            continue
        }
        if (name ~ /\// || length(name) > ENVIRON["name_bytes_max"] + 0) {
            printf "note: passed over, not the name of a file: %s\n", name
            continue
        }
        what = fault(ENVIRON["outputs"] "/" file, name)
        if (what == "") identical++
        else if (what == "missing") {
            missing++
            printf "missing: %s\n", file
        } else {
            different++
            printf "differs: %s: %s (owner: in%d.txt)\n", file, what, owner[name]
        }
    }
    printf "checked: %d files identical\n", identical
    if (missing + different > 0) {
        printf "failed: %d missing, %d different\n", missing, different
        exit 1
    }
}' "${files[@]}"
