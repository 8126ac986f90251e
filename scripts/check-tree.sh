#!/usr/bin/env bash
# Usage: scripts/check-tree.sh [--no-hard-links] SOURCE COPY
#
# Compares two files, or two folders with all that lies in them, without any help from mpiswarm itself:
# names, content, modes, times to the nanosecond, symbolic links and, unless --no-hard-links says
# otherwise, which names are one file. Owners may differ. Differences are printed, one a line, as
# `rsync --itemize-changes` has them; where there is no rsync, as `diff` has them.
#
# Exit code: 0 the same, 1 they differ, 2 wrong call, or one of them can't be read.

set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/lib.sh"

hard_links=true paths=()
while (($#)); do
    case $1 in
        -h | --help) usage && exit ;;
        --no-hard-links) hard_links=false ;;
        -?*) die "unknown option $1; see --help" ;;
        *) paths+=("$1") ;;
    esac
    shift
done
((${#paths[@]} == 2)) || die "name two: SOURCE and COPY; see --help"
for path in "${paths[@]}"; do [[ -e $path ]] || die "$path: no such file or folder"; done
source=$(readlink -f "${paths[0]}") copy=$(readlink -f "${paths[1]}")

with_rsync() {
    # A copy that has more than its source differs too. A window of -1 is a nanosecond.
    local options=(-rlptDn --checksum --delete --itemize-changes --modify-window=-1)
    ! $hard_links || options+=(-H)
    # A folder's content, not the folder into the other.
    [[ ! -d $source ]] || source+=/
    [[ ! -d $copy ]] || copy+=/
    rsync "${options[@]}" "$source" "$copy"
}

# listing PATH: what `diff` does not look at. The size of a folder is its file system's affair.
listing() {
    local links=''
    ! $hard_links || links=' %n links'
    find "$1" \( -type d -printf '%P: folder, mode %m, %T@\n' \) -o \
        \( -type l -printf '%P: link to %l, %T@\n' \) -o -printf "%P: %y, mode %m, %s bytes, %T@$links\n" | sort
}

without_rsync() {
    local code=0 of_listings=0 source_list copy_list
    # The larger code of the two: what can't be read has no difference to show.
    diff -r --brief --no-dereference "$source" "$copy" || code=$?
    source_list=$(listing "$source") || return 2
    copy_list=$(listing "$copy") || return 2
    diff <(printf '%s\n' "$source_list") <(printf '%s\n' "$copy_list") || of_listings=$?
    return $((code > of_listings ? code : of_listings))
}

if [[ -d $source && ! -d $copy || ! -d $source && -d $copy ]]; then
    printf 'one of them is a folder\n'
    exit 1
fi
if have rsync; then
    differences=$(with_rsync) || die "rsync can't compare them"
else
    code=0
    differences=$(without_rsync) || code=$?
    ((code <= 1)) || die "diff can't compare them"
fi
[[ -z $differences ]] || { printf '%s\n' "$differences" && exit 1; }
