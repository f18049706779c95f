#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Captures for bench/load.c: the capture of real exporters where there is one, else data made like it (seeded)."""
import argparse, lzma, math, random, re, struct
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


FLEET = [("up", ""), ("node_cpu_seconds_total", 'cpu="0",mode="idle"'), ("node_cpu_seconds_total", 'cpu="0",mode="user"'),
         ("node_cpu_seconds_total", 'cpu="0",mode="system"'), ("node_memory_MemAvailable_bytes", ""), ("node_memory_MemTotal_bytes", ""),
         ("node_load1", ""), ("node_network_receive_bytes_total", 'device="eth0"'),
         ("node_filesystem_avail_bytes", 'mountpoint="/"'), ("node_filesystem_size_bytes", 'mountpoint="/"'),
         ("http_requests_total", 'code="200",handler="/api"'), ("http_requests_total", 'code="500",handler="/api"'),
         ("http_request_duration_seconds_bucket", 'handler="/api",le="0.1"'),
         ("http_request_duration_seconds_bucket", 'handler="/api",le="0.5"'),
         ("http_request_duration_seconds_bucket", 'handler="/api",le="2.5"'),
         ("http_request_duration_seconds_bucket", 'handler="/api",le="+Inf"'),
         ("http_request_duration_seconds_sum", 'handler="/api"'), ("http_request_duration_seconds_count", 'handler="/api"'),
         ("process_start_time_seconds", ""), ("build_info", 'version="1.7.3"')]


def make_fleet(rows_count: int, seed: int = 1):
    """One host of 20 series."""
    rng = random.Random(seed)
    names = [canonical("node", f"{name}{{{labels}}}") for name, labels in FLEET]
    cpu, memory, load, received, disk, ok, failed, buckets, took = [9e5, 3e4, 1e4], 6e9, 1.0, 1e10, 4e11, 0, 0, [0, 0, 0, 0], 0.0
    rows = []
    for _ in range(rows_count):
        busy = rng.uniform(0.5, 6)
        cpu = [round(c + d, 2) for c, d in zip(cpu, (15 - busy, busy * 0.7, busy * 0.3))]
        memory, load = max(1e8, memory + rng.randrange(-2000, 2000) * 4096), round(max(0, load + rng.gauss(0, 0.1)), 2)
        received, disk = received + rng.randrange(10**5, 10**7), disk - rng.randrange(0, 100) * 4096
        for _ in range(rng.randrange(20, 60)):
            seconds = round(rng.lognormvariate(-2, 1), 4)
            took += seconds
            buckets = [b + (seconds <= le) for b, le in zip(buckets, (0.1, 0.5, 2.5, math.inf))]
            ok, failed = ok + (rng.random() < 0.99), failed + (rng.random() < 0.01)
        rows.append([1, *cpu, memory, 8e9, load, received, disk, 5e11, ok, failed, *buckets, took, buckets[3], 1.7e9, 1])
    return names, [[float(v) for v in row] for row in rows]


def prepare_fleet(path: Path, rows_count: int, hosts: int) -> str:
    """With more rows than hosts, so that no two replay the same ones: topk has no ties."""
    count = max(rows_count, hosts) + 1
    while count % 37 == 0:  # the distance between the hosts' first rows, see bench/load.c
        count += 1
    write(path, *make_fleet(count))
    return f"made hosts of {len(FLEET)} series"


def series_count(path: Path) -> int:
    with open(path, "rb") as f:
        return struct.unpack("<I", f.read(4))[0]


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
