"""Writes internal/tensor/testdata/adamw.json: what torch.optim.AdamW makes of a few vectors.

    python tools/reference/adamw.py > internal/tensor/testdata/adamw.json

Each case lists the gradients of some steps and the weights after each, in
float32 as a model is trained, with the settings of the optimizer.
"""
import json

import torch

CASES = [
    dict(lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-8, decay=0.01, n=5, steps=3),
    dict(lr=4e-4, beta1=0.9, beta2=0.95, eps=1e-8, decay=0.1, n=19, steps=4),
    dict(lr=2e-2, beta1=0.5, beta2=0.9, eps=1e-3, decay=0.0, n=3, steps=6),
    dict(lr=3e-4, beta1=0.9, beta2=0.95, eps=1e-8, decay=0.02, n=33, steps=2),
]


def run(case, seed):
    torch.manual_seed(seed)
    w = torch.nn.Parameter(torch.randn(case["n"]))
    optimizer = torch.optim.AdamW(
        [w], lr=case["lr"], betas=(case["beta1"], case["beta2"]), eps=case["eps"], weight_decay=case["decay"], foreach=False
    )
    out = {k: case[k] for k in ("lr", "beta1", "beta2", "eps", "decay")}
    out.update(start=w.tolist(), grads=[], weights=[])
    for step in range(case["steps"]):
        w.grad = torch.randn(case["n"]) * 10.0 ** -step  # gradients of several magnitudes
        w.grad[0] = 0
        optimizer.step()
        out["grads"].append(w.grad.tolist())
        out["weights"].append(w.tolist())
    state = optimizer.state[w]
    out.update(m=state["exp_avg"].tolist(), v=state["exp_avg_sq"].tolist())
    return out


print(json.dumps({"torch": torch.__version__, "cases": [run(c, i) for i, c in enumerate(CASES)]}))
