#!/usr/bin/env bash
# The program from outside: what its commands print, write and refuse.
set -u
cd "$(dirname "$0")/../.."
# Minutes there, and its threads run no differently from equiv's and fault's.
case ${B:-build} in *tsan*) echo "not under the thread sanitizer"; exit 77 ;; esac
sluice=$PWD/${B:-build}/sluice
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
export XDG_CACHE_HOME=$tmp/cache # what a user's runs remember is not ours to use or change
demo=demo/tales-30m-q4_k_m.gguf
passed=0 failed=0

ok() { # what, status (kept in rc where the text holds a substitution, whose own status $? would be)
    if [ "$2" = 0 ]; then passed=$((passed + 1)); else failed=$((failed + 1)); echo "FAILED: $1"; fi
}
# A command that must fail: exit 1, nothing on standard output, exactly one line that holds `want`.
refused() { # want, command...
    local want=$1 rc
    shift
    "$@" >"$tmp/out" 2>"$tmp/err" </dev/null
    rc=$?
    [ $rc = 1 ] && [ ! -s "$tmp/out" ] && [ "$(wc -l <"$tmp/err")" = 1 ] && grep -qF -- "$want" "$tmp/err"
    set -- $? "$@" # before a substitution below changes it
    ok "refused: ${*:2}  (exit $rc: $(head -3 "$tmp/err"))" "$1"
}

# Until a command can be interrupted: before, a signal is lost on it, as what a shell puts into the background ignores SIGINT.
catches() { grep -q '^SigCgt:.*[2367abef]$' "/proc/$1/status" 2>/dev/null; } # pid: SIGINT, bit 1 of the mask
await_handler() { # pid
    for _ in $(seq 200); do catches "$1" && break; sleep 0.05; done
    sleep 0.3
}

# ---- help and arguments
for c in run inspect tokenize logits synth repack bench trace simulate; do
    "$sluice" $c --help >"$tmp/help" 2>&1 && grep -q '^Usage: sluice' "$tmp/help"
    ok "$c --help" $?
    awk 'length > 110 {exit 1}' "$tmp/help"
    ok "$c --help fits a terminal" $?
done
"$sluice" --version | grep -q '^sluice [0-9]'; ok "--version" $?
refused "unknown command" "$sluice" frobnicate
refused "unknown option" "$sluice" run --frobnicate
refused "--probe 0" "$sluice" bench -m $demo --probe 0
refused "needs a value" "$sluice" run -m
refused "not a value for --ram" "$sluice" run -m $demo --ram lots
refused "not a value for --io" "$sluice" run -m $demo --io tape
refused "whole number" "$sluice" run -m $demo -c 1.5
refused "no model" "$sluice" run -p hi
refused "exclude each other" "$sluice" run -m $demo -p hi -f "$0"
refused "the prompt is empty" "$sluice" run -m $demo -p ""
refused "--system needs a chat template" "$sluice" run -m $demo -p hi --system you
refused "does-not-exist" "$sluice" run -m "$tmp/does-not-exist.gguf" -p hi
refused "does-not-exist" "$sluice" run -q -m $demo -f "$tmp/does-not-exist"
refused "cpu" "$sluice" run -q -m $demo -p hi --cpu-level z80
refused "-n -2" "$sluice" run -q -m $demo -p hi -n -2
refused "--plan" "$sluice" run -q -m $demo -p hi --plan --json "$tmp/p.json"
refused "--ram" "$sluice" run -q -m $demo -p hi --ram 1M

