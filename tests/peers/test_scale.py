#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Three nodes become five and three again, under load and queries: nothing is lost, no answer is incomplete, no write waits longer
than a failover may take, and the shares are equal within one afterwards. Who leaves: the controller, and one that came."""
from netcluster import *

GAP_MAX = 5.0 * SLOWER
SHARDS = 32


def test(folder):
    need_namespaces()
    with Net(folder, 3, f"--ring.shards={SHARDS}", "--ring.replication-factor=2", "--web.enable-admin-api", spare=2) as net:
        founders, joiners = net.nodes[:3], net.nodes[3:]
        start_all(founders)
        net.wait_whole()
        loads = Loads(net, threads=4, nodes=net.nodes).start()
        loads.wait_flow()
        queries = Queries(loads)
        queries.start()
        since = time.monotonic()
        start_all(joiners)
        wait_for("five nodes have equal shares", lambda: check_balanced(net.wait_whole(), 5), 60)
        say(f"five nodes, longest gap {loads.longest_gap(since):.2f} s")
        leaving = [net.controller(), joiners[0]]
        for node in leaving:
            other = next(n for n in net.nodes if n not in leaving)
            cairnctl("ring", "drain", node.ring_address, "--wait", f"--url=http://{other.host}:{other.port}")
            wait_for(f"{node.name} has left the map",
                     lambda node=node: all(n["address"] != node.ring_address for n in net.ring()["nodes"]))
            node.stop(seconds=30)
            say(f"{node.name} has left, longest gap {loads.longest_gap(since):.2f} s")
        wait_for("three nodes have equal shares", lambda: check_balanced(net.wait_whole(), 3), 60)
        loads.wait_flow()
        gap = loads.longest_gap(since)
        loads.stop()
        queries.stop()
        for n in net.nodes:
            if n not in leaving:
                loads.verify(n)
        check(gap <= GAP_MAX, "a series waited for", gap, "s")
        say(f"{loads.acked_count()} samples acknowledged, {sum(x.resends for x in loads.threads)} sent again, none lost, "
            f"longest gap {gap:.2f} s")


main(test)
