#!/usr/bin/env python3
"""Code to learn from, and code that is held out: train.jsonl with pieces of whole lines, test.py with the end of the file.

    code.py FILE DIR [--share 0.05] [--piece 640]

FILE is a large Python file, as of many modules one after another; its last share is held out. A piece begins where a line is not indented
if the file allows it, and has at most so many characters. Only the standard library is needed."""
import argparse
import json
import pathlib


def pieces(text, most):
    """Whole lines, up to `most` characters of them; a new piece where a line without indent follows half of that."""
    piece = ""
    for line in text.splitlines(keepends=True):
        top = line[:1].strip() and line[0] not in ")]}#"
        if piece and (len(piece) + len(line) > most or top and len(piece) > most // 2):
            yield piece
            piece = ""
        piece += line
    if piece:
        yield piece


def main():
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("file", type=pathlib.Path)
    args.add_argument("dir", type=pathlib.Path)
    args.add_argument("--share", type=float, default=0.05)
    args.add_argument("--piece", type=int, default=640)
    args = args.parse_args()
    text = args.file.read_text()
    at = text.index("\n", int(len(text) * (1 - args.share))) + 1
    args.dir.mkdir(parents=True, exist_ok=True)
    made = [piece for piece in pieces(text[:at], args.piece) if piece.strip()]
    (args.dir / "train.jsonl").write_text("".join(json.dumps({"text": piece}) + "\n" for piece in made))
    (args.dir / "test.py").write_text(text[at:])
    print(f"{len(made)} pieces to learn from, {len(text) - at} characters held out")


if __name__ == "__main__":
    main()
