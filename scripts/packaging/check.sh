#!/usr/bin/env bash
# Usage: scripts/packaging/check.sh [NAME…]
#
# Builds or checks each package as far as this machine allows, and says what it could not do.
#   plain      cargo build --no-default-features: the program without MPI, used on a small tree
#   static     the same for x86_64-unknown-linux-musl: one file that runs on every Linux of that processor,
#              target/x86_64-unknown-linux-musl/<profile>/mpiswarm
#   spack      spack/package.py: spack spec, where there is Spack; otherwise that it is Python
#   conda      recipe.yaml: rattler-build --render-only, where there is rattler-build; otherwise that it is YAML
#   apptainer  mpiswarm.def: apptainer build, where there is Apptainer and it may; otherwise that its sections
#              are known and its copied files exist
# PROFILE=dev builds faster; by default release.
#
# Exit code: 0 nothing is wrong as far as it was checked, 1 something is, 2 wrong call.

set -euo pipefail
here=$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")
# shellcheck source-path=SCRIPTDIR source=../lib.sh
. "$here/../lib.sh"

all=(plain static spack conda apptainer)
case ${1-} in -h | --help) usage && exit ;; esac
names=("$@")
((${#names[@]})) || names=("${all[@]}")
for name in "${names[@]}"; do
    [[ " ${all[*]} " == *" $name "* ]] || die "unknown package $name: use ${all[*]}"
done
profile=${PROFILE:-release}
musl=x86_64-unknown-linux-musl
cd "$root"

skip() { printf 'not checked  %s: %s\n' "$1" "$2"; }
good() { printf 'good         %s: %s\n' "$1" "$2"; }

# built [TRIPLE]: where cargo puts the program.
built() {
    local folder=$profile
    [[ $profile != dev ]] || folder=debug
    printf '%s/%s/mpiswarm\n' "$(target_folder)${1:+/$1}" "$folder"
}

# use_without_mpi PROGRAM: what needs no MPI, on a small tree.
use_without_mpi() {
    local program=$1 folder code=0
    folder=$(mktemp -d)
    "$program" --version &&
        "$program" synthesize --tree "$folder/tree" --files 20 --bytes 200000 >/dev/null &&
        "$program" stage "$folder/tree" --to "$folder/a" --to "$folder/b" --mkdir --quiet &&
        "$program" manifest "$folder/tree" --out "$folder/manifest" &&
        "$program" verify "$folder/a/tree" --manifest "$folder/manifest" &&
        "$program" verify "$folder/b/tree" &&
        "$program" simulate --peers 3 --segments 20 >/dev/null || code=$?
    rm -rf "$folder"
    return "$code"
}

check_plain() {
    local program target
    # A folder of its own: the program with MPI stays where it is.
    target=$(target_folder)/plain
    CARGO_TARGET_DIR=$target cargo build --profile "$profile" --no-default-features --locked || return
    program=$(CARGO_TARGET_DIR=$target built)
    use_without_mpi "$program" || return
    ! ldd "$program" | grep -i 'libmpi' || return
    good plain "$program"
}

check_static() {
    local program
    have rustup || { skip static "no rustup, which brings the target $musl" && return; }
    rustup target add "$musl" >/dev/null 2>&1 || { skip static "rustup target add $musl fails" && return; }
    cargo build --profile "$profile" --no-default-features --locked --target "$musl" || return
    program=$(built "$musl")
    use_without_mpi "$program" || return
    if readelf --program-headers "$program" | grep -q INTERP; then
        say "$program wants a loader: it is not static" >&2
        return 1
    fi
    good static "$program, $(($(stat -c %s "$program") >> 20)) MiB"
}

check_spack() {
    python3 -c 'import ast, sys; ast.parse(open(sys.argv[1]).read())' "$here/spack/package.py" || return
    have spack || { skip spack "no spack here; package.py is Python" && return; }
    local folder code=0
    folder=$(mktemp -d)
    export SPACK_USER_CONFIG_PATH=$folder
    mkdir "$folder/repo"
    spack repo create "$folder/repo" mpiswarm >/dev/null || code=$?
    mkdir -p "$folder/repo/packages/mpiswarm"
    cp "$here/spack/package.py" "$folder/repo/packages/mpiswarm/"
    spack repo add "$folder/repo" && spack spec mpiswarm@main || code=$?
    rm -rf "$folder"
    ((code == 0)) || return
    good spack "it can be concretized"
}

check_conda() {
    if have rattler-build; then
        rattler-build build --render-only --recipe "$here/recipe.yaml" \
            --variant-config "$here/variants.yaml" -c conda-forge >/dev/null || return
        good conda "it can be rendered"
        return
    fi
    local version
    version=$(sed -n 's/^  version: \([0-9.]*\)$/\1/p' "$here/recipe.yaml")
    grep -qx "version = \"$version\"" Cargo.toml || { say "recipe.yaml has another version than Cargo.toml" >&2 && return 1; }
    if python3 -c 'import yaml' 2>/dev/null; then
        python3 -c 'import sys, yaml; [yaml.safe_load(open(name)) for name in sys.argv[1:]]' \
            "$here/recipe.yaml" "$here/variants.yaml" || return
        skip conda "no rattler-build here; recipe.yaml is YAML, of the version in Cargo.toml"
    else
        skip conda "no rattler-build and no PyYAML here; recipe.yaml has the version in Cargo.toml"
    fi
}

check_apptainer() {
    local known='files|post|environment|runscript|test' section image copied
    while read -r section; do
        [[ $section =~ ^($known)$ ]] || { say "mpiswarm.def: unknown section $section" >&2 && return 1; }
    done < <(sed -nE 's/^%([a-z]+).*/\1/p' "$here/mpiswarm.def")
    # The first %files names what it takes from here, a line each.
    while read -r copied _; do
        [[ -e $copied ]] || { say "mpiswarm.def: no $copied here" >&2 && return 1; }
    done < <(sed -n '/^%files$/,/^$/{/^ /p}' "$here/mpiswarm.def")
    have apptainer || { skip apptainer "no apptainer here; the sections of mpiswarm.def are known, what it copies exists" && return; }
    image=$(mktemp -d)/mpiswarm.sif
    if apptainer build "$image" "$here/mpiswarm.def"; then
        apptainer test "$image" && good apptainer "it builds and runs"
    else
        skip apptainer "it can't be built here: apptainer build needs Docker's registry and rustup's server"
    fi
    rm -rf "${image%/*}"
}

# check NAME
check() {
    case $1 in
        plain) check_plain ;;
        static) check_static ;;
        spack) check_spack ;;
        conda) check_conda ;;
        apptainer) check_apptainer ;;
    esac
}

failed=0
for name in "${names[@]}"; do
    check "$name" || { printf 'wrong        %s\n' "$name" && failed=1; }
done
exit "$failed"
