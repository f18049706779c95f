#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""cairnctl against Debian's promtool, both asking the same cairn: same output, same exit code, and for errors of the API
the same text. Usage: test_ctl.py CAIRN CAIRNCTL PROMTOOL."""
import subprocess, sys

from servers import BASE_MS, STEP_MS, STEPS, cairn, fill

END_S = (BASE_MS + (STEPS - 1) * STEP_MS) // 1000
T = f"--time={END_S}"
R = [f"--start={END_S - 60}", f"--end={END_S}"]
URL = "URL"  # stands for the server's address

SAME = [
    *[["query", "instant", T, *form, URL, expr] for form in ([], ["-o", "json"], ["--format=promql"]) for expr in (
        "1+1", "up", "sort(special)", "odd", "0 - special", "odd * 0.1", "temperature[1m]", "up[31s]", "nothing", "sum(up)",
        'label_replace(odd, "ab", "<&>", "", "")', "time()")],
    ["query", "instant", "--time=2023-11-14T22:20:00.5Z", URL, "time()"],
    ["query", "instant", "--time=1700000000.123", "-o", "json", URL, "time()"],
    ["query", "instant", "--time=1700000000.123", "-o", "json", URL, "up"],
    ["query", "instant", "--time=1700000000.123", URL, "up"],
    *[["query", "range", *R, *form, URL, expr] for form in ([], ["-o", "json"]) for expr in (
        "up", "1", "sum(up)", "special", "odd", "nothing", "rate(http_requests_total[1m])")],
    ["query", "range", *R, "--step=30s", URL, "temperature"],
    ["query", "range", f"--start={END_S - 3600}", f"--end={END_S}", URL, "temperature"],
    ["query", "series", "--match=up", URL], ["query", "series", "--match=up", "--match=odd", "-o", "json", URL],
    ["query", "series", "--match=odd", *R, URL], ["query", "series", "--match=nothing", "-o", "json", URL],
    ["query", "labels", URL, "job"], ["query", "labels", "-o", "json", URL, "text"], ["query", "labels", *R, URL, "code"],
    ["query", "labels", URL, "text"], ["query", "labels", URL, "nothing"],
]
FAIL_ALIKE = [  # the text of these is the API's or promtool's own
    ["query", "instant", URL, "up{"], ["query", "instant", "--time=x", URL, "up"], ["query", "series", "--match={", URL],
    ["query", "range", "--start=x", URL, "up"], ["query", "range", "--end=x", URL, "up"],
    ["query", "range", "--start=5", "--end=5", URL, "up"], ["query", "instant", T, URL, "up + on(job) up"],
    ["query", "range", "--start=1", "--end=100000", "--step=1s", URL, "up"],
]
FAIL = [  # told in words of our own, as with promtool exit code 1
    ["query", "instant", URL], ["query", "instant"], ["query", "instant", URL, "up", "more"], ["query", "series", URL],
    ["query", "instant", "-o", "xml", URL, "up"], ["query", "instant", "--nothing", URL, "up"], ["query"], ["nothing"],
    ["query", "nothing"], ["query", "instant", "http://127.0.0.1:1", "up"], ["query", "instant", "ftp://x", "up"],
    ["query", "instant", URL, '"text"'],
]


def run(program: str, args: list, url: str):
    p = subprocess.run([program, *[url if a == URL else a for a in args]], capture_output=True, text=True, timeout=60)
    return p.returncode, p.stdout, p.stderr


def main() -> int:
    program, ctl, promtool = sys.argv[1:4]
    if not promtool:
        print("promtool is not installed")
        return 77
    server = cairn(program)
    bad = 0

    def check(right: bool, *what):
        nonlocal bad
        if not right:
            bad += 1
            print("DIFFERS", *what, sep="\n  ")

    try:
        fill(server)
        url = f"http://127.0.0.1:{server.port}"
        for args in SAME:
            ours, theirs = run(ctl, args, url), run(promtool, args, url)
            check(ours == theirs and ours[0] == 0, args, ours, theirs)
        for args in FAIL_ALIKE:
            ours, theirs = run(ctl, args, url), run(promtool, args, url)
            check(ours == theirs and ours[0] == 1, args, ours, theirs)
        for args in FAIL:
            ours, theirs = run(ctl, args, url), run(promtool, args, url)
            check(ours[0] == 1 and theirs[0] == 1 and ours[2] != "", args, ours, theirs)
        for verb in ("healthy", "ready"):
            ours = run(ctl, ["check", verb, "--url", URL], url)
            check(ours[0] == 0 and ours[2].startswith("  SUCCESS:  "), verb, ours)
            ours = run(ctl, ["check", verb, "--url", URL + "/nothing"], url)
            check(ours[0] == 1, verb, ours)
            ours = run(ctl, ["check", verb, "--url", url + "/nothing"], url)
            check(ours == (1, "", f"check failed: URL={url}/nothing, status=404\n"), verb, ours)
        for args in (["test", "rules"], ["check", "rules", "x"], ["tsdb", "bench"], ["ring"]):
            ours = run(ctl, args, url)
            check(ours[0] == 1 and " ".join(args[:2] if args[0] in ("test", "check") else args[:1]) in ours[2], args, ours)
        for args in ([], ["--help"], ["query", "range", "--help"], ["check", "ready", "-h"], ["--version"]):
            ours = run(ctl, args, url)
            check(ours[0] == 0 and "cairnctl" in ours[1], args, ours)
        ours = run(ctl, ["query", "instant", T, f"127.0.0.1:{server.port}/", "1"], url)
        check(ours[1] == f"scalar: 1 @[{END_S}]\n", ours)
    finally:
        server.stop()
    print(f"{len(SAME) + len(FAIL_ALIKE)} calls compared with promtool, {bad} differ")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
