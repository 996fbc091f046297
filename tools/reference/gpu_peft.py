"""Times what docs/performance.md compares with on a GPU: transformers, PEFT and torch.

    gpu_peft.py lora     SHAPE_DIR --batch 2 --seq 2048 [--recompute]
    gpu_peft.py full     SHAPE_DIR --batch 8 --seq 1024
    gpu_peft.py pretrain SHAPE_DIR --batch 16 --seq 1024 --compile
    gpu_peft.py decode   SHAPE_DIR --prompt 512 --tokens 128 [--compile]
    gpu_peft.py matmul   [--size 8192]

SHAPE_DIR holds a config.json (tools/shapes); weights and tokens are random, made on
the device, because speed does not depend on them. One process per line, so that
each has a peak memory of its own. Attention is torch's SDPA.

  lora      frozen weights in --dtype, LoRA of rank --rank on --targets in float32, AdamW
  full      all weights in --dtype, AdamW in --dtype
  pretrain  float32 weights under autocast to --dtype, fused AdamW: what mixed precision means in torch
  decode    greedy tokens after a prompt, batch 1; the prompt's time apart
  matmul    square products in --dtype through torch: the peak that can be had here

Prints one line of JSON: what was run, step_ms (median), tok_s, peak_mib (of torch's
allocator on a GPU, of the process on a CPU), loss. With --compile the model goes
through torch.compile; where that fails, "compiled" says why and plain figures follow.
"""
import argparse
import json
import resource
import statistics
import sys
import time
import warnings

import torch
import transformers

warnings.filterwarnings("ignore")
transformers.logging.set_verbosity_error()


def arguments():
    p = argparse.ArgumentParser()
    p.add_argument("mode", choices=["lora", "full", "pretrain", "decode", "matmul"])
    p.add_argument("shape", nargs="?", help="directory with a config.json")
    p.add_argument("--batch", type=int, default=2)
    p.add_argument("--seq", type=int, default=2048)
    p.add_argument("--steps", type=int, default=8)
    p.add_argument("--warmup", type=int, default=3)
    p.add_argument("--dtype", default="bfloat16", choices=["bfloat16", "float16", "float32"])
    p.add_argument("--rank", type=int, default=8)
    p.add_argument("--targets", default="q_proj,v_proj")
    p.add_argument("--recompute", action="store_true", help="gradient checkpointing")
    p.add_argument("--compile", action="store_true")
    p.add_argument("--prompt", type=int, default=512)
    p.add_argument("--tokens", type=int, default=128)
    p.add_argument("--size", type=int, default=8192)
    p.add_argument("--seconds", type=float, default=120, help="no further step is begun after this time")
    p.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    a = p.parse_args()
    if a.mode != "matmul" and not a.shape:
        p.error("a directory with a config.json is wanted")
    if a.device == "cuda" and not torch.cuda.is_available():
        p.error("torch sees no GPU")
    a.dtype = getattr(torch, a.dtype)
    return a


def synchronize(a):
    if a.device == "cuda":
        torch.cuda.synchronize()


def peak_mib(a):
    if a.device == "cuda":
        return torch.cuda.max_memory_allocated() >> 20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10


def build(a, dtype):
    """The model with random weights, made on the device without a copy on the host."""
    config = transformers.AutoConfig.from_pretrained(a.shape)
    torch.set_default_dtype(dtype)
    with torch.device(a.device):
        model = transformers.AutoModelForCausalLM.from_config(config, attn_implementation="sdpa")
    torch.set_default_dtype(torch.float32)
    return model.to(dtype)


def compiled(a, model):
    """The compiled model and what to say of it; a failure shows at the first call."""
    if not a.compile:
        return model, False
    return torch.compile(model), True


def tokens(a, model, shape):
    return torch.randint(5, model.config.vocab_size, shape, device=a.device)


