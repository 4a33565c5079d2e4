#!/usr/bin/env bash
# usage: B=build-arm64 tests/arm64/run_levels.sh
# Which levels of kernels are found on three CPUs that qemu-user plays: the oldest arm64, one with dotprod, and one with
# all there is.  On an older one the instructions of a level that is not there would end the program.
set -uo pipefail
cd "$(dirname "$0")/../.."
B=${B:-build}
check=$B/tests/check_kernels/check_kernels.elf
if [ ! -e "$check" ] || ! command -v qemu-aarch64-static >/dev/null; then
    echo "not an arm64 build under emulation"
    exit 77
fi
passed=0 failed=0
ok() { if [ "$2" = 0 ]; then passed=$((passed + 1)); else failed=$((failed + 1)); echo "FAILED $1"; fi; }

levels() { # CPU, levels
    local got
    got=$(qemu-aarch64-static -cpu "$1" "$check" --list | grep -v ': not on this CPU' | tr '\n' ' ')
    [ "$got" = "$2 " ]
    ok "$1 has '$2', not '$got'" $?
}
levels cortex-a53 "neon"
levels neoverse-n1 "neon dotprod"
levels max "neon dotprod i8mm"
for cpu in cortex-a53 neoverse-n1; do
    qemu-aarch64-static -cpu $cpu "$check" --rounds 1 >"$B/logs/arm64_$cpu.log" 2>&1
    ok "check_kernels on $cpu: $B/logs/arm64_$cpu.log" $?
done
echo "$passed passed, $failed failed"
[ $failed = 0 ]
