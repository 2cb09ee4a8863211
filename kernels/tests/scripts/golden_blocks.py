"""Writes tests/golden/blocks.bin: random blocks of every quantized type and the values the `gguf` package gives them.

Usage: python golden_blocks.py ../golden/blocks.bin   (pip install gguf numpy)
Records: u32 type, u32 bytes, u32 values, the blocks, the values as f32; all little-endian.
"""

import struct
import sys

import numpy as np
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType, quants

# Byte offsets of the half-precision numbers in a block; they are made finite, some of them subnormal.
HALVES = {
    "Q4_0": [0], "Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2], "Q8_0": [0],
    "Q2_K": [80, 82], "Q3_K": [108], "Q4_K": [0, 2], "Q5_K": [0, 2], "Q6_K": [208],
    "IQ2_XXS": [0], "IQ2_XS": [0], "IQ2_S": [0], "IQ3_XXS": [0], "IQ3_S": [0],
    "IQ1_S": [0], "IQ4_NL": [0], "IQ4_XS": [0], "IQ1_M": [],
}  # fmt: skip

rng = np.random.default_rng(1)
with open(sys.argv[1], "wb") as out:
    for name, halves in HALVES.items():
        ty = GGMLQuantizationType[name]
        block_len, block_bytes = GGML_QUANT_SIZES[ty]
        count = 16 if block_len == 32 else 2
        blocks = rng.integers(0, 256, (count, block_bytes), dtype=np.uint8)
        for offset in halves:
            scale = (rng.normal(0, 1, count) * 10.0 ** rng.integers(-7, 2, count)).astype(np.float16)
            blocks[:, offset : offset + 2] = scale.view(np.uint8).reshape(count, 2)
        if name == "IQ1_M":
            blocks[:, 55] &= 0xBF  # the exponent's top bit: keeps the assembled number finite
        values = quants.dequantize(blocks, ty).astype("<f4").reshape(-1)
        assert np.isfinite(values).all() and values.size == count * block_len
        out.write(struct.pack("<III", ty.value, blocks.size, values.size))
        out.write(blocks.tobytes() + values.tobytes())
