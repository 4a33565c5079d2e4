#!/usr/bin/env python3
"""Writes tests/unit/data/quant_golden.bin: a few blocks of every type with their weights and a q8 product,
so that `make test` checks them without Python.

    python3 tests/references/gen_quant_golden.py [build/tests/references/dequant_tool]

    file:  "SQG1", u32 n_x, float x[n_x]
    then for each type:  u32 type, u32 n_blocks, u32 block_bytes, u32 n_weights, bytes of the blocks,
                         float weights[n_weights], float q8 product with x[0..n_weights) (0 for plain types)
"""
import struct
import os
import subprocess
import sys

import numpy as np

from quant_ref import HALVES, dot, reference

tool = sys.argv[1] if len(sys.argv) > 1 else os.environ.get("B", "build") + "/tests/references/dequant_tool"
rng = np.random.default_rng(4)
x = rng.standard_normal(768).astype(np.float32)
x[256:288] = 0
x[300] = 40.0
out = open("tests/unit/data/quant_golden.bin", "wb")
out.write(b"SQG1" + struct.pack("<I", x.size) + x.tobytes())
for line in subprocess.run([tool, "types"], stdout=subprocess.PIPE, check=True).stdout.decode().splitlines():
    name, type_id, elems, nbytes, act, compute = line.split()
    elems, nbytes, act = int(elems), int(nbytes), int(act)
    if compute == "0":
        continue
    n = 768 // elems if elems >= 128 else max(8, 128 // elems)
    blocks = rng.integers(0, 256, (n, nbytes), dtype=np.uint8)
    for k, at in enumerate(HALVES.get(name, [])):
        if elems > 1:  # one negative scale, one subnormal, the others common
            d = rng.uniform(0.001, 0.02, n).astype(np.float16)
            d[0], d[1] = -d[0], 2.0 ** -20
            blocks[:, at : at + 2] = d.view(np.uint8).reshape(-1, 2)
    if name == "mxfp4":
        blocks[:, 0] = rng.integers(118, 124, n)
    if name == "nvfp4":
        blocks[:, :4] = rng.integers(0, 60, (n, 4))
    if name == "iq1_m":
        blocks[:, 55] = (blocks[:, 55] & 0x0F) | 0x20  # the scale's sign and high exponent bits
    if name in ("f32", "f16", "bf16"):
        v = rng.standard_normal(n).astype(np.float32)
        raw = {"f32": v, "f16": v.astype(np.float16), "bf16": (v.view(np.uint32) >> 16).astype(np.uint16)}[name]
        blocks = raw.view(np.uint8).reshape(n, -1).copy()
    w = reference(name, blocks)
    assert np.all(np.isfinite(w))
    p = dot(name, blocks, x[: w.size], act) if act else np.float32(0)
    out.write(struct.pack("<IIII", int(type_id), n, nbytes, w.size) + blocks.tobytes() + w.tobytes()
              + np.float32(p).tobytes())
