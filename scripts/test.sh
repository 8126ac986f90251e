#!/usr/bin/env bash
# Usage: scripts/test.sh [--quick]
#
# The gate: everything that has to hold before a change is taken. Stops at the first step that fails
# and names it. --quick leaves out the documentation, the loom tests and fuzzing.

set -euo pipefail
scripts=$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")
# shellcheck source-path=SCRIPTDIR source=mpi.sh
. "$scripts/mpi.sh"

quick=false
case ${1-} in
    '') ;;
    --quick) quick=true ;;
    -h | --help) usage && exit ;;
    *) die "unknown argument $1; see --help" ;;
esac

# step NAME COMMAND…: announces, times, and ends the gate when the command fails.
finished=()
step() {
    local name=$1 began=$SECONDS code=0
    shift
    say "--- $name"
    # Not `"$@" || code=$?`: there bash would ignore set -e within a function.
    set +e
    (set -e; "$@")
    code=$?
    set -e
    if ((code)); then
        say "gate failed: $name (exit code $code, after $((SECONDS - began)) s)" >&2
        exit 1
    fi
    finished+=("$(printf '%5d s  %s' "$((SECONDS - began))" "$name")")
}

skip() { say "--- $1: skipped, $2" && finished+=("skipped  $1: $2"); }

docs() { RUSTDOCFLAGS="${RUSTDOCFLAGS-} -D warnings" cargo doc --no-deps; }

# Optimised, because simulated worlds are slow without.
tests() {
    if have cargo-nextest; then
        cargo nextest run --cargo-profile gate --no-fail-fast
    else
        cargo test --profile gate --lib --bins --tests --no-fail-fast
    fi
}

shell_scripts() { shellcheck -x "$scripts"/*.sh "$scripts"/cluster/* "$scripts"/packaging/*.sh "$root/.ci/run"; }

# `--cfg loom` changes every crate's fingerprint: without a folder of its own, each change between
# this step and the others would build the world anew. Link-time optimisation buys nothing here.
loom() {
    export RUSTFLAGS="${RUSTFLAGS-} --cfg loom" CARGO_PROFILE_RELEASE_LTO=off
    CARGO_TARGET_DIR=$(target_folder)/loom
    export CARGO_TARGET_DIR
    local arguments=(--release --no-default-features --lib loom_) listed
    # A filter that fits nothing passes: a gate must not take that for a proof.
    listed=$(cargo test "${arguments[@]}" -- --list)
    if ! grep -q ': test$' <<<"$listed"; then
        say "no test has loom_ in its path"
        return 1
    fi
    cargo test "${arguments[@]}"
}

# Each target for a few seconds from its seeds: enough to see that it builds, and that what was mended
# stays so. A folder of its own, since the sanitizer changes every crate.
fuzz() {
    export RUSTC_BOOTSTRAP=1
    local target found
    cargo fuzz build
    found=$(mktemp -d)
    export TMPDIR=$found
    for target in $(cargo fuzz list); do
        # The first folder takes what is found, so that the clone stays clean.
        mkdir "$found/$target"
        cargo fuzz run "$target" "$found/$target" "fuzz/corpus/$target" -- \
            -max_total_time=5 -timeout=10 -verbosity=0
    done
    rm -r "$found"
}

end_to_end() {
    local out
    out=$(target_folder)/gate-run
    rm -rf "$out"
    "$scripts/run.sh" --out "$out"
}

began=$SECONDS
cd "$root"
step setup "$scripts/setup.sh" test
# Tests that start an mpirun of their own need this too.
mpi_environment any

step format cargo fmt --check
if have shellcheck; then step shellcheck shell_scripts; else skip shellcheck "it is not installed"; fi
step "clippy" cargo clippy --all-targets -- -D warnings
step "clippy without MPI" cargo clippy --all-targets --no-default-features -- -D warnings
if $quick; then skip documentation "--quick"; else step documentation docs; fi
step "build without MPI" cargo build --no-default-features
step "examples in the documentation" cargo test --doc
step tests tests
if $quick; then skip loom "--quick"; else step loom loom; fi
if $quick; then
    skip fuzz "--quick"
elif have cargo-fuzz; then
    step fuzz fuzz
else
    skip fuzz "cargo-fuzz is not installed"
fi
step "end to end" end_to_end

printf '%s\n' "${finished[@]}"
say "gate passed in $((SECONDS - began)) s"
