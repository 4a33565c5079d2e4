#!/usr/bin/env bash
# The demo: a 21 MB Mixture-of-Experts model writes a tale, its experts streamed from
# disk under a budget smaller than the file.  `make demo` runs it.
set -euo pipefail
cd "$(dirname "$0")/.."
prompt="Once upon a time there was a king who had three daughters, and"
printf 'The prompt: %s ...\n\n' "$prompt" >&2
exec "${B:-build}/sluice" run -m demo/tales-30m-q4_k_m.gguf --ram "${RAM:-20M}" -c 256 -n "${N:-200}" \
    --temp 0.7 --top-p 0.9 --seed 1 -p "$prompt"
