#!/usr/bin/env python3
"""Inference beside llama.cpp and, where a build of it is given, ik_llama.cpp: in turn, A B A B, on the same file and threads.

Usage: inference.py [-m MODEL]... [-t 1,2] [-r ROUNDS] [--isa avx2] [--tests LIST] [--json FILE]     see inference.sh

  prefill   512 tokens from an empty cache, in one batch, the last one's logits taken
  decode    128 times one token with its logits
  eight     8 sequences of 32 tokens, decoded together: tokens of all of them
  repeat    128 tokens after a text that comes three times and then begins again: Qorus guesses from the text and checks (the
            same tokens as one by one), the peers decode plainly; only for models with real weights
  start     from nothing to the first token after a prompt of 16, the file being in the page cache; milliseconds
  memory    bytes beyond the mapped file, at most, of a prefill and a decode (private memory of the process; of llama.cpp
            less that of the Python it runs in)

llama.cpp is the prebuilt library, called through ctypes with an F16 cache, its own choice of flash attention and of repacking, and a lasting
thread pool; ik_llama.cpp is its own llama-bench (once as it is, once with run-time repacking). Qorus runs on the mapped file, and
once more on a copy in memory (`--copy`), as peers that repack have one. Each file is read from the disk once before the rounds, by Qorus;
all engines that map it share that page cache. Printed are medians of the
rounds, the best in brackets, and the ratio of Qorus on the mapped file to the faster of the peers (above 1: Qorus is better). Machines are noisy: look
at the spread first.
"""
import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent.parent / "tests" / "peers"))
import qorus  # noqa: E402

PROMPT = "one two three four five six seven"
TEXT = """The harbour lay quiet under a low sky. Two boats came in before noon, and the men who rowed them said nothing of the
storm. On the third day a letter arrived for the widow at the corner house: her brother was alive, he had found work in a northern town,
and he would send for her in spring. She read it twice, folded it, and went out to buy bread. """
REPEAT = 3 * TEXT + TEXT.split(",")[0] + ","
TESTS = ("prefill", "decode", "eight", "repeat", "start", "memory")
LOWER_IS_BETTER = ("start", "memory")


class Watch:
    """The greatest private memory of a process, looked at often."""

    def __init__(self, pid):
        self.path, self.most, self.stop = Path(f"/proc/{pid}/status"), 0, False
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self):
        while not self.stop:
            try:
                line = next(line for line in self.path.read_text().splitlines() if line.startswith("RssAnon"))
                self.most = max(self.most, int(line.split()[1]) << 10)
            except (OSError, StopIteration):
                break
            time.sleep(0.002)

    def end(self):
        self.stop = True
        self.thread.join()
        return self.most


def watched(*words, env=None):
    """What the command prints, its greatest private memory, and its seconds."""
    start = time.perf_counter()
    process = subprocess.Popen([str(w) for w in words], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=env)
    watch = Watch(process.pid)
    out = process.communicate()[0]
    seconds = time.perf_counter() - start
    if process.returncode:
        raise SystemExit(f"{' '.join(map(str, words))}: exit code {process.returncode}")
    return out, watch.end(), seconds


class Qorus:
    def __init__(self, args, copy):
        self.name = "qorus copied" if copy else "qorus"
        self.isa = ["--isa", args.isa] if args.isa else []
        self.copy = ["--copy"] if copy else []
        self.p, self.n = args.p, args.n

    def run(self, test, path, threads):
        flags = ["-m", path, "-t", threads, *self.copy]
        bench = lambda p, n, *more: qorus.call("bench", *flags, "-p", p, "-n", n, "-r", 1, *self.isa, *more)
        if test == "prefill":
            return bench(self.p, 0)[0]["tokens_per_s"]
        if test == "decode":
            return bench(0, self.n)[0]["tokens_per_s"]
        if test == "eight":
            return bench(0, 32, "--seqs", 8)[0]["tokens_per_s"]
        env = {**os.environ, **({"QORUS_ISA": self.isa[1]} if self.isa else {})}
        if test == "repeat":
            out = watched(qorus.COMMAND, "run", *flags, "-n", self.n, "--temp", 0, "--json", REPEAT, env=env)[0]
            return json.loads(out)["decode_tokens_per_s"]
        if test == "start":
            return watched(qorus.COMMAND, "run", *flags, "-n", 1, "--temp", 0, PROMPT, env=env)[2]
        return watched(qorus.COMMAND, "bench", *flags, "-p", self.p, "-n", 16, "-r", 1, *self.isa)[1]


