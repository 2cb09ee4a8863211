#!/usr/bin/env python3
"""Runs the models of tests/reference/ in llama.cpp and prints how far its logits are from the reference.

Usage: reference_logits.py [NAME...]        needs QORUS_PEERS (fetch.sh)
"""
import argparse
import pathlib

import numpy as np

from llamacpp import Context, Library, Model

HERE = pathlib.Path(__file__).resolve().parent.parent / "reference"


def read(path):
    """(tokens, logits [token][vocab], n_ctx) of a .logits file."""
    raw = path.read_bytes()
    magic, n, vocab, n_ctx = np.frombuffer(raw, "<u4", 4)
    assert magic == 0x46455251, path
    tokens = np.frombuffer(raw, "<i4", n, 16)
    return tokens.tolist(), np.frombuffer(raw, "<f4", n * vocab, 16 + 4 * n).reshape(n, vocab), int(n_ctx)


def main():
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("names", nargs="*")
    names = args.parse_args().names
    lib = Library()
    for path in sorted(HERE.glob("*.logits")):
        stem = path.name.split(".")[0]
        if names and stem not in names:
            continue
        tokens, want, n_ctx = read(path)
        model = Model(lib, HERE / f"{stem}.gguf")
        context = Context(model, n_ctx, threads=1)
        diff = np.abs(context.feed(tokens) - want)
        rms = np.sqrt((diff**2).mean())
        print(f"{path.name:30} greatest difference {diff.max():.2e}, root mean square {rms:.2e}, logits up to {np.abs(want).max():.1f}")
        context.close()
        model.close()


if __name__ == "__main__":
    main()
