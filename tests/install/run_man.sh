#!/usr/bin/env bash
# The man page and --help name the same commands and options.
set -uo pipefail
export LC_ALL=C
cd "$(dirname "$0")/../.."
sluice=${B:-build}/sluice
passed=0 failed=0
ok() { if [ "$2" = 0 ]; then passed=$((passed + 1)); else failed=$((failed + 1)); echo "FAIL $1"; fi; }

words() { grep -oE -- '--[a-z][a-z0-9-]+' | sort -u; }
page=$(sed 's/\\-/-/g; s/\\f.//g' man/sluice.1)
commands=$("$sluice" --help | sed -n 's/^  \([a-z]*\)  .*/\1/p')
[ -n "$commands" ]
ok "commands in --help" $?
all=$(mktemp)
trap 'rm -f "$all"' EXIT
for c in $commands; do
    help=$("$sluice" "$c" --help)
    ok "sluice $c --help" $?
    grep -q "^\.SS $c\$" <<<"$page"
    ok "man page has a section on $c" $?
    words <<<"$help" >>"$all"
    missing=$(comm -23 <(words <<<"$help" | grep -vx -- --help) <(words <<<"$page"))
    [ -z "$missing" ] || echo "$c: not in the man page:" $missing
    [ -z "$missing" ]
    ok "options of $c are in the man page" $?
done
extra=$(comm -13 <(sort -u "$all") <(words <<<"$page") | grep -vxE -- '--(help|version|name)')
[ -z "$extra" ] || echo "in the man page alone:" $extra
[ -z "$extra" ]
ok "the man page names no option that is not there" $?
! grep -E '^\.[BIR]+ ' man/sluice.1 | grep -vE '^[^"]*("[^"]*"[^"]*)*$'
ok "quotes of the man page are even" $?
echo "$passed passed, $failed failed"
[ $failed = 0 ]
