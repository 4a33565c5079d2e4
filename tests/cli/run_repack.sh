#!/usr/bin/env bash
# sluice repack: the same bits with and without its file, interruptions, full disks, damage, refusals.
set -u
cd "$(dirname "$0")/../.."
sluice=$PWD/${B:-build}/sluice
tmp=$(mktemp -d "${TMPDIR:-/tmp}/repack.XXXXXX")
trap 'rm -rf "$tmp"' EXIT
passed=0 failed=0

ok() { # what, status
    if [ "$2" = 0 ]; then passed=$((passed + 1)); else failed=$((failed + 1)); echo "FAILED: $1 ($(head -1 "$tmp/err"))"; fi
}
refused() { # want, command...: exit 1, one line that holds `want`
    local want=$1 rc
    shift
    "$@" >"$tmp/out" 2>"$tmp/err" </dev/null
    rc=$?
    [ $rc = 1 ] && [ "$(wc -l <"$tmp/err")" = 1 ] && grep -qF -- "$want" "$tmp/err"
    ok "refused: exit $rc: $*" $?
}
m=$tmp/m.gguf x=$tmp/m.gguf.experts
head -c 96 tests/golden/data/qwen35moe/tokens.i32 >"$tmp/tok" # 24 ids below 512
logits() { # out, options
    "$sluice" logits -q -m "$m" --tokens "$tmp/tok" --out "$@" 2>"$tmp/err"
}

# ---- the same bits: fused, mixed and repeated; every backend; a cache of a few experts and one of all
n=0
for shape in "--arch qwen35moe --layers 4 --hidden 256 --experts 16 --top-k 3 --ff 96 --type mix" \
    "--arch qwen3moe --layers 3 --hidden 256 --experts 16 --top-k 3 --ff 64 --type q4_0,q8_0,f16 --fused" \
    "--arch llama --layers 6 --distinct 2 --hidden 256 --experts 6 --top-k 2 --ff 256 --type q6_k,iq3_s" \
    "--arch olmoe --layers 2 --hidden 64 --experts 9 --top-k 2 --ff 32 --type q8_0"; do
    n=$((n + 1))
    rm -f "$x"
    # shellcheck disable=SC2086
    "$sluice" synth -q $shape --vocab 2048 --seed $n -o "$m" && logits "$tmp/want" --expert-cache min
    ok "shape $n" $?
    "$sluice" repack -q -m "$m" 2>"$tmp/err" && [ ! -s "$tmp/err" ] && "$sluice" repack -q --verify -m "$m"
    ok "shape $n: repack" $?
    for io in uring threads buffered; do
        for cache in min all; do
            logits "$tmp/got" --expert-cache $cache --io $io --chunk 7
            if [ $io = uring ] && grep -q "io_uring" "$tmp/err"; then continue; fi # not on this kernel
            cmp -s "$tmp/want" "$tmp/got"; ok "shape $n, $io, cache $cache: the same bits" $?
        done
    done
    "$sluice" inspect "$m" --no-tensors >"$tmp/out" && grep -q "m.gguf.experts: one read each" "$tmp/out"
    ok "shape $n: inspect names the file" $?
    "$sluice" logits -m "$m" --tokens "$tmp/tok" --out "$tmp/got" 2>"$tmp/err" && grep -q "repacked" "$tmp/err"
    ok "shape $n: the mode line says so" $?
done

# ---- a third of the reads, and within the budget
cp demo/tales-30m-q4_k_m.gguf "$m"
rm -f "$x"
reads() { sed -n '/"generation"/,$s/.*"reads": \([0-9]*\).*/\1/p' "$1" | head -1; }
"$sluice" run -q -m "$m" -p "Once upon a time" -n 12 --temp 0 --ignore-eos --ram 24M --expert-cache min --json "$tmp/a.json" >"$tmp/a"
"$sluice" repack -q -m "$m"; ok "the demo model" $?
"$sluice" run -q -m "$m" -p "Once upon a time" -n 12 --temp 0 --ignore-eos --ram 24M --expert-cache min --json "$tmp/b.json" >"$tmp/b"
cmp -s "$tmp/a" "$tmp/b"; ok "the demo model: the same text" $?
a=$(reads "$tmp/a.json") b=$(reads "$tmp/b.json")
[ "${b:-0}" -gt 0 ] && [ $((b * 2)) -lt "${a:-0}" ]; ok "fewer reads: $a, then $b" $?
peak=$(sed -n 's/.*"peak_bytes": \([0-9]*\).*/\1/p' "$tmp/b.json")
case ${B:-build} in *san*) peak=1 ;; esac
[ "${peak:-0}" -gt 0 ] && [ "$peak" -le $(((24 + 8) << 20)) ]; ok "the budget holds: $peak bytes of 24 MiB" $?
"$sluice" repack -m "$m" 2>"$tmp/err" && grep -q "nothing to do" "$tmp/err"; ok "once more: nothing to do" $?
refused "m.gguf.experts: expert" "$sluice" run -q -m "$m" -p hi -n 60 --ignore-eos --expert-cache min --io-fault fail=400+

