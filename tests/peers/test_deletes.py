#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Deleting by matcher, against Debian's Prometheus: the same samples are written to both, old enough that a part is in blocks here,
the same deletions asked of both, and every sample that is left is compared: at once, after cleaning, after a restart, after later writes,
and on three nodes with two replicas of which one is killed in between."""
from harness import *

STEP_MS, STEPS = 30_000, 480  # four hours: what is older than one goes into blocks
FLAGS = ["--web.enable-admin-api", "--storage.tsdb.min-block-duration=20m", "--storage.blocks-interval=200ms"]


def labels(i):
    l = {"__name__": ("a_total", "b", "c", "d")[i % 4], "i": str(i), "job": "x" if i % 3 else "y"}
    if i % 5 == 0:
        l["zone"] = "z"
    return l


def write_steps(servers, base_ms, first, last):
    for at in range(first, last, 40):
        times = [base_ms + k * STEP_MS for k in range(at, min(at + 40, last))]
        series = [(labels(i), [(t, float(i * 1000 + (t - base_ms) // STEP_MS)) for t in times]) for i in range(40)]
        for s in servers:
            a = s.write(series)
            check(a.code in (200, 204), s.name, a)


def everything(server, at_ms):
    """Every sample of every series."""
    data = server.query('{__name__=~".+"}[6h]', at_ms / 1000)["result"]
    return sorted((sorted(s["metric"].items()), s["values"]) for s in data)


def compare(what, ours, theirs, at_ms):
    a, b = everything(ours, at_ms), everything(theirs, at_ms)
    for x, y in zip(a, b):
        check(x == y, what, ours.name, "differs:", len(x[1]), "samples of", x[0], "and", len(y[1]), "of", y[0], x[1][:3], y[1][:3])
    check_eq(len(a), len(b), f"{what}: series on {ours.name}")
    return len(a), sum(len(s[1]) for s in a)


def delete(server, **form):
    return server.api("/api/v1/admin/tsdb/delete_series", **form)


def deletions(base_ms):
    t = lambda step: f"{(base_ms + step * STEP_MS) / 1000:.3f}"
    rfc = lambda step: time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime((base_ms + step * STEP_MS) // 1000))
    return [
        dict(_match='a_total{i="4"}'),                                          # a whole series
        dict(_match=['b{i=~"1.*"}', 'c{i!="2"}'], start=t(10), end=t(20)),      # in blocks only
        dict(_match='{job="x",zone=""}', start=t(470), end=t(475.5)),           # in the head only
        dict(_match='d', start=rfc(100)),                                       # from blocks to the end of the head
        dict(_match='{__name__=~"a_.*|b",i!~"(8|9).*"}', start=t(200), end=t(450)),
        dict(_match='a_total', start=t(50), end=t(50)),                         # one sample of each
        dict(_match='b', start=t(60), end=t(40)),                               # nothing
        dict(_match=['{i="none"}', 'nothing']),
        dict(_match='{}'),
    ]


WRONG = [
    dict(),
    dict(_match="a{"),
    dict(_match=["a", "1b"]),
    dict(_match="a", start="noon"),
    dict(_match="a", end="2026-01-01"),
]


def test_errors(cairn, plain, prometheus, closed_prometheus):
    for name in ("delete_series", "clean_tombstones", "snapshot"):
        for form in ({}, dict(_match="a")):
            a, b = (s.api(f"/api/v1/admin/tsdb/{name}", **form) for s in (plain, closed_prometheus))
            check_eq((a.code, a.json()), (b.code, b.json()), f"{name} without the flag")
    for form in WRONG:
        a, b = delete(cairn, **form), delete(prometheus, **form)
        x, y = a.json(), b.json()
        y["error"] = y["error"].replace("Invalid time value", "invalid time value")  # as since 3.0
        check_eq((a.code, x), (b.code, y), f"{form}")
    for method in ("GET", "DELETE"):
        a, b = (http_request(s.port, method, "/api/v1/admin/tsdb/delete_series?match[]=a") for s in (cairn, prometheus))
        check_eq(a.code, b.code, method)
    many = delete(cairn, _match=["a"] * 65)
    check(many.code == 400 and "64 selectors" in many.text, many)
    check_eq(delete(cairn, _match="a{" + ",".join(f'l{i}="1"' for i in range(64)) + "}").code, 400, "65 matchers")


def test_single(cairn, prometheus, base_ms):
    at_ms = base_ms + STEPS * STEP_MS
    write_steps([cairn, prometheus], base_ms, 0, STEPS - 1)
    before = compare("written", cairn, prometheus, at_ms)
    check_eq(before, (40, 40 * (STEPS - 1)), "written")
    cut = (base_ms + (STEPS - 2) * STEP_MS - 3_600_000) // 1_200_000 * 1_200_000  # the newest multiple of 20m before the last hour
    closed = 40 * sum(base_ms + k * STEP_MS < cut for k in range(STEPS - 1))
    wait_for("blocks of all cores", lambda: sum(b["stats"]["numSamples"] for b in in_blocks(cairn)) == closed, 60, every=0.2)
    last = before[1]
    for n, form in enumerate(deletions(base_ms)):
        for s in (cairn, prometheus):
            a = delete(s, **form)
            check(a.code == 204 and not a.body, s.name, form, a)
        last, was = compare(f"deleted {form}", cairn, prometheus, at_ms)[1], last
        check((last < was) == (n < 6), f"{form}: {was} samples, then {last}")
    say("single:", before[1], "samples,", last, "left")
    test_clean(cairn, prometheus, at_ms)
    put = http_request(cairn.port, "PUT", "/api/v1/admin/tsdb/delete_series?match[]=c&start=0&end=1")
    check_eq(put.code, 204, "PUT")
    cairn.kill()
    cairn.start()
    compare("killed and started", cairn, prometheus, at_ms)
    cairn.stop()
    cairn.start()
    compare("stopped and started", cairn, prometheus, at_ms)
    write_steps([cairn, prometheus], base_ms, STEPS - 1, STEPS)  # a series that is gone begins anew
    check(compare("written again", cairn, prometheus, at_ms)[1] == last + 40, "all of the last step")


def in_blocks(cairn):
    return cairn.get("/api/v1/status/tsdb/blocks").json()["data"]["blocks"]


def test_clean(cairn, prometheus, at_ms):
    """What is left in blocks is what is left."""
    blocks = in_blocks(cairn)
    cut = max(b["maxTime"] for b in blocks)
    left = sum(t * 1000 < cut for _, values in everything(prometheus, at_ms) for t, _ in values)
    check(sum(b["stats"]["numSamples"] for b in blocks) > left, "deleted samples are in blocks")
    for s in (cairn, prometheus):
        a = http_request(s.port, "POST", "/api/v1/admin/tsdb/clean_tombstones")
        check(a.code == 204 and not a.body, s.name, a)
    check_eq(sum(b["stats"]["numSamples"] for b in in_blocks(cairn)), left, "samples in blocks")
    compare("cleaned", cairn, prometheus, at_ms)
    say("cleaned:", sum(b["stats"]["numSamples"] for b in blocks), "samples in blocks, then", left)


def metric(server, name):
    m = re.search(rf"^{name}(?:{{[^}}]*}})? (\S+)$", server.get("/metrics").text, re.M)
    return float(m.group(1)) if m else 0.0


def test_cluster(nodes, prometheus, base_ms):
    at_ms = base_ms + STEPS * STEP_MS
    write_steps([nodes[0], prometheus], base_ms, 0, STEPS - 1)
    compare("written", nodes[1], prometheus, at_ms)
    forms = deletions(base_ms)
    for i, form in enumerate(forms[:4]):
        check_eq(delete(nodes[i % 3], **form).code, 204, f"{form}")
        check_eq(delete(prometheus, **form).code, 204, f"{form}")
        for n in nodes:
            compare(f"deleted {form}", n, prometheus, at_ms)
    nodes[1].kill()
    for i, form in enumerate(forms[4:]):
        a = delete(nodes[0 if i % 2 else 2], **form)
        check_eq(a.code, 204, f"{form} with a node killed: {a}")
        check_eq(delete(prometheus, **form).code, 204, f"{form}")
    for n in (nodes[0], nodes[2]):
        compare("deleted with a node killed", n, prometheus, at_ms)
    nodes[1].start()
    compare("the node that was killed", nodes[1], prometheus, at_ms)

    def whole():
        r = nodes[0].get("/api/v1/status/ring").json()["data"]
        return r["shardsUnderReplicated"] == 0 and r["shardsUnreadable"] == 0 and len(r["voters"]) == 3
    wait_for("all replicas", whole, 60, every=0.1)
    nodes[0].kill()  # who was there all the time is gone: the others answer for all
    wait_for("two answer", lambda: everything(nodes[1], at_ms), 30, every=0.2)
    for n in nodes[1:]:
        compare("another one killed", n, prometheus, at_ms)
    say("cluster:", compare("at last", nodes[2], prometheus, at_ms))
    nodes[2].kill()
    a = delete(nodes[1], _match="c")
    check(a.code == 503 and "samples were not deleted in" in a.text and "shards (" in a.text, a)


def test(folder):
    need(PROMETHEUS)
    base_ms = (int(time.time() * 1000) - STEPS * STEP_MS) // STEP_MS * STEP_MS
    prometheus = Prometheus(folder / "p", "--web.enable-admin-api")
    closed = Prometheus(folder / "closed")
    cairn = Cairn(folder / "c", *FLAGS, "--ring.shards=4")  # few: each has series, and is cut
    plain = Cairn(folder / "plain", "--ring.shards=16")
    start_all([prometheus, closed, cairn, plain])
    test_errors(cairn, plain, prometheus, closed)
    for p in (closed, plain):
        p.stop()
    test_single(cairn, prometheus, base_ms)
    cairn.stop()
    prometheus.stop(seconds=60)
    prometheus = Prometheus(folder / "p2", "--web.enable-admin-api").start()
    nodes = wait_voters(start_all(cluster(folder / "cluster", 3, *FLAGS, "--ring.shards=16", replication_factor=2)))
    test_cluster(nodes, prometheus, base_ms)


if __name__ == "__main__":
    main(test)
