#!/usr/bin/env python3
"""Steps of training beside PyTorch, eager and compiled: in turn, A B A B, the same llama, batch and threads. See train.sh.

Usage: train.py [--shapes T,S] [-t 2] [--steps N] [-r ROUNDS] [--avx2] [--kernels] [--json FILE]

A step is: forward, mean cross-entropy, backward, clipping to norm 1, AdamW; all f32. PyTorch's has scaled_dot_product_attention, its fused AdamW
and, in the compiled variant, the whole forward pass with the loss under torch.compile. Qorus is `cargo bench --bench train_step`. Both sides
begin with the same weights and tokens, which Qorus writes to a file, and their losses of the first two steps must agree; a compiled step with other losses is shown, but not compared with. Each run
is a process of its own that times steps after some for warming up, and says its peak resident memory. Printed are medians of the rounds, the best
in brackets, and the ratio of Qorus to the better of PyTorch's two (above 1: Qorus is better). `--avx2` caps both sides to AVX2. `--kernels` measures
operations alone too, Qorus' by `cargo bench --bench train_kernels`.
"""
import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SHAPES = {
    "T": dict(layers=4, width=256, heads=8, kv=4, hidden=688, vocab=4096, seqs=8, len=256),
    "S": dict(layers=6, width=288, heads=6, kv=6, hidden=768, vocab=32000, seqs=8, len=256),
}
CAPS = {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2", "MKL_ENABLE_INSTRUCTIONS": "AVX2", "MKL_DEBUG_CPU_TYPE": "5"}


def llama(torch, s):
    from torch import nn
    from torch.nn import functional as F
    head = s["width"] // s["heads"]

    def linear(a, b):
        return nn.Linear(a, b, bias=False)

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            d, kv, h = s["width"], s["kv"] * head, s["hidden"]
            self.norm1, self.norm2 = nn.RMSNorm(d, 1e-5), nn.RMSNorm(d, 1e-5)
            self.q, self.k, self.v, self.o = linear(d, d), linear(d, kv), linear(d, kv), linear(d, d)
            self.gate, self.up, self.down = linear(d, h), linear(d, h), linear(h, d)

        def forward(self, x, cos, sin):
            b, t, d = x.shape

            def heads(y, n):
                return y.view(b, t, n, head).transpose(1, 2)

            def turn(y):
                a, b = y.chunk(2, -1)
                return y * cos + torch.cat((-b, a), -1) * sin

            y = self.norm1(x)
            q, k, v = turn(heads(self.q(y), s["heads"])), turn(heads(self.k(y), s["kv"])), heads(self.v(y), s["kv"])
            y = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=s["heads"] != s["kv"])
            x = x + self.o(y.transpose(1, 2).reshape(b, t, d))
            y = self.norm2(x)
            return x + self.down(F.silu(self.gate(y)) * self.up(y))

    class Llama(nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding = nn.Embedding(s["vocab"], s["width"])
            self.blocks = nn.ModuleList(Block() for _ in range(s["layers"]))
            self.norm, self.head = nn.RMSNorm(s["width"], 1e-5), linear(s["width"], s["vocab"])
            angles = torch.outer(torch.arange(s["len"]), 1e4 ** (-torch.arange(0, head, 2) / head)).repeat(1, 2)
            self.register_buffer("cos", angles.cos(), persistent=False)
            self.register_buffer("sin", angles.sin(), persistent=False)

        def forward(self, ids, targets):
            x = self.embedding(ids)
            for block in self.blocks:
                x = block(x, self.cos, self.sin)
            logits = self.head(self.norm(x))
            return F.cross_entropy(logits.view(-1, s["vocab"]), targets.reshape(-1))

    return Llama()


def load(torch, model, s, path):
    """Fills the model with what Qorus wrote, and gives the ids: inputs and targets."""
    rows, head = s["seqs"] * s["len"], s["width"] // s["heads"]
    data = torch.from_file(str(path), size=Path(path).stat().st_size // 4, dtype=torch.float32)
    ids, at = data[:rows + 1].view(torch.int32).long(), rows + 1
    parameters = [model.embedding.weight]
    for b in model.blocks:
        layers = [b.norm1, b.q, b.k, b.v, b.o, b.norm2, b.gate, b.up, b.down]
        parameters += [layer.weight for layer in layers]
    parameters += [model.norm.weight, model.head.weight]
    turned = {id(layer.weight) for b in model.blocks for layer in (b.q, b.k)}
    with torch.no_grad():
        for p in parameters:
            values, at = data[at:at + p.numel()].view(p.shape), at + p.numel()
            if id(p) in turned:
                # The file's heads turn elements 2i and 2i + 1 together, this model's i and i + half.
                values = values.view(-1, head // 2, 2, p.shape[1]).transpose(1, 2).reshape(p.shape)
            p.copy_(values)
    if at != data.numel():
        raise SystemExit(f"{path}: {data.numel()} numbers, the model has {at}")
    return ids[:-1].view(s["seqs"], s["len"]).clone(), ids[1:].view(s["seqs"], s["len"]).clone()


def torch_steps(args):
    """One process of PyTorch: prints what a step takes."""
    import torch
    torch.set_num_threads(args.t)
    s = SHAPES[args.shapes]
    model = llama(torch, s)
    inputs, targets = load(torch, model, s, args.weights)
    groups = [{"params": [p for p in model.parameters() if p.dim() > 1], "weight_decay": 0.1},
              {"params": [p for p in model.parameters() if p.dim() == 1], "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=1e-3, betas=(0.9, 0.999), fused=True)
    forward = torch.compile(model) if args.child == "compiled" else model
    times, losses = [], []
    for step in range(args.steps + 2):
        start = time.perf_counter()
        loss = forward(inputs, targets)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        value = loss.item()
        times.append(time.perf_counter() - start)
        losses.append(value)
    rows, median = s["seqs"] * s["len"], statistics.median(times[2:])
    print(json.dumps({
        "shape": args.shapes, "step_ms": median * 1e3, "best_ms": min(times[2:]) * 1e3, "tokens_per_s": rows / median,
        "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024, "loss_first": losses[0], "loss_second": losses[1], "loss_last": value,
        "capability": torch.backends.cpu.get_cpu_capability(), "torch": torch.__version__,
    }))


def torch_kernels(args):
    """Kernels alone, in milliseconds: the best of some runs."""
    import torch
    from torch.nn import functional as F
    torch.set_num_threads(args.t)

    def best(f, runs=8):
        f()
        times = []
        for _ in range(runs):
            start = time.perf_counter()
            f()
            times.append(time.perf_counter() - start)
        return min(times) * 1e3

    def both(f, *inputs):
        inputs = [x.requires_grad_() for x in inputs]
        y = f(*inputs)
        seed = torch.ones_like(y)

        def run():
            for x in inputs:
                x.grad = None
            f(*inputs).backward(seed)
        return best(run)

    out = {}
    w = torch.zeros(50_000_000, requires_grad=True)
    w.grad = torch.full_like(w, 1e-3)
    optimizer = torch.optim.AdamW([w], lr=1e-3, fused=True)
    out["adamw 50M"] = best(optimizer.step)
    out["clip norm 50M"] = best(lambda: torch.nn.utils.clip_grad_norm_([w], 1e9))
    out["zero grad 50M"] = best(w.grad.zero_)
    del w, optimizer
    x, t = torch.randn(2048, 32000), torch.randint(0, 32000, (2048,))
    with torch.no_grad():
        out["cross-entropy 2048x32000, forward"] = best(lambda: F.cross_entropy(x, t))
    out["cross-entropy 2048x32000"] = both(lambda x: F.cross_entropy(x, t), x)
    del x
    x, g = torch.randn(2048, 1024), torch.randn(1024)
    with torch.no_grad():
        out["rmsnorm 2048x1024"] = best(lambda: F.rms_norm(x, (1024,), g, 1e-5), 50)
        out["softmax 2048x1024"] = best(lambda: F.softmax(x, -1), 50)
    out["rmsnorm with backward"] = both(lambda x, g: F.rms_norm(x, (1024,), g, 1e-5), x, g)
    for m, n, k in [(2048, 688, 256), (2048, 256, 688), (688, 256, 2048), (256, 32000, 288), (1024, 1024, 1024)]:
        # As a layer has them: forward y = x w^T, to the weights dw = dy^T x, else dx = dy w.
        a, b = torch.randn(m, k), torch.randn(k, n)
        a, b = (a.t().contiguous().t(), b) if m == 688 else (a, b.t().contiguous().t()) if n in (688, 32000) else (a, b)
        with torch.no_grad():
            out[f"matmul {m}x{n}x{k}"] = best(lambda: a @ b, 20)
    print(json.dumps(out))


def run(words, env):
    out = subprocess.run([str(w) for w in words], stdout=subprocess.PIPE, text=True, env=env)
    if out.returncode:
        raise SystemExit(f"{' '.join(map(str, words))}: exit code {out.returncode}")
    return json.loads(out.stdout.splitlines()[-1])


def agree(runs):
    """The losses of the first two steps, from the same weights: sums in another order, and nothing else, set them apart. Qorus and PyTorch's
    eager step must agree. A compiled step that does not compute what the eager one does is no peer: its losses are given back, else None."""
    def losses(names, when):
        return [r[when] for name in names for r in runs[name]]

    def close(of):
        return max(of) - min(of) <= 1e-4 * max(of)

    wrong = None
    for when in ("loss_first", "loss_second"):
        both = losses(("qorus", "qorus, small", "eager"), when)
        if not close(both):
            raise SystemExit(f"{when} of Qorus and eager PyTorch differs: {both}")
        print(f"{when}: {both[0]:.6f}, at most {max(both) - min(both):.1e} apart")
        compiled = losses(("compiled",), when)
        if wrong is None and not close(both + compiled):
            wrong = f"{when} {compiled[0]:.3f} instead of {both[0]:.3f}"
    return wrong


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--shapes", default="T,S")
    parser.add_argument("-t", type=int, default=2)
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("-r", type=int, default=2)
    parser.add_argument("--avx2", action="store_true")
    parser.add_argument("--kernels", action="store_true")
    parser.add_argument("--json")
    parser.add_argument("--weights", help=argparse.SUPPRESS)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        return torch_kernels(args) if args.child == "kernels" else torch_steps(args)
    env = {**os.environ, **(CAPS if args.avx2 else {})}
    me = [sys.executable, Path(__file__).resolve()]
    bench, isa = os.environ["QORUS_TRAIN_STEP"], ["--isa", "avx2"] if args.avx2 else []
    results = []
    if args.kernels:
        theirs = run([*me, "--child", "kernels", "-t", args.t], env)
        ours = run([os.environ["QORUS_TRAIN_KERNELS"], "--threads", args.t, *isa], env)
        print(f"copies {ours.pop('copies_gb_per_s')} GB/s, reads {ours.pop('reads_gb_per_s')} GB/s\n\n| operation, ms | PyTorch | Qorus | ratio | share of the limit |\n"
              "| --- | --- | --- | --- | --- |")
        for name, mine in ours.items():
            print(f"| {name} | {theirs[name]:.2f} | {mine['ms']:.2f} | {theirs[name] / mine['ms']:.2f} | "
                  f"{100 * mine['share_of_limit']:.0f} % |")
    weights = Path(tempfile.mkdtemp()) / "weights"
    for shape in filter(None, args.shapes.split(",")):
        run([bench, shape, "--threads", args.t, "--steps", 1, "--dump", weights], env)
        peer = ["--shapes", shape, "-t", args.t, "--steps", args.steps, "--weights", weights]
        sides = {
            "qorus": [bench, shape, "--threads", args.t, "--steps", args.steps, *isa],
            # One sequence at a time, logits of 128 rows: what there is when memory is dear.
            "qorus, small": [bench, shape, "--threads", args.t, "--steps", args.steps, "--micro", 1, "--slice", 128, *isa],
            "eager": [*me, "--child", "eager", *peer],
            "compiled": [*me, "--child", "compiled", *peer],
        }
        runs = {name: [] for name in sides}
        for _ in range(args.r):
            for name, words in sides.items():
                runs[name].append(run(words, env))
        weights.unlink()
        wrong = agree(runs)
        rate = {name: statistics.median(r["tokens_per_s"] for r in of) for name, of in runs.items()}
        memory = {name: max(r["peak_bytes"] for r in of) for name, of in runs.items()}
        print(f"\n{shape}, {args.t} threads{', AVX2' if args.avx2 else ''}")
        print("| | step, ms | tokens/s | peak memory, MB |\n| --- | --- | --- | --- |")
        for name, of in runs.items():
            step, best = statistics.median(r["step_ms"] for r in of), min(r["best_ms"] for r in of)
            label = f"{name} (COMPUTES SOMETHING ELSE: {wrong}; not compared)" if wrong and name == "compiled" else name
            print(f"| {label} | {step:.0f} [{best:.0f}] | {rate[name]:.0f} | {memory[name] / 1e6:.0f} |")
        peers = ["eager"] if wrong else ["eager", "compiled"]
        faster, smaller = max(rate[p] for p in peers), min(memory[p] for p in peers)
        ratios = {name: [rate[name] / faster, smaller / memory[name]] for name in ("qorus", "qorus, small")}
        for name, (speed, room) in ratios.items():
            share = 100 * runs[name][-1]["share_of_peak"]
            print(f"{name}: {speed:.2f} times the speed, 1 / {room:.2f} of the memory, {share:.0f} % of the peak of FMA")
        results.append({"shape": shape, "avx2": args.avx2, "ratios": ratios, "wrong": wrong, "runs": runs})
    if args.json:
        Path(args.json).write_text(json.dumps(results, indent=2))


if __name__ == "__main__":
    main()
