#!/usr/bin/env bash
# Runs each fuzzer of $B/tests/fuzz for FUZZ_SECONDS, as many at a time as there are cores, from tests/fuzz/corpus/NAME and what
# earlier runs found ($B/corpus/NAME); a crash leaves its input in $B/corpus/NAME.crash-*.
set -uo pipefail
cd "$(dirname "$0")/../.."
B=${B:-build-fuzz}
seconds=${FUZZ_SECONDS:-20}
export ASAN_OPTIONS=${ASAN_OPTIONS:-allocator_may_return_null=1} UBSAN_OPTIONS=print_stacktrace=1

one() { # name: a line about it, and "passed failed" into a file
    local name=$1 found=$B/corpus/$1 corpus args
    mkdir -p "$found"
    corpus=("$found")
    [ -d "tests/fuzz/corpus/$name" ] && corpus+=("tests/fuzz/corpus/$name")
    args=(-max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 -artifact_prefix="$found.")
    [ -e "tests/fuzz/$name.dict" ] && args+=(-dict="tests/fuzz/$name.dict")
    if "$B/tests/fuzz/$name" "${args[@]}" "${corpus[@]}" >"$B/logs/fuzz_$name.log" 2>&1 </dev/null; then
        echo "1 0" >"$2/$name"
        printf 'ok    fuzz %-20s %s\n' "$name" "$(grep -ao 'Done .*' "$B/logs/fuzz_$name.log" | tail -1)"
    else
        echo "0 1" >"$2/$name"
        printf 'FAIL  fuzz %-20s\n%s\n' "$name" "$(tail -n 40 "$B/logs/fuzz_$name.log" | sed 's/^/      | /')"
    fi
}
if [ "${1:-}" = --one ]; then
    one "$3" "$2"
    exit 0
fi

mkdir -p "$B/logs"
work=$(mktemp -d "${TMPDIR:-/tmp}/sluice-fuzz.XXXXXX") || exit 1
trap 'rm -rf "$work"' EXIT
names=()
for c in tests/fuzz/*.c; do
    [ -e "$c" ] && names+=("$(basename "$c" .c)")
done
printf '%s\0' "${names[@]}" | xargs -0 -n 1 -P "$(nproc)" tests/fuzz/run.sh --one "$work"
read -r passed failed < <(cat "$work"/* | awk '{p += $1; f += $2} END {print p + 0, f + 0}')
failed=$((failed + ${#names[@]} - passed - failed))
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
