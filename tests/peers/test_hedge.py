#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A node that does not answer (SIGSTOP) costs a query a fraction of a second, not the time until the controller has noticed: its
shards are asked of the other replica too, and each series still counts once."""
from harness import *

SERIES = 200


def test(folder):
    nodes = start_all(cluster(folder, 3, "--ring.shards=64", replication_factor=2))
    wait_voters(nodes)
    now = time.time()
    batch = [({"__name__": "hedged", "i": str(i)}, [(int(now * 1000), float(i))]) for i in range(SERIES)]
    wait_for("the write is taken", lambda: nodes[0].write(batch).code == 204)
    asker, stopped = nodes[0], nodes[1]
    want = {"count": SERIES, "sum": SERIES * (SERIES - 1) // 2}
    for _ in range(20):  # how long parts take usually
        asker.query("count(hedged)", now)

    def hedged():
        return sum(float(m) for m in re.findall(r"^cairn_query_hedged_total (\S+)", asker.get("/metrics").text, re.M))
    before = hedged()
    stopped.proc.send_signal(signal.SIGSTOP)
    try:
        for f, v in want.items():
            began = time.monotonic()
            r = asker.query(f"{f}(hedged)", now)["result"]
            took = time.monotonic() - began
            check_eq([float(x["value"][1]) for x in r], [float(v)], f)
            check(took < 1.5 * SLOWER, f"{f} took {took:.2f} s beside a node that stands still")
            say(f"{f}(hedged) is complete after {took * 1000:.0f} ms")
    finally:
        stopped.proc.send_signal(signal.SIGCONT)
    check(hedged() > before, "nothing was asked twice")
    stop_all(nodes)


main(test)
