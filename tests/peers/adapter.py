#!/usr/bin/env python3
"""Adapters of ours in llama.cpp, and of PEFT here: the same log-probabilities of greedily written tokens.

    adapter.py llamacpp MODEL ADAPTER...    needs QORUS_PEERS (fetch.sh); take an F32 model (dequantize.py), that only the adapter is compared
    adapter.py peft DIR                     needs torch, transformers and peft; makes a small llama and adapters of each kind in DIR

Prints, for each case, the greatest difference of a log-probability, how far the adapter itself moves them, and, of llama.cpp, how many of the
tokens are its favourites too."""
import argparse
import ctypes as c
import pathlib

import numpy as np

import qorus

PROMPT = "Write this order as one line of JSON: 7 boxes of green tea for Mara Lindt in Oslo."
N = 24


def ours(model, prompt, adapter=None, n=N):
    """Tokens and log-probabilities that `qorus run` writes greedily; at least one."""
    lora = ["--lora", adapter, "--any-base"] if adapter else []
    done = qorus.call("run", "-m", model, *lora, "--special", "--temp", "0", "-n", n, "--lookup", "0", "--kv", "f32", "--", prompt)
    if not done["tokens"]:
        raise SystemExit(f"nothing is written after {prompt!r}: take another prompt")
    return done["tokens"], np.array(done["log_probs"])


def log_probs(logits, tokens):
    """Those of tokens[i] by row i."""
    rows = logits.astype(np.float64)
    rows -= rows.max(1, keepdims=True)
    rows -= np.log(np.exp(rows).sum(1, keepdims=True))
    return rows[np.arange(len(tokens)), tokens]


def report(name, found, wanted, plain):
    print(f"{name:10} greatest difference {np.abs(found - wanted).max():.2e}; without the adapter {np.abs(plain - wanted).max():.2e}")


def turns(text):
    """A question as models of the ChatML form are asked it."""
    return f"<|im_start|>user\n{text}<|im_end|>\n<|im_start|>assistant\n"


def llamacpp(model_path, *adapters):
    from llamacpp import Context, Library, Model
    lib = Library()
    handle = c.CDLL(None)
    init, put = handle.llama_adapter_lora_init, handle.llama_set_adapters_lora
    init.restype, init.argtypes = c.c_void_p, [c.c_void_p, c.c_char_p]
    put.restype, put.argtypes = c.c_int32, [c.c_void_p, c.POINTER(c.c_void_p), c.c_size_t, c.POINTER(c.c_float)]
    model = Model(lib, model_path)
    ask = "Write this order as one line of JSON with the keys name, item, count, unit, city and date (MM-DD).\n\n"
    prompts = [turns(ask + "Please send twelve crates of oak boards to Ruth Adler in Bergen before 9 May."), turns(ask + PROMPT),
               turns("Why is the sky blue?"), "The tallest of the lighthouses stood", "1, 2, 3, 4, 5,", "def area(width, height):\n"]

    def there(tokens, ids, adapter):
        """Log-probabilities of the tokens after the prompt, and the favourites."""
        context = Context(model, 512, threads=2)
        if adapter and put(context.handle, (c.c_void_p * 1)(adapter), 1, (c.c_float * 1)(1.0)):
            raise SystemExit("llama.cpp does not attach the adapter")
        logits = context.feed(ids + tokens[:-1], first=len(ids) - 1)
        context.close()
        return log_probs(logits, tokens), logits.argmax(1)

    for path in [None, *adapters]:
        adapter = path and init(model.handle, str(path).encode())
        if path and not adapter:
            raise SystemExit(f"llama.cpp does not load {path}")
        off, moved, same, count = 0, 0, 0, 0
        for prompt in prompts:
            tokens, found = ours(model_path, prompt, path)
            ids = ([model.bos()] if model.bos() is not None else []) + model.encode(prompt, special=True)
            wanted, best = there(tokens, ids, adapter)
            off = max(off, np.abs(found - wanted).max())
            same, count = same + (best == np.array(tokens)).sum(), count + len(tokens)
            moved = max(moved, np.abs(there(tokens, ids, None)[0] - wanted).max()) if adapter else 0
        print(f"{path or 'no adapter'}: greatest difference {off:.2e}; without the adapter {moved:.2e}; {same} of {count} tokens are its favourites")


def peft(folder):
    import peft as library
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM

    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(6)
    base = folder / "base"
    letters = {ch: i for i, ch in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    tokenizer = Tokenizer(models.BPE(letters, []))
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    shape = dict(vocab_size=256, hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
                 max_position_embeddings=256, tie_word_embeddings=False, initializer_range=0.3, bos_token_id=None, eos_token_id=None)
    LlamaForCausalLM(LlamaConfig(**shape)).save_pretrained(base)
    tokenizer.save(str(base / "tokenizer.json"))
    gguf = folder / "base.gguf"
    qorus.call("convert", base, gguf)
    every = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
    for name, more in (("lora", {}), ("rslora", dict(use_rslora=True)), ("dora", dict(use_dora=True)),
                       ("patterns", dict(rank_pattern={"q_proj": 8}, alpha_pattern={"down_proj": 2})), ("head", dict(target_modules=every + ["lm_head"]))):
        model = LlamaForCausalLM.from_pretrained(base)
        config = library.LoraConfig(**{**dict(r=4, lora_alpha=8, target_modules=every), **more})
        model = library.get_peft_model(model, config).eval()
        for key, value in model.named_parameters():
            if "lora_B" in key:
                torch.nn.init.normal_(value, std=0.1)
            if "magnitude" in key:
                value.data *= 1 + 0.2 * torch.randn_like(value)
        model.save_pretrained(folder / name)
        tokens, found = ours(gguf, PROMPT, folder / name)
        ids = tokenizer.encode(PROMPT).ids
        with torch.no_grad():
            row = lambda: model(torch.tensor([ids + tokens[:-1]])).logits[0, len(ids) - 1:].numpy()
            wanted = log_probs(row(), tokens)
            with model.disable_adapter():
                plain = log_probs(row(), tokens)
        report(name, found, wanted, plain)


if __name__ == "__main__":
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("what", choices=["llamacpp", "peft"])
    args.add_argument("paths", nargs="+")
    args = args.parse_args()
    llamacpp(*args.paths) if args.what == "llamacpp" else peft(*args.paths)