# ---- run: the greedy text of the demo model in float32 is the reference's
prompt="Once upon a time there was a miller who had three sons, and when he died he left them nothing but his mill, his donkey, and his cat."
want=" The boy was very much surprised, and said to him, 'I am going to the forest to fetch my sheep, and I will give you a good supper.'"
"$sluice" run -q -m $demo -p "$prompt" -n 48 --temp 0 --act f32 --ram 24M >"$tmp/text" 2>"$tmp/err"
ok "run: exit status" $?
[ "$(head -1 "$tmp/text")" = "$want" ]; ok "run: reference text" $?
[ ! -s "$tmp/err" ]; ok "run: -q is silent" $?
printf '%s' "$prompt" | "$sluice" run -q -m $demo -f - -n 48 --temp 0 --act f32 --ram unlimited >"$tmp/text2"
cmp -s "$tmp/text" "$tmp/text2"; ok "run: standard input, resident: the same text" $?
"$sluice" run -m $demo -p "$prompt" -n 20 --seed 7 --ram 24M --json "$tmp/a.json" >"$tmp/a" 2>"$tmp/err"
"$sluice" run -m $demo -p "$prompt" -n 20 --seed 7 --ram 64M --json "$tmp/b.json" >"$tmp/b" 2>/dev/null
cmp -s "$tmp/a" "$tmp/b"; ok "run: a seed gives one text" $?
grep -q 'expert cache' "$tmp/err" && grep -q 'budget of 24' "$tmp/err"; ok "run: summary" $?
[ "$(head -1 "$tmp/err" | grep -c 'act q8')" = 1 ]; ok "run: mode line first" $?
! grep -q $'\033' "$tmp/err"; ok "run: no terminal codes in a file" $?
grep -q '"hit_rate"' "$tmp/a.json" && grep -q '"peak_bytes"' "$tmp/a.json"; ok "run: --json" $?
# A result that cannot be written is refused before the work: with reads that would fail, nothing is read.
refused "cannot create" "$sluice" run -q -m $demo -p hi -n 1 --io-fault fail=1+ --json "$tmp/no/such/folder.json"
refused "cannot create" "$sluice" bench --probe 0.02 -q -m $demo -n 1 --io-fault fail=1+ --csv "$tmp/no/such/folder.csv"
refused "cannot create" "$sluice" trace -q -m $demo -p hi --io-fault fail=1+ -o "$tmp"
printf '\1\0\0\0' >"$tmp/one"
refused "cannot create" "$sluice" logits -q -m $demo --tokens "$tmp/one" --out "$tmp/l" --json "$tmp/no/such" --io-fault fail=1+
refused "cannot create" "$sluice" simulate "$tmp/one" --svg "$tmp/no/such/folder.svg"
mkfifo "$tmp/pipe"
timeout 60 cat "$tmp/pipe" >"$tmp/piped" &
"$sluice" run -q -m $demo -p hi -n 1 --json "$tmp/pipe" >/dev/null && wait $! && grep -q '"ids"' "$tmp/piped"
ok "run: --json into a pipe" $?
slots() { sed -n 's/.*room for \([0-9]*\) of 256 experts.*/\1/p' "$1"; }
"$sluice" run -m $demo --raw -p hi -n 30 --temp 0 --ram 24M >"$tmp/a" 2>"$tmp/err"
"$sluice" run -m $demo --raw -p hi -n 30 --temp 0 --ram 24M --chunk 128 >"$tmp/b" 2>"$tmp/err2"
[ "$(slots "$tmp/err")" -gt "$(slots "$tmp/err2")" ] && cmp -s "$tmp/a" "$tmp/b"
rc=$?; ok "run: a short prompt leaves its memory to experts ($(slots "$tmp/err") slots, $(slots "$tmp/err2") with --chunk 128)" $rc
"$sluice" run -m $demo --ram 24M --plan >"$tmp/plan" && grep -q 'expert cache' "$tmp/plan" && grep -q 'remainder' "$tmp/plan"
ok "run: --plan" $?
"$sluice" run -q -m $demo -p "$prompt" -n 4 >/dev/full 2>"$tmp/err"; [ $? = 1 ] && grep -q 'standard output' "$tmp/err"
ok "run: a full disk is an error" $?
"$sluice" run -q -m $demo -p "$prompt" -n 2000 --ignore-eos | head -c 20 >/dev/null; ok "run: a closed pipe ends it" $?

# Ctrl-C: a clean end with the summary.
"$sluice" run -m $demo -p "$prompt" -n 4000 --ignore-eos --ram 24M --io-fault late=1ms >"$tmp/text" 2>"$tmp/err" &
pid=$!
for _ in $(seq 100); do [ -s "$tmp/text" ] && break; sleep 0.1; done
kill -INT $pid
wait $pid
[ $? = 0 ] && grep -q 'interrupted' "$tmp/err"; ok "run: Ctrl-C" $?

# Ctrl-C while weights are being read: at once, and without a word about tokens.
"$sluice" run -m $demo -p "$prompt" -n 4 --ram 24M --io-fault late=700ms >"$tmp/text" 2>"$tmp/err" &
pid=$!
await_handler $pid
kill -INT $pid
wait $pid
[ $? = 1 ] && [ "$(tail -1 "$tmp/err")" = "sluice run: interrupted" ] && ! grep -q tokens "$tmp/err"; rc=$?; ok "run: Ctrl-C while loading ($(head -2 "$tmp/err"))" $rc
"$sluice" run -m $demo -p hi -n 1 --ram 64M --expert-cache 1K --no-hint -c 5000 2>&1 >/dev/null | head -1 >"$tmp/err"
grep -q 'no look-ahead' "$tmp/err" && grep -q -- '--expert-cache raised to' "$tmp/err"
rc=$?; ok "run: the mode line says what is not as it was asked for ($(cat "$tmp/err"))" $rc
"$sluice" run -m tests/golden/data/llama3/model.gguf --raw -p hi -n 0 -c 100000 2>&1 >/dev/null | grep -q 'BEYOND THE TRAINED'
ok "run: a context beyond the trained one is said" $?
printf 'a\0b' | "$sluice" run -q -m $demo -n 1 >/dev/null; ok "run: a NUL byte in the prompt" $?
refused "raise -c" "$sluice" run -q -m $demo -p "$prompt" -c 10
refused "raise -c" "$sluice" run -q -m $demo -p "$prompt" -c 10 --io-fault fail=1+

