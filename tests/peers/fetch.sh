#!/bin/sh
# Fetches llama.cpp for Linux x86-64, prebuilt, by package name into DIR (npm package node-llama-cpp, version fixed: the
# struct layouts in llamacpp.py belong to it). Nothing of the package is run: only its shared libraries are used.
# Usage: fetch.sh DIR        then: export QORUS_PEERS=DIR
set -eu
dir=${1:?usage: fetch.sh DIR}
mkdir -p "$dir" && cd "$dir"
[ -f package.json ] || printf '{"private": true}\n' > package.json
npm install --ignore-scripts --no-audit --no-fund node-llama-cpp@3.22.1
ls node_modules/@node-llama-cpp/linux-x64/bins/linux-x64/libllama*.so
