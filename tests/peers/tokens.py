#!/usr/bin/env python3
"""Tokenization: llama.cpp beside `qorus tokenize`, on a long text and on lines that are hard to split.

Usage: tokens.py [-m MODEL]... [-f TEXT] [--bytes N]      needs QORUS_PEERS (fetch.sh)
"""
import argparse
import os
import tempfile

import qorus
from llamacpp import Library, Model

HARD = [
    "", " ", "  ", "   leading and trailing   ", "\n", "\n\n\n", "\t\t tabs\tand\r\nreturns\r", "ends with space ",
    "no-break\u00a0em\u2003ideographic\u3000spaces", "I'm you'll they'd WE'RE it's o'clock 'tis",
    "1 12 123 1234 12345 3.14159 1,000,000 0x1F", "x=1;y+=2;//!?#$%^&*()[]{}<>|\\~`", "    def f(x):\n        return x  # four, eight\n",
    "naïve café Ångström e\u0301", "你好，世界！ こんにちは 안녕하세요", "Привет, мир! Γειά σου", "مرحبا بالعالم", "שלום", "नमस्ते",
    "\U0001f600 \U0001f468\u200d\U0001f469\u200d\U0001f467 \U0001f1e9\U0001f1ea \u2764\ufe0f", "\x01\x7f control", "\ufeffbom \u200bzero\u200dwidth",
    "<s> </s> <|im_start|>user\nhi<|im_end|> <bos><start_of_turn>", "<0x41> \u2581 \u2581\u2581x", "a" * 48, "\ud7a3\U00020000\U0010fffd",
]


def compare(model, path, name, text, special):
    """Prints where the two part; true when they do not."""
    theirs = model.encode(text, special=special)
    with tempfile.NamedTemporaryFile() as file:
        file.write(text if isinstance(text, bytes) else text.encode())
        file.flush()
        ours = qorus.call("tokenize", "-m", path, "-f", file.name, *(["--special"] if special else []))
    if ours == theirs:
        return True
    at = next((i for i, (a, b) in enumerate(zip(ours, theirs)) if a != b), min(len(ours), len(theirs)))
    how = " with special tokens" if special else ""
    print(f"{path.name}: {name}{how} parts at token {at}: qorus {ours[at:at + 6]}, llama.cpp {theirs[at:at + 6]}")
    return False


def main():
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("-m", dest="models", action="append", default=[])
    args.add_argument("-f", dest="file")
    args.add_argument("--bytes", type=int, default=262144)
    args = args.parse_args()
    lib, peers = Library(), os.environ["QORUS_PEERS"]
    text = qorus.sample(peers, args.file, args.bytes)
    for path in qorus.models(peers, args.models):
        model = Model(lib, path, vocab_only=True)
        cases = [("the text", text)] + [(repr(line), line) for line in HARD]
        results = [compare(model, path, name, part, special) for name, part in cases for special in (False, True)]
        print(f"{path.name}: {sum(results)} of {len(results)} equal", flush=True)
        model.close()


if __name__ == "__main__":
    main()
