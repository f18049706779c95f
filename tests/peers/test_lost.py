#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A node that its cluster can have no more ends: fenced by a newer process of its seat (a copy of its data directory that was started
elsewhere) it says so and exits with 1, while the newer one serves in its place. The controller, too: the others keep no connection to
it once any core of theirs has met the newer one."""
import shutil

from harness import *


def test(folder):
    # a copy of a voter in the middle of becoming one would be a voter that has forgotten: not what this is about
    nodes = wait_voters(start_all(cluster(folder, 3, "--ring.shards=16")))
    ring = nodes[0].get("/api/v1/status/ring").json()["data"]
    leader = next(n["address"] for n in ring["nodes"] if n["id"] == ring["leader"])
    for is_leader in True, False:
        nodes = replace(folder, nodes, next(n for n in nodes if (n.ring_address == leader) == is_leader))
    stop_all(nodes)


def replace(folder, nodes, old):
    others = [n for n in nodes if n is not old]
    address = f"{HOST}:{free_port()}"
    newer = Cairn(Path(folder) / f"newer-{old.name}", *[f for f in old.flags if "-address=" not in f], f"--ring.listen-address={address}",
                  f"--ring.advertise-address={address}", name=f"newer-{old.name}")
    newer.ring_address = address
    shutil.copytree(old.data_dir, newer.data_dir)
    newer.start()
    wait_for("the older process has ended", lambda: not old.alive(), 20)
    check_eq(old.proc.returncode, 1, "its exit code")
    check("a newer process with this node's id is alive" in old.log_text(), "its log does not say why it ended")
    for n in [newer, *others]:
        wait_for(f"{n.name} answers completely", lambda n=n: n.api("/api/v1/query", query="count(up)").code == 200)
    say("the older process ended with 1, the newer serves")
    return [newer, *others]


main(test)
