#!/usr/bin/env python3
"""Copies a GGUF file with every tensor as F32, by the `gguf` package's own arithmetic.

Usage: dequantize.py IN OUT

With quantised weights both engines round activations to 8 bits, and a last-bit difference anywhere makes other roundings from there
on; with F32 weights nothing is rounded, and two right implementations agree closely. greedy.py is sharp on such copies only.
"""
import pathlib
import sys

import gguf
import numpy as np


def main():
    if len(sys.argv) != 3:
        raise SystemExit(__doc__)
    source, into = gguf.GGUFReader(sys.argv[1]), pathlib.Path(sys.argv[2])
    arch = source.get_field("general.architecture").contents()
    out = gguf.GGUFWriter(into, arch)
    for name, field in source.fields.items():
        if name.startswith("GGUF.") or name in ("general.architecture", "general.file_type"):
            continue
        kind, *inner = field.types
        out.add_key_value(name, field.contents(), kind, sub_type=inner[-1] if inner else None)
    for tensor in source.tensors:
        out.add_tensor_info(tensor.name, tuple(map(int, tensor.shape[::-1])), np.dtype("float32"), int(tensor.n_elements) * 4)
    out.write_header_to_file()
    out.write_kv_data_to_file()
    out.write_ti_data_to_file()
    for tensor in source.tensors:
        out.write_tensor_data(gguf.dequantize(tensor.data, tensor.tensor_type))
    out.close()


if __name__ == "__main__":
    main()
