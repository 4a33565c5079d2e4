#!/usr/bin/env bash
# sluice and its peers in turn on one file, resident and inside memory limits; prints a table.  Builds nothing.
#
#   bench/compare.sh -m MODEL [-s SLUICE] [-l LLAMA_BENCH] [-i IK_LLAMA_BENCH] [-I IK_SWEEP_BENCH] [-b "none 4G 2G"]
#                    [-p 512] [-n 32] [-r 3] [-T 600] [-k "128 own"] [-L "--repack 0"]
#
#   -s  sluice (default build/sluice);  -l  llama.cpp's llama-bench;  -i  ik_llama.cpp's llama-bench;
#   -I  ik_llama.cpp's llama-sweep-bench: under a limit it runs with --prefetch-experts, which its llama-bench lacks;
#       without its warm-up, which reads every expert through the limit and measures nothing
#   -b  budgets; each is also the limit of the memory cgroup (v1) in which every program of its rows runs,
#       with the page cache dropped first.  "none" = everything in memory, warm.  Default: none.
#   -r  rounds; programs alternate within a round, the table has medians.  -T  seconds after which a run is given up.
#   -L  more arguments for llama.cpp under a limit (default --repack 0: repacked weights are memory of its own, not the file's)
#   -k  read_ahead_kb settings for peers under a limit; "own" is the machine's
#
# Peers map the file; how well that works depends on the block device's read-ahead: 128 is what most distributions set.
# Needs root for budgets (cgroup, drop_caches, read_ahead_kb), and nothing but a shell: results are read from the programs'
# JSON and CSV by awk.  Columns: medians of tok/s; the most memory the run's cgroup held, page cache
# included; sluice's fractions of its causal and overlap limits while decoding ("void": the drive or memory drifted).
set -uo pipefail

sluice=build/sluice llama='' ik='' sweep='' budgets=none n_prompt=512 n_gen=32 rounds=3 model='' give_up=600 kbs='128 own'
under_limit='--repack 0'
for a; do [ "$a" != --help ] || set -- -h; done
while getopts m:s:l:i:I:b:p:n:r:T:k:L:h o; do
    case $o in
        m) model=$OPTARG ;; s) sluice=$OPTARG ;; l) llama=$OPTARG ;; i) ik=$OPTARG ;; I) sweep=$OPTARG ;;
        b) budgets=$OPTARG ;; p) n_prompt=$OPTARG ;; n) n_gen=$OPTARG ;; r) rounds=$OPTARG ;; T) give_up=$OPTARG ;;
        k) kbs=$OPTARG ;; L) under_limit=$OPTARG ;;
        *) sed -n '2,20s/^# \{0,1\}//p' "$0"; [ "$o" = h ] && exit 0; exit 1 ;;
    esac
done
fail() { echo "compare: $*" >&2; exit 1; }
[ -n "$model" ] || fail "no model: give one with -m FILE"
[ -f "$model" ] && [ -r "$model" ] || fail "$model: cannot be read"
for v in "-p $n_prompt" "-n $n_gen" "-r $rounds" "-T $give_up"; do
    [[ $v =~ ^-.\ [1-9][0-9]*$ ]] || fail "$v: a number above 0"
done
for b in $budgets; do
    [[ $b =~ ^(none|[1-9][0-9]*[KMG]?)$ ]] || fail "-b $b: a size such as 4G or 512M, or none"
    [ "$b" = none ] || [ -w /sys/fs/cgroup/memory ] || fail "-b $b: limits need a memory cgroup (version 1), as root"
done
model=$(realpath "$model")
for p in sluice llama ik sweep; do
    [ -n "${!p}" ] || continue
    [ -x "${!p}" ] || fail "${!p}: not a program"
    printf -v "$p" %s "$(realpath "${!p}")"
