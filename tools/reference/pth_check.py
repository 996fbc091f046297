"""Checks with PyTorch and LitGPT what internal/pth and internal/litgpt read and write.

usage: pth_check.py theirs OUT FIXTURE...     LitGPT converts each fixture to OUT/theirs/NAME, with the logits it computes
       LITGPT_LIT=OUT LITGPT_FIXTURES=... go test ./internal/litgpt     reads those, and writes OUT/ours/NAME
       pth_check.py ours OUT FIXTURE...       LitGPT loads OUT/ours/NAME: logits against those of transformers, and of its own file

       pth_check.py names OUT                 between the two: LitGPT's model_config.yaml of all its names to OUT/theirnames, and how OUT/names differ

FIXTURE are directories as models/testdata/fixtures/README.md describes. torch==2.15.0, litgpt==0.5.9, float32.
"""
import contextlib, json, os, pathlib, sys, warnings

warnings.filterwarnings("ignore")
import torch
from litgpt.config import Config
from litgpt.model import GPT
from litgpt.utils import incremental_save, lazy_load, save_config
from safetensors.torch import load_file, save_file

from litgpt_logits import FAMILIES, VARIANTS, first, layer_types, litgpt_config

torch.set_num_threads(1)


def texts(d):
    inputs = json.load(open(os.path.join(d, "reference/inputs.json")))
    return {"logits": torch.tensor(inputs["ids"]), "logits_long": torch.tensor(inputs["long"])}


def logits(config, state, d):
    model = GPT(config).eval()
    model.load_state_dict(state)
    with torch.no_grad():
        return {k: model(ids) for k, ids in texts(d).items()}


def worst(a, b):
    return max((a[k] - b[k]).abs().max().item() for k in ("logits", "logits_long"))


def theirs(out, d):
    name = os.path.basename(d)
    c = json.load(open(os.path.join(d, "config.json")))
    arch = c["architectures"][0]
    if arch not in FAMILIES:
        return f"LitGPT's scripts have no {arch}"
    published, copier = FAMILIES[arch]
    c = c.get("text_config", c)
    if arch in VARIANTS and VARIANTS[arch][0](c):
        published = VARIANTS[arch][1]
    config = litgpt_config(published, c, layer_types(d))
    config.norm_eps = first(c, "rms_norm_eps", "layer_norm_eps", "layer_norm_epsilon")
    state = {}
    with contextlib.redirect_stdout(sys.stderr):
        try:
            copier(config, {})(state, load_file(os.path.join(d, "model.safetensors")))
        except KeyError as e:
            return f"LitGPT's script for {published} has no {e.args[0]}"
    state.setdefault("lm_head.weight", state["transformer.wte.weight"])  # a tied head, which not all of its functions know
    if missing := set(GPT(config).state_dict()) - set(state):
        return f"LitGPT's {published} needs {min(missing)}"
    to = pathlib.Path(out, "theirs", name)
    to.mkdir(parents=True, exist_ok=True)
    save_config(config, to)
    save_file({k: v.contiguous() for k, v in logits(config, state, d).items()}, to / "logits.safetensors")
    with incremental_save(to / "lit_model.pth") as saver:
        saver.save({k: saver.store_early(v) for k, v in state.items()})
    return f"as {published}"


def ours(out, d):
    name = os.path.basename(d)
    to = pathlib.Path(out, "ours", name)
    if not to.is_dir():
        return "not written: LitGPT cannot express it"
    config = Config.from_file(to / "model_config.yaml")
    state = torch.load(to / "lit_model.pth", weights_only=True)
    mapped = torch.load(to / "lit_model.pth", weights_only=True, mmap=True)
    lazy = lazy_load(to / "lit_model.pth")
    assert list(state) == list(mapped) == list(lazy)
    assert all(torch.equal(state[k], mapped[k]) and torch.equal(state[k], lazy[k]._load_tensor() if hasattr(lazy[k], "_load_tensor") else lazy[k]) for k in state)
    got = logits(config, state, d)
    line = f"as {config.name}: {worst(got, load_file(os.path.join(d, 'reference/outputs.safetensors'))):.1e} from transformers"
    other = pathlib.Path(out, "theirs", name)
    if other.is_dir():
        same = torch.load(other / "lit_model.pth", weights_only=True)
        equal = set(same) == set(state) and all(torch.equal(same[k], state[k]) for k in same)
        line += f", {worst(got, load_file(other / 'logits.safetensors')):.1e} from LitGPT's own file" + (", weights equal" if equal else ", WEIGHTS DIFFER")
    return line


def names(out):
    from litgpt.config import name_to_config

    to = pathlib.Path(out, "theirnames")
    to.mkdir(parents=True, exist_ok=True)
    for name in name_to_config:
        config = Config.from_name(name)
        save_config(config, to)
        os.rename(to / "model_config.yaml", to / f"{name}.yaml")
        file = pathlib.Path(out, "names", f"{name}.yaml")
        if not file.exists():
            print(f"{name}: not written")
            continue
        ours = Config.from_file(file)
        differ = {k: (v, getattr(ours, k)) for k, v in vars(config).items() if v != getattr(ours, k) and k not in ("vocab_size", "padding_multiple", "rotary_percentage", "gelu_approximate")}
        if ours.norm_class.__class__ != config.norm_class.__class__ or differ:
            print(f"{name}: LitGPT's, ours {differ}")


if __name__ == "__main__":
    if sys.argv[1] == "names":
        names(sys.argv[2])
    for d in sys.argv[3:]:
        d = d.rstrip("/")
        print(f"{os.path.basename(d):18s} {dict(theirs=theirs, ours=ours)[sys.argv[1]](sys.argv[2], d)}", flush=True)
