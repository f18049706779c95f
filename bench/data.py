#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Captures for bench/load.c: the capture of real exporters where there is one, else data made like it (seeded)."""
import argparse, lzma, random, re, struct
from pathlib import Path

LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:\\.|[^"\\])*)"')
EXTRA = [("cluster", "@cluster"), ("instance", "@instance"), ("region", "@region")]


def canonical(job: str, series: str) -> bytes:
    name, _, rest = series.partition("{")
    labels = dict(EXTRA, __name__=name, job=job)
    for key, value in LABEL.findall(rest):
        labels[key] = value.replace('\\"', '"').replace("\\n", "\n").replace("\\\\", "\\").replace("\t", " ")
    return "\t".join(f"{k}\t{v}" for k, v in sorted(labels.items()) if v).encode()


def read_capture(folder: Path):
    names = (folder / "exporters.names").read_text().splitlines()
    raw = lzma.open(folder / "exporters.bin.xz").read()
    rows, at = [], 0
    while at < len(raw):
        _, n = struct.unpack_from("<qI", raw, at)
        at += 12
        rows.append(struct.unpack_from(f"<{n}d", raw, at) + (float("nan"),) * (len(names) - n))
        at += 8 * n
    return [canonical(*line.split("|", 1)) for line in names], rows


def make_capture(series_count: int = 1150, rows_count: int = 240, seed: int = 1):
    """Seven of ten series constant, the rest counters, gauges and histogram buckets, as on real fleets."""
    rng = random.Random(seed)
    names, rows = [], [[] for _ in range(rows_count)]
    for i in range(series_count):
        kind = rng.choices(["const", "counter", "gauge", "bucket"], [70, 15, 10, 5])[0]
        names.append(canonical("node", f'made_{kind}_{i % 97}{{index="{i}",mode="m{i % 8}"}}'))
        value = float(rng.randrange(0, 100000))
        for row in rows:
            if kind in ("counter", "bucket"):
                value += rng.randrange(0, 50)
            elif kind == "gauge":
                value += rng.gauss(0, 1)
            row.append(value)
    return names, rows


def write(path: Path, names, rows):
    with open(path, "wb") as f:
        f.write(struct.pack("<II", len(names), len(rows)))
        for n in names:
            f.write(struct.pack("<I", len(n)) + n)
        for row in rows:
            f.write(struct.pack(f"<{len(row)}d", *row))


def prepare(path: Path, shared: Path, every: int = 1) -> str:
    """Writes the capture; every=15 keeps each 15th row (a true 15 s spacing). Returns which data it is."""
    if (shared / "exporters.bin.xz").exists():
        names, rows = read_capture(shared)
        kind = "capture of real exporters"
    else:
        names, rows = make_capture()
        kind = "made data"
    write(path, names, rows[::every])
    return kind


if __name__ == "__main__":
    p = argparse.ArgumentParser()
    p.add_argument("out", type=Path)
    p.add_argument("--shared", type=Path, default=Path(__file__).resolve().parent.parent.parent / "shared" / "data")
    p.add_argument("--every", type=int, default=1)
    a = p.parse_args()
    print(prepare(a.out, a.shared, a.every))
