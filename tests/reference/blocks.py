"""Random blocks of each quantised type: every bit of the block is random but the scales, which give sane weights."""
import numpy as np
from gguf import GGMLQuantizationType as Type
from gguf import GGML_QUANT_SIZES, quants

# Byte offset of the f16 scale in a block, and of the f16 offset (minimum) where there is one. IQ1_M keeps the scale elsewhere.
SCALE = {"Q4_0": 0, "Q4_1": 0, "Q5_0": 0, "Q5_1": 0, "Q8_0": 0, "Q2_K": 80, "Q3_K": 108, "Q4_K": 0, "Q5_K": 0, "Q6_K": 208,
         "IQ2_XXS": 0, "IQ2_XS": 0, "IQ2_S": 0, "IQ3_XXS": 0, "IQ3_S": 0, "IQ1_S": 0, "IQ1_M": None, "IQ4_NL": 0, "IQ4_XS": 0}
OFFSET = {"Q4_1": 2, "Q5_1": 2, "Q2_K": 82, "Q4_K": 2, "Q5_K": 2}


def put(raw, at, values):
    """Stores one f16 in each block."""
    bits = values.astype(np.float16).view(np.uint16)
    if at is not None:
        raw[:, at:at + 2] = bits[:, None].view(np.uint8)
        return
    # IQ1_M: four nibbles of the f16, lowest first, are the high nibbles of the four u16 at the block's end.
    for i in range(4):
        raw[:, 49 + 2 * i] = (raw[:, 49 + 2 * i] & 0x0F) | (((bits >> (4 * i)) & 0xF) << 4).astype(np.uint8)


def random(rng, name, rows, cols, deviation):
    """(bytes [rows][row bytes], f32 values [rows][cols]) with about the standard deviation asked for, and mean 0."""
    kind = Type[name]
    length, size = GGML_QUANT_SIZES[kind]
    n = rows * cols // length
    raw = rng.integers(0, 256, (n, size), dtype=np.uint8)
    values = lambda: quants.dequantize(raw.reshape(rows, -1), kind)
    ones, ratio = np.ones(n), 0.0
    put(raw, SCALE[name], ones)
    if name in OFFSET:
        put(raw, OFFSET[name], 0 * ones)
        mean = values().mean()
        put(raw, SCALE[name], 0 * ones)
        put(raw, OFFSET[name], ones)
        ratio = -mean / values().mean()
        put(raw, SCALE[name], ones)
        put(raw, OFFSET[name], ratio * ones)
    scale = rng.uniform(0.5, 1.5, n) * deviation / values().std()
    if name not in OFFSET:
        scale *= rng.choice([-1, 1], n)
    put(raw, SCALE[name], scale)
    if name in OFFSET:
        put(raw, OFFSET[name], ratio * scale)
    return raw.reshape(rows, -1), values()
