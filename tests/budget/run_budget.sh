#!/usr/bin/env bash
# usage: B=build tests/budget/run_budget.sh
#        BUDGET_FULL=1 ...     a 3.7 GB model at 66 times the budget (make check-budget), in models/
#        KEEP_MODELS=1         leaves the model there
#
# The budget holds: a model in the 397B's proportions, whose non-expert weights alone are larger than the budget,
# runs inside a control group of budget + max(2%, 8 MiB) with cold caches.  The witness is the group's own peak
# counter; once with the limit in force, and once with a limit far above, where nothing but the plan keeps
# the peak down.  Logits must equal those of a run with everything resident.  Needs root and a memory control group
# (version 1 or 2) that it may create.
set -uo pipefail
cd "$(dirname "$0")/../.."
B=${B:-build}
sluice=$B/sluice
passed=0 failed=0
ok() { if "${@:2}"; then passed=$((passed + 1)); else failed=$((failed + 1)) && echo "FAILED $1"; fi; }

if [ -n "${BUDGET_FULL:-}" ]; then
    shape=(--layers 16 --hidden 1024 --experts 512 --top-k 10 --ff 256 --vocab 2048)
    times=66 dir=models n_tok=16
else
    shape=(--layers 10 --hidden 1024 --experts 64 --top-k 10 --ff 256 --vocab 2048)
    times=10 dir=$(mktemp -d "${TMPDIR:-/tmp}/budget.XXXXXX") n_tok=12
fi
mkdir -p "$dir"
model=$dir/budget.gguf
case $B in *asan* | *tsan* | *arm64*) echo "not under sanitizers or emulation: their memory is not the program's"; exit 77 ;; esac
[ -x "$sluice" ] || { echo "no program"; exit 77; }

# A control group of our own: v1 memory, or v2 with the memory controller.
if [ -d /sys/fs/cgroup/memory ] && [ -w /sys/fs/cgroup/memory ]; then
    cg=/sys/fs/cgroup/memory/sluice-budget-$$ limit=memory.limit_in_bytes peak=memory.max_usage_in_bytes
elif [ -f /sys/fs/cgroup/cgroup.controllers ] && grep -qw memory /sys/fs/cgroup/cgroup.subtree_control 2>/dev/null; then
    cg=/sys/fs/cgroup/sluice-budget-$$ limit=memory.max peak=memory.peak
else
    cg=
fi
if [ -z "$cg" ] || ! mkdir "$cg" 2>/dev/null; then
    echo "no memory control group can be made here (needs root and cgroups): skipped"
    exit 77
fi
rmdir "$cg"
cleanup() {
    rmdir "$cg" 2>/dev/null
    if [ -z "${BUDGET_FULL:-}" ]; then rm -rf "$dir"
    elif [ -z "${KEEP_MODELS:-}" ]; then rm -f "$dir"/budget.*; fi
}
trap cleanup EXIT

[ -s "$model" ] && [ -n "${KEEP_MODELS:-}" ] ||
    "$sluice" synth -q --arch qwen35moe "${shape[@]}" --type q4_k --seed 4 -o "$model" || exit 1
for ((i = 0; i < n_tok; i++)); do printf "\\x$(printf %02x $((i * 37 % 256)))\\x0$((i % 8))\\0\\0"; done >"$dir/budget.tok"

# usage: confined LIMIT_BYTES OUT ARGS...   -> peak (bytes), rc
confined() {
    mkdir "$cg" && echo "$1" >"$cg/$limit" || return 1
    sync
    echo 3 >/proc/sys/vm/drop_caches 2>/dev/null
    (echo "$BASHPID" >"$cg/cgroup.procs" && exec "$sluice" logits -q -m "$model" --tokens "$dir/budget.tok" \
        -c 32 --out "$dir/budget.$2" --json "$dir/budget.$2.json" "${@:3}")
    rc=$?
    top=$(cat "$cg/$peak")
    rmdir "$cg"
}
number() { sed -n "s/.*\"$1\": *\([0-9]*\).*/\1/p" "$dir/budget.$2.json" | head -1; }

bytes=$(stat -c %s "$model")
budget=$((bytes / times))
slack=$((budget / 50)) && [ $slack -gt 8388608 ] || slack=8388608
echo "model $((bytes >> 20)) MiB, budget $((budget >> 20)) MiB (1/$times), control group $(((budget + slack) >> 20)) MiB"

"$sluice" logits -q -m "$model" --tokens "$dir/budget.tok" -c 32 --out "$dir/budget.resident" --ram unlimited || exit 1
for run in "uring" "threads" "uring min"; do
    read -r io cache <<<"$run"
    confined $((budget + slack)) "tight" --ram "$budget" --io "$io" ${cache:+--expert-cache $cache}
    echo "  --io $run: exit $rc, peak $((top >> 20)) MiB of $(((budget + slack) >> 20))"
    ok "exit status inside the group ($run)" [ "$rc" = 0 ]
    ok "peak inside the group ($run)" [ "$top" -le $((budget + slack)) ]
    ok "logits equal those of the resident run ($run)" cmp -s "$dir/budget.tight" "$dir/budget.resident"
done
dense=$(($(number resident tight) + $(number dense_streamed tight)))
ok "non-expert weights ($dense bytes) are larger than the budget" [ "$dense" -gt "$budget" ]
unit=$((3 * 1024 * 256 * 9 / 16))
misses=$(($(number expert_requests tight) - $(number expert_hits tight)))
ok "bytes read >= misses x unit size" [ "$(number bytes_read tight)" -ge $((misses * unit)) ]
ok "experts were missed" [ "$misses" -gt 0 ]

confined $((budget * 8 + (1 << 30))) "free" --ram "$budget"
echo "  limit far away: exit $rc, peak $((top >> 20)) MiB"
ok "peak where only the plan holds it down" [ "$top" -le $((budget + slack)) ]
ok "logits equal (limit far away)" cmp -s "$dir/budget.free" "$dir/budget.resident"
echo "$passed passed, $failed failed"
[ $failed = 0 ]
