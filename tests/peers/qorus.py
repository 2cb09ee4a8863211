"""The `qorus` command as the scripts here call it. The environment's QORUS names it; otherwise the release build is taken."""
import json
import os
import pathlib
import subprocess

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
COMMAND = os.environ.get("QORUS", str(ROOT / "target" / "release" / "qorus"))


def call(*args):
    """What `qorus ARGS --json` prints, read. A failed run ends the script with its message."""
    words = [COMMAND, *map(str, args)]
    at = words.index("--") if "--" in words else len(words)
    words.insert(at, "--json")
    try:
        done = subprocess.run(words, capture_output=True, text=True)
    except OSError as error:
        raise SystemExit(f"{COMMAND}: {error.strerror}; build it (cargo build --release) or set QORUS")
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(words)}: exit code {done.returncode}\n{done.stderr.strip()}")
    return json.loads(done.stdout)


def models(peers, given, copies=False):
    """The models given, or those that fetch.sh brought, with their F32 copies (dequantize.py) if asked."""
    found = sorted(pathlib.Path(peers).glob("*.gguf"))
    return [pathlib.Path(p) for p in given] or [p for p in found if copies or not p.name.endswith(".F32.gguf")]


def sample(peers, path, size):
    """The first `size` bytes of a text file (moby-dick.txt unless given), cut at a character."""
    raw = pathlib.Path(path or pathlib.Path(peers) / "moby-dick.txt").read_bytes()[:size]
    return raw.decode(errors="ignore").encode()
