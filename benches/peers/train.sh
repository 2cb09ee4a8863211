#!/bin/sh
# Training beside PyTorch: installs it by package name into a virtual environment under DIR (or takes that of QORUS_PEERS), builds the bench
# and runs train.py.
# Usage: benches/peers/train.sh DIR [OPTIONS OF train.py]      needs cargo, python3 with venv; about 1 GB of disk
set -eu
here=$(cd "$(dirname "$0")" && pwd)
dir=${1:?usage: train.sh DIR [OPTIONS]}
shift
mkdir -p "$dir"
python=${QORUS_PEERS:-$dir/venv}/bin/python
[ -x "$python" ] || python3 -m venv "$dir/venv"
"$python" -c 'import torch' 2> /dev/null ||
    "$python" -m pip install --quiet torch numpy
cd "$here/../.."
built() {
    cargo bench --quiet --features train --bench "$1" --no-run --message-format json |
        sed -n "/\"name\":\"$1\"/s/.*\"executable\":\"\([^\"]*\)\".*/\1/p"
}
QORUS_TRAIN_STEP=$(built train_step)
QORUS_TRAIN_KERNELS=$(built train_kernels)
export QORUS_TRAIN_STEP QORUS_TRAIN_KERNELS
exec "$python" "$here/train.py" "$@"
