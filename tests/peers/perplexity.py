#!/usr/bin/env python3
"""Perplexity of a text: llama.cpp beside `qorus eval`.

Usage: perplexity.py [-m MODEL]... [-f TEXT] [--bytes N] [--ctx N] [--spread] [--peer-only]      needs QORUS_PEERS (fetch.sh)

What is computed, for both, is what llama.cpp's own tool computes. The whole text is encoded once, with BOS in front where the
model adds one; special tokens in it count as text. It is cut into chunks of ctx tokens; an incomplete last chunk is dropped. Each
chunk is run on its own from position 0, with its first token replaced by BOS where the model adds one. Counted are the
predictions of the chunk's tokens ctx/2 + 1 ... ctx - 1 (made at positions ctx/2 ... ctx - 2): ctx - ctx/2 - 1 for each
chunk. Perplexity is exp of the mean negative natural logarithm of their probabilities.

`qorus eval` gets the same bytes as a file. The relative difference should stay below 0.5 %. With --spread llama.cpp is run a
second time, with an F32 cache and without flash attention: what it differs from itself is rounding, which no peer can be asked to follow.
"""
import argparse
import os
import tempfile

import numpy as np

import qorus
from llamacpp import F16, F32, Context, Library, Model


def peer(lib, path, text, n_ctx, threads, cache, flash):
    """(perplexity, counted predictions) by llama.cpp's logits."""
    model = Model(lib, path)
    context = Context(model, n_ctx, threads, cache, n_batch=n_ctx, flash=flash)
    bos = model.bos()
    tokens = model.encode(text, bos=True)
    total, count, first = 0.0, 0, n_ctx // 2
    for start in range(0, len(tokens) - n_ctx + 1, n_ctx):
        chunk = tokens[start:start + n_ctx]
        if bos is not None:
            chunk[0] = bos
        context.clear()
        for row, target in zip(context.feed(chunk, first), chunk[first + 1:]):
            row = row.astype(np.float64)
            top = row.max()
            total += top + np.log(np.exp(row - top).sum()) - row[target]
            count += 1
    context.close()
    model.close()
    if not count:
        raise SystemExit(f"the text has {len(tokens)} tokens, fewer than one chunk of {n_ctx}")
    return np.exp(total / count), count


def main():
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("-m", dest="models", action="append", default=[])
    args.add_argument("-f", dest="file")
    args.add_argument("--bytes", type=int, default=32768)
    args.add_argument("--ctx", type=int, default=512)
    args.add_argument("-t", dest="threads", type=int, default=2)
    args.add_argument("--spread", action="store_true")
    args.add_argument("--peer-only", action="store_true")
    args = args.parse_args()
    lib, peers = Library(), os.environ["QORUS_PEERS"]
    text = qorus.sample(peers, args.file, args.bytes)
    with tempfile.NamedTemporaryFile(suffix=".txt") as file:
        file.write(text)
        file.flush()
        for path in qorus.models(peers, args.models):
            theirs, count = peer(lib, path, text, args.ctx, args.threads, F16, flash=-1)
            line = f"{path.name}: {len(text)} bytes, ctx {args.ctx}, {count} predictions; llama.cpp {theirs:.4f}"
            if args.spread:
                again, _ = peer(lib, path, text, args.ctx, args.threads, F32, flash=0)
                line += f" and {again:.4f} ({again / theirs - 1:+.3%})"
            if not args.peer_only:
                ours = qorus.call("eval", "-m", path, "-f", file.name, "--ctx", args.ctx)
                line += f", qorus {ours['perplexity']:.4f} ({ours['tokens']} predictions), {ours['perplexity'] / theirs - 1:+.3%}"
            print(line, flush=True)


if __name__ == "__main__":
    main()
