#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""All nodes are killed at once under load, and come back with other addresses, which only discovery knows: everything is there."""
from netcluster import *

SHARDS = 16


def move(nodes):
    ring = [free_port() for _ in nodes]
    members = "static:" + ",".join(f"{HOST}:{p}" for p in ring)
    for node, port in zip(nodes, ring):
        kept = [f for f in node.flags if not re.match(r"--ring\.(listen-address|advertise-address|discovery)=", f)]
        node.ring_address, node.port = f"{HOST}:{port}", free_port()
        node.flags = kept + [f"--ring.listen-address={HOST}:{port}", f"--ring.advertise-address={HOST}:{port}", f"--ring.discovery={members}"]


def test(folder):
    nodes = start_all(cluster(folder, 3, f"--ring.shards={SHARDS}", replication_factor=2))
    ids, all_loads = None, []
    for turn in range(3):
        loads = Loads(Here(nodes), threads=3, first=10 * turn).start()
        all_loads.append(loads)
        loads.wait_flow()
        threading.Event().wait(1)
        for n in nodes:  # no peace: what is acknowledged is durable
            n.proc.kill()
        loads.stop()
        for n in nodes:
            n.kill()
        move(nodes)
        start_all(nodes)
        for n in nodes:
            wait_for(f"{n.name} answers completely", lambda n=n: n.api("/api/v1/query", query="count(load_total)").code == 200)
            for each in all_loads:
                each.verify(n)
        ring = nodes[0].get("/api/v1/status/ring").json()["data"]
        check_eq(sorted(n["address"] for n in ring["nodes"]), sorted(n.ring_address for n in nodes), "addresses of the ring")
        now = sorted(n["id"] for n in ring["nodes"])
        check(ids is None or now == ids, "the nodes are others:", ids, now)
        ids = now
        say(f"turn {turn}: {loads.acked_count()} samples acknowledged and there")
    stop_all(nodes)


main(test)
