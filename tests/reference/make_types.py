#!/usr/bin/env python3
"""Writes a llama of one layer for each stored type (README.md).

Usage: make_types.py [-o DIR] [TYPE...]

NAME.logits are those of the exact stored weights. NAME.q8.logits are what a product with 8-bit activations must give: before each
matrix product the activations are rounded to blocks of 32 with one f32 scale, greatest magnitude / 127.
"""
import argparse
import pathlib

import numpy as np
import torch
from gguf import GGMLQuantizationType as Type
from gguf import quants

import blocks
import convert
import make
from cases import BASE, Case

CONFIG = dict(vocab_size=64, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2, num_key_value_heads=1, head_dim=16,
              tie_word_embeddings=True)


def stored(case, kind, name, shape):
    """(what the file holds, its type, its f32 values) of one tensor in the file's own order."""
    rng = make.generator(case.name, name)
    if len(shape) == 1:
        w = (1 + 0.2 * rng.standard_normal(shape)).astype(np.float32)
        return w, Type.F32, w
    gain = 2.0 if "attn_q" in name or "attn_k" in name else 1.2
    deviation = 0.08 if name.startswith("token_embd") else gain / np.sqrt(shape[1])
    if kind in ("F16", "BF16"):
        raw = quants.quantize((deviation * rng.standard_normal(shape)).astype(np.float32), Type[kind])
        return raw, Type[kind], quants.dequantize(raw, Type[kind])
    if shape[1] % 256:
        kind = kind if kind in ("Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "IQ4_NL") else "Q4_0"
    raw, values = blocks.random(rng, kind, *shape, deviation)
    return raw, Type[kind], values


def halves(w, heads):
    """The inverse of convert.interleave."""
    return w.reshape(heads, w.shape[0] // heads // 2, 2, -1).swapaxes(1, 2).reshape(w.shape)


def round_input(module, args):
    """Hook of a linear layer: its input as 8-bit blocks give it."""
    x = args[0].float()
    blocked = x.reshape(*x.shape[:-1], -1, 32)
    scale = blocked.abs().amax(-1, keepdim=True) / 127
    quantised = torch.where(scale > 0, torch.round(blocked / scale), 0).clamp(-127, 127)
    dtype = args[0].dtype
    return ((quantised.to(dtype) * scale.to(dtype)).reshape(x.shape),)


def make_type(kind, into):
    plain = kind in ("F16", "BF16")
    case = Case(f"llama-{kind.lower()}", "llama", "Llama", CONFIG | dict(hidden_size=64 if plain else 256))
    model, cfg, weights = make.build(case, {})
    keys = convert.metadata(case, cfg) | convert.rope(case, cfg, model)[0]
    data, types, state = {}, {}, {}
    for key, w in weights.items():
        if key == "lm_head.weight":
            continue
        (name, _), = convert.tensors(case, cfg, {key: w}).items()
        data[name], types[name], values = stored(case, kind, name, w.shape)
        heads = {"attn_q": cfg.num_attention_heads, "attn_k": cfg.num_key_value_heads}.get(name.split(".")[-2])
        state[key] = torch.from_numpy(np.array(halves(values, heads) if heads else values))
    state["lm_head.weight"] = state["model.embed_tokens.weight"]
    model.load_state_dict(state)
    make.write_model(into / f"{case.name}.gguf", case.arch, keys, data, types)

    tokens = make.prompt(case.name, 16, cfg.vocab_size)
    exact = make.logits(model, tokens)
    make.write_logits(into / f"{case.name}.logits", tokens, exact, 64)
    size = (into / f"{case.name}.gguf").stat().st_size
    line = f"{case.name}: {size} bytes, logits {exact.std():.2f} (standard deviation)"
    if not plain:
        for module in model.modules():
            if isinstance(module, torch.nn.Linear):
                module.register_forward_pre_hook(round_input)
        rounded = make.logits(model, tokens)
        make.write_logits(into / f"{case.name}.q8.logits", tokens, rounded, 64)
        again = make.logits(model.float(), tokens)  # what rounding the other way here and there does
        diff = rounded - exact
        line += f", 8-bit activations: {np.abs(diff).max():.3f} greatest, {np.sqrt((diff**2).mean()):.4f} root mean square, "
        line += f"in f32 {np.abs(again - rounded).max():.1e}"
    print(line)


def main():
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("-o", dest="into", type=pathlib.Path, default=pathlib.Path(__file__).parent)
    args.add_argument("types", nargs="*")
    args = args.parse_args()
    torch.set_num_threads(1)
    for kind in args.types or ["F16", "BF16", *blocks.SCALE]:
        make_type(kind, args.into)


if __name__ == "__main__":
    main()
