#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A selector of 100,000 matchers, 700 KB of a form: it is answered or refused within the
query's time, and /-/healthy answers on every core meanwhile."""
from harness import *

MATCHERS, TIMEOUT_S = 100_000, 5


def test(folder):
    node = Cairn(folder, f"--query.timeout={TIMEOUT_S}s", "--node.cores=2").start()
    at = int(time.time())
    a = node.write([({"__name__": "sane", "i": str(i)}, [(at * 1000, 1.0)]) for i in range(100)])
    check_eq(a.code, 204, f"write: {a}")
    for kind in 'a!="b"', 'a=~"b?"', 'i=~".+"', 'i!~"b+"':
        expr = "count({" + f"{kind}," * MATCHERS + '__name__="sane"})'
        slowest, over = [0.0], threading.Event()

        def ask_health():
            while not over.is_set():
                began = time.monotonic()
                try:
                    node.get("/-/healthy", timeout=60)
                finally:
                    slowest[0] = max(slowest[0], time.monotonic() - began)
                over.wait(0.05)
        watchers = [threading.Thread(target=ask_health, daemon=True) for _ in range(4)]
        for w in watchers:
            w.start()
        began = time.monotonic()
        a = node.api("/api/v1/query", timeout=120, query=expr, time=at)
        took = time.monotonic() - began
        over.set()
        for w in watchers:
            w.join(60)
        say(f"{kind}: {a.code} after {took:.1f} s; /-/healthy took at most {slowest[0]:.2f} s")
        check(a.code in (400, 413, 422, 503) or a.json()["data"]["result"][0]["value"][1] == "100", kind, a)
        check(took < (TIMEOUT_S + 3) * SLOWER, kind, "took", took)
        check(slowest[0] < 2 * SLOWER, kind, ": /-/healthy took", slowest[0])
    lists = node.api("/api/v1/series", _match="{" + 'a!="b",' * MATCHERS + '__name__="sane"}', start=at - 60, end=at + 60)
    check(lists.code in (400, 413, 422), "series:", lists)
    few = node.query("count({" + 'a!="b",' * 900 + '__name__="sane"})', at)["result"]
    check_eq(few[0]["value"][1], "100", "900 matchers")
    node.stop()


main(test)
