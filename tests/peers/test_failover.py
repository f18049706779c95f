#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Nodes that die under load in every way: kill -9, also ahead of a follower that hears nothing, SIGSTOP, a cut link, a full disk, the
controller. Each node is a host of its own in a network namespace. Every acknowledged sample is there afterwards; the longest time between two acknowledgements for one series is at
most five seconds; a stock Prometheus that sends to the cluster only retries. argv[2]: replication factor."""
from netcluster import *

GAP_MAX = 5.0 * SLOWER
SHARDS = 16


def prometheus(folder, node):
    binary = "/usr/bin/prometheus"
    if not os.access(binary, os.X_OK):
        return None

    class Sender(Process):
        def command(self):
            config = self.folder / "sender.yml"
            config.write_text(f"""
global: {{scrape_interval: 1s}}
scrape_configs: [{{job_name: self, static_configs: [{{targets: ['{HOST}:{self.port}']}}]}}]
remote_write: [{{url: 'http://{node.host}:{node.port}/api/v1/write'}}]
""")
            return [binary, f"--config.file={config}", f"--storage.tsdb.path={self.folder}/data", f"--web.listen-address={HOST}:{self.port}"]
    return Sender("prometheus", Path(folder) / "sender", free_port()).start()


class Trouble:
    def __init__(self, net, loads):
        self.net, self.loads, self.gaps = net, loads, []

    def measure(self, what, begin, end, seconds):
        """begin, some seconds of trouble, end; then everything heals."""
        self.loads.wait_flow()
        since = time.monotonic()
        begin()
        threading.Event().wait(seconds)
        self.loads.wait_flow()
        gap = self.loads.longest_gap(since)
        end()
        self.net.wait_whole(90)
        self.loads.wait_flow()
        gap = max(gap, self.loads.longest_gap(since))
        self.gaps.append(gap)
        say(f"{what}: longest gap {gap:.2f} s")
        check(gap <= GAP_MAX, what, f"kept a series waiting for {gap:.2f} s")

    def kill(self, what, node):
        self.measure(what, node.kill, lambda: node.start(), 4)

    def die_ahead(self, node, behind):
        """A host dies while the other hears nothing: what it has acknowledged alone is lost with it."""
        def begin():
            behind.cut()
            threading.Event().wait(0.4)
            node.cut()  # or its kernel would go on sending
            node.kill()
            behind.heal()

        def end():
            node.heal()
            node.start()
        self.measure(f"death of {node.name} ahead of {behind.name}", begin, end, 4)

    def stop_and_continue(self, node):
        self.measure(f"SIGSTOP of {node.name}", lambda: node.proc.send_signal(signal.SIGSTOP),
                     lambda: node.proc.send_signal(signal.SIGCONT), 6)

    def cut(self, node):
        self.measure(f"link of {node.name} cut", node.cut, node.heal, 6)

    def full_disk(self, node):
        self.measure(f"disk of {node.name} full", node.fill_disk, node.empty_disk, 6)


def test(folder):
    factor = sys.argv[2] if len(sys.argv) > 2 else "2"
    repeat = int(sys.argv[3]) if len(sys.argv) > 3 else 1
    need_namespaces()
    with Net(folder, 3, f"--ring.shards={SHARDS}", f"--ring.replication-factor={factor}", "--ring.replace-after=1h") as net:
        net.nodes[1].small_disk(256)
        start_all(net.nodes)
        net.wait_whole()
        sender = prometheus(folder, net.nodes[2])
        loads = Loads(net).start()
        t = Trouble(net, loads)
        for i in range(2 * repeat):
            t.kill(f"kill -9 of {net.nodes[i % 2].name}", net.nodes[i % 2])
        for i in range(1 + repeat if repeat > 1 else 1):
            node = net.controller()
            t.kill(f"kill -9 of the controller, {node.name}", node)
        for _ in range(repeat):
            controller = net.controller()
            node, behind = (n for n in net.nodes if n is not controller)
            t.die_ahead(node, behind)
            t.die_ahead(behind, node)
        t.stop_and_continue(net.nodes[0])
        t.cut(net.nodes[1])
        t.full_disk(net.nodes[1])
        loads.stop()
        for n in net.nodes:
            wait_for(f"{n.name} answers completely", lambda n=n: n.api("/api/v1/query", query="count(load_total)").code == 200)
            loads.verify(n)
        say(f"{loads.acked_count()} samples acknowledged, {sum(x.resends for x in loads.threads)} sent again, none lost; "
            f"longest gap {max(t.gaps):.2f} s over {len(t.gaps)} troubles")
        if sender is not None:
            check_sender(sender)
            sender.stop()
        else:
            say("prometheus is not installed: no stock sender")


def check_sender(sender):
    metrics = sender.get("/metrics").text

    def total(name):
        return sum(float(line.rsplit(" ", 1)[1]) for line in metrics.splitlines() if line.startswith(name))
    check_eq(total("prometheus_remote_storage_samples_failed_total"), 0.0, "samples that Prometheus gave up")
    check(total("prometheus_remote_storage_samples_total") > 0, "Prometheus sent nothing")
    say(f"Prometheus sent {total('prometheus_remote_storage_samples_total'):.0f} samples, {total('prometheus_remote_storage_samples_retried_total'):.0f} "
        "of them again, and gave up none")


main(test)
