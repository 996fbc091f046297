"""Writes tiny random checkpoints of the model families with what transformers and PEFT compute from them.

usage: fixtures.py OUT [NAME...]

Each OUT/NAME/ is a Hugging Face checkpoint in the format that models/testdata/fixtures/README.md describes.
Where the larger fixtures have even numbers these do not: heads, vocabularies, windows as long as the text or longer.
"""
import json, os, shutil, sys

import peft, torch
import transformers as tf
from safetensors.torch import load_file, save_file

SEED = 20261121
T, LONG = 24, 80
torch.set_num_threads(1)


def base(**kw):
    d = dict(vocab_size=101, hidden_size=30, intermediate_size=44, num_hidden_layers=1, num_attention_heads=3, num_key_value_heads=1,
             max_position_embeddings=128, rms_norm_eps=1e-6, bos_token_id=1, eos_token_id=2, pad_token_id=0, attention_dropout=0.0)
    d.update(kw)
    return d


def rope(theta, **scaling):
    return dict(rope_parameters=dict(dict(rope_type="default"), rope_theta=theta, **scaling))


def gemma3(**kw):
    full, local = dict(rope_theta=1e6, rope_type="default"), dict(rope_theta=10000.0, rope_type="default")
    return tf.Gemma3TextConfig(**base(vocab_size=71, num_hidden_layers=3, sliding_window_pattern=2, head_dim=12, query_pre_attn_scalar=10, sliding_window=5,
                                      rope_parameters=dict(full_attention=full, sliding_attention=local), **kw))


def families():
    """Yields name, architecture, configuration."""
    yield "mistral-small", "MistralForCausalLM", tf.MistralConfig(**base(sliding_window=T, tie_word_embeddings=True, **rope(10000.0)))
    yield "qwen2.5-yarn", "Qwen2ForCausalLM", tf.Qwen2Config(**base(
        vocab_size=61, hidden_size=40, num_attention_heads=5, num_key_value_heads=5, num_hidden_layers=2, tie_word_embeddings=False,
        use_sliding_window=True, sliding_window=7, max_window_layers=1, **rope(10000.0, rope_type="yarn", factor=4.0, original_max_position_embeddings=32)))
    yield "qwen3-small", "Qwen3ForCausalLM", tf.Qwen3Config(**base(num_key_value_heads=3, head_dim=14, tie_word_embeddings=True, attention_bias=True, **rope(1e6)))
    yield "gemma-small", "GemmaForCausalLM", tf.GemmaConfig(**base(hidden_size=28, num_key_value_heads=3, head_dim=10, **rope(10000.0)))
    yield "gemma2-small", "Gemma2ForCausalLM", tf.Gemma2Config(**base(
        vocab_size=71, num_attention_heads=5, num_hidden_layers=3, head_dim=8, query_pre_attn_scalar=12, sliding_window=100,
        attn_logit_softcapping=4.0, final_logit_softcapping=3.0, **rope(10000.0)))
    yield "gemma3-small", "Gemma3ForCausalLM", gemma3(attention_bias=True, tie_word_embeddings=False, final_logit_softcapping=5.0)
    yield "gemma3-vision", "Gemma3ForConditionalGeneration", tf.Gemma3Config(
        text_config=gemma3().to_dict(), mm_tokens_per_image=4, image_token_index=70, boi_token_index=68, eoi_token_index=69,
        vision_config=dict(hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=2, image_size=8, patch_size=4))
    yield "smollm3", "SmolLM3ForCausalLM", tf.SmolLM3Config(**base(
        vocab_size=60, hidden_size=32, num_attention_heads=4, num_key_value_heads=2, num_hidden_layers=4, intermediate_size=32, **rope(5e6)))
    yield "smollm3-window", "SmolLM3ForCausalLM", tf.SmolLM3Config(**base(
        num_hidden_layers=2, no_rope_layers=[0, 1], use_sliding_window=True, sliding_window=6, tie_word_embeddings=False,
        mlp_bias=True, **rope(2e6)))  # no attention_bias: without rotation the gradient of the keys' bias is zero, and its direction rounding
    yield "olmo2", "Olmo2ForCausalLM", tf.Olmo2Config(**base(
        vocab_size=96, hidden_size=32, num_attention_heads=4, num_key_value_heads=2, num_hidden_layers=2, **rope(500000.0)))
    yield "olmo2-small", "Olmo2ForCausalLM", tf.Olmo2Config(**base(vocab_size=103, num_key_value_heads=3, tie_word_embeddings=True, attention_bias=True, **rope(10000.0)))


