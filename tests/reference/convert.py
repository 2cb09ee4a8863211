"""From a transformers model to the tensors and metadata of a GGUF file, named as llama.cpp names them."""
import re

import numpy as np

NAMES = {
    "model.embed_tokens.weight": "token_embd.weight",
    "model.norm.weight": "output_norm.weight",
    "lm_head.weight": "output.weight",
}
# The part between "model.layers.N." and ".weight" or ".bias". The two norms that gemma has more stand in GEMMA.
LAYER = {
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "self_attn.qkv_proj": "attn_qkv",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "mlp.gate_up_proj": "ffn_up",  # phi3: gate rows first, then up rows, in one tensor
    "mlp.gate": "ffn_gate_inp",
    "mlp.shared_expert_gate": "ffn_gate_inp_shexp",
    "mlp.shared_expert.gate_proj": "ffn_gate_shexp",
    "mlp.shared_expert.up_proj": "ffn_up_shexp",
    "mlp.shared_expert.down_proj": "ffn_down_shexp",
}
GEMMA = {
    "post_attention_layernorm": "post_attention_norm",
    "pre_feedforward_layernorm": "ffn_norm",
    "post_feedforward_layernorm": "post_ffw_norm",
}


def interleave(w, heads):
    """Rows (or biases) of q and k from halves (i, i + n) to pairs (2i, 2i + 1), the order of llama's GGUF files."""
    return w.reshape(heads, 2, w.shape[0] // heads // 2, *w.shape[1:]).swapaxes(1, 2).reshape(w.shape)


def tensors(case, cfg, state):
    """All tensors of the file: name -> f32 array, outermost dimension first."""
    gemma = case.arch.startswith("gemma")
    out = {}
    for key, w in state.items():
        if gemma and key.endswith("norm.weight"):
            w = w + np.float32(1)  # transformers multiplies by 1 + w, the file holds the sum
        if key == "lm_head.weight" and cfg.tie_word_embeddings:
            continue
        if key in NAMES:
            out[NAMES[key]] = w
            continue
        layer, part = re.fullmatch(r"model\.layers\.(\d+)\.(.+)", key).groups()
        blk = f"blk.{layer}."
        if part == "mlp.experts.gate_up_proj":
            half = w.shape[1] // 2
            out[blk + "ffn_gate_exps.weight"], out[blk + "ffn_up_exps.weight"] = w[:, :half], w[:, half:]
        elif part == "mlp.experts.down_proj":
            out[blk + "ffn_down_exps.weight"] = w
        else:
            stem, kind = part.rsplit(".", 1)
            name = (GEMMA if gemma and stem in GEMMA else LAYER)[stem]
            if name == "attn_q" and case.arch == "llama":
                w = interleave(w, cfg.num_attention_heads)
            if name == "attn_k" and case.arch == "llama":
                w = interleave(w, cfg.num_key_value_heads)
            if name == "ffn_gate_inp_shexp":
                w = w.reshape(-1)  # one row: a vector in the file
            out[f"{blk}{name}.{kind}"] = w
    return {k: np.ascontiguousarray(v, dtype=np.float32) for k, v in out.items()}


def rope(case, cfg, model):
    """Metadata and tensors of the positional embedding."""
    p = cfg.rope_parameters
    keys, extra = {}, {}
    if case.arch == "gemma3":
        keys["rope.freq_base_swa"] = p["sliding_attention"]["rope_theta"]
        p = p["full_attention"]
    keys["rope.freq_base"] = p["rope_theta"]
    head = getattr(cfg, "head_dim", None) or cfg.hidden_size // cfg.num_attention_heads
    keys["rope.dimension_count"] = int(head * p.get("partial_rotary_factor", 1.0))
    kind = p["rope_type"]
    if kind in ("linear", "yarn"):
        keys["rope.scaling.type"] = kind
        keys["rope.scaling.factor"] = p["factor"]
    if kind in ("yarn", "longrope"):
        keys["rope.scaling.original_context_length"] = p["original_max_position_embeddings"]
    if kind == "llama3":
        # A file of this kind holds, per frequency, what the plain one is divided by.
        inv = model.model.rotary_emb.inv_freq.double().numpy()
        plain = p["rope_theta"] ** -(np.arange(0, head, 2) / head)
        extra["rope_freqs.weight"] = (plain / inv).astype(np.float32)
    if kind == "longrope":
        keys["rope.scaling.attn_factor"] = float(model.model.rotary_emb.attention_scaling)
        extra["rope_factors_short.weight"] = np.array(p["short_factor"], np.float32)
        extra["rope_factors_long.weight"] = np.array(p["long_factor"], np.float32)
    return keys, extra


def metadata(case, cfg):
    """Sizes and switches, without the architecture's prefix."""
    head = getattr(cfg, "head_dim", None) or cfg.hidden_size // cfg.num_attention_heads
    keys = {
        "context_length": cfg.max_position_embeddings,
        "embedding_length": cfg.hidden_size,
        "block_count": cfg.num_hidden_layers,
        "feed_forward_length": cfg.intermediate_size,
        "attention.head_count": cfg.num_attention_heads,
        "attention.head_count_kv": cfg.num_key_value_heads,
        "attention.layer_norm_rms_epsilon": cfg.rms_norm_eps,
        "vocab_size": cfg.vocab_size,
    }
    if head * cfg.num_attention_heads != cfg.hidden_size:
        keys |= {"attention.key_length": head, "attention.value_length": head}
    experts = getattr(cfg, "num_experts", None) or getattr(cfg, "num_local_experts", None)
    if experts:
        keys |= {"expert_count": experts, "expert_used_count": cfg.num_experts_per_tok}
    if case.arch in ("qwen2moe", "qwen3moe"):
        keys["expert_feed_forward_length"] = cfg.moe_intermediate_size
    if case.arch == "qwen2moe":
        keys["expert_shared_feed_forward_length"] = cfg.shared_expert_intermediate_size
    if case.arch in ("phi3", "gemma2", "gemma3") and cfg.sliding_window:
        keys["attention.sliding_window"] = cfg.sliding_window
    if case.arch == "gemma2":
        keys |= {"attn_logit_softcapping": cfg.attn_logit_softcapping, "final_logit_softcapping": cfg.final_logit_softcapping}
    return keys | case.keys
