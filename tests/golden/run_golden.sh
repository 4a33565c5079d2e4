#!/bin/sh
# Every family's tiny model, and the demo model, against their references.  See golden.c.
#   B=build tests/golden/run_golden.sh
set -u
cd "$(dirname "$0")/../.." || exit 1
golden=${B:-build}/tests/golden/golden
passed=0 failed=0
for dir in tests/golden/data/*/; do
    dir=${dir%/}
    model=$dir/model.gguf n_prompt=8
    if [ "$dir" = tests/golden/data/tales ]; then
        model=demo/tales-30m-q4_k_m.gguf n_prompt=33
    fi
    if "$golden" "$model" "$dir" "$n_prompt"; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        echo "FAILED: $dir"
    fi
done
echo "$passed passed, $failed failed"
[ $failed = 0 ]
