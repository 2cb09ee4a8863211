"""Writes src/blocks/grids.rs from the format constants of the `gguf` package (pip install gguf numpy).

Usage: python grids.py > ../../src/blocks/grids.rs && rustfmt ../../src/blocks/grids.rs
"""

import numpy as np
from gguf import quants

print(
    """//! Grids of the IQ formats: constants of the GGUF format, written by tests/scripts/grids.py from version
//! {} of the `gguf` Python package. A point's coordinates are packed in fields of 2 or 4 bits here and
//! expanded to bytes at compile time.

#![cfg_attr(rustfmt, rustfmt_skip)]
""".replace("{}", __import__("importlib.metadata").metadata.version("gguf"))
)
print(
    """/// Applies a sign to each of eight magnitudes: bit `j` of `signs` negates byte `j` of `point`.
#[inline(always)]
pub fn signed8(point: u64, signs: u8, q: &mut [i8; 8]) {
    for (j, (q, point)) in q.iter_mut().zip(point.to_le_bytes()).enumerate() {
        *q = if signs >> j & 1 == 0 { point as i8 } else { -(point as i8) };
    }
}

/// Eight signs from seven bits: the eighth makes the number of set bits even.
pub static SIGNS: [u8; 128] = {
    let mut signs = [0; 128];
    let mut i = 0;
    while i < 128 {
        signs[i] = i as u8 | ((i as u8).count_ones() as u8 & 1) << 7;
        i += 1;
    }
    signs
};

const fn expand8<const N: usize>(packed: [u16; N], values: [i8; 3]) -> [u64; N] {
    let mut grid = [0; N];
    let mut i = 0;
    while i < N {
        let mut j = 0;
        while j < 8 {
            grid[i] |= (values[(packed[i] >> (2 * j) & 3) as usize] as u8 as u64) << (8 * j);
            j += 1;
        }
        i += 1;
    }
    grid
}

const fn expand4<const N: usize>(packed: [u16; N], values: [u8; 8]) -> [u32; N] {
    let mut grid = [0; N];
    let mut i = 0;
    while i < N {
        let mut j = 0;
        while j < 4 {
            grid[i] |= (values[(packed[i] >> (4 * j) & 7) as usize] as u32) << (8 * j);
            j += 1;
        }
        i += 1;
    }
    grid
}
"""
)
for name, cls, doc in [
    ("IQ2_XXS", quants.IQ2_XXS, "IQ2_XXS: 256 points of eight magnitudes."),
    ("IQ2_XS", quants.IQ2_XS, "IQ2_XS: 512 points of eight magnitudes."),
    ("IQ2_S", quants.IQ2_S, "IQ2_S: 1024 points of eight magnitudes."),
    ("IQ3_XXS", quants.IQ3_XXS, "IQ3_XXS: 256 points of four magnitudes."),
    ("IQ3_S", quants.IQ3_S, "IQ3_S: 512 points of four magnitudes."),
    ("IQ1", quants.IQ1_S, "IQ1_S and IQ1_M: 2048 points of eight numbers -1, 0 or 1."),
]:
    cls.init_grid()
    grid = np.asarray(cls.grid).reshape(cls.grid_shape)
    width = cls.grid_shape[1]
    values = list(cls.grid_map)
    field = 16 // width
    packed = [sum(values.index(int(v)) << (field * j) for j, v in enumerate(point)) for point in grid]
    word = "u64" if width == 8 else "u32"
    listed = ", ".join(str(int(v)) for v in values)
    print(f"/// {doc}")
    print(f"pub static {name}: [{word}; {len(packed)}] = expand{width}([")
    for i in range(0, len(packed), 14):
        print("    " + ", ".join(f"0x{v:04x}" for v in packed[i : i + 14]) + ",")
    print(f"], [{listed}]);\n")
