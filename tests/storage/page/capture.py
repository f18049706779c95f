#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Sizes of pages on the capture of real exporters: capture.py BENCH_PAGE SHARED_DATA. Skipped where there is no capture.

The bounds are codec sizes measured on longer captures of such exporters (bytes a sample, without a directory), with room for a
shorter page: the capture has 1,200 rows of a second, so true 15 s spacing gives pages of 80 rows only."""
import subprocess, sys, tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
sys.dont_write_bytecode = True
sys.path.insert(0, str(ROOT / "bench"))
import data

BOUNDS = {"15,80": 0.33, "5,240": 0.27, "3,400": 0.27, "1,120": 0.24, "1,480": 0.225}


def main() -> int:
    bench, shared = sys.argv[1], Path(sys.argv[2])
    if not (shared / "exporters.bin.xz").exists():
        print(f"SKIP page_capture: no capture in {shared}")
        return 77
    with tempfile.TemporaryDirectory() as folder:
        capture = Path(folder) / "capture.bin"
        data.prepare(capture, shared)
        out = subprocess.run([bench, "--passes=1", capture, *BOUNDS], stdout=subprocess.PIPE, text=True, check=True).stdout
    print(out)
    sizes = {}
    for line in out.splitlines():
        words = line.replace(",", " ").split()
        sizes[words[0], f"{words[2]},{words[3]}"] = float(words[5])
    bad = [cut for cut, bound in BOUNDS.items() if sizes["page", cut] > bound]
    for cut in bad:
        print(f"{cut}: {sizes['page', cut]} bytes a sample, at most {BOUNDS[cut]}")
    return len(bad) != 0


if __name__ == "__main__":
    sys.exit(main())