# ---- stopped half-way, it goes on; what was damaged meanwhile is written again
mv "$x" "$tmp/whole"
(ulimit -f 8000; "$sluice" repack -q -m "$m" 2>"$tmp/err")
[ $? = 1 ] && [ "$(wc -l <"$tmp/err")" = 1 ] && grep -q "goes on from there" "$tmp/err" && [ -e "$x.part" ] && [ ! -e "$x" ]
ok "a write fails" $?
cp "$x.part" "$tmp/part"
"$sluice" repack -m "$m" 2>"$tmp/err" && grep -q "were there and verified" "$tmp/err" && cmp -s "$x" "$tmp/whole" && [ ! -e "$x.part" ]
ok "it goes on" $?
rm "$x"
cp "$tmp/part" "$x.part"
printf 'damage' | dd of="$x.part" bs=1 seek=100000 conv=notrunc 2>/dev/null
"$sluice" repack -q -m "$m" && cmp -s "$x" "$tmp/whole"; ok "a damaged half is written again" $?
rm "$x"
head -c 100000 /dev/urandom >"$x.part"
"$sluice" repack -q -m "$m" && cmp -s "$x" "$tmp/whole"; ok "a foreign half is begun anew" $?
rm "$x"
timeout -s INT 0.02 "$sluice" repack -q -m "$m" 2>"$tmp/err" # wherever that hits
[ ! -e "$x" ] || cmp -s "$x" "$tmp/whole"; ok "Ctrl-C leaves all or nothing under the name" $?
"$sluice" repack -q -m "$m" && cmp -s "$x" "$tmp/whole"; ok "and the next one ends it" $?
(
    exec 9>>"$x.part"
    flock 9
    rm "$x"
    "$sluice" repack -q -m "$m" 2>"$tmp/err" 9>&-
    [ $? = 1 ] && grep -q "another repack" "$tmp/err"
)
ok "two at once" $?
rm -f "$x.part"

# ---- damage is an error that names the file, never other data
damaged() { # want, where, bytes
    cp "$tmp/whole" "$x"
    printf "$3" | dd of="$x" bs=1 seek="$2" conv=notrunc 2>/dev/null
    refused "$1" "$sluice" run -q -m "$m" -p hi -n 1
}
damaged "not a file of experts" 0 'X'
damaged "version 9" 8 '\011'
damaged "another model" 17 '\377\000'
damaged "damaged in its table" 70 '\377'
cp "$tmp/whole" "$x"
truncate -s -1 "$x"
refused "should have" "$sluice" run -q -m "$m" -p hi -n 1
truncate -s 9 "$x"
refused "cut off" "$sluice" run -q -m "$m" -p hi -n 1
: >"$x"
refused "cut off" "$sluice" inspect "$m" --no-tensors
"$sluice" synth -q --arch qwen3moe --layers 2 --hidden 64 --experts 8 --ff 32 --vocab 512 --type q8_0 --seed 1 -o "$tmp/o.gguf"
"$sluice" repack -q -m "$tmp/o.gguf"
"$sluice" synth -q --arch qwen3moe --layers 2 --hidden 64 --experts 8 --ff 32 --vocab 512 --type q8_0 --seed 2 -o "$tmp/o.gguf"
refused "another model" "$sluice" run -q -m "$tmp/o.gguf" -p hi -n 1 # the same shape and metadata, other weights
"$sluice" repack -q -m "$tmp/o.gguf" && "$sluice" run -q -m "$tmp/o.gguf" -p hi -n 1 >/dev/null; ok "a stale file is replaced" $?
cp "$tmp/whole" "$x"
printf 'damage' | dd of="$x" bs=1 seek=5000000 conv=notrunc 2>/dev/null
refused "is damaged" "$sluice" repack -q --verify -m "$m"

# ---- refusals
refused "no model" "$sluice" repack
refused "not overwritten" "$sluice" repack -m "$m" -o "$m"
refused "no/such" "$sluice" repack -m "$m" -o "$tmp/no/such/file"
refused "does-not-exist" "$sluice" repack -m "$tmp/does-not-exist.gguf"
refused "no experts" "$sluice" repack -m tests/golden/data/qwen3/model.gguf
rm -f "$x"
refused "cannot open" "$sluice" repack --verify -m "$m"
"$sluice" repack -q -m "$m" -o "$tmp/elsewhere" && ln -s "$tmp/elsewhere" "$x" && logits "$tmp/got"
ok "a link to another place" $?
printf 'damage' | dd of="$tmp/elsewhere" bs=1 seek=70 conv=notrunc 2>/dev/null
"$sluice" repack -q -m "$m" && [ -L "$x" ] && "$sluice" repack -q --verify -m "$m" && [ ! -e "$tmp/elsewhere.part" ]
ok "what a link leads to is replaced, and the link stays" $?
rm "$tmp/elsewhere"
"$sluice" repack -q -m "$m" && [ -L "$x" ] && [ -s "$tmp/elsewhere" ]; ok "a link to what is not there yet" $?

echo "$passed passed, $failed failed"
[ $failed = 0 ]
