#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Instructions per ingested sample, per query of a fixed set and per query of a handful of series, counted by callgrind, against
tests/perf/baseline.json: fails when one has grown by over 10 %. UPDATE_GOLDEN=1 writes the new counts. Counts depend on compiler
and flags, so they are compared only with the compiler that the baseline names."""
import json, os, re, shutil, subprocess, sys
from pathlib import Path

BASELINE = Path(__file__).resolve().parent / "baseline.json"
PER_ROUND = {"ingest": 2000, "query": 6, "small": 4}  # samples a request, queries a round
ROUNDS = {"ingest": (5, 25), "query": (1, 3), "small": (10, 60)}


def count(program: str, what: str, n: int) -> int:
    env = {k: v for k, v in os.environ.items() if k != "MALLOC_PERTURB_"}  # meson's, a memset for every malloc
    out = subprocess.run(["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", program, what, str(n)],
                         capture_output=True, text=True, env=env)
    if out.returncode != 0:
        sys.exit(f"{what} {n} failed:\n{out.stdout}{out.stderr}")
    return int(re.search(r"Collected : (\d+)", out.stderr).group(1))


def main() -> int:
    program, compiler = sys.argv[1], sys.argv[2]
    if shutil.which("valgrind") is None:
        print("skipped: valgrind is missing")
        return 77
    found = {"compiler": compiler}
    for what, (few, many) in ROUNDS.items():
        found[what] = round((count(program, what, many) - count(program, what, few)) / ((many - few) * PER_ROUND[what]))
    if os.environ.get("UPDATE_GOLDEN"):
        BASELINE.write_text(json.dumps(found, indent=2) + "\n")
    base = json.loads(BASELINE.read_text())
    if base["compiler"] != compiler:
        print(f"skipped: the baseline is of {base['compiler']}, this is {compiler}")
        return 77
    worst = 0.0
    for what in ROUNDS:
        ratio = found[what] / base[what]
        worst = max(worst, ratio)
        print(f"{what}: {found[what]:,} instructions ({ratio - 1:+.1%} against the baseline's {base[what]:,})")
    return 0 if worst <= 1.10 else 1


if __name__ == "__main__":
    sys.exit(main())
