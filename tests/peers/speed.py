#!/usr/bin/env python3
"""Prefill and decode speed: `qorus bench` and llama.cpp in turn, A B A B, at the same threads.

Usage: speed.py [-m MODEL]... [-t 1,2] [-p 512] [-n 128] [-r ROUNDS] [--peer-only]      needs QORUS_PEERS (fetch.sh)

llama.cpp: prefill is one batch of P tokens from an empty cache, the last token's logits taken; decode is N times one token with its
logits, after a cache of one token. F16 cache, its own choice of flash attention and repacking, a thread pool that
lasts through a round. Each round is one `qorus bench -p P -n N -t T` and one such pair; printed are the medians, the
best rounds, and the ratio of the medians (above 1: qorus is faster). Machines are noisy: look at the spread first.
"""
import argparse
import os
import statistics
import time

import numpy as np

import qorus
from llamacpp import F16, Context, Library, Model


def peer(model, threads, tokens, p, n):
    """llama.cpp's tokens per second: prefill, decode. A context per round: one that lasted would touch its last pool, freed."""
    context = Context(model, max(p, n + 1), 1, F16, n_batch=p, flash=-1)
    context.start_pool(threads)
    start = time.perf_counter()
    context.feed(tokens[:p], p - 1)
    prefill = p / (time.perf_counter() - start)
    context.clear()
    context.feed(tokens[:1])
    start = time.perf_counter()
    for token in tokens[:n]:
        context.feed([token])
    decode = n / (time.perf_counter() - start)
    context.close()
    return {"prefill": prefill, "decode": decode}


def ours(path, threads, p, n):
    rows = qorus.call("bench", "-m", path, "-p", p, "-n", n, "-t", threads)
    return {row["test"]: row["tokens_per_s"] for row in rows if row["threads"] == threads}


def show(values):
    return f"{statistics.median(values):8.1f} [{max(values):.1f}]"


def main():
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("-m", dest="models", action="append", default=[])
    args.add_argument("-t", dest="threads", default="1,2")
    args.add_argument("-p", type=int, default=512)
    args.add_argument("-n", type=int, default=128)
    args.add_argument("-r", dest="rounds", type=int, default=5)
    args.add_argument("--peer-only", action="store_true")
    args = args.parse_args()
    lib, peers = Library(), os.environ["QORUS_PEERS"]
    for path in qorus.models(peers, args.models):
        model = Model(lib, path)
        tokens = np.random.default_rng(1).integers(10, model.n_vocab - 10, max(args.p, args.n)).tolist()
        for threads in map(int, args.threads.split(",")):
            peer(model, threads, tokens, args.p, 4)  # pages in, clocks up
            theirs, mine = [], []
            for _ in range(args.rounds):
                if not args.peer_only:
                    mine.append(ours(path, threads, args.p, args.n))
                theirs.append(peer(model, threads, tokens, args.p, args.n))
            for test in ("prefill", "decode"):
                b = [r[test] for r in theirs]
                line = f"{path.name} {test:7} threads {threads}: llama.cpp {show(b)}"
                if mine:
                    a = [r[test] for r in mine]
                    line += f"  qorus {show(a)}  ratio {statistics.median(a) / statistics.median(b):.2f}"
                print(line + " tokens/s", flush=True)
        model.close()


if __name__ == "__main__":
    main()
