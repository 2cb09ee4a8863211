#!/usr/bin/env python3
"""Writes the reference models and their logits into this directory (README.md says how to read them).

Usage: make.py [-o DIR] [NAME...]      without names: all of them

Weights are random, from a seed made of the file's and the tensor's name. The logits come from transformers, in float64
(it keeps norms, softmax and rotary tables in float32). Every feature a case is there for is checked to matter: without it the logits move.
"""
import argparse
import copy
import pathlib
import zlib

import gguf
import numpy as np
import torch
import transformers

import convert
from cases import BASE, CASES, TOKENS

VOCAB = ["<unk>", "<s>", "</s>", "\u2581"] + [chr(c) for c in range(33, 127)]
MATTERS = 0.02  # a feature that moves no logit by this much is not tested


def generator(*names):
    return np.random.default_rng(zlib.crc32("/".join(names).encode()))


def weight(case, key, shape):
    """One random tensor of a transformers model. Queries and keys are large, that attention may be far from uniform."""
    x = generator(case.name, key).standard_normal(shape)
    if key.endswith(".bias"):
        x *= 0.3
    elif key.endswith("norm.weight"):
        x = 0.2 * x if case.arch.startswith("gemma") else 1 + 0.2 * x
    elif key == "model.embed_tokens.weight":
        x *= 0.5
    else:
        strong = any(s in key for s in ("q_proj", "k_proj", "qkv_proj", "mlp.gate.", "shared_expert_gate"))
        x *= (2.0 if strong else 1.2) / np.sqrt(shape[-1])
    return x.astype(np.float32)


def build(case, changes):
    """The transformers model of a case in float64, its configuration and its f32 weights by name."""
    settings = copy.deepcopy(BASE | dict(vocab_size=len(VOCAB)) | case.config | changes)
    family = case.family
    config_class = getattr(transformers, family + ("TextConfig" if family == "Gemma3" else "Config"))
    cfg = config_class(attn_implementation="eager", experts_implementation="eager", **settings)
    model = getattr(transformers, family + "ForCausalLM")(cfg).eval()
    state = model.state_dict()
    weights = {k: weight(case, k, tuple(v.shape)) for k, v in state.items()}
    if cfg.tie_word_embeddings:
        weights["lm_head.weight"] = weights["model.embed_tokens.weight"]
    model.load_state_dict({k: torch.from_numpy(v) for k, v in weights.items()})
    return model.double(), cfg, weights


def logits(model, tokens):
    with torch.no_grad():
        return model(torch.from_numpy(tokens)[None], use_cache=False).logits[0].double().numpy()


def prompt(name, length=TOKENS, vocab=len(VOCAB)):
    rest = generator(name, "prompt").integers(3, vocab, length - 1)
    return np.concatenate([[1], rest]).astype(np.int64)


def write_logits(path, tokens, values, n_ctx):
    head = np.array([0x46455251, len(tokens), values.shape[1], n_ctx], "<u4")  # "QREF"
    path.write_bytes(head.tobytes() + tokens.astype("<i4").tobytes() + values.astype("<f4").tobytes())


def add_key(out, key, value):
    kind = {bool: out.add_bool, int: out.add_uint32, float: out.add_float32, str: out.add_string, list: out.add_array}
    kind[type(value)](key, value)


def write_model(path, arch, keys, tensors, types=None):
    """`tensors`: name -> array; f32, or raw blocks when `types` names the tensor's type."""
    out = gguf.GGUFWriter(path, arch)
    out.add_name("Reference model")  # llama.cpp treats a vocabulary specially by this name, so it says no architecture
    for key, value in keys.items():
        add_key(out, f"{arch}.{key}", value)
    out.add_tokenizer_model("llama")
    n = keys["vocab_size"]
    out.add_token_list(VOCAB[:n])
    out.add_token_scores([0.0] * 3 + [-float(i) for i in range(n - 3)])
    out.add_token_types([2, 3, 3] + [1] * (n - 3))
    out.add_bos_token_id(1)
    out.add_eos_token_id(2)
    out.add_unk_token_id(0)
    out.add_add_bos_token(True)
    out.add_add_space_prefix(True)
    for key, data in tensors.items():
        out.add_tensor(key, data, raw_dtype=(types or {}).get(key))
    out.write_header_to_file()
    out.write_kv_data_to_file()
    out.write_tensors_to_file()
    out.close()


def make(case, into):
    model, cfg, weights = build(case, {})
    rope_keys, rope_tensors = convert.rope(case, cfg, model)
    keys = convert.metadata(case, cfg) | rope_keys
    write_model(into / f"{case.name}.gguf", case.arch, keys, convert.tensors(case, cfg, weights) | rope_tensors)
    tokens = prompt(case.name)
    base = logits(model, tokens)
    for change in case.without:
        moved = np.abs(logits(build(case, change)[0], tokens) - base).max()
        assert moved > MATTERS, f"{case.name}: {change} moves the logits by {moved:.3g} only"
    for run, (n_ctx, change) in case.runs.items():
        values = logits(build(case, change)[0], tokens) if change else base
        write_logits(into / f"{case.name}{'.' + run if run else ''}.logits", tokens, values, n_ctx)
    size = (into / f"{case.name}.gguf").stat().st_size
    print(f"{case.name}: {size} bytes, logits {base.std():.2f} (standard deviation), {np.abs(base).max():.1f} (greatest)")


def main():
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("-o", dest="into", type=pathlib.Path, default=pathlib.Path(__file__).parent)
    args.add_argument("names", nargs="*")
    args = args.parse_args()
    torch.set_num_threads(1)
    for case in CASES:
        if not args.names or case.name in args.names:
            make(case, args.into)


if __name__ == "__main__":
    main()
