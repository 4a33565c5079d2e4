#!/usr/bin/env python3
"""Dequantisation of every type, bit by bit against gguf-py (Q2_0, which it lacks, against ggml's
definition written out here), and the q8 product against float64.

    python3 tests/references/run_dequant.py build/tests/references/dequant_tool
"""
import subprocess
import sys

import numpy as np
from gguf import quants
from gguf.constants import GGMLQuantizationType as T

tool = sys.argv[1] if len(sys.argv) > 1 else "build/tests/references/dequant_tool"
rng = np.random.default_rng(20240607)


def run(*args, data=b""):
    return subprocess.run([tool, *map(str, args)], input=data, stdout=subprocess.PIPE, check=True).stdout


def reference(name, blocks):
    """blocks: uint8 [n_blocks][block_bytes] -> float32, flat."""
    if name in ("q1_0", "q2_0"):  # ggml-quants.c: dequantize_row_q1_0, dequantize_row_q2_0
        d = blocks[:, :2].copy().view(np.float16).astype(np.float32)
        bits = 1 if name == "q1_0" else 2
        shifts = np.arange(0, 8, bits, dtype=np.uint8)
        q = (blocks[:, 2:, None] >> shifts) & ((1 << bits) - 1)
        q = q.reshape(len(blocks), -1).astype(np.int32)
        q = 2 * q - 1 if bits == 1 else q - 1
        return (q.astype(np.float32) * d).ravel()
    return quants.dequantize(blocks, T[name.upper()]).ravel()


# Where a block's half-precision fields lie, to plant special values there.
HALVES = {"q4_0": [0], "q4_1": [0, 2], "q5_0": [0], "q5_1": [0, 2], "q8_0": [0], "q1_0": [0], "q2_0": [0],
          "q2_k": [80, 82], "q3_k": [108], "q4_k": [0, 2], "q5_k": [0, 2], "q6_k": [208], "iq2_xxs": [0],
          "iq2_xs": [0], "iq2_s": [0], "iq3_xxs": [0], "iq3_s": [0], "iq1_s": [0], "iq4_nl": [0],
          "iq4_xs": [0], "tq1_0": [52], "tq2_0": [64], "f16": [0], "bf16": [0]}
SPECIAL = [0x0000, 0x8000, 0x0001, 0x8001, 0x03FF, 0x0400, 0x7BFF, 0xFBFF, 0x7C00, 0xFC00, 0x7E00, 0x3C00]


def canon(x):
    x = x.copy()
    x[np.isnan(x)] = np.float32(np.nan)
    return x.view(np.uint32) & np.where(np.isnan(x), 0x7FFFFFFF, 0xFFFFFFFF).astype(np.uint32)


def check(line):
    name, _, elems, nbytes, act, compute = line.split()
    elems, nbytes, act = int(elems), int(nbytes), int(act)
    if compute == "0":
        return
    n = 65536 if elems == 1 else 4096
    blocks = rng.integers(0, 256, (n, nbytes), dtype=np.uint8)
    if elems == 1 and nbytes == 2:
        blocks = np.arange(65536, dtype=np.uint16).view(np.uint8).reshape(-1, 2)
    else:
        for at in HALVES.get(name, []):
            sp = np.array(SPECIAL, dtype=np.uint16)[rng.integers(0, len(SPECIAL), n // 4)]
            blocks[: n // 4, at : at + 2] = sp.view(np.uint8).reshape(-1, 2)
        blocks[n // 4 : n // 4 + 4] = np.array([[0], [255], [0x0F], [0xF0]], dtype=np.uint8)
        if name in ("mxfp4", "nvfp4"):
            for k in range(256):
                blocks[k, : 1 if name == "mxfp4" else 4] = k
    with np.errstate(all="ignore"):
        want = reference(name, blocks)
    got = np.frombuffer(run("dequant", name, data=blocks.tobytes()), dtype=np.float32)
    bad = np.flatnonzero(canon(got) != canon(want))
    assert len(bad) == 0, f"{name}: weight {bad[0]}: {got[bad[0]]!r}, reference {want[bad[0]]!r} ({len(bad)} differ)"
    note = ""
    if act:
        note = dot(name, blocks, elems, nbytes, act, want)
    print(f"{name:8} {len(want):8} weights equal{note}")


def dot(name, blocks, elems, nbytes, act, want):
    """Rows of finite blocks of moderate size; the product of dequantised weights and activations."""
    w = want.reshape(len(blocks), elems)
    good = np.flatnonzero((np.abs(w).max(axis=1) < 1e6) & (np.abs(w).max(axis=1) > 1e-6))
    good = good[: len(good) // 8 * 8]
    worst = 0.0
    for rows in np.split(good[:64 * 8], 8):
        x = rng.standard_normal(len(rows) * elems).astype(np.float32)
        got = np.frombuffer(run("dot", name, data=blocks[rows].tobytes() + x.tobytes()), dtype=np.float32)[0]
        xb = x.reshape(-1, act)
        amax = np.abs(xb).max(axis=1, keepdims=True)
        q = np.rint(xb * (np.float32(127) / amax))
        xq = (q.astype(np.float64) * (amax / np.float32(127)).astype(np.float64)).ravel()
        wf = w[rows].ravel().astype(np.float64)
        ref, scale = wf @ xq, np.abs(wf) @ np.abs(xq)
        worst = max(worst, abs(got - ref) / scale)
    assert worst < 2e-6, f"{name}: q8 product off by {worst:.2e} of the sum of magnitudes"
    return f", q8 product within {worst:.1e}"


for line in run("types").decode().splitlines():
    check(line)
print("dequantisation: all types equal")