# ---- inspect
"$sluice" inspect $demo --cpu-level z80 >/dev/null 2>"$tmp/err"; [ $? = 1 ] && grep -q z80 "$tmp/err"
ok "inspect: an option that cannot act" $?
"$sluice" inspect $demo --ram 1M | grep -q 'raise --ram'; ok "inspect: no plan fits" $?
"$sluice" inspect $demo --ram 24M >"$tmp/out" 2>&1 && grep -q 'qwen35moe' "$tmp/out" && grep -q 'blk.0.ffn_gate_exps.weight' "$tmp/out" &&
    grep -q 'plan for a budget of 24' "$tmp/out"
ok "inspect" $?

for esc in 1b 9b; do # ESC, and CSI as a byte of its own
    byte=$(printf "\\x$esc")
    for name in general.name output_norm.weight qwen3; do # a key, a tensor and an architecture that talk to the terminal
        LC_ALL=C sed "s/$name/${name/e/$byte}/" tests/golden/data/qwen3/model.gguf >"$tmp/esc.gguf"
        "$sluice" inspect "$tmp/esc.gguf" >"$tmp/out" 2>&1
        ! LC_ALL=C grep -qa "$byte" "$tmp/out" && grep -qE "${name/e/(\\\\x$esc|\\?)}" "$tmp/out"
        ok "inspect: no terminal codes out of a file ($name, $esc)" $?
    done
done

# ---- tokenize
printf 'Once upon a time' | "$sluice" tokenize -m $demo --ids >"$tmp/ids" && [ -s "$tmp/ids" ] && ! grep -qv '^[0-9]*$' "$tmp/ids"
ok "tokenize --ids" $?
printf 'a<|endoftext|>' | "$sluice" tokenize -m $demo --ids >"$tmp/i1"
printf 'a<|endoftext|>' | "$sluice" tokenize -m $demo --ids --no-special >"$tmp/i2"
[ "$(wc -l <"$tmp/i1")" -lt "$(wc -l <"$tmp/i2")" ]; ok "tokenize --no-special" $?

# ---- logits: alone and interleaved
golden=tests/golden/data/qwen35moe
head -c 80 $golden/tokens.i32 >"$tmp/t1"
"$sluice" logits -q -m $golden/model.gguf --tokens $golden/tokens.i32 --out "$tmp/l1" --hidden "$tmp/h1" --act f32
[ $? = 0 ] && [ "$(stat -c %s "$tmp/l1")" = "$(stat -c %s $golden/logits.f32)" ] &&
    [ "$(stat -c %s "$tmp/h1")" = "$(stat -c %s $golden/hidden.f32)" ]
ok "logits: sizes" $?
"$sluice" logits -q -m $golden/model.gguf --tokens "$tmp/t1" --out "$tmp/l2" --tokens $golden/tokens.i32 --out "$tmp/l3" \
    --act f32 --chunk 5
cmp -s "$tmp/l1" "$tmp/l3"; ok "logits: interleaved gives the same bits" $?
cmp -s -n "$(stat -c %s "$tmp/l2")" "$tmp/l1" "$tmp/l2"; ok "logits: a prefix gives the same bits" $?
refused "cannot create" "$sluice" logits -q -m $golden/model.gguf --tokens "$tmp/t1" --out "$tmp/x" --hidden "$tmp/x"
[ ! -e "$tmp/x" ] && ! ls "$tmp" | grep -q part; ok "logits: two outputs of one name leave nothing" $?
refused "as many of one" "$sluice" logits -m $golden/model.gguf --tokens "$tmp/t1"
head -c 7 $golden/tokens.i32 >"$tmp/t2"
refused "not a list of int32" "$sluice" logits -q -m $golden/model.gguf --tokens "$tmp/t2" --out "$tmp/x"
printf '\377\377\377\177' >"$tmp/t3"
refused "the vocabulary has" "$sluice" logits -q -m $golden/model.gguf --tokens "$tmp/t3" --out "$tmp/x"
"$sluice" logits -q -m $golden/model.gguf --tokens "$tmp/t1" --out "$tmp/x" --io-fault fail=3 2>"$tmp/err"
[ $? = 1 ] && [ ! -e "$tmp/x" ] && [ "$(wc -l <"$tmp/err")" = 1 ]; ok "logits: a failed read is an error, no file" $?

