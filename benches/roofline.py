#!/usr/bin/env python3
"""A roofline picture (Williams et al., doi 10.1145/1498765.1498785) of what `qorus bench --json` measured, as SVG on stdout.

Usage: roofline.py NAME=bench.json... > roofline.svg

Each measurement is a point: operations for each byte of weights and cache it reads, and operations per second. The roof is what the
same threads could do in the same run: bandwidth, then the peak of 8-bit integers; the lower line is the peak of f32.
"""
import json
import math
import sys

WIDTH, HEIGHT, LEFT, BOTTOM, TOP, RIGHT = 860, 520, 70, 50, 40, 250
COLOURS = ("#1b6ca8", "#c8553d", "#3b8c4b", "#8e5aa8", "#b8860b", "#4a4a4a", "#d1477a", "#2a9d8f", "#6a4c93")


def main():
    if len(sys.argv) < 2:
        raise SystemExit(__doc__)
    rows = []
    for argument in sys.argv[1:]:
        name, path = argument.split("=", 1)
        rows += [{"name": name, **row} for row in json.load(open(path))]
    most = max(row["threads"] for row in rows)
    rows = [row for row in rows if row["threads"] == most]
    limits = {key: max(row[f"limit_{key}_per_s"] for row in rows) for key in ("gb", "int8_gop", "f32_gop")}
    x0, x1, y0, y1 = 0.5, 1000.0, 5.0, 10 ** math.ceil(math.log10(limits["int8_gop"]))

    def x(value):
        return LEFT + (WIDTH - LEFT - RIGHT) * math.log(value / x0) / math.log(x1 / x0)

    def y(value):
        return HEIGHT - BOTTOM - (HEIGHT - BOTTOM - TOP) * math.log(value / y0) / math.log(y1 / y0)

    out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="12">',
           f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
           f'<text x="{LEFT}" y="22" font-size="15">Inference on {most} threads: what is computed, and what the machine could</text>']
    for decade in (1, 10, 100, 1000):
        out.append(f'<line x1="{x(decade):.1f}" y1="{TOP}" x2="{x(decade):.1f}" y2="{HEIGHT - BOTTOM}" stroke="#ddd"/>'
                   f'<text x="{x(decade):.1f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">{decade}</text>')
    decade = 10
    while decade <= y1:
        out.append(f'<line x1="{LEFT}" y1="{y(decade):.1f}" x2="{WIDTH - RIGHT}" y2="{y(decade):.1f}" stroke="#ddd"/>'
                   f'<text x="{LEFT - 6}" y="{y(decade) + 4:.1f}" text-anchor="end">{decade}</text>')
        decade *= 10
    out.append(f'<text x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 12}" text-anchor="middle">operations per byte read</text>')
    out.append(f'<text transform="translate(18 {(TOP + HEIGHT - BOTTOM) / 2}) rotate(-90)" text-anchor="middle">Gop/s</text>')
    for key, name, dash in (("int8_gop", "8-bit integers", ""), ("f32_gop", "f32", ' stroke-dasharray="6 4"')):
        ridge = min(max(limits[key] / limits["gb"], x0), x1)
        start = max(x0, y0 / limits["gb"])
        out.append(f'<polyline fill="none" stroke="black"{dash} points="{x(start):.1f},{y(limits["gb"] * start):.1f} '
                   f'{x(ridge):.1f},{y(limits[key]):.1f} {x(x1):.1f},{y(limits[key]):.1f}"/>'
                   f'<text x="{WIDTH - RIGHT + 6}" y="{y(limits[key]) + 4:.1f}">{name}: {limits[key]:.0f} Gop/s</text>')
    slope = x0 * 3
    out.append(f'<text x="{x(slope) - 8:.1f}" y="{y(limits["gb"] * slope) - 8:.1f}">{limits["gb"]:.0f} GB/s</text>')
    names = list(dict.fromkeys(row["name"] for row in rows))
    for row in rows:
        colour = COLOURS[names.index(row["name"]) % len(COLOURS)]
        px, py = x(min(max(row["gop_per_s"] / row["gb_per_s"], x0), x1)), y(max(row["gop_per_s"], y0))
        shape = f'<circle cx="{px:.1f}" cy="{py:.1f}" r="5"' if row["test"] == "decode" else \
            f'<rect x="{px - 4.5:.1f}" y="{py - 4.5:.1f}" width="9" height="9"'
        out.append(f'{shape} fill="{colour}"><title>{row["name"]} {row["test"]}: {row["tokens_per_s"]:.0f} tokens/s</title>'
                   f'</{"circle" if row["test"] == "decode" else "rect"}>')
    legend = HEIGHT - BOTTOM - 20 * (len(names) + 1)
    for i, name in enumerate(names):
        out.append(f'<rect x="{WIDTH - RIGHT + 8}" y="{legend + 20 * i - 9}" width="10" height="10" fill="{COLOURS[i % len(COLOURS)]}"/>'
                   f'<text x="{WIDTH - RIGHT + 24}" y="{legend + 20 * i}">{name}</text>')
    out.append(f'<text x="{WIDTH - RIGHT + 8}" y="{legend + 20 * len(names)}">squares: prefill, circles: decode</text></svg>')
    print("\n".join(out))


if __name__ == "__main__":
    main()
