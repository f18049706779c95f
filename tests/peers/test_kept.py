#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Metadata and exemplars, against Debian's Prometheus. As a sender it scrapes a fixed exposition and sends its metadata every
second: /api/v1/metadata of one node and of every node of a cluster of three then equals its own. As a receiver it is fed the
same bytes of exemplars: /api/v1/query_exemplars answers alike, byte for byte."""
import http.server
from harness import *

EXPOSITION = b"""# HELP jobs_total Jobs that ended, with "quotes", <angles> & a back\\\\slash.
# TYPE jobs_total counter
jobs_total 5
# HELP temp_celsius Temperature in \xc2\xb0C.
# TYPE temp_celsius gauge
temp_celsius 21.5
# TYPE wait_seconds histogram
wait_seconds_bucket{le="1"} 1
wait_seconds_bucket{le="+Inf"} 2
wait_seconds_sum 3
wait_seconds_count 2
# HELP size_bytes Sizes.
# TYPE size_bytes summary
size_bytes{quantile="0.5"} 1
size_bytes_sum 3
size_bytes_count 2
# HELP plain Of no type.
plain 1
"""
CONFIG = """
global: {{scrape_interval: 1s, scrape_timeout: 1s}}
scrape_configs:
  - job_name: fixed
    static_configs: [{{targets: ['{host}:{target}']}}]
  - job_name: itself
    static_configs: [{{targets: ['{host}:{prometheus}']}}]
remote_write:
"""
REMOTE = """  - url: http://{host}:{port}/api/v1/write
    name: to{port}
    queue_config: {{batch_send_deadline: 500ms}}
    metadata_config: {{send_interval: 1s}}
