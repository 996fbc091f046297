"""Compares LitGPT's logits with those of transformers on the same weights.

usage: litgpt_logits.py FIXTURE...    (directories as models/testdata/fixtures/README.md describes)

A family's behaviour (norms, biases, activation, order of the layers) is that of LitGPT's own configuration of a
published model, its numbers (sizes, frequencies, windows, caps) are the fixture's, the weights are converted by
LitGPT's own functions. Each line gives the largest absolute difference over the short and the long text, with the
norms' epsilon of LitGPT's configuration and with that of config.json. litgpt==0.5.9, torch==2.15.0, float32.
"""
import contextlib, dataclasses, json, os, sys, warnings

warnings.filterwarnings("ignore")
import torch
from litgpt.config import Config
from litgpt.model import GPT
from litgpt.scripts import convert_hf_checkpoint as convert
from safetensors.torch import load_file

# architecture: LitGPT's name of a published model, and what converts its weights
FAMILIES = {
    "LlamaForCausalLM": ("Llama-3.1-8B", lambda c, q: lambda sd, w: convert.copy_weights_hf_llama(c, q, sd, w)),
    "MistralForCausalLM": ("Mistral-7B-v0.1", lambda c, q: lambda sd, w: convert.copy_weights_hf_llama(c, q, sd, w)),
    "GemmaForCausalLM": ("Gemma-2b", lambda c, q: lambda sd, w: convert.copy_weights_hf_llama(c, q, sd, w)),
    "Gemma2ForCausalLM": ("Gemma-2-2b", lambda c, q: lambda sd, w: convert.copy_weights_gemma_2(q, sd, w)),
    "Gemma3ForCausalLM": ("Gemma-3-1b-it", lambda c, q: lambda sd, w: convert.copy_weights_gemma_3(q, sd, w, config=c)),
    "Gemma3ForConditionalGeneration": ("Gemma-3-4b-it", lambda c, q: lambda sd, w: convert.copy_weights_gemma_3(q, sd, w, config=c)),
    "Qwen2ForCausalLM": ("Qwen2.5-0.5B", lambda c, q: lambda sd, w: convert.copy_weights_qwen_2_5(c, q, sd, w)),
    "Qwen3ForCausalLM": ("Qwen3-0.6B", lambda c, q: lambda sd, w: convert.copy_weights_qwen_3(c, q, sd, w)),
    "MixtralForCausalLM": ("Mixtral-8x7B-v0.1", lambda c, q: lambda sd, w: convert.copy_weights_hf_llama(c, q, sd, w)),
    "StableLmForCausalLM": ("stablelm-zephyr-3b", lambda c, q: lambda sd, w: convert.copy_weights_hf_llama(c, q, sd, w)),
    "PhiForCausalLM": ("phi-2", lambda c, q: lambda sd, w: convert.copy_weights_phi(c, q, sd, w)),
    "Phi3ForCausalLM": ("Phi-3-mini-4k-instruct", lambda c, q: lambda sd, w: convert.copy_weights_phi(c, q, sd, w)),
    "GPTNeoXForCausalLM": ("pythia-14m", lambda c, q: lambda sd, w: convert.copy_weights_gpt_neox(c, sd, w)),
    "FalconForCausalLM": ("falcon-7b", lambda c, q: lambda sd, w: convert.copy_weights_falcon(c, sd, w)),
    "Olmo2ForCausalLM": ("OLMo-2-1124-7B", lambda c, q: lambda sd, w: convert.copy_weights_olmo2(c, q, sd, w)),
}

# what chooses another model of the same architecture
VARIANTS = {
    "PhiForCausalLM": (lambda c: c["partial_rotary_factor"] == 0.5, "phi-1_5"),
    "Phi3ForCausalLM": (lambda c: c["tie_word_embeddings"], "Phi-4-mini-instruct"),
    "FalconForCausalLM": (lambda c: c["new_decoder_architecture"], "falcon-40b"),
}


def rope(r, context):
    """rope_scaling as LitGPT's rope_adjustments."""
    kind = (r or {}).get("rope_type", (r or {}).get("type", "default"))
    if kind in ("default", "longrope"):  # LitGPT's Phi-3-mini-128k-instruct and Phi-4-mini-instruct rotate as if there were no LongRoPE
        return None
    a = dict(factor=r["factor"])
    original = r.get("original_max_position_embeddings", context)
    if kind == "llama3":
        a.update(low_freq_factor=r["low_freq_factor"], high_freq_factor=r["high_freq_factor"], original_max_seq_len=original)
    elif kind == "yarn":
        a.update(beta_fast=r.get("beta_fast", 32), beta_slow=r.get("beta_slow", 1), original_max_seq_len=original)
    return a