done
threads=$(nproc) missing=0
tmp=$(mktemp -d)
device=$(basename "$(df --output=source "$model" | tail -1)")
disk=$(lsblk -no pkname "/dev/$device" 2>/dev/null | head -1)
ra=/sys/block/${disk:-$device}/queue/read_ahead_kb
own_ra=$(cat "$ra" 2>/dev/null || echo '')
group=/sys/fs/cgroup/memory/sluice-compare-$$ ra_changed=
finish() {
    cd /
    [ -n "$ra_changed" ] && echo "$own_ra" 2>/dev/null >"$ra"
    rmdir "$group" 2>/dev/null
    rm -rf "$tmp"
    return 0
}
trap finish EXIT
cd "$tmp" || exit 1 # some leave logs where they are started
trap 'exit 130' INT TERM

# limited LIMIT COMMAND...: inside the cgroup, caches dropped; LIMIT none: as it is.  The most memory held goes to $tmp/peak.
limited() {
    local limit=$1 rc
    shift
    echo - >"$tmp/peak"
    if [ "$limit" = none ]; then
        timeout --foreground "$give_up" "$@" # so that Ctrl-C reaches it
        return
    fi
    mkdir -p "$group" || { echo "$group: cannot make a cgroup (version 1, as root)" >&2; return 1; }
    echo "$limit" >"$group/memory.limit_in_bytes" || { echo "$group: cannot set the limit $limit" >&2; return 1; }
    sync
    echo 3 >/proc/sys/vm/drop_caches
    echo 0 >"$group/memory.max_usage_in_bytes"
    (echo "$BASHPID" >"$group/cgroup.procs" && exec timeout --foreground "$give_up" "$@")
    rc=$?
    awk '{printf "%.2f", $1 / 1073741824}' "$group/memory.max_usage_in_bytes" >"$tmp/peak"
    return $rc
}

gave_none() { # exit status, program: why there is no figure
    local why
    why=$(grep -v '^[[:space:]]*$' "$tmp/err" | tail -1)
    [ "$1" != 124 ] || why="given up after $give_up s"
    echo "  ${2##*/}: ${why:-exit status $1}" >&2
}

