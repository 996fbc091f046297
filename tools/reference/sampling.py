"""Makes internal/sample/testdata/processors.json: what transformers' logits processors make of random logits.

usage: sampling.py    (in the repository's root; needs the packages of requirements.txt)

The order is LitGPT's: repetition penalty, presence and frequency penalties, bias, top_k, temperature, top_p, min_p.
Presence and frequency penalties are not in transformers; they are computed by the formula of OpenAI's documentation,
  mu[j] - c[j] * frequency - (c[j] > 0) * presence
with c[j] how often token j was generated.
"""
import json, random
import torch
from transformers.generation import logits_process as hf

OUT = "internal/sample/testdata/processors.json"
V = 24
random.seed(8)
torch.manual_seed(8)

cases = []
for i in range(80):
    pick = lambda *values: random.choice(values)
    c = {
        "temperature": pick(1.0, 1.0, 0.5, 1.7), "top_k": pick(0, 0, 3, 9, 20, 60), "top_p": pick(1.0, 1.0, 0.5, 0.83, 0.95),
        "min_p": pick(0.0, 0.0, 0.05, 0.3, 1.0), "repetition_penalty": pick(1.0, 1.3, 0.7, 5.0),
        "presence_penalty": pick(0.0, 0.6, -1.5), "frequency_penalty": pick(0.0, 0.25, -0.5),
    }
    bias = {str(random.randrange(V)): pick(-3.5, 2.0, 7.25, -99.0) for _ in range(pick(0, 0, 2, 5))}
    prompt = [random.randrange(V) for _ in range(random.randrange(6))]
    generated = [random.randrange(V) for _ in range(random.randrange(9))]
    if not prompt and not generated:
        prompt = [0]
    logits = (torch.randn(1, V) * pick(1, 3) * 256).round() / 256  # short to write, exact
    if i % 5 == 0:
        logits = (logits * 2).round() / 2  # ties, some of them of zero
    given = [float(x) for x in logits[0]]
    ids = torch.tensor([prompt + generated])
    scores = hf.RepetitionPenaltyLogitsProcessor(c["repetition_penalty"])(ids, logits)
    for t in set(generated):
        scores[0, t] -= c["presence_penalty"] + c["frequency_penalty"] * generated.count(t)
    for t, b in bias.items():
        scores[0, int(t)] += b
    if c["top_k"] > 0:
        scores = hf.TopKLogitsWarper(c["top_k"])(ids, scores)
        if i % 5 == 0:
            # transformers keeps all tokens that tie with the k-th, we the lowest ids of them
            kept = sorted(range(V), key=lambda t: (-float(scores[0, t]), t))[c["top_k"]:]
            scores[0, kept] = -float("inf")
    scores = hf.TemperatureLogitsWarper(c["temperature"])(ids, scores)
    if i % 5 == 0:
        c["top_p"] = 1.0  # which of two equal tokens transformers keeps depends on its sort
    if c["top_p"] < 1:
        scores = hf.TopPLogitsWarper(c["top_p"])(ids, scores)
    if c["min_p"] > 0:
        scores = hf.MinPLogitsWarper(c["min_p"])(ids, scores)
    want = torch.softmax(scores.double(), -1)[0]
    logprobs = torch.log_softmax(torch.tensor([given], dtype=torch.float64), -1)[0]
    cases.append({**c, "bias": bias, "prompt": prompt, "generated": generated, "logits": given,
                  "probabilities": [round(float(x), 8) for x in want], "logprobs": [round(float(x), 6) for x in logprobs]})

with open(OUT, "w") as f:
    f.write("[\n" + ",\n".join(json.dumps(c) for c in cases) + "\n]\n")
print(len(cases), "cases")