def randomize(model, gen):
    """Every weight matters: norms near one (Gemma's near zero), biases that are not zero, weights large enough to bend attention."""
    zero = 0.0 if "Gemma" in type(model).__name__ else 1.0
    tied = model.config.get_text_config().tie_word_embeddings
    for name, p in model.named_parameters():
        r = torch.randn(p.shape, generator=gen)
        with torch.no_grad():
            if "norm" in name.lower(): p.copy_(0.1 * r if name.endswith("bias") else zero + 0.2 * r)
            elif name.endswith("bias"): p.copy_(0.2 * r)
            elif "embed" in name: p.copy_(0.3 * r if tied else r)
            else: p.copy_(r * (1.6 / p.shape[-1] ** 0.5))


def cross_entropy(logits, labels):
    return torch.nn.functional.cross_entropy(logits[:, :-1].reshape(-1, logits.shape[-1]), labels[:, 1:].reshape(-1), ignore_index=-100)


def adamw(model, params, batches, lr, decay):
    opt = torch.optim.AdamW(params, lr=lr, betas=(0.9, 0.95), eps=1e-8, weight_decay=decay)
    losses, norms = [], []
    for ids in batches:
        opt.zero_grad()
        loss = cross_entropy(model(input_ids=ids).logits, ids)
        loss.backward()
        norms.append(torch.nn.utils.clip_grad_norm_(params, 1.0).item())
        opt.step()
        losses.append(loss.item())
    return losses, norms


def language(model):
    """The parameters that a text reaches."""
    return {n: p for n, p in model.named_parameters() if "vision_tower" not in n and "multi_modal_projector" not in n}


