#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A node dies with its disk and comes back at the same address with an empty one: a new node to the cluster. All shards become whole
again by themselves, nothing is lost, and afterwards each other node may die too."""
from netcluster import *

SHARDS = 16


def test(folder):
    need_namespaces()
    flags = f"--ring.shards={SHARDS}", "--ring.replication-factor=2", "--ring.replace-after=2s", "--web.enable-admin-api"
    with Net(folder, 3, *flags) as net:
        start_all(net.nodes)
        net.wait_whole()
        loads = Loads(net, threads=4).start()
        loads.wait_flow()
        threading.Event().wait(2)
        dead = net.nodes[1]
        old = next(n["id"] for n in net.ring()["nodes"] if n["address"] == dead.ring_address)
        since = time.monotonic()
        dead.kill()
        wait_for("its death is noticed", lambda: net.ring()["nodesDead"] == 1)
        wait_for("the others have copies of all", lambda: all(n["replicas"]["full"] == SHARDS for n in net.ring()["nodes"] if n["state"] == "alive"), 30)
        say(f"two nodes are whole, longest gap {loads.longest_gap(since):.2f} s")
        shutil.rmtree(dead.data_dir)
        dead.start()
        living = net.nodes[0]
        cairnctl("ring", "remove", old, f"--url=http://{living.host}:{living.port}")
        wait_for("three nodes have equal shares", lambda: check_balanced(net.wait_whole(), 3), 60)
        check_eq(len(net.ring()["nodes"]), 3, "nodes of the map")
        loads.wait_flow()
        gap = loads.longest_gap(since)
        for other in net.nodes[0], net.nodes[2]:  # each of the old copies goes for a while
            other.kill()
            left = [n for n in net.nodes if n is not other]
            for n in left:
                wait_for(f"{n.name} answers without {other.name}", lambda n=n: n.api("/api/v1/query", query="count(load_total)").code == 200)
                loads.verify(n)
            other.start()
            net.wait_whole(60)
        loads.stop()
        for n in net.nodes:
            loads.verify(n)
        check(gap <= 5 * SLOWER, "a series waited for", gap, "s")
        say(f"{loads.acked_count()} samples acknowledged, none lost, longest gap of the replacement {gap:.2f} s")


main(test)
