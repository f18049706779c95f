#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""cairnctl query -o table|graph, and check config beside promtool's. Usage: test_ctl_print.py CAIRN CAIRNCTL PROMTOOL."""
import os, shutil, subprocess, sys, tempfile

from servers import BASE_MS, STEP_MS, STEPS, cairn, fill

END_S = (BASE_MS + (STEPS - 1) * STEP_MS) // 1000
RANGE = [f"--start={END_S - 30}", f"--end={END_S}", "--step=15s"]
bad = 0

TABLE = f"""METRIC       room         TIME  VALUE
temperature  attic  {END_S}   16.7
"""
TABLE_RANGE = f"""room         TIME  VALUE
attic  {END_S - 30}   29.2
attic  {END_S - 15}     17
attic  {END_S}   16.7
"""
SERIES = """METRIC       n   room
temperature      attic
special      11
"""
BARS = f"""           2 |{'#' * 50} {{a="x"}}
          -1 |{'-' * 25}{' ' * 25} {{a="y"}}
        +Inf |{' ' * 50} {{a="z"}}
"""
CONFIGS = [("empty.yml", ""), ("global.yml", "global:\n  scrape_interval: 15s\n  external_labels: {a: b}\n"), ("field.yml", "nothing: 1\n"),
           ("global_field.yml", "global:\n  bogus: 1\n"), ("duration.yml", "global: {scrape_interval: 15 minutes}\n"), ("yaml.yml", "a: [1\n"),
           ("label.yml", "global: {external_labels: [a]}\n")]


def check(right, *what):
    global bad
    if not right:
        bad += 1
        print("WRONG", *what, sep="\n")


def run(program, *args, cwd=None):
    p = subprocess.run([program, *args], capture_output=True, text=True, timeout=60, cwd=cwd)
    return p.returncode, p.stdout, p.stderr


def test_queries(ctl, url):
    at = f"--time={END_S}"
    bars = ' or '.join(f'label_replace(vector({v}), "a", "{a}", "", "")' for v, a in (("2", "x"), ("-1", "y"), ("Inf", "z")))
    got = run(ctl, "query", "instant", at, "-o", "table", url, "temperature")
    check(got == (0, TABLE, ""), got, TABLE)
    got = run(ctl, "query", "range", *RANGE, "-o", "table", url, "sum by (room)(temperature)")
    check(got == (0, TABLE_RANGE, ""), got, TABLE_RANGE)
    got = run(ctl, "query", "instant", at, "-o", "table", url, "1")
    check(got == (0, f"scalar: 1 @[{END_S}]\n", ""), got)
    got = run(ctl, "query", "series", "-o", "table", "--match=temperature", '--match=special{n="11"}', f"--start={BASE_MS // 1000}", url)
    check(sorted(got[1].split("\n")) == sorted(SERIES.split("\n")), got, SERIES)
    got = run(ctl, "query", "instant", at, "-o", "graph", url, bars)
    check(got[0] == 0 and sorted(got[1].split("\n")) == sorted(BARS.split("\n")), got, BARS)
    for form in ("table", "graph"):
        got = run(ctl, "query", "range", *RANGE, "-o", form, url, "nothing")
        check(got[0] == 0 and got[2] == "", got)


def test_chart(ctl, url):
    """A line that rises by the same every step, and one that stands still below it."""
    got = run(ctl, "query", "range", f"--start={END_S - 71}", f"--end={END_S}", "--step=1s", "-o", "graph", url,
              f'label_replace(vector(time() - {END_S - 71}), "line", "up", "", "") or label_replace(vector(0), "line", "flat", "", "")')
    rows = got[1].split("\n")
    check(got[0] == 0 and len(rows) == 18 + 2 + 2 + 1, got)
    up = next(row[2] for row in rows if row.endswith(' {line="up"}'))
    flat = next(row[2] for row in rows if row.endswith(' {line="flat"}'))
    check(up != flat, got)
    body = [row[14:] for row in rows[:18]]
    check(rows[0].startswith("          71 |") and rows[17].startswith("           0 |"), rows)
    points = sorted((x, 17 - y) for y, row in enumerate(body) for x, sign in enumerate(row) if sign == up)
    check(all(abs(y - x * 17 / 71) <= 0.5 + 1e-9 for x, y in points) and len(points) > 60 and points[-1] == (71, 17), points)
    check(body[17].count(flat) + body[17].count(up) == 72, body[17])
    check(rows[19].split() == [str(END_S - 71), str(END_S)], rows[19])


def test_config(ctl, promtool):
    folder = tempfile.mkdtemp(prefix="cairn-ctl-")
    try:
        for name, text in CONFIGS:
            with open(os.path.join(folder, name), "w", encoding="utf-8") as f:
                f.write(text)
            ours = run(ctl, "check", "config", name, cwd=folder)
            check(ours[0] == (0 if name in ("empty.yml", "global.yml") else 1), name, ours)
            if promtool:
                theirs = run(promtool, "check", "config", name, cwd=folder)
                check(ours[:2] == theirs[:2], name, ours, theirs)
                check(ours[2][:10] == theirs[2][:10], name, ours, theirs)
        names = [name for name, _ in CONFIGS]
        ours = run(ctl, "check", "config", *names, cwd=folder)
        check(ours[0] == 1 and ours[1].count("SUCCESS") == 2 and ours[2].count("FAILED") == 5, ours)
        check("line 2: field bogus not found" in ours[2] and "line 1: field nothing not found" in ours[2], ours)
        for args in ([], ["absent.yml"], ["--bogus", "empty.yml"]):
            ours = run(ctl, "check", "config", *args, cwd=folder)
            check(ours[0] == 1 and ours[2] != "", args, ours)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def main() -> int:
    program, ctl, promtool = (os.path.abspath(p) if p else "" for p in sys.argv[1:4])
    test_config(ctl, promtool)
    server = cairn(program)
    try:
        fill(server)
        test_queries(ctl, f"http://127.0.0.1:{server.port}")
        test_chart(ctl, f"http://127.0.0.1:{server.port}")
    finally:
        code = server.stop()
    print(f"{bad} wrong")
    return 1 if bad or code else 0


if __name__ == "__main__":
    sys.exit(main())