def first(c, *names):
    return next((c[n] for n in names if c.get(n) is not None), None)


def litgpt_config(name, c, types):
    config = Config.from_name(name)
    groups = first(c, "num_key_value_heads", "num_kv_heads") or c["num_attention_heads"]
    if c.get("multi_query") and not c["new_decoder_architecture"]:  # Falcon 7B
        groups = 1
    head = c.get("head_dim") or c["hidden_size"] // c["num_attention_heads"]
    kw = dict(n_layer=c["num_hidden_layers"], n_embd=c["hidden_size"], n_head=c["num_attention_heads"], n_query_groups=groups,
              head_size=head, intermediate_size=first(c, "intermediate_size", "ffn_hidden_size"), vocab_size=c["vocab_size"], padded_vocab_size=c["vocab_size"],
              block_size=c["max_position_embeddings"], rope_base=first(c, "rope_theta", "rotary_emb_base"), rope_adjustments=rope(c.get("rope_scaling"), c["max_position_embeddings"]),
              sliding_window_size=c.get("sliding_window"), sliding_window_indices=[int(t == "sliding_attention") for t in types] if c.get("sliding_window") else None)
    for ours, theirs in (("attn_logit_softcapping", "attention_logit_softcapping"), ("final_logit_softcapping", "final_logit_softcapping"),
                         ("query_pre_attn_scalar", "attention_scores_scalar"), ("rope_local_base_freq", "rope_local_base_freq"),
                         ("partial_rotary_factor", "rotary_percentage"), ("rotary_pct", "rotary_percentage"),
                         ("num_local_experts", "n_expert"), ("num_experts_per_tok", "n_expert_per_token")):
        if ours in c:
            kw[theirs] = c[ours]
    if config.rope_indices:  # which layers rotate by the local frequencies: those with a window
        kw["rope_indices"] = kw["sliding_window_indices"]
    fields = {f.name: getattr(config, f.name) for f in dataclasses.fields(config) if f.init}
    return Config(**{**fields, **kw})


def layer_types(d):
    c = json.load(open(os.path.join(d, "config_v5.json")))
    c = c.get("text_config", c)
    return c.get("layer_types") or ["sliding_attention" if c.get("sliding_window") else "full_attention"] * c["num_hidden_layers"]


def compare(d):
    c = json.load(open(os.path.join(d, "config.json")))
    arch = c["architectures"][0]
    if arch not in FAMILIES:
        raise ValueError(f"LitGPT has no {arch}")
    name, copier = FAMILIES[arch]
    c = c.get("text_config", c)
    if arch in VARIANTS and VARIANTS[arch][0](c):
        name = VARIANTS[arch][1]
    config = litgpt_config(name, c, layer_types(d))
    inputs = json.load(open(os.path.join(d, "reference/inputs.json")))
    want = load_file(os.path.join(d, "reference/outputs.safetensors"))
    state = {}
    with contextlib.redirect_stdout(sys.stderr):
        try:
            copier(config, {})(state, load_file(os.path.join(d, "model.safetensors")))
        except KeyError as e:
            raise ValueError(f"LitGPT's {name} has no {e.args[0]}")
    state.setdefault("lm_head.weight", state["transformer.wte.weight"])  # a tied head, which not all of its functions know
    if missing := set(GPT(config).state_dict()) - set(state):
        raise ValueError(f"LitGPT's {name} needs {min(missing)}")
    parts = []
    for eps in dict.fromkeys([config.norm_eps, first(c, "rms_norm_eps", "layer_norm_eps", "layer_norm_epsilon")]):
        config.norm_eps = eps
        model = GPT(config).eval()
        model.load_state_dict(state)
        with torch.no_grad():
            diff = [(model(torch.tensor(inputs[i])) - want[o]).abs().max().item() for i, o in (("ids", "logits"), ("long", "logits_long"))]
        parts.append(f"epsilon {eps:g}: {diff[0]:.1e}, long {diff[1]:.1e}")
    return f"as {name}: " + "; ".join(parts)


if __name__ == "__main__":
    for d in sys.argv[1:]:
        try:
            line = compare(d)
        except ValueError as e:  # a model that LitGPT cannot express
            line = str(e)
        print(f"{os.path.basename(d.rstrip('/')):16s} {line}", flush=True)