def train(a, model, optimizer, autocast):
    """Steps over the same random tokens; returns figures."""
    model.train()
    ids = tokens(a, model, (a.batch, a.seq))
    run, was = compiled(a, model)
    times, loss, begin = [], None, time.time()

    def step():
        with torch.autocast(a.device, dtype=a.dtype, enabled=autocast):
            out = run(input_ids=ids, labels=ids, use_cache=False)
        out.loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return out.loss.detach()

    for i in range(a.warmup + a.steps):
        synchronize(a)
        start = time.time()
        try:
            loss = step()
        except Exception as e:  # torch.compile has many ways to fail
            if run is model:
                raise
            run, was = model, f"no: {type(e).__name__}: {str(e).splitlines()[0][:200]}"
            optimizer.zero_grad(set_to_none=True)
            loss = step()
        synchronize(a)
        if i >= a.warmup:
            times.append(time.time() - start)
        if times and time.time() - begin > a.seconds:
            break
    ms = 1000 * statistics.median(times)
    return dict(step_ms=round(ms, 2), tok_s=round(1000 * a.batch * a.seq / ms, 1), steps=len(times), loss=round(float(loss), 4), compiled=was)


def lora(a):
    from peft import LoraConfig, get_peft_model

    model = build(a, a.dtype)
    if a.recompute:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        model.enable_input_require_grads()
    targets = a.targets.split(",")
    model = get_peft_model(model, LoraConfig(r=a.rank, lora_alpha=2 * a.rank, lora_dropout=0.05, target_modules=targets))
    trained = [p for p in model.parameters() if p.requires_grad]
    return train(a, model, torch.optim.AdamW(trained, lr=2e-4, fused=a.device == "cuda"), False)


def full(a):
    model = build(a, a.dtype)
    if a.recompute:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    return train(a, model, torch.optim.AdamW(model.parameters(), lr=1e-5, fused=a.device == "cuda"), False)


def pretrain(a):
    torch.set_float32_matmul_precision("high")
    model = build(a, torch.float32)
    optimizer = torch.optim.AdamW(model.parameters(), lr=4e-4, betas=(0.9, 0.95), weight_decay=0.1, fused=a.device == "cuda")
    return train(a, model, optimizer, a.dtype != torch.float32)


@torch.inference_mode()
def decode(a):
    model = build(a, a.dtype).eval()
    model.generation_config.pad_token_id = 0
    ids = tokens(a, model, (1, a.prompt))
    out = {}

    def timed(n, **more):
        synchronize(a)
        start = time.time()
        got = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=n, min_new_tokens=n, do_sample=False, **more)
        synchronize(a)
        assert got.shape[1] == a.prompt + n, got.shape
        return time.time() - start

    def figures(name, **more):
        timed(4, **more)
        timed(a.tokens, **more)  # static caches compile for their length
        prompt = min(timed(1, **more) for _ in range(3))
        whole = min(timed(a.tokens, **more) for _ in range(2))
        out[name + "tok_s"] = round((a.tokens - 1) / (whole - prompt), 2)
        out[name + "prefill_tok_s"] = round(a.prompt / prompt, 1)

    figures("")
    if a.compile:
        try:
            figures("static_", cache_implementation="static")  # transformers compiles the step with CUDA graphs
            out["compiled"] = True
        except Exception as e:
            out["compiled"] = f"no: {type(e).__name__}: {str(e).splitlines()[0][:200]}"
    return out


def matmul(a):
    x = torch.randn(a.size, a.size, device=a.device, dtype=a.dtype)
    y = torch.randn(a.size, a.size, device=a.device, dtype=a.dtype)
    times = []
    for i in range(a.warmup + a.steps):
        synchronize(a)
        start = time.time()
        for _ in range(4):
            x @ y
        synchronize(a)
        if i >= a.warmup:
            times.append((time.time() - start) / 4)
    return dict(tflops=round(2 * a.size**3 / statistics.median(times) / 1e12, 3), size=a.size)


def main():
    a = arguments()
    torch.manual_seed(0)
    result = dict(mode=a.mode, shape=(a.shape or "").rstrip("/").split("/")[-1], device=torch.cuda.get_device_name() if a.device == "cuda" else "cpu",
                  torch=torch.__version__, transformers=transformers.__version__, dtype=str(a.dtype).removeprefix("torch."))
    if a.mode in ("lora", "full", "pretrain"):
        result.update(batch=a.batch, seq=a.seq, recompute=a.recompute)
    try:
        result.update({"lora": lora, "full": full, "pretrain": pretrain, "decode": decode, "matmul": matmul}[a.mode](a))
    except torch.cuda.OutOfMemoryError as e:
        print(f"gpu_peft: out of memory: {str(e).splitlines()[0]}", file=sys.stderr)
        sys.exit(1)
    result["peak_mib"] = peak_mib(a)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
