#!/bin/sh
# Fine-tuning beside PyTorch and PEFT: installs them by package name into a virtual environment under DIR (or takes that of QORUS_PEERS), builds the
# bench and runs finetune.py.
# Usage: benches/peers/finetune.sh DIR [OPTIONS OF finetune.py]      needs cargo, python3 with venv; about 2 GB of disk
set -eu
here=$(cd "$(dirname "$0")" && pwd)
dir=${1:?usage: finetune.sh DIR [OPTIONS]}
shift
mkdir -p "$dir"
python=${QORUS_PEERS:-$dir/venv}/bin/python
[ -x "$python" ] || python3 -m venv "$dir/venv"
"$python" -c 'import peft, torch, transformers' 2> /dev/null ||
    "$python" -m pip install --quiet torch transformers peft numpy
cd "$here/../.."
build=$(cargo bench --quiet --features train --bench finetune --no-run --message-format json | grep '"name":"finetune"')
QORUS_FINETUNE=$(echo "$build" | sed 's/.*"executable":"\([^"]*\)".*/\1/')
export QORUS_FINETUNE
exec "$python" "$here/finetune.py" "$@"
