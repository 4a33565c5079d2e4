#!/usr/bin/env bash
# Runs every run_*.py and run_*.sh of this folder in a virtual environment with the
# packages of requirements.txt; the last line is "N passed, N failed".
#
# VENV names another environment that already has them.  Tests get B, REFS (see
# fetch.sh) and the environment's python3 first in PATH.
set -euo pipefail
cd "$(dirname "$0")/../.."
export B=${B:-build}
req=tests/references/requirements.txt
if [ -z "${VENV:-}" ]; then
    VENV=$B/venv
    if ! cmp -s $req "$VENV/requirements.done"; then
        if ! { python3 -m venv "$VENV"; } >/dev/null 2>&1; then
            tools/install_deps.sh build dev
            python3 -m venv "$VENV"
        fi
        echo "installing $req into $VENV"
        set -m # a group of its own, to be ended as a whole
        PATH=$PWD/$VENV/bin:$PATH tests/references/fetch.sh smollm2 llama.cpp &
        set +m
        trap "kill -- -$! 2>/dev/null" EXIT
        # Most modules are never imported: those that are, are compiled then.
        "$VENV/bin/pip" install --quiet --disable-pip-version-check --no-compile -r $req
        wait $! || true # what is missing is fetched below, or said to be missing
        trap - EXIT
        cp $req "$VENV/requirements.done"
    fi
fi
VENV=$(cd "$VENV" && pwd)
export VENV PATH=$VENV/bin:$PATH PYTHONPYCACHEPREFIX=$VENV/pycache PYTHONPATH=$PWD/tests/references
export HF_HUB_OFFLINE=1 TOKENIZERS_PARALLELISM=false
tests/references/fetch.sh smollm2 llama.cpp || echo "fetch: not complete; the tests that need it will say so"
export REFS=$B/refs
shopt -s nullglob
tests=(tests/references/run_*.py tests/references/run_*.sh)
TEST_TIMEOUT=${TEST_TIMEOUT:-1800} tests/run.sh "${tests[@]}"
