#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A rolling restart: SIGTERM to one node after the other, under load and queries. Each hands its primaries over before it ends; no
write waits longer than a failover may take, none is lost, no query is answered incompletely. argv[2]: replication factor."""
from netcluster import *

GAP_MAX = 5.0 * SLOWER
SHARDS = 16


def test(folder):
    factor = sys.argv[2] if len(sys.argv) > 2 else "2"
    need_namespaces()
    with Net(folder, 3, f"--ring.shards={SHARDS}", f"--ring.replication-factor={factor}", "--node.drain-timeout=60s") as net:
        start_all(net.nodes)
        net.wait_whole()
        loads = Loads(net, threads=4).start()
        loads.wait_flow()
        queries = Queries(loads)
        queries.start()
        gaps = []
        first = net.controller()  # so that the leader is among the first two, and its successor too
        for node in [first] + [n for n in net.nodes if n is not first]:
            since = time.monotonic()
            took = node.stop(seconds=90)
            check(took < 45 * SLOWER, node.name, "drained for", took, "s: it waited for its timeout")
            loads.wait_flow()
            node.start()
            net.wait_whole(90)
            loads.wait_flow()
            gaps.append(loads.longest_gap(since))
            say(f"{node.name} ended in {took:.1f} s, longest gap {gaps[-1]:.2f} s")
        loads.stop()
        queries.stop()
        for n in net.nodes:
            loads.verify(n)
        check(max(gaps) <= GAP_MAX, "a series waited for", max(gaps), "s")
        say(f"{loads.acked_count()} samples acknowledged, {sum(x.resends for x in loads.threads)} sent again, none lost")


main(test)
