#!/usr/bin/env bash
# Usage: scripts/fuzz.sh [-n EXECUTIONS] [--limit SECONDS] [TARGET…]
#
# Fuzzes each target (by default all) until its last EXECUTIONS (1000000) reached no new code and found nothing.
#   --limit SECONDS   how long a target may take (by default 3600): what is not dry by then has exit code 1
# It starts from fuzz/corpus and adds there what it finds; git ignores that. A line a target says how many
# executions there were in all and the code that they reached. Exit code: 0 all dry, 1 a finding (its file is
# named) or not dry, 2 the command line makes no sense.

set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/lib.sh"

executions=1000000 limit=3600 targets=()
while (($#)); do
    case $1 in
        -h | --help) usage && exit ;;
        -n) executions=${2-} && shift ;;
        --limit) limit=${2-} && shift ;;
        -*) die "unknown argument $1; see --help" ;;
        *) targets+=("$1") ;;
    esac
    shift || die "the last option has no value; see --help"
done
[[ $executions =~ ^[1-9][0-9]{0,9}$ ]] || die "-n: $executions is no number of executions: use one such as 1000000"
[[ $limit =~ ^[1-9][0-9]{0,6}$ ]] || die "--limit: $limit is no number of seconds: use one such as 3600"
have cargo-fuzz || die "cargo-fuzz is not installed: cargo install cargo-fuzz"
cd "$root"
export RUSTC_BOOTSTRAP=1
known=$(cargo fuzz list)
for target in "${targets[@]}"; do
    grep -qxF -- "$target" <<<"$known" || die "no target $target; there are: ${known//$'\n'/ }"
done
((${#targets[@]})) || mapfile -t targets <<<"$known"

log=$(mktemp)
trap 'rm -f "$log"' EXIT
# covered WORD: the edges reached when libFuzzer said WORD.
covered() { sed -n "s/.*\t$1 *cov: \([0-9]*\).*/\1/p" "$log" | tail -n 1; }

failed=0
for target in "${targets[@]}"; do
    began=$SECONDS round=0 total=0 state=
    while [[ -z $state ]]; do
        round=$((round + 1))
        # -seed differs by round, or each would try the same.
        if ! cargo fuzz run "$target" "fuzz/corpus/$target" -- -seed=$round -runs="$executions" -timeout=10 \
            -max_total_time="$limit" -print_final_stats=1 >"$log" 2>&1; then
            state="found something: $(grep -oE 'fuzz/artifacts/[^ ]+' "$log" | tail -n 1)"
        fi
        total=$((total + $(sed -n 's/^stat::number_of_executed_units: *//p' "$log" | tail -n 1)))
        before=$(covered INITED) after=$(covered DONE)
        if [[ -n $state ]]; then
            failed=1
        elif ((SECONDS - began >= limit)); then
            state="not dry within $limit s" failed=1
        elif [[ $before == "$after" ]]; then
            state=dry
        fi
    done
    printf '%-10s %s: %s executions in %s rounds, %s edges\n' "$target" "$state" "$total" "$round" "${after:-?}"
done
exit $failed
