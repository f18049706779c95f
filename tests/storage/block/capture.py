#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Size of a block of the capture of real exporters at true 15 s: capture.py BENCH_BLOCK SHARED_DATA. Skipped where there is none.

The bounds are the budgets of the design (15 bytes of index a series, less than 1 MB of memory), and a little more than is reached:
0.2669 bytes a sample with everything as the head's two hours are written, 0.2380 as six hours are merged."""
import re, subprocess, sys, tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
sys.dont_write_bytecode = True
sys.path.insert(0, str(ROOT / "bench"))
import data

BOTH = {"index bytes a series": 15, "memory of the open block": 1 << 20}
RUNS = [(["--instances=30", "--rows=480"], BOTH | {"bytes a sample": 0.27}),
        (["--instances=10", "--rows=1440", "--level=1"], BOTH | {"bytes a sample": 0.242})]


def misses(bench: str, capture: Path, options: list, bounds: dict) -> int:
    run = [bench, *options, capture, capture.with_name("block")]
    out = subprocess.run(run, stdout=subprocess.PIPE, text=True, check=True).stdout
    print(out)
    bad = 0
    for name, bound in bounds.items():
        found = re.search(re.escape(name) + r" ([0-9.]+)", out)
        if found is None or float(found.group(1)) > bound:
            print(f"{name}: at most {bound}")
            bad += 1
    return bad


def main() -> int:
    bench, shared = sys.argv[1], Path(sys.argv[2])
    if not (shared / "exporters.bin.xz").exists():
        print(f"SKIP block_capture: no capture in {shared}")
        return 77
    with tempfile.TemporaryDirectory() as folder:
        capture = Path(folder) / "capture.bin"
        data.prepare(capture, shared)
        return sum(misses(bench, capture, options, bounds) for options, bounds in RUNS) != 0


if __name__ == "__main__":
    sys.exit(main())
