#!/usr/bin/env python3
"""Steps of fine-tuning with LoRA beside PyTorch and PEFT: in turn, the same shape, batch and threads. See finetune.sh.

Usage: finetune.py [--models FILE,...] [-t 2] [--steps N] [-r ROUNDS] [--rank R] [--len N] [--torch bf16,f32] [--json FILE]

A step is: forward, mean cross-entropy over all tokens, backward, clipping to norm 1, AdamW (PyTorch's fused one) on the adapter alone: rank 16 on
q, k, v, o, gate, up and down. PyTorch's model is transformers' Qwen2 in the shape of Qwen2.5-0.5B with random weights, its adapter PEFT's;
Qorus's is `cargo bench --bench finetune` on the given GGUF files. Each run is a process of its own that says its peak resident memory: of
Qorus, the mapped file included. Printed are medians of the rounds, the best in brackets, and ratios to PyTorch's bf16.
"""
import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

SHAPE = dict(vocab_size=151936, hidden_size=896, intermediate_size=4864, num_hidden_layers=24, num_attention_heads=14,
             num_key_value_heads=2, max_position_embeddings=32768, rope_theta=1e6, tie_word_embeddings=True, rms_norm_eps=1e-6)
TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
VARIANTS = {
    "f32": [],
    "8-bit inputs": ["--eight", "1"],
    "bf16 products": ["--products", "bf16"],
}


def torch_steps(args):
    """One process of PyTorch: prints what a step takes."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import Qwen2Config, Qwen2ForCausalLM
    torch.set_num_threads(args.t)
    torch.manual_seed(1)
    dtype = {"bf16": torch.bfloat16, "f32": torch.float32}[args.child]
    torch.set_default_dtype(dtype)
    model = Qwen2ForCausalLM(Qwen2Config(**SHAPE, use_cache=False))
    torch.set_default_dtype(torch.float32)
    config = LoraConfig(r=args.rank, lora_alpha=2 * args.rank, target_modules=TARGETS, task_type="CAUSAL_LM")
    model = get_peft_model(model, config)
    model.train()
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-4, weight_decay=0.0, fused=True)
    ids = torch.randint(0, SHAPE["vocab_size"], (1, args.len), generator=torch.Generator().manual_seed(2))
    times = []
    for step in range(args.steps + 1):
        start = time.perf_counter()
        loss = model(input_ids=ids, labels=ids).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        value = loss.item()
        times.append(time.perf_counter() - start)
    times = times[1:]
    print(json.dumps({
        "step_ms": statistics.median(times) * 1e3, "best_ms": min(times) * 1e3, "tokens_per_s": args.len / statistics.median(times),
        "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024, "loss_last": value,
        "trained": sum(p.numel() for p in trained), "torch": torch.__version__,
        "capability": torch.backends.cpu.get_cpu_capability(),
    }))


def run(words):
    out = subprocess.run([str(w) for w in words], stdout=subprocess.PIPE, text=True)
    if out.returncode:
        raise SystemExit(f"{' '.join(map(str, words))}: exit code {out.returncode}")
    return json.loads(out.stdout.splitlines()[-1])


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--models", default="")
    parser.add_argument("-t", type=int, default=2)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("-r", type=int, default=2)
    parser.add_argument("--rank", type=int, default=16)
    parser.add_argument("--len", type=int, default=256)
    parser.add_argument("--torch", default="bf16,f32")
    parser.add_argument("--variants", default=",".join(VARIANTS))
    parser.add_argument("--json")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        return torch_steps(args)
    common = ["--steps", args.steps, "--rank", args.rank, "--len", args.len]
    sides = {f"PyTorch {kind}": [sys.executable, Path(__file__).resolve(), "--child", kind, "-t", args.t, *common]
             for kind in args.torch.split(",") if kind}
    for path in filter(None, args.models.split(",")):
        for name in args.variants.split(","):
            words = [os.environ["QORUS_FINETUNE"], path, "--threads", args.t, *common, *VARIANTS[name]]
            sides[f"{Path(path).stem}, {name}"] = words
    runs = {name: [] for name in sides}
    for _ in range(args.r):
        for name, words in sides.items():
            runs[name].append(run(words))
    base = runs.get("PyTorch bf16")
    base = base and statistics.median(r["tokens_per_s"] for r in base)
    print(f"| {'':36} | step, ms | tokens/s | to PyTorch bf16 | peak, MB | planned, MB |\n| --- | --- | --- | --- | --- | --- |")
    for name, of in runs.items():
        step, rate = statistics.median(r["step_ms"] for r in of), statistics.median(r["tokens_per_s"] for r in of)
        best, peak = min(r["best_ms"] for r in of), max(r["peak_bytes"] for r in of)
        planned = f"{of[0]['planned_bytes'] / 1e6:.0f}" if "planned_bytes" in of[0] else ""
        ratio = f"{rate / base:.2f}" if base else ""
        print(f"| {name:36} | {step:.0f} ({best:.0f}) | {rate:.0f} | {ratio} | {peak / 1e6:.0f} | {planned} |")
    if args.json:
        Path(args.json).write_text(json.dumps(runs, indent=1))


if __name__ == "__main__":
    main()