"""


class Target(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; version=0.0.4")
        self.end_headers()
        self.wfile.write(EXPOSITION)

    def log_message(self, *args):
        pass


def metadata(server, **form):
    return server.get("/api/v1/metadata?" + urllib.parse.urlencode(form))


def families(answer):
    check(answer.code == 200, answer)
    return {name: sorted(json.dumps(m, sort_keys=True) for m in items) for name, items in answer.json()["data"].items()}


def test_metadata(folder, nodes, single, member):
    target = http.server.ThreadingHTTPServer((HOST, 0), Target)
    threading.Thread(target=target.serve_forever, daemon=True).start()
    sender = Prometheus(folder / "sender", "--enable-feature=exemplar-storage", name="sender")
    sender.config.write_text(CONFIG.format(host=HOST, target=target.server_port, prometheus=sender.port) +
                             "".join(REMOTE.format(host=HOST, port=n.port) for n in (single, member)))
    sender.start()
    wait_for("the sender knows its targets' metadata", lambda: {"jobs_total", "go_goroutines"} <= families(metadata(sender)).keys())
    for node in nodes:
        wait_for(f"{node.name}: metadata as the sender's", lambda: families(metadata(node)) == families(metadata(sender)), 30, 0.2)
    want = metadata(sender, metric="jobs_total").body
    check(b"angles" in want, want)
    for node in nodes:
        for form in ({"metric": "jobs_total"}, {"metric": "temp_celsius", "limit": 1}, {"metric": "absent"}, {"limit": 0},
                     {"limit": "x"}):
            check_eq(metadata(node, **form).body, metadata(sender, **form).body, f"{node.name} {form}")
        names = list(families(metadata(node)))
        check_eq(names, sorted(names), "order")
        check_eq(list(families(metadata(node, limit=3))), names[:3], "the first three")
        check_eq(metadata(node, limit_per_metric="1.5").code, 400, "limit_per_metric")
    sender.stop()
    target.shutdown()
    return {node.name: families(metadata(node)) for node in nodes}


def exemplar(labels, value, ms):
    return field(3, encode_labels(labels) + (b"\x11" + struct.pack("<d", value) if value else b"") +
                 (b"\x18" + varint(ms) if ms else b""))


def with_exemplars(labels, samples, exemplars):
    body = encode_labels(labels) + b"".join(field(2, b"\x09" + struct.pack("<d", v) + b"\x10" + varint(t)) for t, v in samples)
    return field(1, body + b"".join(exemplar(*e) for e in exemplars))


def requests(now):
    a, b = {"__name__": "wait_seconds_bucket", "le": "1", "job": "a"}, {"__name__": "wait_seconds_bucket", "le": "5", "job": "b"}
    hour = 3600000
    yield with_exemplars(a, [(now, 1)], [({"trace_id": "t1", "span": "s"}, 0.5, now - 4000), ({"trace_id": "t2"}, 1e300, now - 3000)])
    yield with_exemplars(b, [(now, 1)], [({}, 0, now - 4000), ({"ä": "ö\"\\\n\t"}, float("inf"), now - 3999)])
    yield with_exemplars(a, [(now + 1, 2)], [({"trace_id": "t2"}, 1e300, now - 3000)])  # the same again
    yield with_exemplars(a, [(now + 2, 2)], [({"trace_id": "old"}, 1, now - hour)])  # out of any window
    yield with_exemplars(a, [(now + 3, 2)], [({"k": "x" * 127}, 1, now - 2000), ({"k": "y" * 128}, 2, now - 1900)])  # 128, 129 characters
    yield with_exemplars(a, [(now + 4, 2)], [({"k": "é" * 127}, 1, now - 1800), ({"zz": "1", "empty": "", "aa": "2"}, -0.25, now - 1700)])
    yield with_exemplars({"__name__": "never_sampled"}, [], [({"trace_id": "t"}, 1, now)])
    yield with_exemplars(b, [], [({"trace_id": "alone"}, 12345.678, now - 1000)])
    for i in range(40):  # over all shards
        yield with_exemplars({"__name__": "many", "i": str(i)}, [(now, i)], [({"n": str(i)}, i, now - 500), ({"n": "b"}, i, now - 400)])


def test_exemplars(folder, nodes, single, member):
    oracle = Prometheus(folder / "oracle", "--enable-feature=exemplar-storage", name="oracle").start()
    now = int(time.time() * 1000)
    for body in requests(now):
        for server in (oracle, single, member):
            answer = http_request(server.port, "POST", "/api/v1/write", snappy(body), WRITE_HEADERS)
            check_eq(answer.code, 204, f"{server.name}: {answer}")

    def ask(server, query, start=None, end=None):
        form = {"query": query, **({"start": f"{start / 1000:.3f}"} if start else {}), **({"end": f"{end / 1000:.3f}"} if end else {})}
        return server.get("/api/v1/query_exemplars?" + urllib.parse.urlencode(form)).body
    compared = 0
    for what in (("wait_seconds_bucket",), ('{__name__=~".+"}',), ('many{i=~"1.*"}',), ('many{i!="3",i=~"3|4|5"}',),
                 ("rate(wait_seconds_bucket{job='a'}[5m]) / on() sum(many{i='7'} offset 5m)",), ("absent_metric",),
                 ("wait_seconds_bucket", now - 3999, now - 2000), ("wait_seconds_bucket", now - 3000), ("many", None, now - 500),
                 ("wait_seconds_bucket{job='b'}", now - 1000, now - 1000), ("many", now, now - 1), ("many{",), ("never_sampled",)):
        want = ask(oracle, *what)
        if what[0] == "wait_seconds_bucket":
            check(b"exemplars" in want, want)
        for node in nodes:
            check_eq(ask(node, *what), want, f"{node.name} {what}")
            compared += 1
    say(compared, "answers alike")
    want = {n.name: ask(n, '{__name__=~".+"}') for n in nodes}
    check(len(json.loads(want["single"])["data"]) == 42, want["single"])
    oracle.stop()
    return want


def test(folder):
    need(PROMETHEUS)
    single, members = Cairn(folder / "single", name="single"), cluster(folder, 3)
    nodes = [single, *members]
    start_all(nodes)
    kept = test_metadata(folder, nodes, single, members[1])
    exemplars = test_exemplars(folder, nodes, single, members[2])
    say("killed and started again")
    for node in nodes:
        node.kill()
    start_all(nodes)
    for node in nodes:
        wait_for(f"{node.name}: metadata is there", lambda: families(metadata(node)) == kept[node.name])
        check_eq(node.get("/api/v1/query_exemplars?query=" + urllib.parse.quote('{__name__=~".+"}')).body, exemplars[node.name],
                 f"{node.name}: exemplars")
    stop_all(nodes)


main(test)
