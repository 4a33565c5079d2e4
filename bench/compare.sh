#!/usr/bin/env bash
# sluice and its peers in turn on one file, resident and inside memory limits; prints a table.  Builds nothing.
#
#   bench/compare.sh -m MODEL [-s SLUICE] [-l LLAMA_BENCH] [-i IK_LLAMA_BENCH] [-b "4G 2G"] [-p 512] [-n 32] [-r 3]
#
#   -b  budgets; each is also the limit of the memory cgroup (v1) in which every program of its rows runs,
#       with the page cache dropped first.  "none" = everything in memory, warm.  Default: none.
#   -r  rounds; programs alternate within a round, the table has medians.
#
# Peers map the file; how well that works depends on the block device's read-ahead, so under a limit each runs with
# read_ahead_kb at 128 (most distributions' default) and at the machine's own setting.  Needs root for budgets
# (cgroup, drop_caches, read_ahead_kb), and nothing but a shell: results are read from the programs' JSON and CSV by awk and sed.
set -euo pipefail

sluice=build/sluice llama='' ik='' budgets=none n_prompt=512 n_gen=32 rounds=3 model=''
while getopts m:s:l:i:b:p:n:r:h o; do
    case $o in
        m) model=$OPTARG ;; s) sluice=$OPTARG ;; l) llama=$OPTARG ;; i) ik=$OPTARG ;; b) budgets=$OPTARG ;;
        p) n_prompt=$OPTARG ;; n) n_gen=$OPTARG ;; r) rounds=$OPTARG ;;
        *) sed -n '2,13s/^# \{0,1\}//p' "$0"; [ "$o" = h ] && exit 0; exit 1 ;;
    esac
done
[ -r "$model" ] || { echo "compare: no model: give one with -m FILE" >&2; exit 1; }
threads=$(nproc)
tmp=$(mktemp -d)
disk=$(lsblk -no pkname "$(df --output=source "$model" | tail -1)" 2>/dev/null | head -1)
[ -n "$disk" ] || disk=$(basename "$(df --output=source "$model" | tail -1)")
ra=/sys/block/$disk/queue/read_ahead_kb
own_ra=$(cat "$ra" 2>/dev/null || echo '')
group=/sys/fs/cgroup/memory/sluice-compare
finish() {
    [ -n "$own_ra" ] && echo "$own_ra" >"$ra" 2>/dev/null
    rmdir "$group" 2>/dev/null
    rm -rf "$tmp"
    return 0
}
trap finish EXIT

# limited LIMIT COMMAND...: inside the cgroup, caches dropped; LIMIT none: as it is.
limited() {
    local limit=$1
    shift
    if [ "$limit" = none ]; then
        "$@"
        return
    fi
    mkdir -p "$group"
    echo "$limit" >"$group/memory.limit_in_bytes"
    sync
    echo 3 >/proc/sys/vm/drop_caches
    (echo "$BASHPID" >"$group/cgroup.procs" && exec "$@")
}

# Each prints "PREFILL DECODE" in tokens a second, or "- -" where the program did not get through.
run_sluice() { # budget
    local ram=$1
    [ "$ram" = none ] && ram=unlimited
    if limited "$1" "$sluice" bench -q -m "$model" -p "$n_prompt" -n "$n_gen" -r 2 -t "$threads" --ram "$ram" \
        --json "$tmp/s.json" >/dev/null 2>"$tmp/err"; then
        awk '/"tok_s":/ {gsub(/[^0-9.e+-]/, "", $2); v[++n] = $2} END {print v[1], v[2]}' "$tmp/s.json"
    else
        echo "- -"
    fi
}
run_llama() { # budget, program, more arguments
    local limit=$1 program=$2
    shift 2
    if limited "$limit" "$program" -m "$model" -p "$n_prompt" -n "$n_gen" -r 2 -t "$threads" -o csv "$@" \
        >"$tmp/l.csv" 2>"$tmp/err"; then
        # The columns' names are in the first line; fields are quoted.
        awk -F'","' 'NR == 1 {gsub(/"/, ""); n = split($0, h, ","); for (i = 1; i <= n; i++) if (h[i] == "avg_ts") c = i}
                     NR > 1 {gsub(/"/, "", $c); v[NR - 1] = $c} END {print v[1] ? v[1] : "-", v[2] ? v[2] : "-"}' "$tmp/l.csv"
    else
        echo "- -"
    fi
}

median() { sort -g | awk '{v[NR] = $1} END {if (!NR) print "-"; else if (NR % 2) print v[(NR + 1) / 2]; else print (v[NR / 2] + v[NR / 2 + 1]) / 2}'; }

note() { # name, figures: kept for the table
    echo "$2" >>"$tmp/$1"
    echo "  $1: $2 tok/s (prefill, decode)" >&2
}

echo "| limit | program | prefill $n_prompt tok/s | decode tok/s |"
echo "|---|---|---|---|"
for b in $budgets; do
    rm -f "$tmp"/row.*
    for round in $(seq "$rounds"); do
        echo "limit $b, round $round of $rounds" >&2
        [ "$b" = none ] && cat "$model" >/dev/null
        note row.1.sluice "$(run_sluice "$b")"
        i=2
        for peer in "llama.cpp|$llama" "ik_llama.cpp|$ik"; do
            program=${peer#*|} name=${peer%%|*}
            [ -n "$program" ] || continue
            extra=()
            [ "$name" = ik_llama.cpp ] && [ "$b" != none ] && extra=(--prefetch-experts 1)
            if [ "$b" = none ] || [ -z "$own_ra" ]; then
                note "row.$i.$name" "$(run_llama "$b" "$program" "${extra[@]}")"
            else
                for k in 128 "$own_ra"; do
                    echo "$k" >"$ra"
                    note "row.$i.$name, read_ahead_kb $k" "$(run_llama "$b" "$program" "${extra[@]}")"
                done
                echo "$own_ra" >"$ra"
            fi
            i=$((i + 1))
        done
    done
    for f in "$tmp"/row.*; do
        name=${f##*/row.?.}
        printf '| %s | %s | %s | %s |\n' "$b" "$name" "$(awk '$1 != "-" {print $1}' "$f" | median)" \
            "$(awk '$2 != "-" {print $2}' "$f" | median)"
    done
done
