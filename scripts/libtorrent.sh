#!/usr/bin/env bash
# Usage: scripts/libtorrent.sh install | check TORRENT DIR | deliver SRC DIR…
#
# libtorrent, the BitTorrent library of many clients, beside our own torrents and staging.
#   install   only makes it ready
#   check     DIR/<name of the torrent>: does libtorrent make the same torrent of it (files, links, roots and
#             layers), and does it take what lies there for whole? One line says so, and one each difference
#   deliver   brings SRC to each DIR as a torrent, over the loopback interface: one process has it, and one
#             for each DIR fetches it. Links, empty folders, times and most of the modes do not come along
#
# It is installed from PyPI into a virtual environment below the build folder. Nothing leaves this machine
# else: no tracker, no DHT.
#
# Exit code: 0 done, 1 it differs or failed, 2 wrong call, 3 can't be had on this machine.

set -euo pipefail
scripts=$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$scripts/lib.sh"

refuse() {
    say "$*" >&2
    exit 3
}

case ${1-} in
    -h | --help) usage && exit ;;
    install) ;;
    check) (($# == 3)) || die "check takes a torrent and a folder; see --help" ;;
    deliver) (($# >= 3)) || die "deliver takes a source and folders; see --help" ;;
    *) die "use one of: install, check, deliver; see --help" ;;
esac

folder=$(target_folder)/libtorrent
python=$folder/bin/python
has_libtorrent() { "$python" -c 'import libtorrent' 2>/dev/null; }
if ! has_libtorrent; then
    have python3 || refuse "python3 is missing: libtorrent needs it"
    mkdir -p "$folder"
    # Two at once would disturb each other.
    exec 9>"$folder/lock"
    flock 9
    if ! has_libtorrent; then
        python3 -m venv "$folder" || refuse "no virtual environment (on Debian: apt-get install python3-venv)"
        "$folder/bin/pip" install --quiet --disable-pip-version-check --timeout 15 --retries 1 \
            'libtorrent>=2.0.9,<3' >&2 || refuse "libtorrent can't be had from PyPI"
        has_libtorrent || refuse "libtorrent is installed, and can't be loaded"
    fi
    exec 9>&-
fi
[[ $1 != install ]] || exit 0
exec "$python" -W ignore "$scripts/torrent.py" "$@"
