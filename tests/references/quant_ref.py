"""What run_dequant.py and gen_quant_golden.py share: dequantisation by gguf-py (Q1_0 and Q2_0: ggml's
definition written out), and the q8 product of src/kernels/quant.h in exact arithmetic, made without
any unpacking code: planting scales of 1 into a block turns dequantised weights into its integers."""
from fractions import Fraction

import numpy as np
from gguf import quants
from gguf.constants import GGMLQuantizationType as T

# Where a block's half-precision fields lie: scale, then min.
HALVES = {"q4_0": [0], "q4_1": [0, 2], "q5_0": [0], "q5_1": [0, 2], "q8_0": [0], "q1_0": [0], "q2_0": [0],
          "q2_k": [80, 82], "q3_k": [108], "q4_k": [0, 2], "q5_k": [0, 2], "q6_k": [208], "iq2_xxs": [0],
          "iq2_xs": [0], "iq2_s": [0], "iq3_xxs": [0], "iq3_s": [0], "iq1_s": [0], "iq4_nl": [0],
          "iq4_xs": [0], "tq1_0": [52], "tq2_0": [64], "f16": [0], "bf16": [0]}
SPECIAL = [0x0000, 0x8000, 0x0001, 0x8001, 0x03FF, 0x0400, 0x7BFF, 0xFBFF, 0x7C00, 0xFC00, 0x7E00, 0x3C00]
# Integer scales are odd numbers: the float scale is divided by this.
DIVISOR = {"iq2_xxs": 8, "iq2_xs": 8, "iq2_s": 8, "iq3_xxs": 4, "iq1_s": 8, "iq1_m": 8}
PRODUCT = {"q1_0": 32, "q2_0": 32, "nvfp4": 16}  # weights of a product block where a block holds several
HAS_MIN = ("q4_1", "q5_1", "q2_k", "q4_k", "q5_k")


def reference(name, blocks):
    """blocks: uint8 [n_blocks][block_bytes] -> float32, flat."""
    if name in ("q1_0", "q2_0"):  # ggml-quants.c: dequantize_row_q1_0, dequantize_row_q2_0
        d = blocks[:, :2].copy().view(np.float16).astype(np.float32)
        bits = 1 if name == "q1_0" else 2
        shifts = np.arange(0, 8, bits, dtype=np.uint8)
        q = (blocks[:, 2:, None] >> shifts) & ((1 << bits) - 1)
        q = q.reshape(len(blocks), -1).astype(np.int32)
        q = 2 * q - 1 if bits == 1 else q - 1
        with np.errstate(all="ignore"):
            return (q.astype(np.float32) * d).ravel()
    with np.errstate(all="ignore"):
        return quants.dequantize(blocks, T[name.upper()]).ravel()


def plant(name, blocks, d, m=None):
    """A copy with all scale fields set to d, and mins to m: 1.0 or 0.0 where numbers, bytes where arrays."""
    out = blocks.copy()
    for at, v in zip(HALVES.get(name, []), (d, m)):
        if v is not None:
            out[:, at : at + 2] = np.full((len(out), 1), v, dtype=np.float16).view(np.uint8)
    if name == "mxfp4":
        out[:, 0] = 128 if d else 0
    if name == "nvfp4":
        out[:, :4] = 0x40 if d else 0
    if name == "iq1_m":
        bits = np.float16(d).view(np.uint16)
        sc = out[:, 48:56].copy().view(np.uint16) & 0x0FFF
        sc |= ((bits >> np.array([0, 4, 8, 12], dtype=np.uint16)) & 15) << 12
        out[:, 48:56] = sc.view(np.uint8)
    return out


def scales(name, blocks):
    """The float scales d and m of every product block."""
    if name == "mxfp4":
        return quants.MXFP4.e8m0_to_fp32_half(blocks[:, 0]).ravel(), None
    if name == "nvfp4":
        return quants.NVFP4.ue4m3_to_fp32(blocks[:, :4]).astype(np.float32).ravel(), None
    if name == "iq1_m":
        sc = blocks[:, 48:56].copy().view(np.uint16) >> 12
        d = (sc << np.array([0, 4, 8, 12], dtype=np.uint16)).sum(axis=1).astype(np.uint16).view(np.float16)
        return d.astype(np.float32) / np.float32(8), None
    d, *m = [blocks[:, at : at + 2].copy().view(np.float16).astype(np.float32).ravel() for at in HALVES[name]]
    m = m[0] if m else None
    if m is not None and name.endswith("_k"):
        m = -m
    return d / np.float32(DIVISOR.get(name, 1)), m


def round32(x):
    """A Fraction to the nearest float32, ties to even (no overflow)."""
    f = np.float32(float(x))
    best = None
    for c in (np.nextafter(f, np.float32(-np.inf)), f, np.nextafter(f, np.float32(np.inf))):
        key = (abs(Fraction(float(c)) - x), int(c.view(np.uint32)) & 1)
        if best is None or key < best[0]:
            best = (key, c)
    return best[1]


def fma32(a, b, c):
    return round32(Fraction(float(a)) * Fraction(float(b)) + Fraction(float(c)))


def acts(x, act):
    xb = x.reshape(-1, act)
    amax = np.abs(xb).max(axis=1, keepdims=True)
    with np.errstate(all="ignore"):
        q = np.where(amax < np.float32(1e-30), np.float32(0), np.rint(xb * (np.float32(127) / amax)))
        d = np.where(amax < np.float32(1e-30), np.float32(0), amax / np.float32(127))
    return q.astype(np.int64).ravel(), d.astype(np.float32).ravel()


def dot(name, blocks, x, act):
    """The q8 product of a row of blocks (finite scales) with floats x, to the bit."""
    q, dx = acts(x, act)
    ints = reference(name, plant(name, blocks, 1.0, 0.0)) * np.float32(DIVISOR.get(name, 1))
    assert np.all(ints == np.rint(ints))
    ints = ints.astype(np.int64)
    d, m = scales(name, blocks)
    if name in HAS_MIN:
        mins = reference(name, plant(name, blocks, 0.0, 1.0)).astype(np.int64)
        mins = -mins if name.endswith("_k") else mins
    per = PRODUCT.get(name, len(ints) // len(blocks))
    d = np.repeat(d, len(ints) // per // len(d))
    acc = np.float32(0)
    for b in range(len(ints) // per):
        at = slice(b * per, (b + 1) * per)
        dxb = dx[b * per // act]
        acc = fma32(d[b] * dxb, np.float32(int(ints[at] @ q[at])), acc)
        if name in HAS_MIN:
            acc = fma32(m[b] * dxb, np.float32(int(mins[at] @ q[at])), acc)
    return acc
