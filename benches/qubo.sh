#!/bin/sh
# Time to given values on published instances, on one thread, as a table; with DIR also dwave-samplers (annealing and tabu, installed from PyPI
# into a virtual environment there) on the same instances in the same run, and ratios.
# Usage: QORUS_QUBO_DIR=FOLDER benches/qubo.sh [DIR [OPTIONS OF peers/qubo.py]]      needs cargo, python3
set -eu
here=$(cd "$(dirname "$0")" && pwd)
cd "$here/.."
cargo bench --quiet --features qubo --bench qubo_table --no-run
if [ $# -eq 0 ]; then
    exec python3 "$here/peers/qubo.py" --alone
fi
dir=$1
shift
mkdir -p "$dir"
[ -x "$dir/venv/bin/python" ] || python3 -m venv "$dir/venv"
"$dir/venv/bin/python" -c 'import dwave.samplers' 2> /dev/null || "$dir/venv/bin/pip" install --quiet dwave-samplers
exec "$dir/venv/bin/python" "$here/peers/qubo.py" "$@"
