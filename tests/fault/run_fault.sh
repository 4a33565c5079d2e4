#!/usr/bin/env bash
# usage: B=build tests/fault/run_fault.sh
# Injected faults (fault.c) on a hybrid MoE model, a plain one, and a dense one.
set -uo pipefail
cd "$(dirname "$0")/../.."
B=${B:-build}
tmp=$(mktemp -d "${TMPDIR:-/tmp}/fault.XXXXXX")
trap 'rm -rf "$tmp"' EXIT
step=1
case $B in *asan* | *tsan* | *arm64*) step=17 ;; esac
passed=0 failed=0
for m in qwen35moe olmoe llama3; do
    out=$("$B/tests/fault/fault" "tests/golden/data/$m/model.gguf" "$tmp/cut.gguf" $step 2>&1)
    rc=$?
    step=$((step < 5 ? 5 : step)) # every read on the first model
    echo "$out"
    read -r p f < <(sed -n 's/.*: \([0-9]*\) passed, \([0-9]*\) failed$/\1 \2/p' <<<"$out") || { p=0 f=1; }
    [ $rc -le 1 ] || f=$((f + 1))
    passed=$((passed + p)) failed=$((failed + f))
done
echo "$passed passed, $failed failed"
[ $failed = 0 ]
