"""Writes a checkpoint whose layers have the values that bitsandbytes' quantization would leave.

    python bnb_quality.py CHECKPOINT OUT nf4|int8

CHECKPOINT is a directory with one model.safetensors in float32. The matrices of the layers are rounded: nf4 to the
sixteen values of NF4 in blocks of 64 with a float32 maximum each (https://arxiv.org/abs/2305.14314, table of
appendix E), int8 to 255 steps with a scale for each row (https://arxiv.org/abs/2208.07339, without its outliers, which
concern activations). docs/quantization.md compares them with GGML's types. Needs numpy only.
"""
import json
import os
import shutil
import struct
import sys

import numpy as np

NF4 = np.array([-1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635, -0.18477343022823334,
                -0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224,
                0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0], np.float32)


def nf4(w):
    blocks = w.reshape(-1, 64)
    scale = np.abs(blocks).max(1, keepdims=True)
    scale[scale == 0] = 1
    return (NF4[np.searchsorted((NF4[1:] + NF4[:-1]) / 2, blocks / scale)] * scale).reshape(w.shape)


def int8(w):
    scale = np.abs(w).max(1, keepdims=True) / 127
    scale[scale == 0] = 1
    return np.round(w / scale) * scale


def main(source, out, kind):
    rounded = {"nf4": nf4, "int8": int8}[kind]
    os.makedirs(out, exist_ok=True)
    for name in os.listdir(source):
        if not name.endswith(".safetensors"):
            shutil.copy(os.path.join(source, name), out)
    with open(os.path.join(source, "model.safetensors"), "rb") as f:
        raw = f.read()
    begin = 8 + struct.unpack("<Q", raw[:8])[0]
    data = np.frombuffer(raw[begin:], np.uint8).copy()
    for name, t in json.loads(raw[8:begin]).items():
        if "layers" not in name or len(t["shape"]) != 2:
            continue
        if t["dtype"] != "F32":
            sys.exit(f"{name} is {t['dtype']}; F32 wanted")
        a, b = t["data_offsets"]
        w = data[a:b].view(np.float32).reshape(t["shape"])
        w[:] = rounded(w.copy())
    with open(os.path.join(out, "model.safetensors"), "wb") as f:
        f.write(raw[:begin] + data.tobytes())


if __name__ == "__main__":
    if len(sys.argv) != 4 or sys.argv[3] not in ("nf4", "int8"):
        sys.exit(__doc__)
    main(*sys.argv[1:])
