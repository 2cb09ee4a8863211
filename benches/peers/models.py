#!/usr/bin/env python3
"""Models with random weights in the shapes that are compared, as GGUF in F16, quantised by `qorus quantize`.

Usage: models.py DIR [QORUS]        writes DIR/<shape>-<type>.gguf where missing; needs numpy and gguf

Speed does not depend on the values of weights, but on their types and shapes, and start-up on the size of the vocabulary: tokens and merges
are made up, as many and about as long as those of the real ones, and valid, so that every engine loads them.
"""
import subprocess
import sys
from pathlib import Path

import gguf
import numpy as np

# name: architecture, layers, width, ffn, heads, heads of keys and values, vocabulary, tied head, types
SHAPES = {
    "qwen2.5-0.5b": ("qwen2", 24, 896, 4864, 14, 2, 151936, True, ("Q4_0", "Q8_0", "Q4_K_M")),
    "llama-110m": ("llama", 12, 768, 2048, 12, 12, 32000, True, ("Q4_0", "Q8_0", "Q4_K_M")),
    "tinyllama-1.1b": ("llama", 22, 2048, 5632, 32, 4, 32000, False, ("Q4_0", "Q8_0", "Q4_K_M")),
}
LETTERS = "abcdefghijklmnopqrstuvwxyz"


def merged(rng, first, count):
    """`count` tokens that each join two earlier ones, and the pairs."""
    tokens, known, pairs = list(first), set(first), []
    while len(pairs) < count:
        a, b = (tokens[int(i)] for i in len(tokens) * rng.random(2) ** 3)
        if len(a + b) <= 12 and a + b not in known:
            known.add(a + b)
            tokens.append(a + b)
            pairs.append((a, b))
    return tokens[len(first):], pairs


def bpe(writer, rng, vocab):
    """Byte-level BPE as GPT-2 has it: a token for each byte, then what merges make."""
    from_byte = {b: chr(b) for b in (*range(33, 127), *range(161, 173), *range(174, 256))}
    for b in range(256):
        from_byte.setdefault(b, chr(256 + len(from_byte) - 188))
    letters = [*LETTERS, from_byte[32]]
    tokens, pairs = merged(rng, letters, vocab - 256 - 3)
    tokens = list(from_byte.values()) + tokens + ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list(tokens)
    writer.add_token_types([gguf.TokenType.NORMAL] * (vocab - 3) + [gguf.TokenType.CONTROL] * 3)
    writer.add_token_merges([f"{a} {b}" for a, b in pairs])
    writer.add_eos_token_id(vocab - 1)
    writer.add_add_bos_token(False)


def spm(writer, rng, vocab):
    """SentencePiece as Llama has it: three of control, the bytes, then pieces with falling scores."""
    letters = [*LETTERS, "▁"]
    pieces, _ = merged(rng, letters, vocab - 259 - len(letters))
    tokens = ["<unk>", "<s>", "</s>"] + [f"<0x{b:02X}>" for b in range(256)] + pieces + letters
    writer.add_tokenizer_model("llama")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(tokens)
    writer.add_token_scores([0.0] * 259 + [-float(i) for i in range(vocab - 259)])
    kinds = [gguf.TokenType.UNKNOWN, gguf.TokenType.CONTROL, gguf.TokenType.CONTROL] + [gguf.TokenType.BYTE] * 256
    writer.add_token_types(kinds + [gguf.TokenType.NORMAL] * (vocab - 259))
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)


def write(path, shape):
    arch, layers, width, ffn, heads, kv_heads, vocab, tied, _ = shape
    rng = np.random.default_rng(1)
    pool = (0.02 * rng.standard_normal(1 << 22)).astype(np.float16)
    writer = gguf.GGUFWriter(path, arch)
    writer.add_block_count(layers)
    writer.add_context_length(4096)
    writer.add_embedding_length(width)
    writer.add_feed_forward_length(ffn)
    writer.add_head_count(heads)
    writer.add_head_count_kv(kv_heads)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_rope_freq_base(1e6 if arch == "qwen2" else 1e4)
    if arch == "llama":
        writer.add_rope_dimension_count(width // heads)
    writer.add_vocab_size(vocab)
    (bpe if arch == "qwen2" else spm)(writer, rng, vocab)

    def matrix(name, rows, cols):
        n, at = rows * cols, int(rng.integers(pool.size))
        writer.add_tensor(name, np.resize(np.roll(pool, at), n).reshape(rows, cols))

    def vector(name, n, value):
        writer.add_tensor(name, np.full(n, value, np.float32))

    matrix("token_embd.weight", vocab, width)
    kv = width // heads * kv_heads
    for i in range(layers):
        block = f"blk.{i}."
        for name, rows in (("q", width), ("k", kv), ("v", kv)):
            matrix(f"{block}attn_{name}.weight", rows, width)
            if arch == "qwen2":
                vector(f"{block}attn_{name}.bias", rows, 0.0)
        matrix(f"{block}attn_output.weight", width, width)
        for name, rows, cols in (("gate", ffn, width), ("up", ffn, width), ("down", width, ffn)):
            matrix(f"{block}ffn_{name}.weight", rows, cols)
        for name in ("attn_norm", "ffn_norm"):
            vector(f"{block}{name}.weight", width, 1.0)
    vector("output_norm.weight", width, 1.0)
    if not tied:
        matrix("output.weight", vocab, width)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def main():
    if len(sys.argv) < 2:
        raise SystemExit(__doc__)
    home, qorus = Path(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else "qorus"
    for name, shape in SHAPES.items():
        wanted = [home / f"{name}-{kind}.gguf" for kind in shape[-1]]
        missing = [path for path in wanted if not path.exists()]
        if missing:
            whole = home / f"{name}-F16.gguf"
            write(whole, shape)
            for path in missing:
                subprocess.run([qorus, "quantize", whole, path, path.stem.rsplit("-", 1)[1]], check=True, stdout=sys.stderr)
            whole.unlink()
        print(*wanted, sep="\n")


if __name__ == "__main__":
    main()
