#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A node that its cluster can have no more ends: fenced by a newer process of its seat (a copy of its data directory that was started
elsewhere) it says so and exits with 1, while the newer one serves in its place."""
import shutil

from harness import *


def test(folder):
    # a copy of a voter in the middle of becoming one would be a voter that has forgotten: not what this is about
    nodes = wait_voters(start_all(cluster(folder, 3, "--ring.shards=16")))
    old = nodes[0]
    address = f"{HOST}:{free_port()}"
    newer = Cairn(Path(folder) / "newer", *[f for f in old.flags if "-address=" not in f], f"--ring.listen-address={address}",
                  f"--ring.advertise-address={address}", name="newer")
    shutil.copytree(old.data_dir, newer.data_dir)
    newer.start()
    wait_for("the older process has ended", lambda: not old.alive(), 20)
    check_eq(old.proc.returncode, 1, "its exit code")
    check("a newer process with this node's id is alive" in old.log_text(), "its log does not say why it ended")
    for n in [newer, *nodes[1:]]:
        wait_for(f"{n.name} answers completely", lambda n=n: n.api("/api/v1/query", query="count(up)").code == 200)
    say("the older process ended with 1, the newer serves")
    stop_all([newer, *nodes[1:]])


main(test)
