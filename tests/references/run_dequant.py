#!/usr/bin/env python3
"""Dequantisation of every type, bit by bit against gguf-py (Q2_0, which it lacks, and Q1_0 against ggml's
definition), and the q8 product, bit by bit against exact arithmetic; and quantised blocks, byte by byte, of
the types that gguf-py can quantise.

    python3 tests/references/run_dequant.py [build/tests/references/dequant_tool]
"""
import os
import subprocess
import sys

import numpy as np
from gguf import quants
from gguf.constants import GGMLQuantizationType as T

from quant_ref import HALVES, SPECIAL, dot, reference

tool = sys.argv[1] if len(sys.argv) > 1 else os.environ.get("B", "build") + "/tests/references/dequant_tool"
rng = np.random.default_rng(20240607)


def run(*args, data=b""):
    return subprocess.run([tool, *map(str, args)], input=data, stdout=subprocess.PIPE, check=True).stdout


def canon(x):
    """Bits, with every NaN the same."""
    return np.where(np.isnan(x), np.uint32(0x7FC00000), x.view(np.uint32))


def make_blocks(name, elems, nbytes):
    if elems == 1 and nbytes == 2:
        return np.arange(65536, dtype=np.uint16).view(np.uint8).reshape(-1, 2)
    n = 4096
    blocks = rng.integers(0, 256, (n, nbytes), dtype=np.uint8)
    for at in HALVES.get(name, []):
        sp = np.array(SPECIAL, dtype=np.uint16)[rng.integers(0, len(SPECIAL), n // 4)]
        blocks[: n // 4, at : at + 2] = sp.view(np.uint8).reshape(-1, 2)
    blocks[n // 4 : n // 4 + 4] = np.array([[0], [255], [0x0F], [0xF0]], dtype=np.uint8)
    if name in ("mxfp4", "nvfp4"):
        blocks[:256, : 1 if name == "mxfp4" else 4] = np.arange(256, dtype=np.uint8)[:, None]
    return blocks


def check_dot(name, blocks, elems, act, want):
    """Rows of blocks whose weights and scales are moderate."""
    w = np.abs(want.reshape(len(blocks), elems)).max(axis=1)
    good = np.flatnonzero((w < 1e6) & (w > 1e-6))
    n = 8 * max(1, 256 // elems)
    for k in range(min(12, len(good) // n)):
        rows = blocks[good[k * n : (k + 1) * n]]
        x = rng.standard_normal(len(rows) * elems).astype(np.float32)
        x[: x.size // 2] *= np.float32(10) ** rng.integers(-6, 6, x.size // 2).astype(np.float32)
        if k == 0:
            x[:256] = 0
        if k == 1:
            x[256:512] = 1e-31
        got = np.frombuffer(run("dot", name, data=rows.tobytes() + x.tobytes()), dtype=np.uint32)[0]
        ref = dot(name, rows, x, act).view(np.uint32)
        assert got == ref, f"{name}: q8 product {got:08x}, exact arithmetic gives {ref:08x}"


def check_quantise(name, elems):
    if name not in ("f16", "bf16", "q4_0", "q4_1", "q5_0", "q5_1", "q8_0", "tq1_0", "tq2_0", "mxfp4"):
        return ""
    x = rng.standard_normal((512, max(elems, 32))).astype(np.float32)
    x *= np.float32(10) ** rng.uniform(-4, 2, (512, 1)).astype(np.float32)
    x[0] = 0
    x[1] = np.rint(x[1])
    want = quants.quantize(x, T[name.upper()]).tobytes()
    got = run("quant", name, data=x.tobytes())
    assert got == want, f"{name}: quantised blocks differ"
    return ", quantised blocks equal"


def check(line):
    name, _, elems, nbytes, act, compute = line.split()
    elems, nbytes, act = int(elems), int(nbytes), int(act)
    if compute == "0":
        return
    blocks = make_blocks(name, elems, nbytes)
    want = reference(name, blocks)
    got = np.frombuffer(run("dequant", name, data=blocks.tobytes()), dtype=np.float32)
    bad = np.flatnonzero(canon(got) != canon(want))
    if len(bad):
        at = bad[0]
        sys.exit(f"{name}: weight {at}: {got[at]!r}, reference {want[at]!r} ({len(bad)} differ)")
    if act:
        check_dot(name, blocks, elems, act, want)
    note = check_quantise(name, elems)
    print(f"{name:8} {len(want):8} weights equal{', q8 products equal' if act else ''}{note}")


for line in run("types").decode().splitlines():
    check(line)
print("dequantisation: all types equal")
