#!/usr/bin/env bash
# What the tree promises about itself: the order of folders, who may use internals,
# the size of files and lines, and no paths of one machine.
set -uo pipefail
cd "$(dirname "$0")/../.."
passed=0 failed=0

check() { # name, complaints
    if [ -z "$2" ]; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        printf 'FAIL %s\n%s\n' "$1" "$2"
    fi
}

# Folders of one group do not know each other; a group knows those to its left.
declare -A rank=([base]=0 [format]=1 [io]=1 [kernels]=1 [model]=2 [text]=2 [state]=3 [stream]=3 [blocks]=4
                 [arch]=5 [engine]=6 [app]=7)
bad=
while IFS=: read -r file line text; do
    from=${file#src/}
    from=${from%%/*}
    header=${text#*\"}
    header=${header%%\"*}
    to=${header%%/*}
    if [ -z "${rank[$from]:-}" ]; then
        bad+="$file: src/$from is not a known folder"$'\n'
    elif [ "$to" = "$header" ] || [ -z "${rank[$to]:-}" ]; then
        bad+="$file:$line: \"$header\" does not name its folder"$'\n'
    elif [ "$from" != "$to" ] && [ "${rank[$to]}" -ge "${rank[$from]}" ] && [ "$from $header" != "kernels format/dtype.h" ]; then
        bad+="$file:$line: $from may not include $header"$'\n'
    fi
done < <(grep -rn --include='*.[ch]' -E '^[[:space:]]*#[[:space:]]*include[[:space:]]*"' src)
check "folders include only those to their left" "$bad"

# These commands and the examples prove that the public header is enough.
public=()
for f in src/app/{run,chat,serve,logits,tokenize}*.c examples/*.c; do [ -e "$f" ] && public+=("$f"); done
bad=
if [ ${#public[@]} != 0 ]; then
    bad=$(grep -nE '^[[:space:]]*#[[:space:]]*include[[:space:]]*"' "${public[@]}" | grep -vE '"(app|base)/')
fi
check "run, chat, serve, logits, tokenize and the examples use sluice.h" "$bad"

if git rev-parse --git-dir >/dev/null 2>&1; then
    list() { git ls-files -- "$@"; }
else
    list() { find . -path './build*' -prune -o -path ./.git -prune -o -type f -print | sed 's,^\./,,'; }
fi
mapfile -t all < <(list | while read -r f; do [ -f "$f" ] && echo "$f"; done)
# In brackets, so that this line does not find itself.  Reference tests may look for data beside the repository.
bad=$(grep -nIE '(^|[^[:alnum:]_.])/(wor[k]|roo[t]|hom[e])/[[:alnum:]_.]|\.\./share[d]/' "${all[@]}" | grep -vE '^tests/references/.*\.\./share[d]/' | cut -c1-160)
check "no paths of one machine" "$bad"

# Names in capitals stand for any; what a command writes is named without its folder.
bad=$(grep -noE '\b(src|tests|docs|bench|demo|tools|man|examples|include)/[a-z0-9_./-]*[a-z0-9]' README.md CONTRIBUTING.md CHANGELOG.md \
    docs/*.md | while IFS=: read -r file line path; do
        [ -e "$path" ] || compgen -G "$path*" >/dev/null || echo "$file:$line: $path does not exist"
    done)
check "paths that the documents name exist" "$bad"

mapfile -t code < <(printf '%s\n' "${all[@]}" | grep -E '^(src|include|tests|examples)/.*\.[ch]$')
bad=$(awk 'length($0) > 140 && FILENAME !~ "/data/" {print FILENAME ":" FNR ": " length($0) " characters"}' \
    "${code[@]}" | head -20)
check "lines of at most 140 characters" "$bad"
bad=$(for f in "${code[@]}"; do
          case $f in *_tables.[ch] | *_data.[ch]) continue ;; esac
          n=$(wc -l <"$f")
          [ "$n" -le 850 ] || echo "$f: $n lines"
      done)
check "files of at most 850 lines" "$bad"
bad=$(grep -nP '\t' "${code[@]}" | cut -c1-80 | head)
check "no tabs in C files" "$bad"

echo "$passed passed, $failed failed"
[ $failed = 0 ]
