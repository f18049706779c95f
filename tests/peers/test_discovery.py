#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Nodes that find each other by the SRV records of a name: a name server of the test's own answers, first that there is no such name,
which is said, then with three hosts, which found a cluster, then with a fourth, which joins."""
import socket, struct

from netcluster import *

SERVICE, ZONE, PORT, TTL_S = "_cairn._tcp.ring.test", "ring.test", 9095, 1
A, SRV, IN, NXDOMAIN = 1, 33, 1, 3


def name_bytes(name):
    return b"".join(bytes([len(word)]) + word.encode() for word in name.split(".")) + b"\0"


class NameServer(threading.Thread):
    """Of one zone, by UDP. hosts: name to address; those of `listed` stand in the SRV records."""

    def __init__(self, address):
        super().__init__(daemon=True)
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind((address, 53))
        self.hosts, self.listed, self.asked = {}, [], 0

    def run(self):
        while True:
            try:
                query, sender = self.socket.recvfrom(4096)
                self.socket.sendto(self.answer(query), sender)
            except OSError:
                return

    def answer(self, query):
        words, at = [], 12
        while query[at]:
            words.append(query[at + 1:at + 1 + query[at]].decode().lower())
            at += 1 + query[at]
        kind = struct.unpack(">H", query[at + 1:at + 3])[0]
        question, name = query[12:at + 5], ".".join(words)
        records, code = [], 0
        if name == SERVICE and kind == SRV:
            self.asked += 1
            records = [struct.pack(">HHH", i, 10, PORT) + name_bytes(host) for i, host in enumerate(self.listed)]
        elif name in self.hosts and kind == A:
            records = [socket.inet_aton(self.hosts[name])]
        if not records and name not in self.hosts:
            code = NXDOMAIN
        head = query[:2] + struct.pack(">HHHHH", 0x8580 | code, 1, len(records), 0, 0)
        return head + question + b"".join(b"\xc0\x0c" + struct.pack(">HHIH", kind, IN, TTL_S, len(r)) + r for r in records)


def test(folder):
    need_namespaces()
    with Net(folder, 3, "--ring.shards=16", "--ring.replication-factor=2", spare=1, discovery=f"dns+srv://{SERVICE}") as net:
        server = NameServer(f"{net.subnet}.1")
        server.start()
        folders = [Path("/etc/netns") / n.ns for n in net.nodes]  # ip netns exec puts these files over those of /etc
        try:
            for f in folders:
                f.mkdir(parents=True)
                (f / "resolv.conf").write_text(f"nameserver {net.subnet}.1\noptions timeout:1\n")
            hosts = [f"node{n.index}.{ZONE}" for n in net.nodes]
            server.hosts = {host: n.host for host, n in zip(hosts, net.nodes)}
            first, late = net.nodes[:3], net.nodes[3]
            for n in first:
                n.spawn()
            wait_for("a look-up that failed is told", lambda: all(f"look up SRV records of {SERVICE}: Domain name not found" in n.log_text() for n in first))
            check(all(n.get("/-/ready").code == 503 for n in first), "ready without a cluster")
            server.listed = hosts[:3]
            for n in first:
                n.wait_ready()
            say(f"three nodes founded a cluster, {server.asked} look-ups")
            check_eq(len(net.ring()["nodes"]), 3, "nodes of the map")
            server.listed = hosts
            late.start()
            wait_for("the fourth has joined", lambda: len(net.ring()["nodes"]) == 4)
            loads = Loads(net, threads=2).start()
            loads.wait_flow()
            loads.stop()
            for n in net.nodes:
                loads.verify(n)
            say(f"{loads.acked_count()} samples, all of them on four nodes, {server.asked} look-ups")
        finally:
            server.socket.close()
            for f in folders:
                shutil.rmtree(f, ignore_errors=True)


main(test)
