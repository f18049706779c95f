#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Size of a block of the capture of real exporters at true 15 s: capture.py BENCH_BLOCK SHARED_DATA. Skipped where there is none.

The bounds are the budgets of the design: 0.30 bytes a sample with everything, 15 bytes of index a series, less than 1 MB of memory."""
import re, subprocess, sys, tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
sys.dont_write_bytecode = True
sys.path.insert(0, str(ROOT / "bench"))
import data

BOUNDS = {"bytes a sample": 0.30, "index bytes a series": 15, "memory of the open block": 1 << 20}


def main() -> int:
    bench, shared = sys.argv[1], Path(sys.argv[2])
    if not (shared / "exporters.bin.xz").exists():
        print(f"SKIP block_capture: no capture in {shared}")
        return 77
    with tempfile.TemporaryDirectory() as folder:
        capture = Path(folder) / "capture.bin"
        data.prepare(capture, shared)
        run = [bench, "--instances=30", "--rows=480", capture, Path(folder) / "block"]
        out = subprocess.run(run, stdout=subprocess.PIPE, text=True, check=True).stdout
    print(out)
    bad = 0
    for name, bound in BOUNDS.items():
        found = re.search(re.escape(name) + r" ([0-9.]+)", out)
        if found is None or float(found.group(1)) > bound:
            print(f"{name}: at most {bound}")
            bad += 1
    return bad != 0


if __name__ == "__main__":
    sys.exit(main())
