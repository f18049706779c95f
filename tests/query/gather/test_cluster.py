#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Queries and lists over three real nodes: every node gives the answers of a single node with the same data; once a node
is gone the others refuse with 503, or answer what they have with a warning where the request allows it, and a list never
waits longer than its timeout. Usage: test_cluster.py CAIRN."""
import json, os, re, sys, tempfile, time, urllib.parse

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "api"))
from servers import BASE_MS, STEP_MS, STEPS, Server, cairn, fill, free_port, wait_for, write_request  # noqa: E402

END_S = (BASE_MS + (STEPS - 1) * STEP_MS) // 1000


def instant(query: str) -> str:
    return "query?" + urllib.parse.urlencode({"query": query, "time": END_S})


REQUESTS = [
    *[instant(q) for q in (
        "up", "sum by (job) (rate(http_requests_total[5m]))", "topk(3, http_requests_total)", "count(up) by (instance)",
        "http_requests_total / ignoring(code) group_left sum without (code) (http_requests_total)", "quantile(0.5, up)",
        "histogram_quantile(0.9, rate(latency_seconds_bucket[5m]))", "absent(nothing)", "up + on(job) up", "stddev(special)",
        "avg(http_requests_total)", "http_requests_total[1m]", "count_values('v', up)", "sort_desc(http_requests_total)")],
    f"query_range?query=sum(rate(http_requests_total[1m]))&start={END_S - 900}&end={END_S}&step=15",
    f"query_range?query=up&start={END_S - 900}&end={END_S}&step=15",
    "labels", "labels?match[]=up", "labels?match[]=up&match[]=odd", "label/__name__/values", "label/job/values?match[]=up",
    "label/__name__/values?limit=3", "label/instance/values?limit=1&match[]=up", "series?match[]=up",
    "series?match[]=up&match[]=%7Bcode%3D%22500%22%7D", "series?match[]=up&limit=5", "series?match[]=nothing",
    "labels?start=1&end=2", "label/text/values",
]


def node(program: str, ring_ports: list, i: int) -> Server:
    work = tempfile.mkdtemp(prefix="cairn-cluster-")
    with open(os.path.join(work, "prometheus.yml"), "w", encoding="ascii") as f:
        f.write("global: {}\n")
    names = [f"127.0.0.1:{p}" for p in ring_ports]

    def find_port(line):
        m = re.search(r'msg="Server is ready.* port=(\d+)', line)
        return int(m.group(1)) if m else None
    return Server([program, "--web.listen-address=127.0.0.1:0", "--storage.tsdb.path=data", "--node.cores=2",
                   "--ring.replication-factor=1", f"--ring.listen-address={names[i]}",
                   f"--ring.advertise-address={names[i]}", "--ring.discovery=static:" + ",".join(names),
                   f"--ring.bootstrap-expect={len(names)}", "--query.timeout=20s"], work, find_port, alone=False)


def main() -> int:
    program = sys.argv[1]
    bad = 0

    def check(right: bool, *what):
        nonlocal bad
        if not right:
            bad += 1
            print("DIFFERS", *what, sep="\n  ")

    servers = []
    try:
        servers.append(cairn(program, "--node.cores=1"))
        single = servers[0]
        ring_ports = [free_port() for _ in range(3)]
        servers += [node(program, ring_ports, i) for i in range(3)]
        nodes = servers[1:]
        for n in nodes:
            n.wait_ready()
        wait_for("three voters", lambda: len(json.loads(nodes[0].get("status/ring")[1])["data"]["voters"]) == 3)
        fill(single, nodes[0])
        held = [json.loads(n.get("status/tsdb")[1])["data"]["headStats"]["numSeries"] for n in nodes]
        check(min(held) > 0 and max(held) < sum(held), "every node holds a part", held)
        for target in REQUESTS:
            expected = single.get(target)
            for i, n in enumerate(nodes):
                got = n.get(target)
                check(got == expected, target, f"node {i}", got[1][:700], expected[1][:700])
        # federation: the same text from every node
        now_ms = int(time.time() * 1000)
        fresh = write_request([({"__name__": "fresh", "n": str(i)}, [(now_ms - 1000, float(i))]) for i in range(50)])
        for n in (single, nodes[0]):
            n.write(fresh)
        federate = "/federate?" + urllib.parse.urlencode({"match[]": "fresh"})
        expected = single.request("GET", federate)[:2]
        check(expected[0] == 200 and expected[1].count(b"\nfresh{") == 50, federate, expected)
        for n in nodes:
            check(n.request("GET", federate)[:2] == expected, federate, n.request("GET", federate)[1][:300])
        # a trace has what the other nodes tell
        trace = json.loads(nodes[0].get(instant("count(http_requests_total)") + "&trace=1")[1])["data"]["trace"]
        parts = trace["rounds"][0]["parts"]
        remote = {p["node"]: p for p in parts if "cores" in p}
        check(remote.keys() == {f"127.0.0.1:{port}" for port in ring_ports[1:]}, parts)
        check(sum(p["series"] for p in parts) == 24 and all(p["series"] > 0 for p in remote.values()), parts)
        check(all(p["answered"] and p["bytes"] > 0 and p["evaluate"] > 0 and p["total"] >= p["evaluate"] / p["cores"]
                  for p in remote.values()), parts)
        # a node is gone: nothing is silently incomplete
        nodes[2].process.kill()
        nodes[2].process.wait()
        incomplete = re.compile(r"incomplete: \d+ of 1024 shards unavailable \(node 127\.0\.0\.1:%d\)" % ring_ports[2])
        wait_for("a controller again", lambda: incomplete.fullmatch(json.loads(nodes[0].get("labels")[1]).get("error", "")))
        for target in ("labels", "series?match[]=up", "label/job/values", instant("sum(up)")):
            status, body = nodes[0].get(target)
            answer = json.loads(body)
            check(status == 503 and answer["errorType"] == "unavailable" and incomplete.fullmatch(answer["error"]) is not None,
                  target, status, body)
            status, body = nodes[0].get(target + ("&" if "?" in target else "?") + "partial_response=true")
            answer = json.loads(body)
            check(status == 200 and len(answer.get("warnings", [])) == 1 and
                  incomplete.fullmatch(answer["warnings"][0]) is not None, target, status, body[:500])
        for more in ("", "&partial_response=true"):  # its format cannot carry a warning
            status, body, _ = nodes[0].request("GET", federate + more)
            check(status == 503 and incomplete.fullmatch(body.decode().strip()) is not None, federate + more, status, body[:300])
        metrics = nodes[0].request("GET", "/metrics")[1].decode()
        check("\nprometheus_web_federation_errors_total 2\n" in metrics, "metric of federation's errors")
        status, body = nodes[0].get(instant("1+1"))
        check(status == 200, "what reads no data needs no node", status, body)
    finally:
        codes = [s.stop() for s in servers]
    check(all(c == 0 for c in codes[:3]), "exit codes", codes)
    print(f"{len(REQUESTS)} requests on each of 3 nodes holding {held} series, {bad} differ")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
