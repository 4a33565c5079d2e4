#!/usr/bin/env bash
# Runs tests and sums them up; the last line is "N passed, N failed".
#
#   B=build tests/run.sh              every unit test, every tests/*/run_*.sh, every other test program
#   B=build tests/run.sh FILE...      these
#
# Counted: cmocka's own counts; for anything else its last line "N passed, N failed",
# or one.  Exit 77 is a test that cannot run here.  Logs lie in $B/logs/.
set -uo pipefail
cd "$(dirname "$0")/.."
export B=${B:-build}
limit=900
[[ $B != *arm64* ]] || limit=3600 # emulated: equiv alone took 740 s on a shared machine
limit=${TEST_TIMEOUT:-$limit}
mkdir -p "$B/logs"

export ASAN_OPTIONS=${ASAN_OPTIONS:-detect_leaks=1:abort_on_error=0:allocator_may_return_null=1}
export UBSAN_OPTIONS=${UBSAN_OPTIONS:-print_stacktrace=1:halt_on_error=1}
export TSAN_OPTIONS=${TSAN_OPTIONS:-halt_on_error=1:second_deadlock_stack=1:allocator_may_return_null=1}
# What runs remember for each other would make tests depend on their order.
XDG_CACHE_HOME=$(mktemp -d "${TMPDIR:-/tmp}/sluice-tests.XXXXXX") || exit 1
export XDG_CACHE_HOME
trap 'rm -rf "$XDG_CACHE_HOME"' EXIT
# ThreadSanitizer of these compilers does not know the layouts of newer kernels' ASLR.
under=()
if [[ $B == *tsan* ]] && setarch -R true 2>/dev/null; then under=(setarch -R); fi

tests=("$@")
if [ ${#tests[@]} = 0 ]; then
    for c in tests/unit/*.c; do
        [ -e "$c" ] && tests+=("$B/${c%.c}")
    done
    for dir in tests/*/; do
        dir=${dir%/}
        case $dir in tests/unit | tests/common | tests/fuzz | tests/references | tests/toy_ops) continue ;; esac
        scripts=("$dir"/run_*.sh)
        if [ -e "${scripts[0]}" ]; then
            tests+=("${scripts[@]}")
        elif [ -e "$dir/${dir#tests/}.c" ]; then
            tests+=("$B/$dir/${dir#tests/}")
        else
            for c in "$dir"/*.c; do
                [ -e "$c" ] && tests+=("$B/${c%.c}")
            done
        fi
    done
fi

passed=0 failed=0 skipped=0
for t in "${tests[@]}"; do
    name=${t#"$B"/}
    name=${name#tests/}
    log=$B/logs/${name//\//_}.log
    start=$(date +%s%N)
    timeout -k 10 "$limit" "${under[@]}" "$t" >"$log" 2>&1 </dev/null
    rc=$?
    t_ms=$((($(date +%s%N) - start) / 1000000))
    # What the test counted itself.
    p=$(sed -n 's/^\[  PASSED  \] \([0-9]*\) test.*/\1/p' "$log" | awk '{s += $1} END {print s + 0}')
    f=$(sed -n 's/^\[  FAILED  \] \([0-9]*\) test.*/\1/p' "$log" | awk '{s += $1} END {print s + 0}')
    if [ $((p + f)) = 0 ]; then
        read -r p f < <(grep -aE '^[0-9]+ passed, [0-9]+ failed$' "$log" | tail -1 | awk '{print $1, $3}') || true
    fi
    p=${p:-0} f=${f:-0}
    if [ $rc = 77 ]; then
        skipped=$((skipped + 1))
        printf 'skip  %-44s %s\n' "$name" "$(tail -1 "$log")"
        continue
    fi
    if [ $((p + f)) = 0 ]; then if [ $rc = 0 ]; then p=1; else f=1; fi; fi
    if [ $rc != 0 ] && [ "$f" = 0 ]; then f=1; fi
    passed=$((passed + p)) failed=$((failed + f))
    if [ $rc = 0 ] && [ "$f" = 0 ]; then
        printf 'ok    %-44s %4d   %d.%d s\n' "$name" "$p" $((t_ms / 1000)) $((t_ms % 1000 / 100))
    else
        [ $rc = 124 ] && echo "stopped after $limit s" >>"$log"
        printf 'FAIL  %-44s exit %d, the end of %s:\n' "$name" $rc "$log"
        tail -n 25 "$log" | sed 's/^/      | /'
    fi
done
[ $skipped = 0 ] || echo "$skipped could not run here"
echo "$passed passed, $failed failed"
[ $failed = 0 ]
