"""Makes LitGPT's LoRA checkpoints of small models, and the logits that LitGPT computes with them.

usage: litgpt_lora.py OUT DIR...

DIR are checkpoints of LitGPT's (litgpt convert FIXTURE DIR --format litgpt), which get an adapter of random matrices, or what
LitGPT's finetune_lora made of one (OUT/final, from the directory it was run in). Each gives OUT/NAME with the files of
finetune_lora: lit_model.pth.lora, model_config.yaml, hyperparameters.yaml; and logits.json: ids, the logits behind the last
one with the adapter, and those of the base alone. torch==2.15.0, litgpt==0.5.9, float32.

recipes/testdata/litgpt_lora/llama2 is trained:

    litgpt finetune_lora base/llama2 --out_dir llama2 --precision 32-true --data JSON --data.json_path data.json
        --data.val_split_fraction 0.3 --train.max_steps 4 --train.epochs 10 --train.global_batch_size 2 --train.lr_warmup_steps 1
        --train.max_seq_length 64 --lora_r 4 --lora_alpha 8 --optimizer '{class_path: torch.optim.AdamW, init_args: {lr: 0.05}}'
"""
import json, os, shutil, sys

import torch
import yaml
from litgpt.lora import GPT, Config, lora_filter

torch.set_num_threads(1)
torch.manual_seed(7)

# What is adapted: combinations in which rows move in different ways.
SETTINGS = {
    "gptneox": dict(lora_query=True, lora_value=False, lora_key=True, lora_projection=True, lora_mlp=True, lora_head=True),
    "phi3-window": dict(lora_key=True, lora_value=True, lora_mlp=True),
    "mixtral-tiny": dict(lora_query=True, lora_key=True, lora_value=True, lora_mlp=True),
}

out = sys.argv[1]
for base in sys.argv[2:]:
    trained = os.path.exists(os.path.join(base, "lit_model.pth.lora")) and base
    if trained:
        name = os.path.basename(os.path.dirname(trained))
        settings = yaml.safe_load(open(os.path.join(trained, "hyperparameters.yaml")))
        base = settings["checkpoint_dir"]
    else:
        name = os.path.basename(base)
        switches = {f"lora_{k}": False for k in ("query", "key", "value", "projection", "mlp", "head")} | SETTINGS[name]
        settings = {"checkpoint_dir": base, "precision": "32-true", "lora_r": 2, "lora_alpha": 6, "lora_dropout": 0.0, **switches, "seed": 7}
    config = Config.from_file(os.path.join(base, "model_config.yaml"), **{k: v for k, v in settings.items() if k.startswith("lora_")})
    model = GPT(config).eval()
    missing = model.load_state_dict(torch.load(os.path.join(base, "lit_model.pth")), strict=False)
    assert not missing.unexpected_keys and all(lora_filter(k, None) for k in missing.missing_keys), missing
    ids = [(5 * i * i + 3 * i + 1) % config.vocab_size for i in range(9)]
    d = os.path.join(out, name)
    os.makedirs(d, exist_ok=True)
    with torch.no_grad():
        plain = model(torch.tensor([ids]))[0, -1]
        if trained:
            shutil.copy(os.path.join(trained, "lit_model.pth.lora"), d)
            shutil.copy(os.path.join(trained, "hyperparameters.yaml"), d)
            model.load_state_dict(torch.load(os.path.join(d, "lit_model.pth.lora"))["model"], strict=False)
        else:
            for k, v in model.named_parameters():
                if lora_filter(k, v):
                    v.normal_(0, 0.15)
            torch.save({"model": {k: v for k, v in model.state_dict().items() if lora_filter(k, v)}}, os.path.join(d, "lit_model.pth.lora"))
            with open(os.path.join(d, "hyperparameters.yaml"), "w") as f:
                yaml.safe_dump(settings, f, sort_keys=False)
        adapted = model(torch.tensor([ids]))[0, -1]
    shutil.copy(os.path.join(base, "model_config.yaml"), d)
    with open(os.path.join(d, "logits.json"), "w") as f:
        json.dump({"ids": ids, "base": plain.tolist(), "logits": adapted.tolist()}, f)
    print(name, (adapted - plain).abs().max().item())