# Each prints "PREFILL DECODE PEAK CAUSAL OVERLAP"; "-" where there is no figure.
run_sluice() { # budget
    local ram=$1
    [ "$ram" = none ] && ram=unlimited
    : >"$tmp/s.json" # not an earlier round's
    limited "$1" "$sluice" bench -q -m "$model" -p "$n_prompt" -n "$n_gen" -r 2 -t "$threads" --ram "$ram" \
        --json "$tmp/s.json" >/dev/null 2>"$tmp/err" || { gave_none $? "$sluice"; echo "- - $(cat "$tmp/peak") - -"; return; }
    awk -v peak="$(cat "$tmp/peak")" '
        {key = $1; gsub(/[":]/, "", key); v = $2; gsub(/,/, "", v)}
        key == "void" {drift = v == "true" ? "(void)" : ""}
        key == "tok_s" {t[++n] = v}
        key == "fraction_causal" {c = v}
        key == "fraction_overlap" {o = v}
        END {
            if (n < 2) print "  sluice: no figures in its results" >"/dev/stderr"
            if (n < 2) print "- -", peak, "- -"
            else printf "%.2f %.2f %s %.2f%s %.2f%s\n", t[1], t[2], peak, c, drift, o, drift
        }' "$tmp/s.json"
}
run_llama() { # budget, program, more arguments
    limited "$1" "$2" "${@:3}" -m "$model" -p "$n_prompt" -n "$n_gen" -r 2 -t "$threads" -o csv >"$tmp/l.csv" 2>"$tmp/err" ||
        { gave_none $? "$2"; echo "- - $(cat "$tmp/peak") - -"; return; }
    # The columns' names are in the first line; fields are quoted.
    awk -F'","' -v peak="$(cat "$tmp/peak")" '
        NR == 1 || /build_commit/ {gsub(/"/, ""); n = split($0, h, /,/); for (i = 1; i <= n; i++) if (h[i] == "avg_ts") c = i; next}
        {gsub(/"/, "", $c); v[++rows] = $c}
        END {print v[1] ? v[1] : "-", v[2] ? v[2] : "-", peak, "- -"}' "$tmp/l.csv"
}
run_sweep() { # budget, program
    # Two windows, each of n_gen tokens and then a prompt, and the better of both figures: the first is cold, and the
    # second was at times slower still.  A run that is given up may have printed the first.
    limited "$1" "$2" -m "$model" -c "$((2 * n_prompt))" -b "$n_prompt" -ub "$n_prompt" -n "$n_gen" -t "$threads" \
        --no-warmup --prefetch-experts --output-format jsonl >"$tmp/l.jsonl" 2>&1 || { local rc=$?; cp "$tmp/l.jsonl" "$tmp/err"; gave_none $rc "$2"; }
    awk -v peak="$(cat "$tmp/peak")" '
        function field(name, s) {s = $0; sub(".*\"" name "\": *", "", s); return s + 0}
        /speed_pp/ && n++ < 2 {
            if (field("speed_pp") > p) p = field("speed_pp")
            if (field("speed_tg") > g) g = field("speed_tg")
        }
        END {printf "%s %s %s - -\n", n ? p : "-", n ? g : "-", peak}' "$tmp/l.jsonl"
}

median() { sort -g | awk '{v[NR] = $1; s[NR] = $0} END {if (!NR) print "-"; else print s[int((NR + 1) / 2)]}'; }
column() { awk -v c="$2" '$c != "-" {print $c}' "$1" | median | sed -E 's/^([0-9]+\.[0-9]{2})[0-9]*$/\1/'; }

note() { # row, figures: kept for the table
    local figures=${2:-'- - - - -'} # what printed them may have died
    echo "$figures" >>"$tmp/row.$1"
    case $1:$figures in
        1.sluice:[0-9]*) ;;
        1.sluice:*) missing=1 ;;
    esac
    echo "  ${1#*.}: $figures" >&2
}

peer() { # row's number, name, runner, program, budget, more arguments
    local kb value
    [ -n "$4" ] || return 0
    if [ "$5" = none ] || [ -z "$own_ra" ]; then
        note "$1.$2" "$("$3" "$5" "$4")"
        return
    fi
    for kb in $kbs; do
        value=$kb
        [ "$kb" = own ] && value=$own_ra
        ra_changed=1
        echo "$value" >"$ra"
        note "$1.$2, read_ahead_kb $value" "$("$3" "$5" "$4" "${@:6}")"
    done
    echo "$own_ra" >"$ra"
    ra_changed=
}

echo "| limit | program | prefill $n_prompt tok/s | decode tok/s | memory held, GiB | of the causal limit | of the overlap limit |"
echo "|---|---|---|---|---|---|---|"
for b in $budgets; do
    rm -f "$tmp"/row.*
    for round in $(seq "$rounds"); do
        echo "limit $b, round $round of $rounds: prefill, decode, memory, fractions" >&2
        note 1.sluice "$(run_sluice "$b")"
        # Peers need the file in the page cache, where sluice's memory was a moment ago.
        [ "$b" = none ] && cat "$model" >/dev/null
        extra=()
        [ "$b" = none ] || read -ra extra <<<"$under_limit"
        peer 2 llama.cpp run_llama "$llama" "$b" "${extra[@]}"
        peer 3 ik_llama.cpp run_llama "$ik" "$b"
        [ "$b" = none ] || peer 4 "ik_llama.cpp --prefetch-experts" run_sweep "$sweep" "$b"
    done
    for f in "$tmp"/row.*; do
        name=${f##*/row.}
        echo "| $b | ${name#*.} | $(column "$f" 1) | $(column "$f" 2) | $(column "$f" 3) | $(column "$f" 4) | $(column "$f" 5) |"
    done
done
[ $missing = 0 ] || fail "sluice gave no figures (why is said above)"
