"""Time to given values beside dwave-samplers: each instance is solved in turn by Qorus, by simulated annealing and by tabu search.

Usage: QORUS_QUBO_DIR=FOLDER qubo.py [--alone] [--bench PROGRAM] [--seeds N] [--peer-seeds N] [--peer-limit SECONDS] [INSTANCE:VALUE:SECONDS ...]

A time is that of the read in which the value was found, counted from the built model; a peer that does not reach it within the limit
counts with the limit, and its ratio is a lower bound (">"). Annealing is asked for reads of 1000 sweeps, then of twice as many each time.
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]


def qorus(bench, goals, seeds):
    program = [bench] if bench else ["cargo", "bench", "--quiet", "--features", "qubo", "--bench", "qubo_table", "--"]
    command = [*program, "--seeds", str(seeds), *goals]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


def palubeckis(n, density, seed):
    state = seed
    entries = []
    for i in range(n):
        state = state * 16807 % 2147483647
        entries.append((i, i, int(state / 2147483647 * 201) - 100))
        for j in range(i + 1, n):
            state = state * 16807 % 2147483647
            if state / 2147483647 * 100 <= density:
                state = state * 16807 % 2147483647
                entries.append((i, j, 2 * (int(state / 2147483647 * 201) - 100)))
    return n, entries


def load(name):
    """Variables and entries of a cost to be minimized, for the peers."""
    if name.startswith("p:"):
        n, entries = palubeckis(*map(int, name[2:].split(",")))
    else:
        words = (pathlib.Path(os.environ["QORUS_QUBO_DIR"]) / f"{name}.txt").read_text().split()
        n, entries = int(words[0]), []
        for k in range(2, len(words) - 2, 3):
            i, j, w = int(words[k]) - 1, int(words[k + 1]) - 1, int(words[k + 2])
            if name.startswith("G"):
                entries += [(i, i, w), (j, j, w), (i, j, -2 * w)]
            else:
                entries.append((i, j, w if i == j else 2 * w))
    linear, quadratic = {i: 0 for i in range(n)}, {}
    for i, j, w in entries:
        if i == j:
            linear[i] -= w
        else:
            quadratic[i, j] = quadratic.get((i, j), 0) - w
    return linear, quadratic


def anneal(bqm, target, limit, seed):
    from dwave.samplers import SimulatedAnnealingSampler

    start, sweeps, best = time.perf_counter(), 1000, 0
    while (spent := time.perf_counter() - start) < limit:
        found = SimulatedAnnealingSampler().sample(bqm, num_reads=1, num_sweeps=sweeps, seed=seed)
        best = max(best, -found.first.energy)
        if best >= target - 1e-6:
            return time.perf_counter() - start, best
        seed, sweeps = seed + 1000, min(2 * sweeps, 128000)
    return None, best


def tabu(bqm, target, limit, seed):
    from dwave.samplers import TabuSampler

    start = time.perf_counter()
    found = TabuSampler().sample(bqm, num_reads=1, timeout=int(limit * 1000), energy_threshold=-target, seed=seed)
    best = -found.first.energy
    return (time.perf_counter() - start if best >= target - 1e-6 else None), best


def beside(row, peers, limit):
    """The cells of a row: time and ratio of each peer."""
    ours, cells = row["median_s"], []
    for name, times, best in peers:
        reached = sorted(t for t in times if t is not None)
        median = statistics.median([t if t is not None else float("inf") for t in times])
        if median == float("inf"):
            ratio = f"> {limit / ours:.0f}" if ours else "-"
            cells += [f"{len(reached)}/{len(times)}, best {best:g}", ratio]
        else:
            cells += [f"{median:.3f} s", f"{median / ours:.1f}" if ours else "-"]
    return cells


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("goals", nargs="*", metavar="INSTANCE:VALUE:SECONDS")
    parser.add_argument("--alone", action="store_true", help="Qorus only")
    parser.add_argument("--bench", help="the built program of benches/qubo_table.rs, rather than cargo")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--peer-seeds", type=int, default=3)
    parser.add_argument("--peer-limit", type=float, default=5.0)
    args = parser.parse_args()
    head = ["instance", "value", "limit", "hits", "median", "90 %"]
    if not args.alone:
        head += ["dwave SA", "ratio", "dwave tabu", "ratio"]
    print("| " + " | ".join(head) + " |\n|" + " --- |" * len(head), flush=True)
    for row in qorus(args.bench, args.goals, args.seeds):
        show = lambda t: "-" if t is None else f"{t * 1000:.1f} ms" if t < 1 else f"{t:.2f} s"
        cells = [row["instance"], f"{row['target']:g}" if row["target"] < 1e5 else str(int(row["target"]))]
        cells += [f"{row['limit_s']:g} s", f"{row['hits']}/{row['seeds']}", show(row["median_s"]), show(row["p90_s"])]
        if not args.alone:
            import dimod

            bqm = dimod.BinaryQuadraticModel(*load(row["instance"]), 0.0, "BINARY")
            peers = []
            for name, solve in (("sa", anneal), ("tabu", tabu)):
                found = [solve(bqm, row["target"], args.peer_limit, seed) for seed in range(args.peer_seeds)]
                peers.append((name, [t for t, _ in found], max(best for _, best in found)))
            cells += beside(row, peers, args.peer_limit)
        print("| " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
