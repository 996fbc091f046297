#!/usr/bin/env python3
"""Writes internal/ggml/testdata/quantize.json: SHA-256 of what llama.cpp's library makes of the weights of
TestQuantizeAsLlamaCpp, for each quantized type, without and with importance.

    python3 ggml_quantize.py /path/to/llama.cpp/build/bin/libggml-base.so > ../../internal/ggml/testdata/quantize.json

The library has to be one for any x86-64, as llama.cpp's releases are: with fused products some codes differ.
"""

import ctypes
import hashlib
import json
import sys

import numpy as np

ROWS, COLS = 48, 512
TYPES = "Q4_0 Q4_1 Q5_0 Q5_1 Q8_0 Q2_K Q3_K Q4_K Q5_K Q6_K IQ4_NL IQ4_XS MXFP4".split()


def weights():
    """The same in quantize_test.go: about normal by rows of different sizes, some rows with what is rare."""
    s, v = 1, np.zeros((ROWS, COLS), np.float32)
    for r in range(ROWS):
        for c in range(COLS):
            total = 0
            for _ in range(4):
                s = (s * 1664525 + 1013904223) % 2**32
                total += s >> 8
            v[r, c] = np.float32((total - 2**25) / 2.0 ** (28 - r % 5))
    v[1] = 0
    v[2, :300] = 0
    v[3] = np.abs(v[3])
    v[4] = -np.abs(v[4])
    v[5] *= np.float32(2.0**-20)
    v[6] *= np.float32(2.0**13)
    v[7, ::7] *= np.float32(64)
    v[8] = np.float32(0.25)
    v[9] = np.round(v[9] * np.float32(64)) / np.float32(64)
    v[10] *= np.float32(2.0**-40)
    importance = np.zeros(COLS, np.float32)
    for c in range(COLS):
        s = (s * 1664525 + 1013904223) % 2**32
        importance[c] = np.float32((s >> 8) / 2.0**24)
    importance[::11] = 0
    return v, importance


def main():
    lib = ctypes.CDLL(sys.argv[1])
    v, importance = weights()
    pointer = lambda a: None if a is None else a.ctypes.data_as(ctypes.c_void_p)
    out = {}
    for name in TYPES:
        f = getattr(lib, "quantize_" + (name.replace("_K", "_k").lower().replace("_k", "_K")))
        f.restype = ctypes.c_size_t
        for with_importance in (False, True):
            raw = np.zeros(v.size * 4, np.uint8)
            n = f(pointer(v), pointer(raw), ctypes.c_int64(ROWS), ctypes.c_int64(COLS), pointer(importance if with_importance else None))
            out[name + ("+importance" if with_importance else "")] = hashlib.sha256(raw[:n].tobytes()).hexdigest()
    json.dump(out, sys.stdout, indent=1)
    print()


main()
