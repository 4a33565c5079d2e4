#!/usr/bin/env bash
# Runs each fuzzer of $B/tests/fuzz for FUZZ_SECONDS, from tests/fuzz/corpus/NAME and what
# earlier runs found ($B/corpus/NAME); a crash leaves its input in $B/corpus/NAME.crash-*.
set -uo pipefail
cd "$(dirname "$0")/../.."
B=${B:-build-fuzz}
seconds=${FUZZ_SECONDS:-20}
export ASAN_OPTIONS=${ASAN_OPTIONS:-allocator_may_return_null=1} UBSAN_OPTIONS=print_stacktrace=1
passed=0 failed=0
for c in tests/fuzz/*.c; do
    [ -e "$c" ] || continue
    name=$(basename "$c" .c)
    found=$B/corpus/$name
    mkdir -p "$found" "$B/logs"
    corpus=("$found")
    [ -d "tests/fuzz/corpus/$name" ] && corpus+=("tests/fuzz/corpus/$name")
    args=(-max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 -artifact_prefix="$found.")
    [ -e "tests/fuzz/$name.dict" ] && args+=(-dict="tests/fuzz/$name.dict")
    if "$B/tests/fuzz/$name" "${args[@]}" "${corpus[@]}" >"$B/logs/fuzz_$name.log" 2>&1 </dev/null; then
        passed=$((passed + 1))
        printf 'ok    fuzz %-20s %s\n' "$name" "$(grep -ao 'Done .*' "$B/logs/fuzz_$name.log" | tail -1)"
    else
        failed=$((failed + 1))
        printf 'FAIL  fuzz %-20s\n' "$name"
        tail -n 40 "$B/logs/fuzz_$name.log" | sed 's/^/      | /'
    fi
done
echo "$passed passed, $failed failed"
[ $failed = 0 ]
