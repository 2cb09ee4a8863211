"""The reference models: which transformers class, its configuration, and what must make a difference.

A case is one GGUF file. `config` goes to the transformers configuration class, on top of BASE. `keys` are metadata that
cannot be read off the configuration. `without` is a list of configuration changes of which each must move the
logits, or the case would not notice when an implementation leaves that feature out. `runs` maps a run's name to
(n_ctx, changes of the configuration): files whose answer depends on the context length have two.
"""
from dataclasses import dataclass, field

BASE = dict(hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
            max_position_embeddings=128, rms_norm_eps=1e-5, tie_word_embeddings=False, bos_token_id=1, eos_token_id=2,
            pad_token_id=None)
PLAIN = dict(rope_type="default", rope_theta=10000.0)
TOKENS = 32


@dataclass
class Case:
    name: str
    arch: str
    family: str  # transformers' prefix: <family>Config, <family>ForCausalLM
    config: dict = field(default_factory=dict)
    keys: dict = field(default_factory=dict)
    without: list = field(default_factory=list)
    runs: dict = field(default_factory=lambda: {"": (64, {})})


def rope(kind, factor, **more):
    return dict(rope_parameters=dict(rope_type=kind, rope_theta=10000.0, factor=factor, **more))


LONG_ORIGINAL = 256  # llama.cpp rounds its context up to 256: a smaller original length could not be compared with it
SHORT_FACTORS = [1.0, 1.05, 1.1, 1.2, 1.3, 1.5]
LONG_FACTORS = [1.2, 1.6, 2.5, 4.0, 7.0, 11.0]


def longrope(short):
    return dict(rope_parameters=dict(rope_type="longrope", rope_theta=10000.0, partial_rotary_factor=0.75, short_factor=short,
                                     long_factor=LONG_FACTORS, original_max_position_embeddings=LONG_ORIGINAL))


WIDE_HEADS = dict(num_attention_heads=2, num_key_value_heads=1)  # of 16 elements: 8 frequencies, enough to tell the scalings apart

CASES = [
    Case("llama", "llama", "Llama", dict(hidden_size=64, intermediate_size=64)),
    Case("llama-tied", "llama", "Llama", dict(tie_word_embeddings=True)),
    Case("llama-bias", "llama", "Llama", dict(attention_bias=True, mlp_bias=True)),
    Case("llama-linear", "llama", "Llama", rope("linear", 4.0), without=[dict(rope_parameters=PLAIN)]),
    Case("llama-yarn", "llama", "Llama", dict(**WIDE_HEADS, **rope("yarn", 4.0, original_max_position_embeddings=32)),
         without=[dict(rope_parameters=PLAIN), rope("linear", 4.0),
                  rope("yarn", 4.0, original_max_position_embeddings=32, attention_factor=1.0)]),
    Case("llama-llama3", "llama", "Llama",
         dict(**WIDE_HEADS, **rope("llama3", 8.0, original_max_position_embeddings=32, low_freq_factor=1.0, high_freq_factor=4.0)),
         without=[dict(rope_parameters=PLAIN), rope("linear", 8.0)]),
    Case("llama-moe", "llama", "Mixtral", dict(num_local_experts=4, num_experts_per_tok=2, intermediate_size=24)),
    Case("qwen2", "qwen2", "Qwen2", dict(tie_word_embeddings=True, rope_parameters=dict(PLAIN, rope_theta=1e6)),
         without=[dict(rope_parameters=PLAIN)]),
    Case("qwen2moe", "qwen2moe", "Qwen2Moe",
         dict(num_experts=4, moe_intermediate_size=16, shared_expert_intermediate_size=24, num_experts_per_tok=2),
         without=[dict(norm_topk_prob=True)]),
    Case("qwen3", "qwen3", "Qwen3", dict(head_dim=16, rms_norm_eps=1e-6, tie_word_embeddings=True)),
    Case("qwen3moe", "qwen3moe", "Qwen3Moe",
         dict(head_dim=16, num_experts=4, moe_intermediate_size=16, num_experts_per_tok=2, norm_topk_prob=True),
         without=[dict(norm_topk_prob=False)]),
    Case("phi3", "phi3", "Phi3", dict(num_key_value_heads=4, rope_parameters=dict(PLAIN, rope_theta=250000.0))),
    Case("phi3-window", "phi3", "Phi3", dict(sliding_window=12), without=[dict(sliding_window=None)]),
    Case("phi3-longrope", "phi3", "Phi3",
         dict(**WIDE_HEADS, max_position_embeddings=1024, original_max_position_embeddings=LONG_ORIGINAL,
              **longrope(SHORT_FACTORS)),
         without=[longrope(LONG_FACTORS)], runs={"": (64, {}), "long": (512, longrope(LONG_FACTORS))}),
    Case("gemma2", "gemma2", "Gemma2",
         dict(num_hidden_layers=3, intermediate_size=32, head_dim=24, **WIDE_HEADS, query_pre_attn_scalar=24, sliding_window=12,
              attn_logit_softcapping=5.0,
              final_logit_softcapping=6.0, tie_word_embeddings=True),
         without=[dict(layer_types=["full_attention"] * 3), dict(attn_logit_softcapping=None),
                  dict(final_logit_softcapping=None), dict(layer_types=["sliding_attention"] * 3)]),
    Case("gemma3", "gemma3", "Gemma3",
         dict(num_hidden_layers=6, intermediate_size=32, head_dim=16, **WIDE_HEADS, query_pre_attn_scalar=16, sliding_window=12,
              tie_word_embeddings=True,
              rope_parameters=dict(full_attention=dict(rope_type="linear", rope_theta=1e6, factor=8.0),
                                   sliding_attention=dict(rope_type="default", rope_theta=10000.0))),
         without=[dict(layer_types=["full_attention"] * 6), dict(layer_types=["sliding_attention"] * 6),
                  dict(rope_parameters=dict(full_attention=dict(rope_type="default", rope_theta=1e6),
                                            sliding_attention=dict(rope_type="default", rope_theta=10000.0))),
                  dict(rope_parameters=dict(full_attention=dict(rope_type="linear", rope_theta=1e6, factor=8.0),
                                            sliding_attention=dict(rope_type="default", rope_theta=1e6)))]),
]
