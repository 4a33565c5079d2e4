#!/usr/bin/env bash
# Installs the Debian packages that sluice needs, if any is missing.
#
#   tools/install_deps.sh SET...
#       build   to build, to run and to test
#       dev     fuzzers (clang), reference tests (Python's venv)
#       arm64   the cross compiler, its libraries, and the emulator
#
# Needs root or sudo only when something is missing.
set -euo pipefail

want=()
arm=no
for set in "$@"; do
    case $set in
        build) want+=(gcc libc6-dev make pkg-config liburing-dev libjansson-dev libcmocka-dev) ;;
        dev) want+=(clang libclang-rt-14-dev python3 python3-venv) ;;
        arm64) arm=yes
            want+=(gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user-static liburing-dev:arm64  libjansson-dev:arm64 libcmocka-dev:arm64) ;;
        *) echo "install_deps: no such set: $set" >&2; exit 2 ;;
    esac
done

if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then
    # Not Debian: what counts is whether the build can find its parts.
    missing=
    command -v "${CC:-cc}" >/dev/null || missing+=" a C17 compiler,"
    command -v pkg-config >/dev/null || missing+=" pkg-config,"
    pkg-config --exists jansson 2>/dev/null || missing+=" jansson,"
    [ -z "$missing" ] && exit 0
    echo "install_deps: this is not Debian or a relative of it; please install:$missing" >&2
    echo "  and, for io_uring, liburing; for the tests, cmocka" >&2
    exit 1
fi

missing=()
for p in "${want[@]}"; do
    q=$p
    # The package of this machine's own architecture needs no suffix.
    [ "${p##*:}" = "$(dpkg --print-architecture)" ] && q=${p%:*}
    [ "$(dpkg-query -W -f '${db:Status-Status}\n' "$q" 2>/dev/null | head -1)" = installed ] || missing+=("$q")
done
[ ${#missing[@]} = 0 ] && exit 0

sudo=()
if [ "$(id -u)" != 0 ]; then
    if ! command -v sudo >/dev/null; then
        echo "install_deps: missing: ${missing[*]}" >&2
        echo "  not root, and there is no sudo; as root: apt-get install ${missing[*]}" >&2
        exit 1
    fi
    sudo=(sudo)
fi
echo "installing ${missing[*]}"
if [ $arm = yes ] && [ "$(dpkg --print-architecture)" != arm64 ]; then
    "${sudo[@]}" dpkg --add-architecture arm64
fi
log=$(mktemp)
trap 'rm -f "$log"' EXIT
if ! { "${sudo[@]}" apt-get update &&
       "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "${missing[@]}"
     } >"$log" 2>&1; then
    tail -20 "$log" >&2
    echo "install_deps: apt-get could not install ${missing[*]}" >&2
    exit 1
fi
