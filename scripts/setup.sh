#!/usr/bin/env bash
# Usage: scripts/setup.sh [build|test]
#
# Finds what is missing to build and run (build, the default) and also to test (test), and installs
# it: as root on Debian and its kin through apt; elsewhere it says what to install and exits with 1.
# What is already on PATH, such as the MPI of a `module load`, is used as it is.

set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=mpi.sh
. "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/mpi.sh"

purpose=${1-build}
case $purpose in
    build | test) ;;
    -h | --help) usage && exit ;;
    *) die "unknown argument $purpose; see --help" ;;
esac

any_file() { compgen -G "$1" >/dev/null; }

compiles() { printf '#include <%s>\n' "$2" | "$1" -E -x c - >/dev/null 2>&1; }

# The number of the newest libclang that Debian's packages have put on this machine, if any.
debian_libclang() {
    compgen -G '/usr/lib/*/libclang-[0-9]*.so*' | sed -E 's/.*libclang-([0-9]+).*/\1/' | sort -n | tail -n 1
}

# bindgen, which reads mpi.h, loads libclang and then needs clang's own headers, of that very
# version: without them it stops at stddef.h.
clang_ready() {
    local number folder
    [[ -z ${LIBCLANG_PATH-} ]] || return 0
    number=$(debian_libclang) || true
    if [[ -n $number ]]; then
        any_file "/usr/lib/llvm-$number/lib/clang/*/include/stddef.h"
        return
    fi
    have llvm-config && folder=$(llvm-config --libdir) || folder=/usr/lib64
    any_file "$folder/libclang.so*" &&
        { any_file "$folder/clang/*/include/stddef.h" || any_file '/usr/lib/clang/*/include/stddef.h'; }
}

# Sets `missing` (words for people), `apt` and `dnf` (packages).
look() {
    missing=() apt=() dnf=()
    if ! compiles cc stdlib.h; then
        missing+=("a C compiler") apt+=(gcc libc6-dev) dnf+=(gcc)
    fi
    # Packages of an MPI without its headers bring mpicc along, so its being there is not enough.
    if ! have "$mpirun" || ! compiles "$mpicc" mpi.h; then
        missing+=("an MPI ($mpicc, $mpirun, mpi.h)") apt+=(openmpi-bin libopenmpi-dev)
        dnf+=(openmpi openmpi-devel)
    fi
    if ! clang_ready; then
        missing+=("libclang with its headers") apt+=(libclang-dev) dnf+=(clang-devel)
    fi
}

# The two small packages in place of libclang-dev, which brings a hundred megabytes of C++ headers:
# of the libclang that is there already, else of the number that this release stands by, else of the
# newest.
clang_packages() {
    local number
    for number in $(
        debian_libclang
        apt-cache depends libclang-dev 2>/dev/null | sed -nE 's/.*Depends: libclang-([0-9]+)-dev$/\1/p'
        apt-cache --names-only search '^libclang1-[0-9]+$' | sed -E 's/libclang1-([0-9]+) .*/\1/' | sort -nr
    ); do
        if apt-cache show "libclang1-$number" "libclang-common-$number-dev" >/dev/null 2>&1; then
            printf '%s\n' "libclang1-$number" "libclang-common-$number-dev"
            return
        fi
    done
    printf '%s\n' libclang-dev
}

install() {
    local packages=() package
    apt_update
    for package in "$@"; do
        if [[ $package == libclang-dev ]]; then
            mapfile -t -O "${#packages[@]}" packages < <(clang_packages)
        elif apt-cache show "$package" >/dev/null 2>&1; then
            packages+=("$package")
        else
            say "this release has no package $package"
        fi
    done
    apt_install "${packages[@]}"
}

explain() {
    cat >&2 <<END
  Debian, Ubuntu:  sudo apt-get install -y --no-install-recommends ${apt[*]}
  Fedora, RHEL:    sudo dnf install -y ${dnf[*]}   then: module load mpi
  on a cluster:    module load openmpi   (or similar: module avail lists the names)
Without MPI, all but the ranks of an MPI job builds: cargo build --release --no-default-features
END
    exit 1
}

if ! have cargo || ! rust=$(rustc --version 2>&1); then
    say "Rust is missing: get it from https://rustup.rs, for example with" >&2
    say "  curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh -s -- -y" >&2
    exit 1
fi
needed=$(sed -n 's/^rust-version = "\(.*\)"$/\1/p' "$root/Cargo.toml")
found=$(cut -d ' ' -f 2 <<<"$rust")
if [[ $(printf '%s\n' "$needed" "$found" | sort -V | head -n 1) != "$needed" ]]; then
    say "Rust $found is too old, $needed is needed: rustup update stable (https://rustup.rs)" >&2
    exit 1
fi

look
wanted=("${apt[@]}")
if [[ $purpose == test ]]; then
    # Not worth a refusal: a gate without them still says most of what there is to say.
    for program in shellcheck rsync; do
        have "$program" || if can_install; then wanted+=("$program"); else say "$program is missing; what needs it will be skipped"; fi
    done
fi
if [[ $purpose == test ]] && ! have cargo-nextest; then
    say "cargo-nextest is missing; using cargo test"
fi

if ((${#missing[@]})); then say "missing: $(printf '%s; ' "${missing[@]}" | sed 's/; $//')"; fi
if ((${#wanted[@]})); then
    can_install || explain
    install "${wanted[@]}" || say "apt-get failed" >&2
    look
    if ((${#missing[@]})); then
        say "still missing after the installation: ${missing[*]}" >&2
        explain
    fi
fi
say "ready to $purpose"
