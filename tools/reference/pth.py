"""Writes small PyTorch files, and checkpoints of LitGPT, that our readers are tested on.

usage: pth.py internal/pth/testdata internal/litgpt/testdata models/testdata/fixtures

The first directory gets files of torch.save, each with the tensors that it holds as safetensors; the second, for each of
two fixtures, lit_model.pth and model_config.yaml as LitGPT's own functions convert them. torch==2.15.0, litgpt==0.5.9.
"""
import contextlib, os, pathlib, sys

import torch
from litgpt.utils import incremental_save, save_config
from safetensors.torch import load_file, save_file

from litgpt_logits import FAMILIES, layer_types, litgpt_config
import json


class Code:
    def __reduce__(self):
        return os.system, ("echo this must not run",)


def write(out, name, obj, tensors=None, **kw):
    torch.save(obj, os.path.join(out, name + ".pth"), **kw)
    if tensors is not None:
        save_file({k: v.detach().clone().contiguous() for k, v in tensors.items()}, os.path.join(out, name + ".safetensors"))


def torch_files(out):
    os.makedirs(out, exist_ok=True)
    torch.manual_seed(7)
    a = torch.randn(3, 4)
    types = {"f32": a, "f16": a.half(), "bf16": a.bfloat16(), "f64": a.double(), "f8": a.to(torch.float8_e4m3fn), "i64": torch.arange(5), "i32": torch.arange(-2, 3, dtype=torch.int32),
             "i16": torch.tensor([-300, 300], dtype=torch.int16), "i8": torch.tensor([-3, 3], dtype=torch.int8), "u8": torch.tensor([3, 250], dtype=torch.uint8),
             "u16": torch.tensor([1, 65535], dtype=torch.uint16), "bool": torch.tensor([True, False])}
    b = torch.arange(120.0).reshape(4, 5, 6)
    views = {"whole": b, "rows": b[1:3], "transposed": b[2].t(), "every second": b[:, ::2, 1::3], "permuted": b.permute(2, 0, 1), "column": b[:, 4, 5], "scalar": torch.tensor(2.5),
             "empty": torch.zeros(0, 4), "size one": b[:, :1, 2:3], "parameter": torch.nn.Parameter(b[0, :2])}
    write(out, "types", dict(types), types)
    write(out, "views", dict(views), views)
    write(out, "protocol5", dict(types, **views), dict(types, **views), pickle_protocol=5)
    model = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.LayerNorm(3))
    optimizer = torch.optim.AdamW(model.parameters())
    model(a).sum().backward()
    optimizer.step()
    write(out, "state", {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "hparams": {"out_dir": pathlib.Path("out/pretrain"), "none": None, "large": 1 << 70, "negative": -5, "pi": 3.14},
                         "rng": b"\x00\xff", "iter_num": 300, "step_count": 70000}, model.state_dict())
    write(out, "expanded", {"a": a[:1].expand(100, 4)})
    write(out, "code", {"a": a, "b": Code()})
    write(out, "legacy", {"a": a}, _use_new_zipfile_serialization=False)


def litgpt_files(out, fixtures):
    for name in ("gptneox", "mixtral-tiny"):
        d, to = os.path.join(fixtures, name), pathlib.Path(out, name)
        to.mkdir(parents=True, exist_ok=True)
        c = json.load(open(os.path.join(d, "config.json")))
        published, copier = FAMILIES[c["architectures"][0]]
        config = litgpt_config(published, c, layer_types(d))
        save_config(config, to)
        weights, state = load_file(os.path.join(d, "model.safetensors")), {}
        with incremental_save(to / "lit_model.pth") as saver, contextlib.redirect_stdout(sys.stderr):  # as convert_hf_checkpoint does it
            convert = copier(config, {})
            convert(state, weights)
            state = {k: saver.store_early(v) for k, v in state.items()}
            saver.save(state)


if __name__ == "__main__":
    torch_files(sys.argv[1])
    litgpt_files(sys.argv[2], sys.argv[3])
