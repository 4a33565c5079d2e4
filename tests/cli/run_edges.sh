#!/usr/bin/env bash
# What lies around the program: closed standard handles, a terminal that hangs up, and what is refused before the work.
set -u
cd "$(dirname "$0")/../.."
case ${B:-build} in *tsan*) echo "not under the thread sanitizer"; exit 77 ;; esac
sluice=$PWD/${B:-build}/sluice
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
export XDG_CACHE_HOME=$tmp/cache
demo=$PWD/demo/tales-30m-q4_k_m.gguf
passed=0 failed=0

ok() { # what, status
    if [ "$2" = 0 ]; then passed=$((passed + 1)); else failed=$((failed + 1)); echo "FAILED: $1"; fi
}
refused() { # want, command...: exit 1, nothing on standard output, one line that holds `want`
    local want=$1 rc
    shift
    "$@" >"$tmp/out" 2>"$tmp/err" </dev/null
    rc=$?
    [ $rc = 1 ] && [ ! -s "$tmp/out" ] && [ "$(wc -l <"$tmp/err")" = 1 ] && grep -qF -- "$want" "$tmp/err"
    set -- $? "$@"
    ok "refused: ${*:2}  (exit $rc: $(head -3 "$tmp/err"))" "$1"
}

# ---- closed handles: no message of the program ends up in a file that it writes or reads
mkdir "$tmp/a" "$tmp/b"
cp $demo "$tmp/a/m"
cp $demo "$tmp/b/m"
"$sluice" repack -m "$tmp/a/m" 2>/dev/null
"$sluice" repack -m "$tmp/b/m" 2>&-; ok "repack without standard error" $?
cmp "$tmp/a/m.experts" "$tmp/b/m.experts"; ok "repack without standard error: the same file" $?
"$sluice" run -m $demo -p hi -n 4 --temp 0 --json "$tmp/json" >"$tmp/text" 2>&-; ok "run without standard error" $?
head -c 1 "$tmp/json" | grep -q '{'; ok "run without standard error: whole JSON" $?
"$sluice" run -m $demo -p hi -n 4 --temp 0 2>/dev/null | cmp -s - "$tmp/text"; ok "run without standard error: the same text" $?
"$sluice" run -q -m $demo -p hi -n 4 2>"$tmp/err" >&-
[ $? = 1 ] && grep -q 'standard output' "$tmp/err"; ok "run without standard output" $?
"$sluice" run -q -m $demo -n 4 2>"$tmp/err" <&-
[ $? = 1 ] && grep -q 'standard input: cannot read' "$tmp/err"; ok "run without standard input" $?
"$sluice" inspect $demo 2>"$tmp/err" | true; [ ! -s "$tmp/err" ]; ok "inspect: a reader that has seen enough" $?
"$sluice" --version >/dev/full 2>/dev/null; [ $? = 1 ]; ok "--version to a full disk" $?
one=(bench -q -m $demo -p 0 -n 1 -r 1 --probe 0.02)
"$sluice" "${one[@]}" >/dev/full 2>"$tmp/err"
[ $? = 1 ] && [ "$(wc -l <"$tmp/err")" = 1 ] && grep -q 'cannot write to standard output: .' "$tmp/err"
ok "bench to a full disk ($(head -2 "$tmp/err"))" $?
"$sluice" "${one[@]}" --json "$tmp/json" >/dev/full 2>"$tmp/err"
[ $? = 1 ] && [ "$(wc -l <"$tmp/err")" = 1 ] && grep -q 'cannot write to standard output: .' "$tmp/err" && [ -s "$tmp/json" ]
ok "bench --json to a full disk: one word, and the results ($(head -2 "$tmp/err"))" $?
mkfifo "$tmp/unread"
exec 5<>"$tmp/unread" 6>"$tmp/unread" 5<&- # now nobody reads what goes to 6
rm "$tmp/json"
"$sluice" "${one[@]}" >&6 2>"$tmp/err"; [ $? = 1 ] && [ ! -s "$tmp/err" ]; ok "bench: a reader that went away ($(head -2 "$tmp/err"))" $?
"$sluice" "${one[@]}" --json "$tmp/json" >&6 2>"$tmp/err"; [ $? = 1 ] && [ ! -s "$tmp/err" ] && [ -s "$tmp/json" ]
ok "bench --json: a reader that went away ($(head -2 "$tmp/err"))" $?
exec 6>&-

