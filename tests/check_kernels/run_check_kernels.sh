#!/bin/sh
# Every kernel at every level of this CPU, bit for bit against the reference.  B: the build folder.
set -eu
exec "${B:-build}/tests/check_kernels/check_kernels" "$@"
