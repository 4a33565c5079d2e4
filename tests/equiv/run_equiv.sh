#!/usr/bin/env bash
# usage: B=build tests/equiv/run_equiv.sh
# Equality of bits (equiv.c) on every tiny model, and on synthetic ones that are wide enough for every kernel: hidden
# 512, types mixed by layer and by part of an expert, 600 tokens.  EQUIV_TOKENS changes the number of tokens.
set -uo pipefail
cd "$(dirname "$0")/../.."
B=${B:-build}
equiv=$B/tests/equiv/equiv
passed=0 failed=0

one() { # model n_tok act [short]
    local out
    out=$("$equiv" "$@" 2>&1)
    local rc=$?
    echo "$out"
    read -r p f < <(sed -n 's/.*: \([0-9]*\) passed, \([0-9]*\) failed$/\1 \2/p' <<<"$out") || { p=0 f=1; }
    [ $rc -le 1 ] || f=$((f + 1))
    passed=$((passed + p)) failed=$((failed + f))
}

# Threads meet in the pool and in the reading threads, whatever the family: a few models show races as well as all do.
# Under emulation, where a model takes ten times as long, what remains to be shown is the kernels.
case $B in *tsan* | *arm64*) models='qwen35moe mixtral qwen3' ;; *) models=$(ls tests/golden/data) ;; esac
for name in $models; do
    dir=tests/golden/data/$name
    [ -f "$dir/model.gguf" ] || continue
    one "$dir/model.gguf" 72 f32
done

if [ -x "$B/sluice" ]; then
    n=600 short=
    # Plain C takes most of the time under the thread sanitizer, and its threads meet as those of any level do: once.
    case $B in *tsan*) n=48 short=short ;; *asan* | *arm64*) n=48 ;; esac
    n=${EQUIV_TOKENS:-$n}
    tmp=$(mktemp -d "${TMPDIR:-/tmp}/equiv.XXXXXX")
    trap 'rm -rf "$tmp"' EXIT
    synth() { # file, arguments
        "$B/sluice" synth -q "${@:2}" -o "$tmp/$1" && return 0
        echo "FAILED synth $*"
        failed=$((failed + 1))
        return 1
    }
    # sigmoid-gated hybrid with shared experts; plain MoE; dense
    synth hybrid.gguf --arch qwen35moe --layers 4 --hidden 512 --experts 24 --top-k 4 --ff 256 --vocab 1024 \
        --type q4_k,q6_k,iq4_xs,q5_k,iq3_s --seed 1 && one "$tmp/hybrid.gguf" "$n" q8 $short
    rm -f "$tmp"/*.gguf
    synth moe.gguf --arch qwen3moe --layers 3 --hidden 512 --experts 32 --top-k 4 --ff 256 --vocab 1024 \
        --type mix --seed 2 && one "$tmp/moe.gguf" "$n" q8 $short && one "$tmp/moe.gguf" 40 f32 $short
    rm -f "$tmp"/*.gguf
    synth dense.gguf --arch qwen3 --layers 3 --hidden 512 --ff 1024 --vocab 1024 --type q4_0,q8_0,iq2_xs --seed 3 &&
        one "$tmp/dense.gguf" "$n" q8
fi
echo "$passed passed, $failed failed"
[ $failed = 0 ]