# ---- a terminal that hangs up ends a command as Ctrl-C does; nohup(1) keeps it
mkdir "$tmp/cut"
env --default-signal=HUP "$sluice" synth -q --arch qwen3 --layers 5 --hidden 2048 --vocab 512 --type q8_0 -t 1 -o "$tmp/cut/x" 2>"$tmp/err" &
pid=$!
for _ in $(seq 1200); do [ -n "$(ls "$tmp/cut")" ] && break; kill -0 $pid 2>/dev/null || break; sleep 0.05; done
kill -HUP $pid
wait $pid
rc=$?; [ $rc = 1 ] && [ -z "$(ls "$tmp/cut")" ] && grep -q interrupted "$tmp/err"; ok "synth: SIGHUP leaves nothing ($rc $(ls "$tmp/cut"))" $?
rm "$tmp/text"
rm -f "$tmp"/cut/*
"$sluice" trace -q -m $demo --random 50 -n 10 -o "$tmp/t"; ok "trace" $?
(ulimit -f 1; "$sluice" simulate "$tmp/t" --csv "$tmp/cut/x") >/dev/null 2>&1
[ $? = 1 ] && [ -z "$(ls "$tmp/cut")" ]; ok "simulate: a limit on file sizes is an error, and nothing stays ($(ls "$tmp/cut"))" $?
mkfifo "$tmp/endless"
exec 5<>"$tmp/endless"
"$sluice" simulate "$tmp/endless" --csv "$tmp/cut/x" >/dev/null 2>"$tmp/err" 5<&- &
pid=$!
for _ in $(seq 1200); do grep -q '^SigCgt:.*[2367abef]$' /proc/$pid/status && break; sleep 0.05; done 2>/dev/null # SIGINT
sleep 0.3
kill -INT $pid
exec 5<&-
wait $pid
[ $? = 1 ] && [ -z "$(ls "$tmp/cut")" ] && grep -q 'simulate: interrupted' "$tmp/err"
ok "simulate: Ctrl-C leaves nothing ($(head -2 "$tmp/err") $(ls "$tmp/cut"))" $?
(ulimit -f 1; exec "$sluice" trace -q -m $demo --random 50 -n 10 -o "$tmp/cut/x") 2>&1 | true
[ -z "$(ls "$tmp/cut")" ]; ok "trace: nothing stays where nobody reads the error ($(ls "$tmp/cut"))" $?
(trap '' HUP; exec "$sluice" run -q -m $demo -p hi -n 400 --ignore-eos --temp 0 --io-fault late=1ms --ram 24M) >"$tmp/text" 2>&1 &
pid=$!
for _ in $(seq 1200); do [ -s "$tmp/text" ] && break; kill -0 $pid 2>/dev/null || break; sleep 0.05; done
kill -HUP $pid
wait $pid; ok "run: under nohup it goes on" $?
"$sluice" run -q -m $demo -p hi -n 400 --ignore-eos --temp 0 2>/dev/null | cmp -s - "$tmp/text"; ok "run: under nohup, to its end" $?

# ---- refused before the work: no weight is read, no budget is measured
broken=(--io-fault fail=1+)
refused "temp is -1" "$sluice" run -q -m $demo -p hi --temp -1 "${broken[@]}"
refused "top-p is 2" "$sluice" run -q -m $demo -p hi --top-p 2 "${broken[@]}"
head -c 400 /dev/zero >"$tmp/ids"
refused "raise -c" "$sluice" logits -q -m $demo --tokens "$tmp/ids" --out "$tmp/l" -c 10 "${broken[@]}"
refused "temp is -1" "$sluice" trace -q -m $demo -p hi --temp -1 -o "$tmp/t" "${broken[@]}"
refused "1 MiB" "$sluice" bench -q -m $demo -p 0 -n 1 -r 1 --sweep 24M,1M
refused "not a size" "$sluice" bench -q -m $demo --sweep 24M,0
refused "-c 3 is less" "$sluice" bench -q -m $demo -p 4 -n 2 -c 3
refused "--svg" "$sluice" bench -q -m $demo -p 4 -n 0 --svg "$tmp/x.svg"

# ---- a terminal: what a progress line has drawn is gone before the next line is written there
if command -v script >/dev/null; then
    script -qec "'$sluice' run -m '$demo' -p hi -n 1 --ram 24M --io-fault late=60ms" /dev/null >"$tmp/tty" 2>/dev/null </dev/null
    awk -v RS='\n' '/act q8/ {n++; sub(/.*\r\033\[K/, ""); if ($0 !~ /^fault/) bad = 1} END {exit bad || n != 1}' "$tmp/tty"
    ok "run on a terminal: the mode line has a line of its own ($(grep -a 'act q8' "$tmp/tty" | cat -v))" $?
    mkfifo "$tmp/keys"
    script -qec "'$sluice' run -m '$demo' -n 3" /dev/null >"$tmp/tty" 2>/dev/null <"$tmp/keys" &
    exec 4>"$tmp/keys"
    for _ in $(seq 1200); do grep -qa 'up to Ctrl-D' "$tmp/tty" && break; sleep 0.05; done
    printf 'Once upon a time\n\004' >&4
    exec 4>&-
    wait $!
    rc=$?; [ $rc = 0 ] && grep -qa 'up to Ctrl-D' "$tmp/tty" && grep -qa '3 generated' "$tmp/tty"
    ok "run on a terminal: it says that it waits for a prompt ($rc)" $?
fi
"$sluice" run -m $demo -p hi -n 0 2>&1 | grep -q 'none generated'; ok "run -n 0: no speeds of what did not happen" $?

# ---- what is wrong with a file is said of that file
sed 's/general.architecture/general.architectura/' tests/golden/data/qwen3/model.gguf >"$tmp/keyless.gguf"
refused "keyless.gguf: metadata key general.architecture is missing" "$sluice" run -q -m "$tmp/keyless.gguf" -p hi
refused "keyless.gguf: metadata key" "$sluice" repack -m "$tmp/keyless.gguf"

cp $demo "$tmp/$(printf 'm\377')"
"$sluice" run -q -m "$tmp/$(printf 'm\377')" -p hi -n 1 --json "$tmp/json" >/dev/null && grep -q '"model": null' "$tmp/json"
ok "run --json: a model's name that is not UTF-8" $?

# ---- bench: each budget of a sweep has a peak of its own, and a context of what is measured
"$sluice" bench -q -m $demo -p 64 -n 2 -r 1 --probe 0.05 --sweep unlimited,17M --csv "$tmp/s.csv" >/dev/null 2>"$tmp/err"
ok "bench: a budget that holds what is measured, and no context of 4096 ($(head -1 "$tmp/err"))" $?
case ${B:-build} in
*san* | *arm64*) ;;
*) ! (echo 5 >/proc/self/clear_refs) 2>/dev/null || # then a peak is of all before
    awk -F, '$1 == 17 * 1048576 && $2 > $1 + 8 * 1048576 {bad = 1} NR == 2 && $1 != "" {bad = 1} END {exit bad || NR != 5}' "$tmp/s.csv"
    ok "bench --sweep: the peak is the budget's own ($(cut -d, -f1,2 "$tmp/s.csv" | tr '\n' ' '))" $? ;;
esac
! grep -qE -- ',-1(,|$)' "$tmp/s.csv"; ok "bench --csv: nothing where there is no figure" $?

# ---- bench/compare.sh: what it cannot do is said, before it begins or where it fails
compare() { bench/compare.sh -s "$sluice" "$@"; }
refused "no model" compare
refused "no-such: cannot be read" compare -m "$tmp/no-such"
refused "no-such: not a program" compare -m $demo -l "$tmp/no-such"
refused "-n x: a number" compare -m $demo -n x
refused "-b 5Q: a size" compare -m $demo -b 5Q
compare --help | grep -q '^ *bench/compare.sh -m MODEL'; ok "compare --help" $?
compare -m "$0" -r 1 -p 4 -n 2 >"$tmp/out" 2>"$tmp/err"
[ $? = 1 ] && grep -q 'sluice: .*not a GGUF file' "$tmp/err"; ok "compare: a file that is no model ($(tail -1 "$tmp/err"))" $?
compare -m $demo -s /bin/true -r 1 -p 4 -n 2 >"$tmp/out" 2>"$tmp/err"
[ $? = 1 ] && grep -q 'sluice gave no figures' "$tmp/err"; ok "compare: no figures and no error ($(tail -1 "$tmp/err"))" $?
compare -m $demo -r 1 -p 4 -n 2 -l /bin/false >"$tmp/out" 2>"$tmp/err" && grep -qE '^\| none \| sluice \| [0-9.]+ \| [0-9.]+ ' "$tmp/out" &&
    grep -q '^| none | llama.cpp | - | - ' "$tmp/out"
ok "compare: one row each, where the peer fails ($(tail -1 "$tmp/err"))" $?

echo "$passed passed, $failed failed"
[ $failed = 0 ]