# ---- either signal ends a command: a word about it, and nothing half-written
mkdir "$tmp/cut"
interrupted() { # signal, what to wait for, command...
    local signal=$1 await=$2 pid rc seen=0
    shift 2
    rm -f "$tmp/cut.err"
    (trap - EXIT; exec "$sluice" "$@" >"$tmp/cut.out" 2>"$tmp/cut.err") & # a shell that dies of the signal must not clean up
    pid=$!
    for _ in $(seq 1200); do eval "$await" && seen=1 && break; kill -0 $pid 2>/dev/null || break; sleep 0.05; done
    for _ in 1 2 3; do kill -"$signal" $pid 2>/dev/null; sleep 0.001; done # timeout(1) sends it twice, which is no second wish
    wait $pid
    [ $? = 1 ] && [ $seen = 1 ] && [ -z "$(ls "$tmp/cut")" ] && grep -q "^sluice $1: interrupted" "$tmp/cut.err"
    rc=$?; ok "$1: SIG$signal, nothing stays behind ($(ls "$tmp/cut") $(head -2 "$tmp/cut.err"))" $rc
    rm -f "$tmp"/cut/*
}
slow=(--ram 24M --io-fault late=5ms)
for signal in INT TERM; do
    interrupted $signal '[ -n "$(ls "$tmp/cut")" ]' logits -q -m $golden/model.gguf --tokens $golden/tokens.i32 --out "$tmp/cut/x" \
        --chunk 1 --io-fault late=20ms
    interrupted $signal '[ -n "$(ls "$tmp/cut")" ]' synth -q --arch qwen3 --layers 5 --hidden 2048 --vocab 512 --type q8_0 -t 1 -o "$tmp/cut/x"
    interrupted $signal 'grep -q "^fault" "$tmp/cut.err" 2>/dev/null' trace -m $demo --random 8 -n 4000 "${slow[@]}" -o "$tmp/cut/x"
    interrupted $signal 'grep -q "^repetition 1" "$tmp/cut.err" 2>/dev/null' bench --probe 0.02 -m $demo -p 0 -n 100 -r 9 "${slow[@]}" --json "$tmp/cut/x" \
        --csv "$tmp/cut/y" --svg "$tmp/cut/z"
done

# A read that waits for more of the prompt ends; a measurement of the disk does; where nothing looks at the first signal, a later second one ends it all.
mkfifo "$tmp/in"
exec 3<>"$tmp/in"
printf 'Once upon' >&3
(trap - EXIT; exec "$sluice" run -q -m $demo -f - <"$tmp/in" >"$tmp/out" 2>"$tmp/err" 3>&-) &
pid=$!
await_handler $pid
kill -INT $pid
for _ in $(seq 300); do kill -0 $pid 2>/dev/null || break; sleep 0.1; done
kill -KILL $pid 2>/dev/null # it still waits
wait $pid 2>/dev/null
[ $? = 1 ] && [ "$(cat "$tmp/err")" = "sluice run: interrupted" ]; rc=$?; ok "run: Ctrl-C while half a prompt is there ($(head -2 "$tmp/err"))" $rc
exec 3>&-
for signal in INT TERM; do
    (trap - EXIT; exec "$sluice" bench -q -m $demo -p 0 -n 4 --probe 60 --ram 24M --json "$tmp/cut/x" --csv "$tmp/cut/y" --svg "$tmp/cut/z" \
        >"$tmp/out" 2>"$tmp/err") &
    pid=$!
    await_handler $pid
    kill -$signal $pid
    for _ in $(seq 300); do kill -0 $pid 2>/dev/null || break; sleep 0.1; done
    kill -KILL $pid 2>/dev/null # four minutes are left
    wait $pid 2>/dev/null
    [ $? = 1 ] && [ "$(cat "$tmp/err")" = "sluice bench: interrupted" ] && [ ! -s "$tmp/out" ] && [ -z "$(ls "$tmp/cut")" ]
    rc=$?; ok "bench: SIG$signal while the disk is measured ($(ls "$tmp/cut") $(head -2 "$tmp/err"))" $rc
done
(trap - EXIT; exec "$sluice" logits -q -m $golden/model.gguf --tokens $golden/tokens.i32 --out "$tmp/cut/x" --io-fault late=4s) 2>/dev/null &
pid=$!
await_handler $pid
kill -INT $pid
sleep 0.7
kill -INT $pid
wait $pid 2>/dev/null
rc=$?; [ $rc = 130 ]; ok "a second signal ends it at once ($rc)" $?
rm -f "$tmp"/cut/*

# ---- results by other names: standard output goes on where it is, and a link stays one
# (/dev/fd/1 and not /dev/stdout, which root could rename over if this were broken; nobody can below /proc.)
"$sluice" run -q -m $golden/model.gguf --raw -p hi -n 1 --temp 0 >"$tmp/text" --json "$tmp/plain"
"$sluice" run -q -m $golden/model.gguf --raw -p hi -n 1 --temp 0 >"$tmp/both" --json /dev/fd/1
[ "$(head -c "$(stat -c %s "$tmp/text")" "$tmp/both" | cksum)" = "$(cksum <"$tmp/text")" ] && grep -q '"ids"' "$tmp/both"
rc=$?; ok "run: --json /dev/fd/1 into a file" $rc
mkdir "$tmp/far"
echo old >"$tmp/far/real"
ln -s far/real "$tmp/link1"
ln -s link1 "$tmp/link2"
ln -s far/new "$tmp/link3"
for l in link2 link3; do
    "$sluice" run -q -m $golden/model.gguf --raw -p hi -n 1 >/dev/null --json "$tmp/$l" && [ -L "$tmp/$l" ] && grep -q '"ids"' "$tmp/$l"
    ok "run: --json through $l" $?
done
[ "$(ls "$tmp/far")" = "$(printf 'new\nreal')" ]; ok "run: nothing beside what links lead to" $?
echo old >"$tmp/far/real"
rm "$tmp/far/new"
tiny=(synth -q --arch qwen3 --layers 1 --hidden 64 --vocab 512)
"$sluice" "${tiny[@]}" -o "$tmp/far.gguf"
for l in link2 link3; do
    "$sluice" "${tiny[@]}" -o "$tmp/$l" && [ -L "$tmp/$l" ] && cmp -s "$tmp/far.gguf" "$tmp/$l"; ok "synth: through $l" $?
done
[ "$(ls "$tmp/far")" = "$(printf 'new\nreal')" ]; ok "synth: nothing beside what links lead to" $?
ln -s self "$tmp/self"
refused "cannot create" "$sluice" "${tiny[@]}" -o "$tmp/self"
refused "not a regular file" "$sluice" "${tiny[@]}" -o /dev/fd/1

# ---- weights that cannot be meant
cp tests/golden/data/llama3/model.gguf "$tmp/rope.gguf"
off=$("$sluice" inspect "$tmp/rope.gguf" 2>/dev/null | sed -n 's/.*rope_freqs\.weight.* at \([0-9]*\)$/\1/p')
printf '\0\0\0\0' | dd of="$tmp/rope.gguf" bs=1 seek="$off" conv=notrunc status=none
refused "rope_freqs.weight: factor 0 is 0" "$sluice" run -q -m "$tmp/rope.gguf" -p hi

# ---- synth: every family, deterministic, atomic
for a in qwen35moe qwen35 qwen3next qwen3moe qwen3 qwen2moe qwen2 olmoe llama; do
    "$sluice" synth -q --arch $a --layers 4 --hidden 256 --ff 64 --vocab 512 --type mix -o "$tmp/$a.gguf" &&
        "$sluice" run -q -m "$tmp/$a.gguf" -p hello -n 3 --ram 200M -c 64 >/dev/null
    ok "synth $a" $?
done
"$sluice" synth -q --arch llama --experts 4 --layers 2 --hidden 256 --ff 64 --vocab 512 --type q4_k,iq3_s,q6_k --fused -t 1 -o "$tmp/m1.gguf"
"$sluice" synth -q --arch llama --experts 4 --layers 2 --hidden 256 --ff 64 --vocab 512 --type q4_k,iq3_s,q6_k --fused -t 3 -o "$tmp/m2.gguf"
cmp -s "$tmp/m1.gguf" "$tmp/m2.gguf"; ok "synth: the same bytes on any number of threads" $?
"$sluice" synth -q --arch qwen3moe --layers 8 --distinct 2 --hidden 256 --ff 64 --experts 8 --vocab 512 -o "$tmp/rep.gguf" &&
    "$sluice" run -q -m "$tmp/rep.gguf" -p hello -n 3 -c 64 >/dev/null
ok "synth --distinct: repeated layers" $?
refused "not one of" "$sluice" synth --arch gpt5 -o "$tmp/x.gguf"
refused "not a weight type" "$sluice" synth --arch llama --type q9 -o "$tmp/x.gguf"
refused "dense family" "$sluice" synth --arch qwen3 --experts 4 -o "$tmp/x.gguf"
refused "multiple of 32" "$sluice" synth --arch qwen3 --hidden 100 -o "$tmp/x.gguf"
refused "no/such" "$sluice" synth --arch qwen3 --layers 1 --hidden 64 --vocab 512 -o "$tmp/no/such/x.gguf"
refused "0 to 1" "$sluice" synth --arch qwen3moe --recall 2 -o "$tmp/x.gguf"
refused "about experts" "$sluice" synth --arch qwen3 --recall 0.5 -o "$tmp/x.gguf"
refused "hidden size" "$sluice" synth --arch qwen3moe --hidden 64 --layers 48 --recall 0.5 -o "$tmp/x.gguf"
refused "no delta net" "$sluice" synth --arch qwen3moe --delta-heads 4 -o "$tmp/x.gguf"
refused "about experts" "$sluice" synth --arch llama --top-k 4 -o "$tmp/x.gguf"
refused "about experts" "$sluice" synth --arch qwen3 --shared-ff 64 -o "$tmp/x.gguf"
refused "the disk has" bash -c "ulimit -f 100; exec '$sluice' synth -q --arch qwen3moe --layers 1 --hidden 64 --vocab 512 \
    --experts 4294967295 -o '$tmp/x.gguf'"
refused "File too large" bash -c "ulimit -f 100; exec '$sluice' synth -q --arch qwen3 --layers 2 --hidden 256 -o '$tmp/x.gguf'"
[ -z "$(ls "$tmp" | grep '^x.gguf')" ]; rc=$?; ok "synth: nothing half-written ($(ls "$tmp" | grep '^x.gguf'))" $rc

# ---- look-ahead: what synth --recall promises, what is read by it under a budget, and the same text without it
recall_of() { sed -n '/"decode"/,$s/^ *"hint_recall": \([0-9.]*\),*$/\1/p' "$tmp/look.json"; }
within() { awk -v v="${1:-none}" -v lo="$2" -v hi="$3" 'BEGIN {exit !(v != "none" && v >= lo && v <= hi)}'; }
for want in "0 0.0 0.2" "0.7 0.6 0.8" "0.9 0.8 0.97"; do
    read -r r lo hi <<<"$want"
    "$sluice" synth -q --arch qwen3moe --layers 6 --hidden 256 --experts 64 --top-k 6 --ff 64 --vocab 1024 --recall "$r" \
        -o "$tmp/look.gguf" && "$sluice" bench --probe 0.02 -q -m "$tmp/look.gguf" -p 0 -n 48 -r 1 -c 64 --ram 20M --force-hint \
        --json "$tmp/look.json" >/dev/null
    within "$(recall_of)" "$lo" "$hi"; rc=$?; ok "synth --recall $r: recall $(recall_of)" $rc
done
look=(run -q -m "$tmp/look.gguf" -p "hello there" -n 90 --temp 0 --ignore-eos -c 128)
"$sluice" "${look[@]}" --ram 20M --force-hint --json "$tmp/look.json" >"$tmp/look1"
n=$(sed -n '/"generation"/,$s/^ *"bytes_read_hint": \([0-9]*\),*$/\1/p' "$tmp/look.json" | head -1)
[ "${n:-0}" -gt 0 ]; ok "look-ahead: reads by hints (${n:-none})" $?
"$sluice" "${look[@]}" --ram 20M --no-hint --json "$tmp/look.json" >"$tmp/look2" && grep -q '"bytes_read_hint": 0' "$tmp/look.json"
ok "look-ahead: none with --no-hint" $?
"$sluice" "${look[@]/-q/-v}" --ram 20M >"$tmp/look4" 2>"$tmp/err"
cmp -s "$tmp/look1" "$tmp/look4" && grep -q 'look-ahead reads where they pay' "$tmp/err" &&
    grep -q 'look-ahead: on for .*ms with and .*ms without' "$tmp/err"
ok "look-ahead: decided as it runs" $?
"$sluice" "${look[@]}" --ram unlimited >"$tmp/look3"
[ -s "$tmp/look1" ] && cmp -s "$tmp/look1" "$tmp/look2" && cmp -s "$tmp/look1" "$tmp/look3"; ok "look-ahead: the same text" $?
for i in $(seq 24); do printf "\\x$(printf %02x $((i * 37 % 251)))\\x$((i % 4))\\0\\0"; done >"$tmp/ids"
"$sluice" logits -q -m "$tmp/look.gguf" --tokens "$tmp/ids" -c 64 --chunk 1 --ram 20M --force-hint --out "$tmp/l1" --json "$tmp/look.json" &&
    "$sluice" logits -q -m "$tmp/look.gguf" --tokens "$tmp/ids" -c 64 --ram unlimited --out "$tmp/l2" && cmp -s "$tmp/l1" "$tmp/l2"
ok "look-ahead: the same logits" $?
# With a single layer only the embeddings can name experts.
"$sluice" synth -q --arch qwen3moe --layers 1 --hidden 256 --experts 256 --top-k 6 --ff 256 --vocab 1024 -o "$tmp/one.gguf" &&
    "$sluice" "${look[@]/look.gguf/one.gguf}" --ram 24M --force-hint --json "$tmp/look.json" >"$tmp/one1" &&
    "$sluice" "${look[@]/look.gguf/one.gguf}" --ram unlimited >"$tmp/one2" && cmp -s "$tmp/one1" "$tmp/one2"
ok "look-ahead: the first layer's, the same text" $?
n=$(sed -n '/"generation"/,$s/^ *"bytes_read_hint": \([0-9]*\),*$/\1/p' "$tmp/look.json" | head -1)
[ "${n:-0}" -gt 0 ]; ok "look-ahead: the first layer's, reads by hints (${n:-none})" $?

# ---- bench
"$sluice" bench --probe 0.02 -q -m "$tmp/qwen35moe.gguf" -p 16 -n 4 -r 2 --ram 100M --json "$tmp/bench.json" --csv "$tmp/bench.csv" \
    --svg "$tmp/bench.svg" >"$tmp/out" 2>"$tmp/err" && grep -q 'causal limit' "$tmp/out"
ok "bench" $?
for k in disk_bytes_s disk_spread_bytes_s ram_bytes_s ram_spread_bytes_s void prefill decode tok_s bytes_read_per_tok bytes_touched_per_tok hit_rate wait_s \
    fraction_causal fraction_overlap peak_bytes budget_bytes; do
    grep -q "\"$k\"" "$tmp/bench.json"; ok "bench --json: $k" $?
done
"$sluice" bench --probe 0.02 -q -m "$tmp/qwen35moe.gguf" -p 0 -n 1 -r 1 --ram 100M >"$tmp/out" 2>"$tmp/err"
rc=$?; ok "bench: a single token ($(head -1 "$tmp/err"))" $rc
for kv in f16 f32; do
    "$sluice" bench --probe 0.02 -q -m "$tmp/qwen35moe.gguf" -p 0 -n 2 -r 2 -d 300 --random-depth --kv $kv --ram 100M --json "$tmp/deep.json" \
        >"$tmp/out" 2>"$tmp/err" && grep -q '"random_depth": true' "$tmp/deep.json" && ! grep -q '"tok_s": 0.0' "$tmp/deep.json"
    ok "bench: behind random keys and values, $kv" $?
done
"$sluice" bench --probe 0.02 -q -m "$tmp/qwen35moe.gguf" -p 0 -n 2 -r 2 --sweep 60M,100M,unlimited --svg "$tmp/sweep.svg" >/dev/null &&
    grep -o 'points="[^"]*' "$tmp/sweep.svg" | tr ' ' '\n' |
    awk -F, 'NF == 2 {n++; if ($2 < 40 || $2 > 360) bad = 1} END {exit bad || n != 9}'
ok "bench --sweep: three lines of three points within the picture" $?
[ "$(wc -l <"$tmp/bench.csv")" = 3 ] && grep -q '<svg' "$tmp/bench.svg"; ok "bench: CSV and picture" $?

# ---- warm start: the next run begins with what the last one used, and says the same
w=(run -m $demo -p "$prompt" -n 30 --temp 0 --ram 24M)
warm() { XDG_CACHE_HOME=$tmp/warm "$sluice" "${w[@]}" "$@" >"$tmp/w.out" 2>"$tmp/w.err"; }
warm -q --no-warm-start; ok "warm start: none when not wanted" $?
cp "$tmp/w.out" "$tmp/w.cold"
[ ! -e "$tmp/warm" ]; ok "warm start: --no-warm-start leaves no file" $?
warm -v && grep -q '^warm start: nothing remembered' "$tmp/w.err"; ok "warm start: nothing to begin with" $?
hot=$(echo "$tmp"/warm/sluice/*.hot)
[ -s "$hot" ] && [ "$(stat -c %a "$hot")" = 600 ]; ok "warm start: one small file" $?
warm -v && grep -q '^warm start: [1-9][0-9]* experts remembered' "$tmp/w.err"; ok "warm start: the second run remembers" $?
cmp -s "$tmp/w.out" "$tmp/w.cold"; ok "warm start: the same text" $?
cp "$hot" "$tmp/w.hot"
for damage in "head -c 100" "tr \\0 \\1" "cat $demo"; do
    $damage <"$tmp/w.hot" >"$hot"
    warm -q && cmp -s "$tmp/w.out" "$tmp/w.cold" && [ ! -s "$tmp/w.err" ]; ok "warm start: damaged ($damage), not a word" $?
    $damage <"$tmp/w.hot" >"$hot"
    warm -v && grep -q '^warm start: nothing remembered: ..*' "$tmp/w.err"; ok "warm start: damaged ($damage), -v says so" $?
done
warm -v && grep -q 'experts remembered' "$tmp/w.err"; ok "warm start: whole again after the next run" $?
before=$(md5sum <"$hot")
warm -q --warm-start /proc/nowhere && [ ! -s "$tmp/w.err" ]; ok "warm start: a folder that cannot be: not a word" $?
warm -v --warm-start /proc/nowhere && grep -q '^warm start: not remembered' "$tmp/w.err"; ok "warm start: -v says so" $?
[ "$(md5sum <"$hot")" = "$before" ]; ok "warm start: --warm-start goes elsewhere" $?
rm "$hot"
XDG_CACHE_HOME=$tmp/warm "$sluice" bench --probe 0.02 -q -m $demo -p 8 -n 4 -r 1 --ram 24M >/dev/null 2>&1
XDG_CACHE_HOME=$tmp/warm "$sluice" trace -q -m $demo --random 8 -n 4 --ram 24M -o "$tmp/w.trace"
[ ! -e "$hot" ]; ok "warm start: bench and trace leave it alone" $?
XDG_CACHE_HOME=$tmp/warm "$sluice" run -q -m $demo -p "$prompt" -n -1 -c 4000 --ignore-eos --ram 24M --io-fault late=3ms \
    >"$tmp/w.out" 2>/dev/null &
for _ in $(seq 200); do [ -s "$tmp/w.out" ] && break; sleep 0.05; done
kill -INT $! && wait $! && [ -s "$hot" ]; ok "warm start: remembered after Ctrl-C" $?
{ sleep 0.5; printf '%s' "$prompt"; } | XDG_CACHE_HOME=$tmp/warm "$sluice" run -q -m $demo -n 30 --temp 0 --ram 24M \
    --json "$tmp/w.json" >"$tmp/w.out" 2>"$tmp/w.err"
cmp -s "$tmp/w.out" "$tmp/w.cold"; ok "warm start: a prompt that is waited for" $?
HOME= XDG_CACHE_HOME=relative "$sluice" "${w[@]}" -v 2>"$tmp/w.err" >/dev/null && ! grep -q 'warm start' "$tmp/w.err" &&
    [ ! -e relative ]; ok "warm start: no home, no folder" $?

# ---- trace, simulate: the simulated LRU hits what the run hit, prompt and decoding
t_args=(-q --no-hint --no-warm-start --chunk 64 -m $demo -p "$prompt" -n 40 --temp 0 --ram 24M --cache-policy)
"$sluice" run "${t_args[@]}" lru --json "$tmp/t.json" >/dev/null && "$sluice" trace "${t_args[@]}" lru -o "$tmp/t.trace" &&
    "$sluice" trace "${t_args[@]}" lfu -o "$tmp/t2.trace"
ok "trace" $?
"$sluice" simulate "$tmp/t.trace" --slots 5%,20%,100 --csv "$tmp/t.csv" --svg "$tmp/t.svg" >"$tmp/out" && grep -q 'optimum' "$tmp/out" &&
    grep -q '<svg' "$tmp/t.svg" && [ "$(wc -l <"$tmp/t.csv")" = 33 ]
ok "simulate: table, CSV and picture" $?
simulated=$(awk -F, 'NR > 1 && $4 == "lru" && n[$5]++ == 0 {print $5, $6, $7}' "$tmp/t.csv" | sort)
ran=$(awk -F'[:,]' '/"expert_requests"/ {r = $2 + 0} /"expert_hits"/ {print (n++ ? "decode" : "prefill"), r, $2 + 0}' "$tmp/t.json" | sort)
near=$(paste <(echo "$simulated") <(echo "$ran") | awk '{d = $3 / $2 - $6 / $5; if ($2 != $5 || d * d > 0.0001) bad = 1} END {print NR == 2 && !bad}')
[ "$near" = 1 ]; ok "simulate: LRU as in the run ($simulated; $ran)" $?
cmp -s <(tail -c 4000 "$tmp/t.trace") <(tail -c 4000 "$tmp/t2.trace"); ok "trace: the same under another policy" $?
refused "not a trace" "$sluice" simulate $demo
head -c 3000 "$tmp/t.trace" >"$tmp/short.trace"
refused "truncated" "$sluice" simulate "$tmp/short.trace"
refused "no such policy" "$sluice" simulate "$tmp/t.trace" --policy fifo
refused "neither a number" "$sluice" simulate "$tmp/t.trace" --slots many
refused "neither a number" "$sluice" simulate "$tmp/t.trace" --slots 25%%
refused "neither a number" "$sluice" simulate "$tmp/t.trace" --slots 3Q
"$sluice" simulate "$tmp/t.trace" --slots 2M,12.5% | awk '$2 == "12.5%" {n++} END {exit n < 4}'; ok "simulate: a size in bytes" $?
refused "no such policy" "$sluice" run -q -m $demo -p hi --cache-policy fifo

# ---- skewed routing: a run hits what the simulator says of its slots, and no less than the simulated LRU but 3 points;
# a cache below one token's experts (32) hits something with LFU, nothing with LRU, and neither says anything else
"$sluice" synth -q --arch qwen3moe --layers 8 --hidden 256 --experts 32 --top-k 4 --ff 128 --vocab 1024 --type q4_0 \
    --skew 1 --seed 5 -o "$tmp/skew.gguf"
s_args=(-q --no-hint --no-warm-start -m "$tmp/skew.gguf" -p "$prompt" --ignore-eos --temp 0.8 --seed 2 -n 100 -c 256 --ram 64M --cache-policy)
"$sluice" trace "${s_args[@]}" lru --expert-cache 3M -o "$tmp/s.trace" &&
    "$sluice" simulate "$tmp/s.trace" --slots 10% --csv "$tmp/s.csv" >/dev/null; ok "skew: trace and simulate" $?
simulated_hits() { awk -F, -v p="$1" '$4 == p && $5 == "decode" && !n++ {printf "%.4f\n", $7 / $6}' "$tmp/s.csv"; }
for policy in lru lfu; do
    "$sluice" run "${s_args[@]}" $policy --expert-cache 3M --json "$tmp/s.json" >"$tmp/s.$policy"
    hits=$(sed -n 's/.*"hit_rate": *\([0-9.e-]*\).*/\1/p' "$tmp/s.json" | tail -1)
    awk -v h="$hits" -v l="$(simulated_hits lru)" -v s="$(simulated_hits $policy)" \
        'BEGIN {exit !(h >= l - 0.03 && h - s < 0.03 && s - h < 0.03 && l > 0.02 && h < 0.99)}'
    rc=$?; ok "skew: $policy hits $hits, simulated $(simulated_hits $policy), LRU $(simulated_hits lru)" $rc
    "$sluice" run "${s_args[@]}" $policy --expert-cache 1100K --json "$tmp/below.json" >"$tmp/below.$policy"
    ok "below one token's experts: $policy" $?
    hits=$(sed -n 's/.*"hit_rate": *\([0-9.e-]*\).*/\1/p' "$tmp/below.json" | tail -1)
    [ $policy = lru ] && want='h == 0' || want='h > 0.02'
    awk -v h="$hits" "BEGIN {exit !($want)}"; ok "below one token's experts: $policy hits $hits" $?
    cmp -s "$tmp/s.lru" "$tmp/below.$policy"; ok "below one token's experts: $policy, the same text" $?
done
refused "no routed experts" "$sluice" trace -q -m tests/golden/data/qwen3/model.gguf --random 4 -o "$tmp/x"

echo "$passed passed, $failed failed"
[ $failed = 0 ]
