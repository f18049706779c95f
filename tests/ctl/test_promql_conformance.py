#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Prometheus' own PromQL test files: nothing fails, and no file passes fewer evals than it did.
test_promql_conformance.py CAIRNCTL DIRECTORY SOURCES     exit 77 when the directory is not there"""
import re, subprocess, sys
from pathlib import Path

# evals of the file, and how many of them neither load nor expect native histograms where they look
FILES = {
    "aggregators": (160, 125), "collision": (2, 2), "duration_expression": (59, 59), "extended_vectors": (169, 120),
    "functions": (431, 334), "histograms": (185, 93), "literals": (25, 25), "native_histograms": (522, 3),
    "operators": (214, 142), "staleness": (17, 17), "start_timestamps": (26, 16), "subquery": (34, 32),
    "type_and_unit": (58, 58),
}
SUMMARY = re.compile(r"^(?:.*/)?(\w+)\.test: (\d+) passed, (\d+) failed, (\d+) skipped", re.M)


def main() -> int:
    ctl, directory, sources = sys.argv[1], Path(sys.argv[2]), sys.argv[3]
    paths = [directory / f"{name}.test" for name in FILES]
    if not directory.is_dir():
        print(f"skipped: no conformance data in {directory}")
        return 77
    problems = []
    for seed in ("1",) if sources == "1" else ("1", "2", "3"):
        run = subprocess.run([ctl, "test", "promql", f"--split={sources}", f"--seed={seed}", *map(str, paths)],
                             capture_output=True, text=True)
        got = {m[1]: tuple(map(int, m.groups()[1:])) for m in SUMMARY.finditer(run.stdout)}
        print(run.stdout, run.stderr)
        if run.returncode != 0:
            problems.append(f"seed {seed}: exit code {run.returncode}")
        for name, (evals, passed_min) in FILES.items():
            passed, failed, skipped = got.get(name, (0, 0, 0))
            if failed or passed < passed_min or passed + failed + skipped != evals:
                problems.append(f"seed {seed}: {name}: {passed} passed of {evals}, at least {passed_min} should; "
                                f"{failed} failed, {skipped} skipped")
    print("\n".join(problems))
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
