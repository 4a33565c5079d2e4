#!/usr/bin/env python3
"""GGUF files that gguf-py writes are read as meant, single and split; files that our writer writes are read
by gguf-py with the same keys and tensors.

    python3 tests/references/run_gguf.py [build/tests/references/gguf_tool]
"""
import glob
import os
import struct
import subprocess
import sys
import tempfile

import numpy as np
from gguf import GGUFReader, GGUFWriter
from gguf.constants import GGMLQuantizationType as T
from gguf.constants import GGUFValueType as V
from gguf.quants import quant_shape_to_byte_shape

tool = sys.argv[1] if len(sys.argv) > 1 else os.environ.get("B", "build") + "/tests/references/gguf_tool"
FORMAT = {V.UINT8: "B", V.INT8: "b", V.UINT16: "H", V.INT16: "h", V.UINT32: "I", V.INT32: "i", V.FLOAT32: "f",
          V.BOOL: "?", V.UINT64: "Q", V.INT64: "q", V.FLOAT64: "d"}
rng = np.random.default_rng(1)
KEYS = [("u8", 200, V.UINT8), ("i8", -100, V.INT8), ("u16", 60000, V.UINT16), ("i16", -30000, V.INT16),
        ("u32", 4000000000, V.UINT32), ("i32", -2000000000, V.INT32), ("f32", 0.1, V.FLOAT32),
        ("yes", True, V.BOOL), ("u64", 2**64 - 1, V.UINT64), ("i64", -2**63, V.INT64),
        ("f64", 0.1, V.FLOAT64), ("text", "grüße 世界\n", V.STRING)]
SHAPES = [(T.F32, (4, 8)), (T.F16, (3, 5, 7)), (T.Q4_K, (6, 512)), (T.IQ1_M, (2, 256)), (T.MXFP4, (2, 3, 64)),
          (T.NVFP4, (5, 128)), (T.I8, (3,)), (T.BF16, (2, 2, 2, 2))]
NO_ARRAY = ("u32", "u64", "i64")  # gguf-py writes arrays of Python integers as int32


def raw(value, kind):
    if kind == V.STRING:
        b = value.encode()
        return struct.pack("<Q", len(b)) + b
    return struct.pack("<" + FORMAT[kind], value)


def write_python(path, **kw):
    w = GGUFWriter(path, "llama", **kw)
    for name, value, kind in KEYS:
        w.add_key_value("k." + name, value, kind)
        if name not in NO_ARRAY:
            w.add_array("a." + name, [value] * 3)
    tensors = {}
    for i, (kind, shape) in enumerate(SHAPES):
        data = rng.integers(0, 256, 8192, dtype=np.uint8)
        bytes_shape = quant_shape_to_byte_shape(shape, kind)
        data = data[: int(np.prod(bytes_shape))].reshape(bytes_shape)
        w.add_tensor(f"blk.{i}.weight", data, raw_shape=bytes_shape, raw_dtype=kind)
        tensors[f"blk.{i}.weight"] = (kind, shape, data.tobytes())
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()
    return tensors


def dump(path):
    kv, tensors = {}, {}
    out = subprocess.run([tool, "dump", path], stdout=subprocess.PIPE, check=True).stdout.decode()
    for line in out.splitlines():
        f = line.split(" ")
        if f[0] == "kv":
            kv[f[1]] = (int(f[2]), int(f[3]), int(f[4]), bytes.fromhex(f[5]))
        else:
            tensors[f[1]] = [int(x) for x in f[2:]]
    return kv, tensors


def check_tensors(paths, got, want):
    assert set(got) == set(want), f"tensors {set(got) ^ set(want)}"
    for name, (kind, shape, data) in want.items():
        t = got[name]
        assert t[0] == kind and t[1] == len(shape), name
        assert tuple(t[2:6]) == tuple(reversed(shape)) + (1,) * (4 - len(shape)), name
        with open(paths[t[6]], "rb") as f:
            f.seek(t[7])
            assert t[8] == len(data) and f.read(t[8]) == data, name


def check_keys(kv):
    for name, value, kind in KEYS:
        assert kv["k." + name] == (kind, kind, 1, raw(value, kind)), name
        if name in NO_ARRAY:
            continue
        got = kv["a." + name]
        assert got[0] == V.ARRAY and got[2] == 3 and got[3] == raw(value, V(got[1])) * 3, name


with tempfile.TemporaryDirectory() as d:
    single = d + "/one.gguf"
    tensors = write_python(single)
    kv, got = dump(single)
    check_keys(kv)
    check_tensors([single], got, tensors)

    tensors = write_python(d + "/m.gguf", split_max_tensors=3)
    parts = sorted(glob.glob(d + "/m-*.gguf"))
    assert len(parts) > 2
    kv, got = dump(parts[1])
    check_keys(kv)
    check_tensors(parts, got, tensors)

    ours = d + "/ours.gguf"
    subprocess.run([tool, "copy", single, ours], check=True)
    a, b = GGUFReader(single), GGUFReader(ours)
    keys = [k for k in a.fields if not k.startswith("GGUF.")]
    assert keys == [k for k in b.fields if not k.startswith("GGUF.")]
    for k in keys:
        assert a.fields[k].types == b.fields[k].types, k
        assert str(a.fields[k].contents()) == str(b.fields[k].contents()), k
    assert [t.name for t in a.tensors] == [t.name for t in b.tensors]
    for s, t in zip(a.tensors, b.tensors):
        assert s.tensor_type == t.tensor_type and list(s.shape) == list(t.shape), s.name
        assert s.data.tobytes() == t.data.tobytes(), s.name
print("gguf: files of gguf-py and of our writer read alike")
