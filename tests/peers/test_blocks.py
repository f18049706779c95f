#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A day of samples against Debian's Prometheus: closed ranges go to blocks, files of the log go, and every answer stays that of
Prometheus, also after ends and kills. In a cluster a node whose disk was lost is filled with whole shards, and answers alone."""
import math, shutil
from harness import *
from promql_data import requests_of

START_MS = 1709244000_000  # 2024-02-29T22:00:00Z, a multiple of two hours
HOUR_MS = 3600_000
SPAN_MS = 25 * HOUR_MS
FLAGS = ["--storage.blocks-interval=200ms", "--storage.tsdb.wal-segment-size=64KB", "--ring.shards=8"]
EXPRS = ["sum(rate(requests_total[10m]))", "max by (job) (queue)", "count(queue)", "sum by (instance) (resets(requests_total[2h]))", "sum by (job) (sum_over_time(queue[4h]))",
         "quantile_over_time(0.9, queue{job='db'}[3h])", "absent(late_start) or late_start", "max(requests_total)"]


def make_series(rng):
    series = []
    for job in ("api", "db", "web"):
        for i in range(20):
            labels = {"job": job, "instance": f"host-{i}"}
            phase, total, value = rng.randrange(60_000), 0.0, rng.uniform(0, 100)
            counter, gauge = [], []
            end_ms = SPAN_MS if i % 7 else SPAN_MS // 2  # some end in the middle
            for t in range(START_MS + phase, START_MS + end_ms, 60_000):
                total = 0.0 if rng.random() < 0.002 else total + rng.randrange(100)
                value += rng.gauss(0, 1)
                counter.append((t | 1, total))
                gauge.append((t | 1, round(value, rng.choice((0, 3, 9)))))
            series.append(({"__name__": "requests_total", **labels}, counter))
            series.append(({"__name__": "queue", **labels}, gauge))
    late = [(t | 1, float(t % 1000)) for t in range(START_MS + 20 * HOUR_MS, START_MS + SPAN_MS, 15_000)]
    series.append(({"__name__": "late_start", "job": "api"}, late))
    return series


def feed(series, servers):
    for request in requests_of(series, 900_000, START_MS):
        for server in servers:
            wait_for(f"{server.name} takes a request", lambda: check_ok(server.write(request)), 30)


def check_ok(answer):
    check_eq(answer.code, 204, answer)
    return True


def metric(server, name):
    total = 0.0
    for line in server.get("/metrics").text.splitlines():
        if line.startswith(name) and line[len(name)] in " {":
            total += float(line.rsplit(" ", 1)[1])
    return total


def same_number(a, b):
    a, b = float(a), float(b)
    return a == b or (math.isnan(a) and math.isnan(b)) or abs(a - b) <= 1e-9 * max(abs(a), abs(b))


def same_result(got, want):
    def key(s):
        return sorted(s["metric"].items())
    got, want = sorted(got["result"], key=key), sorted(want["result"], key=key)
    if [s["metric"] for s in got] != [s["metric"] for s in want]:
        return False
    for g, w in zip(got, want):
        g, w = g.get("values") or [g["value"]], w.get("values") or [w["value"]]
        if len(g) != len(w) or any(x[0] != y[0] or not same_number(x[1], y[1]) for x, y in zip(g, w)):
            return False
    return True


def compare(server, oracle, what):
    end = (START_MS + SPAN_MS) / 1000
    for name in ("requests_total", "queue", "late_start"):
        got, want = (s.query(f"{name}[30h]", end) for s in (server, oracle))
        check(same_result(got, want), what, server.name, name, "differs:", len(got["result"]), "and", len(want["result"]), "series,",
              sum(len(s["values"]) for s in got["result"]), "and", sum(len(s["values"]) for s in want["result"]), "samples")
    for expr in EXPRS:
        got, want = (s.query_range(expr, START_MS / 1000 + 600, end, 600) for s in (server, oracle))
        check(same_result(got, want), what, server.name, expr, "differs")
    window = {"start": f"{START_MS / 1000:.0f}", "end": f"{end - 10 * 3600:.0f}"}
    for path in ("/api/v1/labels", "/api/v1/label/job/values", "/api/v1/label/instance/values"):
        got, want = (s.get(f"{path}?{urllib.parse.urlencode(window)}").json()["data"] for s in (server, oracle))
        check_eq(got, want, f"{what}: {server.name} {path}")
    got, want = (s.data("/api/v1/series", _match="queue{job='web'}", **window) for s in (server, oracle))
    check_eq(sorted(map(str, got)), sorted(map(str, want)), f"{what}: {server.name} series")


def wait_blocks(server, least):
    """Until closed ranges are in blocks, and the log has let go of files."""
    wait_for(f"{server.name} has blocks", lambda: metric(server, "cairn_blocks_written_total") >= least, 60)
    wait_for(f"the log of {server.name} has become short", lambda: len(list((server.data_dir / "log").iterdir())) <= 12, 60)
    check(list((server.data_dir / "blocks").glob("*.block")), server.name, "has no files of blocks")


def write_metadata(server, family, text):
    item = b"\x08\x02" + field(2, family.encode()) + field(4, text.encode())  # a gauge
    check_ok(http_request(server.port, "POST", "/api/v1/write", snappy(field(3, item)), WRITE_HEADERS))


def test_single(folder, series, oracle):
    single = Cairn(folder / "single", *FLAGS, name="single").start()
    write_metadata(single, "queue", "What waits.")
    feed(series, [oracle, single])
    compare(single, oracle, "at first")
    wait_blocks(single, 1)
    compare(single, oracle, "from blocks")
    single.stop()
    single.start()
    compare(single, oracle, "started again")
    single.kill()
    single.start()
    compare(single, oracle, "killed")
    check_eq(single.get("/api/v1/metadata").json()["data"], {"queue": [{"type": "gauge", "help": "What waits.", "unit": ""}]})
    say("blocks:", len(list((single.data_dir / "blocks").glob("*.block"))), "log:", len(list((single.data_dir / "log").iterdir())))
    damage(single)
    single.stop()


def damage(single):
    """A flipped byte is found, and nobody is answered from what it spoils."""
    single.stop()
    block = max((single.data_dir / "blocks").glob("*.block"), key=lambda p: p.stat().st_size)
    good = block.read_bytes()
    block.write_bytes(good[:len(good) // 3] + bytes([good[len(good) // 3] ^ 1]) + good[len(good) // 3 + 1:])
    single.start()
    answer = single.api("/api/v1/query", query="count_over_time({__name__=~'.+'}[30h])", time=f"{(START_MS + SPAN_MS) / 1000:.0f}")
    check(answer.code in (422, 500, 503) and block.name in answer.text, "a damaged block:", answer)
    recent = single.query("count(queue)", (START_MS + SPAN_MS) / 1000 - 60)
    check(recent["result"], "recent samples are not in the damaged block")
    single.stop()
    block.write_bytes(good)
    single.start()


def ring_of(node):
    answer = node.get("/api/v1/status/ring")
    check_eq(answer.code, 200, answer)
    return answer.json()["data"]


def test_cluster(folder, series, oracle):
    nodes = cluster(folder, 3, "--ring.replace-after=2s", "--web.enable-admin-api", *FLAGS, replication_factor=2)
    wait_voters(start_all(nodes))
    feed(series, [nodes[0]])
    for node in nodes:
        wait_blocks(node, 1)
        compare(node, oracle, "cluster")
    say("node2 loses its disk")
    old = next(n["id"] for n in ring_of(nodes[0])["nodes"] if n["address"] == nodes[2].ring_address)
    nodes[2].kill()
    shutil.rmtree(nodes[2].data_dir)
    nodes[2].spawn()

    def whole():
        alive = {n["id"]: n["replicas"]["full"] for n in ring_of(nodes[0])["nodes"] if n["state"] == "alive"}
        return old not in alive and len(alive) == 3 and sum(alive.values()) == 2 * 8 and min(alive.values()) > 0
    wait_for("every shard has its replicas again", whole, 90, 0.2)
    check(sum(metric(n, "cairn_replica_transfers_total") for n in nodes[:2]) > 0, "no shard was transferred")
    nodes[2].wait_ready()
    compare(nodes[2], oracle, "with a new disk")
    ctl = Path(Cairn.binary).with_name("cairnctl")
    removed = subprocess.run([ctl, "ring", "remove", old, f"--url=http://{HOST}:{nodes[0].port}"], capture_output=True, text=True)
    check_eq(removed.returncode, 0, removed.stderr)
    wait_for("the new node votes", lambda: old not in ring_of(nodes[0])["voters"] and len(ring_of(nodes[0])["voters"]) == 3, 30)
    nodes[0].kill()
    wait_for("node2 answers for node0, too", lambda: not compare(nodes[2], oracle, "without node0"), 60, 0.5)
    say("filled and answering")
    for node in nodes[1:]:
        node.kill()


def test(folder):
    need(PROMETHEUS)
    series = make_series(seed())
    oracle = Prometheus(folder / "oracle", name="oracle").start()
    test_single(folder, series, oracle)
    test_cluster(folder / "cluster", series, oracle)
    oracle.stop()


main(test)
