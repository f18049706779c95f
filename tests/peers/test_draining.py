#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A node that is about to go says so at /-/ready while it hands over, and serves on: when it was told to end and its only peer stands
still, and when it is drained for good."""
from harness import *


def is_draining(node):
    answer = node.get("/-/ready", timeout=2)
    check_eq(node.get("/-/healthy", timeout=2).code, 200, "it lives")
    return answer.code == 503 and "draining" in answer.text


def told_to_end(folder):
    first, second = start_all(cluster(folder, 2, replication_factor=2))
    check(not is_draining(first), "it drains untold")
    second.proc.send_signal(signal.SIGSTOP)  # nobody to hand over to: that lasts some seconds
    first.proc.send_signal(signal.SIGTERM)
    wait_for("503 while it drains", lambda: is_draining(first), seconds=4)
    second.proc.send_signal(signal.SIGCONT)
    check_eq(first.proc.wait(timeout=30 * SLOWER), 0, "exit code")
    stop_all([second])


def drained(folder):
    nodes = start_all(cluster(folder, 3, "--web.enable-admin-api", replication_factor=1))
    wait_voters(nodes)
    asked = nodes[0].api("/api/v1/admin/ring/drain", node=nodes[2].ring_address)
    check_eq(asked.code, 200, f"drain: {asked}")
    wait_for("503 while it is drained", lambda: is_draining(nodes[2]), every=0.002)
    check_eq(nodes[0].get("/-/ready").code, 200, "another is ready")
    stop_all(nodes)


def test(folder):
    told_to_end(folder / "told")
    drained(folder / "drained")


main(test)
