#!/usr/bin/env python3
"""Greedy continuations of ten prompts: llama.cpp beside `qorus run --temp 0`.

Usage: greedy.py [-m MODEL]... [-n N] [--peer-only]      needs QORUS_PEERS (fetch.sh)

Prompts are raw text, with BOS where the model adds one. Where the tokens part, the line says after how many, and llama.cpp's logits
of both choices. llama.cpp is run twice, as it runs by default (F16 cache, flash attention) and with an F32 cache and without flash
attention; the last line says on how many prompts it agrees with itself. On quantised weights that is few: any difference in
the last bit makes other roundings of the 8-bit activations, and after some layers the logits differ by 0.2 to 0.3 root mean square. On
F32 copies (dequantize.py) the two agree, and so must qorus. Models: those given, or all that lie in QORUS_PEERS, copies included.
"""
import argparse
import os

import qorus
from llamacpp import F16, F32, Context, Library, Model

PROMPTS = [
    "Once upon a time there was a little fox who",
    "The capital of France is",
    "Water boils at 100 degrees because",
    "def fibonacci(n):\n    \"\"\"Return the n-th Fibonacci number.\"\"\"\n",
    "Dear Sir or Madam,\n\nI am writing to",
    "The three most important inventions of the nineteenth century were",
    "Q: What is 17 plus 25?\nA:",
    "Die Katze sitzt auf dem Dach und",
    "In 1969, the first human beings landed on the Moon. The mission",
    "Ingredients:\n- 2 eggs\n- 100 g flour\n-",
]


def peer(model, context, prompt, n):
    """llama.cpp's greedy tokens, and the logits each was chosen from."""
    tokens = model.encode(prompt, bos=True, special=True)
    context.clear()
    row, out, rows = context.feed(tokens, len(tokens) - 1)[0], [], []
    while len(out) < n:
        token = int(row.argmax())
        if model.is_end(token):
            break
        out.append(token)
        rows.append(row)
        row = context.feed([token])[0]
    return out, rows + [row]


def parting(model, ours, theirs, rows):
    """Where and how the two part."""
    at = next((i for i, (a, b) in enumerate(zip(ours, theirs)) if a != b), min(len(ours), len(theirs)))
    if at == min(len(ours), len(theirs)):
        return f"ends after {len(ours)} tokens, llama.cpp after {len(theirs)}"
    row, a, b = rows[at], ours[at], theirs[at]
    return f"parts after {at}: qorus {model.decode([a])!r}, llama.cpp {model.decode([b])!r}, logits there {row[a]:.3f} and {row[b]:.3f}"


def main():
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("-m", dest="models", action="append", default=[])
    args.add_argument("-n", type=int, default=64)
    args.add_argument("-t", dest="threads", type=int, default=2)
    args.add_argument("--peer-only", action="store_true")
    args = args.parse_args()
    lib, peers = Library(), os.environ["QORUS_PEERS"]
    for path in qorus.models(peers, args.models, copies=True):
        model = Model(lib, path)
        default = Context(model, 512, args.threads, F16, flash=-1)
        exact = Context(model, 512, args.threads, F32, flash=0)
        equal = itself = 0
        for prompt in PROMPTS:
            theirs, rows = peer(model, default, prompt, args.n)
            itself += peer(model, exact, prompt, args.n)[0] == theirs
            if not args.peer_only:
                ours = qorus.call("run", "-m", path, "-n", args.n, "--temp", 0, "--", prompt)["tokens"]
                if ours and model.is_end(ours[-1]):
                    ours.pop()  # an end token may be listed or not
                equal += ours == theirs
                if ours != theirs:
                    print(f"{path.name}: {prompt[:30]!r} {parting(model, ours, theirs, rows)}", flush=True)
        line = "" if args.peer_only else f"qorus equals llama.cpp on {equal}, "
        print(f"{path.name}: of {len(PROMPTS)} prompts, {args.n} tokens: {line}llama.cpp itself on {itself}", flush=True)
        default.close()
        exact.close()
        model.close()


if __name__ == "__main__":
    main()
