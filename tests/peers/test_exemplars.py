#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Exemplars live as long as the block of their time, and not as the log: half a day of samples with exemplars against Debian's
Prometheus, as an oracle fed the same bytes. When the files of the log with the older ones are gone, /api/v1/query_exemplars
answers alike after an end, after a kill, and when blocks were merged."""
from harness import *

START_MS = 1709244000_000  # 2024-02-29T22:00:00Z, a multiple of two hours
MINUTE_MS, HOUR_MS = 60_000, 3600_000
HOURS = 13
FLAGS = ["--storage.blocks-interval=200ms", "--storage.tsdb.wal-segment-size=16KB", "--ring.shards=8"]


def exemplar(labels, value, ms):
    return field(3, encode_labels(labels) + b"\x11" + struct.pack("<d", value) + b"\x18" + varint(ms))


def with_exemplars(labels, samples, exemplars):
    body = encode_labels(labels) + b"".join(field(2, b"\x09" + struct.pack("<d", v) + b"\x10" + varint(t)) for t, v in samples)
    return field(1, body + b"".join(exemplar(*e) for e in exemplars))


def requests():
    """Each quarter of an hour a sample for each of 40 series, and for each third an exemplar or two, some with odd labels. None is of
    the time before the first sample: where no sample is there is no block to keep it."""
    for n, at in enumerate(range(START_MS, START_MS + HOURS * HOUR_MS, 15 * MINUTE_MS)):
        body = b""
        for i in range(40):
            ones = []
            if (n + i) % 3 == 0:
                ones.append(({"trace_id": f"{n}-{i}", "ä": "ö\"\\\n"}, n + i / 7, max(at - 5000, START_MS)))
            if (n + i) % 6 == 0:
                ones.append(({}, float("inf"), max(at - 4000, START_MS + 1000)))
            body += with_exemplars({"__name__": "wait_seconds_bucket", "le": "1", "instance": f"host-{i}"}, [(at, n * i)], ones)
        yield body


def ask(server, query='{__name__=~".+"}', start=None, end=None):
    form = {"query": query, **({"start": start / 1000} if start else {}), **({"end": end / 1000} if end else {})}
    answer = server.get("/api/v1/query_exemplars?" + urllib.parse.urlencode(form))
    check_eq(answer.code, 200, answer)
    return answer.body


def compare(node, oracle, when):
    for what in ((), ('{instance=~"host-1.*"}',), ("wait_seconds_bucket", START_MS, START_MS + 3 * HOUR_MS),
                 ('wait_seconds_bucket{instance="host-3"}', START_MS + 5 * HOUR_MS), ("absent_metric",)):
        check_eq(ask(node, *what), ask(oracle, *what), f"{when}: {what}")


def metric(server, name):
    return sum(float(line.rsplit(" ", 1)[1]) for line in server.get("/metrics").text.splitlines() if line.split("{")[0].split(" ")[0] == name)


def log_begins(node):
    return min(int(p.name[4:], 16) for p in (node.data_dir / "log").glob("log-0*"))


def blocks(node):
    return sorted(p.name for p in (node.data_dir / "blocks").glob("*.block"))


def test(folder):
    need(PROMETHEUS)
    oracle = Prometheus(folder / "oracle", "--enable-feature=exemplar-storage", name="oracle")
    node = Cairn(folder / "node", *FLAGS)
    start_all([oracle, node])
    for n, body in enumerate(requests()):
        for server in (oracle, node):
            answer = http_request(server.port, "POST", "/api/v1/write", snappy(body), WRITE_HEADERS)
            check_eq(answer.code, 204, f"{server.name}: {answer}")
        if n % 8 == 5 and n > 8:  # a range was closed by it: a block for each
            written = metric(node, "cairn_blocks_written_total")
            wait_for("a block", lambda: metric(node, "cairn_blocks_written_total") > written, 30)
    want = json.loads(ask(oracle))["data"]
    count = sum(len(s["exemplars"]) for s in want)
    check(len(want) == 40 and count > 800, f"{count} exemplars of {len(want)} series")
    compare(node, oracle, "at first")
    wait_for("the log begins later", lambda: log_begins(node) > 10, 60, 0.2)
    wait_for("blocks are merged", lambda: len(blocks(node)) < metric(node, "cairn_blocks_written_total"), 60, 0.2)
    node.stop()
    say("the log begins with frame", log_begins(node), "and there are", len(blocks(node)), "blocks")
    node.start()
    compare(node, oracle, "after an end")
    node.kill()
    node.start()
    compare(node, oracle, "after a kill")
    oracle.stop()
    node.stop()


main(test)
