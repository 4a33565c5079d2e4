#!/usr/bin/env bash
# Installs into an empty folder, builds examples/minimal.c with what lies there
# (pkg-config, shared and static), runs it, and uninstalls.
set -uo pipefail
cd "$(dirname "$0")/../.."
B=${B:-build}
if [ "$B" != build ]; then
    echo "only the plain build is installed"
    exit 77
fi
passed=0 failed=0
ok() { # name, status
    if [ "$2" = 0 ]; then passed=$((passed + 1)); else failed=$((failed + 1)); echo "FAIL $1"; fi
}
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
unset MAKEFLAGS MFLAGS MAKELEVEL
make -s install DESTDIR="$dir" PREFIX=/opt/sl >"$dir/log" 2>&1
ok "make install" $? || cat "$dir/log"
root=$dir/opt/sl
version=$(sed -n 's/^Version: //p' "$root/lib/pkgconfig/sluice.pc")
for f in bin/sluice include/sluice.h lib/libsluice.a lib/libsluice.so lib/libsluice.so."${version%%.*}" \
    lib/libsluice.so."$version" lib/pkgconfig/sluice.pc share/man/man1/sluice.1; do
    [ -e "$root/$f" ]
    ok "installed: $f" $?
done
objdump -p "$root/lib/libsluice.so" | grep -q "SONAME *libsluice.so.${version%%.*}$"
ok "SONAME" $?
# Exported: what the header marks, and all of it.
nm -D --defined-only "$root/lib/libsluice.so" | awk '$2 ~ /^[TBDRVW]$/ {print $3}' | sort >"$dir/exported"
tr '\n' ' ' <include/sluice.h | grep -oE 'SLUICE_API [^;(]*\(' | grep -oE 'sluice_[a-z0-9_]+\(' | tr -d '(' |
    sort >"$dir/declared"
diff "$dir/declared" "$dir/exported"
ok "the library exports exactly what sluice.h declares" $?

export PKG_CONFIG_PATH=$root/lib/pkgconfig PKG_CONFIG_SYSROOT_DIR=
flags=$(pkg-config --define-variable=prefix="$root" --define-variable=libdir="$root/lib" --cflags --libs sluice)
ok "pkg-config" $?
cc=${CC:-cc}
# shellcheck disable=SC2086
$cc -std=c17 -Wall -Wextra -Werror -o "$dir/minimal" examples/minimal.c $flags
ok "the example builds against the shared library" $?
want="Once upon a time"
out=$(LD_LIBRARY_PATH=$root/lib "$dir/minimal" demo/tales-30m-q4_k_m.gguf "$want" 24)
ok "it runs" $?
[ ${#out} -gt 20 ]
ok "it writes text" $?
static=$(pkg-config --define-variable=prefix="$root" --define-variable=libdir="$root/lib" --static --libs sluice)
# shellcheck disable=SC2086
$cc -std=c17 -o "$dir/minimal-static" examples/minimal.c -I"$root/include" "$root/lib/libsluice.a" ${static/-lsluice/}
ok "it builds against the static library" $?
[ "$("$dir/minimal-static" demo/tales-30m-q4_k_m.gguf "$want" 24)" = "$out" ]
ok "and writes the same text" $?
LD_LIBRARY_PATH=$root/lib "$dir/minimal" "$dir/none.gguf" x 1 2>"$dir/err"
[ $? = 1 ] && [ "$(wc -l <"$dir/err")" = 1 ]
ok "a missing file is one line and exit 1" $?
if command -v c++ >/dev/null; then
    echo '#include <sluice.h>' | c++ -x c++ -Wall -Wextra -Werror -fsyntax-only -I"$root/include" -
    ok "the header is C++ too" $?
fi
"$root/bin/sluice" --version 2>/dev/null | grep -qF "$version"
ok "sluice --version says $version" $?
make -s uninstall DESTDIR="$dir" PREFIX=/opt/sl >>"$dir/log" 2>&1
[ -z "$(find "$root" ! -type d)" ]
ok "make uninstall leaves nothing" $?
echo "$passed passed, $failed failed"
[ $failed = 0 ]