def write(out, name, arch, cfg, seed):
    d = os.path.join(out, name)
    ref = os.path.join(d, "reference")
    shutil.rmtree(d, ignore_errors=True)
    os.makedirs(ref)
    gen = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    vocab = cfg.get_text_config().vocab_size
    ids_below = vocab - 3 if arch.endswith("ConditionalGeneration") else vocab  # the last ids mark an image
    tokens = lambda *shape: torch.randint(3, ids_below, shape, generator=gen)
    make = lambda: getattr(tf, arch)._from_config(cfg, attn_implementation="eager").float().eval()
    model = make()
    randomize(model, gen)
    model.config.architectures = [arch]
    model.save_pretrained(d)
    os.remove(os.path.join(d, "generation_config.json"))
    state = {k: v.clone() for k, v in model.state_dict().items()}

    def copy():
        m = make()
        m.load_state_dict(state)
        m.tie_weights()
        return m

    ids, long = tokens(2, T), tokens(1, LONG)
    batches = [tokens(2, 16) for _ in range(3)] * 4
    labels = ids.clone()
    labels[0, :7], labels[1, 20:] = -100, -100
    outputs, results = {}, {}
    with torch.no_grad():
        outputs["logits"], outputs["logits_long"] = model(input_ids=ids).logits, model(input_ids=long).logits
        results["loss_masked"] = cross_entropy(outputs["logits"], labels).item()
    loss = cross_entropy(model(input_ids=ids).logits, ids)
    loss.backward()
    results["loss"] = loss.item()
    grads = {n: p.grad for n, p in model.named_parameters() if p.grad is not None}
    cur, gaps = ids[:1, :8], []
    with torch.no_grad():
        for _ in range(24):  # from the start each time: no cache is trusted
            scores = model(input_ids=cur).logits[0, -1]
            best = scores.topk(2).values
            gaps.append((best[0] - best[1]).item())
            cur = torch.cat([cur, scores.argmax().view(1, 1)], 1)
    results["greedy"] = cur[0, 8:].tolist()

    full = copy().train()
    results["full_losses"], results["full_grad_norms"] = adamw(full, list(language(full).values()), batches, 1e-3, 0.1)
    outputs["full_final_logits"] = full.eval()(input_ids=ids).logits.detach()

    torch.manual_seed(seed)
    tuned = peft.get_peft_model(copy(), peft.LoraConfig(r=4, lora_alpha=8, lora_dropout=0.0, target_modules=r"(?!.*vision_tower).*\.(q_proj|v_proj)", task_type="CAUSAL_LM"))
    tuned.save_pretrained(os.path.join(ref, "adapter"))
    trained = [p for p in tuned.parameters() if p.requires_grad]
    results["lora_losses"], results["lora_grad_norms"] = adamw(tuned.train(), trained, batches, 1e-2, 0.0)
    tuned.eval().save_pretrained(os.path.join(ref, "adapter_trained"))
    outputs["lora_logits"] = tuned(input_ids=ids).logits.detach()
    results["lora_trainable"] = sum(p.numel() for p in trained)
    results["parameters"] = sum(p.numel() for p in {id(p): p for p in language(model).values()}.values())

    save_file({k: v.contiguous() for k, v in outputs.items()}, os.path.join(ref, "outputs.safetensors"))
    save_file({k: v.contiguous() for k, v in grads.items()}, os.path.join(ref, "grads.safetensors"))
    for a in ("adapter", "adapter_trained"):
        os.remove(os.path.join(ref, a, "README.md"))
        text_names(os.path.join(ref, a))
    json.dump(dict(ids=ids.tolist(), labels_masked=labels.tolist(), long=long.tolist(), prompt=ids[0, :8].tolist(), batches=[b.tolist() for b in batches],
                   adamw=dict(betas=[0.9, 0.95], eps=1e-8, clip_norm=1.0, full=dict(lr=1e-3, weight_decay=0.1), lora=dict(lr=1e-2, weight_decay=0.0))),
              open(os.path.join(ref, "inputs.json"), "w"))
    json.dump(results, open(os.path.join(ref, "results.json"), "w"), indent=1)
    spell(d)
    print(f"{name:16s} {results['parameters']:6d} parameters, loss {results['loss']:.4f}, full {results['full_losses'][0]:.3f} to {results['full_losses'][-1]:.3f}, "
          f"LoRA {results['lora_losses'][0]:.3f} to {results['lora_losses'][-1]:.3f}, smallest greedy gap {min(gaps):.4f}", flush=True)


def text_names(adapter):
    """Names an adapter's weights as PEFT does for the text model alone, and its targets by a list."""
    path = os.path.join(adapter, "adapter_model.safetensors")
    weights = load_file(path)
    save_file({k.replace("model.language_model.", "model."): v for k, v in weights.items()}, path, metadata=dict(format="pt"))
    path = os.path.join(adapter, "adapter_config.json")
    c = json.load(open(path))
    c["target_modules"] = ["q_proj", "v_proj"]
    json.dump(c, open(path, "w"), indent=1)


def spell(d):
    """Published checkpoints mostly carry the spelling of transformers 4: config.json gets it, config_v5.json keeps today's."""
    c = json.load(open(os.path.join(d, "config.json")))
    json.dump(c, open(os.path.join(d, "config_v5.json"), "w"), indent=1)
    c["transformers_version"] = "4.51.0"
    c["torch_dtype"] = c.pop("dtype")
    text = c.get("text_config", c)
    text.pop("dtype", None)
    text.pop("layer_types", None)
    r = text.pop("rope_parameters")
    if "full_attention" in r:
        text["rope_theta"], text["rope_local_base_freq"] = r["full_attention"]["rope_theta"], r["sliding_attention"]["rope_theta"]
        text["rope_scaling"], text["sliding_window_pattern"] = None, text.pop("_sliding_window_pattern")
    else:
        text["rope_theta"] = r.pop("rope_theta")
        kind = r.pop("rope_type")
        text["rope_scaling"] = None if kind == "default" else dict(r, type=kind)
    json.dump(c, open(os.path.join(d, "config.json"), "w"), indent=1)


if __name__ == "__main__":
    for i, (name, arch, cfg) in enumerate(families()):
        if not sys.argv[2:] or name in sys.argv[2:]:
            write(sys.argv[1], name, arch, cfg, SEED + i)
