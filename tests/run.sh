#!/usr/bin/env bash
# Runs tests and sums them up; the last line is "N passed, N failed".
#
#   B=build tests/run.sh              every unit test, every tests/*/run_*.sh, every other test program
#   B=build tests/run.sh FILE...      these
#
# As many at a time as there are cores (TEST_JOBS), the longest first, each reported as it ends.
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
# ThreadSanitizer of these compilers does not know the layouts of newer kernels' ASLR.
under=()
if [[ $B == *tsan* ]] && setarch -R true 2>/dev/null; then under=(setarch -R); fi

# One test: a line about it, and "passed failed skipped" into a file of its own.
one() { # test, where its files may lie
    local t=$1 work=$2 name log start rc t_ms p f
    name=${t#"$B"/}
    name=${name#tests/}
    log=$B/logs/${name//\//_}.log
    # What runs remember for each other would make tests depend on their order.
    XDG_CACHE_HOME=$(mktemp -d "$work/cache.XXXXXX") || return 1
    export XDG_CACHE_HOME
    start=$(date +%s%N)
    # timeout makes a process group of its own, which ends with the test; Ctrl-C does not reach it and is handed on.  What a
    # shell puts into the background ignores SIGINT otherwise.
    env --default-signal=INT,QUIT timeout -k 10 "$limit" "${under[@]}" "$t" >"$log" 2>&1 </dev/null &
    trap "kill $! 2>/dev/null; wait $!; exit 130" INT TERM HUP
    wait $!
    rc=$?
    trap - INT TERM HUP
    t_ms=$((($(date +%s%N) - start) / 1000000))
    # What the test counted itself.
    p=$(sed -n 's/^\[  PASSED  \] \([0-9]*\) test.*/\1/p' "$log" | awk '{s += $1} END {print s + 0}')
    f=$(sed -n 's/^\[  FAILED  \] \([0-9]*\) test.*/\1/p' "$log" | awk '{s += $1} END {print s + 0}')
    if [ $((p + f)) = 0 ]; then
        read -r p f < <(grep -aE '^[0-9]+ passed, [0-9]+ failed$' "$log" | tail -1 | awk '{print $1, $3}') || true
    fi
    p=${p:-0} f=${f:-0}
    if [ $rc = 77 ]; then
        echo "0 0 1" >"$XDG_CACHE_HOME.sum"
        printf 'skip  %-44s %s\n' "$name" "$(tail -1 "$log")"
        return
    fi
    if [ $((p + f)) = 0 ]; then if [ $rc = 0 ]; then p=1; else f=1; fi; fi
    if [ $rc != 0 ] && [ "$f" = 0 ]; then f=1; fi
    echo "$p $f 0" >"$XDG_CACHE_HOME.sum"
    if [ $rc = 0 ] && [ "$f" = 0 ]; then
        printf 'ok    %-44s %4d   %d.%d s\n' "$name" "$p" $((t_ms / 1000)) $((t_ms % 1000 / 100))
    else
        [ $rc = 124 ] && echo "stopped after $limit s" >>"$log"
        printf 'FAIL  %-44s exit %d, the end of %s:\n%s\n' "$name" $rc "$log" "$(tail -n 25 "$log" | sed 's/^/      | /')"
    fi
}
if [ "${1:-}" = --one ]; then
    one "$3" "$2"
    exit 0
fi

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

# A long one that began last would keep one core busy while the others have nothing to do.
long=()
for t in equiv/run_equiv.sh cli/run_cli.sh references/run_tokenizers.py unit/test_ops fault/run_fault.sh golden/run_golden.sh \
    unit/test_tokenizer check_kernels/check_kernels unit/test_toy_ops cli/run_repack.sh; do
    for i in "${!tests[@]}"; do
        [[ ${tests[$i]} != */$t ]] || { long+=("${tests[$i]}"); unset "tests[$i]"; }
    done
done

work=$(mktemp -d "${TMPDIR:-/tmp}/sluice-tests.XXXXXX") || exit 1
trap 'rm -rf "$work"' EXIT
n=$((${#long[@]} + ${#tests[@]}))
# By xargs, since what a shell puts into the background ignores SIGINT, and so would the tests.
printf '%s\0' "${long[@]}" "${tests[@]}" | xargs -0 -n 1 -P "${TEST_JOBS:-$(nproc)}" tests/run.sh --one "$work"
read -r ended passed failed skipped < <(cat "$work"/*.sum 2>/dev/null | awk '{p += $1; f += $2; s += $3} END {print NR, p + 0, f + 0, s + 0}')
[ "$ended" = $n ] || { echo "FAIL  $((n - ended)) of $n tests came to no end"; failed=$((failed + n - ended)); }
[ "$skipped" = 0 ] || echo "$skipped could not run here"
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