class LlamaCpp:
    """In a process of its own for what needs a fresh one, in this one for what does not."""
    name = "llama.cpp"

    def __init__(self, args):
        from llamacpp import F16, Context, Library, Model
        self.lib, self.args, self.Model, self.Context, self.F16 = Library(cpu="haswell" if args.isa else None), args, Model, Context, F16
        self.model = self.path = None

    def load(self, path):
        if path != self.path:
            if self.model:
                self.model.close()
            self.model, self.path = self.Model(self.lib, path), path

    def context(self, threads, n_ctx, n_batch, seqs=1):
        context = self.Context(self.model, n_ctx, threads, self.F16, n_batch=n_batch, flash=-1, seqs=seqs)
        context.start_pool(threads)
        return context

    def run(self, test, path, threads):
        if test in LOWER_IS_BETTER:
            flags = ["--isa", self.args.isa] if self.args.isa else []
            child = [sys.executable, __file__, "--child", test, "-m", path, "-t", threads, "-p", self.args.p, *flags]
            out, memory, _ = watched(*child)
            result = json.loads(out)
            return result["seconds"] if test == "start" else memory - result["before"]
        self.load(path)
        p, n, seqs = {"prefill": (self.args.p, 0, 1), "decode": (1, self.args.n, 1), "eight": (0, 32, 8),
                      "repeat": (0, self.args.n, 1)}[test]
        tokens = [10 + i * 7919 % (self.model.n_vocab - 20) for i in range(max(p, n, 8))]
        if test == "repeat":
            text = self.model.encode(REPEAT)
            p, tokens = len(text), text + text
        context = self.context(threads, p + n + 2, max(p, seqs), seqs)
        if test == "eight":
            context.step(tokens[:8])  # graphs and pages are ready, as for qorus, whose bench runs once before it measures
        elif test in ("decode", "repeat"):
            context.feed(tokens[:p])
        else:
            context.feed(tokens[:p], p - 1)
            context.clear()
        start = time.perf_counter()
        if test == "prefill":
            context.feed(tokens[:p], p - 1)
        for i in range(n):
            context.step([tokens[i]] * seqs) if seqs > 1 else context.feed([tokens[i]])
        seconds = time.perf_counter() - start
        context.close()
        return (p if test == "prefill" else n * seqs) / seconds

    def child(self, test, path, threads):
        """One run in this process; seconds from before the file was opened, private memory before it."""
        before = next(int(line.split()[1]) << 10 for line in open("/proc/self/status") if line.startswith("RssAnon"))
        start = time.perf_counter()
        self.load(path)
        tokens = self.model.encode(PROMPT)[:16] if test == "start" else [10 + i for i in range(self.args.p)]
        tokens = (tokens + [10] * 16)[:16] if test == "start" else tokens
        context = self.context(threads, len(tokens) + 20, len(tokens))
        context.feed(tokens, len(tokens) - 1)
        seconds = time.perf_counter() - start
        if test == "memory":
            for token in tokens[:16]:
                context.feed([token])
        print(json.dumps({"seconds": seconds, "before": before}))


class Ik:
    def __init__(self, home, args, repack):
        self.name, self.home, self.args = "ik repacked" if repack else "ik", Path(home), args
        self.flags = ["-rtr", 1] if repack else []

    def run(self, test, path, threads):
        bench = [self.home / "llama-bench", "-m", path, "-t", threads, "-r", 1, "-o", "json", "-fa", 1, *self.flags]
        rate = lambda *words: json.loads(watched(*bench, *words)[0])[0]["avg_ts"]
        if test == "prefill":
            return rate("-p", self.args.p, "-n", 0)
        if test == "decode":
            return rate("-p", 0, "-n", self.args.n)
        if test == "repeat":
            return rate("-p", 0, "-n", 0, "-gp", f"{len(REPEAT) // 4},{self.args.n}")
        if test == "start":
            return watched(*bench, "-p", 16, "-n", 0, "-w", 0)[2]
        if test == "memory":
            return watched(*bench, "-p", self.args.p, "-n", 16, "-w", 0)[1]
        return None


def show(test, values):
    middle, best = statistics.median(values), (min if test in LOWER_IS_BETTER else max)(values)
    scale, digits = {"memory": (1 / (1 << 20), 1), "start": (1e3, 0)}.get(test, (1, 1))
    return f"{middle * scale:.{digits}f} [{best * scale:.{digits}f}]"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-m", dest="models", action="append", default=[])
    parser.add_argument("-t", dest="threads", default="1,2")
    parser.add_argument("-p", type=int, default=512)
    parser.add_argument("-n", type=int, default=128)
    parser.add_argument("-r", dest="rounds", type=int, default=3)
    parser.add_argument("--isa", choices=["avx2"], help="cap both at AVX2")
    parser.add_argument("--tests", default=",".join(TESTS))
    parser.add_argument("--ik", default=os.environ.get("IK_LLAMA"), help="folder with ik_llama.cpp's llama-bench")
    parser.add_argument("--json", help="file for the results")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    args = parser.parse_args()
    threads = [int(t) for t in args.threads.split(",")]
    if args.child:
        return LlamaCpp(args).child(args.child, args.models[0], threads[0])
    engines = [Qorus(args, False), Qorus(args, True), LlamaCpp(args)] + ([Ik(args.ik, args, False), Ik(args.ik, args, True)] if args.ik else [])
    print(f"| model | test | threads | {' | '.join(e.name for e in engines)} | ratio |\n|{' --- |' * (4 + len(engines))}", flush=True)
    results = []
    for path in args.models:
        # From the disk anew, by Qorus: the page cache, which is everybody's, is then in the large folios that it asks for.
        with open(path, "rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        engines[0].run("start", path, 1)
        for test in args.tests.split(","):
            if test == "repeat" and "SmolLM2" not in Path(path).name:
                continue
            for t in threads:
                if test == "start":
                    engines[0].run(test, path, t)  # the page cache
                values = [[] for _ in engines]
                for _ in range(args.rounds):
                    for engine, into in zip(engines, values):
                        into.append(engine.run(test, path, t))
                middles = [statistics.median(v) if v[0] is not None else None for v in values]
                peers = [m for m in middles[2:] if m is not None]
                ratio = min(peers) / middles[0] if test in LOWER_IS_BETTER else middles[0] / max(peers)
                cells = [show(test, v) if v[0] is not None else "-" for v in values]
                print(f"| {Path(path).stem} | {test} | {t} | {' | '.join(cells)} | {ratio:.2f} |", flush=True)
                results.append({"model": Path(path).stem, "test": test, "threads": t, "isa": args.isa or "native", "ratio": ratio,
                                **{e.name: v for e, v in zip(engines, values)}})
    if args.json:
        Path(args.json).write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
