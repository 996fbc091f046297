"""Times the training step that docs/performance.md compares with.

usage: peft_step.py MODEL_DIR lora-f32|lora-bf16|full-f32 [STEPS]

Transformers and PEFT on two threads: 4 sequences of 256 tokens a step; LoRA of rank
8 on q_proj and v_proj with dropout 0.05, or all weights. One process per mode, so
that each has a peak memory of its own. Prints the median step's tokens per second.
"""
import resource
import statistics
import sys
import time

import torch
from transformers import AutoModelForCausalLM

model_dir, mode = sys.argv[1], sys.argv[2]
steps = int(sys.argv[3]) if len(sys.argv) > 3 else 5
torch.set_num_threads(2)
torch.manual_seed(0)
model = AutoModelForCausalLM.from_pretrained(model_dir, dtype=torch.bfloat16 if mode.endswith("bf16") else torch.float32)
if mode.startswith("lora"):
    from peft import LoraConfig, get_peft_model

    model = get_peft_model(model, LoraConfig(r=8, lora_alpha=16, lora_dropout=0.05, target_modules=["q_proj", "v_proj"]))
optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=2e-4)
ids = torch.randint(5, model.config.vocab_size - 100, (4, 256))
model.train()
times = []
for _ in range(steps):
    start = time.time()
    model(input_ids=ids, labels=ids).loss.backward()
    optimizer.step()
    optimizer.zero_grad()
    times.append(time.time() - start)
print(f"{mode}: {1024 / statistics.median(times):.1f} tok/s, peak {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024} MiB")
