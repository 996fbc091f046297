"""What a step and a token cost on a GPU, on paper: FLOPs and bytes of each operation of the lowered graph.

python3 tools/reference/gpu_paper.py [SHAPE] [--batch 2] [--seq 2048] [--flops 788e12] [--bandwidth 4.3e12]

The numbers follow from the lowering (internal/tensor/cuda.go): intermediates are float32 in memory; a product converts its
float32 operand to BF16 once (the three of attention's input share one copy) and writes float32; nothing is fused. The card's
figures are an H200's as measured elsewhere: 788 TFLOP/s of bf16 products, 4.3 TB/s of copying. An operation takes the larger of its two times.
Needs no package.
"""
import argparse, json, pathlib

a = argparse.ArgumentParser()
a.add_argument("shape", nargs="?", default="llama-3-8b")
a.add_argument("--batch", type=int, default=2)
a.add_argument("--seq", type=int, default=2048)
a.add_argument("--flops", type=float, default=788e12)
a.add_argument("--bandwidth", type=float, default=4.3e12)
a.add_argument("--attention", type=float, default=150e12, help="FLOP/s that our attention kernels are expected to reach")
o = a.parse_args()
root = pathlib.Path(__file__).parent.parent / "shapes"
c = json.loads((root / o.shape / "config.json").read_text())
C, F, L, V = c["hidden_size"], c["intermediate_size"], c["num_hidden_layers"], c["vocab_size"]
H, K = c["num_attention_heads"], c["num_key_value_heads"]
D = c.get("head_dim") or C // H
N, T = o.batch * o.seq, o.seq
rows = []


def add(name, times, flops, bytes_, rate=None):
    seconds = times * max(flops / (rate or o.flops), bytes_ / o.bandwidth)
    rows.append((name, times * flops, times * bytes_, seconds))


def product(n, m, k):  # converted operand and weight read, result written
    return 2 * n * m * k, 2 * n * k + 2 * m * k + 4 * n * m


def total(title):
    f, b, s = (sum(r[i] for r in rows) for i in (1, 2, 3))
    print(f"\n{title}\n\n| operation | TFLOP | GB | ms | of the time |\n|---|---|---|---|---|")
    for n, fl, by, se in rows:
        print(f"| {n} | {fl / 1e12:.2f} | {by / 1e9:.2f} | {se * 1e3:.2f} | {100 * se / s:.0f} % |")
    print(f"| together | {f / 1e12:.2f} | {b / 1e9:.2f} | {s * 1e3:.2f} | |")
    rows.clear()
    return f, b, s


qkv, scores = (H + 2 * K) * D, 2 * o.batch * H * D * T * (T + 1) / 2
# A frozen base: forward, and the gradient with respect to the input; the weights themselves have none.
for name, times in (("forward", 1), ("backward, dx", 1)):
    f, b = (sum(x) for x in zip(product(N, qkv, C), product(N, C, H * D), product(N, 2 * F, C), product(N, C, F)))
    add(f"products of the layers, {name}", L * times, f, b)
add("operands to BF16", L, 0, 6 * N * (C + H * D + C + F) + 6 * N * (C + F * 2 + C + qkv))
add("attention, forward (2 products)", L, 2 * scores, 4 * N * (2 * H + 2 * K) * D, o.attention)
add("attention, backward (9 products in 3 kernels)", L, 9 * scores, 4 * 3 * N * (2 * H + 2 * K) * D, o.attention)
add("norms, forward and backward", 2 * L, 0, 4 * N * C * (2 + 3))
add("residual sums, forward and backward", 4 * L, 0, 12 * N * C)
add("SwiGLU, forward and backward", L, 0, 4 * N * F * (3 + 4 + 3))
add("rotary embedding, forward and backward", 2 * L, 0, 8 * N * (H + K) * D)
f, b = product(N, V, C)
add("head, forward and dx", 2, f, b)
add("loss, forward and backward", 1, 0, 4 * N * V * 3)
flops, _, seconds = total(f"LoRA step of {o.shape} on {o.batch} × {o.seq} tokens (adapters and optimizer left out: below 1 %)")
useful = 4 * N * (L * (C * qkv + H * D * C + 3 * C * F) + V * C)
print(f"\n{N / seconds:.0f} tokens/s on paper; {100 * useful / seconds / o.flops:.0f} % of the card's bf16 rate in the products a step needs")

add("weights of the layers", L, 2 * (C * qkv + H * D * C + 3 * C * F), 2 * (C * qkv + H * D * C + 3 * C * F))
add("weights of the head", 1, 2 * V * C, 2 * V * C)
add("KV cache, 2048 positions in F16", L, 4 * 2048 * H * D, 4 * 2048 * K * D)
add("all else", L, 0, 4 * (20 * C + 6 * F))
_, b, seconds = total("One token at batch 1, BF16")
print(f"\n{1 / seconds:.0f} tokens/s at the bandwidth of copying; launches are one CUDA graph")
