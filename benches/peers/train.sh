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
build=$(cargo bench --quiet --features train --bench train_step --no-run --message-format json | grep '"name":"train_step"')
QORUS_TRAIN_STEP=$(echo "$build" | sed 's/.*"executable":"\([^"]*\)".*/\1/')
export QORUS_TRAIN_STEP
exec "$python" "$here/train.py" "$@"
