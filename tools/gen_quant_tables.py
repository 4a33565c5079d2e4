#!/usr/bin/env python3
"""Writes src/kernels/quant_tables.c from the grids of the `gguf` package (PyPI).

The grids are facts of the IQ formats (ggml-common.h: iq2xxs_grid, iq2xs_grid, iq2s_grid, iq3xxs_grid,
iq3s_grid, iq1s_grid, ksigns_iq2xs, kvalues_iq4nl, kvalues_mxfp4).

    python3 tools/gen_quant_tables.py > src/kernels/quant_tables.c
"""
import numpy as np
from gguf import quants


def grid(cls):
    cls.init_grid()
    g = cls.grid.reshape(cls.grid_shape)
    assert np.all(g == np.rint(g))
    return g.astype(np.int8)


def emit(ctype, name, rows, per_line, fmt):
    print(f"const {ctype} quant_tables_{name}[{len(rows)}] = {{")
    for i in range(0, len(rows), per_line):
        print("    " + " ".join(fmt(v) + "," for v in rows[i : i + per_line]))
    print("};\n")


def words(g, n_bytes):
    return [int.from_bytes(r.tobytes(), "little") for r in g] if g.shape[1] == n_bytes else None


print("""/* quant_tables: see quant_tables.h.  Written by tools/gen_quant_tables.py; do not edit. */
#include "kernels/quant_tables.h"
""")
for name, cls in (("iq2xxs", quants.IQ2_XXS), ("iq2xs", quants.IQ2_XS), ("iq2s", quants.IQ2_S),
                  ("iq1s", quants.IQ1_S)):
    emit("uint64_t", name, words(grid(cls), 8), 5, lambda v: f"0x{v:016x}")
for name, cls in (("iq3xxs", quants.IQ3_XXS), ("iq3s", quants.IQ3_S)):
    emit("uint32_t", name, words(grid(cls), 4), 8, lambda v: f"0x{v:08x}")
emit("uint8_t", "ksigns", list(quants.IQ2_XXS.ksigns), 16, lambda v: f"0x{v:02x}")
emit("int8_t", "iq4nl", list(quants.IQ4_NL.kvalues), 16, str)
emit("int8_t", "fp4", list(quants.MXFP4.kvalues), 16, str)
