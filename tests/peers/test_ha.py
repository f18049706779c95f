#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A pair of senders to three nodes with two copies: of each pair the elected one's samples are kept, without the replica label; the
election outlives the controller, and after the failover time (30 s, as Mimir's default) of silence the other one is taken."""
from harness import *

FAILOVER_S, SERIES = 30, 40


class Sender:
    """One Prometheus of a pair; its values tell whose samples were kept."""

    def __init__(self, cluster_name, replica, value):
        self.labels = {"cluster": cluster_name, "__replica__": replica}
        self.value = value
        self.codes = []

    def send(self, node):
        now = int(time.time() * 1000)
        a = node.write([({"__name__": "m", "i": str(i), **self.labels}, [(now, self.value)]) for i in range(SERIES)])
        self.codes.append(a.code)
        return a


def values(node, cluster_name):
    """Of all samples of the pair's series."""
    got = set()
    for r in node.query('m{cluster="%s"}[10m]' % cluster_name, time.time())["result"]:
        check_eq(set(r["metric"]), {"__name__", "i", "cluster"}, "labels")
        got |= {float(v) for _, v in r["values"]}
    return got


def counter(nodes, name, labels=""):
    total = 0
    for n in nodes:
        m = re.search(rf"^{name}{re.escape(labels)} (\S+)$", n.get("/metrics").text, re.M)
        total += float(m.group(1)) if m else 0
    return total


def status(node):
    a = node.get("/api/v1/status/ring")
    check(a.code == 200, a)
    return a.json()["data"]


def send_until(sender, node, code, seconds=20):
    wait_for(f"{sender.labels} is answered {code}", lambda: sender.send(node).code == code, seconds, 0.2)


def check_sent(sender, node, code):
    a = sender.send(node)
    check_eq(a.code, code, f"{sender.labels} to {node.name}: {a}")


def test(folder):
    nodes = wait_voters(start_all(cluster(folder, 3, "--ingest.ha-dedup", replication_factor=2)))
    a, b = Sender("eu", "a", 1.0), Sender("eu", "b", 2.0)
    other = Sender("us", "b", 3.0)
    send_until(a, nodes[0], 204)  # the first one is elected
    for k in range(6):
        check_sent(b, nodes[k % 3], 202)
        check_sent(a, nodes[(k + 1) % 3], 204)
    check_sent(other, nodes[2], 204)
    for node in nodes:
        check_eq(values(node, "eu"), {1.0}, f"{node.name}: samples of the pair")
        check_eq(values(node, "us"), {3.0}, f"{node.name}: samples of the other pair")
        check_eq(node.query("count(m)", time.time())["result"][0]["value"][1], str(2 * SERIES), "series")
    check_eq(counter(nodes, "cortex_distributor_deduped_samples_total", '{cluster="eu"}'), 6 * SERIES, "dropped samples")

    # without both labels a request is taken as it is, with what it has
    now = int(time.time() * 1000)
    check_eq(nodes[0].write([({"__name__": "plain", "__replica__": "a"}, [(now, 1.0)])]).code, 204, "one label")
    check_eq(nodes[1].query("plain", time.time())["result"][0]["metric"], {"__name__": "plain", "__replica__": "a"}, "its labels")
    check_eq(counter(nodes, "cortex_distributor_non_ha_samples_received_total"), 1, "samples without the labels")
    too_long = Sender("x" * 300, "a", 0.0)
    check_eq(too_long.send(nodes[0]).code, 400, "a name of 300 bytes")
    check_eq(counter(nodes[:1], "cairn_ingest_refused_total", '{reason="request"}'), 1, "refused requests")
    say("the elected one of each pair is kept")

    # the controller dies: the next one knows who is elected. a is silent from here on.
    check_eq(a.send(nodes[0]).code, 204, "the elected one")
    silent_since = time.monotonic()
    leader = status(nodes[0])["leader"]
    address = {n["id"]: n["address"] for n in status(nodes[0])["nodes"]}[leader]
    dead = next(n for n in nodes if n.ring_address == address)
    living = [n for n in nodes if n is not dead]
    dead.kill()
    wait_for("another controller", lambda: status(living[0])["leader"] != leader)
    for node in living:
        wait_for(f"{node.name} serves on", lambda: node.get("/-/ready").code == 200)
        send_until(b, node, 202)
    check(time.monotonic() - silent_since < FAILOVER_S / 2 * SLOWER, "the cluster took too long to find a controller")
    say("the election outlived the controller")
    code = wait_for("b is taken over", lambda: b.send(living[0]).code == 204 and 204, FAILOVER_S + 10, 0.5)
    took = time.monotonic() - silent_since
    check(code == 204 and took > FAILOVER_S - 12, f"taken over after {took:.1f} s")
    check_eq(set(b.codes) - {202, 503, 204}, set(), "codes of the other one")
    for node in living:
        check_eq(b.send(node).code, 204, f"{node.name}: the new elected one")
        check_eq(a.send(node).code, 202, f"{node.name}: the one before")
        wait_for(f"{node.name} has both, one after the other", lambda: values(node, "eu") == {1.0, 2.0})
    say(f"the other one was taken after {took:.1f} s")
    stop_all(living)


main(test)
