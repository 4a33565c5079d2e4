#!/bin/sh
# usage: tests/golden/run_golden.sh [BUILD_DIR]
# Every family's tiny model, and the demo model, against their references.  See golden.c.
set -u
cd "$(dirname "$0")/../.." || exit 1
golden=${1:-${B:-build}}/tests/golden/golden
failed=0
for dir in tests/golden/data/*/; do
    dir=${dir%/}
    model=$dir/model.gguf n_prompt=8
    if [ "$dir" = tests/golden/data/tales ]; then
        model=demo/tales-30m-q4_k_m.gguf n_prompt=33
    fi
    "$golden" "$model" "$dir" "$n_prompt" || { failed=1; echo "FAILED: $dir"; }
done
[ $failed = 0 ] && echo "golden: all equal to their references"
exit $failed
